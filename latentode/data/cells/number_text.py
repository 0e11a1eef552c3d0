r"""Numbers written as text: read where the whole column is written in one way, else refused.

A cell is *sign, currency, digits, unit*, such as "- 1,234.5", "$ 12", "98.6 F", "45 %" or "(76.17)".
The marks of a column are read as the decimal sign and the sign between thousands where only one reading
fits every cell; "9,051" alone might be 9051 or 9.051. A cell such as "<0.5", ">600", "HI" or "LO" is
*censored*: it says on which side of a limit the value lies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, NoReturn, cast

import numpy as np
import pandas as pd

from latentode.data.cells.columns import cell_name, without_arrow
from latentode.data.cells.number_cells import (
    flags_advice,
    marks_of,
    number_of_digits,
    pairs_of_words,
    pieces_of,
    plain_numbers,
    refuse_other_degrees,
    text_of,
)
from latentode.errors import SchemaError

__all__ = [
    "CENSORED",
    "DECIMALS",
    "NumberColumn",
    "is_text",
    "looks_numeric",
    "read_numbers",
    "without_unit",
]

CENSORED = ("limit", "drop")
DECIMALS = (".", ",")
MOSTLY_NUMERIC = 0.5  # a text column of which so much is numbers is a spoilt numeric one

_TRUTHS = frozenset({"true", "false", "yes", "no"})
# Of those that stand alone, what may as well be a code.
_CODES = frozenset({"no", "on", "y", "n", "si", "ja", "oui", "non", "tak", "nie"})
_LIMIT = re.compile(r"^(?P<side>[<>≤≥])\s*=?\s*(?P<number>\S.*)$")
_SIZES = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9}
_SIZED = "K, M, B"  # the unit of a column of thousands beside millions
_PACKED = re.compile(r"[+-]\d{4,5},\w")  # a value and its quality
_LOW, _HIGH = frozenset({"lo", "low"}), frozenset({"hi", "high"})


@dataclass(frozen=True)
class NumberColumn:
    """A column as numbers.

    Args:
        column: float64, NaN where a cell says nothing.
        note: how its text was read; None for plain numbers.
        unit: the unit or currency that every cell names; None where none does.
    """

    column: pd.Series
    note: str | None = None
    unit: str | None = None


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
    text = text_of(cells)
    if len(cells) == 1 and str(text.iloc[0]).lower() in _CODES:
        return False  # NO may be a country
    if _whole(cells, decimal) is not None:
        return True
    numbers = plain_numbers(text).notna()
    numbers |= text.str.match(_LIMIT)
    # Numbers with a unit count as well, but not codes of a digit and a letter such as "3A".
    pieces = pieces_of(text)
    apart = pieces["digits"].str.endswith(" ") | pieces["unit"].fillna("").str.fullmatch(r"|%|°.*")
    marked = pieces["digits"].notna() & apart.fillna(False).astype(bool)
    lowered = text.str.lower()
    counts = without_arrow(column).astype(object).value_counts().reindex(cells).to_numpy(np.float64)
    # Beside numbers Low and High are values beyond a limit, and alone labels, as of tides.
    beyond = lowered.isin(_LOW | _HIGH) & bool((numbers | marked).any())
    return bool(
        ((numbers | marked | beyond | lowered.isin(_TRUTHS)) * counts).sum()
        >= MOSTLY_NUMERIC * counts.sum()
    )


def read_numbers(
    column: pd.Series,
    role: str = "targets",
    censored: str | None = None,
    decimal: str | None = None,
    point_elsewhere: bool = False,
    unit: str | None = None,
) -> NumberColumn:
    """A column of text or objects as numbers.

    Args:
        column: of a table.
        role: the schema's name of its role, for messages; "value" in a long table.
        censored: "limit" takes a censored cell as its limit, "drop" as missing; None refuses it.
        decimal: "." or ",", where both readings are possible.
        point_elsewhere: whether other columns of the table have "." for a decimal sign.
        unit: that it was in before, where that is known.

    Raises:
        SchemaError: for the first cell that is no number, naming it and the fix, and for cells in
            another unit than before.

    Example:
        >>> read_numbers(pd.Series(["9,051", "13,666.5"])).column.tolist()
        [9051.0, 13666.5]
        >>> read_numbers(pd.Series(["<0.5", "2"], name="trop"), censored="limit").column.tolist()
        [0.5, 2.0]
    """
    _refuse_times(column, role)
    cells = pd.Series(_cells(column))
    text = text_of(cells)
    beyond = (text.str.lower().isin(_LOW | _HIGH) | text.str.match(_LIMIT)).to_numpy(dtype=bool)
    if beyond.any() and looks_numeric(column, decimal):
        read = _censored(column, beyond, role, censored, decimal, unit)
    else:
        numbers, how, own = _whole(cells, decimal, point_elsewhere, unit) or _refuse(
            column, role, decimal
        )
        note = None if how is None else f"column `{column.name}` was read as numbers: {how}"
        read = NumberColumn(_placed(column, cells, numbers), note, own)
    if unit is not None and read.unit is None:
        return replace(read, note=without_unit(column, unit))
    if unit is not None and unit != read.unit:
        raise SchemaError(
            f"column `{column.name}` is in {read.unit!r}, such as {cells.iloc[0]!r}, where it was in "
            f"{unit!r} before; convert it"
        )
    refuse_other_degrees(str(column.name), read.unit, next(iter(cells), None))
    return read


def without_unit(column: pd.Series, unit: str) -> str:
    """What to say of numbers without the unit that the column was in before."""
    return f"column `{column.name}` has no unit, was in {unit!r} before, and is taken to be in it"


def _cells(column: pd.Series) -> pd.Series:
    """The distinct cells that hold something."""
    plain = without_arrow(column)
    if isinstance(plain.dtype, pd.CategoricalDtype):
        plain = plain.astype(object)
    return pd.Series(plain.dropna().unique(), dtype=object)


def _placed(column: pd.Series, cells: pd.Series, numbers: np.ndarray) -> pd.Series:
    """The number of each row, from that of each distinct cell."""
    plain = without_arrow(column).astype(object)
    index = pd.Index(cells).get_indexer(pd.Index(plain))
    values = np.append(numbers.astype(np.float64), np.nan)[index]
    return pd.Series(values, index=column.index, name=column.name)


# The numbers of distinct cells, how they were read, and their unit.
_Numbers = tuple[np.ndarray, str | None, str | None]


def _whole(
    cells: pd.Series, decimal: str | None, point_elsewhere: bool = False, known: str | None = None
) -> _Numbers | None:
    """The numbers of distinct cells; None unless all are written in one way."""
    if cells.map(lambda cell: not isinstance(cell, str)).all():
        try:
            numbers = cast(pd.Series, pd.to_numeric(cells, errors="coerce"))
        except OverflowError:  # an integer of hundreds of digits, which as text is infinite
            numbers = plain_numbers(cells.astype(str))
        return (numbers.to_numpy(np.float64), None, None) if numbers.notna().all() else None
    text = text_of(cells)
    numbers = plain_numbers(text)
    if numbers.notna().all() and decimal != ",":
        return numbers.to_numpy(np.float64), "they were text", None
    lowered = text.str.lower()
    for yes, no in pairs_of_words(lowered)[:1]:
        return (lowered == yes).to_numpy(np.float64), f"{yes} as 1, {no} as 0", None
    return _written(text, decimal, point_elsewhere, known)


def _written(
    text: pd.Series, decimal: str | None, point_elsewhere: bool, known: str | None
) -> _Numbers | None:
    pieces = pieces_of(text)
    if pieces["digits"].isna().any() or (pieces["open"].isna() != pieces["close"].isna()).any():
        return None
    unit = pieces["unit"].fillna("").str.strip()
    currency = pieces["currency"].fillna("")
    zero = pieces["digits"].str.fullmatch(r"0+").to_numpy(dtype=bool)
    sizes = unit.str.upper().map(_SIZES)
    several = len(set(unit)) > 1 or known == _SIZED
    sized = bool(sizes.notna().all()) and several  # thousands beside millions
    for mark in () if sized else (unit, currency):
        if len(set(mark[~zero | (mark != "").to_numpy()])) > 1:  # "0" may stand without its unit
            return None
    apart = pieces["digits"].iloc[0].endswith(" ") or re.fullmatch(r"%|°.*", unit.iloc[0])
    if unit.iloc[0] and len(text) == 1 and not apart:
        return None  # one cell such as "12A" is a label rather than a number
    digits = pieces["digits"].str.strip()
    marks = marks_of(digits, decimal, point_elsewhere)
    if marks is None:
        return None
    numbers = number_of_digits(digits, marks).to_numpy(np.float64)
    if np.isnan(numbers).any():
        return None
    signs = pieces[["before", "after", "minus"]].fillna("").sum(axis=1)
    negative = signs.str.contains("-", regex=False) | pieces["open"].notna()
    numbers = np.where(negative, -numbers, numbers)
    if sized:
        how = "K, M and B are thousands, millions, milliards"
        return numbers * sizes.to_numpy(np.float64), how, _SIZED
    named = max(currency) + max(unit)  # a zero may stand without
    return numbers, _how(text, marks, unit[~zero], currency[~zero], pieces), named or None


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


def _censored(
    column: pd.Series,
    beyond: np.ndarray,
    role: str,
    policy: str | None,
    decimal: str | None,
    unit: str | None,
) -> NumberColumn:
    """A column some of whose cells only say on which side of a limit the value lies."""
    cells = pd.Series(_cells(column))
    text = text_of(cells)
    rows = pd.Index(cells[beyond]).get_indexer(pd.Index(without_arrow(column).astype(object))) >= 0
    named = text[beyond].str.lower().isin(_LOW | _HIGH).any()
    ends = " (words as the least or the largest number of the column)" if named else ""
    if policy is None:
        raise SchemaError(
            f"column `{column.name}` has {int(rows.sum())} censored cells, which only give a limit, "
            f"first {cell_name(column, rows)}; choose censored='limit' to take them as their limit"
            f"{ends}, or censored='drop' to take them as missing"
        )
    inner = text.where(~beyond, text.str.replace(r"^[<>≤≥]\s*=?\s*", "", regex=True))
    word = inner.str.lower().isin(_LOW | _HIGH).to_numpy(dtype=bool)
    told = pd.Series(inner[~word].to_numpy(), dtype=object)
    numbers = np.full(len(cells), np.nan)
    numbers[~word], _, own = _whole(told, decimal, known=unit) or _refuse(
        column.mask(rows), role, decimal
    )
    if policy == "limit" and word.any():
        if word.all():
            raise SchemaError(
                f"column `{column.name}` says nothing but {cells.iloc[0]!r} and its like, so there is "
                "no limit to take; choose censored='drop'"
            )
        low = inner.str.lower().isin(_LOW).to_numpy(dtype=bool)
        numbers[word] = np.where(low[word], np.nanmin(numbers), np.nanmax(numbers))
    if policy == "drop":
        numbers[beyond] = np.nan
    taken = "their limit" if policy == "limit" else "missing"
    if policy == "limit" and word.any():  # such a word says on which side the limit lies, and not where
        ends = [f"{cell!r} as {numbers[cells == cell][0]:.10g}" for cell in cells[word]]
        taken += f", {', '.join(ends)}, the least or the largest number in the column"
    first = f"{int(rows.sum())} censored cells, first {cell_name(column, rows)}"
    note = f"column `{column.name}`: {first}, taken as {taken}"
    return NumberColumn(_placed(column, cells, numbers), note, own)


def _refuse_times(column: pd.Series, role: str) -> None:
    if pd.api.types.is_datetime64_any_dtype(column) or column.dtype.kind == "m":
        name = column.name
        raise SchemaError(
            f"column `{name}` has dtype {column.dtype}: it holds times, not numbers; leave `{name}` "
            f"out of {role}, or convert it to numbers"
        )


def _refuse(column: pd.Series, role: str, decimal: str | None) -> NoReturn:
    """Raises the error for the first cell that is not a number of a column whose role asks for them."""
    name, where = column.name, f"leave `{column.name}` out of {role}"
    if role == "value":
        where = "leave the variable that the row is of out of the table with leave_out= and its name"
    cells = pd.Series(_cells(column))
    text = text_of(cells)
    pieces = pieces_of(text)
    digits = pieces["digits"].str.strip()
    both = [number_of_digits(digits.iloc[:1].fillna(""), m).iloc[0] for m in ((",", "."), (None, ","))]
    fits = digits.notna().all() and all(marks_of(digits, sign) is not None for sign in DECIMALS)
    if fits and decimal is None and both[0] != both[1]:
        raise SchemaError(
            f"column `{name}`: {cells.iloc[0]!r} may be {both[0]:.15g} or {both[1]:.15g}; say which by "
            f"decimal='.' or decimal=','"
        )
    units = pieces["unit"].fillna("").str.strip() + pieces["currency"].fillna("")
    usual = str(units[digits.notna()].mode()[0]) if digits.notna().any() else ""
    if digits.notna().all() and usual:
        odd = cells[(units != usual).to_numpy()]
        bad = column.isin(odd).to_numpy()
        raise SchemaError(
            f"column `{name}` is not all in one unit: {cell_name(column, bad)}, where most are in "
            f"{usual!r}; convert it, name it in na_values when reading the file"
            f"{flags_advice(text)}, or {where}"
        )
    plain, words = plain_numbers(text).notna(), text.str.lower().isin(_TRUTHS)
    numbers = words if words.sum() > plain.sum() else plain | (digits.notna() & units.isin(["", usual]))
    bad = column.isin(cells[~numbers.to_numpy(dtype=bool)]).to_numpy()
    if not bad.any():  # each may be one, but not all by the same signs
        odd = digits.str.contains(",", regex=False).fillna(False).to_numpy(dtype=bool)
        odd = odd if odd.any() and not odd.all() else ~plain.to_numpy(dtype=bool)  # such as 1.2.5
        bad = column.isin(cells[odd if 2 * odd.sum() < len(cells) else ~odd]).to_numpy()
    if not bad.any():
        bad = column.notna().to_numpy()
    packed = "" if not text.str.fullmatch(_PACKED).all() else (
        "; of NOAA's hourly files, whose cells hold a value and the code of its quality, "
        "latentode.adapters.weather.global_hourly makes a table, `latentode inspect` and others with "
        "--adapter global-hourly"
    )  # fmt: skip
    raise SchemaError(
        f"column `{name}` has dtype {column.dtype}: {cell_name(column, bad)} is not a number. Correct "
        f"it, name it in na_values when reading the file{flags_advice(text)}, or {where}{packed}"
    )
