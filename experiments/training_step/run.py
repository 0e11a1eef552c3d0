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
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from peers import before_loss, union_loss
from torch import Tensor

from latentode.data import Batch, Observations
from latentode.model import LatentODE, ModelConfig, Sizes
from latentode.model.objective import elbo_terms, negative_elbo

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
        empty[..., None][..., :0],
    )


def make_model(encoder: str) -> LatentODE:
    """The model in the joint layout, the one that reference code has."""
    torch.manual_seed(0)
    config = ModelConfig(
        latent="joint", latent_size=LATENT, hidden_size=WIDTH, encoder=encoder, structure="last-value"
    )
    return config.build(Sizes(n_variables=VARIABLES))


def stepper(encoder: str, batch: Batch, samples: int = 1) -> Callable[[], None]:
    """One optimiser step of this package's model."""
    model = make_model(encoder)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        noise = torch.randn(samples, len(batch), LATENT)
        negative_elbo(elbo_terms(model, batch, noise)).backward()
        optimizer.step()

    return step


def peer_stepper(loss: Callable[[LatentODE], Tensor], encoder: str) -> Callable[[], None]:
    """One optimiser step of the same model with another arrangement's loss."""
    model = make_model(encoder)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()

    return step


def check_same_loss() -> None:
    """The arrangements must agree on the loss; the union grid's GRU reads empty events too."""
    batch = make_batch(6, 20, 40)
    for encoder, losses in (
        ("gru", [before_loss]),
        ("ode-rnn", [partial(union_loss, encoder="ode-rnn")]),
    ):
        model = make_model(encoder)
        model.solver = replace(model.solver, intervals=32)
        torch.manual_seed(0)
        own = negative_elbo(elbo_terms(model, batch, torch.randn(1, len(batch), LATENT)))
        for loss in losses:
            torch.manual_seed(0)
            torch.testing.assert_close(loss(model, batch=batch), own, rtol=1e-3, atol=0.0)


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
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/training_step")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/training_step") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    batch = make_batch(4, 5, 10) if arguments.smoke else make_batch(64, 50, 200)
    repeats = 1 if arguments.smoke else arguments.repeats
    figures: dict[str, float] = {}

    torch.set_num_threads(1)
    check_same_loss()
    for encoder in ("gru", "ode-rnn", "linear"):
        figures[f"{encoder}, own clocks"] = median_ms(stepper(encoder, batch), repeats)
    before = peer_stepper(lambda model: before_loss(model, batch), "gru")
    figures["gru, before"] = median_ms(before, repeats)
    figures["gru, before / after"] = figures["gru, before"] / figures["gru, own clocks"]
    for name in ("gru", "ode-rnn"):
        on_union = partial(union_loss, batch=batch, encoder=name)
        union = median_ms(peer_stepper(on_union, name), 1, warm=False)
        figures[f"{name}, union grid"] = union
        figures[f"{name}, union grid / own clocks"] = union / figures[f"{name}, own clocks"]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for encoder in ("gru", "linear"):
            figures[f"{encoder}, {threads} threads"] = median_ms(stepper(encoder, batch), repeats)

    for name, figure in figures.items():
        print(f"{name:40s} {figure:12.1f} {'x' if '/' in name else 'ms'}")
    rounded = {k: round(v, 2) for k, v in figures.items()}
    (folder / "results.json").write_text(json.dumps(rounded, indent=1))


if __name__ == "__main__":
    main()
