"""Continuous normalising flows on two moons and eight gaussians, beside discrete flows of equal size.

    python experiments/cnf/run.py [--smoke] [--steps 1500] [--out FOLDER]

Every flow sees the same batches, with the same optimiser and schedule, and is scored on 20,000 points
it has not seen. Seconds are of the process's own time, on one thread.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
import zuko
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from latentode.ode import CNF, Solver

HERE = Path(__file__).parent
TRAINED_BY = Solver("rk38", intervals=8)
FINE = Solver("rk38", intervals=8, steps=16)
TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)
REACH = 6.0  # of the grid that densities are integrated over, from -REACH to REACH


def mixture(centres: Tensor, scale: float) -> MixtureSameFamily:
    """Normals of one scale about centres of shape `(n, 2)`, all as likely."""
    parts = Independent(Normal(centres, scale), 1)
    return MixtureSameFamily(Categorical(logits=torch.zeros(len(centres))), parts)


def two_moons() -> MixtureSameFamily:
    """Two interleaved half circles of radius 2 with noise of 0.2: scikit-learn's, twice as large."""
    angle = torch.linspace(0, math.pi, 200)
    upper = torch.stack([angle.cos(), angle.sin()], dim=1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    return mixture(2 * torch.cat([upper, lower]) - torch.tensor([1.0, 0.5]), 0.2)


def eight_gaussians() -> MixtureSameFamily:
    """Eight normals of scale 0.35 on a circle of radius 2.8, as in the FFJORD paper."""
    angle = torch.arange(8) * math.pi / 4
    return mixture(
        2 * math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], dim=1), 0.5 / math.sqrt(2)
    )


TARGETS = {"two_moons": two_moons, "eight_gaussians": eight_gaussians}
FLOWS: dict[str, Callable[[], nn.Module]] = {  # all of 4,400 to 4,600 parameters
    "cnf": lambda: CNF(2, hidden=(64, 64), solver=TRAINED_BY),
    "nsf": lambda: zuko.flows.NSF(2, transforms=4, hidden_features=(16, 16)),
    "maf": lambda: zuko.flows.MAF(2, transforms=4, hidden_features=(30, 30)),
}


def fit(flow: nn.Module, points: Tensor, steps: int, batch: int = 256, lr: float = 5e-3) -> float:
    """Maximum likelihood by Adam with a cosine schedule; returns the seconds it took."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(flow.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    begin = time.process_time()
    for _ in range(steps):
        chosen = points[torch.randint(len(points), (batch,), generator=generator)]
        loss = -flow().log_prob(chosen).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return time.process_time() - begin


def precise(flow: CNF, solver: Solver = FINE) -> CNF:
    """The same flow in float64, by another solver."""
    other = copy.deepcopy(flow).double()
    other.solver = solver
    return other


@torch.no_grad()
def score(flow: nn.Module, points: Tensor) -> float:
    """Mean log-density, in nats."""
    return float(torch.cat([flow().log_prob(part) for part in points.split(2000)]).mean())


@torch.no_grad()
def integral(flow: nn.Module, spacing: float, dtype: torch.dtype = torch.float64) -> float:
    """The density summed over a grid."""
    axis = torch.arange(-REACH, REACH, spacing, dtype=dtype)
    grid = torch.cartesian_prod(axis, axis)
    return sum(float(flow().log_prob(g).exp().sum()) for g in grid.split(4000)) * spacing**2


@torch.no_grad()
def inversion_error(flow: CNF, points: Tensor) -> float:
    """The largest distance of a coordinate from itself, to the base and back."""
    there, _ = flow.inverse(points)
    return float((flow.transport(there)[0] - points).abs().max())


@torch.no_grad()
def hutchinson(flow: CNF, points: Tensor, draws: int) -> tuple[float, float, float]:
    """The estimate's mean error, its standard error, and its deviation from draw to draw at a point."""
    exact = flow().log_prob(points)
    guess = copy.deepcopy(flow)
    guess.trace = "hutchinson"
    errors = torch.stack([guess().log_prob(points) - exact for _ in range(draws)])
    return float(errors.mean()), float(errors.std() / math.sqrt(errors.numel())), float(errors.std())


def study(name: str, steps: int, held_out: int, spacing: float) -> tuple[dict[str, float], dict]:
    """Figures of one target, and its flows."""
    torch.manual_seed(0)
    target = TARGETS[name]()
    points, test = target.sample((20_000,)), target.sample((held_out,))
    truth = target.log_prob(test)
    figures = {"true log-likelihood": float(truth.mean())}
    figures["its standard error"] = float(truth.std() / math.sqrt(held_out))
    flows: dict[str, nn.Module] = {}
    for kind, make in FLOWS.items():
        torch.manual_seed(0)
        flow = flows[kind] = make()
        figures[f"{kind} parameters"] = sum(p.numel() for p in flow.parameters())
        figures[f"{kind} training seconds"] = fit(flow, points, steps)
        figures[f"{kind} log-likelihood"] = score(flow, test)
    trained: CNF = flows["cnf"]  # type: ignore[assignment]
    exact, few = precise(trained), test[:1000].double()
    figures["cnf fine solver changes log-likelihood by"] = score(exact, few) - score(
        trained, few.float()
    )
    figures["cnf integral"] = integral(exact, spacing)
    figures["cnf inversion error, as trained"] = inversion_error(precise(trained, TRAINED_BY), few)
    figures["cnf inversion error, fine solver"] = inversion_error(exact, few)
    mean, error, deviation = hutchinson(precise(trained, TRAINED_BY), few[:200], 20)
    figures["hutchinson mean error"] = mean
    figures["hutchinson standard error"] = error
    figures["hutchinson deviation"] = deviation
    return figures, flows


@torch.no_grad()
def draw(path: Path, studies: dict[str, dict[str, nn.Module]], cells: int) -> None:
    """Data, density over time, samples, and the spline flow's density, a row per target."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = ["data", *(f"density, t = {t:g}" for t in TIMES), "samples", "spline flow"]
    shape = (len(studies), len(columns))
    figure, axes = plt.subplots(*shape, figsize=(2 * shape[1], 2.1 * shape[0]), squeeze=False)
    axis = torch.linspace(-4.5, 4.5, cells)
    grid = torch.cartesian_prod(axis, axis)
    for n, (row, (name, flows)) in enumerate(zip(axes, studies.items(), strict=True)):
        torch.manual_seed(0)
        flow, spline = flows["cnf"], flows["nsf"]
        densities = [flow(until=t).log_prob(grid).exp() for t in TIMES]
        densities.append(spline().log_prob(grid).exp())
        clouds = [TARGETS[name]().sample((3000,)), flow().sample((3000,))]
        for place, cloud in zip((0, -2), clouds, strict=True):
            row[place].scatter(*cloud.T, s=0.6, color="black", alpha=0.5, linewidths=0)
        for place, density in zip((*range(1, 1 + len(TIMES)), -1), densities, strict=True):
            image = density.view(cells, cells).T
            row[place].imshow(image, origin="lower", extent=(-4.5, 4.5) * 2, cmap="magma")
        for one, title in zip(row, columns, strict=True):
            one.set(xlim=(-4.5, 4.5), ylim=(-4.5, 4.5), xticks=[], yticks=[], aspect="equal")
            one.set_title("" if n else title, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few steps")
    parser.add_argument("--steps", type=int, default=1500, help="of every optimiser")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/cnf")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/cnf") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    sizes = (3, 200, 0.5) if arguments.smoke else (arguments.steps, 20_000, 0.05)
    studies, figures = {}, {}
    for name in TARGETS:
        found, studies[name] = study(name, *sizes)
        figures |= {f"{name}: {what}": value for what, value in found.items()}
    for what, value in figures.items():
        print(f"{what:55} {value:.6g}")
    draw(folder / "densities.png", studies, 12 if arguments.smoke else 120)
    (folder / "results.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
