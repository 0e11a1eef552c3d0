r"""Numbers written as text: read where the whole column is written in one way, else refused.

A cell is *sign, currency, digits, unit*, such as "- 1,234.5", "$ 12", "98.6 F", "45 %" or "(76.17)".
The marks of a column are read as the decimal sign and the sign between thousands where only one reading
fits every cell; "9,051" alone might be 9051 or 9.051. A cell such as "<0.5", ">600", "HI" or "LO" is
*censored*: it says on which side of a limit the value lies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import numpy as np
import pandas as pd

from latentode.data.columns import cell_name, without_arrow
from latentode.errors import SchemaError

__all__ = ["CENSORED", "DECIMALS", "NumberColumn", "is_text", "looks_numeric", "read_numbers"]

CENSORED = ("limit", "drop")
DECIMALS = (".", ",")
MOSTLY_NUMERIC = 0.5  # a text column of which so much is numbers is a spoilt numeric one

_WORDS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "y": 1.0, "n": 0.0, "on": 1.0, "off": 0.0}
_PAIRS = (("true", "false"), ("yes", "no"), ("y", "n"), ("on", "off"))
_CHARACTERS = str.maketrans(
    {"\u2212": "-", "\uff0b": "+", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2019": "'"}
)
_CELL = re.compile(
    r"^(?P<open>\()?\s*(?P<before>[+-]?)\s*"
    r"(?P<currency>[$€£¥₹]|(?:US|R|A|C|NZ|HK)\$|[A-Z]{3}(?=\s*[\d+-]))?\s*(?P<after>[+-]?)\s*"
    r"(?P<digits>(?:\d[\d.,' _]*|[.,]\d+)(?:[eE][+-]?\d+)?)\s*(?P<minus>-)?"
    r"(?P<unit>(?:\s*[^\d\s()<>=+\-][^<>=]*)?)\s*(?P<close>\))?$"
)
_LIMIT = re.compile(r"^(?P<side>[<>≤≥])\s*=?\s*(?P<number>\S.*)$")
_SIZES = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9}
_LOW, _HIGH = frozenset({"lo", "low"}), frozenset({"hi", "high"})
_MARKS = (
    (None, "."),
    (None, ","),
    (",", "."),
    (".", ","),
    (" ", "."),
    (" ", ","),
    ("'", "."),
    ("_", "."),
)


@dataclass(frozen=True)
class NumberColumn:
    """A column as numbers.

    Args:
        column: float64, NaN where a cell says nothing.
        note: how its text was read; None for plain numbers.
    """

    column: pd.Series
    note: str | None = None


def is_text(column: pd.Series) -> bool:
    """Whether a column holds text or objects rather than numbers, times or categories of numbers."""
    kind = column.dtype
    return bool(pd.api.types.is_object_dtype(kind) or pd.api.types.is_string_dtype(kind)) or isinstance(
        kind, pd.CategoricalDtype
    )


def looks_numeric(column: pd.Series, decimal: str | None = None) -> bool:
    """Whether a text column is meant as numbers, so that it can't be left out in silence."""
    cells = pd.Series(_cells(column))
    if cells.empty:
        return False
    if _whole(cells, decimal) is not None:
        return True
    text = _text(cells)
    numbers = _plain(text).notna()
    words = _LOW | _HIGH | {"true", "false", "yes", "no"}
    numbers |= np.array([_LIMIT.match(c) is not None or c.lower() in words for c in map(str, text)])
    # Numbers with a unit count as well, but not codes of a digit and a letter such as "3A".
    pieces = _pieces(text)
    apart = pieces["digits"].str.endswith(" ") | pieces["unit"].fillna("").str.fullmatch(r"|%|°.*")
    marked = pieces["digits"].notna() & apart.fillna(False).astype(bool)
    counts = _counts(column, cells)
    return bool(((numbers | marked) * counts).sum() >= MOSTLY_NUMERIC * counts.sum())


def read_numbers(
    column: pd.Series,
    role: str = "targets",
    censored: str | None = None,
    decimal: str | None = None,
    point_elsewhere: bool = False,
) -> NumberColumn:
    """A column of text or objects as numbers.

    Args:
        column: of a table.
        role: the schema's name of its role, for messages; "value" in a long table.
        censored: "limit" takes a censored cell as its limit, "drop" as missing; None refuses it.
        decimal: "." or ",", where both readings are possible.
        point_elsewhere: whether other columns of the table have "." for a decimal sign.

    Raises:
        SchemaError: for the first cell that is no number, naming it and the fix.

    Example:
        >>> read_numbers(pd.Series(["9,051", "13,666.5"])).column.tolist()
        [9051.0, 13666.5]
        >>> read_numbers(pd.Series(["<0.5", "2"], name="trop"), censored="limit").column.tolist()
        [0.5, 2.0]
    """
    _refuse_times(column, role)
    cells = pd.Series(_cells(column))
    text = _text(cells)
    words = _LOW | _HIGH
    beyond = np.array([_LIMIT.match(c) is not None or c.lower() in words for c in map(str, text)], bool)
    if beyond.any() and looks_numeric(column, decimal):
        return _censored(column, beyond, role, censored, decimal)
    numbers, how = _whole(cells, decimal, point_elsewhere) or _refuse(column, role, decimal)
    note = None if how is None else f"column `{column.name}` was read as numbers: {how}"
    return NumberColumn(_placed(column, cells, numbers), note)


def _cells(column: pd.Series) -> pd.Series:
    """The distinct cells that hold something."""
    plain = without_arrow(column)
    if isinstance(plain.dtype, pd.CategoricalDtype):
        plain = plain.astype(object)
    return pd.Series(plain.dropna().unique(), dtype=object)


def _text(cells: pd.Series) -> pd.Series:
    return cells.map(lambda cell: str(cell).translate(_CHARACTERS).strip()).astype(object)


def _counts(column: pd.Series, cells: pd.Series) -> np.ndarray:
    counts = without_arrow(column).astype(object).value_counts()
    return counts.reindex(cells).to_numpy(dtype=np.float64)


def _placed(column: pd.Series, cells: pd.Series, numbers: np.ndarray) -> pd.Series:
    """The number of each row, from that of each distinct cell."""
    plain = without_arrow(column).astype(object)
    index = pd.Index(cells).get_indexer(pd.Index(plain))
    values = np.append(numbers.astype(np.float64), np.nan)[index]
    return pd.Series(values, index=column.index, name=column.name)


def _plain(text: pd.Series) -> pd.Series:
    return cast(pd.Series, pd.to_numeric(text, errors="coerce"))


def _pieces(text: pd.Series) -> pd.DataFrame:
    return cast(pd.DataFrame, text.astype(str).str.extract(_CELL))


def _whole(
    cells: pd.Series, decimal: str | None, point_elsewhere: bool = False
) -> tuple[np.ndarray, str | None] | None:
    """The numbers of distinct cells and how they were read; None unless all are written in one way."""
    if cells.map(lambda cell: not isinstance(cell, str)).all():
        numbers = cast(pd.Series, pd.to_numeric(cells, errors="coerce"))
        return (numbers.to_numpy(np.float64), None) if numbers.notna().all() else None
    text = _text(cells)
    numbers = _plain(text)
    if numbers.notna().all() and decimal != ",":
        return numbers.to_numpy(np.float64), "they were text"
    lowered = text.str.lower()
    pair = next((p for p in _PAIRS if lowered.isin(p).all()), None)
    if pair is not None:
        how = f"{pair[0]} as 1, {pair[1]} as 0"
        return lowered.map(_WORDS).to_numpy(np.float64), how
    return _written(text, decimal, point_elsewhere)


def _written(
    text: pd.Series, decimal: str | None, point_elsewhere: bool
) -> tuple[np.ndarray, str] | None:
    pieces = _pieces(text)
    if pieces["digits"].isna().any() or (pieces["open"].isna() != pieces["close"].isna()).any():
        return None
    unit = pieces["unit"].fillna("").str.strip()
    currency = pieces["currency"].fillna("")
    zero = pieces["digits"].str.fullmatch(r"0+").to_numpy(dtype=bool)
    sizes = unit.str.upper().map(_SIZES)
    sized = bool(sizes.notna().all()) and len(set(unit)) > 1  # thousands beside millions
    for mark in () if sized else (unit, currency):
        if len(set(mark[~zero | (mark != "").to_numpy()])) > 1:  # "0" may stand without its unit
            return None
    if unit.iloc[0] and len(text) == 1 and not re.fullmatch(r"%|°.*", unit.iloc[0]):
        return None  # one cell such as "12A" is a label rather than a number
    digits = pieces["digits"].str.strip()
    marks = _marks(digits, decimal, point_elsewhere)
    if marks is None:
        return None
    numbers = _digits(digits, marks).to_numpy(np.float64)
    signs = pieces[["before", "after", "minus"]].fillna("").sum(axis=1)
    negative = signs.str.contains("-", regex=False) | pieces["open"].notna()
    numbers = np.where(negative, -numbers, numbers)
    if sized:
        return numbers * sizes.to_numpy(np.float64), "K, M and B are thousands, millions, milliards"
    return numbers, _how(text, marks, unit[~zero], currency[~zero], pieces)


def _how(text: Any, marks: Any, unit: Any, currency: Any, pieces: pd.DataFrame) -> str:
    parts = []
    thousands, point = marks
    if thousands is not None:
        parts.append(f"{thousands!r} stands between thousands")
    if point == ",":
        parts.append("',' is the decimal sign")
    for mark in (currency, unit):
        if len(mark) and mark.iloc[0] == "%":
            parts.append("per cent, 45 % as 45")
        elif len(mark) and mark.iloc[0]:
            parts.append(f"all are in {mark.iloc[0]!r}")
    if pieces["open"].notna().any():
        parts.append("those in brackets are negative")
    return ", ".join(parts) or f"such as {text.iloc[0]!r}"


def _pattern(marks: tuple[str | None, str]) -> str:
    thousands, point = marks
    fraction = rf"(?:{re.escape(point)}\d*)?(?:[eE][+-]?\d+)?"
    if thousands is None:
        return r"\d*" + fraction
    mark = re.escape(thousands)
    indian = rf"\d{{1,2}}(?:{mark}\d{{2}})*{mark}\d{{3}}|" if thousands == "," else ""
    return rf"(?:{indian}\d{{1,3}}(?:{mark}\d{{3}})+|\d{{1,3}})" + fraction


def _digits(digits: pd.Series, marks: tuple[str | None, str]) -> pd.Series:
    thousands, point = marks
    if thousands is not None:
        digits = digits.str.replace(thousands, "", regex=False)
    return _plain(digits.str.replace(point, ".", regex=False))


def _marks(
    digits: pd.Series, decimal: str | None, point_elsewhere: bool = False
) -> tuple[str | None, str] | None:
    """The signs between thousands and before decimals that fit each cell; None for none or several."""
    possible: dict[tuple[float, ...], tuple[str | None, str]] = {}
    for marks in _MARKS:
        if decimal is not None and marks[1] != decimal:
            continue
        thousands, point = marks
        used = thousands is None or digits.str.contains(thousands, regex=False).any()
        used &= point == "." or digits.str.contains(point, regex=False).any() or decimal is not None
        # No number with a group of thousands begins with 0, as 0,051 does.
        zero = thousands is not None and digits.str.match(rf"0\d*{re.escape(thousands)}").any()
        if not used or zero or not digits.str.fullmatch(_pattern(marks)).all():
            continue
        values = tuple(_digits(digits, marks))
        possible.setdefault(values, marks)
    if len(possible) == 1 or (possible and decimal is not None):
        return next(iter(possible.values()))
    if point_elsewhere and (",", ".") in possible.values():
        return ",", "."
    return None


def _censored(
    column: pd.Series, beyond: np.ndarray, role: str, policy: str | None, decimal: str | None
) -> NumberColumn:
    """A column some of whose cells only say on which side of a limit the value lies."""
    cells = pd.Series(_cells(column))
    text = _text(cells)
    rows = pd.Index(cells[beyond]).get_indexer(pd.Index(without_arrow(column).astype(object))) >= 0
    if policy is None:
        raise SchemaError(
            f"column `{column.name}` has {int(rows.sum())} censored cells, which only give a "
            "limit, first "
            f"{cell_name(column, rows)}; choose censored='limit' to take them as their limit, or "
            f"censored='drop' to take them as missing"
        )
    inner = text.where(~beyond, text.str.replace(r"^[<>≤≥]\s*=?\s*", "", regex=True))
    word = inner.str.lower().isin(_LOW | _HIGH).to_numpy(dtype=bool)
    told = pd.Series(inner[~word].to_numpy(), dtype=object)
    numbers = np.full(len(cells), np.nan)
    numbers[~word], _ = _whole(told, decimal) or _refuse(column.mask(rows), role, decimal)
    if policy == "limit" and word.any():
        if word.all():
            raise SchemaError(
                f"column `{column.name}` says nothing but {cells.iloc[0]!r} and its like, so there "
                "is no "
                f"limit to take; choose censored='drop'"
            )
        low = inner.str.lower().isin(_LOW).to_numpy(dtype=bool)
        numbers[word] = np.where(low[word], np.nanmin(numbers), np.nanmax(numbers))
    if policy == "drop":
        numbers[beyond] = np.nan
    taken = "their limit" if policy == "limit" else "missing"
    first = f"{int(rows.sum())} censored cells, first {cell_name(column, rows)}"
    note = f"column `{column.name}`: {first}, taken as {taken}"
    return NumberColumn(_placed(column, cells, numbers), note)


def _refuse_times(column: pd.Series, role: str) -> None:
    if pd.api.types.is_datetime64_any_dtype(column) or column.dtype.kind == "m":
        name = column.name
        raise SchemaError(
            f"column `{name}` has dtype {column.dtype}: it holds times, not numbers; leave "
            f"`{name}` out of "
            f"{role}, or convert it to numbers"
        )


def _refuse(column: pd.Series, role: str, decimal: str | None) -> NoReturn:
    """Raises the error for the first cell that is not a number of a column whose role asks for them."""
    name, where = column.name, f"leave `{column.name}` out of {role}"
    if role == "value":
        where = "leave the variable that the row is of out of the table with leave_out= and its name"
    cells = pd.Series(_cells(column))
    text = _text(cells)
    pieces = _pieces(text)
    digits = pieces["digits"].str.strip()
    both = [_digits(digits.iloc[:1].fillna(""), m).iloc[0] for m in ((",", "."), (None, ","))]
    fits = digits.notna().all() and all(_marks(digits, sign) is not None for sign in DECIMALS)
    if fits and decimal is None and both[0] != both[1]:
        raise SchemaError(
            f"column `{name}`: {cells.iloc[0]!r} may be {both[0]:.15g} or {both[1]:.15g}; say which by "
            f"decimal='.' or decimal=','"
        )
    units = pieces["unit"].fillna("").str.strip() + pieces["currency"].fillna("")
    usual = str(units.mode()[0]) if len(units) else ""
    if digits.notna().all() and usual:
        odd = cells[(units != usual).to_numpy()]
        bad = column.isin(odd).to_numpy()
        raise SchemaError(
            f"column `{name}` is not all in one unit: {cell_name(column, bad)}, where most are in "
            f"{usual!r}; convert it, name it in na_values when reading the file, or {where}"
        )
    plain, words = _plain(text).notna(), text.str.lower().isin(_WORDS)
    numbers = words if words.sum() > plain.sum() else plain | (digits.notna() & units.eq(""))
    bad = column.isin(cells[~numbers.to_numpy(dtype=bool)]).to_numpy()
    if not bad.any():
        bad = column.notna().to_numpy()
    raise SchemaError(
        f"column `{name}` has dtype {column.dtype}: {cell_name(column, bad)} is not a number. Correct "
        f"it, name it in na_values when reading the file, or {where}"
    )
