"""Times written as numbers: which moments 20240301, 1709280071 or 45352.33 are.

Each form has a name that `time_format` takes: seconds since 1970 (`epoch-s`, `-ms`, `-us`, `-ns`),
days of a spreadsheet (`excel`), digits of a date (`yyyymmdd`, `yyyymmddhh`, ...; `19yymmdd` and
`20yymmdd` say the century), `decimal-year`, and what climate data call a unit since a date, as in
`days since 1850-01-01` (CF conventions, section 4.4). A form is found only where the numbers can be
nothing else: digits that are dates in every row, seconds since 1970 of this century, or what the name
of the column says. Other numbers are their own unit.
"""

from __future__ import annotations

import re
from typing import Any, cast

import numpy as np
import pandas as pd

from latentode.data.cells.columns import row_name
from latentode.data.cells.usual_names import usual
from latentode.errors import SchemaError

__all__ = [
    "NUMBER_FORMS",
    "PLAIN",
    "are_remote",
    "doubtful_form",
    "form_of_numbers",
    "is_number_form",
    "since_when",
    "times_of_numbers",
]

PLAIN = "number"  # says that numbers are their own unit, whatever they look like
EPOCHS = {"epoch-s": 1, "epoch-ms": 10**3, "epoch-us": 10**6, "epoch-ns": 10**9}
LATEST = 253_402_300_800  # seconds since 1970 at the end of the year 9999
SINCE, UNTIL = 10**9, 22 * 10**8  # seconds since 1970 in 2001 and in 2039: ten digits in every unit
DIGITS = {
    "yyyymmdd": (8, "%Y%m%d"),
    "yyyymmddhh": (10, "%Y%m%d%H"),
    "yyyymmddhhmm": (12, "%Y%m%d%H%M"),
    "yyyymmddhhmmss": (14, "%Y%m%d%H%M%S"),
}
PERIODS = {"yyyymm": "%Y%m", "yyyyww": "%G%V%u"}  # six digits each
PERIOD_NAMES = {
    "yyyymm": ("month", "period", "yyyymm", "yearmonth", "ym", "monat", "mes", "mois"),
    "yyyyww": ("week", "yyyyww", "yearweek", "yw", "woche", "kw", "semana", "semaine"),
}
CENTURIES = {"19yymmdd": 19_000_000, "20yymmdd": 20_000_000}
YEARS = (1800, 2200)  # of digits that are taken for dates without being told
EXCEL = (20_000.0, 80_000.0)  # from 1954 to 2119
EXCEL_ORIGIN, EXCEL_LEAST = "1899-12-30", 61  # the spreadsheet's 60 is a day that never was
DAY_NAMES = ("date", "datum", "fecha", "day")
REMOTE = 1000  # spans from zero, from where numbers are hardly counted from zero
ENOUGH = 8  # fractions of days that are all whole seconds
SECONDS_OF_DAY, SLACK = 86_400.0, 0.06  # a day to six places is known to 0.05 s
NUMBER_FORMS = (*EPOCHS, "excel", *DIGITS, *PERIODS, *CENTURIES, "decimal-year", "yyyy.mm")
_SINCE = re.compile(
    r"\b(ms|milliseconds?|s|secs?|seconds?|min|minutes?|h|hrs?|hours?|d|days?) since "
    r"(\d{4}-\d{1,2}-\d{1,2}(?:[ T]\d{1,2}:\d{1,2}(?::\d{1,2}(?:\.\d+)?)?)?)(?: ?(UTC|Z|[+]00:?00))?",
    re.IGNORECASE,
)
MICROSECONDS = {"ms": 10**3, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86_400 * 10**6}


def is_number_form(form: str | None) -> bool:
    """Whether a form is one of numbers.

    Example:
        >>> is_number_form("epoch-s"), is_number_form("days since 1850-01-01")
        (True, True)
    """
    return form in NUMBER_FORMS or (form is not None and _SINCE.fullmatch(form) is not None)


def since_when(name: str) -> str | None:
    """The form that the name of a column says, as in "time [days since 1850-01-01]"; None for none.

    Example:
        >>> since_when("time [s since 2000-01-01]"), since_when("days since admission")
        ('s since 2000-01-01', None)
    """
    found = _SINCE.search(name)
    return None if found is None or not _is_moment(found[2]) else found[0]


def _is_moment(text: str) -> bool:
    return not pd.isna(pd.to_datetime(pd.Series([text]), format="mixed", errors="coerce")[0])


def form_of_numbers(column: pd.Series, what: str) -> str | None:
    """The form of numbers that can be nothing else; None for plain numbers.

    Args:
        column: numbers without missing cells.
        what: names it in messages.

    Raises:
        SchemaError: for seconds since 1970 whose unit changes within the column, and for dates of six
            digits, which do not say their century.

    Example:
        >>> form_of_numbers(pd.Series([20240301, 20240315]), "column `time`")
        'yyyymmdd'
    """
    told = since_when(str(column.name))
    if told is not None:
        return told
    numbers = column.to_numpy(np.float64)
    named_day = any(word in usual(str(column.name)).split("_") for word in DAY_NAMES)
    if (numbers == np.floor(numbers)).all():
        for form, (length, _) in DIGITS.items():
            if _are_dates(numbers, form, length):
                return form
        words = usual(str(column.name)).split("_")
        for form, names in PERIOD_NAMES.items():
            if not set(words).isdisjoint(names) and not _period_lost(numbers, form).any():
                return form
    epoch = _epoch(column, numbers, what)
    if epoch is not None:
        return epoch
    if _within(numbers, EXCEL) and (named_day or _whole_seconds(numbers)):
        return "excel"
    if named_day and _within(numbers, YEARS) and not (numbers == np.floor(numbers)).all():
        _refuse_pointed_months(numbers, what)
        return "decimal-year"
    months = _are_months(numbers)
    if named_day and _short_dates(numbers):
        also = "time_format='yyyymm' for months, " if months else ""
        raise SchemaError(
            f"{what} holds {int(numbers[0]):06d}, a date without its century; give "
            f"time_format='20yymmdd' or time_format='19yymmdd', {also}or time_format='number' for "
            "plain numbers"
        )
    return "yyyymm" if named_day and months else None


def doubtful_form(column: pd.Series) -> str | None:
    """A form that plain numbers may be in, to be pointed out."""
    numbers = column.to_numpy(np.float64)
    for form, scale in list(EPOCHS.items())[:3]:  # also before 2001, after 2039; Windows counts near ns
        wide = _within(numbers, (SINCE * scale / 10, 2 * UNTIL * scale))
        if wide and (numbers.max() >= SINCE * scale or numbers.min() > 0.5 * numbers.max()):
            return form
    narrow = np.ptp(numbers) < 0.5 * numbers.min(initial=np.inf)
    if _within(numbers, EXCEL) and narrow:
        return "excel"
    if _within(numbers, YEARS) and not (numbers == np.floor(numbers)).all() and narrow:
        return "decimal-year"
    if len(np.unique(numbers)) > 3:
        return "20yymmdd" if _short_dates(numbers) else "yyyymm" if _are_months(numbers) else None
    return None


def times_of_numbers(column: pd.Series, form: str, what: str) -> pd.Series:
    """Numbers in a form as datetimes: UTC where they count from 1970 or from a moment of UTC, else
    without a zone.

    Raises:
        SchemaError: naming the first row that the form cannot be.
    """
    if form in EPOCHS:
        return _since_1970(column, form, what)
    if _SINCE.fullmatch(form) is not None:
        return _since_then(column, form, what)
    numbers = column.to_numpy(np.float64)
    if form == "excel":
        _refuse(column, what, form, ~_inside(numbers, (EXCEL_LEAST, 2_958_466)))
        seconds = numbers * SECONDS_OF_DAY
        near = (np.abs(seconds - np.rint(seconds)) < SLACK).all()  # digits were cut off
        thousandths = np.rint(np.rint(seconds) * 1000 if near else seconds * 1000).astype(np.int64)
        return _column(np.datetime64(EXCEL_ORIGIN, "ms") + thousandths.view("m8[ms]"), column)
    if form == "decimal-year":
        _refuse(column, what, form, ~_inside(numbers, (1.0, 9999.0)))
        year = np.floor(numbers).astype(np.int64)
        begin, end = ((year + k - 1970).astype("M8[Y]").astype("M8[s]") for k in (0, 1))
        part = np.rint((numbers - year) * (end - begin).astype(np.int64)).astype("m8[s]")
        return _column(begin + part, column)
    if form == "yyyy.mm":
        numbers, form = _pointed_months(numbers), "yyyymm"
        _refuse(column, what, "yyyy.mm", np.isnan(numbers))
    _refuse(column, what, form, numbers != np.floor(numbers))
    if form in PERIODS:
        _refuse(column, what, form, _period_lost(numbers, form))
        return _column(_periods(numbers, form), column)
    whole = numbers.astype(np.int64)
    length, pattern = DIGITS.get(form, DIGITS["yyyymmdd"])
    text = pd.Series(whole + CENTURIES.get(form, 0)).astype(str).str.zfill(length)
    stamps = pd.to_datetime(text, format=pattern, errors="coerce")
    _refuse(column, what, form, (stamps.isna() | (text.str.len() != length)).to_numpy())
    return _column(stamps.to_numpy(), column)


def _pointed_months(numbers: np.ndarray) -> np.ndarray:
    """Numbers such as 1871.01 as 187101; NaN where nothing or no whole number is behind the point."""
    months = (numbers - np.floor(numbers)) * 100
    whole = np.abs(months - np.rint(months)) < SLACK
    return np.where(whole & (np.rint(months) > 0), np.floor(numbers) * 100 + np.rint(months), np.nan)


def _refuse_pointed_months(numbers: np.ndarray, what: str) -> None:
    """Raises where parts of years are .01 to .12, and nothing else."""
    months = _pointed_months(numbers)
    if len(np.unique(numbers)) > 2 and not _period_lost(months, "yyyymm").any():
        raise SchemaError(
            f"{what} holds {numbers[0]:.2f} and so on, months or parts of a year; give "
            "time_format='yyyy.mm' or time_format='decimal-year'"
        )


def _periods(numbers: np.ndarray, form: str) -> np.ndarray:
    """When months or weeks written as six digits begin; NaT for what is none."""
    text = pd.Series(numbers.astype(np.int64)).astype(str)
    day = "1" if form == "yyyyww" else ""  # a week begins on its Monday
    return pd.to_datetime(text + day, format=PERIODS[form], errors="coerce").to_numpy()


def _period_lost(numbers: np.ndarray, form: str) -> np.ndarray:
    """Mask of the numbers that are no month or week of the years that are taken for such."""
    inside = _inside(numbers, (YEARS[0] * 100.0, YEARS[1] * 100.0))
    return ~inside if not inside.all() else np.isnat(_periods(numbers, form))


def _are_months(numbers: np.ndarray) -> bool:
    whole = bool((numbers == np.floor(numbers)).all())
    return whole and not _period_lost(numbers, "yyyymm").any()


def are_remote(column: pd.Series) -> bool:
    """Whether plain numbers lie so far from zero that they may be dates in a form nobody has told.

    Example:
        >>> are_remote(pd.Series([3793240800, 3793243680])), are_remote(pd.Series([1990, 2001]))
        (True, False)
    """
    numbers = column.to_numpy(np.float64)
    span = np.ptp(numbers)
    return bool(span > 0 and np.abs(numbers).min() > REMOTE * span)


def _are_dates(numbers: np.ndarray, form: str, length: int) -> bool:
    scale = 10.0 ** (length - 4)
    if not _within(numbers, (YEARS[0] * scale, YEARS[1] * scale)):
        return False
    texts = pd.Series(np.unique(numbers).astype(np.int64)).astype(str)
    return bool(pd.to_datetime(texts, format=DIGITS[form][1], errors="coerce").notna().all())


def _epoch(column: pd.Series, numbers: np.ndarray, what: str) -> str | None:
    unit = np.full(len(numbers), -1)
    for k, scale in enumerate(EPOCHS.values()):
        unit[_inside(numbers, (SINCE * scale, UNTIL * scale))] = k
    if (unit < 0).any():
        return None
    forms, other = list(EPOCHS), unit != unit[0]
    if other.any():
        k = int(np.argmax(other))
        raise SchemaError(
            f"{what} changes its unit at {row_name(column, other)}: {column.iloc[k]} after "
            f"{column.iloc[k - 1]}, as if {forms[unit[k]]} after {forms[unit[0]]}; write all of "
            "them in one "
            "unit, or give time_format='number' if they are no times since 1970"
        )
    return forms[unit[0]]


def _since_1970(column: pd.Series, form: str, what: str) -> pd.Series:
    unit = form.removeprefix("epoch-")
    numbers = column.to_numpy(np.float64)
    # Exactly, and no finer than is needed: nanoseconds end in 2262.
    scale = {"s": 10**6, "ms": 10**3, "us": 1, "ns": 1}[unit]
    limit = float(2**63 - 2**11)
    _refuse(column, what, form, np.abs(numbers) * scale >= limit)
    _refuse(column, what, form, np.abs(numbers) >= LATEST * EPOCHS[form])
    fine = "ns" if unit == "ns" else "us"
    if column.dtype.kind in "iu":
        ticks, fine = column.to_numpy(np.int64), unit
    else:
        ticks = np.rint(numbers * scale).astype(np.int64)
    return _column(ticks.view(f"M8[{fine}]"), column).dt.tz_localize("UTC")


def _since_then(column: pd.Series, form: str, what: str) -> pd.Series:
    """To a microsecond, exactly where the numbers are whole."""
    unit, moment, zone = cast(re.Match[str], _SINCE.fullmatch(form)).groups()
    begin = pd.Timestamp(moment).as_unit("us").to_datetime64()
    size = MICROSECONDS["ms" if unit.lower().startswith(("ms", "milli")) else unit[0].lower()]
    numbers = column.to_numpy(np.float64)
    _refuse(
        column, what, form, np.abs(numbers) * size + abs(int(begin.astype(np.int64))) >= float(2**62)
    )
    whole = np.floor(numbers)
    ticks = whole.astype(np.int64) * size + np.rint((numbers - whole) * size).astype(np.int64)
    stamps = _column(begin + ticks.view("m8[us]"), column)
    return stamps if zone is None else stamps.dt.tz_localize("UTC")


def _short_dates(numbers: np.ndarray) -> bool:
    """Whether all may be dates such as 240301, of a century that they don't say."""
    if not _within(numbers, (10_100, 991_232)) or not (numbers == np.floor(numbers)).all():
        return False
    texts = pd.Series(np.unique(numbers).astype(np.int64)).astype(str).str.zfill(6)
    return bool(pd.to_datetime(texts, format="%y%m%d", errors="coerce").notna().all())


def _whole_seconds(numbers: np.ndarray) -> bool:
    """Whether many fractions of a day are all whole seconds, as those of clocks are."""
    parts = np.unique(numbers[numbers != np.floor(numbers)]) * SECONDS_OF_DAY
    return len(parts) >= ENOUGH and bool((np.abs(parts - np.rint(parts)) < SLACK).all())


def _inside(numbers: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    return (numbers >= bounds[0]) & (numbers < bounds[1])


def _within(numbers: np.ndarray, bounds: tuple[float, float]) -> bool:
    return bool(_inside(numbers, bounds).all())


def _column(stamps: Any, column: pd.Series) -> pd.Series:
    return pd.Series(stamps, index=column.index, name=column.name)


def _refuse(column: pd.Series, what: str, form: str, bad: np.ndarray) -> None:
    if bad.any():
        raise SchemaError(
            f"{what} holds {column.iloc[int(np.argmax(bad))]} at {row_name(column, bad)}, which is "
            "not a "
            f"time in the form {form}; correct it, or give another time_format="
        )
