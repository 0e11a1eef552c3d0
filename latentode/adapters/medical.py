"""Medicine: what intensive care units, laboratories, cohort studies and glucose monitors write.

Identifiers stay as they are, and nothing is written anywhere. What a reader leaves out, it counts in a
warning.

Visits: a row per visit of a patient, at true offsets in days, as cohort studies keep them. This is the
layout of `pbcseq` (312 patients with primary biliary cholangitis, 1,945 visits) in R's survival package
and of most follow-up tables: an identifier, a day, and what was measured on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from latentode.adapters.glucose import MG_PER_MMOL, glucose
from latentode.adapters.handover import Notes, hand_over
from latentode.adapters.labs import Conversion, lab_events
from latentode.adapters.physionet import physionet2012, physionet2012_outcomes
from latentode.adapters.sheets import Sheet, Source, open_sheet
from latentode.data.columns import column_of
from latentode.data.files import MISSING
from latentode.data.schema import Schema
from latentode.errors import SchemaError

__all__ = [
    "MG_PER_MMOL",
    "Conversion",
    "glucose",
    "lab_events",
    "physionet2012",
    "physionet2012_outcomes",
    "visits",
]

ROW_NUMBERS = ("rownames", "unnamed: 0", "index")  # what R and pandas write before the columns


def visits(
    source: Source,
    id: str = "id",
    time: str = "day",
    targets: Sequence[str] | None = None,
    static_covariates: Sequence[str] = (),
    missing: Sequence[str] = (),
    duplicates: str = "error",
) -> tuple[pd.DataFrame, Schema]:
    """Reads a table of visits; days stay numbers.

    A column that never changes within a patient is no variable. It may be a descriptor, such as age at
    entry, or an outcome, such as the days until death, which is not known when a forecast is made. So
    it is left out unless `static_covariates` names it.

    Args:
        source: table with a row per visit.
        id: column of patients.
        time: column of offsets in days, from 0 or not.
        targets: columns to model; all numeric ones that change within some patient unless told.
        static_covariates: columns constant within a patient, known at entry; text is kept as text.
        missing: further texts that mean nothing was measured.
        duplicates: several rows of one patient and day: "error", "mean" or "last".

    Returns:
        A wide table of the identifier, the time, targets and statics.

    Raises:
        SchemaError: naming line and field.

    Example:
        >>> table = pd.DataFrame({
        ...     "id": [1, 1, 2, 2], "futime": [400, 400, 5169, 5169], "age": [58.8, 58.8, 56.4, 56.4],
        ...     "day": [0, 192, 0, 182], "bili": [14.5, 21.3, 1.1, 0.8],
        ... })
        >>> import warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     frame, schema = visits(table, static_covariates=["age"])
        >>> schema.targets, schema.static_covariates
        (('bili',), ('age',))
    """
    sheet = open_sheet(source)
    notes = Notes(sheet.name)
    id_, time_ = sheet.need(id, argument="id"), sheet.need(time, argument="time")
    frame = pd.DataFrame({id_: sheet.labels(id_), time_: _days(sheet, time_)})
    statics = [sheet.need(name) for name in static_covariates]
    taken = {id_, time_, *statics}
    if targets is None:
        chosen = _changing(sheet, frame[id_], taken, missing, notes)
    else:
        chosen = [sheet.need(name) for name in targets]
    for name in chosen:
        frame[name] = sheet.numbers(name, missing)
    for name in statics:
        frame[name] = _numbers_or_text(sheet, name, missing)
    schema = Schema(
        id=id_, time=time_, targets=tuple(chosen), static_covariates=tuple(statics), layout="wide"
    )
    return hand_over(frame, schema, notes, duplicates)


def _days(sheet: Sheet, column: str) -> pd.Series:
    days = sheet.numbers(column)
    sheet.refuse(column, days.isna().to_numpy(), "gives no day")
    whole = bool((days == np.round(days)).all())
    return days.astype(np.int64) if whole else days


def _changing(
    sheet: Sheet, ids: pd.Series, taken: set[str], missing: Sequence[str], notes: Notes
) -> list[str]:
    """The numeric columns that change within some patient; the others are noted."""
    chosen, constant, text = [], [], []
    for name in sheet.frame.columns:
        if name in taken or str(name).lower() in ROW_NUMBERS:
            continue
        column = _numbers_or_text(sheet, name, missing)
        if not pd.api.types.is_numeric_dtype(column):
            text.append(name)
        elif (column.groupby(ids).max() > column.groupby(ids).min()).any():
            chosen.append(name)
        else:
            constant.append(name)
    names = ", ".join(f"`{c}`" for c in constant)
    notes.add(
        len(constant),
        f"columns that are constant within patients left out: {names} (static_covariates=)",
    )
    notes.add(len(text), f"columns of text left out: {', '.join(f'`{c}`' for c in text)}")
    if not chosen:
        raise SchemaError(f"{sheet.name}: no numeric column changes within a patient; name targets=")
    return chosen


def _numbers_or_text(sheet: Sheet, name: str, missing: Sequence[str]) -> pd.Series:
    column = column_of(sheet.frame, name)
    if pd.api.types.is_numeric_dtype(column):
        return column
    written = sheet.text(name)
    written = written.where(~written.isin([*MISSING, *missing]))
    numbers = pd.to_numeric(written, errors="coerce")
    # A few texts among numbers are faults, which `numbers` names by their line.
    if len(numbers) and numbers.notna().sum() > written.notna().sum() / 2:
        return sheet.numbers(name, missing)
    return written
