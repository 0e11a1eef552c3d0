"""The structural block: a state-space model in closed form, checked against a dense normal density."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from making import N_KNOWN, batch_of, built, network, noise_for, piece, tiny, waves
from numba.core.dispatcher import Dispatcher
from scipy.integrate import quad
from scipy.stats import norm

from latentode import LatentODEError, LatentODEForecaster, ModelConfig, Schema, TrainingConfig
from latentode.data.batch import Observations, Queries
from latentode.model import marginal_likelihood
from latentode.model.candidate import BOUNDS, INITIAL, Sample, response_time
from latentode.model.marginal_likelihood import estimate
from latentode.model.structure import StructuralBlock
from latentode.nn import compiled_filter, outliers, sine_gains, smoother, state_space
from latentode.nn import frequency as own_frequency
from latentode.nn import jumps as jumps_of_levels
from latentode.nn.compiled_filter import PARAMETERS
from latentode.nn.frequency import NO_CYCLE, ONE_FREQUENCY, frequencies
from latentode.nn.jumps import jumps
from latentode.nn.likelihoods import LIKELIHOODS
from latentode.nn.state_space import Cells, Clocks, array_of, own_variances
from latentode.ode import StepControl

pytestmark = pytest.mark.usefixtures("float64")
PERIODS = (1.0, 3.7)
LAYOUTS = ("joint", "per-variable")
SETTINGS = {"periods": [2.0], "harmonics": 2, "attention_heads": 2}


def observed(time, value, variable=0, series=0):
    cell = torch.zeros(len(time), dtype=torch.long)
    return Observations(
        cell + series, cell + variable, torch.as_tensor(time), torch.as_tensor(value).double()
    )


def asked(time, variable=0, series=0):
    return observed(time, np.zeros(len(time)), variable, series).queries()


def cell(n, seed=0, span=6.0, noise=0.3):
    rng = np.random.default_rng(seed)
    time = -np.sort(rng.uniform(0, span, n))[::-1].copy()
    wave = np.sin(2 * np.pi * time / PERIODS[0]) + np.cos(2 * np.pi * time / PERIODS[1])
    return time, 2 + 0.4 * time + wave + noise * rng.normal(size=n)


def stirred(block, seed=0):
    """The block away from its start, and without forgetting."""
    generator = torch.Generator().manual_seed(seed)
    block.log_theta.add_(0.3 * torch.randn(block.log_theta.shape, generator=generator))
    block.log_theta[:, PARAMETERS.index("memory")] = np.log(1e12)
    block.prior_mean.add_(0.3 * torch.randn(block.prior_mean.shape, generator=generator))
    return block


def oscillating(block, frequency=5.0, spread=1e-6, variance=0.7, decay=0.2, **more):
    """The block with a stochastic cycle."""
    cycle = {"cycle": variance, "cycle_decay": decay, "frequency": frequency}
    for name, value in (cycle | {"frequency_spread": spread} | more).items():
        block.log_theta[:, PARAMETERS.index(name)] = np.log(value)
    return block


def path(n_series=1, seed=1, changes=9):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(-6, 3, (n_series, changes)), axis=1)
    return StepControl(torch.tensor(times), torch.tensor(rng.normal(size=(n_series, changes, 1))))


def rows_of(control, row):
    return StepControl(*(getattr(control, name)[row] for name in ("times", "values")))


def covariance(a, b, begin, own):
    """Of level, deviation and cycle at two times, by the definition of the processes."""
    cycle = own["cycle"] * np.exp(-own["cycle_decay"] * abs(b - a)) * np.cos(own["frequency"] * (b - a))
    a, b = min(a, b) - begin, max(a, b) - begin
    kappa = own["damping"]

    def reach(u):
        return (1 - np.exp(-kappa * u)) / kappa

    walk = quad(lambda w: reach(a - w) * reach(b - w), 0, a)[0]
    level = 1 / own["level_precision"] + own["walk"] * a
    slope = own["slope"] * reach(a) * reach(b) + own["slope_walk"] * walk
    return level + slope + own["deviation"] * np.exp(-own["return_rate"] * (b - a)) + cycle


def dense(block, time, value, query, control):
    """Location and variance of queries by the normal density of everything together."""
    own = dict(zip(PARAMETERS, block.theta()[0], strict=True))
    mean, variance = (x[0] for x in block.prior())
    every = np.r_[time, query]
    none = np.zeros(len(every), dtype=int)
    columns = block.columns(none, every, Clocks.of(1, control, lag=float(block.lag)))
    k = np.array([[covariance(a, b, time.min(), own) for b in every] for a in every])
    since = np.minimum.outer(every, every) - time.min()
    k += columns * variance @ columns.T + own["coefficient_walk"] * since * (columns @ columns.T)
    k += own["noise"] * np.eye(len(every))
    n = len(time)
    residual = value - columns[:n] @ mean
    weights = np.linalg.solve(k[:n, :n], residual)
    innovations = np.abs(np.linalg.solve(np.linalg.cholesky(k[:n, :n]), residual))
    if n > 1:  # the first says how far the level is off, too
        innovations[0] = min(innovations[0], innovations[1:].max())
    scale = (own["scale"] + np.square(innovations).sum()) / (own["scale"] + n)
    location = columns[n:] @ mean + k[n:, :n] @ weights
    rest = k[n:, n:] - k[n:, :n] @ np.linalg.solve(k[:n, :n], k[:n, n:])
    return location, scale * np.diag(rest) + own["excess"]


@pytest.mark.parametrize("kind", [stirred, lambda block: oscillating(stirred(block))])
@pytest.mark.parametrize("n", [1, 2, 25])
def test_ahead_and_inside_it_says_what_the_normal_density_of_everything_says(n, kind):
    time, value = cell(n)
    control, block = path(), kind(StructuralBlock(1, 1, PERIODS, harmonics=[2, 3]))
    between = np.linspace(time[0], time[-1], 7)[1:-1] if n > 1 else np.zeros(0)
    query = np.r_[between, time[-1], 0.0, 0.4, 2.5, 20.0]
    outlook = block(observed(time, value), asked(query), 1, control)
    location, variance = dense(block, time, value, query, control)
    np.testing.assert_allclose(outlook.location, location, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(outlook.deviation.square(), variance, rtol=1e-8)
    torch.testing.assert_close(outlook.parts.sum(dim=1), outlook.location)
    assert outlook.parts.shape[1] == 4 + len(PERIODS) + 1


@pytest.mark.parametrize("kind", [stirred, lambda block: oscillating(stirred(block))])
def test_values_in_units_of_each_cells_own_are_answered_in_those_of_the_table(kind):
    zero, least = -3.0, 0.4
    control, query = path(), asked(np.array([-3.0, -0.5, 0.0, 0.7, 5.0]))
    blocks = [kind(StructuralBlock(1, 1, PERIODS, harmonics=[3, 2], zero=[zero])) for _ in range(2)]
    blocks[0].least_size += least
    for factor in (1e-4, 1.0, 50.0):
        time, value = cell(25)
        value = zero + factor * np.exp(value)
        size = (factor * np.exp(cell(25)[1]).sum() + least) / 26 / 3
        found = blocks[0](observed(time, value), query, 1, control)
        own = blocks[1](observed(time, (value - zero) / size + zero), query, 1, control)
        torch.testing.assert_close(found.location, zero + size * (own.location - zero))
        torch.testing.assert_close(found.deviation, size * own.deviation)
        torch.testing.assert_close(found.scale, size * own.scale)
        torch.testing.assert_close(found.parts.sum(dim=1), found.location)
    nothing = observed(np.zeros(0), np.zeros(0))
    alike = [block(nothing, query, 1, control).location for block in blocks]
    torch.testing.assert_close(*alike)


class Stepping:
    """A block with columns of jumps beside its own, as `dense` asks for it."""

    def __init__(self, block, since):
        self.block, self.since, self.lag = block, since, block.lag

    def theta(self):
        return self.block.theta()

    def prior(self):
        mean, variance = self.block.prior()
        more = np.ones((1, len(self.since)))
        return np.c_[mean, 0 * more], np.c_[variance, 1e6 * more]

    def columns(self, series, time, clocks):
        return np.c_[self.block.columns(series, time, clocks), time[:, None] >= self.since]


def steady(block):
    """Whose level hardly walks."""
    block.log_theta[:, PARAMETERS.index("memory")] = np.log(1e12)
    for name, value in {"walk": 1e-6, "slope_walk": 1e-8, "slope": 1e-6, "deviation": 1e-6}.items():
        block.log_theta[:, PARAMETERS.index(name)] = np.log(value)
    block.log_theta[:, PARAMETERS.index("level_precision")] = np.log(1e-4)
    return block


def undisturbed(block, time, value, control=None):
    return block._context(observed(time, value), asked(np.ones(1)), 1, control, None).undisturbed


@pytest.mark.parametrize("ago", [3, 9])
def test_a_level_that_jumped_is_as_the_density_with_a_step_says(ago):
    rng, block = np.random.default_rng(0), steady(StructuralBlock(1, 1, PERIODS, harmonics=[1, 1]))
    time, control = np.sort(rng.uniform(-6, 0, 60)), path()
    value = 0.2 * rng.normal(size=60) + 5.0 * (np.arange(60) >= 60 - ago)
    query = np.r_[time[20] + 1e-3, time[-ago] - 1e-3, time[-2] + 1e-3, time[-1], 0.5, 3.0]
    found = block(observed(time, value), asked(query), 1, control)
    since = undisturbed(block, time, value, control).since[0]
    assert since.tolist() == [time[-ago]]
    stepping = Stepping(block, since)
    location, variance = dense(stepping, time, value, query, control)
    np.testing.assert_allclose(found.location, location, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found.deviation.square(), variance, rtol=1e-6)
    torch.testing.assert_close(found.parts.sum(dim=1), found.location)
    assert (found.parts[:2, 0] < 1).all() and (found.parts[2:, 0] > 4).all()  # it is the level's
    assert found.parts.shape[1] == 4 + len(PERIODS) + 1


def calm_rows(n=60, seed=0):
    """Times and values of noise about 0, and a block that knows it to be."""
    rng, block = np.random.default_rng(seed), steady(StructuralBlock(1, 1, PERIODS, harmonics=[1, 1]))
    return block, np.sort(rng.uniform(-6, 0, n)), 0.2 * rng.normal(size=n)


@pytest.mark.parametrize("size", [5.0, -300.0, 1e5])
@pytest.mark.parametrize("wild", [[30], [40, 41, 42, 43, 44], [20, 21, 50], [58], [0], [3], [1, 2, 30]])
def test_wild_values_are_left_out_of_account(wild, size):
    block, time, value = calm_rows()
    query, control = asked(np.r_[time[20] + 1e-3, time[-2] + 1e-3, 0.5, 3.0]), path(changes=1)
    spoilt = value + size * np.isin(np.arange(60), wild)
    found = block(observed(time, spoilt), query, 1, control)
    without = block(observed(np.delete(time, wild), np.delete(value, wild)), query, 1, control)
    torch.testing.assert_close(found.location, without.location)
    torch.testing.assert_close(found.deviation, without.deviation)


@pytest.mark.parametrize("size", [5.0, 300.0])
@pytest.mark.parametrize("back", [True, False])
def test_a_level_that_shifted_twice_is_as_the_density_with_two_steps_says(back, size):
    block, time, value = calm_rows(90)
    row, control = np.arange(90), path()
    value += size * ((row >= 30).astype(float) + (row >= 60) * (-1.0 if back else 1.0))
    since = undisturbed(block, time, value, control).since[0]
    assert sorted(since) == [time[30], time[60]]
    query = np.r_[time[20] + 1e-3, time[45] + 1e-3, time[-2] + 1e-3, 0.5, 3.0]
    found = block(observed(time, value), asked(query), 1, control)
    location, variance = dense(Stepping(block, since), time, value, query, control)
    np.testing.assert_allclose(found.location, location, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.deviation.square(), variance, rtol=1e-5)
    torch.testing.assert_close(found.parts.sum(dim=1), found.location)


@pytest.mark.parametrize("n", [9, 10, 11, 30])
def test_a_spell_at_another_level_is_over_once_it_is_over(n):
    block, time, value = calm_rows(90)
    row = np.arange(90)
    spoilt = value + 40.0 * ((row >= 30) & (row < 30 + n))
    found = block(observed(time, spoilt), asked(np.array([0.5, 3.0])), 1, path())
    calm = block(observed(time, value), asked(np.array([0.5, 3.0])), 1, path())
    assert (found.location - calm.location).abs().max() < 0.2
    assert (found.deviation < 1.5 * calm.deviation).all()


@pytest.mark.parametrize("walk", [1e-4, 0.1, 3.0])
def test_a_wild_last_row_is_followed_by_a_share_and_leaves_that_much_doubt(walk):
    block, time, value = calm_rows()
    block.log_theta[:, PARAMETERS.index("walk")] = np.log(walk)
    value[-1] += 30.0
    query, control = np.array([time[-1], 0.5]), path()
    found = block(observed(time, value), asked(query), 1, control)
    told, _ = dense(block, time, value, query, control)
    before, variance = dense(block, time[:-1], value[:-1], query, control)
    np.testing.assert_allclose(found.location, told, rtol=1e-6, atol=1e-7)
    off = value[-1] - before[0]
    share = (told[0] - before[0]) / off
    doubt = found.deviation.square().numpy() - share * (1 - share) * off**2
    assert (doubt > 0).all() and (doubt < 1.1 * variance).all()
    assert (np.abs(told - before) < 3 * found.deviation.numpy()).all() or share > 0.9


def spikes(n, rng):
    return 5.0 * (np.arange(n) % 24 == 7)


ORDINARY = {
    "noise": lambda n, rng: 0 * rng.normal(size=n),
    "heavy tails": lambda n, rng: 0.2 * rng.standard_t(4, size=n),
    "a spike each day": spikes,
    "a weekend of three": lambda n, rng: 5.0 * (np.arange(n) % 20 >= 17),
    "a wave": lambda n, rng: 5.0 * np.sin(np.arange(n) / 9),
    "a slope": lambda n, rng: 0.3 * np.arange(n),
    "more noise by and by": lambda n, rng: np.linspace(0, 2, n) * rng.normal(size=n),
    "all of one value": lambda n, rng: np.zeros(n),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_what_a_series_is_made_of_is_no_outlier(kind):
    lost = []
    for seed in range(20):
        block, time, value = calm_rows(240, seed)
        value = ORDINARY[kind](240, np.random.default_rng(seed)) + value * (kind != "all of one value")
        found = undisturbed(block, time, value)
        lost.append(240 - len(found.cells.time))
    assert np.mean(lost) < 0.6, lost


def test_an_outlier_that_a_known_column_explains_is_that_columns_and_few_counts_have_none():
    block, time, value = calm_rows()
    value[30] += 5.0
    begins, known = torch.tensor(time[None] - 1e-9), torch.zeros(1, 60, 1)
    known[0, 30] = 1.0
    for control, n in ((path(), 59), (StepControl(begins, known), 60)):
        assert len(undisturbed(block, time, value, control).cells.time) == n
    weekend = (np.arange(60) % 7 >= 5) * 1.0  # whose effect is known by then
    control = StepControl(begins, torch.tensor(weekend)[None, :, None])
    assert len(undisturbed(block, time, value + 2 * weekend, control).cells.time) == 59
    rng, block = np.random.default_rng(0), steady(StructuralBlock(1, zero=[-0.5], counting=[True]))
    for rate, wild, n in ((0.3, 12.0, 60), (100.0, 400.0, 59)):
        counts = rng.poisson(rate, size=60) * 1.0
        counts[30] = wild
        assert len(undisturbed(block, time, counts - 0.5).cells.time) == n


def test_what_comes_by_chance_or_came_before_is_no_jump():
    rng, n = np.random.default_rng(0), 60
    begins = np.arange(0, 1001 * n, n)
    noise = rng.normal(size=(1000, n))
    weekend = np.tile(np.r_[np.zeros(5), 9.0, 9.0, 9.0], 8)[:n]  # of a cycle that nobody knows
    jump = 4.0 * (np.arange(n) >= n - 5)
    alone, unknown, clear = (jumps(begins, (noise + x).ravel()) for x in (0.0, weekend, jump))
    assert (alone < 0).mean() > 0.998
    assert (unknown < 0).mean() > 0.99
    assert (clear == begins[:-1] + n - 5).mean() > 0.8


def of_jump(shape, n=200, size=20.0, seed=0):
    """How many of 300 cells have jumped whose innovations are noise and a shape at their end."""
    noise = np.random.default_rng(seed).normal(size=(300, n))
    noise[:, n - len(shape) :] += size * np.asarray(shape)
    return (jumps(np.arange(0, 301 * n, n), noise.ravel()) >= 0).mean()


@pytest.mark.parametrize("away", [1, 2, 3, 6])
@pytest.mark.parametrize("back", [1, 2, 5])
def test_what_has_come_back_is_no_jump(away, back):
    assert of_jump([1.0] * away + [0.0] * back) < 0.05


@pytest.mark.parametrize(("ago", "found"), [(1, 0), (2, 0), (3, 1), (30, 1), (64, 1), (65, 1), (95, 1)])
def test_a_jump_is_followed_from_three_rows_on_and_not_forgotten(ago, found):
    assert abs(of_jump([1.0] * ago) - found) < 0.03
    learnt = [100 / (100 + j) for j in range(ago)]  # as a filter of a level that has 100 rows follows
    assert abs(of_jump(learnt) - found) < 0.03


def test_a_jump_that_a_known_column_explains_is_that_columns():
    rng, time = np.random.default_rng(0), np.arange(-40.0, 0.0)
    block = steady(StructuralBlock(1, 1))
    begins = torch.tensor([[-50.0, -6.0]])
    path = StepControl(begins, torch.tensor([[[0.0], [1.0]]]))
    late = StepControl(torch.tensor([[-50.0, -20.0]]), path.values)
    value = 0.2 * rng.normal(size=40) + 8.0 * (time >= -6)
    for control, jumped in ((path, False), (late, True)):
        assert (undisturbed(block, time, value, control).since.shape[1] > 0) == jumped
    assert jumps(np.array([0, 0, 2]), np.ones(2)).tolist() == [-1, -1]


def sizes_of_waves(seed=0, lowest=0.0, spread=4.0):
    rng, t = np.random.default_rng(seed), np.arange(40.0)
    size = 10 ** (spread * (np.arange(16) / 15 - 0.5))
    values = lowest + size[:, None] * (3 + np.sin(t / 2) + 0.1 * rng.normal(size=(16, 40)))
    return pd.DataFrame(
        {"id": np.repeat(np.arange(16), 40), "time": np.tile(t, 16), "x": values.ravel()}
    )


def own_sizes(frame, **more):
    schema = Schema(id="id", time="time", targets=("x",))
    return tiny(max_epochs=0, horizon=8.0, **more).fit(frame, schema)


def least_size(model):
    return float(model.network_.emission.structure.least_size[0])


def test_cells_have_units_of_their_own_where_sizes_differ_and_nothing_is_below_zero():
    assert least_size(own_sizes(sizes_of_waves())) > 0
    assert least_size(own_sizes(sizes_of_waves(spread=0.0))) == 0  # all of one size
    assert least_size(own_sizes(sizes_of_waves(lowest=-10.0))) == 0  # what is below zero has no size


def test_units_of_their_own_are_those_of_any_table():
    frame, later = sizes_of_waves(), sizes_of_waves(1)
    model = own_sizes(frame)
    thousand = own_sizes(frame.assign(x=frame["x"] * 1000))
    asked_at = pd.DataFrame({"id": np.arange(16), "time": 44.5})
    found = [m.predict(later.assign(x=later["x"] * f), asked_at)["mean"] / f for m, f in
             ((model, 1), (thousand, 1000))]  # fmt: skip
    np.testing.assert_allclose(*found, rtol=1e-3)
    # Values that the model never met, and a series that has none but zeros, have finite answers.
    odd = later.assign(x=later["x"].where(later["id"] > 1, -later["id"] * 5.0))
    answer = model.predict(odd, asked_at)
    assert np.isfinite(answer.select_dtypes(float)).all(axis=None)


@pytest.mark.parametrize("family", ["normal", "student-t", "laplace", "log-normal", "quantile"])
@pytest.mark.parametrize("latent", LAYOUTS)
def test_a_series_of_thousandths_is_told_beside_one_of_millions(latent, family):
    frame = sizes_of_waves(spread=9.0)
    model = own_sizes(frame, latent=latent, likelihood=family)
    model.network_.float()
    asked_at = pd.DataFrame(
        {"id": np.repeat(np.arange(16), 3), "time": np.tile([41.0, 43.0, 45.0], 16)}
    )
    found = model.predict(frame, asked_at)
    size = 10 ** (9 * (found["id"] / 15 - 0.5))
    wide = (found["q0.9"] - found["q0.1"]) / size
    assert wide.max() < 4 * wide.min()
    error = found["mean"] / size - 3 - np.sin(found["time"] / 2)
    assert error.abs().max() < 1  # which is how far the wave goes


def calm(jump=0.0, at=60, seed=0):
    """Eight series of 120 rows about levels of their own, of noise 0.2; the first may jump."""
    rng, t = np.random.default_rng(seed), np.arange(120.0)
    x = np.arange(8)[:, None] + 0.2 * rng.normal(size=(8, 120))
    x[0] += jump * (t >= at)
    return pd.DataFrame({"id": np.repeat(np.arange(8), 120), "time": np.tile(t, 8), "x": x.ravel()})


def ahead_of(frame, **more):
    """Widths and means ten steps ahead of a model that was fitted on a table of series."""
    model = tiny(max_epochs=0, horizon=10.0, context_length=120.0, **more).fit(frame)
    return model, one_step(model, frame)


def one_step(model, frame):
    asked_at = pd.DataFrame({"id": frame["id"].unique(), "time": 124.5})
    found = model.predict(frame, asked_at).set_index("id")
    return found["q0.9"] - found["q0.1"], found["mean"]


@pytest.mark.parametrize("jump", [pytest.param(10.0, marks=pytest.mark.slow), 1000.0])
@pytest.mark.parametrize("latent", ["per-variable", pytest.param("joint", marks=pytest.mark.slow)])
def test_one_series_that_jumps_does_not_say_how_far_the_others_may_be_off(jump, latent):
    _, (usual, _) = ahead_of(calm(), latent=latent)
    _, (wide, mean) = ahead_of(calm(jump), latent=latent)
    assert (wide[1:] < 2 * usual[1:]).all()
    assert (np.abs(mean[1:] - np.arange(1, 8)) < 0.3).all()


WILD_ROWS = ([60], [60, 61, 62, 63], [30, 90], [118])


@pytest.mark.parametrize(
    ("series", "rows"),
    [
        *((1, rows) for rows in WILD_ROWS),
        (8, WILD_ROWS[1]),
        *(pytest.param(8, WILD_ROWS[k], marks=pytest.mark.slow) for k in (0, 2, 3)),
    ],
)
def test_a_wild_value_spoils_no_forecast(series, rows):
    some = calm().query("id < @series")
    spoilt = some["id"].eq(0) & some["time"].isin(rows)
    _, (usual, calmly) = ahead_of(some)
    _, (wide, mean) = ahead_of(some.assign(x=some["x"].mask(spoilt, -999.0)))
    assert (wide < 1.6 * usual).all() and (wide > usual / 1.6).all()
    assert (np.abs(mean - calmly) < 0.15).all()


@pytest.mark.parametrize("values", [[19, 20, 21], [4.5, 5.0, 5.5], [0.0, 1e-9, 2e-9]])
@pytest.mark.parametrize("shares", [(0.05, 0.9, 0.05), (0.3, 0.4, 0.3)])
def test_values_that_are_rounded_coarsely_have_intervals_of_their_steps(values, shares):
    rng = np.random.default_rng(0)
    step = values[1] - values[0]
    frame = pd.DataFrame({"time": np.arange(300.0), "x": rng.choice(values, 300, p=shares)})
    made = tiny(max_epochs=0, horizon=10.0, likelihood="auto").fit(frame).predict(frame, 10.0, 5)
    assert (np.abs(made["mean"] - values[1]) < 0.3 * step).all()
    assert (made["std"] > 0.25 * step).all() and (made["std"] < 1.2 * step).all()


@pytest.mark.parametrize("factor", [3.0, 30.0, 1000.0])
def test_a_new_series_has_intervals_of_its_own_noise(factor):
    model, (usual, _) = ahead_of(calm())
    new = calm(seed=1).query("id == 0").assign(id=99)
    wide, _ = one_step(model, new.assign(x=new["x"] * factor))
    assert 0.4 < wide[99] / (factor * usual.mean()) < 1.6  # a few rows tell its noise, and eight series


@pytest.mark.parametrize("at", [36, 60, 100])
def test_a_jump_is_found_wherever_it_lies_in_a_history(at):
    model, _ = ahead_of(calm())
    _, mean = one_step(model, calm(10.0, at, seed=1).query("id == 0"))
    assert abs(mean[0] - 10) < 0.3


def sales(seed):
    """Counts of thirty items over ten weeks, twice as many at weekends, and their rates."""
    rng, day = np.random.default_rng(seed), np.arange(84)
    rate = np.exp(rng.normal(-0.5, 0.8, 30))[:, None] * np.where(day % 7 >= 5, 2.0, 0.6)
    table = pd.DataFrame(
        {
            "id": np.repeat(np.arange(30), 84),
            "time": np.tile(day, 30).astype(float),
            "x": rng.poisson(rate).ravel(),
        }
    )
    return table, rate


@pytest.mark.parametrize(
    "family", [pytest.param("poisson", marks=pytest.mark.slow), "negative-binomial"]
)
def test_effects_on_counts_are_shares_of_each_ones_size(family, monkeypatch):
    table, rate = sales(0)
    seen, asked_at = table[table["time"] < 70], table.loc[table["time"] >= 70, ["id", "time"]]
    schema = Schema(id="id", time="time", targets=("x",), cycles=(7.0,))

    def error():
        model = tiny(max_epochs=0, horizon=14.0, likelihood=family).fit(seen, schema)
        found = model.predict(seen, asked_at)["mean"].to_numpy()
        return model, np.sqrt(np.square(found - rate[:, 70:].ravel()).mean())

    model, own = error()
    block = model.network_.emission.structure
    assert least_size(model) > 0 and float(block.size_rows[0]) > 1
    # A series that sold nothing so far is none that never sells.
    none = seen[seen["id"] == 0].head(3).assign(x=0, id=99)
    later = model.predict(none, pd.DataFrame({"id": 99, "time": [5.0, 6.0]}))["mean"]
    assert (later > 0.02).all()
    monkeypatch.setattr("latentode.model.candidate.Sample.in_own_units", lambda *_: None)
    monkeypatch.setattr("latentode.model.marginal_likelihood._known", {})
    _, added = error()
    assert own < 0.9 * added


def test_the_variance_of_a_cell_forgets():
    rng = np.random.default_rng(0)
    time = np.sort(rng.uniform(-8, 0, 50))
    own = np.tile([INITIAL[name] for name in PARAMETERS], (1, 1))
    own[0, PARAMETERS.index("memory")] = 0.7
    innovations, freedom = rng.normal(size=50), own[0, PARAMETERS.index("scale")]
    found = own_variances(np.array([0, 50, 50]), np.zeros(2, dtype=int), time, innovations, own)
    weight = 0.5 ** ((time[-1] - time) / 0.7)
    expected = (freedom + weight @ innovations**2) / (freedom + weight.sum())
    np.testing.assert_allclose(found, [expected, 1.0])


def test_a_level_of_which_nothing_is_known_beforehand_is_learnt_without_cancellation():
    time, value = cell(30)
    block = StructuralBlock(1, 0, PERIODS)
    block.log_theta[:, PARAMETERS.index("level_precision")] = np.log(1e-16)
    query = asked(np.array([0.0, 1.0]))
    near = block(observed(time, value), query, 1)
    far = block(observed(time, value + 1e6), query, 1)
    torch.testing.assert_close(far.location - 1e6, near.location, rtol=0, atol=1e-6)
    torch.testing.assert_close(far.deviation, near.deviation, rtol=1e-4, atol=0)


@pytest.mark.parametrize("kind", [stirred, lambda block: oscillating(stirred(block), spread=0.5)])
def test_the_order_of_rows_companions_and_other_variables_do_not_matter(kind):
    block = kind(StructuralBlock(2, 1, PERIODS))
    control = path(3)
    parts = [observed(*cell(n, seed=n), variable=v, series=s)
             for s, v, n in ((0, 0, 40), (0, 1, 3), (1, 0, 1), (2, 1, 100))]  # fmt: skip
    seen, query = Observations.cat(parts), asked(np.linspace(0, 3, 7))
    together = block(seen, query, 3, control)
    mixed = seen.select(torch.randperm(len(seen), generator=torch.Generator().manual_seed(0)))
    back = torch.arange(6, -1, -1)
    stirred_up = block(mixed, query.select(back), 3, control)
    alone = block(parts[0], query, 1, rows_of(control, slice(0, 1)))
    for name in ("location", "deviation", "scale", "parts"):
        wanted = getattr(together, name)
        torch.testing.assert_close(getattr(alone, name), wanted, rtol=0, atol=0)
        torch.testing.assert_close(getattr(stirred_up, name)[back], wanted, rtol=0, atol=0)


def test_an_answer_does_not_depend_on_what_else_is_asked():
    block = stirred(StructuralBlock(1, 0, PERIODS))
    seen, times = observed(*cell(40)), np.linspace(-6, 9, 90)
    many = block(seen, asked(times), 1).location
    for place in (41, 3):
        one = block(seen, asked(times[place : place + 1]), 1).location
        torch.testing.assert_close(one, many[place : place + 1], rtol=1e-10, atol=1e-12)


def test_values_of_two_at_one_time_may_come_in_any_order():
    time, value = np.array([-2.0, -1.0, -1.0, 0.0]), np.array([1.0, 5.0, -3.0, 2.0])
    block, query = StructuralBlock(1), asked(np.array([0.5]))
    one = block(observed(time, value), query, 1).location
    other = block(observed(time, value[[0, 2, 1, 3]]), query, 1).location
    assert torch.equal(one, other)


@pytest.mark.parametrize("kind", [stirred, lambda block: oscillating(stirred(block), spread=0.5)])
def test_slopes_in_time_are_those_of_differences_forwards_and_backwards(kind):
    block, seen = kind(StructuralBlock(1, 0, PERIODS)), observed(*cell(20))
    time = torch.tensor([-4.01, -0.52, 0.3, 2.0])

    def answer(t):
        outlook = block(seen, replace(asked(np.zeros(4)), time=t), 1)
        return torch.stack([outlook.location, outlook.deviation, outlook.scale])

    slope = torch.func.jvp(answer, (time,), (torch.ones(4),))[1]
    change = (answer(time + 1e-5) - answer(time - 1e-5)) / 2e-5
    torch.testing.assert_close(slope, change, rtol=1e-5, atol=1e-6)
    moving = time.clone().requires_grad_()
    (back,) = torch.autograd.grad(answer(moving).sum(), moving)
    torch.testing.assert_close(back, slope.sum(dim=0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("time", "value"),
    [
        pytest.param([], [], id="none"),
        pytest.param([-0.5], [3.0], id="one"),
        pytest.param([-0.5, -0.5], [3.0, 3.0], id="twice-at-one-time"),
        pytest.param([-3.0, -2.0, -1.0, 0.0], [5.0] * 4, id="constant"),
        pytest.param(list(np.arange(-8.0, 1.0)), list(np.arange(9.0)), id="all-at-one-phase"),
        pytest.param([-5e4, -4e4], [1.0, 2.0], id="long-ago"),
        pytest.param(list(np.linspace(-1e-9, 0, 5)), [1e6, -1e6, 1e6, -1e6, 1e6], id="all-at-once"),
    ],
)
def test_cells_that_say_little_are_harmless(time, value):
    block = StructuralBlock(1, 2, (1.0, 1.0, 2.0))  # a cycle named twice is collinear
    control = StepControl(torch.zeros(1, 1), torch.full((1, 1, 2), 7.0))  # like the level
    seen = observed(np.array(time), np.array(value))
    outlook = block(seen, asked(np.array([-0.7, 0.0, 1.0, 500.0])), 1, control)
    for tensor in (outlook.location, outlook.deviation, outlook.scale, outlook.parts):
        assert tensor.isfinite().all()
    assert (outlook.deviation > 0).all()
    told = outlook.features(torch.tensor([-0.7, 0.0, 1.0, 500.0]))
    assert told.isfinite().all() and (told.abs() <= 1).all()


def test_a_decoder_is_told_where_the_clock_stands_and_what_is_known():
    block, time = StructuralBlock(1, 1, PERIODS, harmonics=[3, 1]), np.array([-0.7, 0.2, 1.9])
    control, phase = path(), torch.tensor([[0.4, -1.0]])
    given = block(observed(*cell(5)), asked(time), 1, control, phase).given
    angle = 2 * np.pi * time[:, None] / np.array(PERIODS) + phase.numpy()
    waves = np.stack([np.cos(angle), np.sin(angle)], axis=2).reshape(3, 4)
    known = control.of_rows(torch.zeros(3, dtype=torch.long), torch.from_numpy(time)).numpy()
    np.testing.assert_allclose(given.numpy(), np.c_[waves, known], atol=1e-12)


def cells_of(parts):
    """Cells of one variable from (time, value) pairs, without columns."""
    owner = np.repeat(np.arange(len(parts)), [len(t) for t, _ in parts])
    time, value = (np.concatenate(x) for x in zip(*parts, strict=True))
    variable = np.zeros(len(parts), dtype=int)
    return Cells.of(owner, variable, (time, value, np.zeros((len(time), 0))))


def estimated(make, n=60, seed=0):
    """Parameters of a block that has seen n cells of a kind, with later values."""
    rng, block = np.random.default_rng(seed), StructuralBlock(1)
    seen, later = [], []
    for _ in range(n):
        t = np.sort(rng.uniform(-4, 1, 60))
        x = make(rng, t)
        seen.append((t[t <= 0], x[t <= 0]))
        later.append((t[t > 0], x[t > 0]))
    estimate(block, cells_of(seen), cells_of(later), n)
    return block, dict(zip(PARAMETERS, block.theta()[0], strict=True))


def test_of_a_random_walk_the_walk_is_estimated():
    def walk(rng, t):
        return np.cumsum(rng.normal(size=len(t)) * np.sqrt(0.3 * np.diff(t, prepend=t[0])))

    block, own = estimated(walk)
    assert own["noise"] < 0.01
    rng = np.random.default_rng(1)
    t = np.sort(rng.uniform(-4, 0, 400))
    outlook = block(observed(t, walk(rng, t)), asked(np.array([0.0, 1.0])), 1)
    rise = outlook.deviation.square().diff()
    assert float(rise[0]) == pytest.approx(0.3, rel=0.2)


def test_of_lines_with_noise_the_noise_and_the_slopes_are_estimated():
    _, own = estimated(lambda rng, t: rng.normal() + rng.normal() * t + 0.3 * rng.normal(size=len(t)))
    assert own["noise"] == pytest.approx(0.09, rel=0.15)
    assert own["slope"] == pytest.approx(1.0, rel=0.5)
    assert own["walk"] < 0.01 and own["slope_walk"] < 0.01 and own["damping"] < 0.2


def test_series_of_very_different_sizes_have_variances_of_their_own():
    def wild(rng, t):
        return 10.0 ** rng.uniform(-3, 0) * rng.normal(size=len(t))

    def tame(rng, t):
        return 0.5 * rng.normal(size=len(t))

    assert estimated(wild)[1]["scale"] < 3 < 30 < estimated(tame)[1]["scale"]


def gone(own, *names):
    return all(own[name] < 2 * BOUNDS[name][0] for name in names)


def one_series(make, seed=0, rows=60, windows=30):
    """Parameters estimated from windows of one series, in two halves of time about each origin."""
    rng, block = np.random.default_rng(seed), StructuralBlock(1)
    t = np.sort(rng.uniform(0, 4, rows))
    x = make(rng, t)
    seen, later = [], []
    for origin in np.linspace(0.5, 3.5, windows):
        past, ahead = t <= origin, (t > origin) & (t <= origin + 1)
        seen.append((t[past] - origin, x[past]))
        later.append((t[ahead] - origin, x[ahead]))
    estimate(block, cells_of(seen), cells_of(later), 1)
    return dict(zip(PARAMETERS, block.theta()[0], strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_a_movement_that_does_not_pay_for_its_parameters_is_left_out(seed):
    still = one_series(lambda rng, t: rng.normal(size=len(t)), seed)
    assert gone(still, "slope", "slope_walk")
    line = one_series(lambda rng, t: t + 0.1 * rng.normal(size=len(t)), seed)
    assert line["slope"] > 0.1 and gone(line, "walk")


def test_intervals_know_that_few_values_were_to_decide():
    """Twelve of noise about a level: by normal densities alone too few new values would be inside."""
    inside = []
    for seed in range(40):
        rng, block = np.random.default_rng(seed), StructuralBlock(1)
        t, x = np.sort(rng.uniform(-3, 0, 12)), rng.normal(size=12)
        windows = [(t <= o, (t > o) & (t <= o + 1), o) for o in np.linspace(-2, -0.5, 8)]
        seen, later = ([(t[w[k]] - w[2], x[w[k]]) for w in windows] for k in (0, 1))
        estimate(block, cells_of(seen), cells_of(later), 1)
        told = block(observed(t, x), asked([0.2, 0.5, 0.8]), 1)
        off = np.abs(rng.normal(size=3) - told.location.numpy())
        inside.append((off < norm.ppf(0.9) * told.deviation.numpy()).mean())
    assert 0.73 < np.mean(inside) < 0.87


IN_ORDER = (
    compiled_filter,
    jumps_of_levels,
    outliers,
    own_frequency,
    sine_gains,
    smoother,
    state_space,
)


@pytest.mark.parametrize("module", IN_ORDER)
def test_sums_of_estimates_have_one_order_whoever_compiles_them(module):
    """Else a first fit on a fresh machine differs from those after it, by much more than rounding."""
    own = [f for f in vars(module).values() if isinstance(f, Dispatcher)]
    assert own and not any(f.targetoptions["fastmath"] for f in own)


def test_an_estimate_is_of_its_cells_alone_and_is_kept_for_these(monkeypatch):
    made, whole = [], marginal_likelihood._estimate
    monkeypatch.setattr(
        marginal_likelihood, "_estimate", lambda *begun: made.append(1) or whole(*begun)
    )

    def found(shift=0.0, windows=3):
        return one_series(lambda rng, t: rng.normal(size=len(t)) + shift, windows=windows)

    monkeypatch.setattr(marginal_likelihood, "_known", {})
    first = found()
    assert found() == first and len(made) == 1
    monkeypatch.setattr(marginal_likelihood, "_known", {})
    assert found() == first and len(made) == 2
    assert found(shift=1e-9) != first and found(windows=4) != first and len(made) == 4


def test_rows_that_several_windows_have_count_once_and_equal_values_do_not():
    def sample(*windows):
        cells = cells_of([(np.arange(len(x)) - len(x), np.array(x, dtype=float)) for x in windows])
        return Sample.of(cells, cells_of([(np.ones(1), np.ones(1)) for _ in windows]), 1)

    series = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0]
    assert sample(series).distinct == 7
    assert sample(series, series[:5], series[:3]).distinct == 7
    assert sample([0, 1, 0, 0, 1, 1, 1, 0]).distinct == 8  # of runs, which all differ


# -- the stochastic cycle


def sines(rng, n=30, rows=60, noise=0.1, periods=(0.4, 1.2)):
    """Noisy sines of own periods as (time, value) pairs, and their frequencies."""
    parts, frequencies = [], 2 * np.pi / rng.uniform(*periods, n)
    for frequency in frequencies:
        t = np.sort(rng.uniform(-4, 0, rows))
        wave = np.sin(frequency * t + rng.uniform(0, 6.3))
        parts.append((t, rng.normal() + wave + noise * rng.normal(size=rows)))
    return parts, frequencies


def wandering(rng, t, frequency=8.0, decay=0.4):
    """A stochastic cycle of variance 1."""
    pair, found = rng.normal(size=2), []
    for gap in np.diff(t, prepend=t[0]):
        left, c, s = np.exp(-decay * gap), np.cos(frequency * gap), np.sin(frequency * gap)
        turned = left * np.array([c * pair[0] + s * pair[1], c * pair[1] - s * pair[0]])
        pair = turned + np.sqrt(1 - left**2) * rng.normal(size=2)
        found.append(pair[0])
    return np.array(found)


def own_sine(rng, t):
    wave = np.sin(2 * np.pi * t / rng.uniform(0.4, 1.2) + rng.uniform(0, 6.3))
    return wave + 0.1 * rng.normal(size=len(t))


def ahead(block, make, n=20, seed=9):
    """Mean absolute errors of forecasts over one unit of time, and of the contexts' means."""
    rng, errors, plain = np.random.default_rng(seed), [], []
    for _ in range(n):
        t = np.r_[np.sort(rng.uniform(-4, 0, 60)), np.linspace(0, 1, 11)[1:]]
        x = make(rng, t)
        found = block(observed(t[:60], x[:60]), asked(t[60:]), 1).location
        errors.append(np.abs(found.numpy() - x[60:]).mean())
        plain.append(np.abs(x[:60].mean() - x[60:]).mean())
    return np.mean(errors), np.mean(plain)


def test_of_sines_of_own_periods_the_spread_is_estimated_and_each_is_forecast():
    block, own = estimated(own_sine)
    assert own["frequency_spread"] == pytest.approx(0.32, rel=0.3)  # of logarithms of periods
    assert own["noise"] / own["cycle"] == pytest.approx(0.02, rel=0.5)
    assert ahead(block, own_sine)[0] < 0.11  # of noise 0.1, whose mean size is 0.08


def test_a_pseudo_period_that_series_share_is_estimated():
    def make(rng, t):
        return wandering(rng, t) + 0.1 * rng.normal(size=len(t))

    block, own = estimated(make)
    assert own["frequency"] == pytest.approx(8.0, rel=0.03)
    assert own["frequency_spread"] < ONE_FREQUENCY
    assert own["cycle_decay"] == pytest.approx(0.4, rel=0.6)
    error, plain = ahead(block, make)
    assert error < 0.75 * plain


@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda rng, t: rng.normal(size=len(t)), id="white-noise"),
        pytest.param(lambda rng, t: rng.normal() + rng.normal() * t, id="exact-lines"),
        pytest.param(lambda rng, t: rng.normal() * t + 0.3 * rng.normal(size=len(t)), id="lines"),
        pytest.param(
            lambda rng, t: np.cumsum(rng.normal(size=len(t)) * np.diff(t, prepend=t[0]) ** 0.5),
            id="random-walk",
        ),
    ],
)
def test_what_does_not_oscillate_gets_no_cycle(make, seed):
    assert estimated(make, n=30, seed=seed)[1]["cycle"] < NO_CYCLE


def frequencies_of(parts, **options):
    """Of cells, by a block with frequencies of their own."""
    block = oscillating(
        StructuralBlock(1), **{"frequency": 9.0, "spread": 0.4, "decay": 1e-3} | options
    )
    return frequencies(cells_of(parts), block.theta(), block.prior())


def test_each_cells_frequency_is_found_from_its_own_context():
    parts, truth = sines(np.random.default_rng(0))
    np.testing.assert_allclose(frequencies_of(parts), truth, rtol=0.01)


def test_frequencies_of_readings_without_noise_are_exact():
    parts, truth = sines(np.random.default_rng(0), noise=0.0)
    quiet = dict.fromkeys(("noise", "walk", "slope_walk", "deviation"), 1e-8)
    np.testing.assert_allclose(frequencies_of(parts, decay=1e-4, **quiet), truth, rtol=1e-4)


def test_a_cells_frequency_depends_on_its_own_rows_and_not_on_their_units():
    parts, _ = sines(np.random.default_rng(1), n=5)
    wanted = frequencies_of(parts)
    np.testing.assert_array_equal([frequencies_of([p])[0] for p in parts], wanted)
    rng = np.random.default_rng(2)
    orders = [rng.permutation(len(t)) for t, _ in parts]
    mixed = [(t[o], x[o]) for (t, x), o in zip(parts, orders, strict=True)]
    np.testing.assert_array_equal(frequencies_of(mixed), wanted)
    for size in (1e-6, 1e6):
        scaled = frequencies_of([(t, size * x) for t, x in parts])
        np.testing.assert_allclose(scaled, wanted, rtol=1e-5)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_context_too_short_to_tell_has_the_mean_frequency(rows):
    time, value = cell(rows)
    assert frequencies_of([(time, value)])[0] == pytest.approx(9.0)


@pytest.mark.parametrize(
    ("time", "value"),
    [
        pytest.param(np.linspace(-3, 0, 20), np.full(20, 5.0), id="constant"),
        pytest.param(np.zeros(20), np.arange(20.0), id="at-one-time"),
        pytest.param(np.linspace(-3, 0, 20), np.arange(20.0), id="line"),
        pytest.param(np.r_[-1e6, np.linspace(-1e-6, 0, 20)], np.arange(21.0), id="long-ago"),
    ],
)
def test_frequencies_of_cells_that_say_little_are_harmless(time, value):
    found = frequencies_of([(time, value)])
    assert np.isfinite(found).all() and (found > 0).all()
    block = oscillating(StructuralBlock(1), spread=0.4)
    outlook = block(observed(time, value), asked(np.array([-0.7, 0.0, 1.0, 500.0])), 1)
    for tensor in (outlook.location, outlook.deviation, outlook.scale, outlook.parts):
        assert tensor.isfinite().all()


def test_the_search_is_over_what_a_long_context_says_last():
    rng = np.random.default_rng(3)
    t = np.sort(rng.uniform(-400, 0, 4000))
    x = np.sin(9.3 * t) + 0.1 * rng.normal(size=len(t))
    assert frequencies_of([(t, x)])[0] == pytest.approx(9.3, rel=1e-3)


def test_an_oscillation_is_a_part_of_its_own():
    parts, _ = sines(np.random.default_rng(4), n=1, noise=0.0)
    block = oscillating(StructuralBlock(1, 0, (7.0,)), frequency=9.0, spread=0.4, decay=1e-3)
    outlook = block(observed(*parts[0]), asked(np.linspace(0, 1, 50)), 1)
    assert outlook.parts.shape == (50, 5)
    assert float(outlook.parts[:, 3].std()) == pytest.approx(0.7, abs=0.1)
    assert (outlook.parts[:, 4].abs() < 0.3).all()


def test_small_series_beside_large_ones_have_their_own_size_and_spread():
    rng, block, n = np.random.default_rng(0), StructuralBlock(1), 40
    sizes, seen, later = 10.0 ** rng.uniform(-8, 0, n), [], []
    for size in sizes:
        t = np.sort(rng.uniform(-4, 1, 60))
        x = size * (3 + 0.5 * t + 0.1 * rng.normal(size=60))
        seen.append((t[t <= 0], x[t <= 0]))
        later.append((t[t > 0], x[t > 0]))
    estimate(block, cells_of(seen), cells_of(later), n)
    (time, value), size = seen[int(sizes.argmin())], sizes.min()
    outlook = block(observed(time, value), asked(np.array([0.5])), 1)
    assert abs(float(outlook.location[0]) / size - 3.25) < 0.2
    assert 0.05 < float(outlook.deviation[0]) / size < 0.3


# -- in a network


def scene(n_known=N_KNOWN):
    rng = np.random.default_rng(3)
    return [piece(rng, n, 6, n_known=n_known) for n in (7, 0, 12)]


@pytest.mark.parametrize("latent", LAYOUTS)
def test_an_untrained_network_is_the_structural_forecast(latent):
    model = built(3, 2, 1, 2.0, latent=latent, latent_size=4, hidden_size=8, **SETTINGS)
    batch = batch_of(scene())
    queries = batch.target.queries()
    outlook = model.emission.outlook(batch, queries, 2.0)
    made, _ = model(batch, queries, noise_for(3, 1, model.latent_size))
    torch.testing.assert_close(made.mean[0], outlook.location)
    # A likelihood's scale is at least a thousandth, so that none can diverge.
    torch.testing.assert_close(made.stddev[0], outlook.deviation, rtol=2e-3, atol=0)


@pytest.mark.parametrize("latent", LAYOUTS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_family_and_layout_takes_it(latent, likelihood):
    variables = {n: {"loc": 0.6, "scale": 0.4} for n in "abc"}
    given = {**SETTINGS, "latent": latent, "likelihood": likelihood, "variables": variables}
    model, batch = network(**given), batch_of(scene())
    made, _ = model(batch, batch.target.queries(), noise_for(3, 2, model.latent_size))
    assert made.mean.isfinite().all()
    made.mean.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("latent", LAYOUTS)
def test_in_single_precision_it_answers_the_same(latent):
    model = network(latent=latent, **SETTINGS)
    batch = batch_of(scene())
    queries, noise = batch.target.queries(), noise_for(3, 1, model.latent_size)
    wanted = model(batch, queries, noise)[0]
    model = model.float()
    found = model(batch, queries, noise)[0]
    assert model.dtype == torch.float32
    assert found.mean.dtype == model.emission.structure.log_theta.dtype == torch.float64
    torch.testing.assert_close(found.mean.double(), wanted.mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.stddev.double(), wanted.stddev, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("latent", LAYOUTS)
def test_slopes_of_its_distribution_in_time_are_right(latent):
    model = network(latent=latent, **SETTINGS)
    batch = batch_of(scene())
    queries = batch.target.queries()
    z = torch.zeros(1, len(queries), 3)

    def mean_and_scale(time):
        made = model.emit(z, batch, replace(queries, time=time))
        return torch.stack([made.mean, made.stddev])

    time, step = queries.time + 0.012345, 1e-5  # away from changes of the known column
    _, slope = torch.func.jvp(mean_and_scale, (time,), (torch.ones_like(time),))
    change = mean_and_scale(time + step) - mean_and_scale(time - step)
    torch.testing.assert_close(slope, change / (2 * step), rtol=1e-5, atol=1e-6)


def test_phases_are_those_of_the_clock():
    block = StructuralBlock(1, 0, (2.0,), harmonics=[2])
    none, time = np.zeros(5, dtype=int), np.linspace(-1, 1, 5)
    moved = block.columns(none, time, Clocks.of(1, None, torch.tensor([[np.pi / 2]])))
    np.testing.assert_allclose(moved, block.columns(none, time + 0.5, Clocks.of(1)), atol=1e-12)


def test_known_values_are_those_in_force():
    control, rng = path(4, changes=7), np.random.default_rng(0)
    row = rng.integers(0, 4, 60)
    times = np.r_[rng.uniform(-8, 4, 53), array_of(control.times[2])]
    row[53:] = 2  # at the very moments of change
    found, _ = Clocks.of(4, control).effects(row, times, 1)
    wanted = rows_of(control, torch.tensor(row)).at(torch.tensor(times))
    np.testing.assert_array_equal(found, wanted)


def test_slow_responses_are_those_of_their_equation():
    control, lag = path(2, changes=6), 0.7
    clocks, fine = Clocks.of(2, control, lag=lag), np.linspace(-6, 3, 200_001)
    for s in range(2):
        series = np.full(len(fine), s)
        u, r = (x[:, 0] for x in clocks.effects(series, fine, 1))
        rise = np.cumsum((u - r)[:-1] * np.diff(fine)) / lag
        np.testing.assert_allclose(r[1:] - r[0], rise, atol=1e-3)
    assert not Clocks.of(2, control).effects(np.zeros(3, dtype=int), np.zeros(3), 1)[1].any()


@pytest.mark.parametrize("lag", [0.0, 0.1])
def test_a_response_time_is_found(lag):
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(-6, 0, (1, 60)), axis=1)
    steps = torch.tensor(rng.normal(size=(1, 60, 1)))
    clocks = Clocks.of(1, StepControl(torch.tensor(times), steps), lag=lag)
    time, none = np.sort(rng.uniform(-6, 0, 300)), np.zeros(300, dtype=int)
    effect = clocks.effects(none, time, 1)[1 if lag else 0]
    value = 3 * effect[:, 0] + 0.2 * rng.normal(size=300)
    assert response_time(none, none, (none, time, value), clocks) == lag


def test_unknown_names_are_refused():
    with pytest.raises(LatentODEError, match="choose from state-space, last-value"):
        built(1, structure="arima")
    with pytest.raises(LatentODEError, match="harmonics"):
        ModelConfig(harmonics=0)
    plain = built(1, structure=None)
    with pytest.raises(LatentODEError, match="no structural block"):
        plain.emission.outlook(batch_of(scene()), batch_of(scene()).target.queries(), 1.0)


# -- in a forecaster


def trained(frame, schema, horizon, epochs=1, **options):
    return LatentODEForecaster(
        horizon,
        model=ModelConfig(latent_size=4, hidden_size=8, likelihood="normal", **options),
        training=TrainingConfig(max_epochs=epochs),
        verbose=False,
    ).fit(frame, schema)


@pytest.mark.parametrize("latent", ["joint", pytest.param("per-variable", marks=pytest.mark.slow)])
def test_a_sine_of_known_period_is_forecast_from_the_first_epoch(latent):
    rng = np.random.default_rng(0)
    t = np.r_[np.sort(rng.uniform(0, 120, 120)), np.linspace(120, 160, 41)[1:]]
    frame = pd.DataFrame(
        {"time": t, "y": 5 + 2 * np.sin(2 * np.pi * t / 20) + 0.3 * rng.normal(size=160)}
    )
    model = trained(frame[:120], Schema(targets=("y",), cycles=(20.0,)), 20.0, latent=latent)
    made = model.predict(frame[:120], frame["time"][120:].tolist())
    truth = 5 + 2 * np.sin(2 * np.pi * made["time"] / 20)
    assert (made["mean"] - truth).abs().mean() < 0.15  # the noise has 0.3, the sine a mean size of 1.3


@pytest.mark.parametrize("latent", LAYOUTS)
def test_lines_of_own_slopes_are_forecast_from_the_first_epoch(latent):
    rng = np.random.default_rng(1)
    parts, truth = [], []
    for i in range(8):
        t, level, slope = np.sort(rng.uniform(0, 40, 40)), rng.normal(0, 20), rng.normal()
        y = level + slope * t + rng.normal(size=40)
        parts.append(pd.DataFrame({"id": i, "time": t, "y": y}))
        truth.append(level + slope * 45.0)
    frame = pd.concat(parts, ignore_index=True)
    made = trained(frame, Schema(id="id", targets=("y",)), 10.0, latent=latent).predict(frame, [45.0])
    assert np.abs(made["mean"] - truth).mean() < 0.8  # of noise 1; the last values are off by 6


def test_in_the_end_it_knows_what_was_held_out_of_a_short_series():
    """A noisy line of forty rows: the last third is held out, and the rest does not say it is one."""
    off, least_squares = [], []
    for seed in range(3):
        rng = np.random.default_rng(1000 * seed + 40)
        t = np.sort(rng.uniform(0, 50, 50))
        y = 50 + 0.3 * t + rng.normal(size=50)
        frame = pd.DataFrame({"time": t[:40], "y": y[:40]})
        model = trained(frame, Schema(targets=("y",)), t[-1] - t[39], epochs=0)
        made = model.predict(frame, t[40:].tolist())["mean"]
        off.append(np.abs(made - y[40:]).mean())
        line = np.polyval(np.polyfit(t[:40], y[:40], 1), t[40:])
        least_squares.append(np.abs(line - y[40:]).mean())
    assert np.mean(off) < 1.1 * np.mean(least_squares)


def test_one_wild_value_at_the_end_does_not_decide_about_all_others():
    y = 5 + 0.3 * np.random.default_rng(0).normal(size=60)
    y[-1] += 10
    frame = pd.DataFrame({"time": np.arange(60.0), "y": y})
    made = trained(frame, Schema(targets=("y",)), 12.0, epochs=0).predict(frame, [61.0, 65.0, 71.0])
    assert (made["mean"] - 5).abs().max() < 1
    wide = made["q0.9"] - made["q0.1"]  # of noise 0.77; that the level has jumped is possible
    assert wide.min() > 1 and wide.max() < 4


def test_a_known_column_acts_at_once_and_in_what_ifs():
    rng = np.random.default_rng(2)
    u = (rng.random(300) < 0.3).astype(float)
    y = 10 + 3 * u + 0.2 * rng.normal(size=300)
    frame = pd.DataFrame({"time": np.arange(300.0), "u": u, "y": y})
    model = trained(frame[:250], Schema(targets=("y",), known_future=("u",)), 30.0)
    ahead = frame[250:].drop(columns="y")
    made = model.predict(frame[:250], ahead)["mean"].to_numpy()
    assert np.abs(made - y[250:]).mean() < 0.25
    other = model.predict(frame[:250], ahead.assign(u=1 - ahead["u"]))["mean"].to_numpy()
    np.testing.assert_allclose((other - made) / (1 - 2 * ahead["u"]), 3.0, atol=0.3)


@pytest.mark.parametrize("latent", LAYOUTS)
def test_a_saved_forecaster_says_the_same(latent, tmp_path):
    frame = waves(3)
    model = tiny(latent=latent, harmonics=2)
    model.fit(frame, Schema(id="id", cycles=(3.0,)))
    wanted = model.predict(frame, 2.0, 4)
    model.save(tmp_path / "model")
    again = LatentODEForecaster.load(tmp_path / "model")
    assert again.network_.sizes.periods == [3.0]
    pd.testing.assert_frame_equal(again.predict(frame, 2.0, 4), wanted, check_exact=True)


def test_cycles_of_a_calendar_are_counted_in_the_tables_own_time_unit():
    frame = waves(3)
    stamp = pd.Timestamp("2024-01-01") + pd.to_timedelta(frame["time"], unit="h")
    model = trained(frame.assign(time=stamp), Schema(id="id", cycles=("4h",)), "2h", 0)
    assert model.network_.emission.structure.periods == (2.0,)  # in units of model time


def test_readings_without_noise_are_joined_by_the_forecast():
    rng, parts = np.random.default_rng(5), []
    for i in range(30):
        t, period = np.sort(rng.uniform(0, 40, 80)), rng.uniform(8, 14)
        y = rng.uniform(0.5, 2) * np.sin(2 * np.pi * t / period + rng.uniform(0, 6.3))
        parts.append(pd.DataFrame({"id": i, "time": t, "y": y}))
    frame = pd.concat(parts, ignore_index=True)
    model = trained(frame, Schema(id="id", targets=("y",)), 8.0, epochs=2)
    made = model.predict(frame, 1e-6 * 8.0).set_index("id")["mean"]
    last = frame.groupby("id")["y"].last()
    assert (made - last).abs().mean() < 0.05 * frame["y"].std()


def test_without_any_training_it_forecasts_at_once():
    frame = waves(6)
    model = trained(frame, Schema(id="id"), 2.0, epochs=0)
    made = model.predict(frame, 2.0, 4)
    assert made["mean"].notna().all() and (made["q0.9"] > made["q0.1"]).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_beyond_the_horizon_what_was_learnt_fades_into_the_structural_forecast(layout):
    model = network(latent=layout, structure="state-space", attention_heads=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    batch = batch_of([piece(np.random.default_rng(0), 8, 0)])
    lead = torch.tensor([0.5, 1.0, 3.0, 50.0]) * model.time_scale
    queries = Queries(torch.zeros(4, dtype=torch.long), torch.zeros(4, dtype=torch.long), lead)
    found, _ = model(batch, queries, noise_for(1, latent=model.latent_size))
    outlook = model.emission.outlook(batch, queries, model.time_scale)
    away = ((found.mean[0] - outlook.location) / outlook.deviation).abs()
    assert away[0] > 1e-3 and away[3] < 0.02 * away[:2].max()
    ratio = found.stddev[0] / outlook.deviation
    assert (ratio[3] - 1).abs() < 0.01 < (ratio[0] - 1).abs()


def test_times_far_beyond_the_horizon_are_pointed_out():
    model = tiny(max_epochs=0).fit(waves(4, 20))
    with pytest.warns(UserWarning, match=r"5 times the horizon of 2 that the model has learnt"):
        model.predict(waves(4, 20), 10.0)
