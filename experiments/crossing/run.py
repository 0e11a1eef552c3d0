"""Crossing: how likely is it that glucose reaches 180 mg/dL within the hour, and how often does it?

    python experiments/crossing/run.py [--smoke] [--out FOLDER]

The forecaster of experiments/glucose, fitted on 24 March to 31 August 2010, is asked for first passages
in September and October, beside climatology, drift, a Gaussian process and logistic regression. Figures
go to results.json, a picture to reliability.png, beside this file unless --out says otherwise.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latentode import LatentODEForecaster, ModelConfig, Schema, TrainingConfig

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "glucose")]
import rolling  # noqa: E402
from classical.gaussian_process import GaussianProcess  # noqa: E402
from hours import LEVEL, Hours, find_hours  # noqa: E402
from judging import CURES, difference, recalibrated, reliability, scores  # noqa: E402
from readings import (  # noqa: E402
    CONTEXT,
    FIRST_TEST,
    HORIZON,
    LAST_KEPT_DAY,
    LAST_TEST,
    MODEL,
    TRAINING,
    divided,
    read,
)
from rivals import Binned, Climatology, Drift, Process, Rival, Shortcut  # noqa: E402

EVERY, EVERY_BEFORE = "31min", "15min"  # between cutoffs; 31 minutes are of all times of the day
SENSOR = "5min"
OURS, PATH = "latent ODE", "latent ODE, path between readings"
DRAWN = {
    "latent ODE": "C0",
    "linear drift": "C1",
    "Gaussian process": "C2",
    "logistic regression": "C3",
}


@dataclass(frozen=True)
class Questions:
    """Hours to learn from, hours to recalibrate by, and those of the test."""

    train: Hours
    held_out: Hours
    test: Hours


@dataclass(frozen=True)
class Size:
    """How much of it is run."""

    since: str = "2010-03-24"
    last: str = LAST_TEST
    seeds: tuple[int, ...] = (0, 1, 2)
    draws: int = 500
    model: ModelConfig = MODEL
    training: TrainingConfig = TRAINING


SMOKE = Size(
    since="2010-08-17",
    last="2010-09-05",
    seeds=(0,),
    draws=40,
    model=MODEL.replace(hidden_size=16),
    training=TRAINING.replace(max_epochs=2, windows_per_epoch=64),
)


def questions(table: pd.DataFrame, last: str = LAST_TEST) -> Questions:
    """Hours before September by the day of the month, as `divided` divides the readings; and after."""
    past = table[table["time"] < FIRST_TEST]
    before = pd.date_range(past["time"].iloc[0], past["time"].iloc[-1], freq=EVERY_BEFORE)
    known = find_hours(past, before)
    begin, end = known.origin.day, (known.origin + pd.Timedelta(HORIZON)).day
    later = find_hours(table, pd.date_range(FIRST_TEST, last, freq=EVERY))
    return Questions(
        known.where((begin <= LAST_KEPT_DAY) & (end <= LAST_KEPT_DAY)),
        known.where((begin > LAST_KEPT_DAY) & (end > LAST_KEPT_DAY)),
        later.where(later.origin >= FIRST_TEST),
    )


def fitted(
    table: pd.DataFrame, schema: Schema, seed: int, model: ModelConfig, training: TrainingConfig
) -> LatentODEForecaster:
    """As experiments/glucose fits its first model."""
    train, validation = divided(table[table["time"] < FIRST_TEST], schema)
    forecaster = LatentODEForecaster(
        HORIZON, CONTEXT, model=model, training=training, verbose=False, random_state=seed
    )
    return forecaster.fit(train, schema, validation)


def probabilities(
    model: LatentODEForecaster,
    table: pd.DataFrame,
    hours: Hours,
    readings: str | None = SENSOR,
    draws: int = 500,
) -> np.ndarray:
    """What the model says, each hour from the readings of the three before it.

    Args:
        model: fitted.
        table: of readings.
        hours: that are asked about.
        readings: how far apart they come, for what the first *reading* at the level does; None for the
            quantity itself, at any time.
        draws: how many futures of each.
    """
    time = table["time"].to_numpy()
    end = np.searchsorted(time, hours.origin.to_numpy(), "right")
    begin = np.searchsorted(time, (hours.origin - pd.Timedelta(CONTEXT)).to_numpy(), "left")
    seen = [
        table.iloc[b:e].assign(person=f"{i:05d}")
        for i, (b, e) in enumerate(zip(begin, end, strict=True))
    ]
    paths = model.sample_paths(pd.concat(seen, ignore_index=True), HORIZON, draws)
    crossing = paths.first_passage_time("glucose", above=LEVEL, readings=readings)
    found = crossing.probability(by="60min").set_index("person")["probability"]
    return found.sort_index().to_numpy()


def rivals(table: pd.DataFrame, schema: Schema) -> list[Rival]:
    """The other ways, not yet fitted but for the kernel of the Gaussian process."""
    train = divided(table[table["time"] < FIRST_TEST], schema)[0]
    return [
        Climatology(),
        Binned(),
        Drift("last value", damping=0.0),
        Drift("linear drift", damping=1.0),
        Drift("damped drift", damping=None),
        Process(table, GaussianProcess().fit(train, schema)),
        Shortcut(),
    ]


def answers(table: pd.DataFrame, schema: Schema, asked: Questions, size: Size) -> dict[str, list]:
    """Of each way, its probabilities for the held-out hours and for those of the test."""
    found = {}
    parts = (asked.held_out, asked.test)
    for seed in size.seeds:
        model = fitted(table, schema, seed, size.model, size.training)
        name = OURS if seed == size.seeds[0] else f"{OURS}, seed {seed}"
        found[name] = [probabilities(model, table, h, SENSOR, size.draws) for h in parts]
        if name == OURS:
            found[PATH] = [probabilities(model, table, h, None, size.draws) for h in parts]
    for rival in rivals(table, schema):
        rival.fit(asked.train)
        found[rival.name] = [rival.probability(h) for h in parts]
    return found


def judged(found: dict[str, list], asked: Questions) -> dict[str, Any]:
    """Every figure: of each way as it comes, and recalibrated on the held-out hours."""
    came, day = asked.test.reached, asked.test.origin.date
    said = {
        name: {cure: recalibrated(cure, past, asked.held_out.reached, new) for cure in CURES}
        for name, (past, new) in found.items()
    }
    usual = float(np.mean((said[Climatology.name]["raw"] - came) ** 2))
    parts = {"training": asked.train, "held out": asked.held_out, "test": asked.test}
    ours = said[OURS]
    return {
        "hours": {name: len(part) for name, part in parts.items()},
        "reached": {name: float(part.reached.mean()) for name, part in parts.items()},
        "scores": {
            name: {cure: scores(p, came, usual) for cure, p in by.items()} for name, by in said.items()
        },
        "gains": {
            name: {cure: difference(ours[cure], p, came, day) for cure, p in by.items()}
            for name, by in said.items()
            if not name.startswith(OURS)
        },
        "reliability": {
            name: {cure: reliability(p, came) for cure, p in by.items()} for name, by in said.items()
        },
    }


def draw(path: Path, results: dict[str, Any]) -> None:
    """How often it happened against what was said, and how often that was said."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 5), layout="constrained")
    titles = {"raw": "as it comes", "logistic": "recalibrated on held-out days"}
    axes = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=[3, 1])
    for column, (cure, title) in enumerate(titles.items()):
        top, below = axes[:, column]
        top.plot([0, 1], [0, 1], color="0.8")
        for name, color in DRAWN.items():
            rows = results["reliability"][name][cure]
            said, came, n = (np.array([row[key] for row in rows]) for key in ("said", "came", "n"))
            error = np.sqrt(came * (1 - came) / n) if name == OURS else None
            top.errorbar(said, came, error, color=color, marker="o", ms=4, capsize=2, label=name)
            below.plot(said, n, color=color, marker="o", ms=3)
        top.set(title=title, xlim=(0, 1), ylim=(0, 1))
        below.set(xlabel="probability said", yscale="log", ylim=(1, None))
    axes[0, 0].set_ylabel("came true")
    axes[1, 0].set_ylabel("hours")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def readable(results: dict[str, Any]) -> str:
    """Markdown tables: scores of every way, and the reliability of the model."""
    lines = [
        "| | Brier | skill | log loss | Brier, recalibrated | skill | log loss | isotonic | AUC |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, by in results["scores"].items():
        cells = [name]
        for cure in ("raw", "logistic"):
            one = by[cure]
            skill = round(one["skill"], 2) + 0.0  # no minus before a zero
            cells += [f"{one['brier']:.4f}", f"{skill:.0%}", f"{one['log loss']:.3f}"]
        lines.append(
            f"| {' | '.join(cells)} | {by['isotonic']['brier']:.4f} | {by['raw']['auc']:.3f} |"
        )
    for cure in ("raw", "logistic"):
        lines += ["", f"| {OURS}, {cure}: said | hours | on average | came true |", "|---|---|---|---|"]
        for row in results["reliability"][OURS][cure]:
            shares = f"{row['said']:.3f} | {row['came']:.3f}"
            lines.append(f"| {row['from']:g} to {row['to']:g} | {row['n']} | {shares} |")
        lines += ["", "| Brier score less ours | | 95 % |", "|---|---|---|"]
        for name, by in results["gains"].items():
            gain = by[cure]
            lines.append(f"| {name} | {gain['gain']:.4f} | {gain['low']:.4f} to {gain['high']:.4f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="three weeks, two epochs, four days")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/crossing")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/crossing") if arguments.smoke else HERE)
    rolling.quiet()
    size = SMOKE if arguments.smoke else Size()
    table, schema = read()
    table = table[table["time"] >= size.since].reset_index(drop=True)
    asked = questions(table, size.last)
    results = judged(answers(table, schema, asked, size), asked)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(folder / "reliability.png", results)
    print(json.dumps({key: results[key] for key in ("hours", "reached")}))
    print(readable(results))


if __name__ == "__main__":
    main()
