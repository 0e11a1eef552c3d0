"""A served model answers arrays as it answers tables, number for number, or refuses both alike."""

import warnings

import numpy as np
import pandas as pd
import pytest
from making import START, tiny, waves

from latentode import LatentODEError, Schema, ServedForecaster
from latentode.data import plain_tables

LIKELIHOODS = ("normal", "student-t", "laplace", "quantile", "poisson", "log-normal")


def stamped(frame, **zone):
    stamps = START + pd.to_timedelta((frame["time"] * 3600).round(), unit="s")
    return frame.assign(time=stamps.dt.tz_localize(**zone) if zone else stamps)


def served(frame, schema=None, **how):
    model = tiny(**how).fit(frame, schema)
    return ServedForecaster(model.fitted_, model.duplicates)


def arrays_of(frame):
    """Columns as arrays, times of a zone in UTC, the identifier of all rows once."""
    table = {}
    for name, column in frame.items():
        zoned = isinstance(column.dtype, pd.DatetimeTZDtype)
        table[name] = (column.dt.tz_convert(None) if zoned else column).to_numpy()
    if "id" in table and len(set(table["id"])) == 1:
        table["id"] = table["id"].tolist()[0]
    return table


def lists_of(frame):
    cells = frame.astype(object).where(frame.notna(), None)
    return {name: column.tolist() for name, column in cells.items()}


def outcome(ask):
    """An answer, or the error in its place, with every warning."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = ask()
        except LatentODEError as error:
            return str(error), None, sorted(str(w.message) for w in said)
    return None, found, sorted(str(w.message) for w in said)


def same_answers(model, frame, table, *asked, **how):
    error, expected, said = outcome(lambda: model.predict(frame, *asked, **how))
    other, found, also = outcome(lambda: model.predict_arrays(table, *asked, **how))
    assert (other, also) == (error, said)
    if expected is None:
        return
    assert all(type(column) is np.ndarray for column in found.values())
    assert list(found) == list(expected.columns)
    made = pd.DataFrame(found)
    for name, column in expected.items():
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            column = column.dt.tz_convert(None)
        pd.testing.assert_series_equal(made[name], column, check_exact=True)


@pytest.mark.parametrize("latent", ["joint", "per-variable"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_arrays_are_answered_as_tables_are_for_every_layout_and_likelihood(latent, likelihood):
    frame = waves(4, 16, seed=2)
    if likelihood in ("poisson", "log-normal"):
        frame["x"] = np.exp(frame["x"]).round() + 1
    model = served(frame, Schema(targets=("x",)), latent=latent, likelihood=likelihood)
    one = frame[frame["id"] == frame["id"].iloc[0]][["id", "time", "x"]].reset_index(drop=True)
    same_answers(model, one, arrays_of(one), 1.5, 3)
    inside = [float(one["time"].mean()), float(one["time"].max()) + 1]
    same_answers(model, one, arrays_of(one), inside, level=80)


def wide():
    frame = waves(3, 16, seed=5)
    y = np.where(np.arange(len(frame)) % 3, 2 * frame["x"], np.nan)
    return frame.assign(y=y)


TIMES = {
    "numbers": lambda f: f,
    "whole numbers": lambda f: f.assign(time=(f["time"] * 1000).round().astype(np.int64)),
    "stamps": stamped,
    "stamps of a zone": lambda f: stamped(f, tz="UTC"),
    "stamps of a city": lambda f: stamped(f, tz="Asia/Tokyo"),
    "text": lambda f: stamped(f).assign(time=stamped(f)["time"].dt.strftime("%Y-%m-%dT%H:%M:%S")),
    "text of a zone": lambda f: f.assign(
        time=stamped(f)["time"].dt.strftime("%Y-%m-%dT%H:%M:%SZ").astype(object)
    ),
}


@pytest.mark.parametrize("kind", TIMES)
@pytest.mark.parametrize("made", [arrays_of, pytest.param(lists_of, marks=pytest.mark.slow)])
def test_arrays_of_any_kind_of_time_are_answered_as_tables_are(kind, made):
    frame = TIMES[kind](wide().drop_duplicates(["id", "time"]))
    horizon = {"numbers": 2.0, "whole numbers": 2000}.get(kind, "2h")
    model = served(frame, horizon=horizon, context_length=None)
    one = frame[frame["id"] == frame["id"].iloc[0]].reset_index(drop=True)
    if made is arrays_of and kind == "stamps of a city":  # which an array cannot name: it is in UTC
        one = one.assign(time=one["time"].dt.tz_convert("UTC"))
    same_answers(model, one, made(one), horizon, 3)
    same_answers(model, one, made(one), horizon, variables=["y"], quantiles=(0.2, 0.8), smooth=False)


def test_a_plain_series_is_read_without_a_table(monkeypatch):
    frame = stamped(wide().drop_duplicates(["id", "time"]))
    model = served(frame, horizon="2h", context_length=None)
    one = frame[frame["id"] == frame["id"].iloc[0]].reset_index(drop=True)
    schema = model.schema_
    expected = plain_tables.read_plain(one, schema)
    for table in (arrays_of(one), lists_of(one), {**arrays_of(one), "id": tuple(one["id"])}):
        found = plain_tables.read_arrays(table, schema)
        assert found is not None and expected is not None
        pd.testing.assert_frame_equal(found.keys, expected.keys)
        for name in ("row", "variable", "time", "value", "start", "series_of_row"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert (found.schema, found.axis) == (expected.schema, expected.axis)


def odd(one):
    """Tables that have to be looked at, refused or pointed out."""
    arrays = arrays_of(one)
    n = len(one)
    return {
        "several series": {**arrays, "id": ["a"] * (n - 2) + ["b"] * 2},
        "times in no order": {
            k: v[::-1] if isinstance(v, np.ndarray) else v for k, v in arrays.items()
        },
        "a time twice": {**arrays, "time": np.r_[arrays["time"][:1], arrays["time"][:-1]]},
        "no identifier": {k: v for k, v in arrays.items() if k != "id"},
        "an empty identifier": {**arrays, "id": ""},
        "a column too many": {**arrays, "note": ["calm"] * n},
        "a column too few": {k: v for k, v in arrays.items() if k != "y"},
        "text for numbers": {**arrays, "y": ["1.5"] * n},
        "truth values": {**arrays, "y": [True] * n},
        "an infinite value": {**arrays, "y": np.r_[np.inf, arrays["y"][1:]]},
        "a value that is a code": {**arrays, "y": np.r_[-9999.0, arrays["y"][1:]]},
        "no time somewhere": {**arrays, "time": np.r_[arrays["time"][:-1], np.datetime64("NaT")]},
        "numbers for times": {**arrays, "time": np.arange(n) * 1.0},
        "nothing ever observed": {**arrays, "x": [None] * n, "y": [None] * n},
        "no rows": {k: v[:0] if isinstance(v, np.ndarray) else v for k, v in arrays.items()},
    }


ODD = list(odd(stamped(wide())))


@pytest.fixture(scope="module")
def of_stamps():
    frame = stamped(wide().drop_duplicates(["id", "time"]))
    return served(frame, horizon="2h", context_length=None), frame


@pytest.mark.parametrize("kind", ODD)
def test_what_is_odd_in_arrays_is_said_as_of_a_table(of_stamps, kind):
    model, frame = of_stamps
    table = odd(frame[frame["id"] == frame["id"].iloc[0]].reset_index(drop=True))[kind]
    same_answers(model, pd.DataFrame(table), table, "1h", 2)


@pytest.mark.parametrize(
    "table", [None, [1.0], {"id": "a"}, {"id": "a", "time": [1.0, 2.0], "x": [1.0], "y": [2.0]}]
)
def test_what_is_no_table_is_refused_with_what_to_give(of_stamps, table):
    with pytest.raises(LatentODEError):
        of_stamps[0].predict_arrays(table, "1h")


def test_a_table_with_known_values_is_answered_from_arrays():
    frame = waves(4, 20, seed=3).assign(dose=lambda f: (f["time"] % 2 < 1).astype(float))
    model = served(frame, Schema(known_future=("dose",)))
    one = frame[frame["id"] == frame["id"].iloc[0]].reset_index(drop=True)
    one.loc[one["time"] > one["time"].iloc[-5], "x"] = np.nan
    asked = one["time"].iloc[-4:].tolist()
    same_answers(model, one, arrays_of(one), asked)
    ahead = pd.DataFrame({"id": one["id"].iloc[0], "time": [asked[-1] + 1.0], "dose": [1.0]})
    same_answers(model, one, arrays_of(one), ahead)
