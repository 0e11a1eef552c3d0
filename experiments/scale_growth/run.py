"""Does a forecast's scale do better if it is told the lead time?

    python experiments/scale_growth/run.py [--smoke] [--epochs 20] [--seeds 2] [--out FOLDER]

Fits the storms before 2018, and random walks, whose deviation is known to be the square root of the
lead, with `scale_growth` off (only z(t) tells the lead) and on, and scores forecasts of later ones.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy import stats

from latentode import LatentODEForecaster, ModelConfig, Schema, TrainingConfig
from latentode.cli.demo import FIRST_TEST_YEAR, SCHEMA, SHOWN, storms_path
from latentode.data.files import read_table

HERE = Path(__file__).parent
KINDS = {"off": False, "on": True}
BINS = (0.0, 12.0, 24.0, 48.0, 72.0)
ORIGINS = 20
WALK_HORIZON, NOISE = 8.0, 0.1


def storms(smoke: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Storms to learn from and later ones."""
    table = read_table(storms_path(), SCHEMA)
    first = pd.to_datetime(table.groupby("id")["time"].transform("min"))
    later = first.dt.year >= FIRST_TEST_YEAR
    if smoke:
        keep = table["id"].isin(table["id"].drop_duplicates().iloc[::20])
        return table[~later & keep], table[later & keep]
    return table[~later], table[later]


def walks(n: int, seed: int) -> pd.DataFrame:
    """Brownian motions seen with a little noise at 40 irregular times."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        time = np.sort(rng.uniform(0, 32, 40))
        path = np.cumsum(rng.normal(size=40) * np.sqrt(np.diff(time, prepend=0.0)))
        x = path + NOISE * rng.normal(size=40)
        rows.append(pd.DataFrame({"id": f"{seed}-{i}", "time": time, "x": x}))
    return pd.concat(rows, ignore_index=True)


def fit(
    train: pd.DataFrame, schema: Schema, horizon: Any, growth: bool, epochs: int, seed: int
) -> LatentODEForecaster:
    """The default forecaster, its scale told the lead or not."""
    model = LatentODEForecaster(
        horizon,
        model=ModelConfig(scale_growth=growth),
        training=TrainingConfig(max_epochs=epochs, patience=epochs),
        verbose=False,
        random_state=seed,
    )
    return model.fit(train, schema)


def scored(frame: pd.DataFrame, unit: dict[str, float]) -> pd.DataFrame:
    """Each forecast's CRPS and negative log-likelihood, in units per variable, and its probability.

    Both in closed form: with z(t0) a point, the default, a forecast is one normal distribution.
    """
    one = frame["variable"].map(unit)
    z = (frame["actual"] - frame["mean"]) / frame["std"]
    density = stats.norm.pdf(z)
    crps = frame["std"] * (z * (2 * stats.norm.cdf(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))
    nll = -stats.norm.logpdf(z) + np.log(frame["std"] / one)
    return frame.assign(crps=crps / one, nll=nll, rank=stats.norm.cdf(z))


def figures_of(frame: pd.DataFrame, bins: tuple[float, ...]) -> dict[str, float]:
    """Means over observations, and the coverage of the 80 % interval by lead."""
    inside = (frame["rank"] - 0.5).abs() <= 0.4
    figures = {"CRPS": float(frame["crps"].mean()), "NLL": float(frame["nll"].mean())}
    figures["coverage"] = float(inside.mean())
    lead = pd.cut(frame["lead"], bins)
    by_lead = inside.groupby(lead, observed=True).mean()
    for interval, part in by_lead.items():
        figures[f"coverage to {interval.right:g}"] = float(part)  # type: ignore[attr-defined]
    figures["coverage, largest miss over leads"] = float((by_lead - 0.8).abs().max())
    return figures


def deviations(frame: pd.DataFrame, edges: np.ndarray) -> pd.Series:
    """Mean predicted deviation by lead."""
    return frame.groupby(pd.cut(frame["lead"], edges), observed=True)["std"].mean()


def run_storms(smoke: bool, epochs: int, seeds: int) -> dict[str, dict[str, float]]:
    """Figures per kind, means over seeds."""
    train, test = storms(smoke)
    unit = {str(v): float(train[v].std()) for v in SHOWN}
    found = {}
    for kind, growth in KINDS.items():
        each = []
        for seed in range(seeds):
            model = fit(train, SCHEMA, "72h", growth, epochs, seed)
            made = model.backtest(test, quantiles=(0.5,), origins=ORIGINS)
            own = scored(made[made["variable"].isin(SHOWN)], unit)
            each.append(figures_of(own, BINS))
            print(f"storms, growth {kind}, seed {seed}", json.dumps(each[-1]), flush=True)
        found[kind] = {k: float(np.mean([e[k] for e in each])) for k in each[0]}
        found[kind]["CRPS, range of seeds"] = float(np.ptp([e["CRPS"] for e in each]))
    return found


def run_walks(
    n: int, epochs: int, seed: int = 0
) -> tuple[dict[str, dict[str, float]], dict[str, pd.DataFrame]]:
    """Figures per kind beside those of the true distribution from the last value, and the forecasts."""
    train, test = walks(n, seed), walks(max(10, n // 2), seed + 1000)
    found, frames = {}, {}
    for kind, growth in KINDS.items():
        model = fit(train, Schema(), WALK_HORIZON, growth, epochs, seed)
        made = model.backtest(test, quantiles=(0.5,), origins=ORIGINS)
        frames[kind] = scored(made, {"x": 1.0})
        truth = np.sqrt(made["lead"] + 2 * NOISE**2)  # of the truth about the last noisy value
        found[kind] = figures_of(frames[kind], (0.0, 1.0, 2.0, 4.0, 8.0))
        found[kind]["log deviation over the true one, rms"] = float(
            np.sqrt((np.log(made["std"] / truth) ** 2).mean())
        )
        if growth:
            (exponent,) = model.network_.emission.growth.exponent.tolist()  # type: ignore[union-attr]
            found[kind]["learned exponent"] = exponent
        print(f"walks, growth {kind}", json.dumps(found[kind]), flush=True)
    return found, frames


def draw(frames: dict[str, pd.DataFrame], path: Path) -> None:
    """Predicted deviation against lead, beside the true one."""
    edges = np.linspace(0, WALK_HORIZON, 17)
    middle = (edges[1:] + edges[:-1]) / 2
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for kind, frame in frames.items():
        axes.plot(middle, deviations(frame, edges).to_numpy(), ".-", label=f"scale_growth {kind}")
    axes.plot(middle, np.sqrt(middle + 2 * NOISE**2), "k--", label="true")
    axes.set(xlabel="lead", ylabel="deviation", title="Random walks")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few storms and walks, one epoch")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/scale_growth")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/scale_growth") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    epochs, seeds = (1, 1) if arguments.smoke else (arguments.epochs, arguments.seeds)
    on_walks, frames = run_walks(20 if arguments.smoke else 150, epochs)
    draw(frames, folder / "deviations.png")
    on_storms = run_storms(arguments.smoke, epochs, seeds)
    results = {"walks": on_walks, "storms": on_storms}
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
