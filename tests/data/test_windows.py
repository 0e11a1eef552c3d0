"""A batch holds what its windows hold: the same as by going through every row, at the window's cost."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from frames import wide
from hypothesis import given, settings
from hypothesis import strategies as st

from latentode.data import Forecasting, Interpolation, Scaling, Schema, Series, SeriesDataset
from latentode.data.dataset import Ragged, ranges
from latentode.data.task import ContextDropout
from latentode.data.windows import Timeline, mix

DOSED = Schema(known_future=("dose",), targets=("a", "b"))


def dosed(n_series=7, n_rows=25):
    frame = wide(n_series, n_rows)
    frame["dose"] = np.random.default_rng(1).integers(0, 4, len(frame)).astype(float)
    return frame


def read(frame, schema=DOSED):
    dataset = SeriesDataset.from_frame(frame, schema)
    return Series(dataset, Scaling.fit(dataset))


@given(st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=1, max_size=5), st.integers(0, 10))
@settings(max_examples=100, deadline=None)
def test_bisection_finds_what_searchsorted_finds_in_each_row(rows, bound):
    flat = np.array([x for row in rows for x in sorted(row)], dtype=np.float64)
    parts = Ragged(np.cumsum([0, *map(len, rows)]))
    found = parts.bisect(np.arange(len(rows)), lambda p: flat[p] < bound)
    assert found.tolist() == [
        begin + np.searchsorted(sorted(row), bound)
        for begin, row in zip(parts.offsets[:-1], rows, strict=True)
    ]


def test_ranges_of_nothing_are_empty():
    places, owner = ranges(np.array([3, 5, 9]), np.array([3, 7, 9]))
    assert places.tolist() == [5, 6] and owner.tolist() == [1, 1]
    assert all(len(part) == 0 for part in ranges(np.zeros(0, int), np.zeros(0, int)))


TASKS = [
    Forecasting(3.0),
    Forecasting(3.0, 5.0),
    Forecasting(2.0, 4.0, origin="last"),
    Forecasting(2.0, 1.0, origin=6.0, count=1),
    Forecasting(2.0, 4.0, origin="end"),
]


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_a_batch_holds_what_every_row_of_its_series_says_of_its_window(task):
    """By reading the table's own rows one by one, in data units."""
    frame = dosed()
    series = read(frame)
    dataset, scaling = series.dataset, series.scaling
    rows = np.array([3, 0, 3, 5, 6])
    keys = mix(np.arange(5).astype(np.uint64), 9)
    batch = series.batch(rows, task, keys, named=True)
    cut = task.cut(series.timeline.cuttable(rows, keys))
    moments_asked = task.moment(series.timeline.cuttable(rows, keys))
    for place, row in enumerate(rows):
        own = frame[frame["id"] == dataset.ids[row]].sort_values("time")
        since = (own["time"] - own["time"].iloc[0]) / pd.Timedelta("1h")
        origin = cut.origin[place]
        back = np.inf if task.context_length is None else task.context_length
        moments = sorted(
            {
                t
                for t, a, b in zip(since, own["a"], own["b"], strict=True)
                if not np.isnan(a) or not np.isnan(b)
            }
        )
        seen, asked, watched = [], [], []
        for time, a, b in zip(since, own["a"], own["b"], strict=True):
            for variable, value in enumerate((a, b)):
                if np.isnan(value):
                    continue
                what = (pytest.approx(time - origin), variable)
                if origin - back <= time <= origin:
                    seen.append((*what, pytest.approx(value)))
                later = [t for t in moments if t > origin]
                among = task.count is None or time in later[: task.count]
                if origin < time <= moments_asked[place] + task.horizon:
                    watched.append(what)
                    if among:
                        asked.append((*what, pytest.approx(value)))
                elif origin - back <= time <= origin:
                    watched.append(what)
        for part, wanted in ((batch.context, seen), (batch.target, asked)):
            mine = part.select((part.series == place).nonzero().squeeze(1))
            units = scaling.units_of(mine.variable.numpy()).to_data(mine.value.numpy())
            assert list(zip(mine.time.tolist(), mine.variable.tolist(), units, strict=True)) == wanted
        events = batch.events.select(batch.events.series == place)
        assert list(zip(events.time.tolist(), events.variable.tolist(), strict=True)) == watched


def in_force(time, value, moments):
    """By going through the changes one after the other."""
    found = []
    for moment in moments:
        held = value[0]
        for begins, new in zip(time, value, strict=True):
            held = new if begins <= moment else held
        found.append(float(held))
    return found


@pytest.mark.parametrize("task", [*TASKS, Interpolation(), ContextDropout(TASKS[1], 0.5)], ids=repr)
def test_the_path_of_known_columns_in_a_window_is_that_of_the_whole_series(task):
    series = read(dosed())
    rows = np.array([3, 0, 3, 5, 6])
    keys = mix(np.arange(5).astype(np.uint64), 9)
    batch = series.batch(rows, task, keys)
    cut = task.cut(series.timeline.cuttable(rows, keys))
    told, doses, parts = series.dataset.known_paths()
    doses = series.scaling.scale_known(doses)[:, 0]
    for place, row in enumerate(rows):
        whole = slice(*parts.offsets[row : row + 2])
        time = told[whole] - cut.origin[place]
        start, end = float(batch.start[place]), float(batch.end[place])
        moments = [*np.linspace(start, end, 41), *time[(time >= start) & (time <= end)]]
        mine = batch.control_time[place].tolist(), batch.control_value[place, :, 0].tolist()
        assert in_force(*mine, moments) == in_force(time, doses[whole], moments)
        assert mine[0] == sorted(mine[0]) and mine[0][-1] <= end + 1e-9
        assert sum(t <= start for t in set(mine[0])) <= 1


def test_the_path_at_a_given_origin_reaches_as_far_as_asked():
    frame = pd.DataFrame(
        {"id": "s", "time": np.arange(20.0), "a": 1.0, "b": 2.0, "dose": np.arange(20.0)}
    )
    series = read(frame.assign(a=frame["a"].where(frame["time"] <= 8), b=1.0))
    at = {"indices": np.array([0]), "origin": np.array([8.5]), "context": 2.0}
    for ahead, last in ((None, 19), (0.0, 8), (1.4, 9), (1.5, 10), (99.0, 19)):
        batch = series.batch_at(**at, ahead=ahead)
        assert (batch.control_time + 8.5).tolist() == [list(range(6, last + 1))]


def long_and_short(n):
    frame = pd.DataFrame({"id": "s", "time": np.arange(float(n)), "a": 1.0, "b": 2.0})
    return frame.assign(dose=frame["time"] % 7)


class Counting(np.ndarray):
    """Counts the elements that are taken out by positions."""

    taken = 0

    def __getitem__(self, key):
        found = super().__getitem__(key)
        if isinstance(key, np.ndarray):
            Counting.taken += np.size(found)
        return np.asarray(found) if isinstance(found, np.ndarray) else found


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_cut_gathers_its_window_and_not_its_series(dropout):
    counts, widths, task = [], [], ContextDropout(Forecasting(24.0, 96.0), dropout)
    for n in (1_000, 50_000):
        series = read(long_and_short(n))
        for name in ("known_time", "known_value"):
            setattr(series, name, getattr(series, name).view(Counting))
        series.dataset = replace(series.dataset, value=series.dataset.value.view(Counting))
        line = series.timeline
        series.timeline = Timeline(line.time.view(Counting), line.parts, line.until, line.since)
        series.timeline.__dict__["moments"] = line.moments  # found once for all batches
        Counting.taken = 0
        batch = series.batch(np.zeros(8, dtype=np.int64), task, np.arange(8).astype(np.uint64))
        counts.append(Counting.taken)
        widths.append(batch.control_time.shape[1])
        assert len(batch.context) + len(batch.target) <= 8 * 2 * 121
    assert counts[0] > 8 * 121
    # Bisection takes one element more per cut each time the series is twice as long.
    assert counts[1] < 1.3 * counts[0] and max(widths) <= 122


def test_a_batch_of_a_long_series_is_the_batch_of_what_lies_around_its_windows():
    """The same window, with 40,000 rows before it and after it or without."""
    n, task = 80_001, Forecasting(24.0, 96.0, origin=40_000.0)
    frame = long_and_short(n).assign(a=np.sin(np.arange(n)))
    near = frame[39_900:40_030]
    scaling = Scaling.fit(SeriesDataset.from_frame(frame, DOSED))
    one, other = (Series(SeriesDataset.from_frame(f, DOSED), scaling) for f in (frame, near))
    moved = Forecasting(24.0, 96.0, origin=100.0)
    whole, part = one.batch(np.array([0]), task), other.batch(np.array([0]), moved)
    for a, b in ((whole.context, part.context), (whole.target, part.target)):
        assert all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))
    for name in ("start", "end", "control_time", "control_value", "static"):
        assert torch.equal(getattr(whole, name), getattr(part, name)), name
    assert whole.control_time.shape == (1, 121)
