"""PhysioNet Challenge 2012: a text file per stay in an intensive care unit, 48 hours of 37 variables.

Each file holds `Time,Parameter,Value`, the time as hours and minutes since admission, and begins
with general descriptors at 00:00. -1 means unknown.

References:
    Predicting in-hospital mortality of ICU patients: the PhysioNet/Computing in Cardiology Challenge
    2012 (Silva et al., 2012), https://physionet.org/content/challenge-2012/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from latentode.adapters.handover import Notes, hand_over
from latentode.adapters.sheets import Source, lines_of, open_sheet, text_of
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError

__all__ = ["DESCRIPTORS", "OUTCOMES", "physionet2012", "physionet2012_outcomes"]

HEADER = "Time,Parameter,Value"
DESCRIPTORS = ("Age", "Gender", "Height", "ICUType")  # Weight is one too, and is measured again
UNITS = {1: "coronary", 2: "cardiac surgery", 3: "medical", 4: "surgical"}  # of ICUType
OUTCOMES = ("SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death")
UNKNOWN = -1.0
MINUTES_OF_AN_HOUR = 60.0

Row = tuple[str, float, str, float]  # series, hours, parameter, value


def physionet2012(
    folder: str | Path,
    outcomes: Source | None = None,
    parameters: Sequence[str] | None = None,
    duplicates: str = "mean",
) -> tuple[pd.DataFrame, Schema]:
    """Reads a folder of the challenge's records, such as `set-a/132539.txt`, into a long table.

    Args:
        folder: holds the records; other text files in it, such as the outcomes, are not read.
        outcomes: the file of outcomes, to be carried along as columns. They have no role in the
            schema: what became of a patient is not known when a forecast is made.
        parameters: the variables to take; all by default.
        duplicates: what to do with several values of one parameter in the same minute: "mean",
            "last" or "error".

    Returns:
        A long table: `id` (the RecordID as text), `time` in hours since admission, `variable`,
        `value`, and the static descriptors Age, Gender (0 female, 1 male), Height and ICUType (by
        name), missing where unknown.

    Raises:
        SchemaError: naming file, line and field.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> rows = "00:00,RecordID,132539\\n00:00,Age,54\\n00:07,HR,73\\n02:37,HR,77\\n"
        >>> _ = (folder / "132539.txt").write_text("Time,Parameter,Value\\n" + rows)
        >>> frame, schema = physionet2012(folder)
        >>> frame["value"].tolist(), schema.static_covariates[0]
        ([73.0, 77.0], 'Age')
    """
    notes = Notes(f"folder {Path(folder).name}")
    rows: list[Row] = []
    unnamed = unmeasured = 0
    for path in _records(Path(folder), notes):
        found, nameless = _read_record(path)
        rows += found
        unnamed += nameless
        unmeasured += not any(p not in DESCRIPTORS and v != UNKNOWN for _, _, p, v in found)
    notes.add(unnamed, "rows that name no parameter left out")
    notes.add(unmeasured, "records without any measurement left out")
    table = pd.DataFrame(rows, columns=["id", "time", "variable", "value"])
    table["value"] = table["value"].astype(np.float64)
    unknown = table["value"] == UNKNOWN
    described = table["variable"].isin(DESCRIPTORS)
    notes.add(int((unknown & ~described).sum()), "values of -1 (unknown) left out")
    statics = table[described & ~unknown].pivot_table(
        index="id", columns="variable", values="value", aggfunc="last"
    )
    frame = table[~described & ~unknown]
    if parameters is not None:
        wanted = frame["variable"].isin(parameters)
        notes.add(int((~wanted).sum()), "values of other parameters left out (parameters=)")
        frame = frame[wanted]
    statics = statics.reindex(columns=list(DESCRIPTORS))
    statics["ICUType"] = statics["ICUType"].map(UNITS).astype(object)
    frame = frame.join(statics, on="id").reset_index(drop=True)
    if outcomes is not None:
        frame = frame.join(physionet2012_outcomes(outcomes).set_index("id"), on="id")
    schema = Schema(
        id="id",
        time="time",
        variable="variable",
        value="value",
        layout="long",
        static_covariates=DESCRIPTORS,
    )
    return hand_over(frame, schema, notes, duplicates)


def physionet2012_outcomes(source: Source) -> pd.DataFrame:
    """Reads an outcomes file (`Outcomes-a.txt`): a row per record.

    Args:
        source: the file.

    Returns:
        `id` as text, SAPS-I, SOFA, Length_of_stay and Survival in days, In-hospital_death (0 or 1);
        NaN where -1 is written (of Survival: no death recorded).

    Raises:
        SchemaError: naming line and field.
    """
    sheet = open_sheet(source)
    frame = pd.DataFrame({"id": sheet.labels(sheet.need("RecordID")).astype(str)})
    for name in OUTCOMES:
        values = sheet.numbers(sheet.need(name))
        frame[name] = values.where(values != UNKNOWN)
    return frame


def _records(folder: Path, notes: Notes) -> Iterator[Path]:
    """The text files of a folder that are records, by their first lines."""
    if not folder.is_dir():
        raise SchemaError(f"{folder} is not a folder; give the one that holds the records, like set-a")
    paths = sorted(folder.glob("*.txt"))
    others = 0
    for path in paths:
        with path.open(encoding="utf-8-sig", errors="replace") as text:
            first = text.readline().strip()
        if first == HEADER:
            yield path
        elif first.startswith("RecordID,"):
            others += 1
        else:
            raise SchemaError(
                f"{path.name}: line 1 reads {first[:40]!r} where a record has {HEADER!r}; move what is "
                "no record out of the folder"
            )
    if len(paths) == others:
        raise SchemaError(f"{folder} holds no record: no .txt file that begins with {HEADER!r}")
    notes.add(others, "files of outcomes not read (outcomes= takes one)")


def _read_record(path: Path) -> tuple[list[Row], int]:
    """The rows of one record and how many of its lines name no parameter."""
    text, name = text_of(path)
    label, unnamed, rows = path.stem, 0, []
    for number, line in lines_of(text):
        if number == 1:
            continue
        cells = [c.strip() for c in line.split(",")]
        if len(cells) != 3:
            raise SchemaError(
                f"{name}: line {number} has {len(cells)} cells where Time, Parameter and Value belong; "
                "correct it, or copy the file again"
            )
        time, parameter, value = cells
        if parameter == "RecordID":
            if value != label:
                raise SchemaError(
                    f"{name}: line {number}: RecordID is {value}, the file's name says {label}; rename "
                    "the file"
                )
        elif not parameter:
            unnamed += 1
        else:
            hours = _hours(time, name, number)
            rows.append((label, hours, parameter, _number(value, parameter, name, number)))
    return rows, unnamed


def _hours(text: str, name: str, line: int) -> float:
    hours, colon, minutes = text.partition(":")
    if not (colon and hours.isdigit() and minutes.isdigit() and int(minutes) < MINUTES_OF_AN_HOUR):
        raise SchemaError(
            f"{name}: line {line}: Time is {text!r}, not hours and minutes like 07:37; correct it"
        )
    return int(hours) + int(minutes) / MINUTES_OF_AN_HOUR


def _number(text: str, parameter: str, name: str, line: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise SchemaError(
            f"{name}: line {line}: Value of {parameter} is {text!r}, not a number; correct it"
        ) from None
