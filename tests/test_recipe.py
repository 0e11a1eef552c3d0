"""The parts of the training recipe: losses, balance, schedules, averaging, early stopping."""

import numpy as np
import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from making import batch_of, forecaster, network, noise_for, piece, watching, waves
from test_training import some_data, some_module, trainer_in
from torch.distributions import Normal, StudentT

from latentode.data.batch import Series
from latentode.data.task import Forecasting
from latentode.data.windows import Timeline
from latentode.errors import LatentODEError
from latentode.model.objective import (
    GAINS,
    SCALE_WEIGHT,
    absolute_error,
    elbo_terms,
    log_likelihood,
    negative_elbo,
    squared_error,
    variance_weights,
)
from latentode.training.callbacks import BestWeights, average_weights
from latentode.training.metrics import RunningMean

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*treespec.*")


def decoded(kind):
    """Parameters that take gradients, and values, for 4 samples of 6 queries."""
    generator = torch.Generator().manual_seed(0)
    loc, raw = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64).requires_grad_()
    loc, raw = loc.detach().requires_grad_(), raw.detach().requires_grad_()
    value = torch.randn(6, generator=generator, dtype=torch.float64)
    made = Normal(loc, raw.exp()) if kind is Normal else StudentT(3.0, loc, raw.exp())
    return loc, raw, made, value


@pytest.mark.parametrize("kind", [Normal, StudentT])
@pytest.mark.parametrize("gain", [squared_error, absolute_error])
def test_a_point_loss_moves_the_location_by_the_error_of_the_mean_and_the_scale_by_likelihood(
    kind, gain
):
    loc, raw, made, value = decoded(kind)
    by_loss = torch.autograd.grad(gain(made, value).sum(), (loc, raw))
    loc, raw, made, value = decoded(kind)
    by_likelihood = torch.autograd.grad(log_likelihood(made, value).sum(), raw)[0]
    error = loc.mean(dim=0) - value
    slope = error if gain is squared_error else error.sign()
    torch.testing.assert_close(by_loss[0], -(slope / len(loc)).expand(4, 6))
    torch.testing.assert_close(by_loss[1], SCALE_WEIGHT * by_likelihood)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_power_of_variances_moves_locations_from_likelihood_to_least_squares(power):
    rng = np.random.default_rng(0)
    location = torch.tensor(rng.normal(size=(1, 40))).requires_grad_()
    scale, value = torch.tensor(rng.uniform(0.4, 2, (1, 40))), torch.tensor(rng.normal(size=40))
    variable = torch.arange(40) % 3
    made = Normal(location, scale)
    gain = variance_weights(made, variable, power) * log_likelihood(made, value)
    mean = torch.stack([scale[:, variable == v].square().mean() for v in range(3)])[variable]
    expected = (value - location) / scale ** (2 - 2 * power) / mean**power
    torch.testing.assert_close(torch.autograd.grad(gain.sum(), location)[0], expected.detach())


@pytest.mark.parametrize("unit", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_weights_by_variances_are_the_same_in_every_precision_and_unit(dtype, unit):
    scale = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)
    variable = torch.tensor([0, 0, 1, 1])
    exact = variance_weights(Normal(0.0, scale), variable, 0.5)
    found = variance_weights(Normal(0.0, (unit * scale).to(dtype)), variable, 0.5)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), exact, rtol=1e-2, atol=0.0)
    assert len(variance_weights(Normal(0.0, scale[:, :0]), variable[:0], 0.5)) == 0


def test_terms_are_weighed_by_variances_where_that_is_asked_for():
    rng = np.random.default_rng(0)
    batch, noise, model = batch_of([piece(rng, 9, 7), piece(rng, 4, 12)]), noise_for(2), network()
    target = batch.target
    made = model(batch, target.queries(), noise)[0]
    each = variance_weights(made, target.variable, 0.5) * log_likelihood(made, target.value)
    terms = elbo_terms(model, batch, noise, False, variance_power=0.5)
    expected = torch.zeros(2, dtype=each.dtype).index_add(0, target.series, each)
    torch.testing.assert_close(terms.target, expected)
    assert not torch.allclose(terms.target, elbo_terms(model, batch, noise, False).target)


UNITS = torch.tensor([0.5, 3.0, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("units", [None, UNITS])
@pytest.mark.parametrize("gain", GAINS.values())
def test_balanced_terms_are_means_over_each_variable_first(gain, units):
    rng = np.random.default_rng(0)
    batch, noise = batch_of([piece(rng, 9, 7), piece(rng, 4, 12)]), noise_for(2)
    model = network()
    terms = elbo_terms(model, batch, noise, gain=gain, balanced=True, units=units)
    means = []
    for part in (batch.target, batch.context):
        unit = None if units is None else units[part.variable]
        each = gain(model(batch, part.queries(), noise)[0], part.value, unit)
        own = [each[part.variable == v].mean() for v in part.variable.unique()]
        means.append(torch.stack(own).mean())
    n, m = len(batch.target), len(batch.context)
    expected = -(n * means[0] + 0.3 * m * means[1] - 0.5 * terms.kl.sum()) / (n + 0.3 * m)
    torch.testing.assert_close(negative_elbo(terms, 0.5, 0.3), expected)
    torch.testing.assert_close(terms.n_target.sum().item(), float(n))


@pytest.mark.parametrize(("loss", "power"), [("mse", 2), ("mae", 1), ("likelihood", 0)])
def test_errors_count_in_their_variables_units(loss, power):
    _, _, made, value = decoded("normal")
    unit = torch.linspace(0.5, 3.0, len(value), dtype=value.dtype)
    error = made.mean.mean(dim=0) - value
    each = {"mse": 0.5 * error**2, "mae": error.abs(), "likelihood": 0.0 * error}[loss]
    change = GAINS[loss](made, value, unit) - GAINS[loss](made, value)
    torch.testing.assert_close(change, -(unit**power - 1) * each)


@pytest.mark.parametrize("balanced", [True, False])
def test_a_running_mean_does_not_depend_on_the_batches(balanced):
    rng = np.random.default_rng(0)
    each, variable = torch.tensor(rng.normal(size=50)), torch.tensor(rng.choice([0, 2, 3], 50))
    expected = float(each.mean())
    if balanced:
        expected = np.mean([float(each[variable == v].mean()) for v in (0, 2, 3)])
    for size in (1, 7, 50):
        mean = RunningMean(5, balanced)
        for part in torch.arange(50).split(size):
            mean.update(each[part], variable[part])
        assert float(mean.compute()) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("balance", ["observations", "variables"])
@pytest.mark.parametrize(("loss", "metric"), [("mse", "val_mse"), ("mae", "val_mae")])
def test_the_validation_loss_is_the_metric_that_the_loss_names(tmp_path, loss, metric, balance):
    data = some_data()
    module = some_module(data, loss=loss, balance=balance)
    found = trainer_in(tmp_path).validate(module, data, verbose=False)[0]
    assert found["val_loss"] == found[metric] != found["val_nll"]
    (batch,) = data.val_dataloader()
    error = (module.predictive(batch).mean.mean(0) - batch.target.value).detach()
    each = error.square() if loss == "mse" else error.abs()
    parts = [each[batch.target.variable == v].mean() for v in (0, 1)]
    expected = sum(parts) / 2 if balance == "variables" else each.mean()
    assert found[metric] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("loss", GAINS)
@pytest.mark.parametrize("variational", [True, False])
def test_every_parameter_receives_a_gradient_under_every_loss(loss, variational):
    data = some_data()
    module = some_module(data, loss=loss, balance="variables", variational=variational)
    with torch.no_grad():  # away from the start, at which a decoder corrects nothing
        module.model.layout.decoder.layers[-1].weight.normal_()
    module.log = lambda *args, **options: None
    module.trainer = type(
        "Trainer", (), {"global_step": 10, "current_epoch": 0, "global_rank": 0, "world_size": 1}
    )()
    module.training_step(next(iter(data.train_dataloader())), 0).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def rates(tmp_path, epochs=6, **options):
    """The learning rate of each step, 20 an epoch."""
    found = []

    class Watch(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            found.append(optimizer.param_groups[0]["lr"])

    data = some_data(windows_per_epoch=20, batch_size=1)
    module = some_module(data, lr=0.01, structure=None, **options)
    trainer_in(tmp_path, max_epochs=epochs, callbacks=[Watch()]).fit(module, data)
    return found


def test_a_constant_rate_warms_up_and_stays(tmp_path):
    found = rates(tmp_path, schedule="constant")
    assert found[0] == pytest.approx(0.01 / 50)
    assert found[50:] == [0.01] * 70


def test_a_plateau_halves_the_rate(tmp_path, monkeypatch):
    monkeypatch.setattr(RunningMean, "compute", lambda self: torch.tensor(1.0))
    found = rates(tmp_path, epochs=8, schedule="plateau", monitor="val_mae")
    assert found[0] == pytest.approx(0.01 / 50)
    assert found[50:100] == pytest.approx([0.01] * 50)
    assert found[100:] == pytest.approx([0.005] * 60)


def test_averaged_weights_are_validated_kept_and_left_at_the_end(tmp_path):
    raw, best = [], BestWeights()

    class Watch(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            raw.append(pl_module.model.layout.decoder.layers[-1].weight.detach().clone())

    data = some_data()
    module = some_module(data, lr=0.05)
    keep = ModelCheckpoint(tmp_path, filename="last", save_top_k=-1)
    callbacks = [Watch(), best, average_weights(0.9), keep]
    trainer = trainer_in(tmp_path, max_epochs=4, callbacks=callbacks, enable_checkpointing=True)
    trainer.fit(module, data)
    mean = raw[0]
    for n, weight in enumerate(raw[1:], start=1):
        decay = min(0.9, (1 + n) / (10 + n))
        mean = decay * mean + (1 - decay) * weight
    name = "model.layout.decoder.layers.2.weight"
    assert name in module.state_dict()
    torch.testing.assert_close(module.state_dict()[name], mean)
    assert not torch.allclose(mean, raw[-1])
    saved = torch.load(keep.best_model_path, weights_only=True)["state_dict"]
    torch.testing.assert_close(saved[name], mean)
    best.restore(module)
    found = trainer_in(tmp_path).validate(module, data, verbose=False)[0]
    assert found["val_loss"] == pytest.approx(best.best, rel=1e-5)


def test_the_forecaster_keeps_the_weights_that_are_best_by_the_monitored_metric():
    frame = waves(6, 20)
    options = {"latent_size": 3, "hidden_size": 8, "solver": {"intervals": 2}, "verbose": False}
    recipe = {"ema_decay": 0.9, "observation_dropout": 0.3, "monitor": "val_mae", "lr": 0.05}
    recipe |= {"likelihood": "normal", "windows_per_epoch": 64, "batch_size": 16}
    model = forecaster(horizon=2.0, max_epochs=4, loss="mse", **options, **recipe)
    model.fit(frame, validation=waves(3, 20, seed=1))
    assert {"val_nll", "val_mse", "val_mae", "val_loss"} <= set(model.history_)
    assert (model.history_["val_loss"] == model.history_["val_mse"]).all()
    best = model.history_["val_mae"].min()
    model.network_.emission.strength.fill_(1.0)  # of the weights as they are, before any is shrunk
    data, found = watching(model, frame, waves(3, 20, seed=1))
    mean = RunningMean(2, balanced=False)
    for batch in data.val_dataloader():
        error = found.predictive(batch).mean.mean(0) - batch.target.value
        mean.update(error.abs().detach(), batch.target.variable)
    # Equal, unless nothing that was learnt was as good as no training.
    assert float(mean.compute()) <= best * (1 + 1e-5)


@pytest.mark.parametrize(("cuts", "per_epoch"), [(10, 10), (2, 3), (None, 512)])
def test_an_epoch_has_as_many_cuts_as_asked_and_one_per_series(cuts, per_epoch, monkeypatch):
    drawn = []
    batch = Series.batch
    monkeypatch.setattr(Series, "batch", lambda *a: drawn.append(len(a[1])) or batch(*a))
    options = {"latent_size": 2, "hidden_size": 8, "solver": {"intervals": 1}, "verbose": False}
    frame = waves(3, 20)
    options["network"] = {"likelihood": "normal"}  # nothing is tried before
    model = forecaster(2.0, max_epochs=2, windows_per_epoch=cuts, batch_size=64, **options)
    model.fit(frame, validation=frame)
    examples = 33  # at least 32, as many of each series, to estimate the structural block from
    # Of validation several per series, as it has horizons, before the first epoch too.
    held_out = Forecasting(2.0).held_out_cuts(Timeline.of(model.read(frame))).sum()
    assert held_out > 3
    assert sum(drawn) == examples + held_out + 2 * (per_epoch + held_out)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"loss": "hinge"}, "loss 'hinge' is unknown; choose from likelihood, mse, mae"),
        ({"balance": "series"}, "balance 'series' is unknown"),
        ({"schedule": "steps"}, "schedule 'steps' is unknown"),
        ({"monitor": "train_loss"}, "monitor 'train_loss' is unknown"),
        ({"ema_decay": 1.0}, "ema_decay must be"),
        ({"observation_dropout": 1.0}, "observation_dropout must be"),
        ({"windows_per_epoch": 0}, "windows_per_epoch must be from 1 to"),
    ],
)
def test_what_the_recipe_does_not_know_is_refused_before_training(option, said):
    with pytest.raises(LatentODEError, match=said):
        forecaster(horizon=2.0, verbose=False, **option).fit(waves(3, 12))


@pytest.mark.parametrize("units", [[1.0], [1.0, 0.0], [1.0, np.inf]])
def test_units_are_a_positive_number_per_variable(units):
    with pytest.raises(LatentODEError, match="2 positive numbers"):
        some_module(some_data(), error_units=units)
