"""Every message names an option that exists in the door through which the user came."""

import inspect
import re

import pandas as pd
import pytest
from test_awkward_tables import BEDS, NO_TIMES, QUALIFIED, SAID
from test_tables_as_they_come import BAD_NUMBERS, BAD_TIMES, REFUSED, table

from latentode import LatentODEForecaster, Schema, SchemaError
from latentode.cli import door_of
from latentode.cli.advice import in_options
from latentode.data import SeriesDataset
from latentode.data.files.table_files import read_table
from latentode.data.tables.file_format import FileFormat
from latentode.data.tables.reading import read_columns

DOORS = {
    "inspect": ["inspect", "data.csv"],
    "fit": ["fit", "data.csv"],
    "forecast": ["forecast", "model", "data.csv"],
    "evaluate": ["evaluate", "model", "data.csv"],
    "convert": ["convert", "station-table", "data.csv"],
    "convert bars": ["convert", "bars", "data.csv"],
}
COMMANDS = [*map(door_of, DOORS.values())]
IN_PYTHON = {
    *inspect.signature(Schema).parameters,
    *inspect.signature(LatentODEForecaster).parameters,
    *inspect.signature(read_table).parameters,
    *inspect.signature(FileFormat).parameters,
}


def numbers(cells):
    return pd.DataFrame({"id": "s", "time": range(len(cells)), "x": cells})


def refusals():
    """Tables that are refused: what for, how they are read, and with which schema."""
    for kind, (text, _) in REFUSED.items():
        yield kind, table(text), Schema()
    for kind, (times, schema, _) in BAD_TIMES.items():
        yield kind, pd.DataFrame({"date": times, "x": 1.0}), Schema(**schema)
    for kind, (cells, _) in BAD_NUMBERS.items():
        yield kind, numbers(cells), Schema()
    for kind, (made, _) in QUALIFIED.items():
        yield kind, made, Schema()
    for kind, (times, _) in NO_TIMES.items():
        yield kind, pd.DataFrame({"id": "s", "time": times, "x": 1.0}), Schema()
    yield "another unit than before", numbers(["1 F", "2 F"]), Schema(units={"x": "C"})
    yield "an identifier of several columns", BEDS, Schema()
    yield "no day", pd.DataFrame({"year": 2023, "month": 2, "day": [30, 31], "x": 1.0}), Schema()
    yield "all too large", numbers([1e300, 2e300]), Schema()
    repeated = pd.DataFrame({"id": "a", "time": [1, 1], "x": 1.0})
    yield "repeated rows", repeated, Schema()
    yield "no time", pd.DataFrame({"id": ["a"], "x": [1.0]}), Schema()
    yield "no numbers", pd.DataFrame({"time": [1], "note": ["a"]}), Schema()
    yield "no such column", repeated, Schema(id="patient")
    yield "half a long table", repeated, Schema(layout="long")
    yield "an answer's name", repeated.rename(columns={"id": "mean"}), Schema(id="mean")
    yield (
        "several zones",
        pd.DataFrame({"time": ["2024-01-01T00:00+01:00", "2024-07-01T00:00+02:00"], "x": 1.0}),
        Schema(),
    )
    twice = pd.DataFrame({"time": ["2023-10-29 01:30", "2023-10-29 02:30"], "x": 1.0})
    yield "an hour that comes twice", twice, Schema(timezone="Europe/Berlin")
    skipped = pd.DataFrame({"time": ["2024-03-31T02:30"], "x": 1.0})
    yield "an hour that never was", skipped, Schema(timezone="Europe/Berlin")


CASES = {kind: (frame, schema) for kind, frame, schema in refusals()}


def message_of(kind):
    frame, schema = CASES[kind]
    with pytest.raises(SchemaError) as raised:
        SeriesDataset.from_frame(frame, schema)
    return str(raised.value)


def advice(message):
    """Arguments that a message names as Python does."""
    return set(re.findall(r"(?<![\w`.-])([a-z_]+)=(?!\w)", message))


@pytest.mark.parametrize("kind", CASES)
def test_every_refusal_names_arguments_that_exist_and_options_of_the_command(kind):
    message = message_of(kind)
    assert advice(message) <= IN_PYTHON, message
    for door in COMMANDS:
        told = in_options(message, door)
        bare = re.sub(r"--set [a-z_]+=", "", told)
        assert not advice(bare), told
        for option, place in re.findall(r"(--[a-z-]+)((?: '[^']*')?(?: of `latentode fit`)?)", told):
            known = door.fit_options if "of `latentode fit`" in place else door.options
            assert option in (known or ()), told


def test_every_note_names_options_that_exist():
    frame = pd.DataFrame({"patient": list("aabb"), "Date": [45352, 45353] * 2, "x": ["9,0", "1"] * 2})
    notes = [*read_columns(frame, None).notes]
    assert len(notes) == 3
    notes += [note for table, _ in SAID.values() for note in read_columns(table, None).notes]
    for note in notes:
        assert advice(note) <= IN_PYTHON
        for door in (door_of(DOORS["inspect"]), door_of(DOORS["fit"])):
            told = in_options(note, door)
            assert set(re.findall(r"--[a-z-]+", told)) <= (door.options or set()) and not advice(told)


def test_a_command_that_lacks_an_option_names_the_one_that_has_it():
    message = "choose duplicates='mean' or 'last', or give timezone= (such as 'UTC')"
    assert in_options(message, door_of(DOORS["fit"])).startswith("choose --duplicates 'mean' or")
    told = in_options(message, door_of(DOORS["forecast"]))
    assert "--duplicates 'mean' of `latentode fit` or 'last'" in told
    assert in_options(message, door_of(DOORS["convert bars"])).startswith(
        "choose --set duplicates='mean'"
    )


def repeated_at(*times):
    with pytest.raises(SchemaError) as raised:
        SeriesDataset.from_frame(pd.DataFrame({"time": pd.to_datetime([*times, *times]), "x": 1.0}))
    return str(raised.value)


def test_duplicates_are_chosen_where_the_door_has_the_option():
    message = repeated_at("2024-03-05 12:00")
    assert "duplicates='mean' or 'last' of the estimator, as in LatentODEForecaster(" in message
    assert in_options(message).endswith("remove them, or choose --duplicates 'mean' or 'last'")
    inspected = in_options(message, door_of(DOORS["inspect"]))
    assert "choose --duplicates 'mean' of `latentode fit` or 'last'" in inspected


@pytest.mark.parametrize(
    ("times", "may_be"),
    [
        (["2024-10-27 02:30"], True),
        (["2024-11-03 01:00", "2024-11-03 01:30"], True),
        (["2024-04-07 02:30"], True),
        (["2024-03-05 02:30"], False),
        (["2024-10-27 02:30", "2024-10-28 02:30"], False),
        (["2024-10-27 12:30"], False),
        (["2024-03-31 02:30"], False),  # skipped
        (["2024-10-27"], False),  # a day
        (["9999-12-31 23:00"], False),
    ],
)
def test_clocks_that_were_set_back_are_spoken_of_only_where_some_were(times, may_be):
    assert ("give timezone= if clocks were set back then" in repeated_at(*times)) == may_be
