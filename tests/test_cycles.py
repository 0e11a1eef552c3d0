"""Cycles that are found: which, in what noise, who uses them, and what leaves them as they are."""

import numpy as np
import pandas as pd
import pytest
from making import same, tiny
from scipy.signal import lombscargle

from latentode import (
    Forecasting,
    IrregularDataModule,
    LatentODEError,
    ModelConfig,
    Schema,
    SchemaError,
    SeriesDataset,
)
from latentode.data.cycles import find_cycles, harmonics_needed
from latentode.data.periodogram import periodogram, tracks_of
from latentode.data.report import inspect
from latentode.data.split import split_validation
from latentode.estimators import LatentODEForecaster

YEAR = 365.2425


def found(frame, **schema):
    return find_cycles(SeriesDataset.from_frame(frame, Schema(**schema)))


def periods(frame, **schema):
    return tuple(c.period for c in found(frame, **schema))


def sine(seed=0, period=20.0, noise=0.3):
    rng = np.random.default_rng(seed)
    time = np.sort(rng.uniform(0, 10 * period, 200))
    y = 5 + 2 * np.sin(2 * np.pi * time / period) + noise * rng.standard_normal(200)
    return pd.DataFrame({"time": time, "y": y})


def hourly(seed=0, weeks=26, zone=None):
    rng = np.random.default_rng(seed)
    t = np.arange(24.0 * 7 * weeks)
    day = 2 * np.sin(2 * np.pi * t / 24) + 0.8 * np.cos(4 * np.pi * t / 24)
    y = 20 + 0.002 * t + day - 1.5 * ((t // 24) % 7 >= 5) + 0.5 * rng.standard_normal(len(t))
    time = pd.Timestamp("2023-01-02", tz=zone) + pd.to_timedelta(t, unit="h")
    return pd.DataFrame({"time": time, "load": y})[rng.random(len(t)) > 0.3]


def panel(n, length, values, seed=0):
    """Series 0 to n - 1 at times 0, 1, ...; `values` is given a generator and the times."""
    rng = np.random.default_rng(seed)
    time = np.arange(float(length))
    rows = [pd.DataFrame({"id": i, "time": time, "y": values(rng, time)}) for i in range(n)]
    return pd.concat(rows, ignore_index=True)


@pytest.mark.parametrize("seed", range(5))
def test_the_period_of_a_noisy_sine_is_found_within_half_a_per_cent(seed):
    (period,) = periods(sine(seed))
    assert period == pytest.approx(20, rel=5e-3)


@pytest.mark.parametrize("seed", range(3))
def test_a_day_and_a_weekend_are_exactly_these_two_cycles(seed):
    assert periods(hourly(seed)) == ("24h", "7D")


def test_a_year_of_daily_values_is_a_year():
    day = np.arange(5 * 365)
    y = np.sin(2 * np.pi * day / YEAR) + 0.5 * np.random.default_rng(0).standard_normal(len(day))
    frame = pd.DataFrame({"time": pd.Timestamp("2015-01-01") + pd.to_timedelta(day, unit="D"), "y": y})
    assert periods(frame) == ("365.2425D",)
    assert periods(frame[: int(1.9 * 365)]) == ()


def test_a_pulse_has_its_own_period_and_not_those_of_its_harmonics():
    time = np.arange(300.0)
    (period,) = periods(pd.DataFrame({"time": time, "y": (time % 24 < 2) * 1.0}))
    assert period == pytest.approx(24, rel=2e-3)


@pytest.mark.parametrize("size", [1.0, 3.0])
def test_a_sine_of_many_periods_is_none_of_a_multiple(size):
    def values(rng, t):
        return size * np.sin(2 * np.pi * t / 21) + rng.standard_normal(len(t))

    for n in (1, 2):
        assert periods(panel(n, 600, values), id="id") == pytest.approx((21,), rel=5e-3)


def test_several_periods_of_a_numeric_time_are_found():
    time = np.arange(600.0)
    y = sum(np.sin(2 * np.pi * time / p) for p in (12, 31, 71))
    assert sorted(periods(pd.DataFrame({"time": time, "y": y}))) == pytest.approx(
        [12, 31, 71], rel=5e-3
    )


def autoregressive(first, second, e):
    y = np.zeros(len(e))
    for i in range(2, len(e)):
        y[i] = first * y[i - 1] + second * y[i - 2] + e[i]
    return y


CURVES = {
    "white noise": lambda t, e: e,
    "random walk": lambda t, e: e.cumsum(),
    "smooth walk": lambda t, e: e.cumsum().cumsum(),
    "autoregression": lambda t, e: autoregressive(0.97, 0.0, e),
    "pseudo-cycles": lambda t, e: autoregressive(1.6, -0.8, e),
    "line": lambda t, e: 3 * t + 7,
    "noisy line": lambda t, e: 3 * t + e,
    "parabola": lambda t, e: t**2,
    "exponential": lambda t, e: np.exp(t / 80),
    "step": lambda t, e: 1.0 * (t > 200),
    "constant": lambda t, e: 0 * t,
}


@pytest.mark.parametrize("calendar", [False, True], ids=["numbers", "datetimes"])
@pytest.mark.parametrize("kind", CURVES)
def test_what_has_no_cycle_has_none(kind, calendar):
    for seed in range(6):
        time = np.arange(500.0)
        y = CURVES[kind](time, np.random.default_rng(seed).standard_normal(500))
        if calendar:
            time = pd.Timestamp("2020-01-01") + pd.to_timedelta(3 * time, unit="h")
        assert periods(pd.DataFrame({"time": time, "y": y})) == (), seed


@pytest.mark.parametrize("common", [0.0, 0.7, 3.0])
def test_walks_that_go_together_are_not_evidence_many_times(common):
    for seed in range(4):
        shared = common * np.random.default_rng(100 + seed).standard_normal(100)
        frame = panel(40, 100, lambda rng, t, s=shared: (s + rng.standard_normal(100)).cumsum(), seed)
        assert periods(frame) == (), seed


def test_series_of_a_period_each_have_none_in_common():
    def values(rng, t):
        return np.sin(2 * np.pi * t / rng.uniform(10, 30) + rng.uniform(0, 6))

    assert periods(panel(40, 150, values)) == ()


def test_a_period_that_short_series_share_is_found_whatever_their_phases():
    def values(rng, t):
        return np.sin(2 * np.pi * t / 7.3 + rng.uniform(0, 6)) + 0.5 * rng.standard_normal(len(t))

    (period,) = periods(panel(300, 50, values))
    assert period == pytest.approx(7.3, rel=5e-3)


def test_the_variable_that_follows_a_cycle_is_named_with_its_share():
    frame = sine().assign(walk=np.random.default_rng(0).standard_normal(200).cumsum())
    (cycle,) = found(frame)
    assert cycle.variable == "y" and 0.8 < cycle.share < 1


@pytest.mark.parametrize("own", [0.0, 2.0])
def test_a_cycle_of_a_known_column_comes_with_it_and_is_none_of_the_values(own):
    time = np.arange(600.0)

    def values(rng, t):
        return own * np.sin(2 * np.pi * t / 21) + rng.standard_normal(len(t))

    frame = panel(2, 600, values).assign(heat=np.tile(np.sin(2 * np.pi * time / 50), 2))
    frame["y"] = frame["y"] + 3 * frame["heat"]

    def follows_heat(**schema):
        return (np.round(periods(frame, id="id", targets=("y",), **schema)) % 50 == 0).any()

    assert follows_heat()
    known = {"id": "id", "targets": ("y",), "known_future": ("heat",), "cycles": "auto"}
    assert tuple(np.round(periods(frame, **known))) == ((21,) if own else ())
    reported = inspect(frame, Schema(**known)).cycles
    assert tuple(round(c.period) for c in reported) == ((21,) if own else ())


@pytest.mark.parametrize("factor", [1e-9, 1e9, -1.0])
def test_units_of_values_change_nothing(factor):
    frame = hourly()
    assert periods(frame.assign(load=factor * frame["load"])) == periods(frame)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_units_of_time_scale_the_period(factor):
    frame = sine()
    (period,), (scaled,) = periods(frame), periods(frame.assign(time=factor * frame["time"]))
    assert scaled == pytest.approx(factor * period, rel=1e-4)


@pytest.mark.parametrize("unit", ["s", "h", "D"])
def test_the_time_unit_of_datetimes_changes_nothing(unit):
    assert periods(hourly(), time_unit=unit) == ("24h", "7D")
    stamps = pd.Timestamp("2020-01-01") + pd.to_timedelta(sine()["time"], unit="h")
    (period,) = periods(sine().assign(time=stamps), time_unit=unit)
    assert pd.Timedelta(period) / pd.Timedelta("1h") == pytest.approx(20, rel=5e-3)


def test_a_shift_of_all_times_and_the_order_of_rows_change_nothing():
    frame = sine()
    expected = periods(frame)
    assert periods(frame.assign(time=frame["time"] + 1024.0)) == pytest.approx(expected, rel=1e-4)
    assert periods(frame.sample(frac=1.0, random_state=0)) == expected
    shifted = hourly().assign(time=lambda f: f["time"] + pd.Timedelta("100D 5h"))
    assert periods(shifted) == ("24h", "7D")
    assert periods(hourly(zone="Europe/Berlin")) == ("24h", "7D")


def test_the_periodogram_is_that_of_lomb_and_scargle():
    tracks = tracks_of(SeriesDataset.from_frame(sine()))
    assert tracks is not None
    power, step = periodogram(tracks)
    k = np.arange(8, 120)
    theirs = lombscargle(tracks.time, tracks.value, 2 * np.pi * k * step)
    assert power[0, k] == pytest.approx(theirs, abs=0.01 * theirs.max())


@pytest.mark.parametrize("n", [0, 1, 7])
def test_tables_that_are_too_short_have_none(n):
    frame = pd.DataFrame({"time": np.arange(n + 1.0), "y": np.arange(n + 1.0)})
    assert periods(frame) == ()


@pytest.mark.parametrize(
    ("given", "kept"),
    [("auto", "auto"), ("none", ()), (None, ()), ((), ()), ("24h", ("24h",)), (["24h", 7], ("24h", 7))],
)
def test_a_schema_says_auto_none_or_periods_and_survives_json(given, kept):
    schema = Schema(cycles=given)
    assert schema.cycles == kept and Schema.from_json(schema.to_json()) == schema
    assert schema.periods == (() if kept == "auto" else kept)
    assert Schema().cycles == "auto"


@pytest.mark.parametrize("given", [("auto", "24h"), ("24h", "none"), ("24h", None)])
def test_auto_and_none_stand_alone(given):
    with pytest.raises(SchemaError, match=r"stands beside other periods; write 'auto'"):
        Schema(cycles=given)


def test_a_data_module_looks_at_training_series_only():
    train = SeriesDataset.from_frame(sine())
    other = SeriesDataset.from_frame(sine(1, period=11.0))
    data = IrregularDataModule(train, other, task=Forecasting(20.0), windows_per_epoch=8)
    assert data.schema.cycles == periods(sine()) == data.validation.dataset.schema.cycles
    assert data.sizes.n_static == 2 and data.sizes.periods == list(data.schema.cycles)
    assert next(iter(data.val_dataloader())).static.shape[1] == 2
    assert Schema.from_json(data.state_dict()["schema"]) == data.schema
    named = IrregularDataModule(sine(), schema=Schema(cycles=()), task=Forecasting(20.0))
    assert named.found_cycles is None and named.sizes.n_static == 0


def test_a_fitted_model_keeps_what_it_found(tmp_path, capsys):
    frame = sine()
    model = tiny(horizon=10.0, context_length=40.0, verbose=True).fit(frame)
    (period,) = model.schema_.cycles
    assert period == pytest.approx(20, rel=5e-3)
    assert f"cycles found: {period:g}"[:18] in capsys.readouterr().err
    named = tiny(horizon=10.0, context_length=40.0).fit(frame, Schema(cycles=(period,)))
    same(named.predict(frame, 5.0, count=3), model.predict(frame, 5.0, count=3))
    model.save(tmp_path)
    again = LatentODEForecaster.load(tmp_path)
    assert again.schema_ == model.schema_
    few = frame.tail(30)  # in which nothing could be found
    same(again.predict(few, 5.0, count=3), model.predict(few, 5.0, count=3))


def test_where_nothing_is_found_a_fit_is_that_without_cycles():
    frame = pd.DataFrame({"time": np.arange(60.0), "y": np.arange(60.0) ** 0.5})
    auto, none = (tiny().fit(frame, Schema(cycles=c)) for c in ("auto", ()))
    assert auto.schema_ == none.schema_ and auto.schema_.cycles == ()
    same(auto.predict(frame, 2.0, count=3), none.predict(frame, 2.0, count=3))


def test_a_report_lists_what_was_found():
    text = inspect(hourly()).to_text()
    assert "cycles         found: 24h (8" in text and "% of variance), 7D (" in text
    assert "cycles         24h, 7D" in inspect(hourly(), Schema(cycles=("24h", "7D"))).to_text()
    assert "cycles         none are looked for" in inspect(hourly(), Schema(cycles=())).to_text()
    spoilt = pd.concat([sine(), sine().head(3).assign(y=np.inf)])
    assert len(inspect(spoilt).cycles or ()) == 1


def test_a_fit_looks_at_values_as_it_models_them_and_at_all_of_the_time_of_few_series():
    """A cycle of logarithms is found in what they are logarithms of, and as in the whole table."""
    rng = np.random.default_rng(3)
    time = np.sort(rng.choice(240, 120, replace=False)).astype(float)
    level = np.sin(2 * np.pi * time / 24) + 0.02 * time + 0.1 * rng.normal(size=120)
    frame = pd.DataFrame({"time": time, "x": level})
    plain, logged = Schema(time="time"), Schema(time="time", transforms={"x": "log"})
    whole = SeriesDataset.from_frame(frame, plain)
    assert [c.period for c in find_cycles(whole)] == pytest.approx([24.0], rel=0.02)
    for table, schema in ((frame, plain), (frame.assign(x=np.exp(level)), logged)):
        dataset = SeriesDataset.from_frame(table, schema)
        train, held_out = split_validation(dataset, 40.0, 0)
        data = IrregularDataModule(train, held_out, task=Forecasting(40.0))
        (found,), (expected,) = data.found_cycles, find_cycles(whole)
        assert found.period == expected.period
        assert found.share == pytest.approx(expected.share, rel=1e-6)
        beyond = pd.DataFrame({"time": [240.5], "x": 0.0})  # the domain of a logarithm
        with_outlier = table if schema is plain else pd.concat([table, beyond])
        (said,) = inspect(with_outlier, schema).cycles
        assert said.period == expected.period


def shifts(t):
    return 5.0 * ((t % 24 >= 8) & (t % 24 < 18))


SHAPES = {
    "a sine": (lambda rng, t: np.sin(2 * np.pi * t / 24), 4),
    "three sines": (lambda rng, t: sum(np.sin(2 * np.pi * k * t / 24 + k) for k in (1, 2, 4)), 4),
    "on and off": (lambda rng, t: shifts(t), 12),
    "a spike": (lambda rng, t: 10.0 * (np.floor(t) % 24 == 7), 12),
    "nothing": (lambda rng, t: 0 * t, 4),
    "a walk": (lambda rng, t: np.cumsum(rng.normal(size=len(t))), 4),
    "shifts that come at random": (lambda rng, t: 5.0 * (rng.random(len(t)) < 0.3), 4),
}


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("regular", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_sharp_cycle_is_made_of_more_sines(shape, regular, n):
    rng, (values, count) = np.random.default_rng(1), SHAPES[shape]
    rows = []
    for i in range(n):
        t = np.arange(480.0) if regular else np.sort(rng.uniform(0, 480, 700))
        rows.append(
            pd.DataFrame({"id": i, "time": t, "y": values(rng, t) + 0.3 * rng.normal(size=len(t))})
        )
    dataset = SeriesDataset.from_frame(pd.concat(rows), Schema(id="id"))
    assert harmonics_needed(dataset, [24.0]) == (count,)


def test_more_sines_are_taken_only_where_rows_can_show_them_and_by_any_variable():
    t = np.arange(600.0)
    load = pd.DataFrame({"time": t, "x": np.sin(2 * np.pi * t / 24), "y": shifts(t)})
    load += 0.1 * np.random.default_rng(0).normal(size=load.shape) * [0, 1, 1]
    dataset = SeriesDataset.from_frame(load)
    assert harmonics_needed(dataset, [24.0, 100.0]) == (12, 4)
    every_third = SeriesDataset.from_frame(load[::3])
    assert harmonics_needed(every_third, [24.0]) == (4,)
    assert harmonics_needed(SeriesDataset.from_frame(load[:40]), [24.0]) == (4,)
    assert harmonics_needed(dataset, []) == ()


@pytest.mark.parametrize("latent", ["joint", pytest.param("per-variable", marks=pytest.mark.slow)])
def test_shifts_of_work_are_forecast_as_sharply_as_they_are(latent, tmp_path):
    time = pd.date_range("2024-01-01", periods=168, freq="h")
    noise = 0.2 * np.random.default_rng(0).normal(size=168)
    frame = pd.DataFrame({"time": time, "y": shifts(np.arange(168.0)) + noise})
    past, future = frame[:144], frame[["time"]][144:]
    model = tiny(max_epochs=0, horizon="24h", context_length="72h", latent=latent)
    made, truth = model.fit(past).predict(past, future), shifts(np.arange(144.0, 168.0))
    assert np.abs(made["mean"] - truth).mean() < 0.5 * 0.2
    angle = 2 * np.pi * np.arange(24.0)[:, None] * np.arange(5) / 24
    four = np.hstack([np.cos(angle), np.sin(angle)])
    blunt = four @ np.linalg.lstsq(four, truth, rcond=None)[0]
    assert np.abs(blunt - truth).mean() > 0.2  # without noise, and from the future itself
    model.save(tmp_path / "model")
    same(LatentODEForecaster.load(tmp_path / "model").predict(past, future), made)


def test_sizes_whose_harmonics_are_not_one_number_for_each_cycle_are_refused():
    data = IrregularDataModule(hourly(weeks=3), task=Forecasting(horizon="12h"))
    assert len(data.sizes.cycle_harmonics) == len(data.sizes.periods)
    with pytest.raises(LatentODEError, match="1 cycle_harmonics for 2 periods"):
        ModelConfig().build(data.sizes.replace(periods=(24.0, 168.0), cycle_harmonics=(4,)))
