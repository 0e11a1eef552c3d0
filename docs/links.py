"""After a build: every link inside the site leads to a page and a place that exist."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The places of a page, and where its links lead."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes what is named and what is linked to."""
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.places.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def dead_links(folder: Path) -> list[str]:
    """Links of the pages in a folder that lead nowhere, each as "page: link"."""
    pages = {path.resolve(): Page(path) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            if not target.exists() or (place and target in pages and place not in pages[target].places):
                found.append(f"{path.relative_to(folder.resolve())}: {link}")
    return found


def _check(app: Any, exception: Exception | None) -> None:
    from sphinx.errors import SphinxError

    if exception is None and app.builder.name == "html":
        dead = dead_links(Path(app.outdir))
        if dead:
            raise SphinxError("links that lead nowhere:\n" + "\n".join(sorted(set(dead))[:50]))


def setup(app: Any) -> None:
    """Checks once a build is done."""
    app.connect("build-finished", _check)
