r"""Explicit one-step and multistep methods as data, and the plan of a solve that follows from them.

An explicit Runge-Kutta method with coefficients $a_{ij}, b_i, c_i$ takes the step

$$y_i = z_n + h \sum_{j<i} a_{ij} k_j, \qquad k_i = f(t_n + c_i h, y_i), \qquad
  z_{n+1} = z_n + h \sum_i b_i k_i.$$

The four-step Adams-Bashforth method evaluates f once a step and remembers:
$z_{n+1} = z_n + \frac{h}{24} (55 f_n - 59 f_{n-1} + 37 f_{n-2} - 9 f_{n-3})$. It starts with two
steps of Heun's third-order method and one of the three-step one: what these err by, $O(h^4)$ a step,
is made once and keeps the order, and three steps of RK4 would cost five evaluations more.

Both are *plans*: evaluations in a fixed order, each at a knot plus earlier slopes of the same step, and
knots that are earlier knots plus slopes. One sweep forwards and one backwards then serve every method.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

__all__ = ["NATIVE", "TABLEAUS", "Plan", "Step", "Tableau", "plan"]


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
    # Heun, Z. Math. Phys. 45 (1900) 23: the trapezoidal rule with a predictor.
    "heun2": Tableau(2, ((), (1.0,)), (1 / 2, 1 / 2), (0.0, 1.0)),
    # Heun, ibid.; HNW II.1, table 1.1.
    "heun3": Tableau(3, ((), (1 / 3,), (0.0, 2 / 3)), (1 / 4, 0.0, 3 / 4), (0.0, 1 / 3, 2 / 3)),
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

# Bashforth and Adams, An Attempt to Test the Theories of Capillary Action (1883); HNW III.1.
# Newest slope last. Stable on the real axis for h lambda > -0.3, RK4 for h lambda > -2.78.
ADAMS_BASHFORTH = {3: (5 / 12, -16 / 12, 23 / 12), 4: (-9 / 24, 37 / 24, -59 / 24, 55 / 24)}

NATIVE = (*TABLEAUS, "ab4")


@dataclass(frozen=True)
class Step:
    """One step of a plan; the last one only evaluates the slope at the last knot.

    Args:
        first: index of its first evaluation.
        positions: where its evaluations lie in the span, 0 to 1.
        stages: for each evaluation the weights of the step's earlier slopes, in spans.
        since: index of the evaluation that the first of `weights` belongs to.
        weights: weights of consecutive slopes in the next knot, in spans.
    """

    first: int
    positions: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    since: int
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
        >>> plan("rk4", 3).evaluations, plan("ab4", 10).evaluations
        (13, 15)
    """
    tableau = TABLEAUS["heun3" if method == "ab4" else method]
    starting = min(2, steps) if method == "ab4" else steps
    made: list[Step] = []
    for n in range(starting):
        made.append(_runge_kutta(tableau, n, steps))
    knots = [step.first for step in made]  # each knot's slope is its step's first evaluation
    for n in range(starting, steps):
        knots.append(_after(made))
        made.append(_adams_bashforth(knots, n, steps))
    made.append(Step(_after(made), (1.0,), ((),), 0, ()))
    return Plan(tuple(made), tuple(p for step in made for p in step.positions))


def _after(made: list[Step]) -> int:
    return made[-1].first + len(made[-1].positions)


def _runge_kutta(tableau: Tableau, n: int, steps: int) -> Step:
    first = n * len(tableau.b)
    stages = tuple(tuple(a / steps for a in row) for row in tableau.a)
    positions = tuple((n + c) / steps for c in tableau.c)
    return Step(first, positions, stages, first, tuple(b / steps for b in tableau.b))


def _adams_bashforth(knots: list[int], n: int, steps: int) -> Step:
    coefficients = ADAMS_BASHFORTH[min(n + 1, 4)]
    used = knots[-len(coefficients) :]
    since = used[0]
    weights = [0.0] * (knots[n] - since + 1)
    for weight, knot in zip(coefficients, used, strict=True):
        weights[knot - since] = weight / steps
    return Step(knots[n], (n / steps,), ((),), since, tuple(weights))
