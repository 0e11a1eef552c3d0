"""Roles of labels: the identifier of the series and, in a long table, the names of the variables.

Times of one series go one way and don't repeat. Where the times of a table repeat or go back, and do
neither once the table is split by a column, that column names the series; where they repeat within each
series, a column that tells them apart names the variable of a long table. Labels that may be the one or
the other, or neither, are refused, so that two series are never read as one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

import numpy as np
import pandas as pd

from latentode.data.cells.number_text import is_text
from latentode.data.cells.usual_names import (
    COUNT_ENDINGS,
    ID_NAMES,
    MAY_BE_MEASURED,
    MAY_MEASURE,
    MEASURES,
    NUMBER_ENDINGS,
    NUMBERED,
    STATE_NAMES,
    SURE_ID_NAMES,
    UNIT_NAMES,
    every,
    usual,
)
from latentode.data.tables.joined_columns import codes_of, joined, telling_together, times_differ
from latentode.data.tables.qualifiers import qualifies
from latentode.data.tables.roles import (
    PROBED,
    UNNAMED,
    Search,
    equivalent,
    label_columns,
    looks_like_times,
    numbered_in_blocks,
    orderly,
    repeats,
    taken_in_turn,
)
from latentode.errors import SchemaError

__all__ = ["find_by_structure", "find_id"]

FEWEST = 3  # rows of one that is numbered
_DIGITS = r"\d{1,18}"
_UNIT_SIGN = re.compile(r"[/%°^²³]")


def find_id(search: Search) -> None:
    if search.schema.id is not None:
        return
    names = [
        c for c in every(search.frame.columns, ID_NAMES, search.taken()) if not _says_units(search, c)
    ]
    sure = [c for c in names if usual(c) in SURE_ID_NAMES or c.lower() in SURE_ID_NAMES]
    others = [c for c in names if c not in sure and _may_name_series(search, c)]
    if search.complete:
        others = []
    numbers_rows = sure and len(search.frame) > 3 and not repeats(search.column(sure[0]))
    if sure and not (numbers_rows and others):
        if numbers_rows:
            search.say(f"column `{sure[0]}` has another value in each row: every series has one row")
        search.schema = replace(search.schema, id=sure[0])
        return
    if others:
        name = others[0] if len(others) == 1 else _telling(search, others)
        search.schema = replace(search.schema, id=name)
        n = search.column(name).nunique()
        search.say(
            f"column `{name}` names the series, of which there are {n}; id= names another"
            f"{_or_variable(search, name)}"
        )


def _may_name_series(search: Search, name: str) -> bool:
    column = search.column(name)
    if pd.api.types.is_bool_dtype(column) or not repeats(column) or qualifies(column):
        return False
    if looks_like_times(column):  # such as the day on which a patient was admitted
        return is_text(column) and _tells_times_apart(search, column)
    if search.schema.variable is not None and usual(name) == "unit":  # of measurement
        return False
    if pd.api.types.is_float_dtype(column):
        values = column.dropna().to_numpy(np.float64)
        return bool((values == np.floor(values)).all()) and usual(name).endswith("id")
    if not is_text(column) and not pd.api.types.is_integer_dtype(column):
        return False
    if is_text(column) or usual(name).endswith("id") or not codes_of(column).any():
        return True
    # Numbers under a name such as "unit" or "item" may be counts of it: then only if times say so.
    ticks, base, codes = search.ticks(), search.base(), codes_of(column)
    if ticks is None:
        return True
    if not times_differ(base, ticks) or not orderly(base, ticks):
        return True
    raise_for = not search.complete and not numbered_in_blocks(column, codes)
    if raise_for and search.schema.targets is None:
        _refuse_number(name)
    return False


def _says_units(search: Search, name: str) -> bool:
    """Whether a column says in what unit values are, and times go one way without it.

    What is called "unit" may be a machine as well, unless all its labels are units of measurement.
    """
    if usual(name) not in UNIT_NAMES or not is_text(search.column(name)):
        return False
    labels = search.column(name).dropna().astype(str).str.strip().str.casefold().unique()
    if usual(name) == "unit" and not all(x in MEASURES or _UNIT_SIGN.search(x) for x in labels):
        return False
    ticks, base = search.ticks(), search.base()
    if ticks is None or orderly(base, ticks):
        return ticks is not None
    others = (c for c in search.free() if usual(c) not in UNIT_NAMES)
    return any(
        times_differ(codes_of(base, search.column(c)), ticks)
        for c in label_columns(search.frame, others)
    )


def _refuse_number(name: str) -> NoReturn:
    raise SchemaError(
        f"column `{name}` may name the series or be a variable; say id='{name}', or name the "
        "variables with targets="
    )


def _is_numbered(search: Search, name: str) -> bool:
    """Whether whole numbers stand under a name of what is numbered, each of them several times."""
    column, called = _numbers(search.column(name)), usual(name)
    if not pd.api.types.is_integer_dtype(column) or pd.api.types.is_bool_dtype(column):
        return False
    may_count = called.endswith(COUNT_ENDINGS) or called in MAY_MEASURE
    if not may_count and called not in NUMBERED and not called.endswith(NUMBER_ENDINGS):
        return False
    codes, ticks = codes_of(search.base(), column), search.ticks()
    many = 2 <= column.nunique() <= len(column) / FEWEST
    if not many or ticks is None or len(search.numeric()) < 2:
        return False
    in_doubt = may_count or column.dropna().isin([0, 1]).all()
    return not in_doubt or taken_in_turn(search.base(), codes, ticks)


def _tells_times_apart(search: Search, column: pd.Series) -> bool:
    ticks, base = search.ticks(), search.base()
    if ticks is None or times_differ(base, ticks):
        return False
    return times_differ(codes_of(base, column), ticks)


def _telling(search: Search, names: Sequence[str]) -> str:
    """The first of several columns that leaves no time of a series twice."""
    ticks = search.ticks()
    if ticks is None:
        return names[0]
    base = search.base()
    for name in names:
        if times_differ(codes_of(base, search.column(name)), ticks):
            return name
    together = codes_of(base, *(search.column(c) for c in names))
    if times_differ(together, ticks):
        measured = [c for c in names if usual(c) in MAY_BE_MEASURED][-1:]
        told = "".join(_or_variable(search, c, f"`{c}`") for c in measured)
        raise SchemaError(
            f"columns {' and '.join(f'`{c}`' for c in names[:3])} only together name the series{told}; "
            f"{'else ' if told else ''}say id='{joined(names)}', or name the one that is meant and fit "
            "with LatentODEForecaster(duplicates='mean')"
        )
    return names[0]


def find_by_structure(search: Search) -> None:
    """Columns that nobody named and that split the table into series, or into variables."""
    schema, free = search.schema, search.free()
    if schema.id is not None and schema.layout == "long":
        return
    if schema.id is not None and (search.complete or schema.targets is not None):
        ticks = search.ticks()  # nothing is left to be told but which column tells repeated times apart
        if ticks is None or times_differ(search.base(), ticks):
            return
    units = UNIT_NAMES if schema.variable is not None else ()
    named = [c for c in free if not c.startswith(UNNAMED) and usual(c) not in units]
    named = [c for c in named if not _says_units(search, c)]
    labels = _without_states(search, label_columns(search.frame, named))
    open_ = schema.id is None and not search.complete
    numbers = [c for c in free if _is_numbered(search, c) or _in_blocks(search, c)] if open_ else []
    if not labels and not numbers:
        return
    ticks = search.ticks()
    if ticks is None:
        return
    if schema.id is None:
        _id_by_structure(search, labels, numbers, ticks)
    else:
        _variable_by_structure(search, labels, ticks)


def _without_states(search: Search, labels: list[str]) -> list[str]:
    """Labels without those that say how good rows are, where times go one way without them."""
    states = [c for c in labels if usual(c) in STATE_NAMES]
    ticks = search.ticks() if states else None
    if ticks is None or not orderly(search.base(), ticks):
        return labels
    return [c for c in labels if c not in states]


def _in_blocks(search: Search, name: str) -> bool:
    column = _numbers(search.column(name))
    return pd.api.types.is_integer_dtype(column) and numbered_in_blocks(column, codes_of(column))


def _numbers(column: pd.Series) -> pd.Series:
    """A column of codes such as 007, which are text so that they are no 7, as numbers."""
    if not is_text(column) or not column.iloc[:PROBED].astype(str).str.fullmatch(_DIGITS).all():
        return column
    text = column.astype(str)
    codes = text.str.fullmatch(_DIGITS).all() and text.str.startswith("0").any()
    return text.astype(np.int64) if codes else column


def _id_by_structure(search: Search, labels: list[str], numbers: list[str], ticks: np.ndarray) -> None:
    base = search.base()
    if orderly(base, ticks):
        if labels and not search.complete:
            _refuse_labels(search, labels)
        numbered = [c for c in numbers if not _in_blocks(search, c)]
        if numbered and search.schema.targets is None:
            _refuse_number(numbered[0])
        return
    codes = {c: codes_of(base, search.column(c)) for c in (*labels, *numbers)}
    splits = [c for c in codes if orderly(codes[c], ticks)]
    if not splits and not times_differ(base, ticks):
        splits = [c for c in labels if times_differ(codes[c], ticks)]
    if splits and (len(splits) == 1 or equivalent([codes[c] for c in splits])):
        name = splits[0]
        search.schema = replace(search.schema, id=name)
        n = search.column(name).nunique()
        search.say(
            f"column `{name}` names the series, of which there are {n}: without it times go back or "
            f"repeat; id= names another{_or_variable(search, name)}"
        )
    elif labels and not search.complete:
        _refuse_labels(search, splits or labels)


def _or_variable(search: Search, name: str, it: str = "it") -> str:
    """What to say if labels are not of series but of what is measured, where that can be."""
    numeric, schema = [c for c in search.numeric() if c != name], search.schema
    if schema.layout == "long" or schema.targets is not None or len(numeric) != 1:
        return ""
    column = search.column(name)
    other = usual(name) in ID_NAMES or is_text(_numbers(column)) != is_text(column)
    if (other or not is_text(column)) and usual(name) not in MAY_BE_MEASURED:
        return ""
    return f"; if {it} names what is measured, say variable='{name}' and value='{numeric[0]}'"


def _variable_by_structure(search: Search, labels: list[str], ticks: np.ndarray) -> None:
    base = search.base()
    varying = [c for c in labels if int(codes_of(base, search.column(c)).max()) > int(base.max())]
    if not varying:
        return
    differ, numeric = times_differ(base, ticks), search.numeric()
    splits = [] if differ else [
        c for c in varying if times_differ(codes_of(base, search.column(c)), ticks)
    ]  # fmt: skip
    if len(numeric) == 1 and search.schema.targets is None and not search.complete:
        if len(splits) == 1:
            search.schema = replace(search.schema, layout="long", variable=splits[0], value=numeric[0])
            search.say(
                f"a long table: `{splits[0]}` names the variable and `{numeric[0]}` holds its value, "
                "since times repeat without it; layout='wide' says otherwise"
            )
        elif differ or splits:
            _refuse_labels(search, splits or varying)
    elif splits:
        search.say(
            f"rows of one series and time are told apart by `{splits[0]}`, which has no role: say "
            f"id='{joined([str(search.schema.id), splits[0]])}' if each is a series"
        )


def _refuse_labels(search: Search, labels: Sequence[str]) -> None:
    name, numeric = labels[0], [c for c in search.numeric() if not usual(c).endswith("_id")]
    likely = [*labels, *(c for c in numeric if not pd.api.types.is_bool_dtype(search.column(c)))]
    ticks = search.ticks()
    together = [] if ticks is None else telling_together(search.frame, likely, search.base(), ticks)
    known = search.column(name).dropna().unique()[:3].tolist()
    readings, schema = [], search.schema
    long = schema.layout != "long" and schema.targets is None and len(numeric) == 1
    several = len(together) > 1 and schema.id is None
    *first, last = together or [""]
    if several and long and last in labels:
        readings.append(
            f"id='{joined(first)}', variable='{last}' and value='{numeric[0]}' if `{last}` names what "
            "is measured in a long table"
        )
    if several:
        shown = " and ".join(f"`{c}`" for c in together)
        readings.append(f"id='{joined(together)}' if {shown} together name the series")
    if schema.id is None:
        readings.append(f"id='{name}' if it names the series")
    if long and not several:
        readings.append(
            f"variable='{name}' and value='{numeric[0]}' if it names what is measured in a long table"
        )
    readings.append(f"leave_out='{name}' if it is neither")
    raise SchemaError(
        f"column `{name}` holds labels that repeat, such as {', '.join(map(repr, known))}, and nobody "
        f"said what they mean; give {'; '.join(readings)}"
    )
