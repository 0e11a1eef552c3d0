"""Values inside a history: from both sides of them, from the past only, or by going back in time.

    python experiments/both_sides/run.py [--smoke] [--out FOLDER]

Noisy, irregular sines and damped oscillations of random frequency, amplitude and phase. Three tenths of
the times inside held-out histories are hidden and asked for, in three ways, by one and the same model.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch

from latentode import LatentODEForecaster, ModelConfig, Schema, TrainingConfig
from latentode.evaluation.metrics import score_frame
from latentode.forecast import ForecastQueries

mpl.use("Agg")

HERE = Path(__file__).parent
HIDDEN = 0.3
BACK = 3.0  # how far after a time the origin lies from which the model goes back to it
SCHEMA = Schema(id="id", time="time", targets=("x",), cycles=())
JOINT = ModelConfig(latent="joint", latent_size=4, hidden_size=32, structure="last-value")
PER_VARIABLE = JOINT.replace(latent="per-variable", latent_size=8)
RATES = {"joint": 0.02, "per-variable": 0.01}
SERIES, EPOCHS = 60, 12
System = Callable[[np.ndarray, np.ndarray], np.ndarray]


def sine(t: np.ndarray, p: np.ndarray) -> np.ndarray:
    """A sine of random frequency and phase."""
    return np.sin((1 + p[0]) * t + 2 * np.pi * p[1])


def damped(t: np.ndarray, p: np.ndarray) -> np.ndarray:
    """A damped oscillation of random amplitude and phase."""
    return (0.5 + 1.5 * p[0]) * np.exp(-0.1 * t) * np.cos(2 * t + 2 * np.pi * p[1])


def table(system: System, n: int, seed: int, rows: int = 40, noise: float = 0.1) -> pd.DataFrame:
    """Series seen at random times within [0, 10], with noise."""
    rng, parts = np.random.default_rng(seed), []
    for i in range(n):
        time, p = np.sort(rng.uniform(0, 10, rows)), rng.uniform(size=3)
        value = system(time, p) + noise * rng.normal(size=rows)
        parts.append(pd.DataFrame({"id": i, "time": time, "x": value}))
    return pd.concat(parts, ignore_index=True)


def hide(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What is left of a table, and the rows inside histories that were hidden."""
    drawn = np.random.default_rng(seed).uniform(size=len(frame)) < HIDDEN
    hidden = drawn & frame["time"].between(2, 9.5).to_numpy()
    return frame[~hidden], frame[hidden].reset_index(drop=True)


def answers(model: LatentODEForecaster, history: pd.DataFrame, asked: pd.DataFrame) -> dict:
    """Frames of forecasts by way of answering, each with the hidden value as `actual`."""
    at = asked[["id", "time"]]
    found = {
        "both sides": model.predict(history, at),
        "past only": model.predict(history, at, smooth=False),
        "backwards": backwards(model, history, at),
    }
    return {way: frame.assign(actual=asked["x"].to_numpy()) for way, frame in found.items()}


def backwards(model: LatentODEForecaster, history: pd.DataFrame, at: pd.DataFrame) -> pd.DataFrame:
    """Everything up to `BACK` later is encoded, and the ODE solved back to the time asked for."""
    dataset = model.read(history)
    series = dataset.index_of(at["id"])
    time = at["time"].to_numpy() - dataset.start[series]
    seen = pd.DataFrame({"series": dataset.series, "origin": dataset.time}).sort_values("origin")
    places = pd.DataFrame({"series": series, "time": time + BACK}).sort_values("time")
    found = pd.merge_asof(places, seen, left_on="time", right_on="origin", by="series")
    origin = found["origin"].set_axis(places.index).sort_index().to_numpy()
    queries = ForecastQueries(series, np.zeros(len(at), dtype=np.int64), time, origin)
    fitted, keys = model.fitted_, at.reset_index(drop=True)
    return fitted.engine.forecast(fitted.series(dataset), queries, keys).to_frame()


def fit(system: System, config: ModelConfig, n: int, epochs: int) -> LatentODEForecaster:
    """A forecaster of some of the system's series."""
    training = TrainingConfig(max_epochs=epochs, lr=RATES[config.latent])
    model = LatentODEForecaster(2.0, 5.0, model=config, training=training, verbose=False)
    return model.fit(table(system, n, 0), SCHEMA)


def run(system: System, config: ModelConfig, n: int, epochs: int) -> dict[str, dict[str, float]]:
    """Scores by way of answering."""
    model = fit(system, config, n, epochs)
    history, asked = hide(table(system, max(10, n // 2), 1), 5)
    scores = {}
    for way, frame in answers(model, history, asked).items():
        scored = score_frame(frame)
        scores[way] = {
            "mae": float(scored["absolute"].mean()),
            "crps": float(scored["crps"].mean()),
            "coverage of 80 %": float(scored["inside"].mean()),
            "mean std": float(scored["std"].mean()),
        }
    return scores


def draw(path: Path, n: int, epochs: int) -> None:
    """One held-out series with a gap, answered from both sides and from the past only."""
    import matplotlib.pyplot as plt

    model, one = fit(sine, JOINT, n, epochs), table(sine, 1, 1)
    history = one[~one["time"].between(4.0, 5.2)]
    at = pd.DataFrame({"id": 0, "time": np.linspace(2, 9.5, 300)})
    figure, panels = plt.subplots(2, 1, figsize=(8, 5), sharex=True, sharey=True)
    for axes, smooth in zip(panels, (False, True), strict=True):
        found = model.predict(history, at, smooth=smooth)
        axes.fill_between(found["time"], found["q0.1"], found["q0.9"], alpha=0.3)
        axes.plot(found["time"], found["mean"])
        axes.plot(history["time"], history["x"], "k.", ms=4)
        axes.set_title("from both sides" if smooth else "from the past only", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few series, one epoch")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/both_sides")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/both_sides") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    n, epochs = (12, 1) if arguments.smoke else (SERIES, EPOCHS)
    figures = {}
    for system in (sine, damped):
        for config in (JOINT,) if arguments.smoke else (JOINT, PER_VARIABLE):
            for way, scores in run(system, config, n, epochs).items():
                figures[f"{system.__name__}, {config.latent}, {way}"] = scores
    print(pd.DataFrame(figures).T.round(3).to_string())
    (folder / "results.json").write_text(json.dumps(figures, indent=1) + "\n")
    draw(folder / "both_sides.png", n, epochs)


if __name__ == "__main__":
    main()
