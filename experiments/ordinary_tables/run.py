"""Tables that most people bring: the forecaster with its defaults beside classical models.

    python experiments/ordinary_tables/run.py [--smoke] [--tables lines sine] [--seeds 0 1 2]
        [--models "latent ODE" Prophet] [--without-structure] [--untrained] [--keep] [--same-data]
        [--many] [--out FOLDER]

The forecaster is told the roles of columns and the horizon; the peers what `Facts` of a table say, such
as the periods of its cycles. Every figure is a mean of the seeds: of
the simulated data, of the rows struck out, of the forecaster. `--models peers` leaves it out;
`--keep` replaces in `results.json` only the rows of the models and tables that are run. `spread` is how
far the judged figure lies apart between seeds of the forecaster on the same data, over its mean: of
real tables that is known, of the others by `--same-data`, which takes the data of the first seed.
"""

from __future__ import annotations

import argparse
import json
import resource
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from packages import PACKAGES
from peers import LEVELS, PEERS, Absent
from real import REAL, of_a_seed
from simulated import SIMULATED
from tables import JUMP, MAE, OWN_SCALE, RATE, Table

from latentode import LatentODEError, LatentODEForecaster, ModelConfig, Schema, TrainingConfig
from latentode.data.cells.columns import quantile_name
from latentode.evaluation.metrics import summarise

HERE = Path(__file__).parent
TABLES = {**SIMULATED, **REAL}
OURS, PLAIN, UNTRAINED = "latent ODE", "latent ODE, no structure", "latent ODE, untrained"
CLASSICAL = {**PEERS, **PACKAGES}
LEARNED = {"LightGBM"}  # a peer, but no classical model
CPU, COVERED, FAR_COVERED = "CPU seconds", "inside 80 %", "inside 80 %, 1 to 3 horizons"
FAR, FARTHEST = (1.0, 3.0), (5.0, 6.0)  # horizons
SMOKE = ("known_columns_of_many", "counts", "exact_sines", "nottem_struck")
AT_ORIGIN = 1e-6  # horizons after the last value

Scores = dict[str, float]
Rows = dict[str, Scores]  # figures by model


def cpu() -> float:
    """CPU seconds of this process and of those that it has started and waited for."""
    whose = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return sum(resource.getrusage(w).ru_utime + resource.getrusage(w).ru_stime for w in whose)


def forecaster(table: Table, seed: int, name: str, smoke: bool) -> LatentODEForecaster:
    """One with its defaults, but for what its name says."""
    model: dict[str, Any] = {"structure": "last-value"} if name == PLAIN else {}
    training: dict[str, Any] = {"max_epochs": 0} if name == UNTRAINED else {}
    if smoke:
        model |= {"latent_size": 4, "hidden_size": 8}
        training.setdefault("max_epochs", 1)
    return LatentODEForecaster(
        horizon=table.horizon,
        model=ModelConfig(**model),
        training=TrainingConfig(**training),
        verbose=False,
        random_state=seed,
    )


def latent_ode(table: Table, seed: int, name: str, smoke: bool) -> tuple[pd.DataFrame, Scores]:
    """Answers to `table.future`, and what only the forecaster is asked.

    Raises:
        Absent: with the forecaster's word, if it refuses.
    """
    given = [*table.schema.known_future, *table.schema.static_covariates]
    asked = table.future[["id", "time", *table.schema.known_future]]
    try:
        model = forecaster(table, seed, name, smoke).fit(table.fit, table.schema)
        history = table.history[["id", "time", "y", *given]]

        def predict(at: pd.DataFrame) -> pd.DataFrame:
            made = model.predict(history, at, quantiles=LEVELS)
            return asked[["id"]].assign(time=at["time"]).merge(made, on=["id", "time"], how="left")

        made, more = predict(asked), {}
        for column in table.effects:
            moved = predict(asked.assign(**{column: asked[column] + 1}))["mean"] - made["mean"]
            more[f"{column} + 1"] = float(moved[table.future["ahead"] <= 1].mean())
        if table.judged == JUMP:
            last = table.history.groupby("id")[["time", "y"]].last()
            at = last["time"] + AT_ORIGIN * float(table.horizon)
            found = model.predict(history, at.reset_index()).set_index("id")["mean"]
            more[JUMP] = float((found - last["y"]).abs().mean() / table.fit["y"].std())
    except LatentODEError as error:
        raise Absent(str(error).split("\n")[0]) from error
    return made, more


def scores(table: Table, made: pd.DataFrame) -> Scores:
    """Figures of forecasts one horizon ahead, and some of those farther ahead."""
    future, names = table.future, [quantile_name(level) for level in LEVELS]
    scale = future["scale"].to_numpy() if "scale" in future else np.ones(len(future))
    frame = made[["mean", *names]].div(scale, axis=0).assign(actual=future["y"] / scale)
    near, far, farthest = (
        future["ahead"].between(*ends, inclusive="right") for ends in ((0, 1), FAR, FARTHEST)
    )
    found = _summary(frame[near])
    error = frame["actual"] - frame["mean"]
    if far.any():
        found[FAR_COVERED] = _summary(frame[far])[COVERED]
    if farthest.any():
        found["MAE, 6 horizons"] = float(error[farthest].abs().mean())
    if table.judged == RATE:
        off = (made["mean"] - future["truth"])[near]
        found[RATE] = float(np.sqrt(np.square(off).mean()))
    if table.judged == OWN_SCALE:
        found[OWN_SCALE] = float(error[near].abs().median())
    return found


def _summary(frame: pd.DataFrame) -> Scores:
    figures = summarise(frame.assign(all=0), ["all"], ("mae", "crps", "coverages")).iloc[0]
    return {MAE: figures["mae"], "CRPS": figures["crps"], COVERED: figures["coverage_80"]}


def measure(
    table: Table, models: dict[str, Callable[[Table], tuple[pd.DataFrame, Scores]]]
) -> tuple[Rows, dict[str, str]]:
    """Figures by model, and why the others have none."""
    found, absent = {}, {}
    for name, model in models.items():
        begin = cpu()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made, more = model(table)
            spent = cpu() - begin
            found[name] = {**scores(table, made), **more, CPU: spent}
        except Absent as reason:
            absent[name] = str(reason)
    return found, absent


def average(of_seeds: list[Rows]) -> Rows:
    """The mean of every figure over the seeds, of the models that have it for each of them."""
    names = [n for n in of_seeds[0] if all(n in rows for rows in of_seeds)]
    return {n: {k: float(np.mean([r[n][k] for r in of_seeds])) for k in of_seeds[0][n]} for n in names}


def spread(of_seeds: list[Rows], judged: str) -> Scores:
    """Of each model the range of its judged figure over seeds, over the mean."""
    each = {n: [rows[n][judged] for rows in of_seeds] for n in of_seeds[0] if judged in of_seeds[0][n]}
    return {n: float(np.ptp(x) / np.mean(x)) for n, x in each.items() if n not in CLASSICAL}


def run(
    name: str, seeds: list[int], models: list[str], smoke: bool, same: bool = False
) -> tuple[Rows, dict[str, str], Scores]:
    """Mean figures of a table, who is absent, and the spread where seeds are the forecaster's alone.

    Peers answer a table that no seed changes only once.
    """
    of_seeds, absent, same = [], {}, same or not of_a_seed(name)
    for seed in seeds:
        again = of_seeds and same
        chosen = {
            m: (lambda t, m=m: (CLASSICAL[m](t), {}))
            if m in CLASSICAL
            else partial(latent_ode, seed=seed, name=m, smoke=smoke)
            for m in models
            if m not in CLASSICAL or not again
        }
        rows, missing = measure(TABLES[name](seeds[0] if same else seed, smoke), chosen)
        kept = {m: r for m, r in of_seeds[0].items() if m in CLASSICAL} if again else {}
        of_seeds.append({**rows, **kept})
        absent |= missing
    apart = spread(of_seeds, TABLES[name](0, smoke).judged) if same and len(seeds) > 1 else {}
    return average(of_seeds), absent, apart


def ratios(results: dict[str, Any]) -> pd.DataFrame:
    """Of every table, each model's judged figure over that of the best classical model."""
    found = {}
    for name, table in results.items():
        judged = {m: r[table["judged"]] for m, r in table["models"].items() if table["judged"] in r}
        best = min((v for m, v in judged.items() if m in CLASSICAL and m not in LEARNED), default=None)
        if best is not None:
            found[name] = {m: value / best for m, value in judged.items()}
    return pd.DataFrame(found).T


def summary(over: pd.DataFrame) -> pd.DataFrame:
    """Geometric means of these ratios, and of the forecaster's over each peer's where both answer."""

    def mean(values: pd.Series) -> float:
        return float(np.exp(np.log(values.dropna()).mean()))

    rows = {m: {"tables": int(over[m].count()), "over the best": mean(over[m])} for m in over}
    for ours in (m for m in (OURS, UNTRAINED) if m in over):
        for m in over:
            rows[m][f"{ours} over it"] = mean(over[ours] / over[m])
    return pd.DataFrame(rows).T.astype({"tables": int})


def report(results: dict[str, Any]) -> dict[str, Any]:
    """Prints and returns what all tables say together."""
    over = ratios(results)
    if over.empty:
        return {}
    found = summary(over)
    shown = over[[m for m in (OURS, PLAIN, UNTRAINED) if m in over]]
    if len(shown.columns):
        print(
            "judged figure over that of the best classical model\n" + shown.round(2).to_string(), "\n"
        )
    print("geometric means over tables\n" + found.round(2).to_string(na_rep=""), flush=True)
    said = {m: row.dropna().to_dict() for m, row in found.iterrows()}
    return {"models": said, "over the best": {t: r.dropna().to_dict() for t, r in over.iterrows()}}


def of_ten_thousand() -> dict[str, float]:
    """CPU seconds of an untrained fit and of forecasts of 10,000 series of 50 rows, and errors."""
    rng, n, rows = np.random.default_rng(0), 10_000, 60
    time = np.sort(rng.uniform(0, 60, (n, rows)), axis=1)
    slope, level = rng.normal(0, 0.5, (n, 1)), rng.normal(0, 10, (n, 1))
    walk = np.cumsum(rng.normal(size=(n, rows)) * np.sqrt(np.diff(time, prepend=0.0)), axis=1)
    y = level + slope * time + 0.3 * walk + 0.5 * rng.normal(size=(n, rows))
    keys = {"id": np.repeat(np.arange(n), rows), "time": time.ravel(), "y": y.ravel()}
    table = pd.DataFrame(keys)
    late = np.tile(np.arange(rows) >= 50, n)
    past, future = table[~late], table[late]
    begin = cpu()
    model = LatentODEForecaster(
        10.0, training=TrainingConfig(max_epochs=0), verbose=False, random_state=0
    ).fit(past, Schema(id="id", targets=("y",)))
    fitted = cpu()
    made = model.predict(past, future[["id", "time"]])
    done = cpu()
    asked = future[["id", "time", "y"]].merge(made, on=["id", "time"])
    ends = past.groupby("id").agg(t0=("time", "first"), t1=("time", "last"),
                                  y0=("y", "first"), y1=("y", "last"))  # fmt: skip
    own = ends.loc[asked["id"]].reset_index(drop=True)
    drift = own["y1"] + (own["y1"] - own["y0"]) / (own["t1"] - own["t0"]) * (asked["time"] - own["t1"])
    return {
        "CPU seconds, fit": fitted - begin,
        "CPU seconds, forecasts": done - fitted,
        "MAE, untrained": float((asked["y"] - asked["mean"]).abs().mean()),
        "MAE, last value": float((asked["y"] - own["y1"]).abs().mean()),
        "MAE, linear drift": float((asked["y"] - drift).abs().mean()),
    }


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="a few small tables, one epoch")
    parser.add_argument("--tables", nargs="+", choices=TABLES, metavar="NAME", help=", ".join(TABLES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--models",
        nargs="+",
        choices=["peers", OURS, PLAIN, UNTRAINED, *CLASSICAL],
        metavar="NAME",
        default=["peers", OURS],
        help="peers (all of them), " + ", ".join([OURS, PLAIN, UNTRAINED, *CLASSICAL]),
    )
    parser.add_argument("--without-structure", action="store_true", help=f"adds {PLAIN!r}")
    parser.add_argument("--untrained", action="store_true", help=f"adds {UNTRAINED!r}")
    parser.add_argument("--many", action="store_true", help="only times 10,000 series without training")
    parser.add_argument("--keep", action="store_true", help="keeps what else results.json holds")
    parser.add_argument("--same-data", action="store_true", help="only the forecaster's seeds differ")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/ordinary_tables")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    torch.set_num_threads(1)
    if arguments.many:
        print(pd.Series(of_ten_thousand()).round(2).to_string())
        return
    smoke, chosen = arguments.smoke, list(arguments.models)
    chosen += [PLAIN] * arguments.without_structure + [UNTRAINED] * arguments.untrained
    models = [m for m in (*CLASSICAL, OURS, PLAIN, UNTRAINED)
              if m in chosen or (m in CLASSICAL and "peers" in chosen)]  # fmt: skip
    seeds = [0] if smoke else arguments.seeds
    file = (arguments.out or (Path("build/ordinary_tables") if smoke else HERE)) / "results.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(file.read_text()) if arguments.keep and file.exists() else {"tables": {}}
    for name in arguments.tables or (SMOKE if smoke else TABLES):
        begin = cpu()
        rows, absent, apart = run(name, seeds, models, smoke, arguments.same_data)
        judged = TABLES[name](0, smoke).judged
        print(f"{name}: {judged}, mean of seeds {seeds}, {cpu() - begin:.0f} s of CPU")
        print(pd.DataFrame(rows).T.round(3).to_string(na_rep=""))
        print(*(f"{m}: absent, {reason}" for m, reason in absent.items()), "", sep="\n", flush=True)
        kept = results["tables"].get(name, {"models": {}})
        if not arguments.same_data or not kept["models"]:
            seeded = {m: {**row, "seeds": len(seeds)} for m, row in rows.items()}
            kept = {**kept, "judged": judged, "models": {**kept["models"], **seeded}}
        if apart:
            print("spread over seeds:", {m: f"{x:.1%}" for m, x in apart.items()}, flush=True)
            kept = {**kept, "spread": {**kept.get("spread", {}), **apart}}
        results["tables"][name] = kept
        file.write_text(json.dumps(results, indent=1) + "\n")
    results["summary"] = report(results["tables"])
    file.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
