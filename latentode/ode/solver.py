r"""Solver: from (dynamics, z0, span) to a trajectory, every row on its own clock.

Row $i$ runs from $t_{0,i}$ to $t_{1,i}$. With $s = (t - t_0)/(t_1 - t_0)$ all rows share
$s \in [0, 1]$ and $dz/ds = (t_1 - t_0) f(t_0 + s (t_1 - t_0), z, c)$: no union of the batch's times,
and no row's span enters another's. The solver makes knots; a `Trajectory` answers at any time.

Where the context holds a step control, $f$ jumps in time, and a step across a jump is exact to first
order only, whatever the method. So each row's span may be cut at its own jumps
$t_0 < \tau_1 < \dots < \tau_n < t_1$ and solved from one to the next, under a control that stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from numbers import Real

import torch
from torch import Tensor

from latentode.errors import SolveError, check_whole
from latentode.ode.adjoint import integrate
from latentode.ode.checks import check_finite, check_problem
from latentode.ode.context import Context, known_path
from latentode.ode.control import LinearControl
from latentode.ode.exact import solve_exactly
from latentode.ode.external import RescaledField, odeint
from latentode.ode.kernels import checkpoint_kernel, constant, kernel_of
from latentode.ode.tableau import (
    NATIVE,
    Plan,
    VectorField,
    Windows,
    plan,
    slopes_at,
    unroll,
    windows,
)
from latentode.ode.trajectory import HermiteTrajectory, Stats, Trajectory

__all__ = ["ADAPTIVE", "ADJOINTS", "METHODS", "NATIVE", "Solver", "VectorField"]

ADAPTIVE = ("dopri5", "dopri8", "bosh3")
METHODS = (*NATIVE, *ADAPTIVE)
EXACT = "exact"
ADJOINTS = ("direct", "checkpoint", "backsolve")


@dataclass(frozen=True)
class Solver:
    """How a differential equation is solved and differentiated.

    Args:
        method: one of `METHODS`, or *exact*, the closed form of `LinearDynamics` and
            `CompartmentDynamics`, from each jump of a step control to the next. Those in `NATIVE` are
            this package's own: they take `steps` equal steps per interval, a row's answer is the
            same whatever its batch, nothing waits for the device. *rk38*, Kutta's 3/8 rule, is the
            one to start with: at the cost of *rk4* it is up to 2.6 times as exact
            (`experiments/solver_choice`). The others are torchdiffeq's adaptive methods, which take
            the steps that the batch's worst row needs, so companions may change a row within the
            tolerance.
        intervals: knots per solve, less one; the trajectory interpolates between them.
        steps: steps of a fixed-step method in each interval.
        rtol: relative tolerance of adaptive methods.
        atol: absolute tolerance of adaptive methods.
        adjoint: *direct* is the exact gradient of the discrete solution, in memory linear in steps:
            the fastest. *checkpoint* (native methods) is the same gradient from the knots alone,
            each step taken once more on the way back: choose it when memory is short. *backsolve*
            solves the continuous adjoint backwards (Chen et al., 2018, section 2): memory constant
            in steps, a gradient exact only to tolerance. Over long contracting spans it is wrong in
            silence, for what contracted grows on the way back: with rates near 3 over four units of
            time at rtol 1e-3, the gradient by z0 was off ninefold (`experiments/memory`).
        jumps: most jumps of a `StepControl` within a row's span for which a fixed-step method solves
            from each jump to the next, with `intervals` each time: then the solution is of the
            method's order throughout, at the cost of one solve more for each jump of the row that has
            the most. A row that has more of them, or any if 0, is solved in one with its control by
            means around each evaluation: the integral of the control is exact, and what a jump adds
            to the error is of second order in the step. A `LinearControl` is always solved so, with
            its own values wherever these have the right integral. *exact* and adaptive methods solve
            from each jump to the next, adaptive ones from each time of a `LinearControl` to the next,
            whatever `jumps`. A path of another kind, a subclass too, is asked by its `at` where the
            field is evaluated, and an exported solve always takes means.

    Raises:
        SolveError: for an argument of another type or out of its range.

    Example:
        >>> decay = lambda t, z, context: -z
        >>> t0, t1 = torch.zeros(2), torch.tensor([1.0, 3.0])
        >>> path = Solver().solve(decay, torch.ones(2, 1), t0, t1)
        >>> [round(z, 3) for z in path(torch.tensor([[0.5], [2.5]])).flatten().tolist()]
        [0.607, 0.082]
    """

    method: str = "rk38"
    intervals: int = 6
    steps: int = 1
    rtol: float = 1e-5
    atol: float = 1e-6
    adjoint: str = "direct"
    jumps: int = 0

    def __post_init__(self) -> None:
        _check_choice("method", self.method, (*METHODS, EXACT))
        _check_choice("adjoint", self.adjoint, ADJOINTS)
        for name, least in (("intervals", 1), ("steps", 1), ("jumps", 0)):
            check_whole(name, getattr(self, name), least, SolveError)
        for name in ("rtol", "atol"):
            _check_positive(name, getattr(self, name))
        if self.adjoint == "checkpoint" and self.method not in NATIVE:
            raise SolveError(
                f"checkpoint is for {', '.join(NATIVE)}; {self.method} goes with direct or backsolve"
            )
        if self.adjoint != "direct" and self.method == EXACT:
            raise SolveError("exact has no steps to differentiate; it goes with direct")

    def solve(
        self,
        dynamics: VectorField,
        z0: Tensor,
        t0: Tensor,
        t1: Tensor,
        context: Context | None = None,
    ) -> Trajectory:
        """Carries each row from its t0 to its t1, forwards or backwards in time.

        Native methods do not look at the states they make, so that a solve can be exported and
        captured as a CUDA graph; call `check_finite()` on the result where that matters.

        Args:
            dynamics: a `Dynamics`, another module or any function of (t, z, context).
            z0: states at t0, shape `(rows, latent)`, a floating dtype.
            t0: shape `(rows,)`, in the dynamics' unit of time, the dtype of z0.
            t1: shape `(rows,)`; where it equals t0 the path is a point.
            context: what else each row's vector field is told.

        Returns:
            A trajectory with `intervals + 1` knots per row; where control paths jump, so many for each
            solve from one jump to the next.

        Raises:
            SolveError: if shapes or dtypes disagree, or an adaptive method's step underflows or its
                state becomes non-finite; on a CPU also if a time is not finite, or those of a control
                path do not ascend; if the field's result is not of the shape of the states.
        """
        check_problem(z0, t0, t1, context)
        if self._jumping(context) and not torch.compiler.is_compiling():
            return self._from_jump_to_jump(dynamics, z0, t0, t1, context)
        return self._solve(dynamics, z0, t0, t1, context)

    def _jumping(self, context: Context | None) -> bool:
        """Whether a solve is to begin anew where the control path jumps."""
        path = None if context is None else known_path(context.control)
        if path is None:
            return False
        if isinstance(path, LinearControl):
            return self.method in ADAPTIVE
        return self.jumps > 0 or self._at_all_jumps

    @property
    def _at_all_jumps(self) -> bool:
        """Whether there are no fixed steps over whose evaluations a control could be averaged."""
        return self.method == EXACT or self.method in ADAPTIVE

    def _from_jump_to_jump(
        self,
        dynamics: VectorField,
        z0: Tensor,
        t0: Tensor,
        t1: Tensor,
        context: Context | None,
    ) -> Trajectory:
        """Solves between successive jumps; past a row's last one over no time at all."""
        path = None if context is None else known_path(context.control)
        assert context is not None and path is not None
        most = path.times.shape[1] if self._at_all_jumps else self.jumps
        jumps, whole = path.jumps(t0, t1, most)
        pieces: list[Trajectory] = []
        z, within = z0, t0
        for begin, end in pairwise([t0, *jumps.unbind(1), t1]):
            # Where no time passes the values before stay, so that companions change no slope.
            within = torch.where(begin == end, within, (begin + end) / 2)
            pieces.append(self._solve(dynamics, z, begin, end, context.held(within, whole)))
            z = pieces[-1].final
        return pieces[0].join(*pieces[1:], kinks=True)

    def _solve(
        self,
        dynamics: VectorField,
        z0: Tensor,
        t0: Tensor,
        t1: Tensor,
        context: Context | None,
    ) -> Trajectory:
        """The solve of a span in one."""
        if self.method == EXACT:
            return solve_exactly(dynamics, z0, self._knots(t0, t1), context)
        context = self._seen(context, t0, t1)
        if self._native:
            return self._solve_natively(dynamics, z0, t0, t1, context)
        return self._solve_externally(dynamics, z0, t0, t1, context).check_finite()

    @property
    def _native(self) -> bool:
        return self.method in NATIVE and self.adjoint != "backsolve"

    def _seen(self, context: Context | None, t0: Tensor, t1: Tensor) -> Context | None:
        """The context as a fixed-step method is to see it: a step control by its means."""
        if context is None or known_path(context.control) is None or self.method in ADAPTIVE:
            return context
        method = "rk38" if self.method == "rk4" and not self._native else self.method
        steps = self.intervals * self.steps
        own = Windows(steps, *(constant(part, t0.double()) for part in windows(method, steps)))
        return context.averaged(t0, t1, own)

    def advance(
        self,
        dynamics: VectorField,
        z0: Tensor,
        t0: Tensor,
        t1: Tensor,
        context: Context | None = None,
    ) -> Tensor:
        """z at t1 alone, equal to `solve(...).final`.

        For many short solves, as between the events of an ODE-RNN, and for layers: no slopes for a
        trajectory are evaluated, and native methods skip the bookkeeping that only pays over many
        steps.

        Args:
            dynamics: as for `solve`, and so are the others.

        Returns:
            Shape `(rows, latent)`.
        """
        check_problem(z0, t0, t1, context)
        checkpoint = self.method in NATIVE and self.adjoint == "checkpoint"
        jumping = self._jumping(context) and not torch.compiler.is_compiling()
        if self.method == EXACT or checkpoint or jumping:
            return self.solve(dynamics, z0, t0, t1, context).final
        context = self._seen(context, t0, t1)
        if not self._native:
            states = self._states(RescaledField(dynamics, t0, t1, context), z0)
            check_finite(self._knots(t0, t1), states)
            return states[:, -1]
        made, times, width = self._plan(t0, t1)
        return unroll(made, dynamics, z0, times, width, context, end_slope=False)[0][-1]

    def error(
        self,
        dynamics: VectorField,
        z0: Tensor,
        t0: Tensor,
        t1: Tensor,
        context: Context | None = None,
    ) -> Tensor:
        r"""Estimates each row's solution error by doubling the steps, without gradients.

        $\\max_{knots} \\lVert z_h - z_{h/2} \\rVert_{rms}$: nearly the error of the states at the knots
        (of a method of order p, $1 - 2^{-p}$ of it). For adaptive methods tolerances are divided by
        100 instead.

        Args:
            dynamics: as for `solve`, and so are the others.

        Returns:
            Shape `(rows,)`, in units of the state.
        """
        finer = replace(self, steps=2 * self.steps, rtol=self.rtol / 100, atol=self.atol / 100)
        with torch.no_grad():
            coarse = self.solve(dynamics, z0, t0, t1, context).states
            fine = finer.solve(dynamics, z0, t0, t1, context).states
        return (coarse - fine).square().mean(dim=2).sqrt().amax(dim=1)

    def _solve_natively(
        self,
        dynamics: VectorField,
        z0: Tensor,
        t0: Tensor,
        t1: Tensor,
        context: Context | None,
    ) -> Trajectory:
        made, times, width = self._plan(t0, t1)
        kernel = kernel_of(dynamics, times, context, z0)
        if kernel is None and self.adjoint == "checkpoint":
            kernel = checkpoint_kernel(dynamics, times, context)
        if kernel is None:
            states, slopes = map(torch.stack, unroll(made, dynamics, z0, times, width, context))
        else:
            states, slopes = integrate(made, kernel, z0, width, self.adjoint == "checkpoint")
        every = slice(None, None, self.steps)
        return HermiteTrajectory(
            self._knots(t0, t1),
            states[every].transpose(0, 1),
            slopes[every].transpose(0, 1),
            Stats(made.evaluations, self.intervals * self.steps),
        )

    def _plan(self, t0: Tensor, t1: Tensor) -> tuple[Plan, Tensor, Tensor]:
        """What to evaluate, when, shape `(evaluations, rows)`, and how long each row's span is."""
        made, width = plan(self.method, self.intervals * self.steps), t1 - t0
        return made, torch.addcmul(t0, constant(made.positions, t0)[:, None], width), width

    def _solve_externally(
        self,
        dynamics: VectorField,
        z0: Tensor,
        t0: Tensor,
        t1: Tensor,
        context: Context | None,
    ) -> Trajectory:
        field = RescaledField(dynamics, t0, t1, context)
        states, times = self._states(field, z0), self._knots(t0, t1)
        slopes = slopes_at(dynamics, times, states, context).to(states.dtype)
        # Without the slopes at the knots, which the trajectory needs and the method does not.
        taken = field.accepted if self.method in ADAPTIVE else self.intervals * self.steps
        return HermiteTrajectory(times, states, slopes, Stats(field.evaluations, taken, field.rejected))

    def _states(self, field: RescaledField, z0: Tensor) -> Tensor:
        """The states at the knots by torchdiffeq, shape `(rows, knots, latent)`."""
        if not len(z0):  # no row whose error could decide on a step
            return z0[:, None].expand(-1, self.intervals + 1, -1)
        adaptive, backsolve = self.method in ADAPTIVE, self.adjoint == "backsolve"
        s = torch.linspace(0, 1, self.intervals + 1, dtype=z0.dtype, device=z0.device)
        tolerances = (self.rtol, self.atol)
        states = odeint(field, z0, s, self.method, tolerances, backsolve, adaptive, self.steps)
        return states.transpose(0, 1)

    def _knots(self, t0: Tensor, t1: Tensor) -> Tensor:
        """Times of the knots; the last is t1 itself, as t0 + (t1 - t0) may round to a neighbour."""
        fractions = constant(tuple(k / self.intervals for k in range(self.intervals)), t0)[:, None]
        return torch.cat([torch.addcmul(t0, fractions, t1 - t0), t1[None]]).T.contiguous()


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SolveError(f"{name} {value!r} is unknown; choose from {', '.join(choices)}")


def _check_positive(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise SolveError(f"{name} must be a positive number, got {value!r}")
