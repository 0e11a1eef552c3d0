"""The same model's training step arranged otherwise: on a union grid, and as it was before.

Both hold the package's own encoder, head, dynamics, decoder and likelihood, so that only the
arrangement differs.
"""

from __future__ import annotations

import torch
import torchdiffeq
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from latentode.data import Batch, Observations
from latentode.model.network import LatentODE
from latentode.model.objective import Terms, negative_elbo
from latentode.nn.gru import GRU
from latentode.nn.sequences import Events, last_values
from latentode.ode import Context, HermiteTrajectory

__all__ = ["before_loss", "union_loss"]


def _terms(model: LatentODE, batch: Batch, state: object, z: Tensor, asked: Observations) -> Terms:
    """The ELBO's terms of states at `asked`, targets first, then the context."""
    last = last_values(batch.context, len(batch), model.layout.n_variables).float()
    raw = model.layout.decoder(z, asked.variable)
    distribution = model.likelihood.distribution(raw, last[asked.series, asked.variable])
    log_prob = distribution.log_prob(asked.value.float())
    n, split = len(batch), len(batch.target)
    totals, counts = [], []
    for part in (slice(0, split), slice(split, None)):
        series = asked.series[part]
        totals.append(log_prob.new_zeros(n).index_add(0, series, log_prob[part]))
        counts.append(torch.bincount(series, minlength=n))
    return Terms(totals[0], totals[1], state.kl(), counts[0], counts[1])  # type: ignore[attr-defined]


def _union_events(context: Observations, n: int, variables: int) -> tuple[Events, Tensor]:
    """Every series on all times of the batch, and where it has something (reference code's layout)."""
    times, place = context.time.unique(return_inverse=True)
    value = torch.zeros(n, len(times), variables)
    observed = torch.zeros_like(value)
    value[context.series, place, context.variable] = context.value.float()
    observed[context.series, place, context.variable] = 1.0
    length = torch.full((n,), len(times))
    events = Events(times.float().expand(n, -1), value, observed, length)
    return events, observed.any(dim=2, keepdim=True)


def _torch_weights(gru: GRU) -> list[Tensor]:
    """The parameters of a GRU as torch lays them out: two weights, two biases."""
    of_state = torch.cat([gru.candidate_bias.new_zeros(2 * gru.hidden_size), gru.candidate_bias])
    return [gru.input_gates.weight, gru.state_weight, gru.input_gates.bias, of_state]


def _torch_gru(gru: GRU, features: Tensor | PackedSequence) -> tuple[Tensor, Tensor]:
    """What torch's own GRU makes of padded or packed features."""
    own = nn.GRU(gru.input_size, gru.hidden_size, batch_first=True)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    weights = dict(zip(names, _torch_weights(gru), strict=True))
    return torch.func.functional_call(own, weights, (features,))


def _ode_rnn(model: LatentODE, events: Events, here: Tensor, features: Tensor) -> Tensor:
    """The ODE-RNN over all times of the batch; a series is updated where it has an event."""
    encoder = model.layout.encoder
    weights = _torch_weights(encoder.gru)  # type: ignore[arg-type,union-attr]
    state = features.new_zeros(len(features), len(encoder.gru.candidate_bias))  # type: ignore[arg-type,union-attr]
    before = events.time[:, 0]
    for i in range(features.shape[1]):
        now = events.time[:, i]
        step = (now - before)[:, None]
        middle = state + step / 2 * encoder.dynamics(before, state)  # type: ignore[operator]
        state = state + step * encoder.dynamics(before, middle)  # type: ignore[operator]
        state = torch.where(here[:, i], torch.gru_cell(features[:, i], state, *weights), state)
        before = now
    return state


def union_loss(model: LatentODE, batch: Batch, encoder: str) -> Tensor:
    """The loss with encoder and solver on the union of the batch's times.

    The RNN reads every time of the batch for every series, and dopri5 (rtol 1e-3, atol 1e-4) stops at
    each of them, as in the code of Rubanova et al. (2019).
    """
    n, variables = len(batch), model.layout.n_variables
    events, here = _union_events(batch.context, n, variables)
    last = last_values(batch.context, n, variables).float()
    origin = torch.zeros(n)
    features = events.features(origin, last)
    if encoder == "gru":
        summary = _torch_gru(model.layout.encoder.gru, features)[0][:, -1]  # type: ignore[arg-type,union-attr]
    else:
        summary = _ode_rnn(model, events, here, features)
    state = model.layout.head(summary, batch.static.float())
    z0 = state.sample(torch.randn(1, n, model.latent_size))[0]

    def field(t: Tensor, z: Tensor) -> Tensor:
        return model.dynamics(t.expand(n), z, Context())

    found = []
    for part in (batch.target, batch.context):
        distance, place = part.time.abs().unique(return_inverse=True)
        sign = 1.0 if part is batch.target else -1.0
        grid = torch.cat([torch.zeros(1), distance.float()]) * sign
        path = torchdiffeq.odeint(field, z0, grid, method="dopri5", rtol=1e-3, atol=1e-4)
        found.append(path[1:][place, part.series])  # type: ignore[index]
    asked = Observations.cat([batch.target, batch.context])
    return negative_elbo(_terms(model, batch, state, torch.cat(found), asked))


def before_loss(model: LatentODE, batch: Batch) -> Tensor:
    """The loss of a GRU model on own clocks as one writes it first.

    A packed GRU, the same RK4 steps unrolled and left to backpropagation, values gathered between
    knots with plain indexing.
    """
    n, variables = len(batch), model.layout.n_variables
    noise = torch.randn(1, n, model.latent_size)  # before torch's GRU draws weights that are replaced
    seen = batch.context.rescale_time(model.time_scale, torch.float32)
    events = Events.of(seen, n, variables, False, None, model.layout.units)
    last = last_values(seen, n, variables)
    features = events.features(torch.zeros(n), last)
    packed = pack_padded_sequence(features, events.length, batch_first=True, enforce_sorted=False)
    summary = _torch_gru(model.layout.encoder.gru, packed)[1][0]  # type: ignore[arg-type,union-attr]
    state = model.layout.head(summary, batch.static.float())
    z0 = state.sample(noise)[0]
    found = []
    for part, end in ((batch.target, torch.ones(n)), (batch.context, batch.start.float())):
        path = _unrolled(model, z0, end)
        k = (part.time.float() / end[part.series] * model.solver.intervals).long()
        k = k.clamp(max=model.solver.intervals - 1)
        found.append(_between(path, part, k))
    asked = Observations.cat([batch.target, batch.context])
    return negative_elbo(_terms(model, batch, state, torch.cat(found), asked))


def _unrolled(model: LatentODE, z: Tensor, end: Tensor) -> HermiteTrajectory:
    """RK4 on equal steps from 0 to `end`, each operation on autograd's tape."""
    count = model.solver.intervals * model.solver.steps
    h, f = end / count, lambda t, z: model.dynamics(t, z, Context())
    times, states, slopes = [torch.zeros_like(end)], [z], []
    for _ in range(count):
        t = times[-1]
        k1 = f(t, z)
        k2 = f(t + h / 2, z + h[:, None] / 2 * k1)
        k3 = f(t + h / 2, z + h[:, None] / 2 * k2)
        k4 = f(t + h, z + h[:, None] * k3)
        z = z + h[:, None] / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        times.append(t + h)
        states.append(z)
        slopes.append(k1)
    slopes.append(f(times[-1], z))
    return HermiteTrajectory(*(torch.stack(x, dim=1) for x in (times, states, slopes)))


def _between(path: HermiteTrajectory, asked: Observations, k: Tensor) -> Tensor:
    """Cubic Hermite interpolation with four gathers."""
    rows = asked.series
    start, end = path.times[rows, k], path.times[rows, k + 1]
    h = (end - start)[:, None]
    u = (asked.time.float() - start)[:, None] / h
    v = 1 - u
    za, zb = path.states[rows, k], path.states[rows, k + 1]
    of_states = (1 + 2 * u) * v * v * za + u * u * (1 + 2 * v) * zb
    return of_states + h * u * v * (v * path.slopes[rows, k] - u * path.slopes[rows, k + 1])
