"""The same training step by other packages; one that is not installed is reported as absent."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor
from workload import Workload

from latentode.ode import HermiteTrajectory

__all__ = [
    "diffrax_joint",
    "diffrax_vmap",
    "installed",
    "torchdiffeq_shared",
    "torchdiffeq_union",
    "torchode",
]

Step = Callable[[], Tensor]


def installed(*names: str) -> bool:
    """Whether all packages can be imported."""
    return all(importlib.util.find_spec(name) is not None for name in names)


def torchode(work: Workload, tolerance: float) -> Step:
    """torchode: every row has its own steps and its own evaluation times."""
    import torchode as to

    t_eval, real = work.padded()

    def f(t: Tensor, y: Tensor) -> Tensor:
        return work.field(t, y)

    term = to.ODETerm(f, with_stats=False)
    controller = to.IntegralController(atol=tolerance, rtol=tolerance, term=term)
    solver = to.AutoDiffAdjoint(to.Tsit5(term=term), controller)

    def solve(z0: Tensor) -> Tensor:
        start = torch.zeros_like(work.t1)
        problem = to.InitialValueProblem(y0=z0, t_start=start, t_end=work.t1, t_eval=t_eval)
        return solver.solve(problem).ys[real]

    return lambda: work.gradient(solve)


def torchdiffeq_shared(work: Workload, tolerance: float, knots: int = 32) -> Step:
    """torchdiffeq's dopri5 with its adjoint, rows on their own scale but one grid of knots."""
    import torchdiffeq

    class Field(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.field = work.field

        def forward(self, s: Tensor, z: Tensor) -> Tensor:
            return work.t1[:, None] * self.field(s * work.t1, z)

    s, field = torch.linspace(0, 1, knots), Field()

    def solve(z0: Tensor) -> Tensor:
        states = torchdiffeq.odeint_adjoint(field, z0, s, rtol=tolerance, atol=tolerance).transpose(
            0, 1
        )
        slopes = work.field(work.t1, states.flatten(0, 1)).view_as(states)
        return HermiteTrajectory(work.t1[:, None] * s, states, slopes).at(work.rows, work.times)

    return lambda: work.gradient(solve)


def torchdiffeq_union(work: Workload, tolerance: float) -> Step:
    """What reference latent-ODE code does: dopri5 on the union of all times of the batch."""
    import torchdiffeq

    union, place = torch.cat([torch.zeros(1), work.times]).unique(return_inverse=True)

    def solve(z0: Tensor) -> Tensor:
        states = torchdiffeq.odeint(
            lambda t, z: work.field(t, z), z0, union, rtol=tolerance, atol=tolerance
        )
        return states[place[1:], work.rows]

    return lambda: work.gradient(solve)


def _jax_parameters(work: Workload) -> tuple:
    import jax.numpy as jnp

    def pair(layer: torch.nn.Linear) -> tuple:
        return jnp.asarray(layer.weight.detach().numpy()), jnp.asarray(layer.bias.detach().numpy())

    return tuple(pair(layer) for layer in work.field.layers), pair(work.decoder)


def _jax_field(layers: tuple, z: object) -> object:
    import jax.numpy as jnp

    for weight, bias in layers[:-1]:
        z = jnp.tanh(z @ weight.T + bias)
    weight, bias = layers[-1]
    return z @ weight.T + bias


def _jax_step(work: Workload, states: Callable) -> Step:
    """A jitted gradient of the loss; `states(layers, z0)` returns states at padded times."""
    import jax
    import jax.numpy as jnp

    _, real = work.padded()
    mask = jnp.asarray(real.numpy())
    target = torch.zeros(real.shape)
    target[real] = work.target
    targets, count = jnp.asarray(target.numpy()), len(work.target)
    (layers, decoder), z0 = _jax_parameters(work), jnp.asarray(work.z0.numpy())

    def loss(z0: object, layers: tuple, decoder: tuple) -> object:
        value = (states(layers, z0) @ decoder[0].T + decoder[1])[..., 0]
        return jnp.where(mask, (value - targets) ** 2, 0.0).sum() / count

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))

    def step() -> Tensor:
        made = jax.block_until_ready(gradient(z0, layers, decoder))
        return torch.cat([torch.tensor(x.tolist()).flatten() for x in jax.tree.leaves(made)])

    step.timed = lambda: jax.block_until_ready(gradient(z0, layers, decoder))  # type: ignore[attr-defined]
    return step


def diffrax_vmap(work: Workload, tolerance: float, max_steps: int = 64) -> Step:
    """diffrax as its documentation shows it: one solve a series, vmap, SaveAt its own times."""
    import diffrax
    import jax
    import jax.numpy as jnp

    times, _ = work.padded()
    ts, t1 = jnp.asarray(times.numpy()), jnp.asarray(work.t1.numpy())
    controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)

    def states(layers: tuple, z0: object) -> object:
        term = diffrax.ODETerm(lambda t, y, args: _jax_field(layers, y))

        def one(z0: object, t1: object, ts: object) -> object:
            return diffrax.diffeqsolve(
                term,
                diffrax.Tsit5(),
                0.0,
                t1,
                None,
                z0,
                saveat=diffrax.SaveAt(ts=ts),
                stepsize_controller=controller,
                max_steps=max_steps,
            ).ys

        return jax.vmap(one)(z0, t1, ts)

    return _jax_step(work, states)


def diffrax_joint(work: Workload, steps: int) -> Step:
    """diffrax in an expert's hands: one joint solve in s on a fixed mesh, then interpolation."""
    import diffrax
    import jax
    import jax.numpy as jnp

    times, _ = work.padded()
    t1 = jnp.asarray(work.t1.numpy())[:, None]
    position = jnp.asarray((times / work.t1[:, None]).numpy()) * steps
    k = jnp.clip(position.astype(int), 0, steps - 1)
    u = (position - k)[..., None]

    def states(layers: tuple, z0: object) -> object:
        term = diffrax.ODETerm(lambda s, y, args: t1 * _jax_field(layers, y))
        mesh = jnp.linspace(0, 1, steps + 1)
        z = diffrax.diffeqsolve(
            term,
            diffrax.Tsit5(),
            0.0,
            1.0,
            None,
            z0,
            saveat=diffrax.SaveAt(ts=mesh),
            stepsize_controller=diffrax.StepTo(mesh),
            max_steps=steps,
        ).ys
        f = t1 * _jax_field(layers, z) / steps
        z, f = jnp.swapaxes(z, 0, 1), jnp.swapaxes(f, 0, 1)
        near = jax.vmap(lambda x, k: (x[k], x[k + 1]))
        (za, zb), (fa, fb) = near(z, k), near(f, k)
        v = 1 - u
        return (1 + 2 * u) * v * v * za + u * u * (1 + 2 * v) * zb + u * v * (v * fa - u * fb)

    return _jax_step(work, states)
