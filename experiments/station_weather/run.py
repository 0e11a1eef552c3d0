"""Station weather: a day ahead at three airports, beside baselines and a GRU without an ODE.

    python experiments/station_weather/run.py [--smoke] [--out FOLDER]

Fits on January to September 2013 and forecasts October to December every nine hours
(datasets/station_weather). Of January to September the last days of each month are held out: by them
training stops, and by them settings were chosen. Figures go to results.json, CRPS by lead time to
crps.png, beside this file unless --out says otherwise.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from latentode import ModelConfig, Schema, TrainingConfig

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import rolling  # noqa: E402
from classical.gaussian_process import GaussianProcess  # noqa: E402

DATA = HERE.parents[1] / "datasets" / "station_weather" / "weather.csv.gz"
VARIABLES = ("temp", "dewp", "pressure", "wind_speed", "wind_gust")
BESIDES = ("eastward", "northward", "tendency")  # modelled, too: what the others go by
SCHEMA = Schema(id="station", time="time", targets=(*VARIABLES, *BESIDES), cycles=("24h",))
FIRST_TEST = "2013-10-01T00:00Z"
HORIZON, CONTEXT, EVERY = "24h", "24h", "9h"
TENDENCY = pd.Timedelta("3h")  # over which stations report the change of pressure
LEADS = (3.0, 6.0, 12.0, 24.0)
LAST_KEPT_DAY = 24  # of each month; the days after it choose
MODEL = ModelConfig(likelihood="student-t", structure="last-value")
TRAINING = TrainingConfig(
    max_epochs=60,
    patience=60,
    lr=8e-3,
    balance="variables",  # gusts are reported seldom
    observation_dropout=0.2,
)


def read() -> pd.DataFrame:
    """The reports, with where the wind blows to in place of its angle, and the pressure's tendency."""
    table = pd.read_csv(DATA)
    table["time"] = pd.to_datetime(table["time"])
    angle = np.deg2rad(table["wind_dir"])
    table["eastward"] = -table["wind_speed"] * np.sin(angle)
    table["northward"] = -table["wind_speed"] * np.cos(angle)
    pressure = table.set_index(["station", "time"])["pressure"]
    before = pd.MultiIndex.from_arrays([table["station"], table["time"] - TENDENCY])
    table["tendency"] = table["pressure"] - pressure.reindex(before).to_numpy()
    return table[["station", "time", *VARIABLES, *BESIDES]]


def divided(past: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What to learn from, a series per station and month, and what to choose by.

    Held-out series are as long as a context and a horizon. Their last horizon, by which they are
    judged, lies within days that training does not see.

    Args:
        past: all before the first cutoff.
    """
    horizon, context = pd.Timedelta(HORIZON), pd.Timedelta(CONTEXT)
    kept = past["time"].dt.day <= LAST_KEPT_DAY
    month = past["station"] + " " + past["time"].dt.strftime("%m")
    late = past[past["time"].dt.day > LAST_KEPT_DAY - context.days]
    found = rolling.stretches(late.assign(station=month), SCHEMA, str(context + horizon), "12h")
    ends = found.groupby("station")["time"].transform("max")
    chosen = found[(ends - horizon).dt.day > LAST_KEPT_DAY]
    return past[kept].assign(station=month), chosen


def figures(
    table: pd.DataFrame,
    cutoffs: pd.DatetimeIndex,
    process: GaussianProcess,
    model: ModelConfig = MODEL,
    training: TrainingConfig = TRAINING,
) -> pd.DataFrame:
    """Errors of every model by variable and lead time, as `rolling.table` has them.

    Args:
        table: all of it.
        cutoffs: to forecast from; what lies before the first is what is fitted on.
        process: the Gaussian process among the baselines.
        model: of the latent ODEs.
        training: how they are trained.
    """
    past = table[table["time"] < cutoffs[0]]
    train, validation = divided(past)
    models = rolling.latent_odes(train, SCHEMA, HORIZON, model, training, validation, CONTEXT)
    return rolling.table(rolling.backtests(models, past, table, cutoffs, HORIZON, process), LEADS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="two months, two epochs, a few cutoffs")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/station_weather")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/station_weather") if arguments.smoke else HERE)
    rolling.quiet()
    table, process = read(), GaussianProcess(cycle="24h")
    model, training = MODEL, TRAINING
    cutoffs = pd.date_range(FIRST_TEST, "2013-12-29T23:00Z", freq=EVERY)
    if arguments.smoke:
        table = table[table["time"] >= "2013-08-01T00:00Z"]
        cutoffs, model = cutoffs[:4], MODEL.replace(hidden_size=16)
        training = TRAINING.replace(max_epochs=2, windows_per_epoch=64)
        process = GaussianProcess(window=20, windows=1, cycle="24h")
    found = figures(table, cutoffs, process, model, training)
    best = rolling.over_the_best(found)
    rolling.save(folder, found, cutoffs=len(cutoffs), crps_over_the_best_baselines=best)
    shown = found[found["variable"].isin(VARIABLES)]
    rolling.draw(folder / "crps.png", shown, "h")
    print(rolling.readable(shown))


if __name__ == "__main__":
    main()
