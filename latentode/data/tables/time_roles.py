"""Roles of times: the column of times, or the columns that hold them together.

Times stand in one column, in parts such as year, month and day, or as days in one column and times of
day in another. Several columns of times are refused, unless their names say which is meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd

from latentode.data.cells.columns import some_names
from latentode.data.cells.number_text import is_text
from latentode.data.cells.time_formats import counts_units, month_of
from latentode.data.cells.time_numbers import DIGITS, doubtful_form, form_of_numbers
from latentode.data.cells.time_parts import clock_parts, parts_of_time, refuse_words_in_parts
from latentode.data.cells.time_text import is_elapsed
from latentode.data.cells.usual_names import (
    CLOCK_NAMES,
    DATE_NAMES,
    HOUR_NAMES,
    ID_NAMES,
    PARTS_OF_TIME,
    SURE_TIME_NAMES,
    TIME_NAMES,
    every,
    usual,
)
from latentode.data.tables.header_rows import TIME, kind_of
from latentode.data.tables.joined_columns import codes_of, joined_times, times_differ
from latentode.data.tables.roles import (
    PROBED,
    Search,
    are_dates,
    holds_clock,
    holds_hours,
    looks_like_times,
    never_changes,
    orderly,
)
from latentode.errors import SchemaError

__all__ = ["find_time", "refuse_times_for_columns"]

# Forms of times as names of columns, how many of one form are no accident, and what they are called.
_TIMES_FOR_COLUMNS = {
    r"\d{1,2}[:h]\d{2}(:\d{2})?": (3, "time"),
    r"(?:X|YR?|F)?(?:19|20)\d{2}(?: ?\[.*\])?": (3, "year"),
    r"X?\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}( .*)?|X?(19|20)\d{2}[-.]\d{2}": (3, "time"),
    r"[Hh]\d{1,2}": (12, "hour"),
    r"Q[1-4]( ?(19|20)\d{2})?|(19|20)\d{2}[- ]?Q[1-4]": (4, "quarter"),
}
MOST_MONTHS = 10

OFTEN = 0.5  # share of rows whose time is that of the row before
BEGINS = frozenset(
    ("start", "begin", "from", "von", "beginn", "anfang", "de", "desde", "debut", "début")
)
ENDS = frozenset(("end", "stop", "to", "until", "bis", "ende", "a", "hasta", "fin"))
# When a row was kept, rather than what it tells of.
KEPT_NAMES = ("created_at", "storetime", "last_changed", "last_updated", "updated_at", "imported_at")
HALVES = frozenset(("AM", "PM", "am", "pm", "a.m.", "p.m.", "A.M.", "P.M."))
# Within names that are longer, such as "R.Time (min)" and "hours_from_dose".
TIME_WORDS = {
    *("time", "date", "datetime", "timestamp", "hour", "hours", "minutes", "seconds", "days", "weeks"),
    *("datenum", "epiweek", "zeit", "datum", "fecha", "hora", "heure", "elapsed", "visit"),
}
WHOLE_DAY = ("year", "month", "day")
PARTS = ("year", "month", "day", "hour")  # none of which is a time alone


def find_time(search: Search) -> None:
    """Settles the column of times.

    Raises:
        SchemaError: where there is none, or one of several may be meant.
    """
    _refuse_halves(search)
    if search.schema.time is None:
        names = every(search.frame.columns, TIME_NAMES, search.taken())
        weak = ("t", *(name for part in PARTS_OF_TIME.values() for name in part))
        first = usual(names[0]) if names else ""
        if first in ("", *weak, *KEPT_NAMES):
            parts = parts_of_time(search.frame, search.taken())
            parts = [] if first in KEPT_NAMES and len(parts) < len(WHOLE_DAY) else parts
            free = [c for c in search.free() if usual(c) not in KEPT_NAMES]
            whole = any(looks_like_times(search.column(c)) for c in free)
            if parts and not whole:
                search.join_times(parts)
                _leave_out_the_same(search, parts)
                return
            if not parts and not whole:
                refuse_words_in_parts(search.frame, free)
            # A temperature `T` beside dates that are whole numbers, as weather services write them.
            dated = first == "t" and any(_is_dated(search.column(c)) for c in free if usual(c) != "t")
            names = [] if parts or dated else names
        time = _rather_times(search, names[0]) if names else _time_by_contents(search)
        _refuse_parts(search, time)
        search.schema = replace(search.schema, time=time)
        _join_date(search, names[1:])
        if usual(str(search.schema.time)) not in (*SURE_TIME_NAMES, "date_time"):
            search.say(f"column `{search.schema.time}` is taken for the times; time= names another")
    elif search.schema.date is None and not search.complete:
        _join_date(search, every(search.frame.columns, DATE_NAMES, search.taken()))


def _called_by_times(names: Sequence[str]) -> tuple[str, list[str]]:
    """What the times are called that columns are called by, and these columns; none if too few are."""
    for form, (fewest, part) in _TIMES_FOR_COLUMNS.items():
        found = [name for name in names if re.fullmatch(form, name)]
        if len(found) >= fewest:
            return part, found
    found = [name for name in names if name.isalpha() and month_of(name)]
    return "month", found if len({month_of(name) for name in found}) >= MOST_MONTHS else []


def refuse_times_for_columns(names: Sequence[str], others: Sequence[str]) -> None:
    """Raises where columns are called by times: each of their rows holds many times of one variable.

    Args:
        names: of the columns without a role.
        others: of those that have one.
    """
    plain = [str(name).strip() for name in names]
    part, found = _called_by_times(plain)
    if not found:
        return
    kept = [*others, *(name for name in names if str(name).strip() not in found)]
    has_year = all(re.search(r"\d{4}", name) for name in found) or part == "time"
    needs = ""
    if not has_year and not {usual(n) for n in kept} & {*PARTS_OF_TIME["year"], *DATE_NAMES}:
        needs = ", and add a column `year`, since these names have none"
    part, rest = "time" if has_year and part == "quarter" else part, ""
    if part in ("year", "hour") and not all(map(str.isdecimal, found)):
        digits = r"(\d{4})" if part == "year" else r"(\d+)"
        rest = f".str.extract(r'{digits}', expand=False).astype(int)"
    elif found[0].startswith("X"):  # as R writes what begins with a digit
        rest = ".str[1:]"
    rest = rest and f"; rows['{part}'] = rows['{part}']{rest}"
    raise SchemaError(
        f"columns are called by times, such as `{found[0]}` and `{found[1]}`: each row holds several "
        f"times. Make a row of each, by rows = pandas.melt(frame, {kept!r}, var_name='{part}', "
        f"value_name='value'){rest}{needs}; or name those that are variables with targets="
    )


def _refuse_halves(search: Search) -> None:
    """Raises for a column of AM and PM, without which the times beside it mean either half of a day."""
    for column in map(search.column, search.free() if not search.complete else ()):
        if is_text(column) and set(column.iloc[:PROBED].dropna().astype(str).str.strip()) & HALVES:
            cells = column.dropna().astype(str).str.strip()
            if cells.isin(HALVES).all():
                raise SchemaError(
                    f"column `{column.name}` says which half of the day times are of; write it behind "
                    f"them, as with frame['Time'] + ' ' + frame[{column.name!r}], or give "
                    f"leave_out='{column.name}' if times are by a clock of 24 hours"
                )


def _leave_out_the_same(search: Search, parts: Sequence[str]) -> None:
    """Leaves out columns that say what a part of the times says, as `yr` beside `year`."""
    known = [search.column(part).to_numpy() for part in parts]
    called = {name for names in PARTS_OF_TIME.values() for name in names}
    likely = {c: search.column(c).to_numpy() for c in search.free() if usual(c) in called}
    same = [c for c, cells in likely.items() if any(np.array_equal(cells, x) for x in known)]
    if same and search.schema.targets is None:
        search.schema = replace(search.schema, leave_out=(*search.schema.leave_out, *same))
        search.say(f"left out, since the times say the same: {some_names(same)}")


def _rather_times(search: Search, name: str) -> str:
    """A column of plain numbers with the name of one of times, or a column of times beside it.

    A time that stays the same from row to row, such as that of an admission, is none of the rows.
    """
    column = search.column(name)
    if usual(name) in SURE_TIME_NAMES or not pd.api.types.is_numeric_dtype(column):
        return name
    if column.isna().any() or form_of_numbers(column, f"column `{name}`") is not None:
        return name
    times = [c for c in search.free() if c != name and looks_like_times(search.column(c))]
    moving = [c for c in times if (search.column(c) == search.column(c).shift()).mean() <= OFTEN]
    return _only(search, moving) if moving else name


def _refuse_parts(search: Search, time: str) -> None:
    """A day of the month, or a month of the year, is no time without the others."""
    parts = {p: c for p in PARTS for c in every(search.frame.columns, [p], search.taken())}
    if usual(time) in parts and len(parts) > 1:
        listed = list(parts.values())
        fix = f"write them into one column, such as pandas.to_datetime(frame[{listed!r}]), and name it"
        fix = (
            fix if "year" in parts else "add a column `year`, or write whole dates into one and name it"
        )
        raise SchemaError(f"no time column: {some_names(listed)} hold parts of it; {fix} with time=")


def _time_by_contents(search: Search) -> str:
    free = [c for c in search.free() if looks_like_times(search.column(c))]
    free = free or [c for c in search.free() if _are_written_times(search.column(c))]
    free = free or [c for c in search.free() if _counts_units(search.column(c))]
    if free:
        return _only(search, free)
    likely = [c for c in search.free() if _may_be_times(search.column(c))]
    shown = f"it, maybe {some_names(likely, 3)}," if likely else "it"
    raise SchemaError(
        f"no time column: none of {some_names(SURE_TIME_NAMES)} is among "
        f"{some_names(search.frame.columns)}; name {shown} with time="
    )


def _is_dated(column: pd.Series) -> bool:
    """Whether a column has dates that are whole numbers."""
    return pd.api.types.is_integer_dtype(column) and form_of_numbers(column, "") == "yyyymmdd"


def _may_be_times(column: pd.Series) -> bool:
    """Whether a column has a word for times in its name, or numbers that are often times."""
    if {*re.split(r"[\W_]+", usual(str(column.name)))} & TIME_WORDS:
        return True
    if not pd.api.types.is_numeric_dtype(column) or column.isna().any():
        return False
    try:
        return (form_of_numbers(column, "") or doubtful_form(column)) is not None
    except SchemaError:
        return True


def _only(search: Search, times: Sequence[str]) -> str:
    """The one column of times, or that of two with which intervals begin that end with the other."""
    for begin, end in permutations(times) if len(times) == 2 else ():
        first, last = (set(usual(name).split("_")) for name in (begin, end))
        if first - BEGINS == last - ENDS and first & BEGINS and last & ENDS:
            search.schema = replace(search.schema, leave_out=(*search.schema.leave_out, end))
            search.say(f"times are those of `{begin}`; `{end}`, when intervals end, is left out")
            return begin
    if len(times) > 1:
        raise SchemaError(
            f"no time column: {some_names(times)} all hold times; name the one that is meant with time="
        )
    return times[0]


def _are_written_times(column: pd.Series) -> bool:
    """Whether cells are written as dates are, in some form: with points, in words, or in digits."""
    if pd.api.types.is_numeric_dtype(column):
        try:
            form = None if column.isna().any() else form_of_numbers(column, str(column.name))
        except SchemaError:
            return False
        return form in DIGITS
    if not is_text(column) or holds_clock(column):
        return False
    first = column.dropna().iloc[:PROBED].astype(str)
    return not first.empty and not is_elapsed(first) and all(kind_of(cell) == TIME for cell in first)


def _counts_units(column: pd.Series) -> bool:
    """Whether cells count weeks or the like since a begin, as visits of a study do."""
    return is_text(column) and counts_units(column.dropna().iloc[:PROBED].astype(str).str.strip())


def _join_date(search: Search, others: Sequence[str]) -> None:
    """Finds the column of dates where the times are times of a day, or the other way round."""
    time = str(search.schema.time)
    column = search.column(time)
    if holds_clock(column) and usual(time) in CLOCK_NAMES:
        dates = [c for c in others if not holds_clock(search.column(c))]
        for name in dates:
            whole = search.column(name)
            if are_dates(whole):
                search.schema = replace(search.schema, date=name)
                search.say(f"times are those of `{time}` on the days of `{name}`")
                return
            if looks_like_times(whole):
                search.schema = replace(
                    search.schema, time=name, leave_out=(*search.schema.leave_out, time)
                )
                search.say(f"times are those of `{name}`; `{time}` holds times of day and is left out")
                return
        return
    if usual(time) in CLOCK_NAMES and pd.api.types.is_numeric_dtype(column):
        dates = [c for c in others if are_dates(search.column(c))]
        if dates and search.schema.targets is None:
            raise SchemaError(
                f"columns `{dates[0]}` and `{time}` both say when a row was; give date='{dates[0]}' if "
                f"`{time}` is the time of day, or leave_out='{dates[0]}' if its numbers are times"
            )
    parts = clock_parts(search.frame, [c for c in search.taken() if c != time])
    if parts and usual(time) in DATE_NAMES and are_dates(column):
        search.join_times([time, *parts])
        return
    named = every(search.frame.columns, CLOCK_NAMES, [*search.taken(), time])
    clock = next(
        (c for c in named if holds_hours(cells := search.column(c)) or holds_clock(cells)), None
    )
    clocks = [c for c in search.free() if c != time and _holds_clock_text(search.column(c))]
    if clock is None and clocks and are_dates(column):
        begins = [c for c in clocks if set(usual(c).split("_")) & BEGINS]
        if begins or column.duplicated().any():
            _join_first(search, time, sorted(clocks, key=lambda c: c not in begins), bool(begins))
        return
    if clock is None or usual(time) not in DATE_NAMES or not are_dates(column):
        return
    cells = search.column(clock)
    hours = usual(clock) in HOUR_NAMES and holds_hours(cells)
    packed = usual(clock) in PARTS_OF_TIME["hhmm"] and holds_clock(cells)
    if (hours and column.duplicated().any()) or packed or _holds_clock_text(cells):
        search.schema = replace(search.schema, time=clock, date=time)
        search.say(f"times are those of `{clock}` on the days of `{time}`")
    elif hours and search.schema.targets is None and not never_changes(cells):
        search.say(
            f"`{clock}` is a variable, since no day of `{time}` comes twice; say date='{time}' and "
            f"time='{clock}' if it is the time of day"
        )


def _holds_clock_text(column: pd.Series) -> bool:
    return is_text(column) and holds_clock(column)


def _join_first(search: Search, date: str, clocks: Sequence[str], named: bool) -> None:
    """Joins a date with a time of day that is called a begin, or where both go one way in each series.

    Of several it is the first, which begins what ends at the others: these are left out.
    """
    first, *others = clocks
    out = (*search.schema.leave_out, *others)
    schema = replace(search.schema, time=first, date=date, leave_out=out)
    try:
        times = joined_times(search.frame, schema)
    except SchemaError:
        return
    ticks = pd.factorize(times, sort=True)[0]
    names = [search.schema.id] if search.schema.id else every(search.free(), ID_NAMES)
    groups = [search.base(), *(codes_of(search.column(c)) for c in names)]
    # Where a day comes once in each series, the time of day may be anything: it is not needed.
    days = pd.factorize(search.column(date))[0]
    told = (orderly(codes, ticks) and not times_differ(codes, days) for codes in groups)
    if not named and not any(told):
        return
    search.schema = schema
    search.say(f"times are those of `{first}` on the days of `{date}`")
    if others:
        search.say(f"times of day in {some_names(others)} are left out")
