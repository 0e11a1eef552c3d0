"""Cautions: what nobody asked about a table, and has to be pointed out all the same.

Hardly any of it is an error: columns without a part in the model, numbers that may stand for missing
ones, names that differ in blanks, times far from all others, a variable that is a property of its
series, and rows that may be of several series.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from latentode.data.cells.clock_times import pass_twice_a_day
from latentode.data.cells.columns import column_of, row_name, some_names
from latentode.data.cells.number_cells import far_code, is_far_code
from latentode.data.cells.time_axis import TimeAxis
from latentode.data.cells.usual_names import KNOWN_AHEAD, PARTS_OF_TIME, SUMMARY, usual
from latentode.data.tables.joined_columns import codes_of, joined
from latentode.data.tables.roles import taken_in_turn
from latentode.data.tables.schema import Schema

__all__ = [
    "TWELVE_HOURS",
    "cautions",
    "disorder",
    "far_times",
    "summary_rows",
]

RUNS = 10  # rows that one run through the times has at least, on average
SHORT_RUNS, FEWEST_TOLD = 3, 3  # likewise where columns tell them apart; columns and turns in all
TURNING = 4  # columns that may name series in turn
BEHIND = 0.25  # share of rows before the latest time so far, beyond which these are no late ones
DAY = 86_400 * 10**6  # microseconds
YEAR = 365 * DAY
ISLAMIC_YEARS = (1300, 1500)  # which all of a table hardly lies in by the Gregorian calendar
FEWEST = 5  # times of which a tenth at either end may lie far from the bulk
SPANS = 10  # of the bulk, beyond which a time is pointed out
CALENDAR_NAMES = (  # numbers that follow from the time
    *(name for names in PARTS_OF_TIME.values() for name in names),
    *("weekday", "day_of_week", "dow", "week", "weekofyear", "quarter", "season", "shift"),
)
PLACES = ("lat", "latitude", "lon", "long", "lng", "longitude")  # of which few are come back to
TWELVE_HOURS = "write AM and PM into the times, or hours of 24, if they are by a clock of 12"


def cautions(
    table: pd.DataFrame, schema: Schema, axis: TimeAxis, codes: np.ndarray, asked: bool
) -> list[str]:
    """Sentences to say of a table.

    Args:
        table: times parsed and values numeric.
        schema: names every column.
        axis: what the times mean.
        codes: the series of each row.
        asked: whether somebody named the targets.
    """
    values = list(schema.targets or ()) if schema.layout == "wide" else []
    notes = [far_code(column_of(table, name), codes) for name in (*values, *schema.known_future)]
    if schema.layout == "long":
        notes += _far_codes_of_variables(table, schema, codes)
    notes += _odd_labels(table, schema)
    if schema.id is not None:
        ids = pd.Index(pd.unique(column_of(table, schema.id)))
        notes.append(summary_rows(codes, ids, schema))
    times = column_of(table, str(schema.time))
    odd = disorder(times, axis, codes)
    notes += [far_times(times, axis), _other_calendar(times, axis), odd]
    if not asked:
        if (np.diff(codes) < 0).any():
            order = np.argsort(codes, kind="stable")
            table, codes = table.iloc[order], codes[order]
        if schema.layout == "wide":
            notes += [_known_ahead(table, values), _constant_within(table, values, codes)]
            notes.append(None if odd else _run_through_again(table, schema, axis, codes))
            notes.append(_in_turn(table, schema, axis, codes))
    return [note for note in notes if note is not None]


def _other_calendar(column: pd.Series, axis: TimeAxis) -> str | None:
    """Points out a table whose times are all in the future or centuries ago, as by another calendar."""
    if axis.scale != "calendar":
        return None
    first, last = pd.Timestamp(column.min()), pd.Timestamp(column.max())
    if first > pd.Timestamp.now(tz=first.tz) + pd.Timedelta(days=1):  # of all zones
        fix = (
            "write them in the Gregorian calendar if its years are of another, such as the Buddhist one"
        )
        epoch, _, unit = (axis.form or "").partition("-")
        if epoch == "epoch":  # as SAS and Stata count
            fix = f"give time_format='{unit} since 1960-01-01' if they are counted since 1960"
        return f"column `{column.name}` has all its times in the future, from {first} on; {fix}"
    if first.year < ISLAMIC_YEARS[0] or last.year > ISLAMIC_YEARS[1]:
        return None
    return (
        f"column `{column.name}` has all its times from {first} to {last}; write them in the Gregorian "
        "calendar if its years are of another, such as the Persian or the Islamic one"
    )


def disorder(column: pd.Series, axis: TimeAxis, codes: np.ndarray) -> str | None:
    """Points out times in an order that is none, and would be one if they were read otherwise.

    These are dates whose day and month a spreadsheet has exchanged wherever both are below 13, and
    those of a clock of 12 hours without AM or PM.

    Args:
        column: of times that were read.
        axis: what they mean.
        codes: the series of each row.

    Example:
        >>> days = pd.to_datetime(["2024-11-01", "2024-12-01", "2024-01-13", "2024-01-14"])
        >>> disorder(pd.Series(days, name="day"), TimeAxis("datetime"), np.zeros(4))[:41]
        'column `day` turns at row 2, and does not'
    """
    ticks = axis.ticks_of(column) if axis.scale == "calendar" else np.zeros(0)
    same = np.diff(codes) == 0 if len(ticks) > 2 else np.zeros(0, dtype=bool)
    steps = np.diff(ticks)[same] if len(same) else ticks
    if not same.any() or (steps > 0).all() or (steps < 0).all():
        return None
    stamps = pd.to_datetime(column)
    if axis.kind == "datetime" and pass_twice_a_day(stamps, codes):
        return (
            f"column `{column.name}` goes from 1 to 12 o'clock twice a day, in the order of its rows; "
            f"{TWELVE_HOURS}"
        )
    if (steps >= 0).all() or (steps <= 0).all():
        return None
    turned = _turned(stamps)
    mended = np.diff(turned)[same]
    if not ((mended >= 0).all() or (mended <= 0).all()):
        return None
    usual_way = np.sign((steps > 0).sum() - (steps < 0).sum()) or 1
    turns = np.append(False, same & (np.sign(np.diff(ticks)) == -usual_way))
    at = int((turned != _wall(stamps)).argmax())
    other = pd.Timestamp(int(turned[at]), unit="us")
    return (
        f"column `{column.name}` turns at {row_name(column, turns)}, and does not if day and month "
        "change places where both are below 13, as spreadsheets exchange them; if so, correct these "
        f"dates, such as {stamps.iloc[at]:%Y-%m-%d} to {other:%Y-%m-%d}"
    )


def _turned(stamps: pd.Series) -> np.ndarray:
    """Microseconds of times whose day and month have changed places where both are below 13."""
    wall, day = _wall(stamps), stamps.dt.day.to_numpy()
    months = 12 * (stamps.dt.year.to_numpy() - 1970) + np.minimum(day, 12) - 1
    days = months.astype("M8[M]").astype("M8[D]").astype(np.int64) + stamps.dt.month.to_numpy() - 1
    return np.where(day <= 12, days * DAY + wall % DAY, wall)


def _wall(stamps: pd.Series) -> np.ndarray:
    """What the clock and the calendar show, in microseconds."""
    return stamps.dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)


def far_times(column: pd.Series, axis: TimeAxis) -> str | None:
    """Points out the first of a few times that lie years away from the bulk of a table; None for none.

    Example:
        >>> days = ["2024-03-01", "2024-03-02", "2024-03-04", "2024-03-05", "2034-03-06"]
        >>> far_times(pd.Series(pd.to_datetime(days), name="time"), TimeAxis("datetime"))
        'column `time` holds 2034-03-06 00:00:00 at row 4, years away from all other times; check it'
    """
    if axis.scale != "calendar" or len(column) < FEWEST:
        return None
    ticks = axis.ticks_of(column)
    cut = max(1, len(ticks) // 10)
    ordered = np.partition(ticks, (cut, len(ticks) - 1 - cut))
    low, high = int(ordered[cut]), int(ordered[len(ticks) - 1 - cut])
    year = YEAR * (1000 if axis.tick == "ns" else 1)
    reach = float(max(2 * year, SPANS * (high - low)))
    bad = (ticks.astype(np.float64) > high + reach) | (ticks.astype(np.float64) < low - reach)
    if not bad.any():
        return None
    first = column.iloc[int(np.argmax(bad))]
    more = f" (and {int(bad.sum()) - 1} more)" if bad.sum() > 1 else ""
    return (
        f"column `{column.name}` holds {first} at {row_name(column, bad)}{more}, years away from all "
        "other times; check it"
    )


def _constant_within(table: pd.DataFrame, names: list[str], codes: np.ndarray) -> str | None:
    """Points out variables that never change within a series and differ between series."""
    found = []
    for name in names if codes[-1] > 0 else ():
        values = column_of(table, name).to_numpy(np.float64, na_value=np.nan)
        observed = ~np.isnan(values)
        step, same = np.diff(values[observed]) != 0, np.diff(codes[observed]) == 0
        if same.any() and step.any() and not (step & same).any():
            found.append(name)
    if not found or len(found) == len(names):
        return None
    return (
        f"constant within each series: {some_names(found)}; name what is known of a series "
        "beforehand in static_covariates=, or say leave_out="
    )


def _known_ahead(table: pd.DataFrame, names: list[str]) -> str | None:
    """Points out variables of 0 and 1, such as holidays, that somebody may know beforehand."""
    found = [n for n in names if usual(n) in KNOWN_AHEAD and column_of(table, n).nunique() <= 2]
    if not found or len(found) == len(names):
        return None
    return (
        f"forecast as all others are: {some_names(found)}; name what is known beforehand in "
        "known_future=, and give its later values with the times that you ask for"
    )


def _run_through_again(
    table: pd.DataFrame, schema: Schema, axis: TimeAxis, codes: np.ndarray
) -> str | None:
    """Points out times that run through the same span again, as those of series one after the other."""
    column = column_of(table, str(schema.time))
    ticks = axis.ticks_of(column)
    back = np.append(False, (np.diff(ticks) < 0) & (np.diff(codes) == 0))
    if not 0 < SHORT_RUNS * int(back.sum()) <= len(ticks):
        return None
    latest = pd.Series(ticks).groupby(codes).cummax().to_numpy()
    if (ticks < latest).mean() < BEHIND:
        return None
    run = np.cumsum(back | np.append(False, np.diff(codes) != 0))
    same = [name for name in schema.targets or () if _constant_in(run, column_of(table, name))]
    if RUNS * int(back.sum()) > len(ticks) and (not same or len(same) + int(back.sum()) < FEWEST_TOLD):
        return None
    both = joined([*([] if schema.id is None else [schema.id]), *same])
    told = f"say id='{both}', which never changes within one" if same else (
        "name the column that tells them apart with id="
    )  # fmt: skip
    return (
        f"column `{schema.time}` goes back at {row_name(column, back)} and runs through the same times "
        f"again, as where several series stand one after the other; if so, {told}"
    )


def _constant_in(run: np.ndarray, column: pd.Series) -> bool:
    """Whether values differ between runs of rows, such as places of stations, and never within one."""
    values = column.to_numpy(np.float64, na_value=np.nan)
    change = np.flatnonzero(np.diff(values) != 0)
    return len(change) > 0 and bool((np.diff(run)[change] != 0).all())


def _in_turn(table: pd.DataFrame, schema: Schema, axis: TimeAxis, codes: np.ndarray) -> str | None:
    """Points out a variable of few whole numbers whose rows look like those of several series."""
    targets = list(schema.targets or ())
    ticks = axis.ticks_of(column_of(table, str(schema.time)))
    own = [] if schema.id is None else [schema.id]
    few = []
    for name in targets if len(targets) > 1 else ():
        column = column_of(table, name)
        if not 2 <= column.nunique() <= len(column) / RUNS or usual(name) in CALENDAR_NAMES:
            continue
        few.append(name)
        values = column.to_numpy(np.float64, na_value=np.nan)
        if (values == np.floor(values)).all() and taken_in_turn(codes, codes_of(codes, column), ticks):
            return (
                f"column `{name}` holds whole numbers, and the times of each of them are regular, but "
                "not those of all rows, as where it names the series; if so, say "
                f"id='{joined([*own, name])}'"
            )
    turning = [name for name in few if _turns(column_of(table, name))][:TURNING]
    places = [name for name in turning if usual(name) in PLACES]
    if len(places) == 2:
        return (
            f"columns `{places[0]}` and `{places[1]}` hold few places, to which rows come back in "
            f"turn, as where they name the series; if so, say id='{joined([*own, *places])}'"
        )
    for pair in combinations(turning, 2):
        together = codes_of(codes, *(column_of(table, name) for name in pair))
        if taken_in_turn(codes, together, ticks):
            return (
                f"columns `{pair[0]}` and `{pair[1]}` hold few numbers, and the times of each pair of "
                "them are regular, but not those of all rows, as where they name the series; if so, "
                f"say id='{joined([*own, *pair])}'"
            )
    return None


def _turns(column: pd.Series) -> bool:
    """Whether a column holds another value in the next row often enough to name series in turn."""
    values = column.to_numpy(np.float64, na_value=np.nan)
    return 4 * int((np.diff(values) != 0).sum()) >= len(values) - 1


def summary_rows(codes: np.ndarray, ids: pd.Index, schema: Schema) -> str | None:
    """Points out a series of one row that is called as rows are that sum up those above; None for none.

    Args:
        codes: the series of each row.
        ids: the identifier of each series.
        schema: names every column.

    Example:
        >>> summary_rows(np.array([0, 0, 1]), pd.Index(["a", "Total"]), Schema(id="store"))[:49]
        "column `store` names a series 'Total' of one row,"
    """
    rows = np.bincount(codes, minlength=len(ids))
    alone = ids[rows == 1]
    single = [i for i in alone if isinstance(i, str) and SUMMARY.fullmatch(i.strip())]
    if not single or len(alone) == len(ids):
        return None
    return (
        f"column `{schema.id}` names a series {single[0]!r} of one row, which may sum up the others; "
        "if so, remove that row, or in a text file say with comment= how it begins"
    )


def _odd_labels(table: pd.DataFrame, schema: Schema) -> list[str]:
    """Points out identifiers and names of variables that differ in blanks at their ends alone."""
    notes = []
    for name in (schema.id, schema.variable):
        if name is None or pd.api.types.is_numeric_dtype(column_of(table, name)):
            continue
        labels = pd.Series(column_of(table, name).unique()).astype(str)
        twice = labels[labels.str.strip().duplicated(keep=False)]
        if len(twice):
            notes.append(
                f"column `{name}` holds {' and '.join(map(repr, twice[:2]))}, which differ in "
                f"{'type' if twice.duplicated().any() else 'blanks'} alone and are taken for two; "
                "correct one of them if they are the same"
            )
    return notes


def _far_codes_of_variables(table: pd.DataFrame, schema: Schema, codes: np.ndarray) -> list[str]:
    """What `far_code` says of each variable of a long table."""
    names = column_of(table, str(schema.variable)).astype(str)
    values = column_of(table, str(schema.value))
    low = values.groupby(names).agg(["min", "max"])
    edges = low.to_numpy(np.float64)
    likely = low.index[[any(map(is_far_code, pair)) for pair in edges]]
    found = {
        v: far_code(values[own], codes[own]) for v in likely if (own := (names == v).to_numpy()).any()
    }
    return [f"{note} of variable `{v}`" for v, note in found.items() if note is not None]
