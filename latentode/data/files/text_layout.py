"""Text layout: separator, decimal sign, comments and header of a text file, found in its first lines.

A separator is right where most lines have equally many cells by it and where these cells are numbers,
times or nothing. Whatever else could be meant as well is refused with the option that says it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from latentode.data.files.sources import ending_of
from latentode.data.tables.file_format import WHITESPACE, FileFormat
from latentode.data.tables.header_rows import (
    EMPTY,
    NUMBER,
    TEXT,
    TIME,
    Header,
    Record,
    find_header,
    kind_of,
    table_width,
)
from latentode.errors import SchemaError

__all__ = ["Line", "TextLayout", "find_layout", "lines_from", "records_of"]

Line = tuple[int, str]  # its number in the file, and its text
LINES = 400  # that are looked at
TAB = "\t"
SEPARATORS = (",", ";", "\t", "|")
USUAL = {".tsv": "\t", ".tab": "\t"}  # by ending; else a comma
COMMENTS = ("#", "%", "//", "!")  # what lines begin with that are no rows
ANNOTATIONS = ("#group", "#datatype", "#default")  # of InfluxDB, above each of its tables
CLEAR = 0.05  # by how much one separator has to be likelier than another
ENOUGH = 0.5  # share of lines that have to have equally many cells
SHOWN = 40  # characters of a line in a message
_UNIT_SIGN = re.compile(r"[/%°^]|^deg")
_DECLARED = re.compile(r'"?sep=(.)"?$', re.IGNORECASE)
_COMMA = re.compile(r"[-+−]?\d+,\d+([eE][-+]?\d+)?")
_POINT = re.compile(r"[-+−]?\d*\.\d+([eE][-+]?\d+)?")
_GROUPED = re.compile(r"[-+−]?[1-9]\d{0,2}[,.]\d{3}")  # 1,234 means either
_GROUPS = re.compile(r"[-+−]?[1-9]\d{0,2}(?:\.\d{3}){2,}(?:,\d+)?")  # 1.234.567


@dataclass(frozen=True)
class TextLayout:
    """How a text file is written.

    Args:
        format: settled in all that is of text, but for the encoding.
        names: of the columns.
        first_line: the line on which the first row begins.
        width: how many cells most lines have.
        padded: whether a blank follows each separator.
        header: the line that names the columns, as it is written; "" for none.
        found: what was not to be expected of the file, as one would write it.
    """

    format: FileFormat
    names: tuple[str, ...]
    first_line: int
    width: int
    padded: bool
    header: str
    found: tuple[str, ...]


def find_layout(content: bytes, name: str, told: FileFormat) -> TextLayout:
    """The layout of a text.

    Args:
        content: in UTF-8, with line feeds.
        name: of the file, for messages and for its ending.
        told: what is known of it.

    Raises:
        SchemaError: for an empty file, and where several layouts are as likely.
    """
    skip = told.skip_rows or 0
    head = list(islice(lines_from(content, skip), LINES))
    declared = _DECLARED.match(head[0][1]) if head and skip == 0 else None
    if declared is not None:
        told = replace(told, separator=told.separator or declared[1])
        head = head[1:]
    likely = _likely_comment(head)
    plain = _without(head, told.comments if told.comment is not None else (likely,))
    if not plain:
        raise SchemaError(f"{name} is empty; check the export that wrote it")
    usual = USUAL.get(ending_of(name), ",")
    separator = told.separator or _separator(plain, name, usual)
    width = table_width(list(records_of(plain, separator)))
    if width == 1:
        _refuse_one_column(plain, name, separator, usual)
    comment = told.comment
    if comment is None:
        comment = _comment(content, likely or "#", plain[0][0], separator, width)
    signs = FileFormat(comment=comment).comments
    rows = _without(head, signs)
    records = list(records_of(rows, separator))
    header = find_header(records, name, told.skip_rows is not None, told.header_rows)
    marked = None
    if told.header_rows is None and not header.rows:
        marked = _marked_header(head, records[header.first :], separator, signs)
    first_line = records[header.first][0] if header.first < len(records) else rows[-1][0] + 1
    begin = records[header.rows[0]][0] if header.rows else first_line
    written = dict(head)
    settled = replace(
        told,
        separator=separator,
        decimal=told.decimal or _decimal(records[header.first :], name, separator),
        comment=comment,
        skip_rows=begin - 1 if told.skip_rows is None else told.skip_rows,
        header_rows=len(header.rows),
    )
    found = []
    if separator != usual and told.separator is None:
        found.append(FileFormat(separator=separator).describe())
    if settled.decimal == "," and told.decimal is None:
        found.append("decimal=','")
    if told.skip_rows is None and any(line < begin for line, text in rows if text.strip()):
        found.append(f"skip_rows={begin - 1}")
    if comment and told.comment is None:
        found.append(f"comment={comment!r}")
    if told.header_rows is None:
        found += _said_of(header, records) if marked is None else [f"the header in line {marked[0]}"]
    names = header.names if marked is None else marked[1]
    header_line = written[begin] if header.rows else ""
    return TextLayout(
        settled, names, first_line, width, _padded(rows, separator), header_line, tuple(found)
    )


def lines_from(content: bytes, skip: int = 0) -> Iterator[Line]:
    """The lines of a text with their numbers, from one on."""
    begin = 0
    for _ in range(skip):
        if begin >= len(content):
            return
        begin = content.find(b"\n", begin) + 1 or len(content)
    number = skip
    while begin < len(content):
        end = content.find(b"\n", begin)
        end = len(content) if end < 0 else end
        number += 1
        yield number, content[begin:end].decode()
        begin = end + 1


def records_of(lines: Iterable[Line], separator: str) -> Iterator[Record]:
    """Records, each with the line on which it begins; blank lines are none.

    Args:
        lines: with their numbers, which may leave some out.
        separator: between cells.
    """
    read: list[int] = []  # since the last record
    blanks = separator == WHITESPACE

    def texts() -> Iterator[str]:
        for number, line in lines:
            read.append(number)
            yield f"{line.replace(TAB, ' ').strip()}\n" if blanks else f"{line}\n"

    delimiter = " " if blanks else separator
    for cells in csv.reader(texts(), delimiter=delimiter, skipinitialspace=True):
        if len(cells) > 1 or (cells and cells[0].strip()):
            yield read[0], cells
        read.clear()


def _without(lines: Sequence[Line], signs: Sequence[str]) -> list[Line]:
    """The lines that are neither blank nor comments."""
    begins = tuple(filter(None, signs))
    return [(n, x) for n, x in lines if x.strip() and not x.startswith(begins)]


def _likely_comment(head: Sequence[Line]) -> str:
    """The sign of comments, if some lines begin with it: the first ones, or not most of them."""
    for sign in COMMENTS:
        marked = [line.startswith(sign) for _, line in head if line.strip()]
        above = marked == sorted(marked, reverse=True)
        if any(marked) and (above or 2 * sum(marked) < len(marked)):
            return sign
    return ""


def _comment(content: bytes, sign: str, first: int, separator: str, width: int) -> str:
    """The sign of comments, unless lines below the header that begin with it are rows of the table."""
    written = sign.encode()
    if not content.startswith(written) and b"\n" + written not in content:
        return ""
    marked = [(n, line) for n, line in lines_from(content) if line.startswith(sign)]
    marked = [(n, line) for n, line in marked if not line.startswith(ANNOTATIONS)]
    below = list(records_of((line for line in marked if line[0] > first), separator))
    return "" if any(len(cells) == width for _, cells in below) else sign


def _separator(lines: Sequence[Line], name: str, usual: str) -> str:
    """The separator of a table.

    Raises:
        SchemaError: where none or several fit.
    """
    candidates = dict.fromkeys((usual, *SEPARATORS))
    scores = {s: _score(list(records_of(lines, s))) for s in candidates}
    ranked = sorted(candidates, key=lambda s: -scores[s])
    if scores[ranked[0]] == 0:
        if _score(list(records_of(lines, WHITESPACE))) >= 1:
            return WHITESPACE
        _refuse_one_column(lines, name, usual, usual)
    rivals = [s for s in ranked[:2] if scores[s] > scores[ranked[0]] - CLEAR]
    named = [s for s in rivals if s in lines[0][1]]  # of decimal commas a header has none
    if len(rivals) == 1 or len(named) == 1:
        return (named if len(named) == 1 else rivals)[0]
    shown = " or ".join(FileFormat(separator=s).describe() for s in rivals)
    raise SchemaError(
        f"{name} may have its cells separated either way, line {lines[0][0]}: "
        f"{lines[0][1][:SHOWN]!r}; say which is right, {shown}"
    )


def _score(records: Sequence[Record]) -> float:
    """How well a table comes out: the share of lines of one width, and of cells that are no text."""
    width = table_width(records)
    begin = next((i for i, (_, cells) in enumerate(records) if len(cells) == width), 0)
    table = records[begin:]  # what comes before it may be metadata
    chosen = [cells for _, cells in table if len(cells) == width]
    if width == 1 or len(chosen) < max(ENOUGH * len(table), min(2, len(records))):
        return 0.0
    kinds = [kind_of(cell) for cells in chosen for cell in cells]
    filled = sum(kind != EMPTY for kind in kinds)
    typed = sum(kind in (NUMBER, TIME) for kind in kinds)
    if filled and not typed:
        return len(chosen) / len(records) / 2
    shares = (len(chosen) / len(table) + 2 * len(chosen) / len(records)) / 3
    return shares + typed / max(1, filled)


def _refuse_one_column(lines: Sequence[Line], name: str, separator: str, usual: str) -> None:
    """Raises for a table of one column, with the separator that would give more, if one would."""
    line, text = lines[0]
    others = [s for s in dict.fromkeys((usual, *SEPARATORS, WHITESPACE)) if s != separator]
    signs = dict.fromkeys(c for c in text if not c.isalnum() and c not in "_-.\"' ")
    others += [s for s in signs if s not in others]
    better = next((s for s in others if _score(list(records_of(lines, s))) >= 1), None)
    fix = (
        "give the character that separates them, such as separator=':'"
        if better is None
        else f"with {FileFormat(separator=better).describe()} there are more"
    )
    shown = FileFormat(separator=separator).describe()
    raise SchemaError(
        f"{name} has a single cell in each line by {shown}, from line {line} on: {text[:SHOWN]!r}; a "
        f"table has a time and a value at least; {fix}"
    )


def _decimal(records: Sequence[Record], name: str, separator: str) -> str:
    """The decimal sign.

    Raises:
        SchemaError: where every comma could stand for thousands too.
    """
    if separator == ",":
        return "."  # and what has its commas in quotation marks is settled column by column
    cells = {cell.strip(): line for line, row in reversed(records) for cell in row if "," in cell}
    commas = [cell for cell in cells if _COMMA.fullmatch(cell)]
    points = {c.strip(): n for n, row in reversed(records) for c in row if _POINT.fullmatch(c.strip())}
    if points and separator == ";" and not commas and all(map(_GROUPED.fullmatch, points)):
        # Where semicolons stand between cells, points often stand between thousands.
        if any(_GROUPS.fullmatch(cell.strip()) for _, row in records for cell in row):
            return ","
        commas, cells = list(points), points
    elif points and not all(map(_GROUPED.fullmatch, commas)) and all(map(_GROUPED.fullmatch, points)):
        return ","  # 21,7 is no group of thousands, and 31.680 is one
    elif not commas or points:
        return "."
    if any(not _GROUPED.fullmatch(cell) for cell in commas):
        return ","
    raise SchemaError(
        f"{name}: {commas[-1]!r} in line {cells[commas[-1]]} may be a number with decimals or one with "
        "thousands; say decimal=',' if a comma stands before decimals, decimal='.' if a point does"
    )


def _marked_header(
    head: Sequence[Line], records: Sequence[Record], separator: str, signs: tuple[str, ...]
) -> tuple[int, tuple[str, ...]] | None:
    """Line and names of a header that is written as the last comment above the first row."""
    if not signs or not records:
        return None
    above = [(n, x) for n, x in head if n < records[0][0] and x.startswith(signs)]
    found: tuple[int, tuple[str, ...]] | None = None
    for line, text in reversed(above[-2:]):  # a line of names, and maybe one of units below it
        sign = next(sign for sign in signs if text.startswith(sign))
        cells = next(iter(records_of([(line, text.lstrip(sign).strip())], separator)), (line, []))[1]
        names = tuple(cell.strip() for cell in cells)
        if len(names) != len(records[0][1]) or not all(kind_of(n) == TEXT for n in names):
            break
        if found is not None and not _names_units(found[1]):
            break
        found = (line, names)
    return None if found is None or len(set(found[1])) < len(found[1]) else found


def _names_units(cells: Sequence[str]) -> bool:
    """Whether some cells of a line below another are units: one comes twice, or has the sign of one."""
    return len(set(cells)) < len(cells) or any(_UNIT_SIGN.search(cell) for cell in cells)


def _said_of(header: Header, records: Sequence[Record]) -> list[str]:
    """What is unusual about a header."""
    if not header.rows:
        return [f"header_rows=0 (no names: the columns are {header.names[0]} to {header.names[-1]})"]
    if len(header.rows) == 1:
        return []
    lines = [records[i][0] for i in header.named]
    said = f"names in line{'s' * (len(lines) > 1)} {' and '.join(map(str, lines))}"
    for i in header.rows:
        if i not in header.named:
            line, cells = records[i]
            said += f", line {line} left out: {' '.join(c for c in cells if c)[:SHOWN]!r}"
    return [f"header_rows={len(header.rows)} ({said})"]


def _padded(lines: Sequence[Line], separator: str) -> bool:
    """Whether a blank follows each separator."""
    if separator == WHITESPACE or separator == " ":
        return False
    found = [text for _, text in lines if separator in text]
    return bool(found) and all(x.count(separator) == x.count(f"{separator} ") for x in found)
