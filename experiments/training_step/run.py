"""A whole training step of the main job's model: encoders, threads, and what a union grid would cost.

    python experiments/training_step/run.py [--smoke] [--repeats 7] [--out FOLDER]

64 series with 50 to 200 times of their own, no two alike; 4 variables, latent 16, width 64; forward,
backward and Adam. Milliseconds are medians over repeats in one run; ratios are what to read.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchdiffeq
from torch import Tensor, nn

from latentode.data import Batch, Observations
from latentode.model import build_latent_ode
from latentode.objective import elbo_terms, negative_elbo
from latentode.ode import Context, MLPDynamics

HERE = Path(__file__).parent
VARIABLES, LATENT, WIDTH = 4, 16, 64


def make_batch(n_series: int, least: int, most: int, seed: int = 0) -> Batch:
    """Series on clocks of their own: context in [-1, 0], targets in (0, 1]."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(least, most + 1, n_series)
    series = torch.from_numpy(np.repeat(np.arange(n_series), counts))
    n = len(series)
    time_ = torch.from_numpy(generator.uniform(-1, 1, n))
    variable = torch.from_numpy(generator.integers(0, VARIABLES, n))
    value = torch.sin(5 * time_ + series) + 0.1 * torch.from_numpy(generator.normal(size=n))
    everything = Observations(series, variable, time_, value)
    start = torch.full((n_series,), -1.0, dtype=torch.float64)
    empty = torch.zeros(n_series, 0, dtype=torch.float64)
    return Batch(
        everything.select(time_ <= 0),
        everything.select(time_ > 0),
        start,
        empty,
        empty,
        empty[..., None],
    )


def stepper(encoder: str, batch: Batch, samples: int = 1) -> Callable[[], None]:
    """One optimiser step of this package's model."""
    torch.manual_seed(0)
    model = build_latent_ode(
        VARIABLES, latent_size=LATENT, hidden_size=WIDTH, encoder=encoder, time_scale=1.0
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        noise = torch.randn(samples, len(batch), LATENT)
        negative_elbo(elbo_terms(model, batch, noise)).backward()
        optimizer.step()

    return step


class UnionGrid(nn.Module):
    """The same parts on the union of the batch's times, as the field's reference code arranges it."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(2 * VARIABLES, WIDTH)
        self.between = MLPDynamics(WIDTH, hidden=(WIDTH,))
        self.head = nn.Linear(WIDTH, 2 * LATENT)
        self.dynamics = MLPDynamics(LATENT, hidden=(WIDTH, WIDTH))
        self.decoder = nn.Sequential(nn.Linear(LATENT, WIDTH), nn.Tanh(), nn.Linear(WIDTH, VARIABLES))

    def loss(self, batch: Batch, ode_encoder: bool) -> Tensor:
        seen, asked, n = batch.context, batch.target, len(batch)
        state, before = torch.zeros(n, WIDTH), torch.tensor(0.0)
        times, place = seen.time.unique(return_inverse=True)
        value = torch.zeros(len(times), n, VARIABLES)
        value[place, seen.series, seen.variable] = seen.value.float()
        mask = torch.zeros_like(value)
        mask[place, seen.series, seen.variable] = 1.0
        for i in range(len(times) - 1, -1, -1):
            now = times[i].float()
            if ode_encoder:
                state = state + (now - before) * self.between(now.expand(n), state)
            updated = self.cell(torch.cat([value[i], mask[i]], dim=1), state)
            state = torch.where(mask[i].any(dim=1, keepdim=True), updated, state)
            before = now
        loc, spread = self.head(state).chunk(2, dim=1)
        z0 = loc + nn.functional.softplus(spread) * torch.randn(n, LATENT)
        grid, where = asked.time.unique(return_inverse=True)
        grid = torch.cat([torch.zeros(1), grid.float()])

        def field(t: Tensor, z: Tensor) -> Tensor:
            return self.dynamics(t.expand(n), z, Context())

        path = torchdiffeq.odeint(field, z0, grid, method="dopri5", rtol=1e-3, atol=1e-4)
        assert isinstance(path, Tensor)
        mean = self.decoder(path[1:])[where, asked.series, asked.variable]
        return (mean - asked.value.float()).square().mean()


def union_stepper(batch: Batch, ode_encoder: bool) -> Callable[[], None]:
    """One optimiser step on the union grid."""
    torch.manual_seed(0)
    model = UnionGrid()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        model.loss(batch, ode_encoder).backward()
        optimizer.step()

    return step


def median_ms(step: Callable[[], None], repeats: int, warm: bool = True) -> float:
    """Median wall time of a call in milliseconds."""
    if warm:
        step()
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        step()
        taken.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, seconds")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    batch = make_batch(4, 5, 10) if arguments.smoke else make_batch(64, 50, 200)
    repeats = 1 if arguments.smoke else arguments.repeats
    figures: dict[str, float] = {}

    torch.set_num_threads(1)
    for encoder in ("gru", "ode-rnn", "linear"):
        figures[f"{encoder}, own clocks"] = median_ms(stepper(encoder, batch), repeats)
    for name, ode_encoder in (("gru", False), ("ode-rnn", True)):
        union = median_ms(union_stepper(batch, ode_encoder), 1, warm=False)
        figures[f"{name}, union grid"] = union
        figures[f"{name}, union grid / own clocks"] = union / figures[f"{name}, own clocks"]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for encoder in ("gru", "linear"):
            figures[f"{encoder}, {threads} threads"] = median_ms(stepper(encoder, batch), repeats)

    for name, figure in figures.items():
        print(f"{name:40s} {figure:12.1f} {'x' if '/' in name else 'ms'}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    rounded = {k: round(v, 2) for k, v in figures.items()}
    (arguments.out / "results.json").write_text(json.dumps(rounded, indent=1))


if __name__ == "__main__":
    main()
