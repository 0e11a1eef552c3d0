r"""When will the next observation come? Fitted intensities beside the true one and a constant rate.

    python experiments/event_times/run.py [--smoke] [--out FOLDER]

Simulated: in each series a phase drives both what is observed and how often,
$x(t) = \sin(2 \pi t / P + \varphi) + \varepsilon$ and
$\lambda(t) = \lambda_0 e^{a \sin(2 \pi t / P + \varphi)}$. Real: fixes of Atlantic storms, and, where
`LATENTODE_DATA` names the folder of public data, measurements of intensive-care patients.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from latentode import LatentODEForecaster, ModelConfig, Schema, SolverConfig, TrainingConfig
from latentode.cli.demo import FIRST_TEST_YEAR, SCHEMA, storms_path
from latentode.data.files.table_files import read_table

HERE = Path(__file__).parent
PERIOD, BASE, AMPLITUDE, NOISE, SPAN = 6.0, 3.0, 1.2, 0.2, 24.0
CUT, AHEAD = 12.0, 6.0
SEEDS = (0, 1, 2)
VITALS = ("HR", "NISysABP", "RespRate", "Temp", "Urine", "GCS")


def true_rate(time: np.ndarray, phase: np.ndarray | float) -> np.ndarray:
    """The simulated intensity."""
    return BASE * np.exp(AMPLITUDE * np.sin(2 * np.pi * time / PERIOD + phase))


def simulated(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Series on [0, 24] by thinning a homogeneous process, and their phases.

    The last row of each is without a value: the watch went on until then.
    """
    rng = np.random.default_rng(seed)
    parts, phases = [], rng.uniform(0, 2 * np.pi, n)
    highest = BASE * np.exp(AMPLITUDE)
    for i, phase in enumerate(phases):
        time = np.sort(rng.uniform(0, SPAN, rng.poisson(highest * SPAN)))
        time = time[rng.uniform(size=len(time)) * highest < true_rate(time, phase)]
        x = np.sin(2 * np.pi * time / PERIOD + phase) + NOISE * rng.normal(size=len(time))
        end = pd.DataFrame({"time": [SPAN], "x": [np.nan]})
        made = pd.concat([pd.DataFrame({"time": time, "x": x}), end]).assign(id=f"{seed}-{i:04}")
        parts.append(made)
    return pd.concat(parts, ignore_index=True), phases


def true_log_likelihood(frame: pd.DataFrame, phases: np.ndarray) -> float:
    """Of the times after each series' first, by the intensity that made them."""
    total, grid = 0.0, np.linspace(0, 1, 2001)
    for (_, own), phase in zip(frame.groupby("id"), phases, strict=True):
        times = own["time"].to_numpy()[:-1]
        span = times[0] + grid * (SPAN - times[0])
        total += np.log(true_rate(times[1:], phase)).sum()
        total -= np.trapezoid(true_rate(span, phase), span)
    return float(total)


def network(intervals: int) -> ModelConfig:
    """A latent ODE that models values and when they are observed."""
    return ModelConfig(
        latent="joint",
        hidden_size=48,
        solver=SolverConfig(intervals=intervals),
        structure="last-value",
        observation_times="poisson",
    )


def trained(epochs: int, lr: float = 3e-3, **settings: float) -> TrainingConfig:
    """Training that keeps the weights by which held-out times are likeliest."""
    return TrainingConfig(max_epochs=epochs, lr=lr, monitor="val_times", **settings)  # type: ignore[arg-type]


def per_event(model: LatentODEForecaster, frame: pd.DataFrame) -> dict[str, float]:
    """Held-out log-likelihood of times by the model and by the constant rate of training."""
    found = model.observation_times(frame).log_likelihood()
    events = int(found["events"].sum())
    return {
        "events": events,
        "log-likelihood per event": float(found["log_likelihood"].sum() / events),
        "constant rate": float(found["constant"].sum() / events),
        "series better than by the constant rate": float(
            (found["log_likelihood"] > found["constant"]).mean()
        ),
    }


def on_simulated(smoke: bool, folder: Path | None = None) -> dict[str, Any]:
    """Three fits that differ by their seed; all figures of the one whose gain is the median."""
    fits = sorted(
        (one_simulated(smoke, seed, folder) for seed in ((0,) if smoke else SEEDS)),
        key=lambda fit: fit["part of the possible gain"],
    )
    chosen = fits[len(fits) // 2]
    if folder is not None:
        for fit in fits:
            name = folder / f"intensity-{fit['seed']}.png"
            name.replace(folder / "intensity.png") if fit is chosen else name.unlink()
    return chosen | {"part of the possible gain, all": [f["part of the possible gain"] for f in fits]}


def one_simulated(smoke: bool, seed: int, folder: Path | None = None) -> dict[str, float]:
    """Fits, scores on held-out series, and compares intensities ahead of histories cut at hour 12."""
    train, _ = simulated(60 if smoke else 300, 1)
    test, phases = simulated(20 if smoke else 100, 2)
    training = trained(20, lr=1e-2) if smoke else trained(40)
    model = LatentODEForecaster(
        AHEAD, CUT, model=network(8), training=training, verbose=False, random_state=seed
    )
    model.fit(train, Schema(id="id", time="time", targets=("x",), cycles=()))
    figures = {"seed": seed, **per_event(model, test)}
    figures["true intensity"] = true_log_likelihood(test, phases) / figures["events"]
    gained = figures["log-likelihood per event"] - figures["constant rate"]
    possible = figures["true intensity"] - figures["constant rate"]
    figures["part of the possible gain"] = gained / possible

    history = test[test["time"] <= CUT]
    grid = np.linspace(CUT, CUT + AHEAD, 61)[1:]
    times = model.observation_times(history)
    found = times.intensity(at=grid)
    fitted = found["intensity"].to_numpy().reshape(len(phases), -1)
    truth = true_rate(grid, phases[:, None])
    rate = np.full_like(truth, model.network_.sizes.event_rate)  # type: ignore[union-attr]
    counts = times.expected_counts(at=[CUT, CUT + AHEAD])
    expected = counts.groupby("id")["expected"].last().to_numpy()
    happened = test[(test["time"] > CUT) & (test["time"] <= CUT + AHEAD)].groupby("id").size()
    figures |= {
        "rms error of the intensity": float(np.sqrt(np.mean((fitted - truth) ** 2))),
        "rms error of the constant rate": float(np.sqrt(np.mean((rate - truth) ** 2))),
        "correlation with the true intensity": float(np.corrcoef(fitted.ravel(), truth.ravel())[0, 1]),
        "expected count ahead, mean": float(expected.mean()),
        "count ahead, mean": float(happened.reindex(history["id"].unique(), fill_value=0).mean()),
    }
    if folder is not None:
        draw(folder / f"intensity-{seed}.png", test, phases, grid, fitted, float(rate[0, 0]))
    return figures


def draw(
    path: Path,
    test: pd.DataFrame,
    phases: np.ndarray,
    grid: np.ndarray,
    fitted: np.ndarray,
    constant: float,
) -> None:
    """Four held-out series: when they were observed, and the intensity ahead of hour 12."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    for i, (axis, (_, own)) in enumerate(zip(axes, test.groupby("id"), strict=False)):
        along = np.linspace(0, CUT + AHEAD, 400)
        axis.plot(along, true_rate(along, phases[i]), color="0.6", label="true intensity")
        axis.plot(grid, fitted[i], color="C3", label="fitted, from what was seen by hour 12")
        axis.axhline(constant, color="C0", lw=0.8, ls="--", label="constant rate")
        axis.axvline(CUT, color="k", lw=0.8)
        seen = own["time"].to_numpy()[:-1]
        axis.plot(seen[seen <= CUT + AHEAD], 0 * seen[seen <= CUT + AHEAD], "k|", ms=8)
    axes[0].legend(fontsize=7, loc="upper left")
    for axis in axes[2:]:
        axis.set_xlabel("hours")
    for axis in axes[::2]:
        axis.set_ylabel("observations per hour")
    figure.savefig(path, dpi=120)


def within(frame: pd.DataFrame, column: str, width: float, seed: int) -> pd.DataFrame:
    """Times spread over the interval that they were cut off to: a density needs no grid."""
    rng = np.random.default_rng(seed)
    return frame.assign(**{column: frame[column] + rng.uniform(0, width, len(frame))})


def on_storms(smoke: bool) -> dict[str, float]:
    """Fixes of storms, in hours since each one's first; the source cuts minutes off."""
    table = read_table(storms_path(), SCHEMA)
    stamp = pd.to_datetime(table["time"], utc=True)
    first = stamp.groupby(table["id"]).transform("min")
    table = table.assign(time=(stamp - first).dt.total_seconds() / 3600)
    table = within(table, "time", 1.0, 0)
    later = first.dt.year >= FIRST_TEST_YEAR
    if smoke:
        keep = table["id"].isin(table["id"].drop_duplicates().iloc[::8])
        table, later = table[keep], later[keep]
    schema = Schema(id="id", time="time", targets=("lat", "long", "wind", "pressure"), cycles=())
    training = trained(2 if smoke else 30, lr=1e-2, time_weight=10.0)
    model = LatentODEForecaster(12.0, 72.0, model=network(24), training=training, verbose=False)
    return per_event(model.fit(table[~later], schema), table[later])


def on_patients(folder: Path, smoke: bool) -> dict[str, float]:
    """When vital signs of intensive-care patients are measured, in hours since admission."""

    def read(part: str, n: int) -> pd.DataFrame:
        table = pd.read_parquet(folder / f"{part}.parquet")
        table = table[table["variable"].isin(VITALS)]
        chosen = table["series"].drop_duplicates().iloc[: n // 10 if smoke else n]
        table = table[table["series"].isin(chosen)].astype({"variable": str, "hours": float})
        times = table[["series", "hours"]].drop_duplicates()
        moved = within(times.assign(moved=times["hours"]), "moved", 1 / 60, 0)
        table = table.merge(moved).drop(columns="hours").rename(columns={"moved": "hours"})
        ends = pd.DataFrame({"series": chosen, "variable": "HR", "value": np.nan, "hours": 48.1})
        return pd.concat([table, ends], ignore_index=True)

    schema = Schema(
        id="series",
        time="hours",
        targets=VITALS,
        layout="long",
        variable="variable",
        value="value",
        cycles=(),
    )
    training = trained(4 if smoke else 16)
    model = LatentODEForecaster(4.0, 16.0, model=network(8), training=training, verbose=False)
    return per_event(model.fit(read("train", 800), schema), read("validation", 200))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few series and epochs")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/event_times")
    parser.add_argument("--only", choices=("simulated", "storms", "patients"))
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/event_times") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    runs = {
        "simulated": lambda: on_simulated(arguments.smoke, folder),
        "storms": lambda: on_storms(arguments.smoke),
    }
    data = os.environ.get("LATENTODE_DATA")
    if data and not arguments.smoke:
        runs["patients"] = lambda: on_patients(Path(data) / "physionet2012", arguments.smoke)
    path = folder / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for name, run in runs.items():
        if arguments.only not in (None, name):
            continue
        begin = time.process_time()
        results[name] = run()
        results[name]["cpu seconds"] = round(time.process_time() - begin, 1)
        print(name, json.dumps(results[name], indent=1))
        path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
