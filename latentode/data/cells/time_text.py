"""Times written as text, of ISO 8601 or another form; what cannot be read is named by its row.

Beside ISO 8601 a clock may show 24:00 or a comma before fractions of seconds, and the zone may
follow as a word ("UTC", "Europe/Berlin"). Other forms are found where they can be nothing else.
"""

from __future__ import annotations

import datetime as dt
import re
import warnings
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from latentode.data.cells.clock_times import check_zone, is_clock, place_in_zone
from latentode.data.cells.columns import cell_name, or_no_row, row_name
from latentode.data.cells.number_cells import text_of
from latentode.data.cells.time_formats import (
    counted_units,
    found_format,
    in_english,
    period_form,
    read_counted,
    read_period,
    written_usually,
)
from latentode.data.cells.usual_names import SUMMARY
from latentode.errors import SchemaError

__all__ = [
    "FIX",
    "ISO",
    "TEXT_FORMS",
    "TimeText",
    "is_elapsed",
    "read_text",
]

FIX = "correct it, or give time_format= (such as '%d/%m/%Y %H:%M') if the whole column is written so"
TEXT_FORMS = ("elapsed", "week", "quarter", "month", "interval")
ISO = "ISO8601"
# A clock time is needed before an offset: the last field of a bare date would look like one.
_OFFSET = r"[Tt ].*?(Z|[+-]\d\d(?::?\d\d)?)$"
_ZONE_WORD = re.compile(r"\s*\[?((?:[A-Z][A-Za-z_]+/[A-Za-z_+\-/0-9]+)|UTC|GMT|Etc/UTC)\]?$")
_ISLAMIC = re.compile(r"1[34]\d\d[-/.]\d{1,2}[-/.]\d{1,2}\b")
_SHORT_ZONE = re.compile(r"\d\s*([A-Z]{3,5})$")  # CET, EST
_BLANKS = "[\u00a0\u2009\u202f]"  # themselves: not every engine of patterns knows such escapes
_GUESSES_ZONES = pd.__version__.startswith("2.")  # of times without one, after one that has it
# Begin and end of an interval, both with their day.
_INTERVAL = re.compile(
    r"(?P<begin>\d.*\d:\d{2}(?::\d{2})?) ?[-–—/] ?\d+[-./]\d+[-./]\d+[T ]+\d.*:\d{2}"
)
_END_OF_DAY = r"(?<=\d)[Tt ]24:00(?::00(?:\.0+)?)?"
_AT_LEAST_A_DAY = r"^(?:2[4-9]|[3-9]\d|\d{3,}):"
_ELAPSED = re.compile(
    r"^-?(?:\d+\s*d(?:ays?)?,?\s*)?[+-]?\d+:[0-5]?\d(?::[0-5]?\d(?:[.,]\d+)?)?$|^-?\d+\s*d(?:ays?)?$"
    r"|^-?P(?=[\dT])(?:\d+W)?(?:\d+D)?(?:T(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?$"
)
_ISO_ELAPSED = re.compile(
    r"^(?P<sign>-?)P(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>[\d.]+)S)?)?$"
)


@dataclass(frozen=True)
class TimeText:
    """A column of text as times.

    Args:
        column: of datetimes or of durations.
        form: what `time_format` would name it; None for ISO 8601.
    """

    column: pd.Series
    form: str | None = None


def read_text(
    column: pd.Series, what: str, time_format: str | None, convert: bool, fix: str = FIX
) -> TimeText:
    """A datetime column from text or from datetime objects.

    Args:
        column: without missing cells.
        what: names it in messages.
        time_format: strptime format, or a name of `TEXT_FORMS`; None finds it.
        convert: whether times of several offsets may be brought to UTC, since the caller converts
            them to a zone anyway.
        fix: what to advise where a cell is not a time.

    Raises:
        SchemaError: naming the first row that cannot be read, and the fix.
    """
    column = column.infer_objects()
    if pd.api.types.is_datetime64_any_dtype(column) or column.dtype.kind == "m":
        return TimeText(column)
    if pd.api.types.is_string_dtype(column.dtype) and time_format not in TEXT_FORMS:
        read = _by_format(column, time_format or ISO)  # as it is, which is the usual case and the quick
        if read is not None:
            return TimeText(read, time_format)
    text = column
    if column.dtype == object:
        text = column.map(lambda v: v.isoformat() if isinstance(v, dt.datetime | dt.time) else str(v))
    text = text.astype(str).str.replace(_BLANKS, " ", regex=True).str.strip()
    if not all(map(str.isascii, text)):  # digits of another script, maybe
        text = text_of(text).astype(str)
    if time_format in TEXT_FORMS:
        return TimeText(_in_form(column, text, what, str(time_format)), time_format)
    read = _by_format(text, time_format or ISO)
    if read is not None:
        return TimeText(read, time_format)
    if time_format is None:
        found = _other_iso(text, what) or _other_form(column, text, what)
        if found is not None:
            return found
    chosen = time_format or _usual_form(column, text, what) or ISO
    if chosen in TEXT_FORMS:
        _in_form(column, text, what, chosen)
    _refuse_unreadable(column, text, what, chosen, fix)
    offsets = text.str.extract(_OFFSET, expand=False).fillna("").replace("Z", "+00:00")
    _refuse_mixed(column, offsets, what, convert)
    return TimeText(pd.to_datetime(text, format=chosen, utc=True), time_format)


def _by_format(text: pd.Series, form: str) -> pd.Series | None:
    """Times in a strptime format; None where a cell is none, or offsets differ."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # pandas 2: offsets differ
            parsed = pd.to_datetime(text, format=form)
    except (ValueError, OverflowError):
        return None
    if not pd.api.types.is_datetime64_any_dtype(parsed):
        return None
    told = not _GUESSES_ZONES or form != ISO or not isinstance(parsed.dtype, pd.DatetimeTZDtype)
    return parsed if told or text.str.extract(_OFFSET, expand=False).notna().all() else None


def _other_iso(text: pd.Series, what: str) -> TimeText | None:
    """ISO 8601 with 24:00, a comma before fractions, or a zone in words; None for anything else."""
    plain = text.str.replace(r"(:\d{2}),(\d+)", r"\1.\2", regex=True)
    zone, words = None, plain.str.extract(_ZONE_WORD, expand=False)
    if words.notna().all() and len(set(words)) == 1:
        zone = str(words.iloc[0])
        plain = plain.str.replace(_ZONE_WORD, "", regex=True)
    late = plain.str.contains(_END_OF_DAY, regex=True)
    plain = plain.str.replace(_END_OF_DAY, "T00:00", regex=True)
    read = None if plain.equals(text) else _by_format(plain, ISO)
    if read is None:
        return None
    read = read + pd.to_timedelta(late.astype(int), unit="D")
    if zone is None:
        return TimeText(read)
    zone = "UTC" if zone == "GMT" else zone
    check_zone(zone)
    if read.dt.tz is not None:
        return TimeText(read.dt.tz_convert(zone))
    return TimeText(place_in_zone(read, what, zone))


def _other_form(column: pd.Series, text: pd.Series, what: str) -> TimeText | None:
    """Durations, weeks, quarters and other formats, where all cells are written in one of them."""
    counted = counted_units(text)
    if 2 * counted["unit"].notna().sum() > len(text):
        _refuse_counts(column, counted, what)
        return TimeText(_in_form(column, text, what, "elapsed"), "elapsed")
    if is_elapsed(text):
        if not is_clock(text) or text.str.contains(_AT_LEAST_A_DAY, regex=True).any():
            return TimeText(_in_form(column, text, what, "elapsed"), "elapsed")
        raise SchemaError(
            f"{what} holds times of day without a date, such as {text.iloc[0]!r}; name the column "
            "of dates with date=, or give time_format='elapsed' if they are durations"
        )
    if is_clock(text):
        raise SchemaError(
            f"{what} holds times of day without a date, such as {text.iloc[0]!r}; name the column "
            "of dates with date="
        )
    if text.str.fullmatch(_INTERVAL).all():
        return TimeText(_in_form(column, text, what, "interval"), "interval")
    period = period_form(text)
    if period is not None:
        return TimeText(_in_form(column, text, what, period), period)
    if pd.to_datetime(text, format=ISO, errors="coerce", utc=True).notna().all():
        return None  # of several zones
    plain = text.str.replace(r"\s*(?:\([A-Za-z ]+\)|Uhr)$", "", regex=True)
    plain = plain.str.replace(r"(:\d{2}),(\d+)$", r"\1.\2", regex=True)
    plain = plain.str.replace(r"(?<=\d) (?:GMT|UTC)$", " +0000", regex=True)
    plain = plain.str.replace(r"\s*([AaPp])\.\s?[Mm]\.?$", r" \1m", regex=True)
    form = found_format(plain, what)
    if form is None:  # months may be written in another language
        plain = in_english(plain)
        form = None if plain.equals(text) else found_format(plain, what)
    read = None if form is None else _by_format(plain, form)
    return None if read is None else TimeText(read, form if plain.equals(text) else None)


def _in_form(column: pd.Series, text: pd.Series, what: str, form: str) -> pd.Series:
    if form == "interval":
        begins = text.str.extract(_INTERVAL)["begin"].fillna("")
        return read_text(begins, what, None, False).column
    read = read_elapsed(text) if form == "elapsed" else read_period(text, form)
    lost = read.isna().to_numpy()
    if lost.any():
        raise SchemaError(
            f"{what} holds {cell_name(column, lost)}, which is not a time in the form {form}; "
            f"correct it, or give another time_format={or_no_row(lost)}"
        )
    return read


def _usual_form(column: pd.Series, text: pd.Series, what: str) -> str | None:
    """The form of most cells, beside which others are not written as times are; None for ISO 8601.

    Raises:
        SchemaError: for a cell among numbers, and for whatever keeps most cells from being read.
    """
    numbers = cast(pd.Series, pd.to_numeric(text.astype(object), errors="coerce")).notna().to_numpy()
    if 0.5 < numbers.mean() < 1:
        raise SchemaError(
            f"{what} holds numbers, but {cell_name(column, ~numbers)}; correct it or remove that row"
            f"{or_no_row(~numbers)}"
        )
    usual = written_usually(text)
    return None if usual.all() or not usual.any() else read_text(column[usual], what, None, True).form


def _refuse_unreadable(column: pd.Series, text: pd.Series, what: str, chosen: str, fix: str) -> None:
    try:
        parsed = pd.to_datetime(text, format=chosen, errors="coerce", utc=True)
    except ValueError as error:  # no format at all
        raise SchemaError(
            f"time_format {chosen!r} is no format: {error}; write it of strptime's directives, such as "
            "'%d/%m/%Y %H:%M'"
        ) from error
    readable = parsed.notna().to_numpy()
    if readable.all():
        return
    zone = _SHORT_ZONE.search(str(text.iloc[int((~readable).argmax())]))
    if zone is not None:
        fix = f"write the UTC offset, such as +01:00, for {zone[1]!r}, which may mean several zones"
    elif text[~readable].str.fullmatch(SUMMARY).all() and not or_no_row(~readable):
        fix = "remove it, or in a text file say with comment= how lines begin that sum up others"
    elif text[~readable].str.match(_ISLAMIC).all():
        fix = f"write it in the Gregorian calendar if its year is a Persian or an Islamic one; {fix}"
    raise SchemaError(
        f"{what} holds {cell_name(column, ~readable)}, which is not a time in the format {chosen}; "
        f"{fix}{or_no_row(~readable)}"
    )


def _refuse_mixed(column: pd.Series, offsets: pd.Series, what: str, convert: bool) -> None:
    """Refuses times of which some have a zone, and several zones that may not be converted."""
    aware = (offsets != "").to_numpy()
    if aware.any() and not aware.all():
        odd = aware != aware[0]
        raise SchemaError(
            f"{what} mixes times with and without a zone, first at {row_name(column, odd)}; write all "
            "of them with an offset, or none"
        )
    if convert:
        return
    digits = offsets.str.replace(":", "")
    odd = (digits != digits.iloc[0]).to_numpy()
    where = f": offset {cell_name(offsets, odd)} after {offsets.iloc[0]!r}" if odd.any() else ""
    raise SchemaError(
        f"{what} mixes time zones{where}; give timezone= (such as 'Europe/Berlin' or 'UTC') to convert "
        "all of them to"
    )


def is_elapsed(text: pd.Series) -> bool:
    """Whether all texts are durations, such as "30:15:00", "1 days 02:00:00" or "PT2H"."""
    return bool(text.str.fullmatch(_ELAPSED).all())


def read_elapsed(text: pd.Series) -> pd.Series:
    """Durations from text, a duration per row; those that are none are NaT, as numbers are."""
    short = text.str.fullmatch(r"[^:]*\d+:\d{1,2}")  # hours and minutes
    whole = text.str.replace(",", ".", regex=False).where(~short, text + ":00")
    whole = whole.str.replace(r"(?<=\d)\s*d(?:ays?)?\b[.,]?", " days", regex=True)
    plain = text.str.fullmatch(r"[+-]?[\d.]+")  # which pandas takes for nanoseconds
    counted = read_counted(text)
    unread = plain | text.str.contains("P") | counted.notna()
    read = pd.to_timedelta(whole.mask(unread), errors="coerce").fillna(counted)
    return read.fillna(_of_iso(text)) if text.str.contains("P").any() else read


def _of_iso(text: pd.Series) -> pd.Series:
    """Durations of ISO 8601, such as PT108H; NaT for what is none."""
    parts: Any = text.str.extract(_ISO_ELAPSED)
    told = parts["sign"].notna()
    amounts = parts.drop(columns="sign").astype(np.float64).fillna(0.0)
    seconds = amounts @ np.array([7 * 86_400, 86_400, 3600, 60, 1])
    signed = seconds.where(parts["sign"] != "-", -seconds)
    return pd.to_timedelta((signed * 10**6).round().where(told), unit="us")


def _refuse_counts(column: pd.Series, counted: pd.DataFrame, what: str) -> None:
    """Raises for what does not count one unit of one length alone."""
    units = counted["unit"].dropna().unique()
    none = counted["unit"].isna().to_numpy()
    long = counted["unit"].isin(["months", "years"]).to_numpy()
    if long.any():
        raise SchemaError(
            f"{what} holds {cell_name(column, long)}, and {counted['unit'][long].iloc[0]} are not all "
            "of one length; write dates or days, or the number alone, which is then a plain number"
        )
    if none.any():
        most = column[~none].iloc[0]
        raise SchemaError(
            f"{what} holds {cell_name(column, none)}, where most cells are written as {most!r} is; "
            "write it in the same way, or remove that row"
        )
    if len(units) > 1:
        odd = (counted["unit"] != units[0]).to_numpy()
        raise SchemaError(
            f"{what} holds {cell_name(column, odd)} beside {column[~odd].iloc[0]!r}; write all of them "
            "in one unit, such as days"
        )
