"""The latent ODE of the 2018 paper on two-dimensional spirals, beside recurrent networks of its size.

    python experiments/spirals/run.py [--smoke] [--epochs 120] [--counts 30 50 100] [--out FOLDER]

1,000 pieces of two spirals, half clockwise and half counter-clockwise, observed at irregular times with
noise. Models learn from 800 pieces of one and a half turns; of the 200 others they see one turn. Errors
are against the spirals without noise, at the times seen and at as dense times over the next half turn.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning import Trainer, seed_everything
from torch import Tensor, nn

from latentode import (
    Forecasting,
    IrregularDataModule,
    LatentODEModule,
    ModelConfig,
    Schema,
    TrainingConfig,
)
from latentode.data import Batch

HERE = Path(__file__).parent
SCHEMA = Schema(id="id", time="time", targets=("x", "y"), cycles=())
SEEN, ASKED = 1.0, 1.5  # turns: seen up to the first, asked for up to the second
NOISE = 0.1
BATCH, LR = 50, 1e-2  # of all models
CLASSIC = ModelConfig(latent="joint", latent_size=6, hidden_size=32, t0="start", structure=None)
VALUES_ALONE = "latent ODE, values alone"
LATENT = {
    "latent ODE": CLASSIC,
    VALUES_ALONE: CLASSIC.replace(reads="values"),  # as in the paper
    "latent ODE, linear": CLASSIC.replace(latent_size=8, dynamics="linear"),
}
TRAINING = TrainingConfig(lr=LR, context_weight=1.0, kl_warmup=300, samples=1)
# Widths that give the recurrent networks as many parameters as the latent ODE has.
RECURRENT = {"RNN": (nn.RNN, 86), "GRU": (nn.GRU, 49)}


@dataclass(frozen=True)
class Spirals:
    """Pieces of the spirals r = 0.3 + 0.1 angle, turned through with or against the clock.

    Args:
        direction: 1 or -1, shape `(series,)`.
        start: angle at time 0, shape `(series,)`.
        times: ascending, shape `(series, n + n / 2)`: n up to `SEEN`, the others after it.
        points: x and y with noise, shape `(series, n + n / 2, 2)`.
    """

    direction: np.ndarray
    start: np.ndarray
    times: np.ndarray
    points: np.ndarray

    @classmethod
    def drawn(cls, series: int, n: int, seed: int) -> Spirals:
        rng = np.random.default_rng(seed)
        direction = np.where(np.arange(series) % 2, 1.0, -1.0)
        start = rng.uniform(0, 4 * math.pi, series)
        seen = np.sort(rng.uniform(0, SEEN, (series, n)), axis=1)
        seen[:, 0] = 0.0  # where the latent ODE starts
        later = np.sort(rng.uniform(SEEN, ASKED, (series, n // 2)), axis=1)
        blank = cls(direction, start, np.concatenate([seen, later], axis=1), np.empty(0))
        points = blank.truth(blank.times)
        points += NOISE * rng.normal(size=points.shape)
        return cls(direction, start, blank.times, points)

    def truth(self, times: np.ndarray) -> np.ndarray:
        """x and y without noise at `times` of shape `(series, times)`: shape `(series, times, 2)`."""
        angle = self.start[:, None] + 2 * math.pi * times
        radius = 0.3 + 0.1 * angle
        return np.stack([radius * np.cos(angle), self.direction[:, None] * radius * np.sin(angle)], 2)

    @property
    def n(self) -> int:
        """How many times of each are seen."""
        return self.times.shape[1] * 2 // 3

    def frame(self) -> pd.DataFrame:
        """All of it as a table."""
        names = np.repeat(np.arange(len(self.times)), self.times.shape[1])
        x, y = self.points.reshape(-1, 2).T
        return pd.DataFrame({"id": names, "time": self.times.reshape(-1), "x": x, "y": y})


class Recurrent(nn.Module):
    """Told each observation and the time to the next one, whose mean and scale it predicts."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        cell, hidden = RECURRENT[kind]
        self.cell = cell(3, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 4)

    def forward(self, values: Tensor, gaps: Tensor, h: Tensor | None = None) -> tuple[Tensor, ...]:
        """Mean and scale of the next values, and the state; values `(series, n, 2)`."""
        states, h = self.cell(torch.cat([values, gaps[..., None]], dim=2), h)
        mean, spread = self.head(states).chunk(2, dim=2)
        return values + mean, nn.functional.softplus(spread) + 1e-3, h

    @torch.no_grad()
    def roll_out(self, values: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """One step ahead over what was seen, then on its own predictions at the later `times`."""
        n, gaps = values.shape[1], times.diff(dim=1)
        seen, _, h = self(values[:, : n - 1], gaps[:, : n - 1])
        mean, answers = values[:, -1:], []
        for gap in gaps[:, n - 1 :].unbind(1):
            mean, _, h = self(mean, gap[:, None], h)
            answers.append(mean)
        return seen, torch.cat(answers, dim=1)


def quiet() -> None:
    """Keeps Lightning's notices out of the way."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*treespec.*")


def fit_latent_ode(
    kind: str, train: Spirals, epochs: int
) -> tuple[LatentODEModule, IrregularDataModule]:
    """Trained to explain what is seen and what comes next alike; with its data."""
    seed_everything(0, verbose=False)
    data = IrregularDataModule(
        train.frame(),
        schema=SCHEMA,
        task=Forecasting(horizon=ASKED - SEEN, origin=SEEN),
        batch_size=BATCH,
        windows_per_epoch=len(train.times),
    )
    module = LatentODEModule(data.sizes, LATENT[kind], TRAINING)
    trainer = Trainer(
        max_epochs=epochs,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    return module.eval(), data


def fit_recurrent(kind: str, train: Spirals, scale: tuple[Tensor, Tensor], epochs: int) -> Recurrent:
    """Maximum likelihood of each next observation, with the latent ODE's optimiser and batches."""
    torch.manual_seed(0)
    loc, unit = scale
    values = (torch.tensor(train.points).float() - loc) / unit
    gaps = torch.tensor(train.times).float().diff(dim=1)
    model = Recurrent(kind)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)
    steps = epochs * math.ceil(len(values) / BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(values)).split(BATCH):
            mean, spread, _ = model(values[chosen, :-1], gaps[chosen])
            loss = -torch.distributions.Normal(mean, spread).log_prob(values[chosen, 1:]).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval()


def scale_of(data: IrregularDataModule) -> tuple[Tensor, Tensor]:
    """Mean and deviation of x and y in training, by which both models see them."""
    return torch.tensor(data.scaling.loc).float(), torch.tensor(data.scaling.scale).float()


def everything(data: IrregularDataModule, test: Spirals) -> Batch:
    """All held-out spirals in one batch."""
    series = data.read(test.frame())
    return series.batch(np.arange(len(series)), data.task.fixed())


@torch.no_grad()
def answers(module: LatentODEModule, data: IrregularDataModule, test: Spirals) -> tuple[Tensor, Tensor]:
    """The latent ODE's means at the times seen and later, each of shape `(series, times, 2)`."""
    batch = everything(data, test)
    noise = torch.randn(32, 1, module.model.latent_size, generator=torch.Generator().manual_seed(0))
    loc, unit = scale_of(data)
    found = []
    for part in (batch.context, batch.target):
        mean = module.model(batch, part.queries(), noise)[0].mean.mean(dim=0)
        order = np.lexsort((part.variable, part.time, part.series))
        found.append(mean[order].view(len(test.times), -1, 2) * unit + loc)
    return found[0], found[1]


def rmse(found: Tensor, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found.double().numpy() - truth) ** 2)))


def study(n: int, series: int, epochs: int) -> tuple[dict[str, float], dict[str, object]]:
    """Figures for `n` observations of each spiral, and what the picture needs."""
    train, test = Spirals.drawn(series, n, seed=0), Spirals.drawn(max(4, series // 4), n, seed=1)
    truth, figures, fitted = test.truth(test.times), {}, {}
    for kind in LATENT:
        begin = time.process_time()
        module, data = fitted[kind] = fit_latent_ode(kind, train, epochs)
        taken = time.process_time() - begin
        seen, later = answers(module, data, test)
        figures |= {
            f"{kind} reconstruction": rmse(seen, truth[:, :n]),
            f"{kind} extrapolation": rmse(later, truth[:, n:]),
            f"{kind} parameters": sum(p.numel() for p in module.model.parameters()),
            f"{kind} training seconds": taken,
        }
    module, data = fitted["latent ODE"]
    loc, unit = scale_of(data)
    points = (torch.tensor(test.points[:, :n]).float() - loc) / unit
    kept = {"module": module, "data": data, "test": test}
    for kind in RECURRENT:
        begin = time.process_time()
        model = fit_recurrent(kind, train, (loc, unit), epochs)
        taken = time.process_time() - begin
        ahead, rolled = model.roll_out(points, torch.tensor(test.times).float())
        kept[kind] = rolled * unit + loc
        figures |= {
            f"{kind} one step ahead": rmse(ahead * unit + loc, truth[:, 1:n]),
            f"{kind} extrapolation": rmse(kept[kind], truth[:, n:]),
            f"{kind} parameters": sum(p.numel() for p in model.parameters()),
            f"{kind} training seconds": taken,
        }
    return figures, kept


@torch.no_grad()
def paths(
    module: LatentODEModule, data: IrregularDataModule, test: Spirals, points: int
) -> tuple[Tensor, Tensor]:
    """Latent trajectories and what is decoded from them, over the whole span, series by series."""
    batch, model = everything(data, test), module.model
    middle = model.encode(batch).sample(torch.zeros(1, 1, model.latent_size))
    # A forecast goes on from the last time that was seen of each.
    ends = batch.start.float(), ASKED - torch.from_numpy(test.times[:, test.n - 1]).float()
    path = model.trajectory(batch, middle, ends[1])
    begin, end = (e[:, None] / model.time_scale for e in ends)
    z = path(torch.lerp(begin, end, torch.linspace(0, 1, points)[None]))
    variable = torch.arange(2).repeat(points)
    raw = model.layout.read(z.repeat_interleave(2, dim=1), variable)
    loc, unit = scale_of(data)
    return z, raw[..., 0].unflatten(1, (points, 2)) * unit + loc


def draw(path: Path, found: dict[str, object], n: int) -> None:
    """Held-out spirals with both models' answers, and the latent trajectories of all."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    test: Spirals = found["test"]  # type: ignore[assignment]
    z, decoded = paths(found["module"], found["data"], test, 150)  # type: ignore[arg-type]
    truth = test.truth(np.linspace(0, ASKED, 200)[None].repeat(len(test.times), 0))
    figure, axes = plt.subplots(1, 5, figsize=(17, 3.6))
    for i, ax in enumerate(axes[:4]):
        ax.plot(*truth[i].T, color="0.75", lw=4, label="spiral")
        ax.scatter(*test.points[i, :n].T, s=10, color="black", label="seen")
        ax.plot(*decoded[i].T, color="C0", label="latent ODE")
        for kind, colour in zip(RECURRENT, ("C3", "C1"), strict=True):
            ax.plot(*found[kind][i].T, color=colour, ls="--", label=f"{kind}, later")  # type: ignore[index]
        ax.set(xticks=[], yticks=[], aspect="equal")
    axes[0].legend(fontsize=7)
    flat = z.flatten(0, 1)
    plane = torch.pca_lowrank(flat - flat.mean(0), q=2, niter=8)[2]
    for row, direction in zip((z - flat.mean(0)) @ plane, test.direction, strict=True):
        axes[4].plot(*row.T, lw=0.5, color="C0" if direction > 0 else "C1")
    axes[4].set(title="z(t): counter-clockwise, clockwise", xticks=[], yticks=[])
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few spirals, two epochs")
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--counts", type=int, nargs="+", default=[30, 50, 100])
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/spirals")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/spirals") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    quiet()
    counts, series, epochs = arguments.counts, 800, arguments.epochs
    if arguments.smoke:
        counts, series, epochs = counts[:1], 60, 2
    figures: dict[str, float] = {}
    for n in counts:
        found, kept = study(n, series, epochs)
        figures |= {f"{n} observations: {what}": value for what, value in found.items()}
        if n == 30:
            draw(folder / "spirals.png", kept, n)
    for what, value in figures.items():
        print(f"{what:48} {value:.4g}")
    # Counts may be run one by one: the others' figures stay.
    results = folder / "results.json"
    before = json.loads(results.read_text()) if results.exists() else {}
    results.write_text(json.dumps(before | figures, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
