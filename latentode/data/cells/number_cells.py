"""Cells of numbers: how one number is written, and which signs a column of them agrees on.

A cell is *sign, currency, digits, unit*. The marks among the digits are read as the decimal sign and
the sign between thousands where only one reading fits every cell. Some numbers stand for a missing one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import cast

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype

from latentode.data.cells.usual_names import MEASURES
from latentode.errors import SchemaError

__all__ = [
    "exact_numbers",
    "far_code",
    "flags_advice",
    "is_far_code",
    "marks_of",
    "number_of_digits",
    "pairs_of_words",
    "pieces_of",
    "plain_numbers",
    "refuse_other_degrees",
    "text_of",
    "without_codes",
    "without_flags",
    "without_thousands",
]

# Pairs of words, the one that means 1 first, as spreadsheets of several languages write them.
_PAIRS = (
    *(("true", "false"), ("yes", "no"), ("y", "n"), ("on", "off")),
    *(("wahr", "falsch"), ("ja", "nein"), ("vrai", "faux"), ("oui", "non"), ("vero", "falso")),
    *(("verdadero", "falso"), ("sí", "no"), ("si", "no"), ("verdadeiro", "falso"), ("sim", "não")),
    *(("waar", "onwaar"), ("ja", "nee"), ("tak", "nie"), ("prawda", "fałsz")),
)
_GROUPED = re.compile(r"\s*[-+]?\d{1,3}(?:\.\d{3})*(?:,\d+)?\s*")
_LETTERS = ("t", "f")  # of databases, where both occur: one alone may be any code
_EXPONENT = r"[eE][+-]?\d+|[dD][+-]\d+"  # Fortran writes a D
# Other letters before digits are codes, as NSW1 of a region is.
_CURRENCIES = (
    "AED|ARS|AUD|BRL|BTC|CAD|CHF|CLP|CNY|COP|CZK|DKK|EGP|ETH|EUR|GBP|HKD|HUF|IDR|ILS|INR|ISK|JPY|KES|"
    "KRW|MAD|MXN|MYR|NGN|NOK|NZD|PEN|PHP|PKR|PLN|RON|RSD|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR"
)
_CELL = re.compile(
    r"^(?P<open>\()?\s*(?P<before>[+-]?)\s*"
    rf"(?P<currency>[$€£¥₹]|(?:US|R|A|C|NZ|HK)\$|(?:{_CURRENCIES})(?=\s*[\d+-]))?\s*(?P<after>[+-]?)\s*"
    rf"(?P<digits>(?:\d[\d.,' _]*|[.,]\d+)(?:{_EXPONENT})?)\s*(?P<minus>-)?"
    # A unit begins with a letter or one of a few signs: "08:00" is not 8 in the unit ":00".
    r"(?P<unit>(?:\s*[^\W\d_][^<>=]*|\s*[%‰°℃℉/$€£¥₹¢*\"'\[{#][^<>=]*)?)\s*(?P<close>\))?$"
)
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


# A number and what says how it was come by: a letter or two, a sign, or a letter in brackets.
_FLAGGED = re.compile(
    r"\s*[<>]?\s*[-+]?\s?(?:\d[\d.,']*|[.,]\d+)\s*(?P<flag>[^\W\d_]{1,2}|[*#?!†‡^~]+|[(\[][^\W\d_]{1,2}[)\]])\s*"
)
_NUMBER = r"[<>]?\s*[-+−(]?\s?(?:\d[\d.,' ]*|[.,]\d+)(?:[eE][-+]?\d+)?\)?"
MOST_FLAGS = 6
# Numbers that may stand for a missing one; -1 and -9 are values where others are negative.
_CODE = re.compile(r"-?(?:9{2,}|8{3,}|7{3,})(?:\.[09]+)?|-[19]")
_SHORT_CODES = (-1, -9)
FAR = 2  # ranges of all other values
FEWEST_OTHERS, JUMP = 3, 2  # values beside such a code; how much longer steps to it are than others


def pairs_of_words(lowered: pd.Series) -> list[tuple[str, str]]:
    """The pairs of words, such as yes and no, of which some texts are made of one alone."""
    found = [pair for pair in _PAIRS if lowered.isin(pair).all()]
    return [*found, _LETTERS] if set(lowered) == set(_LETTERS) else found


def text_of(cells: pd.Series) -> pd.Series:
    """Cells as text in the characters of ASCII, where these mean the same.

    Example:
        >>> text_of(pd.Series(["７０", "\u2212 1\u202f234"])).tolist()
        ['70', '- 1 234']
    """
    known = _characters()
    return cells.map(lambda cell: str(cell).translate(known).strip()).astype(object)


@cache
def _characters() -> dict[int, str]:
    """The digits of every script, the wide forms of Latin characters, and what is set for signs."""
    every = range(0x80, 0x10000)
    return {
        **{i: str(unicodedata.decimal(chr(i))) for i in every if chr(i).isdecimal()},
        **{i: chr(i - 0xFEE0) for i in range(0xFF01, 0xFF5F)},
        **dict.fromkeys(map(ord, "\u00a0\u202f\u2009\u2007\u3000"), " "),
        **{0x2212: "-", 0x2019: "'", 0x066B: ".", 0x066C: ","},
    }


def plain_numbers(text: pd.Series) -> pd.Series:
    """The numbers of texts to the last digit; NaN for what is none."""
    numbers = cast(pd.Series, pd.to_numeric(text, errors="coerce"))
    if is_float_dtype(numbers.dtype) and not exact_numbers():
        digits = cast(pd.Series, text[numbers.notna()]).astype(object)
        with suppress(ValueError):  # what only pandas takes for a number
            numbers = digits.astype(np.float64).reindex(numbers.index)
    return numbers


@cache
def exact_numbers() -> bool:
    """Whether pandas itself reads numbers to the last digit, which it does from 3.1 on."""
    written = "9.470809631292421e-94"
    return bool(pd.to_numeric(pd.Series([written]))[0] == float(written))


def pieces_of(text: pd.Series) -> pd.DataFrame:
    """The parts of each cell: open, before, currency, after, digits, minus, unit and close."""
    pieces = cast(pd.DataFrame, text.astype(str).str.extract(_CELL))
    pieces["digits"] = pieces["digits"].str.replace(r"[dD]", "e", regex=True)
    return pieces


def _pattern(marks: tuple[str | None, str]) -> str:
    thousands, point = marks
    fraction = rf"(?:{re.escape(point)}\d*)?(?:[eE][+-]?\d+)?"
    if thousands is None:
        return r"\d*" + fraction
    mark = re.escape(thousands)
    indian = rf"\d{{1,2}}(?:{mark}\d{{2}})*{mark}\d{{3}}|" if thousands == "," else ""
    return rf"(?:{indian}\d{{1,3}}(?:{mark}\d{{3}})+|\d{{1,3}})" + fraction


def number_of_digits(digits: pd.Series, marks: tuple[str | None, str]) -> pd.Series:
    """What digits with a sign between thousands and one before decimals amount to."""
    thousands, point = marks
    if thousands is not None:
        digits = digits.str.replace(thousands, "", regex=False)
    return plain_numbers(digits.str.replace(point, ".", regex=False))


def marks_of(
    digits: pd.Series, decimal: str | None, point_elsewhere: bool = False
) -> tuple[str | None, str] | None:
    """The signs between thousands and before decimals that fit each cell; None for none or several."""
    possible: dict[tuple[float, ...], tuple[str | None, str]] = {}
    for marks in _MARKS:
        if decimal is not None and marks[1] != decimal:
            continue
        thousands, point = marks
        used = thousands is None or digits.str.contains(thousands, regex=False).any()
        # Two groups of thousands leave no doubt, even where no decimals follow.
        groups = thousands == "." and bool((digits.str.count(r"\.") > 1).any())
        pointed = point == "." or digits.str.contains(point, regex=False).any()
        used &= groups or pointed or decimal is not None
        # No number with a group of thousands begins with 0, as 0,051 does.
        zero = thousands is not None and digits.str.match(rf"0\d*{re.escape(thousands)}").any()
        # Nor one with a decimal comma that nobody has told, as +0061,5 does: a value and its quality.
        zero |= decimal is None and point == "," and bool(digits.str.match(r"0\d+,").any())
        if not used or zero or not digits.str.fullmatch(_pattern(marks)).all():
            continue
        values = tuple(number_of_digits(digits, marks))
        possible.setdefault(values, marks)
    if len(possible) == 1 or (possible and decimal is not None):
        return next(iter(possible.values()))
    if point_elsewhere and (",", ".") in possible.values():
        return ",", "."
    return None


def without_thousands(column: pd.Series) -> pd.Series:
    """Text such as 31.680 or 1.234,5 as numbers, where commas are known to stand before decimals.

    Returns:
        The column as it is unless every cell is such a number and one has points at least.

    Example:
        >>> without_thousands(pd.Series(["31.680", "680", "1.234,5"])).tolist()
        [31680.0, 680.0, 1234.5]
    """
    if not pd.api.types.is_string_dtype(column) or not column.notna().any():
        return column
    cells = column.dropna()
    if not _GROUPED.fullmatch(str(cells.iloc[0])) or not cells.str.fullmatch(_GROUPED).all():
        return column
    if not cells.str.contains(".", regex=False).any():
        return column
    plain = cells.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    return plain_numbers(plain).reindex(column.index)


def is_far_code(value: float) -> bool:
    """Whether a number is written as those are that stand for a missing one, such as -9999."""
    return _CODE.fullmatch(f"{value:.10g}") is not None


def far_code(column: pd.Series, codes: np.ndarray) -> str | None:
    """Points out a number such as -9999 unlike all others, which may stand for a missing value."""
    every = column.to_numpy(np.float64, na_value=np.nan)
    known = np.isfinite(every)
    values = every[known]
    for code in {values.min(), values.max()} if len(values) > 2 else ():
        others = values[values != code]
        if not is_far_code(code) or len(others) < 2:
            continue
        plain = others.min() >= 0 and len(np.unique(others)) >= FEWEST_OTHERS
        short = code in _SHORT_CODES and not plain
        far = np.abs(others - code).min() > FAR * max(np.ptp(others), 1e-300)
        if (far and not short) or _is_lone(code, values, others, codes[known]):
            return (
                f"column `{column.name}` holds {code:.10g} in {len(values) - len(others)} rows, "
                f"{'far from all other values' if far else 'its only negative value'}; name it in "
                "na_values if it stands for a missing one"
            )
    return None


def _is_lone(code: float, values: np.ndarray, others: np.ndarray, codes: np.ndarray) -> bool:
    """Whether the one negative number stands in several rows, to which whole numbers do not lead up."""
    several = len(values) - len(others) > 1 and len(np.unique(others)) >= FEWEST_OTHERS
    if code >= 0 or others.min() < 0 or not several:
        return False
    if code not in _SHORT_CODES or 2 * (others != np.floor(others)).sum() > len(others):
        return True
    at, same = values == code, np.diff(codes) == 0
    steps, to_it = np.abs(np.diff(values)), at[1:] ^ at[:-1]
    plain = same & ~at[1:] & ~at[:-1]
    there, elsewhere = steps[same & to_it], steps[plain]
    return bool(len(there) and len(elsewhere) and there.mean() > JUMP * elsewhere.mean())


def without_codes(column: pd.Series, missing: Sequence[str]) -> pd.Series:
    """A column without what stands for missing cells, be it padded or written with other decimals.

    Example:
        >>> without_codes(pd.Series([" n/e", 15, 16], dtype=object), ["n/e"]).tolist()
        [nan, 15.0, 16.0]
    """
    if column.dtype == object:
        held = column.map(lambda cell: isinstance(cell, str) and cell.strip() in missing)
        column = column.mask(held.astype(bool)).infer_objects() if held.any() else column
    if pd.api.types.is_numeric_dtype(column):
        codes = plain_numbers(pd.Series(list(missing), dtype=object)).dropna()
        return column.mask(column.isin(codes)) if column.isin(codes).any() else column
    if column.dtype == object or not pd.api.types.is_string_dtype(column):
        return column
    return column.mask(column.str.strip().isin(list(missing)))


def without_flags(column: pd.Series, flags: Sequence[str]) -> tuple[pd.Series, np.ndarray]:
    """A column without the flags behind its numbers, as numbers if all are; and a mask of the flagged.

    Example:
        >>> without_flags(pd.Series(["20.5e", "21", "7 *e"]), ["e", "*"])[0].tolist()
        [20.5, 21.0, 7.0]
    """
    none = np.zeros(len(column), dtype=bool)
    if not (pd.api.types.is_string_dtype(column) or column.dtype == object):
        return column, none
    signs = "|".join(re.escape(flag) for flag in sorted(flags, key=len, reverse=True))
    form = re.compile(rf"^\s*({_NUMBER})\s*(?:(?:{signs})\s*)+$")
    text = column.astype(object)
    cells = {cell: form.match(cell) for cell in text.dropna().unique() if isinstance(cell, str)}
    plain = {cell: found[1] for cell, found in cells.items() if found is not None}
    if not plain:
        return column, none
    flagged = text.isin(plain).to_numpy()
    text = text.map(lambda cell: plain.get(cell, cell), na_action="ignore")
    numbers = plain_numbers(text)
    return (numbers if numbers.notna().equals(text.notna()) else text), flagged


def flags_advice(text: pd.Series) -> str:
    """What to say where letters or signs behind some numbers may say how these were come by.

    Example:
        >>> flags_advice(pd.Series(["20.5e", "21", "7 *"]))
        ", or say flags='*,e' when reading the file, if these only say how a number was come by"
        >>> flags_advice(pd.Series(["n/e", "21"]))
        ''
    """
    cells = [cell.strip() for cell in text.astype(str).unique()]
    found = [_FLAGGED.fullmatch(cell) for cell in cells]
    flags = sorted({at["flag"] for at in found if at is not None})
    units = [flag for flag in flags if flag.casefold() in MEASURES]
    if not 0 < len(flags) <= MOST_FLAGS or len(units) > 1 or max(map(len, units), default=1) > 1:
        return ""
    other = (cell for cell, at in zip(cells, found, strict=True) if at is None and cell[:1].isdigit())
    if plain_numbers(pd.Series(list(other), dtype=object)).isna().any():
        return ""
    these = "these only say" if len(flags) > 1 else "this only says"
    return (
        f", or say flags='{','.join(flags)}' when reading the file, if {these} how a number was come by"
    )


def refuse_other_degrees(name: str, unit: str | None, cell: object) -> None:
    """Raises for degrees Fahrenheit in a column that is called one of degrees Celsius, and the like."""
    named = re.search(r"[(\[]\s*°?\s*([CFK])\s*[)\]]\s*$", name)
    held = re.fullmatch(r"°?\s*([CFK])", unit or "")
    if named and held and named.group(1) != held.group(1):
        raise SchemaError(
            f"column `{name}` holds degrees {held.group(1)}, as {cell!r}; convert them, or call the "
            "column what it holds"
        )
