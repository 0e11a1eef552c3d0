r"""The native solve and its two exact discrete adjoints.

A plan (see `tableau`) turns $z_0$ into knots by $y_e = z_n + w \sum_j a_{ej} k_j$,
$k_e = f(t_e, y_e)$, $z_{n+1} = z_n + w \sum_e b_{ne} k_e$ with the row's span $w$. Its transpose
carries cotangents $\lambda_n$ of the knots back: from the last step to the first, and in a step from
the last evaluation to the first,

$$\kappa_e = \sum_n b_{ne} \lambda_{n+1} + \sum_{e'} a_{e'e} \mu_{e'}, \qquad
  \mu_e = \left(\frac{\partial f}{\partial y}\right)^T (w \kappa_e + \sigma_e), \qquad
  \lambda_n \mathrel{+}= \lambda_{n+1} + \sum_e \mu_e,$$

where $\sigma_e$ is the cotangent of a slope that the trajectory uses. It is the gradient of the
discrete solution, equal to backpropagation to rounding. *direct* keeps what pulling back needs;
*checkpoint* keeps knots only and redoes a run of steps at a time, here all of its first stages in one
batch, then all second stages, and so on. A `CompiledKernel` takes the same two sweeps by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from latentode.ode.kernels import AnyKernel, constant
from latentode.ode.kernels.compiled_perceptron import CompiledKernel
from latentode.ode.kernels.tape import Kernel, Tape, differentiable_once
from latentode.ode.tableau import Plan, Step

__all__ = ["integrate"]

# Rows times evaluations on one tape: enough for large matrix products, few enough for a cache.
ROWS_PER_TAPE = 2048
# With *checkpoint* also of numbers, so that it saves memory with large states, such as images, too.
NUMBERS_PER_TAPE = 2**15


def integrate(
    plan: Plan, kernel: AnyKernel, z0: Tensor, width: Tensor, checkpoint: bool
) -> tuple[Tensor, Tensor]:
    """Solves and makes the solution differentiable.

    Args:
        plan: what to evaluate and how to add it up.
        kernel: the vector field with its times, context and parameters.
        z0: shape `(rows, latent)`.
        width: t1 - t0, shape `(rows,)`.
        checkpoint: whether to keep knots only.

    Returns:
        States and slopes at the knots, each of shape `(knots, rows, latent)`.
    """
    if isinstance(kernel, CompiledKernel):
        return kernel.integrate(plan, z0, width, checkpoint)
    if not torch.is_grad_enabled():
        tensors = [tensor.detach() for tensor in kernel.tensors]
        forward = _Forward(plan, kernel, tensors, z0, width, differentiable=False)
        return forward.states, forward.slopes()
    return _Solve.apply(plan, kernel, checkpoint, z0, width, *kernel.tensors)  # type: ignore[return-value]


@dataclass(frozen=True)
class _Run:
    """Consecutive steps with equally many evaluations, which share a tape.

    Slots are laid out stage by stage: evaluation `stage` of the run's step `i` is slot
    `stage * len(steps) + i`.
    """

    first: int
    steps: tuple[Step, ...]

    @property
    def stages(self) -> int:
        return len(self.steps[0].stages)

    def order(self, device: torch.device) -> Tensor:
        """Which evaluation each slot is."""
        start, count = self.steps[0].first, len(self.steps)
        grid = torch.arange(start, start + count * self.stages, device=device)
        return grid.view(count, self.stages).T.reshape(-1)

    def by_evaluation(self, x: Tensor) -> Tensor:
        """The run's part of an array over evaluations, laid out as slots."""
        start, count = self.steps[0].first, len(self.steps)
        part = x[start : start + count * self.stages].view(count, self.stages, *x.shape[1:])
        return part.transpose(0, 1)


@lru_cache(maxsize=256)
def _runs(plan: Plan, size: int) -> tuple[_Run, ...]:
    """The plan cut into runs of about `size` evaluations."""
    runs: list[_Run] = []
    for n, step in enumerate(plan.steps):
        last = runs[-1] if runs else None
        fits = last is not None and last.stages == len(step.stages)
        if last is not None and fits and (len(last.steps) + 1) * last.stages <= size:
            runs[-1] = _Run(last.first, (*last.steps, step))
        else:
            runs.append(_Run(n, (step,)))
    return tuple(runs)


def _size(z0: Tensor, checkpoint: bool) -> int:
    """How many evaluations of states like these share a tape."""
    most = NUMBERS_PER_TAPE // max(1, z0.numel()) if checkpoint else ROWS_PER_TAPE
    return max(1, min(ROWS_PER_TAPE // max(1, len(z0)), most))


class _Forward:
    """Runs a plan forwards, filling `states`, `k` and, run by run, tapes.

    With matrices this small a step's time is that of calling its operations, so views are made once
    and what does not change from stage to stage is looked up outside the loop.
    """

    def __init__(
        self,
        plan: Plan,
        kernel: Kernel,
        tensors: Sequence[Tensor],
        z0: Tensor,
        width: Tensor,
        differentiable: bool,
    ) -> None:
        self.plan = plan
        self.states = z0.new_empty(len(plan.steps), *z0.shape)
        self.k = z0.new_empty(plan.evaluations, *z0.shape)
        self.width = width[:, None].expand_as(z0).contiguous()
        self.tapes: list[Tape] = []
        self._state_slots = self.states.unbind()
        self._k_slots = self.k.unbind()
        self._k_columns = self.k.view(plan.evaluations, -1).T
        self._sum = torch.empty_like(z0, memory_format=torch.contiguous_format)
        self._sum_flat = self._sum.view(-1)
        self._weights = constant(plan.steps[0].weights, z0)
        self.states[0] = z0
        for run in _runs(plan, _size(z0, not differentiable)):
            count = len(run.steps)
            # Where nothing is pulled back one place for a stage's state serves all of them.
            places = run.stages * count if differentiable else 1
            y = z0.new_empty(places, *z0.shape)
            tape = kernel.tape(tensors, run.order(z0.device), y, differentiable)
            slots = y.unbind() if differentiable else y.unbind() * (run.stages * count)
            for i, step in enumerate(run.steps):
                self._step(step, run.first + i, tape, slots, i, count)
            if differentiable:
                y[:count] = self.states[run.first : run.first + count]  # first stages start at knots
                self.tapes.append(tape)

    def _step(
        self, step: Step, n: int, tape: Tape, y: Sequence[Tensor], slot: int, stride: int
    ) -> None:
        z = x = self._state_slots[n]
        for e, pairs in enumerate(step.pairs, step.first):
            for weight, j in pairs:
                out = y[slot]
                x = torch.addcmul(x, self.width, self._k_slots[j], value=weight, out=out)
            tape.evaluate(slot, x, self._k_slots[e])
            slot, x = slot + stride, z
        if step.weights:
            some = self._k_columns.narrow(1, step.first, len(step.weights))
            torch.mv(some, self._weights, out=self._sum_flat)
            torch.addcmul(z, self.width, self._sum, out=self._state_slots[n + 1])

    def slopes(self) -> Tensor:
        """dz/dt at the knots: the first evaluation of each step."""
        return torch.stack([self._k_slots[step.first] for step in self.plan.steps])


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        plan: Plan,
        kernel: Kernel,
        checkpoint: bool,
        z0: Tensor,
        width: Tensor,
        *tensors: Tensor,
    ) -> tuple[Tensor, Tensor]:
        solve = _Forward(plan, kernel, tensors, z0, width, differentiable=not checkpoint)
        ctx.plan, ctx.kernel, ctx.tapes, ctx.count = plan, kernel, solve.tapes, len(tensors)
        ctx.checkpoint = checkpoint
        k = (solve.k,) if ctx.needs_input_grad[4] and not checkpoint else ()
        ctx.has_k = bool(k)
        kept = [tensor for tape in solve.tapes for tensor in tape.kept]
        ctx.sizes = [len(tape.kept) for tape in solve.tapes]
        for tape in solve.tapes:
            tape.release()
        states, slopes = solve.states, solve.slopes()
        ctx.save_for_backward(width, states, *tensors, *k, *kept)
        return states, slopes

    @staticmethod
    @differentiable_once
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *cotangents: Tensor
    ) -> tuple[Tensor | None, ...]:
        width, states, *rest = ctx.saved_tensors
        tensors, rest = rest[: ctx.count], rest[ctx.count :]
        k = rest.pop(0) if ctx.has_k else None
        for tape, size in zip(ctx.tapes, ctx.sizes, strict=True):
            tape.kept, rest = tuple(rest[:size]), rest[size:]
        _, _, _, _, wants_width, *wanted = ctx.needs_input_grad
        totals = [
            torch.zeros_like(tensor) if want else None
            for tensor, want in zip(tensors, wanted, strict=True)
        ]
        back = _Backward(ctx.plan, states, width, *cotangents)
        span = torch.zeros_like(width) if wants_width else None
        for i, run in reversed(list(enumerate(_runs(ctx.plan, _size(states[0], ctx.checkpoint))))):
            if ctx.checkpoint:
                tape, slopes = back.redo(run, ctx.kernel, tensors)
            else:
                tape, slopes = ctx.tapes[i], None if k is None else run.by_evaluation(k)
            tape.scratch = back.scratch
            back.run(run, tape, totals)
            if span is not None and slopes is not None:
                span += (run.by_evaluation(back.kappa) * slopes).sum((0, 1, 3))
            tape.release()
        return None, None, None, back.cotangents[0], span, *totals


class _Backward:
    """Runs a plan backwards, a run of steps at a time."""

    def __init__(
        self, plan: Plan, states: Tensor, width: Tensor, cotangents: Tensor, of_slopes: Tensor
    ) -> None:
        self.plan, self.states, self.of_slopes = plan, states, of_slopes
        self.width = width[:, None].expand_as(states[0]).contiguous()
        self.cotangents = cotangents.clone(memory_format=torch.contiguous_format)
        self.kappa = states.new_zeros(plan.evaluations, *states.shape[1:])
        self._kappa_slots = self.kappa.unbind()
        self._kappa_flat = self.kappa.view(plan.evaluations, -1)
        self._lambda = self.cotangents.unbind()
        self._lambda_flat = self.cotangents.view(len(self._lambda), -1).unbind()
        self._weights = constant(plan.steps[0].weights, states)
        self.scratch: dict[object, Tensor] = {}

    def redo(self, run: _Run, kernel: Kernel, tensors: Sequence[Tensor]) -> tuple[Tape, Tensor]:
        """Evaluates a run once more, each stage of all its steps in one batch."""
        count = len(run.steps)
        z = self.states[run.first : run.first + count]
        y = z.new_empty(run.stages, *z.shape)
        k = torch.empty_like(y)
        tape = kernel.tape(tensors, run.order(z.device), y.flatten(0, 1), True)
        for stage, weights in enumerate(run.steps[0].stages):
            y[stage] = z
            for weight, slope in zip(weights, k[:stage], strict=True):
                if weight:
                    y[stage].addcmul_(self.width, slope, value=weight)
            tape.evaluate_many(stage * count, (stage + 1) * count, k[stage])
        return tape, k

    def run(self, run: _Run, tape: Tape, totals: Sequence[Tensor | None]) -> None:
        """Carries cotangents back over a run and gathers what they leave behind."""
        count = len(run.steps)
        g = self.states.new_zeros(run.stages * count, *self.states.shape[1:])
        g[:count] = self.of_slopes[run.first : run.first + count]
        slots = g.unbind()
        mu = g.new_empty(run.stages, *g.shape[1:])
        mu_slots, mu_sum = mu.unbind(), torch.empty_like(mu[0])
        for i in range(count - 1, -1, -1):
            step, n = run.steps[i], run.first + i
            if step.weights:
                part = self._kappa_flat.narrow(0, step.first, len(step.weights))
                part.addr_(self._weights, self._lambda_flat[n + 1])
                self._lambda[n].add_(self._lambda[n + 1])
            for stage in range(run.stages - 1, -1, -1):
                g_stage, mu_stage = slots[i + stage * count], mu_slots[stage]
                g_stage.addcmul_(self.width, self._kappa_slots[step.first + stage])
                tape.pull(i + stage * count, g_stage, mu_stage)
                for weight, j in step.pairs[stage]:
                    self._kappa_slots[j].add_(mu_stage, alpha=weight)
            self._lambda[n].add_(torch.sum(mu, 0, out=mu_sum) if run.stages > 1 else mu_slots[0])
        tape.gather(g, totals)
