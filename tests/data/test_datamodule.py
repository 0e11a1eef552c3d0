"""Epochs cut the training series afresh, validation stays, and a checkpoint holds primitives."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from frames import numeric, wide
from scipy import stats

from latentode import Forecasting, Interpolation, IrregularDataModule, Schema, SeriesDataset
from latentode.data import Classification, ContextDropout, Series
from latentode.errors import LatentODEError, SchemaError


def module(train=None, **options):
    options = {"task": Forecasting("4h"), "windows_per_epoch": 60, "batch_size": 16} | options
    return IrregularDataModule(wide(7, 9) if train is None else train, **options)


def epoch(data, number=0):
    """Everything that one training epoch shows, as arrays."""
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    batches = list(loader)
    return batches, [
        (b.start.tolist(), b.context.time.tolist(), b.context.value.tolist(), b.target.time.tolist())
        for b in batches
    ]


def test_epochs_differ_and_seeds_repeat_them():
    assert epoch(module(), 0)[1] == epoch(module(), 0)[1]
    assert epoch(module(), 0)[1] != epoch(module(), 1)[1]
    assert epoch(module(seed=1), 0)[1] != epoch(module(), 0)[1]


def origins(data, keys):
    """Where the cuts of given (epoch, series, draw) lie: minus the start of each whole context."""
    return data.train_dataloader().dataset.__getitems__(keys).start.tolist()


def test_each_epoch_and_each_draw_cuts_a_series_at_places_of_its_own():
    data = module(wide(1, 60))
    assert len(set(origins(data, [(number, 0, 0) for number in range(40)]))) > 15
    assert len(set(origins(data, [(0, 0, draw) for draw in range(40)]))) > 15
    assert len(set(origins(data, [(0, 0, 0)] * 40))) == 1
    assert origins(module(wide(1, 60), seed=1), [(0, 0, 0), (1, 0, 0), (2, 0, 0)]) != origins(
        data, [(0, 0, 0), (1, 0, 0), (2, 0, 0)]
    )


def test_series_come_in_an_order_shuffled_anew_each_epoch():
    sampler = module(windows_per_epoch=28).train_dataloader().sampler
    orders = []
    for number in (0, 1):
        sampler.set_epoch(number)
        orders.append([series for _, series, _ in sampler])
    assert orders[0] != orders[1] and orders[0] != list(range(7)) * 4


def test_an_epoch_has_as_many_cuts_as_told_but_one_per_series_at_least():
    assert sum(len(b) for b in epoch(module())[0]) == 60
    assert [len(b) for b in epoch(module())[0]] == [16, 16, 16, 12]
    assert sum(len(b) for b in epoch(module(windows_per_epoch=2))[0]) == 7
    assert sum(len(b) for b in epoch(module(windows_per_epoch=None))[0]) == 512


@pytest.mark.parametrize(("horizon", "expected"), [(10.0, 512), (1.0, 900), (0.1, 4096)])
def test_a_long_series_has_as_many_windows_as_it_spans_horizons(horizon, expected):
    frame = pd.DataFrame(
        {"id": np.repeat([0, 1], 31), "time": np.tile(np.arange(31) * 15.0, 2), "x": 0.0}
    )
    data = IrregularDataModule(frame, task=Forecasting(horizon), seed=0)
    assert data.windows_per_epoch == expected


def test_every_series_is_drawn_equally_often():
    sampler = module(windows_per_epoch=23).train_dataloader().sampler
    drawn = np.array(list(sampler))
    counts = np.bincount(drawn[:, 1], minlength=7)
    assert counts.sum() == 23 and set(counts) == {3, 4}
    for series in range(7):
        draws = drawn[drawn[:, 1] == series][:, 2]
        assert len(set(draws)) == len(draws)


def test_series_in_other_orders_are_cut_at_the_same_places():
    frame = wide(7, 9)
    one, other = module(frame), module(frame.iloc[::-1])
    for data in (one, other):
        assert data.scaling.loc == pytest.approx(one.scaling.loc, rel=1e-12)
    cuts = [
        d.train_dataloader().dataset.__getitems__([(0, place, 2)])
        for d, place in ((one, 3), (other, other.train.dataset.index_of([one.train.dataset.ids[3]])[0]))
    ]
    assert torch.equal(cuts[0].start, cuts[1].start)
    assert torch.equal(cuts[0].context.time, cuts[1].context.time)


def test_validation_is_cut_the_same_every_time_and_in_order():
    task = Forecasting("4h", validate_at=None)
    data = module(validation=wide(5, 9, seed=3), task=task)
    shown = [[(b.start.tolist(), b.target.time.tolist()) for b in data.val_dataloader()] for _ in "ab"]
    assert shown[0] == shown[1]
    held_out = SeriesDataset.from_frame(wide(5, 9, seed=3))
    horizons = np.clip((held_out.last - held_out.first) / 4.0, 1, None).astype(int)
    assert sum(len(b) for b in data.val_dataloader()) == horizons.sum() > 5
    assert module().val_dataloader() == []


def test_held_out_series_are_cut_several_times_at_places_like_those_of_training():
    """No more often than a horizon fits into the series, and no more often than is needed."""
    frame = wide(600, 30, seed=3)
    task = Forecasting("4h", validate_at=None, moments=0.5)
    data = module(wide(7, 9), validation=frame, task=task, batch_size=4096)
    (batch,) = data.val_dataloader()
    assert len(batch) == 2 * 600
    training = Series(data.validation.dataset, data.scaling).batch(
        np.arange(600), data.task, data.validation.keys
    )
    # The time since the last observation, and how much is asked, are distributed alike.
    for measure in (last_seen, asked_for):
        assert stats.ks_2samp(measure(batch), measure(training)).pvalue > 1e-3
    few = module(wide(7, 9), validation=wide(2, 9), task=task).val_dataloader()
    assert sum(len(b) for b in few) == 2 * 3


def last_seen(batch):
    times = pd.Series(batch.context.time.numpy()).groupby(batch.context.series.numpy())
    return -times.max().to_numpy()


def asked_for(batch):
    return np.bincount(batch.target.series, minlength=len(batch))


def test_validation_may_forecast_the_last_horizon_of_each_series():
    frame = wide(5, 9, seed=3)
    task = Forecasting("4h", validate_at="last")
    (shown,) = module(validation=frame, task=task).val_dataloader()
    last = frame.dropna(subset=["a", "b"], how="all").groupby("id")["time"].max()
    for place, name in enumerate(last.index):
        first = frame[frame["id"] == name].dropna(subset=["a", "b"], how="all")["time"].min()
        own = frame[frame["id"] == name].dropna(subset=["a", "b"], how="all")["time"]
        by_then = own[own <= max(last[name] - pd.Timedelta("4h"), first)]
        reach = (last[name] - by_then.max()) / pd.Timedelta("1h")  # from the last observation by then
        assert shown.target.time[shown.target.series == place].max() == pytest.approx(reach, rel=1e-12)


def test_interpolation_draws_anew_each_epoch_too():
    data = module(task=Interpolation())
    assert epoch(data, 0)[1] != epoch(data, 1)[1]


def test_scaling_is_fitted_on_training_data_only():
    far = wide(5, 9).assign(a=1e6, b=-1e6)
    assert module(validation=far).scaling == module().scaling


def test_sizes_are_primitives_that_describe_the_data():
    frame = wide(3).assign(age=1.0, ward=["n"] * 7 + ["n"] * 8, dose=0.0)
    data = module(
        frame,
        schema=Schema(static_covariates=("age", "ward"), known_future="dose"),
        task=Forecasting("6h"),
    )
    sizes = data.sizes
    units = sizes.variables
    assert (sizes.n_variables, sizes.n_static, sizes.n_known) == (2, 3, 1)
    assert (sizes.known_zero, sizes.time_scale, sizes.labels) == ([0.0], 6.0, None)
    assert (sizes.event_rate, sizes.variable_rates) == (data.event_rate, data.variable_rates)
    assert list(units) == ["a", "b"]
    assert [u["loc"] for u in units.values()] == list(data.scaling.loc)
    assert [u["scale"] for u in units.values()] == list(data.scaling.scale)
    assert module(numeric([0, 9]), task=Interpolation()).sizes.time_scale == 9.0
    assert module(numeric([5]), task=Interpolation()).sizes.time_scale == 1.0


def test_its_state_survives_the_safe_way_to_load_checkpoints():
    frame = wide(3).assign(age=1.0, ward="n", dose=0.0)
    data = module(frame, schema=Schema(static_covariates=("age", "ward"), known_future="dose"))
    stored = io.BytesIO()
    torch.save(data.state_dict(), stored)
    stored.seek(0)
    state = torch.load(stored, weights_only=True)
    data.load_state_dict(state)
    assert Schema.from_json(state["schema"]) == data.schema


def test_a_checkpoint_of_other_data_is_refused():
    with pytest.raises(SchemaError, match=r"other training data.*resume with the same frame"):
        module(wide(7, 9, seed=1)).load_state_dict(module().state_dict())


def test_without_a_task_it_says_which_to_give():
    with pytest.raises(SchemaError, match=r"task=Forecasting"):
        IrregularDataModule(wide())


def test_an_unobserved_variable_is_refused_before_training():
    with pytest.raises(SchemaError, match=r"`c` has no observation"):
        module(wide().assign(c=np.nan))


def test_validation_that_means_other_things_is_refused():
    other = wide().rename(columns={"b": "c"})
    with pytest.raises(SchemaError, match=r"variables a, c, but training has a, b; read both"):
        module(validation=SeriesDataset.from_frame(other))
    numbers = wide().assign(time=np.arange(15))
    with pytest.raises(SchemaError, match=r"integer times.*datetime times in units of h"):
        module(validation=numbers)
    days = SeriesDataset.from_frame(wide(), Schema(time_unit="D"))
    with pytest.raises(SchemaError, match=r"units of D.*units of h"):
        module(validation=days)


def test_datasets_and_frames_are_the_same_to_it():
    frame = wide(7, 9)
    assert epoch(module(SeriesDataset.from_frame(frame)))[1] == epoch(module(frame))[1]


def test_the_frames_are_left_as_they_were():
    train, validation = wide(7, 9), wide(3)
    before = train.copy(deep=True), validation.copy(deep=True)
    epoch(module(train, validation=validation))
    pd.testing.assert_frame_equal(train, before[0])
    pd.testing.assert_frame_equal(validation, before[1])


def test_bucketed_batches_hold_the_same_cuts_with_less_padding():
    frames = [wide(1, n, seed=n).assign(id=f"s{n}") for n in range(3, 60)]
    plain, bucketed = (
        module(pd.concat(frames), windows_per_epoch=570, bucketed=b) for b in (False, True)
    )

    def sizes(data):
        return [np.bincount(b.context.series, minlength=len(b)) for b in epoch(data, 3)[0]]

    one, other = sizes(plain), sizes(bucketed)
    assert sorted(np.concatenate(one)) == sorted(np.concatenate(other))
    padded = [sum(len(b) * b.max() for b in batches) for batches in (one, other)]
    assert padded[1] < 0.8 * padded[0]
    means = [b.mean() for b in other]
    assert np.abs(np.diff(means)).mean() > 1  # short and long ones take turns
    assert epoch(bucketed, 3)[1] == epoch(bucketed, 3)[1] != epoch(bucketed, 4)[1]


def test_dropping_observations_changes_training_contexts_only():
    held_out = wide(5, 9, seed=1)
    plain = module(validation=held_out)
    thinned = module(validation=held_out, task=ContextDropout(Forecasting("4h"), 0.8))
    one, other = (epoch(data)[0] for data in (plain, thinned))
    assert sum(len(b.context) for b in other) < 0.8 * sum(len(b.context) for b in one)
    assert [b.target.time.tolist() for b in one] == [b.target.time.tolist() for b in other]
    (before,), (after,) = plain.val_dataloader(), thinned.val_dataloader()
    assert torch.equal(before.context.value, after.context.value)
    assert thinned.sizes == plain.sizes
    with pytest.raises(LatentODEError, match="observation_dropout"):
        ContextDropout(Forecasting("4h"), 1.0)


def test_a_further_table_is_read_scaled_and_cut_as_validation_is():
    held_out = wide(5, 9, seed=3)
    data = module(validation=held_out)
    for one, other in zip(data.val_dataloader(), data.loader(held_out), strict=True):
        assert torch.equal(one.start, other.start)
        assert torch.equal(one.target.value, other.target.value)
        pd.testing.assert_frame_equal(one.names.keys, other.names.keys)
    with pytest.raises(SchemaError, match=r"the table has the variables a, c, but training has a, b"):
        data.loader(SeriesDataset.from_frame(held_out.rename(columns={"b": "c"})))


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_classification_shows_whole_series_and_brings_their_labels(wrapped):
    frame, more = wide(5, 9), wide(3, 9, seed=3).assign(id=lambda f: "m" + f["id"])
    ids = [*frame["id"].unique(), *more["id"].unique()]
    labels = pd.Series(["ill", "well"] * 4, index=ids)
    task = Classification(labels, span="6h", context_length="8h")
    data = module(frame, task=ContextDropout(task, 0.5) if wrapped else task)
    assert data.classes == ("ill", "well") and data.sizes.time_scale == 6.0
    batch = next(iter(data.loader(more)))
    assert batch.labels.klass.tolist() == [1, 0, 1] and len(batch.target) == 0
    assert float(batch.context.time.max()) == 0.0 and float(batch.context.time.min()) >= -8.0
    assert len(next(iter(data.train_dataloader())).labels) == 16
    with pytest.raises(SchemaError, match="'x' has no label"):
        data.loader(more.assign(id="x", time=pd.date_range("2024", periods=len(more), tz="UTC")))
