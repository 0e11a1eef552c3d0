"""What a neural ODE cannot map and an augmented one can: crossing trajectories and nested annuli.

python experiments/augmented/run.py [--smoke] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from latentode.ode import Augment, MLPDynamics, ODEBlock

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HERE = Path(__file__).parent
INNER, RING = 0.5, (1.0, 1.5)  # radius of the disc, radii of the ring around it
MODELS = {"plain": 0, "augmented": 1}  # dimensions added
TOLERANCE = 1e-3


@dataclass
class Run:
    """What a training left: the loss and the evaluations of each step, and the network."""

    network: nn.Sequential
    losses: list[float] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)

    @property
    def block(self) -> ODEBlock:
        block = self.network[1]
        assert isinstance(block, ODEBlock)
        return block


class First(nn.Module):
    """The first coordinate of a state."""

    def forward(self, z: Tensor) -> Tensor:
        return z[:, :1]


def block(size: int) -> ODEBlock:
    """A field of two hidden layers, solved by dopri5."""
    dynamics = MLPDynamics(size, (32, 32))
    return ODEBlock(dynamics, method="dopri5", rtol=TOLERANCE, atol=TOLERANCE)


def crossing(n: int) -> tuple[Tensor, Tensor]:
    """x in [-1, 1] and what is to become of it: -x, so that all paths would have to cross."""
    x = torch.linspace(-1, 1, n)[:, None]
    return x, -x


def annuli(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points of a disc, labelled -1, and twice as many of the ring around it, labelled 1."""
    disc = torch.rand(n, generator=generator) < 1 / 3
    u, turn = torch.rand(2, n, generator=generator)
    low, high = torch.where(disc, 0.0, RING[0]), torch.where(disc, INNER, RING[1])
    radius = (low**2 + u * (high**2 - low**2)).sqrt()
    angle = 2 * torch.pi * turn
    x = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return x, torch.where(disc, -1.0, 1.0)[:, None]


def train(network: nn.Sequential, data: tuple[Tensor, Tensor], steps: int, batch: int) -> Run:
    """Least squares by Adam; batches are drawn with the generator of the seed that was set."""
    run, (x, y) = Run(network), data
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        chosen = torch.randperm(len(x))[:batch]
        loss = (network(x[chosen]) - y[chosen]).square().mean()
        run.evaluations.append(run.block.evaluations)
        run.losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return run


def learn_crossing(extra: int, steps: int, seed: int = 0) -> Run:
    """x -> -x by the flow alone: one dimension, and those added."""
    torch.manual_seed(seed)
    return train(nn.Sequential(Augment(extra), block(1 + extra), First()), crossing(64), steps, 64)


def learn_annuli(extra: int, steps: int, seed: int = 0) -> Run:
    """Disc or ring, by a flow and a linear map of where it ends."""
    torch.manual_seed(seed)
    network = nn.Sequential(Augment(extra), block(2 + extra), nn.Linear(2 + extra, 1))
    return train(network, annuli(1000, torch.Generator().manual_seed(seed)), steps, 128)


def evaluate(run: Run, data: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Of a trained network: mean squared error, share of right signs, evaluations."""
    x, y = data
    with torch.no_grad():
        guess = run.network(x)
    return {
        "loss": (guess - y).square().mean().item(),
        "accuracy": (guess.sign() == y.sign()).float().mean().item(),
        "evaluations": run.block.evaluations,
    }


def worst_on_circle(run: Run, n: int = 20000) -> float:
    """Largest error on a circle of the ring; of a flow of the plane that has the disc right, above 1.

    What a linear map sends below zero is half a plane, and its preimage reaches from the disc out to
    infinity: across every circle around the disc.
    """
    angle = torch.linspace(0, 2 * torch.pi, n)
    x = sum(RING) / 2 * torch.stack([angle.cos(), angle.sin()], dim=1)
    with torch.no_grad():
        return (run.network(x) - 1).abs().max().item()


def measure(smoke: bool) -> tuple[dict, dict[str, Run]]:
    """Every figure of the README, and the runs of the first seed."""
    steps = {"crossing": 40, "annuli": 40} if smoke else {"crossing": 300, "annuli": 1000}
    seeds = 1 if smoke else 3
    test = annuli(4000, torch.Generator().manual_seed(99))
    results: dict = {"seeds": seeds, **{f"{task} steps": n for task, n in steps.items()}}
    runs: dict[str, Run] = {}
    for task, learn, data in (
        ("crossing", learn_crossing, crossing(201)),
        ("annuli", learn_annuli, test),
    ):
        for model, extra in MODELS.items():
            made = [learn(extra, steps[task], seed) for seed in range(seeds)]
            runs[f"{task} {model}"] = made[0]
            found = [evaluate(run, data) for run in made]
            for name in found[0]:
                each = [f[name] for f in found]
                results[f"{task} {model} {name}"] = statistics.mean(each)
                results[f"{task} {model} {name} of seeds"] = each
            if task == "annuli":
                worst = [worst_on_circle(run) for run in made]
                results[f"{task} {model} worst error on a circle, least of seeds"] = min(worst)
                results[f"{task} {model} worst error on a circle, most of seeds"] = max(worst)
            first, last = made[0].evaluations[0], [run.evaluations[-1] for run in made]
            results[f"{task} {model} evaluations at first"] = first
            results[f"{task} {model} evaluations at last"] = statistics.mean(last)
    return results, runs


def draw_flow(axes: Axes, run: Run, x: Tensor, colour: Tensor) -> None:
    """Paths of points, first and last coordinate, with a dot where they end."""
    with torch.no_grad():
        path = run.block.path(run.network[0](x), torch.linspace(0, 1, 50))
    for i in range(len(x)):
        side = "tab:blue" if colour[i] < 0 else "tab:red"
        axes.plot(path[:, i, 0], path[:, i, -1], color=side, linewidth=0.5, alpha=0.5)
        axes.plot(path[-1, i, 0], path[-1, i, -1], "o", color=side, markersize=3)
    axes.set(xlabel="$z_1$", ylabel=f"$z_{path.shape[2]}$")


def draw_crossing(axes: Axes, run: Run) -> None:
    """The first coordinate over time."""
    x, times = torch.linspace(-1, 1, 11)[:, None], torch.linspace(0, 1, 50)
    with torch.no_grad():
        path = run.block.path(run.network[0](x), times)[..., 0]
    axes.plot(times, path, color="tab:blue", linewidth=0.8)
    axes.plot(torch.ones(11), -x[:, 0], "k_", markersize=8)
    axes.set(xlabel="t", ylabel="$z_1$")


def smooth(values: list[float], window: int = 15) -> Tensor:
    """A running mean, to see curves by."""
    kernel = torch.ones(1, 1, window) / window
    return torch.conv1d(torch.tensor(values, dtype=torch.float32)[None, None], kernel)[0, 0]


def draw(runs: dict[str, Run], file: Path) -> None:
    """Loss curves, evaluations, flows: crossing above, annuli below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(2, 4, figsize=(15, 7), layout="constrained")
    x, y = annuli(120, torch.Generator().manual_seed(5))
    for row, task in enumerate(("crossing", "annuli")):
        for place, model in enumerate(MODELS):
            run = runs[f"{task} {model}"]
            grid[row, 0].semilogy(smooth(run.losses), label=model)
            grid[row, 1].plot(smooth([float(n) for n in run.evaluations]), label=model)
            axes = grid[row, 2 + place]
            draw_crossing(axes, run) if task == "crossing" else draw_flow(axes, run, x, y[:, 0])
            axes.set_title(f"{task}: {model} flow")
        grid[row, 0].set(xlabel="training step", title=f"{task}: loss")
        grid[row, 1].set(xlabel="training step", title=f"{task}: evaluations of dopri5")
        grid[row, 0].legend()
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one seed, a few steps")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/augmented")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/augmented") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    results, runs = measure(arguments.smoke)
    print(json.dumps(results, indent=1))
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(runs, folder / "augmented.png")


if __name__ == "__main__":
    main()
