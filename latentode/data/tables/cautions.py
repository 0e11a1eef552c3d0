"""Cautions: what nobody asked about a table, and has to be pointed out all the same.

Hardly any of it is an error: columns without a part in the model, numbers that may stand for missing
ones, names that differ in blanks, times far from all others, a variable that is a property of its
series, rows that may be of several series, and a later table whose variables the model does not know.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from latentode.data.cells.columns import column_of, row_name, some_names
from latentode.data.cells.time_axis import TimeAxis
from latentode.data.cells.usual_names import PARTS_OF_TIME, usual
from latentode.data.tables.file_format import misread
from latentode.data.tables.joined_columns import codes_of, joined
from latentode.data.tables.roles import taken_in_turn
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError, warn

__all__ = [
    "cautions",
    "compare_variables",
    "far_times",
    "is_far_code",
    "summary_rows",
]

SHOWN = 5  # near matches
FAR = 2  # ranges of all other values
RUNS = 10  # rows that one run through the times has at least, on average
SHORT_RUNS, FEWEST_TOLD = 3, 3  # likewise where columns tell them apart; columns and turns in all
TURNING = 4  # columns that may name series in turn
BEHIND = 0.25  # share of rows before the latest time so far, beyond which these are no late ones
YEAR = 365 * 86_400 * 10**6  # microseconds
FEWEST = 5  # times of which a tenth at either end may lie far from the bulk
SPANS = 10  # of the bulk, beyond which a time is pointed out
CALENDAR_NAMES = (  # numbers that follow from the time
    *(name for names in PARTS_OF_TIME.values() for name in names),
    *("weekday", "day_of_week", "dow", "week", "weekofyear", "quarter", "season", "shift"),
)
# What rows below a table are called that sum it up, in several languages.
_SUMMARY = re.compile(
    r"(?:(?:grand|sub)?[ -]?total[es]?|totaux|sum|mean|average|avg|overall|gesamt|insgesamt|summe"
    r"|zwischensumme|mittel(?:wert)?|durchschnitt|somme|moyenne|suma|media|promedio|somma|soma|média"
    r"|totaal|som|gemiddelde|summa)\s*:?",
    re.IGNORECASE,
)
_CODE = re.compile(r"-?(?:9{2,}|8{3,}|7{3,})(?:\.[09]+)?")


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
    values = list(schema.targets or ()) if schema.layout == "wide" else [str(schema.value)]
    names = (*values, *schema.known_future)
    notes = [_far_code(column_of(table, name)) for name in names]
    notes += _odd_labels(table, schema)
    if schema.id is not None:
        ids = pd.Index(pd.unique(column_of(table, schema.id)))
        notes.append(summary_rows(codes, ids, schema))
    times = column_of(table, str(schema.time))
    notes += [far_times(times, axis), _yet_to_come(times, axis)]
    if not asked:
        if (np.diff(codes) < 0).any():
            order = np.argsort(codes, kind="stable")
            table, codes = table.iloc[order], codes[order]
        if schema.layout == "wide":
            notes.append(_constant_within(table, values, codes))
            notes.append(_run_through_again(table, schema, axis, codes))
            notes.append(_in_turn(table, schema, axis, codes))
    return [note for note in notes if note is not None]


def _yet_to_come(column: pd.Series, axis: TimeAxis) -> str | None:
    """Points out a table whose times all lie in the future, as years of another calendar do."""
    first = pd.Timestamp(column.min()) if axis.scale == "calendar" else None
    if first is None or first <= pd.Timestamp.now(tz=first.tz) + pd.Timedelta(days=1):  # of all zones
        return None
    return (
        f"column `{column.name}` has all its times in the future, from {first} on; write them in the "
        "Gregorian calendar if its years are of another, such as the Buddhist one"
    )


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
    single = [i for i in alone if isinstance(i, str) and _SUMMARY.fullmatch(i.strip())]
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


def is_far_code(value: float) -> bool:
    """Whether a number is written as those are that stand for a missing one, such as -9999."""
    return _CODE.fullmatch(f"{value:.10g}") is not None


def _far_code(column: pd.Series) -> str | None:
    """Points out a number such as -9999 far from all others, which may stand for a missing value."""
    values = column.to_numpy(np.float64, na_value=np.nan)
    values = values[np.isfinite(values)]
    for code in {values.min(), values.max()} if len(values) > 2 else ():
        if not is_far_code(code):
            continue
        others = values[values != code]
        if len(others) > 1 and np.abs(others - code).min() > FAR * max(np.ptp(others), 1e-300):
            return (
                f"column `{column.name}` holds {code:.10g} in {len(values) - len(others)} rows, far "
                "from all other values; name it in na_values if it stands for a missing one"
            )
    return None


def compare_variables(frame: pd.DataFrame, schema: Schema) -> None:
    """Compares the variables of a later table with those that a model was trained on.

    Of a long table each may be absent, as where it was not measured; but not all of them.

    Args:
        frame: the later table.
        schema: of the model.

    Raises:
        SchemaError: for a wide table that lacks one of them, a long one that has none.

    Warns:
        UserWarning: naming variables of a long table that the model does not know.
    """
    known = [*(schema.targets or ())]
    if schema.layout == "wide":
        absent = next((v for v in known if v not in frame.columns), None)
        if absent is not None:
            free = [c for c in frame.columns if c not in schema.columns()]
            raise SchemaError(
                f"column `{absent}`, which the model was trained on, is not in the table, whose "
                f"columns are {some_names(frame.columns)}{_alike([absent], free)}; correct "
                f"its name, or add it empty if nothing was observed of it{misread(frame)}"
            )
    if schema.layout == "wide" or schema.variable not in frame.columns:
        return
    names = [str(n) for n in column_of(frame, str(schema.variable)).dropna().unique()]
    other = [n for n in names if n not in known and n not in schema.leave_out]
    if not other:
        return
    alike = _alike([v for v in known if v not in names], other)
    if not set(names) & set(known):
        raise SchemaError(
            f"column `{schema.variable}` names {some_names(other)}, but the model was trained on "
            f"{some_names(known)}, of which the table has none{alike}; write names as the training "
            "table did"
        )
    warn(
        f"column `{schema.variable}` names {some_names(other)}, which the model was not trained on, "
        f"so that their rows say nothing{alike}; it knows {some_names(known)}"
    )


def _alike(absent: Sequence[str], other: Collection[str]) -> str:
    """Which absent names are written nearly as others are; nothing if none is."""
    written = {name.casefold(): name for name in map(str, other)}
    near = {v: difflib.get_close_matches(v.casefold(), written, n=1) for v in absent}
    found = [f"`{v}` may be {written[like[0]]!r} there" for v, like in near.items() if like]
    return f" ({', '.join(found[:SHOWN])})" if found else ""
