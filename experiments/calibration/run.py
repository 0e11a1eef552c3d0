"""Do intervals cover what they say, before and after calibration by forecasts that came true?

    LATENTODE_DATA=FOLDER python experiments/calibration/run.py [--smoke] [--out FOLDER]

Storms, glucose and, where $LATENTODE_DATA is set, PhysioNet 2012. Each is divided in three: what a
forecaster is fitted on, what it is calibrated by, and what is then asked. The share of values inside
50, 80 and 95 % intervals and the CRPS before and after go to results.json, those of every variable to
variables.csv, the share of values under every quantile to levels.png. Beside this file unless --out
says otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from latentode import LatentODEForecaster, ModelConfig, Schema, TrainingConfig
from latentode.adapters import medical
from latentode.cli.demo import SCHEMA, storms_path
from latentode.data.cells.columns import quantile_levels, quantile_name
from latentode.data.files.table_files import read_table
from latentode.evaluation.metrics import summarise
from latentode.forecast.calibration import Calibration

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import rolling  # noqa: E402

PERCENTS = (50, 80, 95)
SHOWN = [f"coverage_{percent}" for percent in PERCENTS]
LEVELS = sorted({*rolling.LEVELS, 0.025, 0.975})
GLUCOSE = HERE.parents[1] / "datasets" / "glucose" / "glucose.csv.gz"
STORMS = replace(SCHEMA, cycles=())
PATIENTS = Schema(
    id="series", time="hours", layout="long", variable="variable", value="value", cycles=()
)
MODEL = ModelConfig(structure="last-value")
TRAINING = TrainingConfig(lr=3e-3)
FORECASTS = 1000  # of a variable that is looked at on its own
CLIPPED = 0.001  # of either end of each variable's training values: a temperature of -17, and the like


@dataclass(frozen=True)
class Task:
    """Three parts of a data set, and how it is forecast.

    Args:
        schema: of its tables.
        fit: what to learn from.
        validation: by what training stops; None as `fit` chooses.
        calibrate: what came true, for calibration.
        test: what is asked.
        cutoffs: of the calibration's and of the test's forecasts; None for many times of each series.
        forecaster: not yet fitted.
    """

    schema: Schema
    fit: pd.DataFrame
    validation: pd.DataFrame | None
    calibrate: pd.DataFrame
    test: pd.DataFrame
    cutoffs: tuple[Any, Any]
    forecaster: LatentODEForecaster


def storms(smoke: bool) -> Task:
    """Fitted on storms before 2012, calibrated by those of 2012 to 2017, asked of the later ones."""
    table = read_table(storms_path(), STORMS)
    year = pd.to_datetime(table.groupby("id")["time"].transform("min")).dt.year
    parts = table[year < 2012], table[year.between(2012, 2017)], table[year >= 2018]
    forecaster = LatentODEForecaster("72h", model=MODEL, training=TRAINING, verbose=False)
    if smoke:
        parts = tuple(p[p["id"].isin(p["id"].unique()[:20])] for p in parts)  # type: ignore[assignment]
        small = {"training__max_epochs": 1, "model__hidden_size": 16, "model__latent_size": 4}
        forecaster.set_params(**small)
    return Task(STORMS, parts[0], None, parts[1], parts[2], (None, None), forecaster)


def glucose(smoke: bool) -> Task:
    """Fitted on 24 March to 31 July, calibrated by August, asked of September and October.

    Of March to July the days after the 24th of each month stop the training.
    """
    table, _ = medical.glucose(GLUCOSE)
    table = table.assign(person="one")
    schema = Schema(id="person", time="time", targets=("glucose",), cycles=())
    times = table["time"]
    past = table[times < "2010-08-01"]
    day, month = past["time"].dt.day, past["time"].dt.strftime("%m")
    fit = past.assign(person=month + "/" + ((day - 1) // 6).astype(str))[day <= 24]
    validation = rolling.stretches(past.assign(person=month)[day > 24], schema, "4h", "4h")
    validation = validation[validation.groupby("person")["time"].transform("size") >= 20]
    cutoffs = tuple(
        list(pd.date_range(a, b, freq="97min"))
        for a, b in (("2010-08-01", "2010-08-31 22:00"), ("2010-09-01", "2010-10-10 22:57"))
    )
    forecaster = LatentODEForecaster(
        "1h",
        "3h",
        model=MODEL.replace(likelihood="student-t"),
        training=TRAINING,
        verbose=False,
    )
    if smoke:
        fit, cutoffs = fit[fit["time"] >= "2010-07-10"], tuple(c[:40] for c in cutoffs)
        forecaster.set_params(model__hidden_size=16)
        forecaster.set_params(training__max_epochs=1, training__windows_per_epoch=64)
    august = table[times < "2010-09-01"]
    return Task(schema, fit, validation, august, table, (cutoffs[0], cutoffs[1]), forecaster)


def physionet(folder: Path) -> Task:
    """Fitted on 1,500 patients; calibrated by half of the validation part, asked of the other half.

    Hours 24 to 48 are forecast from the first 24. Values beyond the range that holds all but 0.1 % at
    either end of a variable's training values are put to its ends.
    """
    train, held_out = (
        pd.read_parquet(folder / f"{name}.parquet").astype({"variable": str})
        for name in ("train", "validation")
    )
    train = train[train["series"].isin(train["series"].unique()[:1500])]
    by = train.groupby("variable")["value"]
    low, high = by.quantile(CLIPPED), by.quantile(1 - CLIPPED)

    def clipped(table: pd.DataFrame) -> pd.DataFrame:
        table = table[table["variable"].isin(low.index)]
        names = table["variable"]
        values = table["value"].clip(names.map(low), names.map(high))
        return table.assign(value=values.astype(float), hours=table["hours"].astype(float))

    train, held_out = clipped(train), clipped(held_out)
    first = held_out["series"].isin(held_out["series"].unique()[::2])
    forecaster = LatentODEForecaster(
        24.0,
        24.0,
        model=MODEL.replace(hidden_size=32, likelihood="student-t"),
        training=TRAINING.replace(max_epochs=12, windows_per_epoch=3000),
        verbose=False,
    )
    parts = held_out[first], held_out[~first]
    return Task(PATIENTS, train, None, *parts, ([24.0], [24.0]), forecaster)


def fitted(task: Task) -> LatentODEForecaster:
    """A forecaster that has seen neither what calibrates it nor what it is asked."""
    return task.forecaster.fit(task.fit, task.schema, task.validation)


def before_and_after(task: Task, model: LatentODEForecaster) -> dict[str, pd.DataFrame]:
    """Forecasts of the test part, as the model makes them and calibrated."""
    begin, ask = task.cutoffs
    return {
        "before": model.backtest(task.test, quantiles=LEVELS, cutoffs=ask),
        "after": model.calibrate(task.calibrate, cutoffs=begin).backtest(
            task.test, quantiles=LEVELS, cutoffs=ask
        ),
    }


def as_it_comes_true(task: Task, model: LatentODEForecaster) -> pd.DataFrame:
    """Calibrated at the beginning of each week by all forecasts that had come true by then."""
    model.fitted_ = replace(model.fitted_, calibration=None)
    begin, ask = task.cutoffs
    every = model.backtest(task.test, quantiles=LEVELS, cutoffs=[*begin, *ask])
    asked = every[every["origin"] >= ask[0]]
    weeks = (asked["origin"] - ask[0]) // pd.Timedelta("7D")
    made = []
    for week, part in asked.groupby(weeks):
        known = every[every["time"] < ask[0] + week * pd.Timedelta("7D")]  # type: ignore[operator]
        made.append(Calibration.of_quantiles(known).apply(part))
    return pd.concat(made, ignore_index=True)


def figures(made: dict[str, pd.DataFrame]) -> dict[str, dict[str, float]]:
    """Coverage, how far off the worst variable is, and CRPS over that before, median and worst.

    Of single variables, only those with 1,000 forecasts and more are looked at.
    """
    found, crps = {}, {}
    for name, frame in made.items():
        every = summarise(frame.assign(all="all"), ["all"], "coverages").iloc[0]
        own = summarise(frame, ["variable"], ["crps", "coverages"])
        often = own["n"] >= FORECASTS
        off = (own.loc[often, SHOWN] - np.array(PERCENTS) / 100).abs()
        crps[name] = own["crps"]
        ratio = (crps[name] / crps["before"])[often]
        found[name] = {
            **{f"{p} %": float(every[column]) for p, column in zip(PERCENTS, SHOWN, strict=True)},
            "worst variable off by": float(off.max(axis=None)),
            "CRPS, median": float(ratio.median()),
            "CRPS, worst": float(ratio.max()),
            "forecasts": int(every["n"]),
        }
    return found


def by_variable(made: dict[str, dict[str, pd.DataFrame]]) -> pd.DataFrame:
    """Coverage and CRPS of every data set's variables, before and after."""
    parts = []
    for data, frames in made.items():
        for name, frame in frames.items():
            own = summarise(frame, ["variable"], ["crps", "coverages"])
            parts.append(own.reset_index().assign(data=data, made=name))
    columns = ["data", "variable", "made", *SHOWN, "crps", "n"]
    return pd.concat(parts)[columns].sort_values(["data", "variable"], kind="stable")


def draw(path: Path, made: dict[str, dict[str, pd.DataFrame]]) -> None:
    """The share of values under each quantile, less its level."""
    figure = Figure(figsize=(4 * len(made), 3.4), layout="constrained")
    for axis, (data, frames) in zip(
        figure.subplots(1, len(made), squeeze=False)[0], made.items(), strict=True
    ):
        axis.axhline(0, color="0.7")
        for name, frame in frames.items():
            levels = quantile_levels(frame)
            off = [(frame["actual"] <= frame[quantile_name(q)]).mean() - q for q in levels]
            axis.plot(levels, off, marker="o", ms=3, label=name)
        axis.set(title=data, xlabel="level", ylim=(-0.15, 0.15))
        axis.legend(fontsize=8)
    figure.supylabel("share of values under the quantile - level", fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one epoch, a few forecasts")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/calibration")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/calibration") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    rolling.quiet()
    tasks = {"storms": storms(arguments.smoke), "glucose": glucose(arguments.smoke)}
    data = os.environ.get("LATENTODE_DATA")
    if data and not arguments.smoke:
        tasks["PhysioNet 2012"] = physionet(Path(data) / "physionet2012")
    made: dict[str, dict[str, pd.DataFrame]] = {}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, task in tasks.items():
        model = fitted(task)
        made[name] = before_and_after(task, model)
        if name == "glucose":
            made[name]["after, weekly"] = as_it_comes_true(task, model)
        found[name] = figures(made[name])
        print(name, pd.DataFrame(found[name]).T.round(4).to_string(), sep="\n", flush=True)
    (folder / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    by_variable(made).round(5).to_csv(folder / "variables.csv", index=False)
    draw(folder / "levels.png", made)


if __name__ == "__main__":
    main()
