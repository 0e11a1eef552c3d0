"""The structural block: regressions in closed form, mixed by evidence, and nothing of a companion's."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from making import N_KNOWN, batch_of, built, network, noise_for, piece, tiny, waves

from latentode import LatentODEError, LatentODEForecaster, ModelConfig, Schema, TrainingConfig
from latentode.data.batch import Observations
from latentode.model.structure import Regression, StructuralBlock
from latentode.nn.likelihoods import LIKELIHOODS
from latentode.nn.sequences import BLOCK, CellRows
from latentode.ode import StepControl

pytestmark = pytest.mark.usefixtures("float64")
PERIODS = (1.0, 3.7)
LAYOUTS = ("joint", "per-variable")
MIXTURE = {"structure": "mixture", "periods": [2.0], "harmonics": 2, "attention_heads": 2}
LEVEL, TREND, CYCLES, CYCLES_AND_KNOWN, EVERYTHING = (2 + 2 * i for i in range(5))  # the shorter ones


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
    """The block away from its tame start, its gate not 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in block.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return block


def path(n_series=1, seed=1, changes=9):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(-6, 3, (n_series, changes)), axis=1)
    return StepControl(torch.tensor(times), torch.tensor(rng.normal(size=(n_series, changes, 1))))


def rows_of(control, row):
    return StepControl(*(getattr(control, name)[row] for name in ("times", "values")))


def test_sums_over_cells_are_those_of_numpy():
    rng = np.random.default_rng(0)
    sizes = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 3, 0]
    owner = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    table, weight = rng.normal(size=(len(owner), 3)), rng.uniform(size=(len(owner), 2))
    rows = CellRows.of(torch.tensor(owner), len(sizes))
    found = rows.products(torch.tensor(table), torch.tensor(weight)).numpy()
    for c in range(len(sizes)):
        own, w = table[owner == c], weight[owner == c]
        expected = np.einsum("ip,ih,iq->hpq", own, w, own)
        np.testing.assert_allclose(found[c], expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(rows.pick(rows.lay(torch.tensor(table))), torch.tensor(table))


def test_members_are_discounted_ridge_regressions():
    time, value = cell(50)
    control = path()
    block = StructuralBlock(1, 1, PERIODS, harmonics=1)
    query = np.array([0.0, 0.4, 2.5])
    outlook = block(observed(time, value), asked(query), 1, control)

    def known(t):
        row = torch.zeros(len(t), dtype=torch.long)
        return rows_of(control, row).at(torch.tensor(t))[:, 0].numpy()

    def columns(t):
        slope = np.where(t > 0, 30 * (1 - np.exp(-np.maximum(t, 0) / 30)), t)
        angle = 2 * np.pi * t[:, None] / np.array(PERIODS)
        return np.column_stack([np.ones_like(t), slope, np.cos(angle), np.sin(angle), known(t)])

    chosen = ([0], [0, 1], [0, 2, 3, 4, 5], [0, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6])
    ridge = np.array([0.01, *[0.1] * 6])
    for place, c in zip((LEVEL, TREND, CYCLES, CYCLES_AND_KNOWN, EVERYTHING), chosen, strict=True):
        for shift, half_life in enumerate((1.0, 30.0)):
            x, weight = columns(time)[:, c], 2 ** (time / half_life)
            normal = (x.T * weight) @ x + np.diag(ridge[c])
            coefficients = np.linalg.solve(normal, (x.T * weight) @ (value - value[-1]))
            expected = value[-1] + columns(query)[:, c] @ coefficients
            ahead = columns(query)[:, c]
            leverage = np.einsum("qp,pr,qr->q", ahead, np.linalg.inv(normal), ahead)
            k = place + shift
            np.testing.assert_allclose(outlook.means[:, k].detach(), expected, rtol=1e-8)
            np.testing.assert_allclose(outlook.leverages[:, k].detach(), leverage, rtol=1e-6)
    np.testing.assert_allclose(outlook.means[:, 0].detach(), value[-1])
    assert not outlook.means[:, 1].any()


def test_the_residual_variance_of_many_rows_is_that_of_their_noise():
    time, value = cell(4000, span=40.0)
    block = StructuralBlock(1, 0, PERIODS, harmonics=1)
    outlook = block(observed(time, value), asked(np.array([0.0, 0.5])), 1)
    everything = outlook.variances[:, -1].detach() / (1 + outlook.leverages[:, -1].detach())
    np.testing.assert_allclose(everything, 0.09, rtol=0.1)
    # Members without a slope or cycles have little weight, but disagree and so widen the mixture.
    deviation = outlook.deviation.detach()
    assert (deviation > 0.28).all() and (deviation < 0.36).all()


def test_a_mixture_has_the_mean_and_the_variance_of_its_members():
    time, value = cell(30)
    outlook = stirred(StructuralBlock(1, 0, PERIODS))(observed(time, value), asked(time + 7), 1)
    p, m, v = (x.detach() for x in (outlook.weights, outlook.means, outlook.variances))
    torch.testing.assert_close(p.sum(1), torch.ones(30))
    torch.testing.assert_close((p * m).sum(1), outlook.location.detach())
    second = (p * (v + m**2)).sum(1) - outlook.location.detach() ** 2
    torch.testing.assert_close(second, outlook.deviation.detach() ** 2)
    assert (outlook.growth >= 1).all()


def test_the_order_of_rows_companions_and_other_variables_do_not_matter():
    block = stirred(StructuralBlock(2, 1, PERIODS))
    control = path(3)
    parts = [observed(*cell(n, seed=n), variable=v, series=s)
             for s, v, n in ((0, 0, 40), (0, 1, 3), (1, 0, 1), (2, 1, 100))]  # fmt: skip
    seen, query = Observations.cat(parts), asked(np.linspace(0, 3, 7))
    together = block(seen, query, 3, control)
    mixed = seen.select(torch.randperm(len(seen), generator=torch.Generator().manual_seed(0)))
    back = torch.arange(6, -1, -1)
    stirred_up = block(mixed, query.select(back), 3, control)
    alone = block(parts[0], query, 1, rows_of(control, slice(0, 1)))
    torch.testing.assert_close(stirred_up.location[back], together.location, rtol=1e-9, atol=1e-9)
    for name in ("location", "deviation", "growth", "weights"):
        wanted = getattr(together, name)
        torch.testing.assert_close(getattr(alone, name), wanted, rtol=1e-9, atol=1e-9)


def test_an_answer_does_not_depend_on_what_else_is_asked():
    block = stirred(StructuralBlock(1, 0, PERIODS))
    seen = observed(*cell(40))
    many = block(seen, asked(np.linspace(0, 9, 90)), 1).location
    one = block(seen, asked(np.linspace(0, 9, 90)[41:42]), 1).location
    torch.testing.assert_close(one, many[41:42], rtol=1e-10, atol=1e-10)


def test_regressions_scale_with_their_values():
    time, value = cell(60)
    block = StructuralBlock(1, 0, PERIODS)
    one = block(observed(time, value), asked(np.array([0.3, 2.0])), 1).means
    other = block(observed(time, 1e3 * value), asked(np.array([0.3, 2.0])), 1).means
    torch.testing.assert_close(other, 1e3 * one, rtol=1e-9, atol=1e-9)


def test_a_constant_added_to_values_is_added_to_regressions():
    time, value = cell(60)
    block = StructuralBlock(1, 0, PERIODS)
    one = block(observed(time, value), asked(np.array([0.3, 2.0])), 1).means[:, LEVEL:]
    other = block(observed(time, value + 50.0), asked(np.array([0.3, 2.0])), 1).means[:, LEVEL:]
    torch.testing.assert_close(other, one + 50.0, rtol=1e-9, atol=1e-9)


def test_a_slope_dies_away_and_is_continuous_at_the_origin():
    block = StructuralBlock(1)
    with torch.no_grad():
        block.log_damping.fill_(np.log(2.0))
    time = np.linspace(-8, 0, 80)
    query = np.array([-1e-7, 0.0, 1e-7, 1e3])
    trend = block(observed(time, 0.5 * time), asked(query), 1).means[:, TREND + 1].detach().numpy()
    np.testing.assert_allclose(np.diff(trend[:3]), 0.5e-7, rtol=0.02)
    np.testing.assert_allclose(trend[3], 0.5 * 2.0, rtol=0.02)


def test_gradients_are_those_of_finite_differences():
    time, value = cell(14)
    value = torch.tensor(value, requires_grad=True)
    block = stirred(StructuralBlock(1, 1, (1.3,), harmonics=1))
    control, query = path(), asked(np.array([0.2, 1.7]))

    def answer(value, *changed):
        named = dict(zip(dict(block.named_parameters()), changed, strict=True))
        outlook = torch.func.functional_call(block, named, (observed(time, value), query, 1, control))
        return outlook.location, outlook.deviation, outlook.growth

    parameters = tuple(p.detach().clone().requires_grad_() for p in block.parameters())
    assert torch.autograd.gradcheck(answer, (value, *parameters), atol=1e-6, rtol=1e-4, fast_mode=True)
    for output in answer(value, *parameters)[:2]:
        found = torch.autograd.grad(output.sum(), (value, *parameters), retain_graph=True)
        assert all(g.isfinite().all() and g.any() for g in found)


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
    outlook = block(seen, asked(np.array([0.0, 1.0, 500.0])), 1, control)
    outlook.location.sum().backward(retain_graph=True)
    outlook.deviation.sum().backward()
    for tensor in (outlook.location, outlook.deviation, outlook.growth):
        assert tensor.isfinite().all()
    assert (outlook.deviation > 0).all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in block.parameters())
    if len(set(value)) <= 1:
        expected = value[0] if len(value) else 0.0
        regressions = outlook.means[:, LEVEL:].detach()
        torch.testing.assert_close(regressions, torch.full_like(regressions, expected))


def test_two_columns_that_are_one_share_its_effect():
    rng = np.random.default_rng(0)
    times = np.linspace(-6, 3, 91)
    u = rng.normal(size=91)
    one = StepControl(torch.tensor(times[None]), torch.tensor(u[None, :, None]))
    twice = StepControl(one.times, torch.tensor(u[None, :, None]).repeat(1, 1, 2))
    seen, query = observed(times[:61], 3 * u[:61]), asked(times[61:])
    found = [
        StructuralBlock(1, k)(seen, query, 1, c).means[:, -1].detach().numpy()
        for k, c in ((1, one), (2, twice))
    ]
    np.testing.assert_allclose(found[0], 3 * u[61:], atol=0.05)
    np.testing.assert_allclose(found[1], found[0], atol=0.02)


def test_known_values_are_those_in_force():
    control, rng = path(4, changes=7), np.random.default_rng(0)
    row = torch.tensor(rng.integers(0, 4, 60))
    times = torch.cat([torch.tensor(rng.uniform(-8, 4, 53)), control.times[2]])
    row[53:] = 2  # at the very moments of change
    assert torch.equal(control.of_rows(row, times), rows_of(control, row).at(times))


def test_a_regression_of_unit_columns_needs_no_ridge_to_be_solved():
    gram = torch.tensor([[[[4.0, 4.0 * 1e8], [4.0 * 1e8, 4.0 * 1e16]]]])  # collinear, sizes apart
    moment = torch.tensor([[[4.0, 4.0e8]]])
    found = Regression.solve(
        gram, moment, torch.tensor([[4.0]]), torch.full((1, 2), 1e-12), torch.ones(1, 1)
    )
    assert found.coefficients.isfinite().all()
    fitted = found.coefficients[0, 0, 0] + 1e8 * found.coefficients[0, 0, 1]
    torch.testing.assert_close(fitted, torch.tensor(1.0), rtol=1e-6, atol=0)


# -- in a network


def scene(n_known=N_KNOWN):
    rng = np.random.default_rng(3)
    return [piece(rng, n, 6, n_known=n_known) for n in (7, 0, 12)]


@pytest.mark.parametrize("latent", LAYOUTS)
def test_an_untrained_network_is_the_structural_forecast(latent):
    model = built(3, 2, 1, 2.0, latent=latent, latent_size=4, hidden_size=8, **MIXTURE)
    batch = batch_of(scene())
    queries = batch.target.queries()
    outlook = model.emission.outlook(batch, queries, 2.0)
    made, _ = model(batch, queries, noise_for(3, 1, model.latent_size))
    off = (made.mean[0] - outlook.location).abs() / outlook.deviation
    assert float(off.max().detach()) < 0.6
    ratio = made.stddev[0] / outlook.deviation
    assert float(ratio.min().detach()) > 0.6 and float(ratio.max().detach()) < 1.6


@pytest.mark.parametrize("latent", LAYOUTS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_family_and_layout_takes_it_and_trains_all_of_it(latent, likelihood):
    variables = {n: {"loc": 0.6, "scale": 0.4} for n in "abc"}
    given = {**MIXTURE, "latent": latent, "likelihood": likelihood, "variables": variables}
    model = network(**given)
    batch = batch_of(scene())
    noise = noise_for(3, 2, model.latent_size)
    made, _ = model(batch, batch.target.queries(), noise)
    assert made.mean.isfinite().all()
    made.mean.sum().backward()
    of_block = dict(model.emission.structure.named_parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in of_block.values())


@pytest.mark.parametrize("latent", LAYOUTS)
def test_in_single_precision_it_answers_the_same(latent):
    model = network(latent=latent, **MIXTURE)
    batch = batch_of(scene())
    queries, noise = batch.target.queries(), noise_for(3, 1, model.latent_size)
    wanted = model(batch, queries, noise)[0]
    model = model.float()
    found = model(batch, queries, noise)[0]
    assert found.mean.dtype == torch.float32
    torch.testing.assert_close(found.mean.double(), wanted.mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.stddev.double(), wanted.stddev, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("latent", LAYOUTS)
def test_slopes_of_its_distribution_in_time_are_right(latent):
    model = network(latent=latent, **MIXTURE)
    batch = batch_of(scene())
    queries = batch.target.queries()
    z = torch.zeros(1, len(queries), 3)

    def mean_and_scale(time):
        made = model.emit(z, batch, replace(queries, time=time))
        return torch.stack([made.mean, made.stddev])

    time, step = queries.time + 0.012345, 1e-5  # away from changes of the known column
    _, slope = torch.func.jvp(mean_and_scale, (time,), (torch.ones_like(time),))
    change = mean_and_scale(time + step) - mean_and_scale(time - step)
    torch.testing.assert_close(slope, change / (2 * step), rtol=1e-6, atol=1e-7)


def test_it_refuses_what_it_replaces_and_unknown_names():
    for other in ({"anchor": False}, {"value_units": "recent"}, {"scale_growth": True}):
        with pytest.raises(LatentODEError, match="structural block"):
            built(1, **MIXTURE, **other)
    with pytest.raises(LatentODEError, match="choose from mixture"):
        built(1, structure="arima")
    with pytest.raises(LatentODEError, match="harmonics"):
        ModelConfig(harmonics=0)
    plain = built(1)
    with pytest.raises(LatentODEError, match="no structural block"):
        plain.emission.outlook(batch_of(scene()), batch_of(scene()).target.queries(), 1.0)


# -- in a forecaster


def trained(frame, schema, horizon, epochs=1, **options):
    return LatentODEForecaster(
        horizon,
        model=ModelConfig(structure="mixture", latent_size=4, hidden_size=8, **options),
        training=TrainingConfig(max_epochs=epochs),
        verbose=False,
    ).fit(frame, schema)


@pytest.mark.parametrize("latent", LAYOUTS)
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
    model = tiny(latent=latent, structure="mixture", harmonics=2)
    model.fit(frame, Schema(id="id", cycles=(3.0,)))
    wanted = model.predict(frame, 2.0, 4)
    model.save(tmp_path / "model")
    again = LatentODEForecaster.load(tmp_path / "model")
    assert again.network_.sizes.periods == [3.0]
    pd.testing.assert_frame_equal(again.predict(frame, 2.0, 4), wanted, check_exact=True)


def test_cycles_of_a_calendar_are_counted_in_the_tables_own_time_unit():
    frame = waves(3)
    stamp = pd.Timestamp("2024-01-01") + pd.to_timedelta(frame["time"], unit="h")
    model = trained(frame.assign(time=stamp), Schema(id="id", cycles=("4h",)), "2h")
    (first, *_) = model.network_.emission.structure.frequencies
    assert first == pytest.approx(2 * np.pi / 2)  # half of a cycle in one unit of model time
