"""Slope fields and phase portraits: a known ODE, one learned from its trajectories, a latent space.

python experiments/slope_field/run.py [--smoke] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from latentode import LatentODEForecaster, ModelConfig, Schema, TrainingConfig
from latentode.ode import Context, Dynamics, MLPDynamics, Solver
from latentode.plotting.fields import latent_slope_field, slope_field
from latentode.plotting.phase import Plane, latent_paths

HERE = Path(__file__).parent
WINDOW = (0.0, 3.5)
NOISE = 0.03
DURATION, OBSERVATIONS = 12.0, 60
FINE = Solver("rk4", 200)


class LotkaVolterra(Dynamics):
    """Prey x and predators y: dx/dt = x (1 - y), dy/dt = 0.75 y (x - 1); every path is closed."""

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        x, y = z.unbind(1)
        return torch.stack([x * (1 - y), 0.75 * y * (x - 1)], dim=1)


def starts(n: int, generator: torch.Generator) -> Tensor:
    """Initial states, at most three quarters of the mean away from it."""
    return 1 + 1.5 * (torch.rand(n, 2, generator=generator) - 0.5)


def trajectories(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Irregular times `(n, observations)` and noisy states `(n, observations, 2)`."""
    times = torch.sort(DURATION * torch.rand(n, OBSERVATIONS, generator=generator), dim=1)[0]
    z0, t0 = starts(n, generator), torch.zeros(n)
    path = FINE.solve(LotkaVolterra(), z0, t0, torch.full((n,), DURATION))
    states = path(times)
    return times, states + NOISE * torch.randn(states.shape, generator=generator)


def learn(times: Tensor, states: Tensor, steps: int, seed: int = 0, ahead: int = 8) -> MLPDynamics:
    """A field whose solution from an observation meets the `ahead` next ones at their times."""
    torch.manual_seed(seed)
    field, solver = MLPDynamics(2, (48, 48)), Solver("rk38", 6)
    optimiser = torch.optim.Adam(field.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    n, length = times.shape
    for _ in range(steps):
        row = torch.randint(n, (128, 1))
        place = torch.randint(length - ahead, (128, 1)) + torch.arange(ahead + 1)
        t, z = times[row, place], states[row, place]
        path = solver.solve(field, z[:, 0], t[:, 0], t[:, -1])
        loss = (path(t[:, 1:]) - z[:, 1:]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return field


def field_error(field: Dynamics, states: Tensor) -> float:
    """Root mean square of the difference of a field from the true one, over that of the true one."""
    t = torch.zeros(len(states))
    with torch.no_grad():
        true = LotkaVolterra()(t, states)
        return ((field(t, states) - true).norm() / true.norm()).item()


def path_error(field: Dynamics, z0: Tensor) -> float:
    """Root mean square distance of solutions from the true ones, a whole duration from new starts."""
    ends = torch.zeros(len(z0)), torch.full((len(z0),), DURATION)
    with torch.no_grad():
        gap = FINE.solve(field, z0, *ends).states - FINE.solve(LotkaVolterra(), z0, *ends).states
    return gap.square().sum(2).mean().sqrt().item()


def table(times: Tensor, states: Tensor) -> pd.DataFrame:
    """The trajectories as a user would have them."""
    parts = [
        pd.DataFrame({"series": i, "time": t.numpy(), "prey": z[:, 0].numpy(), "predators": z[:, 1]})
        for i, (t, z) in enumerate(zip(times.double(), states.double(), strict=True))
    ]
    return pd.concat(parts, ignore_index=True)


def fit(frame: pd.DataFrame, epochs: int) -> LatentODEForecaster:
    """The classic latent ODE on the table: one state of four dimensions per series."""
    # Counted from nothing, z holds where the system is, not how far it is from where it was last seen.
    network = ModelConfig(latent="joint", latent_size=4, hidden_size=48, structure=None)
    training = TrainingConfig(max_epochs=epochs, lr=3e-3)
    model = LatentODEForecaster(4.0, 8.0, model=network, training=training, verbose=False)
    return model.fit(frame, Schema(id="series", time="time", cycles=()))


def draw(field: Dynamics, model: LatentODEForecaster, frame: pd.DataFrame, file: Path) -> None:
    """The three portraits side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, figsize=(14, 4.7), layout="constrained")
    z0 = torch.stack([torch.ones(5), torch.linspace(0.25, 0.9, 5)], dim=1)
    span = (0.0, DURATION)
    for axes, shown, title in (
        (panels[0], LotkaVolterra(), "known: Lotka-Volterra"),
        (panels[1], field, "learned from noisy trajectories"),
    ):
        slope_field(shown, WINDOW, WINDOW, starts=z0, span=span, axes=axes)
        axes.set(title=title, xlabel="prey", ylabel="predators")
    latent_slope_field(model, frame[frame["series"] < 12], axes=panels[2], ahead=8.0)
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few trajectories, short trainings")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/slope_field")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/slope_field") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    n, steps, epochs = (20, 60, 1) if arguments.smoke else (60, 1500, 60)
    times, states = trajectories(n, torch.Generator().manual_seed(0))
    fresh = torch.Generator().manual_seed(1)
    field, new = learn(times, states, steps), starts(100, fresh)
    frame, later = table(times, states), table(*trajectories(30, fresh))
    model = fit(frame, epochs)
    latent, _, _ = latent_paths(model, later, ahead=8.0)
    results = {
        "trajectories": n,
        "noise": NOISE,
        "field error where observed": field_error(field, states.flatten(0, 1)),
        "field error untrained": field_error(MLPDynamics(2, (48, 48)), states.flatten(0, 1)),
        "path error from new starts": path_error(field, new),
        "spread of true paths": states.flatten(0, 1).std(0).norm().item(),
        "skill of the forecaster on new trajectories": model.score(later),
        "variance of latent paths in the plane": Plane.of(latent.flatten(0, 1)).explained,
    }
    print(json.dumps(results, indent=1))
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(field, model, later, folder / "slope_field.png")


if __name__ == "__main__":
    main()
