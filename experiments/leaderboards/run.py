"""Leaderboards of the fits of the other experiments: held-out data, block alone, every baseline.

    python experiments/leaderboards/run.py [NAME ...] [--smoke] [--out FOLDER]

Each experiment's own table, schema and settings, fitted once and judged as every fit judges itself, on
what it held out of training: `leaderboard_`. What an experiment was written to show lies in its own
folder; this says whether something simpler would have done on the data that the fit chose by.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latentode import LatentODEForecaster, Schema, TrainingConfig
from latentode.cli.demo import FIRST_TEST_YEAR, SCHEMA, storms_path
from latentode.data.files.table_files import read_table

HERE = Path(__file__).parent
EXPERIMENTS = HERE.parent
sys.path.insert(0, str(EXPERIMENTS))
import rolling  # noqa: E402

TOGETHER = "all, in standard deviations"
QUICK = {"max_epochs": 1, "windows_per_epoch": 32}

Made = tuple[pd.DataFrame, Schema, pd.DataFrame | None, LatentODEForecaster]
FITS: dict[str, Callable[[Any], Made]] = {}


def fit_of(name: str) -> Callable[[Callable[[Any], Made]], Callable[[Any], Made]]:
    """Registers what makes a table, its schema, held-out series and a forecaster to be fitted."""

    def register(make: Callable[[Any], Made]) -> Callable[[Any], Made]:
        FITS[name] = make
        return make

    return register


@contextmanager
def names_of(experiment: str) -> Any:
    """What an experiment's script defines; files beside it are found, and forgotten afterwards."""
    folder, before = EXPERIMENTS / experiment, set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield runpy.run_path(str(folder / "run.py"), run_name=experiment)
    finally:
        sys.path.remove(str(folder))
        for own in set(sys.modules) - before:
            file = getattr(sys.modules[own], "__file__", None)
            if file is not None and Path(file).parent == folder:
                del sys.modules[own]


def forecaster(horizon: Any, context: Any, **settings: Any) -> LatentODEForecaster:
    return LatentODEForecaster(horizon, context, verbose=False, **settings)


@fit_of("storms")
def storms(_: Any) -> Made:
    table = read_table(storms_path(), SCHEMA)
    first = pd.to_datetime(table.groupby("id")["time"].transform("min"))
    training = TrainingConfig(max_epochs=60, variance_power=0.5)
    past = table[first.dt.year < FIRST_TEST_YEAR]
    return past, SCHEMA, None, forecaster("72h", None, training=training)


@fit_of("asynchronous")
def asynchronous(own: Any) -> Made:
    model = forecaster(own["HORIZON"], own["HISTORY"], training=own["TRAINING"])
    return own["simulated"](160, seed=0), own["SCHEMA"], None, model


@fit_of("both_sides")
def both_sides(own: Any) -> Made:
    training = TrainingConfig(max_epochs=own["EPOCHS"], lr=own["RATES"]["per-variable"])
    model = forecaster(2.0, 5.0, model=own["PER_VARIABLE"], training=training)
    return own["table"](own["sine"], own["SERIES"], 0), own["SCHEMA"], None, model


@fit_of("event_times")
def event_times(own: Any) -> Made:
    table, _ = own["simulated"](300, 1)
    schema = Schema(id="id", time="time", targets=("x",), cycles=())
    model = forecaster(own["AHEAD"], own["CUT"], model=own["network"](8), training=own["trained"](40))
    return table, schema, None, model


@fit_of("glucose")
def glucose(own: Any) -> Made:
    table, schema = own["read"]()
    train, chosen = own["divided"](table[table["time"] < own["FIRST_TEST"]], schema)
    settings = {"model": own["MODEL"], "training": own["TRAINING"]}
    return train, schema, chosen, forecaster(own["HORIZON"], own["CONTEXT"], **settings)


@fit_of("station_weather")
def station_weather(own: Any) -> Made:
    table = own["read"]()
    train, chosen = own["divided"](table[table["time"] < own["FIRST_TEST"]])
    settings = {"model": own["MODEL"], "training": own["TRAINING"]}
    return train, own["SCHEMA"], chosen, forecaster(own["HORIZON"], own["CONTEXT"], **settings)


@fit_of("pbc_visits")
def pbc_visits(own: Any) -> Made:
    frame, schema = own["visits"]()
    train, chosen, _ = own["split"](frame)
    settings = {"model": own["MODEL"], "training": own["TRAINING"]}
    return train, schema, chosen, forecaster(own["HORIZON"], None, **settings)


@fit_of("wti_cpi")
def wti_cpi(own: Any) -> Made:
    frame, schema = own["oil_and_prices"]()
    stop, begin, _ = (pd.Timestamp(year) for year in own["YEARS"])
    held_out = pd.date_range(stop, begin - pd.Timedelta(own["HORIZON"]), freq="W-THU")
    chosen = own["windows"](frame[frame["time"] < begin], held_out[::2])
    settings = {"model": own["MODEL"], "training": own["TRAINING"]}
    return frame[frame["time"] < stop], schema, chosen, forecaster(own["HORIZON"], None, **settings)


@fit_of("remifentanil")
def remifentanil(own: Any) -> Made:
    frame = own["records"]()
    part = own["part_of"](frame)
    train, chosen = frame[~part.isin((0, own["CHOSEN_ON"]))], frame[part == own["CHOSEN_ON"]]
    table = own["at_other_strengths"](train, own["COPIES"])
    settings = {"model": own["DRIVEN"], "training": own["TRAINING"]}
    return table, own["SCHEMA"], chosen, forecaster(own["HORIZON"], own["CONTEXT"], **settings)


@fit_of("one_or_many")
def one_or_many(own: Any) -> Made:
    rows = own["hourly"](50_000)
    past = rows.iloc[: len(rows) * 9 // 10]
    return past[["time", "load"]], Schema(targets=("load",)), None, forecaster(None, None)


def leaderboard(name: str, smoke: bool) -> dict[str, dict[str, float]]:
    """Figures of all variables together, or of the only one, by model."""
    with names_of(name) as own:
        table, schema, chosen, model = FITS[name](own)
    if smoke:
        model.set_params(**{f"training__{k}": v for k, v in QUICK.items()})
    found = model.fit(table, schema, chosen).leaderboard_
    together = found["variable"] == TOGETHER
    found = found[together] if together.any() else found
    rows = found.set_index("model")[["mae", "crps", "inside_80", "n"]].to_dict("index")
    return {str(m): {k: float(x) for k, x in row.items() if np.isfinite(x)} for m, row in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FITS)}; all if none")
    parser.add_argument("--smoke", action="store_true", help="the quickest two, one epoch")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/leaderboards")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(FITS))
    if unknown:
        parser.error(f"{unknown[0]} has no fit here; choose from {', '.join(FITS)}")
    folder = arguments.out or (Path("build/leaderboards") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.json"
    rolling.quiet()
    results = json.loads(file.read_text()) if file.exists() else {}
    for name in arguments.names or (("asynchronous", "both_sides") if arguments.smoke else FITS):
        results[name] = leaderboard(name, arguments.smoke)
        print(
            name, pd.DataFrame(results[name]).T.round(4).to_string(na_rep=""), "", sep="\n", flush=True
        )
        file.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
