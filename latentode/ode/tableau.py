r"""Explicit Runge-Kutta methods as data, the plan of a solve that follows from them, and the plan run.

An explicit Runge-Kutta method with coefficients $a_{ij}, b_i, c_i$ takes the step

$$y_i = z_n + h \sum_{j<i} a_{ij} k_j, \qquad k_i = f(t_n + c_i h, y_i), \qquad
  z_{n+1} = z_n + h \sum_i b_i k_i.$$

A *plan* is all evaluations of a solve in a fixed order, each at a knot plus earlier slopes of the same
step, and knots that are the knot before plus slopes. One sweep forwards and one backwards then serve
every method; `unroll` is the plan in plain operations, which every faster sweep has to equal.

A method looks at the vector field at its *nodes* only, and the weight of a node is the sum of its
$b_i h$. The *windows* of the nodes cut the span into parts as long as these weights, each around its
node. A control path u(t) that is given by its mean over each window is integrated exactly,
$\sum_j w_j \bar u_j = \int u\,dt$, however shortly it jumps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from latentode.ode.checks import check_slope
from latentode.ode.context import Context

__all__ = [
    "NATIVE",
    "TABLEAUS",
    "Plan",
    "Step",
    "Tableau",
    "VectorField",
    "Windows",
    "plan",
    "slope_of",
    "slopes_at",
    "unroll",
    "windows",
]

VectorField = Callable[[Tensor, Tensor, Context | None], Tensor]


@dataclass(frozen=True)
class Tableau:
    """Butcher's coefficients of an explicit method.

    Args:
        order: the global error is of this power of the step.
        a: row i holds the weights of the slopes before stage i, lower triangular, i entries.
        b: weights of the slopes in the step.
        c: where each stage lies in the step.
    """

    order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]


# HNW: Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I (2nd ed., 1993).
TABLEAUS = {
    # Euler, Institutionum calculi integralis (1768); HNW I.7.
    "euler": Tableau(1, ((),), (1.0,), (0.0,)),
    # Runge, Math. Ann. 46 (1895) 167; HNW II.1.
    "midpoint": Tableau(2, ((), (1 / 2,)), (0.0, 1.0), (0.0, 1 / 2)),
    # Kutta, Z. Math. Phys. 46 (1901) 435: "the" Runge-Kutta method; HNW II.1, table 1.2.
    "rk4": Tableau(
        4,
        ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
        (1 / 6, 1 / 3, 1 / 3, 1 / 6),
        (0.0, 1 / 2, 1 / 2, 1.0),
    ),
    # Kutta, ibid.: the 3/8 rule, smaller error constants for three more multiplications.
    "rk38": Tableau(
        4,
        ((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)),
        (1 / 8, 3 / 8, 3 / 8, 1 / 8),
        (0.0, 1 / 3, 2 / 3, 1.0),
    ),
}
NATIVE = tuple(TABLEAUS)


@dataclass(frozen=True)
class Step:
    """One step of a plan; the last one only evaluates the slope at the last knot.

    Args:
        first: index of its first evaluation.
        positions: where its evaluations lie in the span, 0 to 1.
        stages: for each evaluation the weights of the step's earlier slopes, in spans.
        weights: weights of the step's slopes in the next knot, in spans; none in the last step.
    """

    first: int
    positions: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]

    @cached_property
    def pairs(self) -> tuple[tuple[tuple[float, int], ...], ...]:
        """`stages` as (weight, evaluation) pairs, those of weight 0 left out."""
        numbered = (
            zip(row, range(self.first, self.first + len(row)), strict=True) for row in self.stages
        )
        return tuple(tuple((weight, e) for weight, e in row if weight) for row in numbered)


@dataclass(frozen=True, eq=False)  # compared by identity: hashing hundreds of steps takes its time
class Plan:
    """All steps of a solve over the span [0, 1].

    Args:
        steps: in order of time.
        positions: where every evaluation lies in the span.
    """

    steps: tuple[Step, ...]
    positions: tuple[float, ...]

    @property
    def evaluations(self) -> int:
        """How often f is called."""
        return len(self.positions)


@lru_cache(maxsize=256)
def plan(method: str, steps: int) -> Plan:
    """The plan of `steps` equal steps of a native method.

    Example:
        >>> plan("rk4", 3).evaluations, plan("euler", 10).evaluations
        (13, 11)
    """
    tableau = TABLEAUS[method]
    made = [_step(tableau, n, steps) for n in range(steps)]
    made.append(Step(steps * len(tableau.b), (1.0,), ((),), ()))
    return Plan(tuple(made), tuple(p for step in made for p in step.positions))


def _step(tableau: Tableau, n: int, steps: int) -> Step:
    stages = tuple(tuple(a / steps for a in row) for row in tableau.a)
    positions = tuple((n + c) / steps for c in tableau.c)
    return Step(n * len(tableau.b), positions, stages, tuple(b / steps for b in tableau.b))


@dataclass(frozen=True)
class Windows:
    """Which part of the span [0, 1] each node of a solve speaks for, in order of the solve.

    Every step has as many nodes, of which the last may be the first of the next step.

    Args:
        steps: how many there are.
        begins: where the window of each node begins, shape `(nodes,)`, double precision, and so are
            the others.
        ends: where it ends; windows of nodes with a weight follow one another without a gap.
        starts: 0 and the middles between each node and the next.
        starts_back: the same seen from the end: 1 and the middles, descending.
        nodes: where the nodes lie, shape `(nodes,)`.
        weights: of the nodes of one step, in spans, shape `(stages,)`.
    """

    steps: int
    begins: Tensor
    ends: Tensor
    starts: Tensor
    starts_back: Tensor
    nodes: Tensor
    weights: Tensor

    @property
    def places(self) -> Tensor:
        """Which node each stage of each step is, shape `(steps, stages)`."""
        each, device = (len(self.nodes) - 1) // self.steps, self.nodes.device
        first = each * torch.arange(self.steps, device=device)
        return first[:, None] + torch.arange(len(self.weights), device=device)

    @property
    def edges(self) -> Tensor:
        """Where the parts of a step begin that are as long as its weights, and the end of the last.

        Shape `(steps, stages + 1)`.
        """
        begins = torch.arange(self.steps, device=self.nodes.device) / self.steps
        return begins.to(self.weights)[:, None] + pad(self.weights.cumsum(0), (1, 0))

    @property
    def own(self) -> Tensor:
        """The weights of nodes that no other step shares, 0 for the others, shape `(stages,)`."""
        stages = len(self.weights)
        shared = (len(self.nodes) - 1) // self.steps < stages
        return pad(self.weights[1:-1], (1, 1)) if shared else self.weights


@lru_cache(maxsize=256)
def windows(method: str, steps: int) -> tuple[tuple[float, ...], ...]:
    """The fields of `Windows` but `steps`, of `steps` equal steps of a native method.

    Example:
        >>> windows("rk38", 1)[1]
        (0.125, 0.5, 0.875, 1.0)
    """
    made = plan(method, steps)
    weight = dict.fromkeys(made.positions, 0.0)
    for step in made.steps[:-1]:
        for position, b in zip(step.positions, step.weights, strict=True):
            weight[position] += b
    nodes = sorted(weight)
    between = tuple((a + b) / 2 for a, b in pairwise(nodes))
    # A node without a weight, which only leads to others, speaks for what is nearest to it.
    near = list(pairwise((0.0, *between, 1.0)))
    found, reached = [], 0.0
    for node, nearest in zip(nodes, near, strict=True):
        end = min(reached + weight[node], 1.0)
        found.append((reached, end) if weight[node] else nearest)
        reached = end
    begins, ends = zip(*found, strict=True)
    tableau = TABLEAUS[method]
    each = dict.fromkeys(sorted(tableau.c), 0.0)
    for place, b in zip(tableau.c, tableau.b, strict=True):
        each[place] += b / steps
    starts = (0.0, *between), (1.0, *between[::-1])
    return begins, ends, *starts, tuple(nodes), tuple(each.values())


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
        States and slopes at the knots, in the dtype of z0; without `end_slope` the last knot has none.
    """
    states, slopes, k, h = [z0], [], [], width[:, None].to(z0.dtype)
    for step in plan.steps if end_slope else plan.steps[:-1]:
        z = states[-1]
        for weights in step.stages:
            y = z
            for weight, slope in zip(weights, k[step.first :], strict=True):
                if weight:
                    y = y + weight * h * slope
            k.append(slope_of(field, times[len(k)], y, context))
        slopes.append(k[step.first])
        if step.weights:
            pairs = zip(step.weights, k[step.first :], strict=True)
            states.append(z + h * sum(weight * slope for weight, slope in pairs if weight))
    return states, slopes


def slope_of(field: VectorField, t: Tensor, z: Tensor, context: Context | None) -> Tensor:
    """dz/dt in the dtype of z, of the one shape that it can have.

    Raises:
        SolveError: as `check_slope`.
    """
    value = field(t, z, context)
    check_slope(field, value, z)
    return value.to(z.dtype)


def slopes_at(dynamics: VectorField, times: Tensor, states: Tensor, context: Context | None) -> Tensor:
    """dz/dt at all knots: of a module by one call, its rows laid out knot after knot."""
    rows, knots = times.shape
    if not isinstance(dynamics, nn.Module):  # a function may hold something of each row
        each = zip(times.unbind(1), states.unbind(1), strict=True)
        return torch.stack([slope_of(dynamics, t, z, context) for t, z in each], dim=1)
    flat = slope_of(
        dynamics,
        times.transpose(0, 1).reshape(-1),
        states.transpose(0, 1).reshape(rows * knots, states.shape[2]),
        None if context is None else context.repeat(knots),
    )
    return flat.reshape(knots, rows, states.shape[2]).transpose(0, 1)
