"""Which method, and how many intervals? A fitted model's forecasts by each, beside a fine solve's.

    python experiments/solver_choice/run.py [--smoke] [--epochs 30] [--out FOLDER]

Fits the storms model with the default solver, then answers the same questions with other solvers. The
error is that of the predicted mean against rk4 with 128 intervals, in predicted standard deviations;
milliseconds are of forward and backward on 64 storms, medians of the process's own time, all in turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from latentode import LatentODEForecaster, ModelConfig, TrainingConfig
from latentode.cli.demo import FIRST_TEST_YEAR, SCHEMA, storms_path
from latentode.data.dataset import SeriesDataset
from latentode.data.files.table_files import read_table
from latentode.data.task import Forecasting
from latentode.model.objective import elbo_terms, negative_elbo
from latentode.ode import Solver
from latentode.training.data_module import IrregularDataModule

HERE = Path(__file__).parent
STORMS = replace(SCHEMA, cycles=())
MODEL = ModelConfig(structure="last-value")
EXACT = Solver("rk4", 128)
TRIED = {
    "euler": (8, 16, 32),
    "midpoint": (4, 8, 16),
    "rk4": (2, 3, 4, 5, 6, 8, 12),
    "rk38": (2, 3, 4, 5, 6, 8, 12),
}


def storms(smoke: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Storms to learn from and later ones."""
    table = read_table(storms_path(), STORMS)
    first = pd.to_datetime(table.groupby("id")["time"].transform("min"))
    later = first.dt.year >= FIRST_TEST_YEAR
    if smoke:
        keep = table["id"].isin(table["id"].drop_duplicates().iloc[::20])
        return table[~later & keep], table[later & keep]
    return table[~later], table[later]


def forecasts(model: LatentODEForecaster, history: pd.DataFrame, solver: Solver) -> pd.DataFrame:
    """Means and deviations 3 to 72 hours ahead."""
    model.network_.solver = solver
    return model.predict(history, "72h", count=24, quantiles=())


def training_step(model: LatentODEForecaster, batch: object, solver: Solver) -> float:
    """Milliseconds of forward and backward."""
    network = model.network_
    network.solver = solver
    noise = torch.zeros(1, 1, network.latent_size)
    begin = time.process_time()
    negative_elbo(elbo_terms(network, batch, noise)).backward()  # type: ignore[arg-type]
    taken = 1e3 * (time.process_time() - begin)
    network.zero_grad()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few storms, one epoch")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/solver_choice")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/solver_choice") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    train, test = storms(arguments.smoke)
    epochs = 1 if arguments.smoke else arguments.epochs
    training = TrainingConfig(max_epochs=epochs, lr=3e-3)
    model = LatentODEForecaster("72h", model=MODEL, training=training).fit(train, STORMS)
    dataset = SeriesDataset.from_frame(train, STORMS)
    data = IrregularDataModule(dataset, task=Forecasting(horizon="72h"), batch_size=64)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))

    exact = forecasts(model, test, EXACT)
    solvers = [Solver(m, n) for m, counts in TRIED.items() for n in counts]
    repeats = 1 if arguments.smoke else 9
    taken: dict[Solver, list[float]] = {solver: [] for solver in solvers}
    for repeat in range(repeats + 1):
        for solver in solvers:
            ms = training_step(model, batch, solver)
            if repeat:  # the first is to warm up
                taken[solver].append(ms)
    rows = []
    for solver in solvers:
        off = (forecasts(model, test, solver)["mean"] - exact["mean"]).abs() / exact["std"]
        rows.append(
            {
                "method": solver.method,
                "intervals": solver.intervals,
                "median error": float(np.median(off)),
                "largest error": float(off.max()),
                "ms": statistics.median(taken[solver]),
            }
        )
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format=lambda x: f"{x:.3g}"))
    (folder / "results.json").write_text(json.dumps(table.to_dict("records"), indent=1) + "\n")


if __name__ == "__main__":
    main()
