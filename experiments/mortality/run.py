"""In-hospital death from the first 48 hours in intensive care: a latent ODE with a label head.

    LATENTODE_DATA=FOLDER python experiments/mortality/run.py [--patients 7200] [--epochs 15]
        [--members 5]
    python experiments/mortality/run.py --smoke

Area under the ROC curve on the validation part of PhysioNet 2012, beside logistic regression on each
variable's last value, mean and whether it was measured, fitted on the same patients. With `--smoke` the
patients are simulated: the level of one variable and the trend of another decide.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score, roc_curve
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from latentode import LatentODEClassifier, Schema, SolverConfig

HERE = Path(__file__).parent
SCHEMA = Schema(id="series", time="hours", layout="long", variable="variable", value="value", cycles=())
CLIPPED = 0.001  # of either end of each variable: entries such as a temperature of -17

Part = tuple[pd.DataFrame, pd.Series]


def patients(folder: Path, n: int) -> tuple[Part, Part]:
    """Training patients, so many of them, and all of validation; deaths are 1."""

    def part(name: str, most: int | None) -> Part:
        outcome = pd.read_csv(folder / f"{name}-outcomes.csv").set_index("RecordID")[
            "In-hospital_death"
        ]
        table = pd.read_parquet(folder / f"{name}.parquet").astype({"variable": str})
        chosen = pd.Index(table["series"].unique()[:most])
        return table[table["series"].isin(chosen)], outcome.loc[chosen]

    (train, died), (held_out, later) = part("train", n), part("validation", None)
    by = train.groupby("variable")["value"]
    low, high = by.quantile(CLIPPED), by.quantile(1 - CLIPPED)

    def clipped(table: pd.DataFrame) -> pd.DataFrame:
        table = table[table["variable"].isin(low.index)]
        names = table["variable"]
        values = table["value"].clip(names.map(low), names.map(high))
        return table.assign(value=values.astype(float), hours=table["hours"].astype(float))

    return (clipped(train), died), (clipped(held_out), later)


def simulated(n: int, seed: int) -> Part:
    """Patients of whom the level of one variable and the trend of another foretell the outcome."""
    rng = np.random.default_rng(seed)
    parts, risk = [], []
    for i in range(n):
        level, trend = rng.normal(size=2)
        rows = []
        for name in ("level", "trend", "noise"):
            hours = np.sort(rng.uniform(0, 48, rng.integers(4, 12)))
            signal = {"level": level, "trend": trend * (hours - 24) / 24, "noise": 0.0}[name]
            value = signal + 0.2 * rng.normal(size=len(hours))
            rows.append(pd.DataFrame({"variable": name, "hours": hours, "value": value}))
        parts.append(pd.concat(rows).assign(series=i))
        risk.append(level + trend)
    return pd.concat(parts, ignore_index=True), pd.Series(np.array(risk) > 0, dtype=int)


def summaries(table: pd.DataFrame, ids: pd.Index) -> pd.DataFrame:
    """A row per patient: of each variable the mean, whether it was measured, and its last value."""
    table = table.sort_values("hours", kind="stable")
    last, mean = (
        table.pivot_table("value", "series", "variable", aggfunc=how, observed=True).reindex(ids)
        for how in ("last", "mean")
    )
    measured = mean.notna().astype(float)
    named = {" last": last, " mean": mean, " measured": measured}
    return pd.concat([part.add_suffix(name) for name, part in named.items()], axis=1)


def regression(train: Part) -> Pipeline:
    """Logistic regression on `summaries`, its penalty chosen by cross-validation."""
    model = LogisticRegressionCV(Cs=8, cv=5, scoring="neg_log_loss", max_iter=2000)
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), model)
    return pipeline.fit(summaries(train[0], train[1].index), train[1])


def figures(probability: np.ndarray, actual: pd.Series) -> dict[str, float]:
    """How well deaths are told apart, and how honest the probabilities are."""
    return {
        "AUC": float(roc_auc_score(actual, probability)),
        "average precision": float(average_precision_score(actual, probability)),
        "cross-entropy": float(log_loss(actual, probability)),
    }


def classifier(epochs: int, members: int = 1, smoke: bool = False) -> LatentODEClassifier:
    """The latent ODE of this experiment, or an ensemble of several."""
    usual = LatentODEClassifier()
    plain = usual.model.replace(structure="last-value")
    if smoke:
        small = plain.replace(latent="joint", latent_size=6, hidden_size=24)
        short = usual.training.replace(max_epochs=epochs, lr=1e-2)
        return LatentODEClassifier(model=small, training=short, verbose=False, members=members)
    solver = SolverConfig(intervals=5)
    model = plain.replace(hidden_size=32, label_dropout=0.3, solver=solver)
    training = usual.training.replace(
        max_epochs=epochs,
        lr=3e-3,
        patience=6,
        batch_size=64,
        weight_decay=1e-2,
        observation_dropout=0.3,
        value_weight=0.1,
    )
    return LatentODEClassifier(model=model, training=training, verbose=False, members=members)


def compared(
    train: Part, held_out: Part, model: LatentODEClassifier
) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray]]:
    """Fits both on the same patients; figures and probabilities of death on held-out ones."""
    begin = time.process_time()
    model.fit(*train, schema=SCHEMA)
    found = model.predict_proba(held_out[0]).loc[held_out[1].index, 1].to_numpy()
    taken = time.process_time() - begin
    engine, alone = model.fitted_.engine, []
    for network in engine.networks:
        one = replace(engine, network=network, others=())
        model.fitted_ = replace(model.fitted_, engine=one)
        each = model.predict_proba(held_out[0]).loc[held_out[1].index, 1].to_numpy()
        alone.append(figures(each, held_out[1]))
    model.fitted_ = replace(model.fitted_, engine=engine)
    linear = regression(train)
    table = summaries(held_out[0], held_out[1].index)
    table = table.reindex(columns=linear.feature_names_in_)
    probabilities = {
        "latent ODE": found,
        "logistic regression": linear.predict_proba(table)[:, 1],
    }
    odds = [np.log(p / (1 - p)) for p in probabilities.values()]
    probabilities["both, mean log-odds"] = 1 / (1 + np.exp(-np.mean(odds, axis=0)))
    results = {name: figures(p, held_out[1]) for name, p in probabilities.items()}
    results["latent ODE"]["cpu seconds"] = round(taken, 1)
    results["one of its members, mean"] = pd.DataFrame(alone).mean().to_dict()
    return results, probabilities


def draw(path: Path, probabilities: dict[str, np.ndarray], actual: pd.Series) -> None:
    """ROC curves."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axis = figure.subplots()
    for name, probability in probabilities.items():
        wrong, right, _ = roc_curve(actual, probability)
        axis.plot(wrong, right, label=f"{name}: {roc_auc_score(actual, probability):.3f}")
    axis.plot([0, 1], [0, 1], color="0.8", lw=0.8)
    axis.set_xlabel("survivors taken for deaths")
    axis.set_ylabel("deaths recognised")
    axis.legend(title="AUC")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few simulated patients")
    parser.add_argument("--patients", type=int, default=7200, help="to train on")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--members", type=int, default=5, help="of the ensemble")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/mortality")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/mortality") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if arguments.smoke:
        train, held_out = simulated(150, 0), simulated(100, 1)
        model = classifier(12, 2, smoke=True)
    else:
        data = os.environ.get("LATENTODE_DATA")
        if not data:
            raise SystemExit("set LATENTODE_DATA to the folder of the public data, or run with --smoke")
        train, held_out = patients(Path(data) / "physionet2012", arguments.patients)
        model = classifier(arguments.epochs, arguments.members)
    results, probabilities = compared(train, held_out, model)
    described = {
        "patients to train on": len(train[1]),
        "held-out patients": len(held_out[1]),
        "part of them that died": float(held_out[1].mean()),
        "members": arguments.members,
        "epochs": len(model.history_),
    }
    written = {"data": described, **results}
    print(json.dumps(written, indent=1))
    (folder / "results.json").write_text(json.dumps(written, indent=1) + "\n")
    draw(folder / "roc.png", probabilities, held_out[1])


if __name__ == "__main__":
    main()
