"""The report: one page that needs nothing else, says what the frames say, and opens in a browser."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from latentode.evaluation.metrics import summarise
from latentode.plotting.page import COVERED, REPORT_LEVELS, verdicts, write_page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def compared(n=4000, width=1.0, names=("x", "y")):
    """Forecasts by N(0, width) of what is N(0, 1), and a point forecast beside them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"variable": rng.choice(names, n), "lead": rng.uniform(0, 6, n)})
    frame = frame.assign(actual=rng.normal(size=n), mean=0.0)
    quantiles = {f"q{q:g}": width * stats.norm.ppf(q) for q in REPORT_LEVELS}
    own = frame.assign(**quantiles, model="mine")
    return pd.concat([own, frame.assign(mean=1.0, model="other")], ignore_index=True)


def page(tmp_path, frame):
    path = tmp_path / "report.html"
    write_page(path, frame, "a <b>title</b>", "forecast & scored", "h", bins=2)
    return path, path.read_text()


class Cells(HTMLParser):
    """The text of every cell, row by row."""

    def __init__(self):
        super().__init__()
        self.rows, self.inside = [], False

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        self.inside = tag in ("td", "th")

    def handle_data(self, data):
        if self.inside and data.strip():
            self.rows[-1].append(data.strip())


def cells(text):
    parser = Cells()
    parser.feed(text)
    return parser.rows


def test_coverage_is_the_share_inside_each_interval():
    names = [f"coverage_{p}" for p in COVERED]
    found = summarise(compared(), ["model"], "coverages").loc["mine", names]
    np.testing.assert_allclose(found, [0.5, 0.8, 0.95], atol=0.02)
    narrow = summarise(compared(width=0.5), ["model"], "coverages").loc["mine", names]
    expected = [2 * stats.norm.cdf(0.5 * stats.norm.ppf((1 + p) / 2)) - 1 for p in (0.5, 0.8, 0.95)]
    np.testing.assert_allclose(narrow, expected, atol=0.02)


def test_tables_hold_the_figures_of_the_frame(tmp_path):
    frame = compared()
    rows = cells(page(tmp_path, frame)[1])
    errors = [r for r in rows if r and r[0] in ("mine", "other")]
    assert [r[0] for r in errors] == ["mine", "other"] * 2  # a table per variable
    halves = np.where(frame["lead"] <= frame["lead"].max() / 2, 3, 6)
    expected = summarise(frame.assign(lead=halves), ["variable", "lead", "model"])
    first = frame["variable"].iloc[0]
    for figure, cell in zip(["mae", "mae", "crps", "crps"], range(1, 5), strict=True):
        value = expected.loc[(first, 3 if cell % 2 else 6, "mine"), figure]
        assert errors[0][cell] == f"{value:.4g}"
    intervals = [r for r in rows if r and r[0] in ("x", "y")]
    np.testing.assert_allclose([float(c.strip("%")) for c in intervals[0][1:]], [50, 80, 95], atol=3)


def test_the_page_needs_nothing_else_and_believes_no_name(tmp_path):
    _, text = page(tmp_path, compared(names=("<script>alert(1)</script>", "a & b")))
    assert text.count("<svg") == 2
    assert "<script" not in text and "a <b>" not in text
    assert "&lt;script&gt;" in text and "a &amp; b" in text
    links = re.findall(r"(?:src|href)=\"([^\"#][^\"]*)\"", text)
    assert not links, "the page fetches something"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")
def test_it_opens_in_a_browser(tmp_path):
    path, _ = page(tmp_path, compared())
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    dom = subprocess.run(
        [*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120
    )
    rows = cells(dom.stdout)
    assert [r[0] for r in rows if r and r[0] in ("mine", "other")] == ["mine", "other"] * 2
    picture = tmp_path / "page.png"
    subprocess.run(
        [*command, f"--screenshot={picture}", "--window-size=1200,2400", path.as_uri()],
        capture_output=True,
        timeout=120,
    )
    from matplotlib.image import imread

    assert (imread(picture)[..., :3] < 0.9).mean() > 0.01  # something is drawn


def said(frame, variable="x"):
    (found,) = (v for v in verdicts(frame, "mine", "h") if v.variable == variable)
    return " ".join(found.sentences)


def test_verdicts_say_in_words_what_the_figures_say():
    frame = compared()
    own = frame[(frame["variable"] == "x") & (frame["model"] == "mine")]
    error = own["actual"].abs()
    text = said(frame)
    assert f"{len(own):,} forecasts of" in text and "h ahead" in text
    assert (
        f"within {error.quantile(0.5):.3g} of it, nine in ten within {error.quantile(0.9):.3g}" in text
    )
    other = (own["actual"] - 1).abs().mean()
    assert f"misses by {error.mean():.3g}" in text and f"other, by {other:.3g}: " in text
    assert f"{1 - error.mean() / other:.0%} less" in text and "keeps its promise" in text


def test_verdicts_warn_of_what_is_worse_than_simple_and_of_dishonest_intervals():
    assert "too narrow" in said(compared(width=0.5))
    assert "on the safe side" in said(compared(width=2.0))
    frame = compared()
    swapped = frame.assign(mean=1.0 - frame["mean"])
    assert "the simple forecast is the better one" in said(swapped)
    assert "they are alike" in said(frame.assign(mean=0.0))


def test_the_page_begins_with_the_verdicts(tmp_path):
    _, text = page(tmp_path, compared(names=("a & b",)))
    assert text.index("In short") < text.index("keeps its promise") < text.index("<h2>Errors")
    assert "<h3>a &amp; b</h3>" in text
