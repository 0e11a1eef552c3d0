"""Pictures of all kinds on all time axes; every argument of every kind is refused by its name."""

import warnings
from inspect import Parameter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from making import tiny
from sklearn.exceptions import NotFittedError

from latentode import LatentODEForecaster, Schema
from latentode.errors import LatentODEError
from latentode.plotting import KINDS, plot
from latentode.plotting.kinds import WITHOUT_TABLE, arguments_of

HOUR = pd.Timedelta("1h")
# A time axis: an hour since the first one as the time column has it, a duration, and an origin as text.
AXES = {
    "datetime": (lambda hours: pd.Timestamp("2024-03-30") + hours * HOUR, "2h", "2024-03-30T09:30"),
    "zone": (
        lambda hours: pd.Timestamp("2024-03-30", tz="Europe/Berlin") + hours * HOUR,
        "2h",
        "2024-03-30T09:30+01:00",
    ),
    "date": (lambda hours: (pd.Timestamp("2024-03-30") + 24 * hours * HOUR).date(), "2D", "2024-04-08"),
    "number": (lambda hours: float(hours), 2.0, 9.5),
    "duration": (lambda hours: hours * HOUR, "2h", "09:30:00"),
}


def table_of(axis):
    """Two series of a variable that follows a known column, at whole hours."""
    rng, of = np.random.default_rng(0), AXES[axis][0]
    hours = np.r_[np.arange(14), np.arange(14)]
    frame = pd.DataFrame({"id": ["a"] * 14 + ["b"] * 14, "time": [of(int(h)) for h in hours]})
    dose = (hours % 4 < 2).astype(float)
    return frame.assign(dose=dose, x=dose + rng.normal(size=28), y=rng.normal(size=28))


def rows_ahead(axis, dose):
    of = AXES[axis][0]
    return pd.DataFrame({"id": "a", "time": [of(14), of(15), of(16)], "dose": dose})


@pytest.fixture(scope="module")
def models():
    """A model of each time axis, fitted when it is first asked for."""
    kept = {}

    def of(axis):
        if axis not in kept:
            span = AXES[axis][1]
            model = tiny(horizon=span, context_length=6.0 if axis == "number" else None)
            model.set_params(training__max_epochs=1, training__windows_per_epoch=8)
            kept[axis] = model.fit(table_of(axis), Schema(known_future=("dose",)))
        return kept[axis]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield of


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def good(kind, axis):
    """Arguments with which a kind is drawn, all that differ from the default in cost."""
    told = {"count": 3, "draws": 4, "origins": 2, "most": 2, "above": 0.5}
    told["others"] = {"more": rows_ahead(axis, [2.0, 2.0, 2.0])}
    takes = arguments_of(kind)
    if "above" in takes:
        told["variable"] = "x"
    return {name: told[name] for name in told if name in takes}


@pytest.mark.filterwarnings("ignore:known-future column")
@pytest.mark.parametrize(
    "axis", [pytest.param(a, marks=[pytest.mark.slow] * (a in ("date", "duration"))) for a in AXES]
)
def test_every_kind_is_drawn_on_every_time_axis(axis, models):
    for kind in KINDS:
        figure = models(axis).plot(table_of(axis), kind, **good(kind, axis))
        assert any(axes.lines or axes.patches for axes in figure.axes), kind
        plt.close(figure)


@pytest.mark.filterwarnings("ignore:known-future column")
def test_durations_are_drawn_for_a_browser(models):
    pytest.importorskip("plotly")
    for kind in ("forecast", "backtest"):
        told = good(kind, "duration")
        shown = models("duration").plot(table_of("duration"), kind, engine="plotly", **told)
        assert len(shown.data) > 0 and shown.layout.xaxis2.title.text == "time, h"


@pytest.mark.filterwarnings("ignore:known-future column")
@pytest.mark.parametrize("axis", AXES)
def test_an_origin_is_a_time_as_predict_takes_it(axis, models):
    table, (of, _, text) = table_of(axis), AXES[axis]
    for origin in (text, of(9)):
        axes = models(axis).plot(table, origin=origin, count=3).axes[0]
        marked = [line for line in axes.lines if line.get_label() == "forecast origin"]
        seen = next(line for line in axes.lines if line.get_label() == "observed")
        assert float(marked[0].get_xdata(orig=False)[0]) == float(seen.get_xdata(orig=False)[-1])
        assert len(seen.get_xdata()) == 10
        asked = models(axis).predict(table, [origin], variables=["x"])
        assert len(asked) == 2


@pytest.mark.filterwarnings("ignore:known-future column")
@pytest.mark.parametrize("axis", AXES)
def test_one_cutoff_may_be_given_bare_as_a_backtest_takes_it(axis, models):
    table, cutoff = table_of(axis), AXES[axis][0](9)
    assert len(models(axis).backtest(table, cutoffs=cutoff)) > 0
    assert models(axis).plot(table, "errors", cutoffs=cutoff).axes[0].lines


def test_durations_are_drawn_as_numbers_of_a_unit_that_the_axis_names(models):
    axes = models("duration").plot(table_of("duration"), count=3).axes[-1]
    assert axes.get_xlabel() == "time, h"
    seen = next(line for line in axes.lines if line.get_label() == "observed")
    np.testing.assert_allclose(seen.get_xdata(), np.arange(14))


WRONG = {
    "ahead": ("soon", True, -1.0, ["2h"]),
    "back": ("soon", 0.0, {}),
    "horizon": ("soon", -1.0, []),
    "origin": ("soon", [9.0], {}),
    "count": (1, 2.5, "9", True),
    "draws": (0, 2.5, "9"),
    "most": (0, "9"),
    "bins": (0, 1.5, "9"),
    "origins": (0, 2.5, "9"),
    "level": ("10", True, float("nan"), [1.0]),
    "above": ("10", True, float("nan"), [1.0]),
    "below": ("10", True, float("inf")),
    "components": ("yes", 1),
    "cutoffs": ([], "soon", 5 + 2j, [None]),
    "metric": ("crsp", ["mae", "crps"], 5, "pinball"),
    "others": ({}, [rows_ahead("number", 1.0)], "x", {1: None}, {"as given": None}, {"it": None}),
    "series": (["a", "b"], "c", {}, {"a"}, np.array(["a"])),
    "variable": ("z", ["x"], 5, {}),
}


@pytest.mark.filterwarnings("ignore:known-future column")
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_argument_of_any_kind_is_refused_by_its_name(kind, models):
    table, model = table_of("number"), models("number")
    for name, parameter in arguments_of(kind).items():
        assert WRONG[name]
        for value in WRONG[name]:
            asked = {n: v for n, v in good(kind, "number").items() if n != name} | {name: value}
            if name == "below":
                asked.pop("above")
            for engine in ("matplotlib", "plotly"):
                with pytest.raises(LatentODEError, match=name):
                    model.plot(table, kind, engine=engine, **asked)
        asked = {n: v for n, v in good(kind, "number").items() if n != name}
        if parameter.default is Parameter.empty or name == "above":
            for asked_for in (asked, {**asked, name: None}):
                with pytest.raises(LatentODEError, match=f"{name}="):
                    model.plot(table, kind, **asked_for)
    with pytest.raises(LatentODEError, match="takes no colour="):
        model.plot(table, kind, colour="red")


@pytest.mark.parametrize("engine", ["matplotlib", "plotly"])
def test_tables_kinds_and_engines_that_are_none_are_refused(engine, models):
    model, table = models("number"), table_of("number")
    for kind in ("pie", None, ["forecast"], {}):
        with pytest.raises(LatentODEError, match="choose among forecast, components"):
            model.plot(table, kind, engine=engine)
    for name in (["matplotlib"], None, 5):
        with pytest.raises(LatentODEError, match="choose matplotlib or plotly"):
            model.plot(table, engine=name)
    for kind in KINDS:
        if kind in WITHOUT_TABLE:
            continue
        told = good(kind, "number")
        for wrong, message in (
            (None, "needs a table"),
            (5, "int is no table"),
            (table.drop(columns="x"), "column `x`"),
            (table.iloc[:0], "no rows"),
        ):
            with pytest.raises(LatentODEError, match=message):
                model.plot(wrong, kind, engine=engine, **told)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_before_a_fit_says_what_predict_says(kind):
    with pytest.raises(NotFittedError) as said:
        LatentODEForecaster().predict(table_of("number"), 2.0)
    for draw in (LatentODEForecaster().plot, lambda *a, **k: plot(LatentODEForecaster(), *a, **k)):
        with pytest.raises(NotFittedError) as same:
            draw(table_of("number"), kind, **good(kind, "number"))
        assert str(same.value) == str(said.value)


@pytest.mark.filterwarnings("ignore:known-future column", "ignore:others.* has the same")
def test_a_series_without_observations_is_drawn_as_it_is_forecast(models):
    table = table_of("number")
    blank = table.assign(**{c: table[c].where(table["id"] != "b") for c in ("x", "y")})
    for kind in ("forecast", "paths", "what-if"):
        axes = models("number").plot(blank, kind, series="b", **good(kind, "number")).axes[0]
        assert any(len(line.get_xdata()) for line in axes.lines)


def means(figure, panels=2):
    """What the first line called a forecast goes through in each of the first panels."""
    drawn = [next(x for x in a.lines if x.get_label() == "forecast") for a in figure.axes[:panels]]
    return [line.get_ydata() for line in drawn]


def test_another_future_is_a_whole_table_or_rows_ahead_alone(models):
    table, model, ahead = table_of("number"), models("number"), rows_ahead("number", [3.0, 0.0, 3.0])
    told = pd.concat([table, rows_ahead("number", 0.0).assign(x=np.nan, y=np.nan)])
    whole = pd.concat([table, ahead.assign(x=np.nan, y=np.nan)], ignore_index=True)
    forms = {
        "whole": whole,
        "rows": ahead,
        "empty targets": ahead.assign(x=np.nan, y=np.nan),
        "in another order": whole.sort_values("id", ascending=False, kind="stable"),
    }
    figure = model.plot(told, "what-if", others=forms, count=5)
    given, *others = means(figure, 1 + len(forms))
    asked = pd.DataFrame({"id": "a", "time": np.linspace(13.0, 15.0, 5)})
    said = model.predict(whole, asked, variables=["x"], smooth=False)["mean"]
    for made in others:
        np.testing.assert_allclose(made, said)
    assert not np.allclose(given, said)


@pytest.mark.filterwarnings("ignore:known-future column")
def test_what_is_wrong_with_another_future_is_said_of_it(models):
    table, model = table_of("number"), models("number")
    wrong = {
        "column `dose` is not in the table": table.drop(columns="dose"),
        "neither a history nor another known future": rows_ahead("number", 1.0).drop(columns="dose"),
        "series 'a' is not in": table[table["id"] == "b"],
        "no column `time`": rows_ahead("number", 1.0).drop(columns="time"),
    }
    for message, other in wrong.items():
        with pytest.raises(LatentODEError, match=message) as said:
            model.plot(table, "what-if", others={"half": other}, count=3)
        assert str(said.value).startswith("others['half']: ")
    with pytest.warns(UserWarning, match=r"others\['half'\] has the same history and known future"):
        model.plot(table, "what-if", others={"half": table}, count=3)


def test_a_model_without_known_columns_has_no_other_futures():
    frame = table_of("number").drop(columns="dose")
    fitted = tiny(max_epochs=0).fit(frame)
    with pytest.raises(LatentODEError, match=r"no known-future columns.* fit with known_future="):
        fitted.plot(frame, "what-if", others={"doubled": frame.assign(x=frame["x"] * 2)})
