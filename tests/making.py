"""What the tests are made of: tiny networks in float64, series of random shape, small tables."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
import torch

from latentode import (
    LatentODEClassifier,
    LatentODEForecaster,
    LatentODEModule,
    ModelConfig,
    TrainingConfig,
)
from latentode.data.batch import Batch, Observations
from latentode.data.split import by_key
from latentode.estimators.tables import forecasting_data
from latentode.forecast.smoothing import forecast_along
from latentode.model import Sizes
from latentode.model.network import LatentODE

N_VARIABLES, N_STATIC, N_KNOWN, LATENT = 3, 2, 1, 3
TIME_SCALE = 2.0
START = pd.Timestamp("2024-03-30T22:00:00")
TINY = {
    "horizon": 2.0,
    "context_length": 6.0,
    "latent_size": 3,
    "hidden_size": 8,
    "solver": {"intervals": 4},
    "max_epochs": 1,
    "windows_per_epoch": 128,
    "verbose": False,
}
NAMES = {kind: {f.name for f in fields(kind)} for kind in (ModelConfig, TrainingConfig, Sizes)}


def settings(kind, options):
    """Those of flat options that are a configuration's, as one; taken out of `options`."""
    return kind.of({name: options.pop(name) for name in NAMES[kind] & options.keys()})


def built(n_variables, n_static=0, n_known=0, time_scale=1.0, **options) -> LatentODE:
    """A network from flat settings of it and of its data."""
    shape = {"n_variables": n_variables, "n_static": n_static, "n_known": n_known}
    sizes = settings(Sizes, options).replace(**shape, time_scale=time_scale)
    return ModelConfig.of(options).build(sizes)


def module_of(sizes, **options) -> LatentODEModule:
    """A module from flat settings of network and training."""
    model = settings(ModelConfig, options)
    return LatentODEModule(sizes, model, TrainingConfig.of(options))


def forecaster(*args, **options) -> LatentODEForecaster:
    """A forecaster from flat settings of network and training."""
    options |= options.pop("network", {})
    model, training = (settings(kind, options) for kind in (ModelConfig, TrainingConfig))
    return LatentODEForecaster(*args, model=model, training=training, **options)


def classifier(**options) -> LatentODEClassifier:
    """A classifier likewise, its own defaults where nothing is given."""
    options |= options.pop("network", {})
    default = LatentODEClassifier()
    given = {name: options.pop(name) for name in NAMES[ModelConfig] & options.keys()}
    model = default.model.replace(**given)
    given = {name: options.pop(name) for name in NAMES[TrainingConfig] & options.keys()}
    training = default.training.replace(**given)
    return LatentODEClassifier(model=model, training=training, **options)


def network(
    n_variables=N_VARIABLES, n_static=N_STATIC, n_known=N_KNOWN, seed=0, **options
) -> LatentODE:
    """A network far from its tame start: no weight is zero, no layer is small."""
    defaults = {"latent": "joint", "latent_size": LATENT, "hidden_size": 8, "solver": {"intervals": 4}}
    model = built(n_variables, n_static, n_known, TIME_SCALE, **{**defaults, **options}).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(
                0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            )
    return model


@dataclass(frozen=True)
class Piece:
    """One cut series: context and target are tables (variable, time, value)."""

    context: np.ndarray
    target: np.ndarray
    start: float
    static: np.ndarray
    control_time: np.ndarray
    control_value: np.ndarray

    def permuted(self, rng: np.random.Generator) -> Piece:
        return replace(self, context=rng.permutation(self.context), target=rng.permutation(self.target))


def piece(
    rng: np.random.Generator, n_context: int, n_target: int, n_variables=N_VARIABLES, n_known=N_KNOWN
) -> Piece:
    """A series with its own times; several variables may share one, none is observed twice at one."""
    context = _rows(rng, n_context, -5.0, 0.0, n_variables)
    target = _rows(rng, n_target, 0.0, 3.0, n_variables)
    changes = int(rng.integers(1, 4))
    return Piece(
        context,
        target,
        float(context[:, 1].min(initial=-rng.uniform(0, 2))),
        rng.normal(size=N_STATIC),
        np.sort(rng.uniform(-5, 3, changes)),
        rng.normal(size=(changes, n_known)),
    )


def _rows(rng, n, low, high, n_variables):
    times = rng.uniform(low, high, max(1, (n + 1) // 2))
    cells = [(v, t) for t in times for v in range(n_variables)]
    chosen = rng.permutation(len(cells))[:n]
    return np.array([(*cells[i], rng.normal()) for i in chosen]).reshape(-1, 3)


def batch_of(pieces: list[Piece]) -> Batch:
    """What collating does: flat concatenation, known paths padded by their own last element."""
    width = max(len(p.control_time) for p in pieces)
    pad = [np.minimum(np.arange(width), len(p.control_time) - 1) for p in pieces]
    return Batch(
        _flat([p.context for p in pieces]),
        _flat([p.target for p in pieces]),
        torch.tensor([p.start for p in pieces], dtype=torch.float64),
        torch.tensor(np.stack([p.static for p in pieces])),
        torch.tensor(np.stack([p.control_time[i] for p, i in zip(pieces, pad, strict=True)])),
        torch.tensor(np.stack([p.control_value[i] for p, i in zip(pieces, pad, strict=True)])),
    )


def _flat(tables: list[np.ndarray]) -> Observations:
    table = np.concatenate(tables)
    series = np.repeat(np.arange(len(tables)), [len(t) for t in tables])
    return Observations(
        torch.tensor(series),
        torch.tensor(table[:, 0].astype(np.int64)),
        torch.tensor(table[:, 1], dtype=torch.float64),
        torch.tensor(table[:, 2], dtype=torch.float64),
    )


def noise_for(n_series: int, samples: int = 3, latent: int = LATENT) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(samples, n_series, latent, generator=generator, dtype=torch.float64)


def waves(n_series=4, n_rows=24, seed=0, noise=0.05) -> pd.DataFrame:
    """Irregular noisy sines in two variables, about a third of the cells missing; float times."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(n_series):
        time = np.sort(rng.uniform(0, 12, n_rows)).round(3)
        phase = rng.uniform(0, 2 * np.pi)
        x = np.stack([np.sin(time + phase), 3 + 2 * np.cos(time + phase)], axis=1)
        x += noise * rng.normal(size=x.shape)
        x[rng.uniform(size=x.shape) < 0.35] = np.nan
        parts.append(pd.DataFrame({"id": f"s{i}", "time": time, "x": x[:, 0], "y": x[:, 1]}))
    return pd.concat(parts, ignore_index=True)


def tiny(**options) -> LatentODEForecaster:
    """A forecaster that is fitted in a blink."""
    plain = {"likelihood": "normal"}  # nothing is tried out before a fit
    return forecaster(**{**plain, **TINY, **options})


def calendar(start, tz=None, n=18) -> pd.DataFrame:
    """`waves` of two series with hours for times."""
    frame = waves(2, n)
    stamps = start + pd.to_timedelta((frame["time"] * 3600).round(), unit="s")
    return frame.assign(time=stamps if tz is None else stamps.dt.tz_localize(tz))


def same(one, other) -> None:
    """Asserts that two frames are equal to the last bit."""
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def traced(model, history, ahead=None, count=60):
    """The forecast along each series of a history."""
    return forecast_along(model.fitted_, model.read(history), ahead, count)


def watching(model, frame, validation=None):
    """The data and a module with the kept weights of a fitted model, as its fit watched them."""
    read = [None if f is None else by_key(model.read(f)) for f in (frame, validation)]
    fitted = model.fitted_
    data = forecasting_data(model, *read, fitted.horizon, fitted.engine.context_length)
    module = LatentODEModule(data.sizes, model.model, model.training)
    module.model = model.network_
    return data, module.eval()
