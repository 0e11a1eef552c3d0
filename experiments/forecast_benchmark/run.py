"""Forecasts on public data: baselines, a GRU and latent ODEs by each data set's own protocol.

    python experiments/forecast_benchmark/run.py p12_hourly --seeds 0 1 2 --models last-value joint
        [--folds 0 1] [--minutes 30] [--test FILE ...] [--set training.lr=1e-3 ...] [--label NAME]
        [--stored] [--together] [--table] [--smoke]

Trains on the training part, keeps the weights that do best on the validation part, evaluates them
there and on any further file, and writes a row per model, seed and fold into results.json. Data lie
under $LATENTODE_DATA. The best weights so far are always in runs/; --stored evaluates those of an
earlier or interrupted run instead of training, --together adds a row of all seeds as one ensemble,
--table shows what results.json holds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from models import BASELINES, MODELS, build, n_parameters
from protocol import CONFIGS, Part, Protocol, metrics, read_config
from results import merge, show

from latentode import IrregularDataModule, LatentODEModule, SeriesDataset, TrainingConfig
from latentode.data import ContextDropout, Scaling, Series
from latentode.forecast import Engine, ForecastQueries
from latentode.training.fit import cpu_threads, run_fit

HERE = Path(__file__).parent
SMOKE_SERIES = 64
COST = ("epochs", "cpu_minutes", "peak_gb", "wall_minutes")  # of training
Answer = Callable[[SeriesDataset, ForecastQueries], np.ndarray]


@dataclass(frozen=True)
class Setting:
    """A data set, perhaps one fold of it, as a model meets it."""

    name: str
    config: dict[str, Any]
    protocol: Protocol
    root: Path
    fold: int | None
    first: int | None

    @property
    def training(self) -> TrainingConfig:
        """How its models are trained."""
        return TrainingConfig.of(self.config["training"])

    @property
    def folder(self) -> Path:
        return self.root / self.protocol.folder

    def part(self, file: str) -> Part:
        path = Path(file.format(fold=self.fold))
        path = path if path.exists() else self.folder / path
        return self.protocol.read(path, self.first)


def main() -> None:
    a = _arguments()
    torch.set_num_threads(1)
    out = a.out / "results.json" if a.smoke else HERE / "results.json"
    for name in a.datasets:
        if not a.table:
            run_dataset(name, a, out)
        if not a.epoch:
            print(f"\n{name}\n\n{show(out, name)}\n", flush=True)


def run_dataset(name: str, a: argparse.Namespace, out: Path) -> None:
    """Every model, seed and fold that was asked for."""
    config = read_config(name, a.set)
    protocol = Protocol(**config["protocol"])
    folds: list[int | None] = list(a.folds or protocol.folds[: 1 if a.smoke else None]) or [None]
    root = Path(os.environ["LATENTODE_DATA"])
    for fold in folds if protocol.folds else [None]:
        setting = Setting(name, config, protocol, root, fold, SMOKE_SERIES if a.smoke else None)
        train = setting.part(protocol.train).dataset()
        if a.epoch:
            timed = {m: time_epoch(setting, train, m) for m in a.models if m not in BASELINES}
            print(json.dumps(timed, indent=1))
            (out.parent / f"epoch-{name}.json").write_text(json.dumps(timed, indent=1) + "\n")
            continue
        for model in a.models:
            for seed in [None] if model in BASELINES else a.seeds:
                row = run_model(setting, train, model, seed, a)
                merge(out, row, keep=COST if a.stored else ())
                print(_line(row), flush=True)
            if a.together and model not in BASELINES:
                row = run_together(setting, train, model, a)
                merge(out, row)
                print(_line(row), flush=True)


def run_model(
    setting: Setting, train: SeriesDataset, model: str, seed: int | None, a: argparse.Namespace
) -> dict[str, Any]:
    """A row of the table."""
    cpu, wall = time.process_time(), time.monotonic()
    found: dict[str, Any] = {"parameters": 0, "epochs": 0}
    if seed is None:
        answer: Answer = BASELINES[model]().fit(train).answer
    else:
        answer, found = _trained(setting, train, model, seed, a)
    return _row(setting, train, (_label(model, a), seed), (answer, found), (cpu, wall), a)


def run_together(
    setting: Setting, train: SeriesDataset, model: str, a: argparse.Namespace
) -> dict[str, Any]:
    """A row of the stored weights of all seeds as one ensemble; its cost is that of the answers."""
    begin = time.process_time(), time.monotonic()
    modules = [_stored(setting, train, model, seed, a) for seed in a.seeds]
    answer = _answer_of([module for module, _ in modules], modules[0][1].scaling)
    found = {"parameters": sum(n_parameters(module) for module, _ in modules), "epochs": 0}
    name = f"{_label(model, a)}, {len(modules)} members"
    return _row(setting, train, (name, None), (answer, found), begin, a)


def _label(model: str, a: argparse.Namespace) -> str:
    return f"{model} [{a.label}]" if a.label else model


def _row(
    setting: Setting,
    train: SeriesDataset,
    name: tuple[str, int | None],
    made: tuple[Answer, dict[str, Any]],
    begin: tuple[float, float],
    a: argparse.Namespace,
) -> dict[str, Any]:
    """What `results.json` keeps of a model, by its name and seed."""
    (label, seed), (answer, found), (cpu, wall) = name, made, begin
    parts = {"validation": setting.protocol.validation, **{Path(f).stem: f for f in a.test}}
    scores = {part: _score(setting, train, answer, file) for part, file in parts.items()}
    return {
        "dataset": setting.name,
        "model": label,
        "seed": seed,
        "fold": setting.fold,
        **found,
        "cpu_minutes": round((time.process_time() - cpu) / 60, 2),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "wall_minutes": round((time.monotonic() - wall) / 60, 2),
        "changed": a.set,
        "metrics": scores,
    }


def _trained(
    setting: Setting,
    train: SeriesDataset,
    kind: str,
    seed: int,
    a: argparse.Namespace,
) -> tuple[Answer, dict[str, Any]]:
    """Fits a model, or loads the one that an earlier run has stored."""
    history = pd.DataFrame()
    if not a.stored:
        history = _fit(*_begun(setting, train, kind, seed), _path(setting, kind, seed, a), a)
    module, data = _stored(setting, train, kind, seed, a)
    found = {"parameters": n_parameters(module), "epochs": len(history)}
    return _answer_of([module], data.scaling), found


def _stored(
    setting: Setting, train: SeriesDataset, kind: str, seed: int, a: argparse.Namespace
) -> tuple[LatentODEModule, IrregularDataModule]:
    """The best weights of a run, and its data."""
    module, data = _begun(setting, train, kind, seed)
    path = _path(setting, kind, seed, a)
    module.load_state_dict(torch.load(path, weights_only=True))
    return module.eval(), data


def _path(setting: Setting, kind: str, seed: int, a: argparse.Namespace) -> Path:
    """Where the weights of a run lie, in a folder that is made if need be."""
    parts = (setting.name, _label(kind, a), seed, setting.fold)
    runs = (a.out if a.smoke else HERE) / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    return runs / f"{'-'.join(str(p) for p in parts if p is not None)}.pt"


def _begun(
    setting: Setting, train: SeriesDataset, kind: str, seed: int
) -> tuple[LatentODEModule, IrregularDataModule]:
    """A model that has learnt nothing yet, and its data."""
    protocol, training, windows = setting.protocol, setting.training, setting.config["windows"]
    task = protocol.task(windows.get("between"))
    held_out = setting.part(protocol.validation).dataset(train.schema, everything=False)
    data = IrregularDataModule(
        train,
        held_out,
        task=ContextDropout(task, training.observation_dropout, training.context_dropout),
        batch_size=training.batch_size,
        windows_per_epoch=training.windows_per_epoch,
        seed=seed,
        bucketed=windows.get("bucketed", False),
    )
    torch.manual_seed(seed)
    # Losses and metrics in the protocol's units: val_mse is then the protocol's own.
    units = np.asarray(data.scaling.scale) / protocol.units(setting.root, train.variables)
    training = training.replace(error_units=units.tolist())
    return build(kind, data.sizes, setting.config, training), data


def time_epoch(setting: Setting, train: SeriesDataset, kind: str) -> dict[str, float]:
    """CPU seconds of an epoch of training and of its batches alone; the memory's peak so far."""
    module, data = _begun(setting, train, kind, 0)
    begin = time.process_time()
    batches = sum(1 for _ in data.train_dataloader())
    alone = time.process_time() - begin
    once = module.training_config.replace(max_epochs=1)
    with cpu_threads(1):
        begin = time.process_time()
        run_fit(module, data, once, verbose=False, on_end=lambda history: None)
        epoch = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "series": len(train),
        "observations": len(train.value),
        "parameters": n_parameters(module),
        "batches": batches,
        "an epoch, validation included, CPU s": round(epoch, 2),
        "its batches alone, CPU s": round(alone, 2),
        "their share": round(alone / epoch, 4),
        "peak_gb": round(peak, 2),
    }


def _fit(
    module: LatentODEModule, data: IrregularDataModule, path: Path, a: argparse.Namespace
) -> pd.DataFrame:
    """Trains and leaves the best weights at `path`; the metrics of each epoch lie beside them."""
    epochs: list[pd.DataFrame] = []
    training = module.training_config.replace(max_minutes=a.minutes)
    if a.smoke:
        training = training.replace(max_epochs=1)

    def keep() -> None:
        new = path.with_suffix(".new")
        torch.save(module.state_dict(), new)
        new.replace(path)

    with cpu_threads(a.threads):
        run_fit(module, data, training, verbose=not a.smoke, on_end=epochs.append, on_best=keep)
    keep()  # also where no epoch was better than none
    epochs[0].to_csv(path.with_suffix(".csv"), index=False)
    return epochs[0]


def _answer_of(modules: list[LatentODEModule], scaling: Scaling) -> Answer:
    """That of one model, or of several as one ensemble."""
    network, *others = (module.model for module in modules)
    engine = Engine(network, scaling, np.inf, modules[0].validation_samples, tuple(others))

    def answer(dataset: SeriesDataset, queries: ForecastQueries) -> np.ndarray:
        keys = pd.DataFrame(index=range(len(queries)))
        return engine.forecast(Series(dataset, scaling), queries, keys).mean

    return answer


def _score(setting: Setting, train: SeriesDataset, answer: Answer, file: str) -> dict[str, float]:
    part = setting.part(file)
    dataset = part.dataset(train.schema, everything=False)
    asked, actual = part.questions(dataset)
    units = setting.protocol.units(setting.root, train.variables)
    predicted = answer(dataset, asked)
    return metrics(predicted, actual, asked.variable, units, setting.protocol.balanced)


def _line(row: dict[str, Any]) -> str:
    place = [str(row[k]) for k in ("dataset", "model", "seed", "fold") if row[k] is not None]
    scores = [
        f"{part} {name} {value:.5f}"
        for part, found in row["metrics"].items()
        for name, value in found.items()
    ]
    cost = f"{row['parameters']:,} parameters, {row['cpu_minutes']:.1f} CPU min"
    return f"{' '.join(place)}: {', '.join(scores)} ({cost})"


def _arguments() -> argparse.Namespace:
    names = sorted(p.stem for p in CONFIGS.glob("*.toml"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("datasets", nargs="+", choices=names)
    parser.add_argument("--models", nargs="+", choices=(*BASELINES, *MODELS), default=list(BASELINES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--folds", nargs="+", type=int)
    parser.add_argument("--minutes", type=float, help="most minutes of training of each model")
    parser.add_argument("--test", nargs="+", default=[], help="further files; {fold} is filled in")
    parser.add_argument("--set", nargs="+", default=[], metavar="SECTION.NAME=VALUE")
    parser.add_argument("--label", help="tells rows with changed settings apart")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epoch", action="store_true", help="only time an epoch and its batches")
    parser.add_argument("--stored", action="store_true", help="evaluate stored weights")
    parser.add_argument("--together", action="store_true", help="all seeds as one ensemble, too")
    parser.add_argument("--table", action="store_true", help="only show results.json")
    parser.add_argument("--smoke", action="store_true", help="64 series, one epoch, into --out")
    parser.add_argument("--out", type=Path, default=Path("build/forecast_benchmark"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
