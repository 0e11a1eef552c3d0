"""Text encodings: the bytes of a text file as UTF-8 with plain line ends, whatever they were before.

A byte-order mark says what follows it. Text without one is UTF-8 if it can be, UTF-16 if every other
byte is zero, and otherwise of a single-byte encoding or one of the Far East. Windows-1252 is taken
where what lies beyond ASCII are single characters, as in "°C" or "Müller"; a run of them is another
script, of which nothing can be known. Lines that are no rows are blanked, so that the others keep
their numbers.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

from latentode.errors import SchemaError

__all__ = [
    "as_utf8",
    "offset_of",
    "with_plain_rules",
    "without_comments",
    "without_lines",
    "without_rules",
]

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_RULE = re.compile(rb"^[ \t]*[|+]?-{3,}[-+|=]*[ \t]*$", re.MULTILINE)
_COUNT = re.compile(rb"^\(?\d+ rows?(?: in set.*)?\)?[ \t]*$", re.MULTILINE)
_CORNERS = tuple(corner.encode() for corner in "┌╭╒╔┏")
_BOX = dict.fromkeys(range(0x250C, 0x2570), "+")
_BOX |= {ord(c): "|" for c in "│║┃"} | {ord(c): "-" for c in "─═━"}
UTF_8 = "utf-8"
WESTERN = "cp1252"
FOREIGN_RUN = re.compile(rb"[\x80-\xff]{3}")
START = 4096  # bytes whose zeros tell UTF-16 from plain text
HALF = 0.3  # share of zeros at even or odd places from which text is UTF-16


def as_utf8(content: bytes, name: str, told: str | None = None) -> tuple[bytes, str]:
    """The same text in UTF-8, without a byte-order mark and with a line feed after each line.

    Args:
        content: of a text file.
        name: what messages call it.
        told: its encoding, if that is known.

    Returns:
        The text and its encoding.

    Raises:
        SchemaError: for text of no encoding that is known, naming the line and byte.

    Example:
        >>> as_utf8("temp °C\\r\\n".encode("cp1252"), "a.csv")
        (b'temp \\xc2\\xb0C\\n', 'cp1252')
    """
    encoding = told or _marked(content) or _of_zeros(content) or UTF_8
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        content = content.removeprefix(codecs.BOM_UTF8)
    if encoding == UTF_8 and told is None and not _decodes(content):
        encoding = _western(content, name)
    if encoding != UTF_8 or told is not None:
        content = _decoded(content, name, encoding).encode()
    _refuse_zeros(content, name)
    if b"\n" + codecs.BOM_UTF8 in content:  # of files that were put one below another
        content = content.replace(b"\n" + codecs.BOM_UTF8, b"\n")
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return content, encoding


def _marked(content: bytes) -> str | None:
    return next((e for mark, e in MARKS.items() if content.startswith(mark)), None)


def _of_zeros(content: bytes) -> str | None:
    """UTF-16 by the zeros beside each character of ASCII."""
    start = content[:START]
    pairs = len(start) // 2
    if pairs == 0:
        return None
    if start[1::2].count(0) > HALF * pairs and start[0::2].count(0) == 0:
        return "utf-16-le"
    if start[0::2].count(0) > HALF * pairs and start[1::2].count(0) == 0:
        return "utf-16-be"
    return None


def _decodes(content: bytes) -> bool:
    if content.isascii():
        return True
    try:
        content.decode(UTF_8)
    except UnicodeDecodeError:
        return False
    return True


def _decoded(content: bytes, name: str, encoding: str) -> str:
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeError as error:
        place = error.start if isinstance(error, UnicodeDecodeError) else 0
        line, byte = _place(content, place)
        raise SchemaError(
            f"{name} is not text of encoding={encoding!r}: line {line} holds the byte {byte:#04x}; "
            "name the encoding it was saved in, or save it as UTF-8"
        ) from error


def _western(content: bytes, name: str) -> str:
    """Windows-1252, where the text may be that.

    Raises:
        SchemaError: where it is of another script.
    """
    try:
        content.decode(WESTERN)
        foreign = FOREIGN_RUN.search(content)
    except UnicodeDecodeError as error:
        foreign = re.compile(re.escape(content[error.start : error.start + 1])).search(content)
    if foreign is None:
        return WESTERN
    line, byte = _place(content, foreign.start())
    raise SchemaError(
        f"{name} is not UTF-8 text: line {line} holds the byte {byte:#04x}, and what script it is of "
        "is not said anywhere; save it as UTF-8, or name its encoding, encoding='cp1251' (Cyrillic), "
        "'shift_jis' (Japanese), 'gb18030' (Chinese), ..."
    )


def _refuse_zeros(content: bytes, name: str) -> None:
    """Raises for a NUL, which no table has: of a damaged disk, or of a file that is no text."""
    place = content.find(b"\0")
    if place >= 0:
        line, _ = _place(content, place)
        raise SchemaError(
            f"{name}: line {line} holds a NUL byte, which text does not; if the file is text at all, "
            "remove it there, for instance with tr -d '\\000', and check what it stands in for"
        )


def _place(content: bytes, place: int) -> tuple[int, int]:
    """The line and the byte at a place."""
    before = content[:place].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return before.count(b"\n") + 1, content[place]


def offset_of(content: bytes, line: int) -> int:
    """Where a line begins."""
    begin = 0
    for _ in range(line - 1):
        begin = content.find(b"\n", begin) + 1 or len(content)
    return begin


def with_plain_rules(content: bytes) -> bytes:
    """The text of a table in a box as clients of databases draw it, of plain characters."""
    if not content.lstrip().startswith(_CORNERS):
        return content
    text = content.decode()
    return text.translate(_BOX).encode()


def without_comments(content: bytes, signs: Sequence[str]) -> bytes:
    """The text without the lines that begin with one of some signs."""
    for sign in map(str.encode, signs):
        if content.startswith(sign) or b"\n" + sign in content:
            content = re.sub(rb"^" + re.escape(sign) + rb".*$", b"", content, flags=re.MULTILINE)
    return content


def without_rules(content: bytes) -> bytes:
    """Without the lines that clients of databases draw, nor the count of rows below them."""
    found = _RULE.search(content)
    return _COUNT.sub(b"", _RULE.sub(b"", content)) if found else content


def without_lines(content: bytes, lines: Sequence[int]) -> bytes:
    """The text without some of its lines.

    Example:
        >>> without_lines(b"a\\nb\\nc\\n", [2])
        b'a\\n\\nc\\n'
    """
    every = content.split(b"\n")
    for line in lines:
        every[line - 1] = b""
    return b"\n".join(every)
