"""What a fitted model says of a later table: of other variables, of zones, and nothing twice."""

import warnings

import numpy as np
import pandas as pd
import pytest
from making import tiny

from latentode import LatentODEForecaster, OnlineForecaster, Schema, SchemaError
from latentode.data import SeriesDataset
from latentode.data.cells.time_axis import TimeAxis

TESTS = ("CRP", "Creatinine", "Troponin")


def said_by(act) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        act()
    return found


@pytest.fixture(scope="module")
def labs() -> pd.DataFrame:
    days = pd.timedelta_range("0D", periods=12, freq="D") + pd.Timestamp("2024-01-01")
    index = pd.MultiIndex.from_product(
        [[1, 2, 3], days, [*TESTS, "Urea"]], names=["patient_id", "collected", "test"]
    )
    table = index.to_frame(index=False)
    values = np.random.default_rng(0).uniform(1, 9, len(table)).round(2).astype(str)
    return table.assign(result=np.where(np.arange(len(table)) % 9 == 0, "<0.5", values), unit="mg/L")


@pytest.fixture(scope="module")
def model(labs) -> LatentODEForecaster:
    schema = Schema(censored="limit", targets=TESTS)
    with pytest.warns(UserWarning, match="12 censored cells"):
        return tiny(horizon="2D", context_length="8D", max_epochs=1).fit(labs, schema)


@pytest.mark.parametrize("door", ["read", "predict", "score"])
def test_a_long_table_without_any_of_the_models_variables_is_refused_with_both_sets(model, labs, door):
    renamed = labs.assign(test=labs["test"].str.lower() + "_x")
    doors = {
        "read": model.read,
        "predict": lambda table: model.predict(table, at="2D", count=1),
        "score": model.score,
    }
    with pytest.raises(SchemaError, match=r"`crp_x`, .* trained on `CRP`, .*`CRP` may be 'crp_x'"):
        doors[door](renamed)


RENAMED = {
    "one renamed": ({"CRP": "crp "}, [r"names `crp `, which .*`CRP` may be 'crp ' there"]),
    "one unlike any": ({"CRP": "zinc"}, [r"names `zinc`, which the model was not trained on"]),
    "one more": ({"Urea": "zinc"}, [r"names `zinc`, which [^(]*; it knows `CRP`"]),
    "one absent": ({"CRP": "Urea"}, []),
    "none": ({}, []),
}


@pytest.mark.parametrize("case", RENAMED)
def test_variables_of_a_long_table_that_the_model_does_not_know_are_named(model, labs, case):
    names, expected = RENAMED[case]
    table = labs.assign(test=labs["test"].replace(names)).drop_duplicates(
        ["patient_id", "collected", "test"]
    )
    found = said_by(lambda: model.predict(table, at="2D", count=1))
    assert len(found) == len(expected)
    for message, pattern in zip(found, expected, strict=True):
        with pytest.warns(UserWarning, match=pattern):
            warnings.warn(message.message, stacklevel=1)


def test_new_rows_of_an_unknown_variable_are_named_once_and_change_nothing(model, labs):
    online = OnlineForecaster(model, labs)
    later = labs.tail(3).assign(collected=labs["collected"].max() + pd.Timedelta("1D"), test="zinc")
    before = online.predict("2D", count=1)
    (one,) = said_by(lambda: online.update(later))
    assert "new rows are of `zinc`, which the model was not trained on" in str(one.message)
    assert not said_by(lambda: online.predict("2D", count=1))
    pd.testing.assert_frame_equal(online.predict("2D", count=1), before)


def test_a_row_of_a_variable_that_was_left_out_of_the_fit_is_no_news(model, labs):
    online = OnlineForecaster(model, labs)
    later = labs[labs["test"] == "Urea"].tail(1)
    later = later.assign(collected=later["collected"] + pd.Timedelta("1D"))
    assert not said_by(lambda: online.update(later))


def test_what_a_fit_has_said_is_not_said_again_by_the_model_nor_by_the_one_that_was_saved(
    model, labs, tmp_path
):
    model.save(tmp_path)
    for own in (model, LatentODEForecaster.load(tmp_path)):
        part = labs.iloc[20:].assign(unit="mg/L")
        assert not said_by(lambda own=own, part=part: own.predict(part, at="2D", count=1))
    new = labs.assign(patient_id=labs["patient_id"].astype(str).replace({"1": "3 "}))
    (one,) = said_by(lambda: model.read(new))
    assert "differ in blanks" in str(one.message)


def test_a_warning_points_to_the_line_that_called_the_package(model, labs):
    other = labs.assign(test=labs["test"].replace({"Urea": "zinc"}))
    calls = {
        "through decorators": lambda: model.predict(other, at="2D"),
        "of a fit": lambda: tiny(horizon="2D", context_length="8D", max_epochs=1).fit(
            labs, Schema(censored="drop")
        ),
        "of a dataset": lambda: SeriesDataset.from_frame(labs, Schema(censored="drop")),
    }
    for name, call in calls.items():
        found = said_by(call)
        assert {one.filename for one in found} == {__file__}, name
        assert {one.category for one in found} == {UserWarning}


BERLIN = TimeAxis("datetime", timezone="Europe/Berlin", zone_declared=True)
ASKED = {
    "text": (BERLIN, "2023-11-15 12:00", "2023-11-15T12:00+01:00"),
    "a timestamp": (BERLIN, pd.Timestamp("2023-07-15 12:00"), "2023-07-15T12:00+02:00"),
    "a date": (BERLIN, pd.Timestamp("2023-07-15").date(), "2023-07-15T00:00+02:00"),
    "of another zone": (BERLIN, "2023-11-15 12:00Z", "2023-11-15T13:00+01:00"),
    "twice": (BERLIN, "2023-10-29 02:30", "passed twice .*repeated_hour='first' or 'second', or write"),
    "first pass": (TimeAxis(**{**vars(BERLIN), "repeated_hour": "first"}), "2023-10-29 02:30",
                   "2023-10-29T02:30+02:00"),
    "skipped": (BERLIN, "2023-03-26 02:30", "skipped when its clocks changed"),
    "epoch": (TimeAxis("datetime", timezone="UTC", form="epoch-s"), "2023-11-15 12:00",
              r"has a time zone, UTC, and at has none; write .* such as '2023-11-15 12:00:00\+00:00'"),
    "naive history": (TimeAxis("datetime"), "2023-11-15 12:00Z",
                      "without one, such as '2023-11-15 12:00:00', or fit with Schema"),
}  # fmt: skip


@pytest.mark.parametrize("case", ASKED)
def test_a_naive_time_that_is_asked_for_is_in_the_zone_that_was_declared(case):
    axis, asked, expected = ASKED[case]
    if expected[:4] == "2023":
        assert axis.parse(pd.Series([asked]), "at")[0] == pd.Timestamp(expected)
        return
    with pytest.raises(SchemaError, match=expected):
        axis.parse(pd.Series([asked]), "at")


def test_a_declared_zone_holds_for_every_question_to_the_model_also_to_a_saved_one(tmp_path):
    times = pd.date_range("2023-11-01", periods=96, freq="h").strftime("%Y-%m-%d %H:%M")
    table = pd.DataFrame({"id": "a", "time": times, "x": np.sin(np.arange(96) / 4)})
    schema = Schema(timezone="Europe/Berlin")
    tiny(horizon="6h", context_length="24h", max_epochs=1).fit(table, schema).save(tmp_path)
    model, naive = LatentODEForecaster.load(tmp_path), "2023-11-05 12:00"
    expected = pd.Timestamp(naive, tz="Europe/Berlin")
    for at in (naive, [naive], pd.DataFrame({"id": ["a"], "time": [pd.Timestamp(naive)]})):
        assert model.predict(table, at)["time"].tolist() == [expected]
    assert model.axis_.parse(pd.Series([naive]), "--at")[0] == expected
    origins = model.backtest(table, cutoffs="2023-11-03 12:00")["origin"].unique()
    assert [str(t) for t in origins] == ["2023-11-03 12:00:00+01:00"]


def test_what_is_wrong_with_a_new_row_is_counted_in_what_was_handed_in():
    rows = {"id": ["a"] * 9, "time": np.arange(9.0), "x": np.arange(9.0) % 3, "ward": "A"}
    table = pd.DataFrame(rows)
    model = tiny(max_epochs=1).fit(table, Schema(static_covariates=("ward",)))
    online = OnlineForecaster(model, table)
    for new, message in (
        ({"ward": "B"}, "changes .* row 0 of the new rows"),
        ({"time": 8.0}, r"row 0 of the new rows is known already \(id=a"),
    ):
        with pytest.raises(SchemaError, match=message):
            online.update(pd.DataFrame([{"id": "a", "time": 9.0, "x": 1.0, "ward": "A", **new}]))
    assert len(online.update(table.tail(1).assign(time=9.0)).history) == 10


DAYS = pd.date_range("2024-02-01", periods=16, tz="UTC")


def written(form: str) -> pd.DataFrame:
    """The same rows, their times written in a form."""
    seconds = (DAYS - pd.Timestamp(0, tz="UTC")) // pd.Timedelta("1s")
    times = {
        "epoch-s": seconds,
        "epoch-ms": seconds * 1000,
        "aware": DAYS.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "naive": DAYS.strftime("%Y-%m-%dT%H:%M:%S"),
        "day first": DAYS.strftime("%d/%m/%Y"),
        "month first": DAYS.strftime("%m/%d/%Y"),
        "points": DAYS.strftime("%d.%m.%Y"),
        "elapsed": [f"{24 * i}:00:00" for i in range(16)],
        "hours": [24 * i for i in range(16)],
    }
    return pd.DataFrame({"time": times[form], "y": np.sin(np.arange(16.0))})


def fitted(table: pd.DataFrame, horizon: str = "2D") -> LatentODEForecaster:
    return tiny(horizon=horizon, context_length="8D", max_epochs=0).fit(table)


@pytest.mark.parametrize(
    ("before", "later"),
    [
        ("epoch-s", "epoch-ms"),
        ("epoch-s", "aware"),
        ("aware", "epoch-s"),
        ("day first", "month first"),
        ("day first", "points"),
        ("day first", "naive"),
        ("naive", "day first"),
    ],
)
def test_times_in_another_form_that_is_clear_are_read_and_said(before, later):
    own = fitted(written(before))
    expected = own.predict(written(before), at="2D", count=2)
    found = []
    said = said_by(lambda: found.append(own.predict(written(later), at="2D", count=2)))
    pd.testing.assert_frame_equal(found[0], expected, check_dtype=False)
    assert any("in another form" in str(w.message) or "in the form" in str(w.message) for w in said)
    online = OnlineForecaster(own, written(before)[:9])
    online.update(written(later)[9:])
    pd.testing.assert_frame_equal(online.predict("2D", count=2), expected, check_dtype=False)


@pytest.mark.parametrize(
    ("before", "later", "words"),
    [
        ("aware", "naive", "has no time zone, and had one, UTC.*2024-02-01 00:00:00.00:00"),
        ("epoch-s", "naive", "has no time zone, and had one, UTC"),
        ("naive", "aware", "has a time zone, UTC, and had none"),
        ("elapsed", "hours", "holds '0' at row 0, which is not a time in the form elapsed"),
    ],
)
def test_times_of_another_kind_are_refused(before, later, words):
    own = fitted(written(before))
    with pytest.raises(SchemaError, match=words):
        own.predict(written(later), at="2D", count=2)


@pytest.mark.parametrize("unit", ["10.0K", "10 %", "37.5 C"])
def test_values_without_the_unit_that_they_had_are_pointed_out(unit):
    number, mark = float(unit.rstrip("K%C ")), unit.lstrip("0123456789.")
    table = written("naive").assign(y=[f"{number + i}{mark}" for i in range(16)])
    own = fitted(table)
    plain = table.assign(y=[number + i for i in range(16)])
    (one,) = said_by(lambda: own.predict(plain, at="2D", count=1))
    assert f"`y` has no unit, was in {mark.strip()!r} before" in str(one.message)
    online = OnlineForecaster(own, table[:9])
    assert not said_by(lambda: online.update(table[9:]))  # as it was read, it has none of its own
    expected = own.predict(table, at="2D", count=1)
    pd.testing.assert_frame_equal(online.predict("2D", count=1), expected)


def test_a_later_long_table_without_its_column_of_units_is_pointed_out(model, labs):
    (one,) = said_by(lambda: model.predict(labs.drop(columns="unit"), at="2D", count=1))
    assert "values have no column of units, and are taken to be in those of before" in str(one.message)
