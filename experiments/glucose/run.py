"""Glucose: 30 and 60 minutes ahead of one person's monitor, beside baselines and a GRU without an ODE.

    python experiments/glucose/run.py [--smoke] [--out FOLDER]

Fits on 24 March to 31 August 2010 and forecasts September and October every 97 minutes, so from all
times of the day (datasets/glucose). Of March to August the last days of each month are held out: by
them training stops, and by them settings were chosen. Figures go to results.json, CRPS by lead time to
crps.png, beside this file unless --out says otherwise.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from latentode import ModelConfig, Schema, TrainingConfig

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import rolling  # noqa: E402
from classical.gaussian_process import GaussianProcess  # noqa: E402
from readings import (  # noqa: E402
    CONTEXT,
    FIRST_TEST,
    HORIZON,
    LAST_TEST,
    MODEL,
    TRAINING,
    divided,
    read,
)

EVERY = "97min"
LEADS = (0.25, 0.5, 0.75, 1.0)


def figures(
    table: pd.DataFrame,
    schema: Schema,
    cutoffs: pd.DatetimeIndex,
    process: GaussianProcess,
    model: ModelConfig = MODEL,
    training: TrainingConfig = TRAINING,
) -> pd.DataFrame:
    """Errors of every model by lead time, as `rolling.table` has them.

    Args:
        table: all of it.
        schema: of it.
        cutoffs: to forecast from; what lies before the first is what is fitted on.
        process: the Gaussian process among the baselines.
        model: of the latent ODEs.
        training: how they are trained.
    """
    past = table[table["time"] < cutoffs[0]]
    train, validation = divided(past, schema)
    models = rolling.latent_odes(train, schema, HORIZON, model, training, validation, CONTEXT)
    made = rolling.backtests(models, past, table, cutoffs, HORIZON, process)
    return rolling.table(made, LEADS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="six weeks, two epochs, a few cutoffs")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/glucose")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/glucose") if arguments.smoke else HERE)
    rolling.quiet()
    (table, schema), process = read(), GaussianProcess()
    model, training = MODEL, TRAINING
    cutoffs = pd.date_range(FIRST_TEST, LAST_TEST, freq=EVERY)
    if arguments.smoke:
        table = table[table["time"] >= "2010-07-20"]
        cutoffs, model = cutoffs[:8], MODEL.replace(hidden_size=16)
        training = TRAINING.replace(max_epochs=2, windows_per_epoch=64)
        process = GaussianProcess(window=20, windows=1)
    found = figures(table, schema, cutoffs, process, model, training)
    best = rolling.over_the_best(found)
    rolling.save(folder, found, cutoffs=len(cutoffs), crps_over_the_best_baselines=best)
    rolling.draw(folder / "crps.png", found, "h")
    print(rolling.readable(found))


if __name__ == "__main__":
    main()
