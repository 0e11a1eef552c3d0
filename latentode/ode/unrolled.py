"""A plan of steps in plain operations, and slopes at knots: what a solve falls back on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latentode.ode.context import Context
from latentode.ode.external import VectorField
from latentode.ode.tableau import Plan

__all__ = ["slopes_at", "unroll"]


def unroll(
    plan: Plan,
    field: VectorField,
    z0: Tensor,
    times: Tensor,
    width: Tensor,
    context: Context | None,
    end_slope: bool = True,
) -> tuple[list[Tensor], list[Tensor]]:
    """The plan in plain operations: for export, and for functions with gradients of their own.

    Returns:
        States and slopes at the knots; without `end_slope` the last knot has none.
    """
    states, slopes, k, h = [z0], [], [], width[:, None]
    for step in plan.steps if end_slope else plan.steps[:-1]:
        z = states[-1]
        for weights in step.stages:
            y = z
            for weight, slope in zip(weights, k[step.first :], strict=True):
                if weight:
                    y = y + weight * h * slope
            k.append(field(times[len(k)], y, context))
        slopes.append(k[step.first])
        if step.weights:
            pairs = zip(step.weights, k[step.since :], strict=True)
            states.append(z + h * sum(weight * slope for weight, slope in pairs if weight))
    return states, slopes


def slopes_at(dynamics: VectorField, times: Tensor, states: Tensor, context: Context | None) -> Tensor:
    """dz/dt at all knots: of a module by one call, its rows laid out knot after knot."""
    rows, knots = times.shape
    if not isinstance(dynamics, nn.Module):  # a function may hold something of each row
        each = zip(times.unbind(1), states.unbind(1), strict=True)
        return torch.stack([dynamics(t, z, context) for t, z in each], dim=1)
    flat = dynamics(
        times.transpose(0, 1).reshape(-1),
        states.transpose(0, 1).reshape(rows * knots, -1),
        None if context is None else context.repeat(knots),
    )
    return flat.reshape(knots, rows, -1).transpose(0, 1)
