"""The adjoint method: its gradients, its memory, and what tolerance buys.

python experiments/adjoint/run.py [--smoke] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from latentode.ode import Autonomous, ODEBlock

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

from measuring import peak_megabytes  # noqa: E402

ROWS, SIZE, HIDDEN = 16, 8, 32
ADJOINTS = ("direct", "checkpoint", "backsolve")
EXACT = {"method": "dopri8", "rtol": 1e-13, "atol": 1e-13}


class Problem:
    """A field with weights of twice the usual size, starts, and a loss of where they go."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(SIZE, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, SIZE)).double()
        for layer in (net[0], net[2]):
            nn.init.xavier_normal_(layer.weight, 2.0)  # type: ignore[arg-type]
        self.field = Autonomous(net)
        self.z0 = torch.randn(ROWS, SIZE, dtype=torch.float64, requires_grad=True)
        self.way = torch.randn(ROWS, SIZE, dtype=torch.float64)

    @property
    def leaves(self) -> list[Tensor]:
        """What is differentiated by: the starts and every weight."""
        return [self.z0, *self.field.parameters()]

    def loss(self, block: ODEBlock) -> Tensor:
        return (block(self.z0) * self.way).sum()

    def gradient(self, **options: object) -> tuple[Tensor, ODEBlock]:
        """By the starts and every weight, as one vector, and the block that made it."""
        block = ODEBlock(self.field, **options)  # type: ignore[arg-type]
        parts = torch.autograd.grad(self.loss(block), self.leaves)
        return torch.cat([p.reshape(-1) for p in parts]), block

    @torch.no_grad()
    def finite_differences(self, directions: int, step: float = 1e-5) -> tuple[Tensor, Tensor]:
        """Central differences along random directions: the directions and the derivatives."""
        block = ODEBlock(self.field, **EXACT)
        nudges = [[torch.randn_like(p) for p in self.leaves] for _ in range(directions)]
        found = []
        for nudge in nudges:
            ends = []
            for sign in (1, -2):  # to one side, then to the other
                for leaf, part in zip(self.leaves, nudge, strict=True):
                    leaf.add_(part, alpha=sign * step)
                ends.append(self.loss(block))
            for leaf, part in zip(self.leaves, nudge, strict=True):
                leaf.add_(part, alpha=step)
            found.append((ends[0] - ends[1]) / (2 * step))
        flat = torch.stack([torch.cat([p.reshape(-1) for p in nudge]) for nudge in nudges])
        return flat, torch.stack(found)


def relative(got: Tensor, exact: Tensor) -> float:
    return ((got - exact).norm() / exact.norm()).item()


def checked_gradient(problem: Problem, directions: int) -> tuple[Tensor, float]:
    """A gradient through a solve at 1e-13, and how far finite differences are from it."""
    exact, _ = problem.gradient(**EXACT)
    nudges, derivatives = problem.finite_differences(directions)
    return exact, relative(nudges @ exact, derivatives)


def tolerances(problem: Problem, exact: Tensor, tried: list[float]) -> dict[str, list[float]]:
    """Errors of z(1) and of gradients, and evaluations, of dopri5 at each tolerance."""
    rows: dict[str, list[float]] = {"tolerance": tried}
    with torch.no_grad():
        end = ODEBlock(problem.field, **EXACT)(problem.z0)
    for tolerance in tried:
        for adjoint in ("direct", "backsolve"):
            options = {"method": "dopri5", "rtol": tolerance, "atol": tolerance, "adjoint": adjoint}
            gradient, block = problem.gradient(**options)
            found = {
                f"gradient error, {adjoint}": relative(gradient, exact),
                f"evaluations forward, {adjoint}": block.evaluations,
                f"evaluations backward, {adjoint}": block.backward_evaluations,
            }
            if adjoint == "direct":
                with torch.no_grad():
                    found["error of z(1)"] = relative(block(problem.z0), end)
            for name, value in found.items():
                rows.setdefault(name, []).append(value)
    return rows


def fixed_steps(problem: Problem, exact: Tensor, counts: list[int]) -> dict[str, list[float]]:
    """Of rk4: how far checkpoint is from direct, and all three from the exact gradient."""
    rows: dict[str, list[float]] = {"rk4 steps": [float(n) for n in counts]}
    for n in counts:
        made = {a: problem.gradient(method="rk4", steps=n, adjoint=a)[0] for a in ADJOINTS}
        for adjoint, gradient in made.items():
            rows.setdefault(f"rk4 gradient error, {adjoint}", []).append(relative(gradient, exact))
        gap = relative(made["checkpoint"], made["direct"])
        rows.setdefault("rk4 checkpoint beside direct", []).append(gap)
    return rows


def memory(adjoint: str, depth: int, channels: int = 4, hidden: int = 32, side: int = 6) -> float:
    """Peak megabytes of a training step through `depth` rk4 steps of a convolutional field."""
    torch.manual_seed(0)
    inside = nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(hidden, channels, 3, padding=1),
    )
    block = ODEBlock(Autonomous(inside), method="rk4", steps=depth, adjoint=adjoint)
    z0 = torch.randn(16, channels, side, side, requires_grad=True)

    def step() -> None:
        torch.autograd.grad(block(z0).square().sum(), [z0, *block.parameters()])

    step()
    return peak_megabytes(step)


def growth(depths: list[int], megabytes: list[float]) -> float:
    """Slope of log memory against log depth over the deeper half: 0 constant, 1 linear."""
    half = len(depths) // 2
    return float(np.polyfit(np.log(depths[half:]), np.log(megabytes[half:]), 1)[0])


def draw(results: dict, file: Path) -> None:
    """Gradient errors, cost and memory."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    tolerance = results["tolerance"]
    left.loglog(tolerance, results["error of z(1)"], "k.--", label="z(1)")
    for adjoint in ("direct", "backsolve"):
        left.loglog(
            tolerance, results[f"gradient error, {adjoint}"], "o-", label=f"gradient, {adjoint}"
        )
    left.set(xlabel="tolerance of dopri5", ylabel="relative error", title="what tolerance buys")
    left.legend()
    for way in ("forward", "backward"):
        counts = results[f"evaluations {way}, backsolve"]
        middle.semilogx(tolerance, counts, "o-", label=f"{way}, backsolve")
    middle.set(xlabel="tolerance of dopri5", ylabel="evaluations", title="what it costs")
    middle.legend()
    for adjoint in ADJOINTS:
        right.loglog(results["depth"], results[f"MB, {adjoint}"], "o-", label=adjoint)
    right.set_xscale("log", base=2)
    right.set(xlabel="depth, rk4 steps", ylabel="peak MB of a training step", title="memory")
    right.legend()
    figure.savefig(file, dpi=120)


def measure(smoke: bool) -> dict:
    """Every figure of the README."""
    problem = Problem()
    exact, off = checked_gradient(problem, 2 if smoke else 8)
    results: dict = {"gradient at 1e-13 beside finite differences": off}
    tried = [1e-2, 1e-4, 1e-6] if smoke else [10.0**-k for k in range(1, 10)]
    results |= tolerances(problem, exact, tried)
    results |= fixed_steps(problem, exact, [8, 16] if smoke else [8, 16, 32, 64])
    results["depth"] = depths = [4, 8] if smoke else [4, 8, 16, 32, 64]
    for adjoint in ADJOINTS:
        results[f"MB, {adjoint}"] = megabytes = [memory(adjoint, depth) for depth in depths]
        if not smoke:
            results[f"growth of memory, {adjoint}"] = growth(depths, megabytes)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few tolerances, shallow")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/adjoint")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/adjoint") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    results = measure(arguments.smoke)
    print(json.dumps(results, indent=1))
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(results, folder / "adjoint.png")


if __name__ == "__main__":
    main()
