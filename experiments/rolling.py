"""What the experiments of the three domains share: every model and baseline in one rolling backtest."""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from latentode import (
    LatentODEForecaster,
    ModelConfig,
    Schema,
    SeriesDataset,
    TrainingConfig,
)
from latentode.data import Scaling
from latentode.data.cells.time_axis import Duration
from latentode.evaluation.baselines import BASELINES, Baseline
from latentode.evaluation.metrics import score_frame
from latentode.evaluation.pairs import observed_after, observed_ahead
from latentode.model import Sizes

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from classical.gaussian_process import GaussianProcess  # noqa: E402
from classical.spread import Spread  # noqa: E402
from clock import ClockConfig  # noqa: E402

__all__ = [
    "LEVELS",
    "backtests",
    "draw",
    "latent_odes",
    "over_the_best",
    "quiet",
    "readable",
    "save",
    "stretches",
    "table",
]

LEVELS = [round(0.05 * i, 2) for i in range(1, 20)]
INTERVAL = ("q0.1", "q0.9")
ORIGINS = 300  # of each training series, from which the spread of a baseline's errors is taken
MODELS = ("latent ODE, per variable", "latent ODE, joint", "GRU, no ODE")
OURS, _, NO_ODE = MODELS


def quiet() -> None:
    """One thread, and Lightning's notices out of the way."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*treespec.*")


def stretches(table: pd.DataFrame, schema: Schema, span: str, every: str) -> pd.DataFrame:
    """Cuts long series into stretches, each a series of its own, numbered in its identifier.

    Of stretches as long as a context and a horizon a fit holds out each one's last horizon, where of
    one long series it would hold out a single horizon. What is left at the end is left out.

    Args:
        table: rows of series with times that are datetimes.
        schema: names its columns.
        span: how long a stretch is.
        every: from the beginning of one to that of the next.
    """
    id_, time_ = str(schema.id), str(schema.time)
    length, step = pd.Timedelta(span), pd.Timedelta(every)
    parts = []
    for name, rows in table.groupby(id_, sort=False):
        times = rows[time_]
        begins = pd.date_range(times.min(), times.max() - length, freq=step)
        found = ((n, rows[(times >= b) & (times <= b + length)]) for n, b in enumerate(begins))
        parts += [part.assign(**{id_: f"{name}/{n}"}) for n, part in found if len(part)]
    return pd.concat(parts, ignore_index=True)


def latent_odes(
    train: pd.DataFrame,
    schema: Schema,
    horizon: Duration,
    model: ModelConfig,
    training: TrainingConfig,
    validation: pd.DataFrame | None = None,
    context_length: Duration | None = None,
) -> dict[str, LatentODEForecaster]:
    """Both layouts and the GRU without an ODE, as wide as gives it as many parameters; fitted.

    Args:
        train: what was there before the first cutoff.
        schema: of it.
        horizon: to learn to look ahead.
        model: of the network with a latent state per variable, from which the others are made.
        training: how all are trained.
        validation: held-out series for early stopping; as `fit` chooses if none.
        context_length: how far back the encoders look.
    """
    fitted: dict[str, LatentODEForecaster] = {}
    for name in MODELS:
        begin = time.process_time()
        if name == NO_ODE:
            own = without_ode(model, train, schema, n_parameters(fitted[OURS].network_))
        else:
            own = model if name == OURS else model.replace(latent="joint")
        forecaster = LatentODEForecaster(
            horizon, context_length, model=own, training=training, verbose=False
        )
        fitted[name] = forecaster.fit(train, schema, validation)
        seconds = time.process_time() - begin
        size, epochs = n_parameters(forecaster.network_), len(forecaster.history_)
        print(f"{name}: {size:,} parameters, {epochs} epochs, {seconds:.0f} s", flush=True)
    return fitted


def n_parameters(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in network.parameters())


def without_ode(model: ModelConfig, train: pd.DataFrame, schema: Schema, size: int) -> ClockConfig:
    """The same settings without an ODE, of the width that comes nearest to `size` parameters."""
    dataset = SeriesDataset.from_frame(train, schema)
    n_static = Scaling.fit(dataset).n_static + 2 * len(dataset.schema.periods)
    sizes = Sizes(n_variables=len(dataset.variables), n_static=n_static)
    clock = ClockConfig(**model.get_params(deep=False))

    def of_width(width: int) -> ClockConfig:
        return clock.replace(hidden_size=width, encoder_size=width)

    def miss(width: int) -> int:
        return abs(n_parameters(of_width(width).build(sizes)) - size)

    return of_width(min(range(16, 257, 4), key=miss))


def backtests(
    models: dict[str, LatentODEForecaster],
    train: pd.DataFrame,
    table: pd.DataFrame,
    cutoffs: Sequence[Any] | None,
    horizon: Duration,
    process: GaussianProcess | None = None,
) -> pd.DataFrame:
    """Every model's forecasts, told apart by `model`, each with quantiles.

    Point forecasts of baselines get the quantiles of their errors in training by variable and lead
    time; the Gaussian process, of which it is fitted, has its own.

    Args:
        models: fitted on `train`.
        train: what was there before the first cutoff; or the series that are not held out.
        table: all of it; or the series that are.
        cutoffs: times to forecast from; None for every time of each series.
        horizon: how far ahead.
        process: the Gaussian process to fit; None for none.
    """
    one = next(iter(models.values()))
    past, everything = one.read(train), one.read(table)
    ahead = one.axis_.duration(horizon)
    if cutoffs is None:
        pairs = observed_ahead(everything, ahead)
    else:
        pairs = observed_after(everything, ahead, cutoffs)
    before = observed_ahead(past, ahead, ORIGINS)
    frames = [
        model.backtest(table, horizon, LEVELS, None, cutoffs).assign(model=name)
        for name, model in models.items()
    ]
    baselines: list[Baseline] = [b().fit(past) for b in BASELINES if b.suits(one.axis_)]
    for baseline in baselines:
        known = before.keys.assign(actual=before.actual, mean=baseline.answer(past, before.queries))
        made = pairs.keys.assign(actual=pairs.actual, mean=baseline.answer(everything, pairs.queries))
        frames.append(Spread.fit(known).apply(made, LEVELS).assign(model=baseline.name))
    if process is not None:
        process.fit(past)
        quantiles = process.quantiles(everything, pairs.queries, LEVELS)
        mean = quantiles[:, LEVELS.index(0.5)]  # which of a normal distribution is its median
        made = pairs.keys.assign(actual=pairs.actual, mean=mean)
        columns = {f"q{level:g}": quantiles[:, i] for i, level in enumerate(LEVELS)}
        frames.append(made.assign(**columns, model=process.name))
    return pd.concat(frames, ignore_index=True)


def table(frame: pd.DataFrame, leads: Sequence[float]) -> pd.DataFrame:
    """MAE, CRPS and coverage of the 80 % interval by variable, lead time and model.

    Args:
        frame: of `backtests`.
        leads: upper ends of the bins of lead time, in time units.
    """
    scored = score_frame(frame)
    scored["inside"] = scored["actual"].between(scored[INTERVAL[0]], scored[INTERVAL[1]])
    scored["lead"] = np.asarray(leads)[np.searchsorted(leads, scored["lead"] * (1 - 1e-9))]
    groups = scored.groupby(["variable", "lead", "model"], sort=False)
    found = groups.agg(
        n=("crps", "size"), mae=("absolute", "mean"), crps=("crps", "mean"), coverage=("inside", "mean")
    )
    return found.reset_index().sort_values(["variable", "lead"], kind="stable", ignore_index=True)


def save(folder: Path, found: pd.DataFrame, **besides: Any) -> None:
    """Writes results.json: `besides`, and the rows of `table`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = found.to_dict("records")
    (folder / "results.json").write_text(json.dumps({**besides, "rows": rows}, indent=1) + "\n")


def over_the_best(found: pd.DataFrame) -> dict[str, float]:
    """CRPS of the first model over that of its best baseline, of all lead times together.

    Args:
        found: of `table`; models that are no latent ODE nor the GRU are baselines.

    Returns:
        A ratio per variable.
    """
    every = found.assign(total=found["crps"] * found["n"])
    wide = every.pivot_table(["total", "n"], "variable", "model", aggfunc="sum", sort=False)
    wide = wide["total"] / wide["n"]
    return (wide[OURS] / wide.drop(columns=list(MODELS)).min(axis=1)).to_dict()


def readable(found: pd.DataFrame) -> str:
    """A Markdown table for each of MAE, CRPS and coverage: a line per variable and lead time."""
    texts = []
    for figure in ("mae", "crps", "coverage"):
        wide = found.pivot_table(figure, ["variable", "lead"], "model", sort=False)
        lines = [f"| {figure} | up to | " + " | ".join(wide.columns) + " |"]
        lines += ["|---" * (len(wide.columns) + 2) + "|"]
        for (variable, lead), row in zip(wide.index, wide.to_numpy(), strict=True):
            shown = [f"{x:.2f}" if figure == "coverage" else f"{x:.3g}" for x in row]
            best = min(row)
            if figure != "coverage":
                shown = [f"**{t}**" if x == best else t for t, x in zip(shown, row, strict=True)]
            lines.append(f"| {variable} | {lead:g} | " + " | ".join(shown) + " |")
        texts.append("\n".join(lines))
    return "\n\n".join(texts)


def draw(path: Path, found: pd.DataFrame, unit: str) -> None:
    """CRPS against lead time, a panel per variable."""
    from matplotlib.figure import Figure

    variables = list(dict.fromkeys(found["variable"]))
    figure = Figure(figsize=(3.6 * len(variables), 3.6), layout="constrained")
    axes = figure.subplots(1, len(variables), squeeze=False)[0]
    for axis, variable in zip(axes, variables, strict=True):
        for name, part in found[found["variable"] == variable].groupby("model", sort=False):
            axis.plot(part["lead"], part["crps"], marker="o", ms=3, label=str(name))
        axis.set(title=str(variable), xlabel=f"lead time up to, {unit}", ylim=(0, None))
    axes[0].set_ylabel("CRPS")
    axes[0].legend(fontsize=6)
    figure.savefig(path, dpi=110)
