"""Header rows: where the names of the columns stand among the first rows of a table.

Each cell is of a kind: a number, a time, text, or nothing. The columns that hold numbers or times
further down hold text in the header, and this is what tells the two apart. There may be lines of
metadata above the names, further levels of names or units below them, or no names at all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from latentode.data.cells.usual_names import TIME_NAMES, usual
from latentode.errors import SchemaError

__all__ = ["Header", "Record", "find_header", "kind_of", "table_width"]

Record = tuple[int, list[str]]  # the line on which it begins, and its cells

NUMBER, TIME, TEXT, EMPTY = "number", "time", "text", "empty"
_NUMBER = re.compile(
    r"[<>≤≥]?=?\s*\(?[-+−]?\s?[$€£¥]?(\d[\d.,' \u00a0\u202f_]*|\.\d+|inf(inity)?)(e[-+]?\d+)?\)?"
    r"\s*(%|°?[a-z]{1,4})?",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ,]+\d[^;|\t]*)?|\d{8}T\d{4,6}.*"
    r"|\d{1,3}:\d{2}(:\d{2}([.,]\d+)?)?( ?[ap]m)?"
    r"|\d{4}-\d{2}|\d{4}-?W\d{1,2}.*|\d{4}-?Q\d|P(\d+[YMWD])*(T(\d+([.,]\d+)?[HMS])+)?"
    r"|(\w{3,9}\.?,? )?\d{1,2}[-. ](jan|feb|m|apr|jun|jul|aug|sep|o[ck]t|nov|de[cz])\w*[-. ,]+\d{2,4}.*"
    r"|(\w{3,9} )?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\w* \d{1,2},? .*\d{2,4}.*",
    re.IGNORECASE,
)
BLANKS = {
    *("", "na", "n/a", "nan", "-nan", "null", "none", "<na>", "#n/a", "#na", "nat", "-", "--", "---")
}
BLANKS |= {".", "..", "?", "*", "missing", "n.a.", "nil", "m"}
_TIME_NAME = re.compile(r"\b_?(time|date|datetime|timestamp|ds|zeit|datum|fecha|uhrzeit|heure)\b", re.I)
_RULE = re.compile(r"[-=:+ ]*")
_WIDTHS = re.compile(r"\d+[sdn]")  # of text, dates and numbers, in RDB files of the USGS
_YEAR = re.compile(r"(?:19|20)\d{2}")
FEWEST_YEARS = 3
FURTHEST = 200  # records that may stand before the first row
LONG_TIME_NAMES = {name for name in TIME_NAMES if len(name) > 2}
UNNAMED = "Unnamed: "  # of a column without a name, as pandas calls it


@dataclass(frozen=True)
class Header:
    """Where a table begins.

    Args:
        names: of its columns.
        first: which of the records is the first row.
        rows: the records that head it, as numbers among the records.
        named: those of them that the names are taken from.
    """

    names: tuple[str, ...]
    first: int
    rows: tuple[int, ...]
    named: tuple[int, ...]


def kind_of(cell: str) -> str:
    """The kind of a cell.

    Example:
        >>> [kind_of(c) for c in ("-1.5", "98.6 F", "2024-03-01 08:00", "heart rate", "NA")]
        ['number', 'number', 'time', 'text', 'empty']
    """
    cell = cell.strip()
    if cell.lower() in BLANKS:
        return EMPTY
    if not any(c.isdigit() for c in cell) and "inf" not in cell.lower():
        return TEXT
    if _TIME.fullmatch(cell):
        return TIME
    return NUMBER if _NUMBER.fullmatch(cell) else TEXT


def table_width(records: Sequence[Record]) -> int:
    """How many cells most of the later records have that have more than one; 1 if none has."""
    several = [len(cells) for _, cells in records if len(cells) > 1]
    every, later = Counter(several), Counter(several[len(several) // 2 :])
    return max(later, key=lambda width: (later[width], every[width])) if several else 1


def find_header(
    records: Sequence[Record], name: str, skipped: bool = False, rows: int | None = None
) -> Header:
    """The header of a table.

    Args:
        records: the first ones of the file, blank lines and comments left out.
        name: of the file, for messages.
        skipped: whether what comes before the header has been left out already.
        rows: how many rows head the table, if that is known.

    Raises:
        SchemaError: where two columns have one name.
    """
    width = table_width(records)
    kinds = _Kinds.of(records, width)
    first = kinds.first_row()
    if rows is not None:
        begin = 0 if skipped or first < rows else first - rows
        heads = list(range(begin, min(begin + rows, len(records))))
        return _named(records, heads, heads[-1] + 1 if heads else begin, width, name)
    heads = kinds.heads_above(first)
    if not skipped:
        _refuse_two_tables(records[: min([first, *heads])], name)
    return _named(records, heads, first, width, name)


def _refuse_two_tables(above: Sequence[Record], name: str) -> None:
    """Raises where what stands above the header are rows of values, and not metadata."""
    tables = [
        line
        for line, cells in above
        if len(cells) > 2 and 2 * sum(kind_of(c) in (NUMBER, TIME) for c in cells) >= len(cells)
    ]
    if len(tables) > 2:
        raise SchemaError(
            f"{name} holds several tables: from line {tables[0]} on there are rows of values, and from "
            f"line {above[-1][0] + 1} on another table; put each into a file of its own, or say how "
            "many lines to leave out, skip_rows="
        )


@dataclass(frozen=True)
class _Kinds:
    """The kinds of the cells of the first records, and what kind each column has further down.

    Args:
        records: the first ones.
        width: cells of a row.
        columns: the kind of each column.
        named: the record that names a time, if one does: the header, most likely.
        clock: the column that it names so.
    """

    records: Sequence[Record]
    width: int
    columns: tuple[str, ...]
    named: int | None = None
    clock: int = 0

    @classmethod
    def of(cls, records: Sequence[Record], width: int) -> _Kinds:
        later = [cells for _, cells in records[-max(1, len(records) // 2) :] if len(cells) >= width]
        columns = []
        for i in range(width):
            found = Counter(kind_of(cells[i]) for cells in later)
            typed = found[NUMBER] + found[TIME]
            some = typed and typed >= found[TEXT]
            columns.append(TEXT if not some else TIME if found[TIME] > found[NUMBER] else NUMBER)
        named = [
            (len(cells) == width, sum(map(bool, cells)), -i)
            for i, ((_, cells), (_, below)) in enumerate(pairwise(records[:FURTHEST]))
            if _names_times(cells) and (len(cells) == width or len(cells) > width == len(below))
        ]
        if not named:
            return cls(records, width, tuple(columns))
        i = -max(named)[2]
        clock = next(k for k, cell in enumerate(records[i][1]) if _names_time(cell))
        return cls(records, width, tuple(columns), i, clock)

    def role(self, i: int) -> str:
        """Whether a record reads as a "row", a "head", "both" or as "nothing"."""
        cells = self.records[i][1]
        if len(cells) < 2:
            return "nothing"
        if any(cells) and all(_RULE.fullmatch(cell) for cell in cells) and "-" in "".join(cells):
            return "head"  # a line drawn below the names
        if all(_WIDTHS.fullmatch(cell.strip()) for cell in cells) or _names_years(cells):
            return "head"
        own = [kind_of(c) for c in cells[: self.width]]
        pairs = [p for p in zip(own, self.columns, strict=False) if p[1] in (NUMBER, TIME)]
        if any(mine == kind == TIME for mine, kind in pairs) or self._tells_time(i):
            return "row"
        text = any(mine == TEXT or (mine, kind) == (TIME, NUMBER) for mine, kind in pairs)
        numbers = any(mine == NUMBER for mine, _ in pairs)
        if text and numbers:
            return "both"
        return "head" if text else "row" if numbers else "nothing"

    def _tells_time(self, i: int) -> bool:
        """Whether there is something like a time in the column that is named so."""
        cells = self.records[i][1]
        if self.named is None or i <= self.named or len(cells) <= self.clock < self.width:
            return False
        cell, kind = (
            cells[min(self.clock, len(cells) - 1)],
            self.columns[min(self.clock, self.width - 1)],
        )
        return any(c.isdigit() for c in cell) if kind == TEXT else kind_of(cell) in (NUMBER, TIME)

    def first_row(self) -> int:
        """Which record is the first row of values."""
        n = min(len(self.records), FURTHEST)
        if self.named is not None:
            below = (i for i in range(self.named + 1, n) if self.role(i) != "head")
            return next(below, self.named + 1)
        if not any(kind in (NUMBER, TIME) for kind in self.columns):
            wide = (i for i in range(n) if len(self.records[i][1]) == self.width)
            return next(wide, 0) + 1
        roles = [self.role(i) for i in range(n)]
        whole = [len(self.records[i][1]) >= self.width for i in range(n)]
        for i, role in enumerate(roles):
            if role not in ("row", "both"):
                continue
            if role == "both" or not whole[i]:
                later = (j for j in range(i + 1, n) if roles[j] == "row" and whole[j])
                if "head" in roles[i + 1 : next(later, n)]:
                    continue  # of the metadata: names follow
            begin = i
            while begin > 0 and roles[begin - 1] == "nothing" and whole[begin - 1]:
                begin -= 1  # rows that hold no value yet
            if begin > 0 and roles[begin - 1] == "head":
                return begin
            # A header whose names are numbers in part, or a table without one.
            return i + 1 if role == "both" else i if begin else 0
        return min(1, len(self.records))

    def heads_above(self, first: int) -> list[int]:
        """The records right above the first row that are no rows."""
        heads: list[int] = []
        for i in range(first - 1, -1, -1):
            cells = self.records[i][1]
            if len(cells) < 2:
                break
            if heads and (len(cells) != len(self.records[heads[0]][1]) or not self._is_head(i)):
                break
            heads.insert(0, i)
        return self._without_metadata(heads)

    def _is_head(self, i: int) -> bool:
        return self.role(i) == "head" or i == self.named

    def _without_metadata(self, heads: list[int]) -> list[int]:
        """From the record on that names a time, if one does and those above are no levels of names."""
        timed = next((i for i in heads if any(map(_names_time, self.records[i][1]))), None)
        if timed is None or timed == heads[0]:
            return heads
        if _leading_only(self.records[timed][1]):
            return heads
        names = [c for c in self.records[timed][1] if c.strip()]
        alone = len(set(names)) == len(names) > 1
        return [i for i in heads if i >= timed] if alone else heads


def _names_years(cells: Sequence[str]) -> bool:
    """Whether a record names years, as where each is a column: beside text, all alike far apart."""
    numbers = [cell.strip() for cell in cells if kind_of(cell) != TEXT and cell.strip()]
    if len(numbers) < FEWEST_YEARS or not any(kind_of(cell) == TEXT for cell in cells):
        return False
    years = [int(cell) for cell in numbers if _YEAR.fullmatch(cell)]
    steps = {later - year for year, later in pairwise(years)}
    return len(years) == len(numbers) and len(steps) == 1 and steps != {0}


def _names_times(cells: Sequence[str]) -> bool:
    """Whether a record is a header that names a time, and does not tell one."""
    if _leading_only(cells) or any(kind_of(cell) == TIME for cell in cells):
        return False
    return any(map(_names_time, cells))


def _names_time(cell: str) -> bool:
    if usual(cell) in LONG_TIME_NAMES:
        return True
    return bool(_TIME_NAME.search(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cell).replace("_", " ")))


def _leading_only(cells: Sequence[str]) -> bool:
    """Whether the first cells are filled and the others are not."""
    filled = [bool(c.strip()) for c in cells]
    return filled[0] and not filled[-1] and filled == sorted(filled, reverse=True)


def _named(records: Sequence[Record], heads: list[int], first: int, width: int, name: str) -> Header:
    """The names that the header rows give."""
    if not heads:
        names = tuple(f"column{i + 1}" for i in range(width))
        return Header(names, first, (), ())
    cells = {i: [c.strip() for c in records[i][1]] for i in heads}
    last = cells[heads[-1]]
    leading = [c for c in last if c]
    index_names: list[str] = []
    heads_left = heads
    if len(heads) > 1 and _leading_only(last):
        upper = cells[heads[-2]][: len(leading)]
        if any(map(_names_time, leading)) and not any(map(_names_time, upper)):
            index_names, heads_left = leading, heads[:-1]  # as pandas names an index below its columns
    for chosen in _levels(heads_left, cells):
        found = _joined([cells[i] for i in chosen])
        found = [*index_names, *found[len(index_names) :]]
        real = [c for c in found if c]
        if len(set(real)) == len(real):
            named = (*chosen, heads[-1]) if index_names else chosen
            return Header(_filled(found), first, tuple(heads), tuple(named))
    twice = next(c for i in heads_left for c in cells[i] if c and cells[i].count(c) > 1)
    line = records[heads_left[0]][0]
    raise SchemaError(
        f"{name}: column `{twice}` occurs twice in the header, line {line}; rename one of them"
    )


def _levels(heads: Sequence[int], cells: dict[int, list[str]]) -> list[tuple[int, ...]]:
    """The sets of header rows whose cells may be the names, the likeliest first."""
    named = next((i for i in heads if any(map(_names_time, cells[i]))), heads[0])
    at = list(heads).index(named)
    below, above = tuple(heads[at : at + 2]), tuple(heads[max(0, at - 1) : at + 1])
    alone = [(named,)]
    holes = any(
        not upper and lower for upper, lower in zip(cells[named], cells[below[-1]], strict=False)
    )
    if len(below) > 1 and holes:
        alone = [below, (named,)]
    return list(dict.fromkeys([*alone, below, above, tuple(heads)]))


def _joined(rows: Sequence[Sequence[str]]) -> list[str]:
    """Names of several levels, a blank one going on with what stands to its left."""
    width = max(map(len, rows))
    levels = []
    for depth, row in enumerate(rows):
        level = [*row, *[""] * (width - len(row))]
        if depth < len(rows) - 1:
            for i in range(1, width):
                level[i] = level[i] or level[i - 1]
        levels.append(level)
    return [
        " ".join(dict.fromkeys(part for part in parts if part)) for parts in zip(*levels, strict=True)
    ]


def _filled(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name or f"{UNNAMED}{i}" for i, name in enumerate(names))
