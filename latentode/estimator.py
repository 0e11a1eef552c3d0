"""LatentODEForecaster: `fit` and `predict` on DataFrames, in scikit-learn's manner."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from latentode.baselines import BASELINES, Climatology, LastValue
from latentode.data.batch import Series
from latentode.data.columns import some_names
from latentode.data.datamodule import IrregularDataModule
from latentode.data.dataset import SeriesDataset
from latentode.data.known import warn_of_untold
from latentode.data.queries import At, QueryTimes, query_times, times_along
from latentode.data.reading import read_columns
from latentode.data.scaling import Scaling, series_keys
from latentode.data.schema import Schema
from latentode.data.split import split_validation, usual_horizon
from latentode.data.task import Forecasting
from latentode.data.timeaxis import Duration, TimeAxis
from latentode.errors import LatentODEError, SchemaError
from latentode.evaluation import ORIGINS, compare, observed_ahead
from latentode.fitting import cpu_threads, run_fit
from latentode.forecast import Asked, Forecast, forecast
from latentode.model import build_latent_ode
from latentode.quantiles import quantile_list
from latentode.training import LitLatentODE

__all__ = ["LatentODEForecaster"]

CONTEXT_HORIZONS = 8
QUANTILES = (0.1, 0.5, 0.9)
FORMAT = 1
MODEL_NAME = "latent ODE"


class LatentODEForecaster(BaseEstimator):
    """Forecasts irregular series at any timestamps with a latent ODE.

    Args:
        horizon: how far ahead to learn to look: "24h", or a number in the unit of a numeric time
            column. None takes what is usual among the series of a quarter of a series' span, or of
            the time that 50 further observation times of it take where that is less, so that of a
            long series a horizon is still a small part. Longer questions are answered too, by
            carrying the ODE on.
        context: how far back the encoder looks; None takes eight horizons.
        latent_size: size of the latent state.
        hidden_size: width of the networks.
        encoder: "gru", "ode-rnn" or "linear" (parallel over events).
        likelihood: "normal" or "student-t".
        t0: where the latent state starts: "origin" (the end of the history) or "start" (its
            beginning, as in the 2018 paper).
        solver: arguments of `latentode.ode.Solver`, such as `{"method": "dopri5"}`.
        max_epochs: most epochs to train.
        patience: epochs without improvement on held-out data after which training stops.
        batch_size: cuts per optimiser step.
        lr: peak learning rate.
        duplicates: what to do with several rows of one (series, time): "error", "mean", "last".
        verbose: whether to show a progress bar.
        random_state: seed of weights, cuts and their order.

    Attributes:
        schema_: the schema with every column named.
        horizon_, context_: in time units of `axis_`.
        module_: the trained `LitLatentODE`; `module_.model` is the network.
        history_: a frame of metrics per epoch; not there on a forecaster `from_lightning`.

    References:
        Latent ODEs for irregularly-sampled time series (Rubanova et al., 2019),
        https://arxiv.org/abs/1907.03907
    """

    history_: pd.DataFrame

    def __init__(
        self,
        horizon: Duration | None = None,
        context: Duration | None = None,
        latent_size: int = 16,
        hidden_size: int = 64,
        encoder: str = "gru",
        likelihood: str = "normal",
        t0: str = "origin",
        solver: dict[str, Any] | None = None,
        max_epochs: int = 60,
        patience: int = 12,
        batch_size: int = 32,
        lr: float = 3e-3,
        duplicates: str = "error",
        verbose: bool = True,
        random_state: int = 0,
    ) -> None:
        self.horizon = horizon
        self.context = context
        self.latent_size = latent_size
        self.hidden_size = hidden_size
        self.encoder = encoder
        self.likelihood = likelihood
        self.t0 = t0
        self.solver = solver
        self.max_epochs = max_epochs
        self.patience = patience
        self.batch_size = batch_size
        self.lr = lr
        self.duplicates = duplicates
        self.verbose = verbose
        self.random_state = random_state

    def fit(
        self,
        df: pd.DataFrame,
        schema: Schema | None = None,
        validation: pd.DataFrame | None = None,
        save_to: str | Path | None = None,
        num_threads: int | None = 1,
    ) -> LatentODEForecaster:
        """Trains on a table, wide or long, and keeps the weights that did best on held-out data.

        Args:
            df: training table; never modified.
            schema: roles of its columns; what it leaves open is detected.
            validation: table of held-out series. Without it a fifth of the series is held out where
                there are at least 20, otherwise the last horizon of every series.
            save_to: folder to save the best model so far into, during the fit, so that a crash or
                an interruption loses nothing.
            num_threads: CPU threads to train with; None leaves them as they are. Matrices this small
                gain nothing from more than one (`experiments/threads`). Restored afterwards.

        Returns:
            Itself.

        Raises:
            SchemaError: for a table that cannot be read, before any training.
        """
        self._check_parameters()
        if num_threads is not None and num_threads < 1:
            raise LatentODEError(f"num_threads must be at least 1, or None; got {num_threads!r}")
        dataset = SeriesDataset.from_frame(df, schema, self.duplicates)
        dataset.require_observed()
        _say_merged(dataset)
        dataset = _ordered(dataset)
        self.schema_, self.axis_ = dataset.schema, dataset.axis
        self.horizon_, self.context_ = self._durations(dataset)
        self.climatology_ = Climatology.fit(dataset)
        self.history_ = pd.DataFrame()  # of an earlier fit
        data = self._data(dataset, validation)
        self.scaling_ = data.scaling
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())), cpu_threads(num_threads):
            torch.manual_seed(self.random_state)
            self.module_ = self._module(data.sizes)
            self._train(data, None if save_to is None else Path(save_to))
        return self

    def predict(
        self,
        history: pd.DataFrame,
        at: At,
        count: int | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        variables: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Forecasts after, and fills in within, the given histories.

        Args:
            history: table with the columns of training. Targets may be empty anywhere, all of one
                too; but its column must be there, since one misspelt looks like one left out.
            at: timestamps asked of every series, a frame of (identifier, time) and known columns,
                or a duration ahead of each series' last observation. Known values may also be given
                in later rows of the history; where neither tells them, the last is held, with a
                warning.
            count: with a duration, how many equally spaced times up to it.
            quantiles: levels between 0 and 1, or one of them.
            variables: which variables; all unless told.

        Returns:
            A long frame in data units: identifier, time, `variable`, `mean`, `std`, and a column
            such as `q0.1` per level; times as asked, each with its variables in turn.

        Raises:
            NotFittedError: before `fit`.
            SchemaError: for a history or a question that cannot be read.
        """
        levels = quantile_list(quantiles)
        return self.forecast(history, at, count, variables).to_frame(levels)

    def forecast(
        self,
        history: pd.DataFrame,
        at: At,
        count: int | None = None,
        variables: Sequence[str] | None = None,
    ) -> Forecast:
        """The predictive distribution itself; arguments as for `predict`."""
        self._check_fitted()
        chosen = self._chosen(variables)
        dataset = self._read_with_known(history, at)
        return self._forecast_at(dataset, query_times(dataset, at, count), chosen)

    def trace(self, history: pd.DataFrame, ahead: Duration | None = None, count: int = 60) -> Forecast:
        """The forecast along each series: from its first observation to `ahead` of its last.

        Args:
            history: table with the columns of training.
            ahead: how far ahead; one horizon unless told.
            count: how many evenly spaced times per series (fewer where dates or integers repeat).
        """
        self._check_fitted()
        dataset = self.read(history)
        horizon = self.horizon_ if ahead is None else self.axis_.duration(ahead, "ahead")
        return self._forecast_at(dataset, times_along(dataset, horizon, count), self._chosen(None))

    def _forecast_at(self, dataset: SeriesDataset, places: QueryTimes, chosen: np.ndarray) -> Forecast:
        warn_of_untold(dataset, places, stacklevel=4)
        series = np.repeat(places.series, len(chosen))
        time = np.repeat(places.time, len(chosen))
        variable = np.tile(chosen, len(places.series))
        self._check_not_before_history(dataset, series, time)
        asked = Asked(series, variable, time, self._origins(dataset, series, time))
        keys = places.keys.loc[places.keys.index.repeat(len(chosen))].reset_index(drop=True)
        keys["variable"] = np.asarray(dataset.variables, dtype=object)[variable]
        return self._answer(dataset, asked, keys)

    def backtest(
        self,
        df: pd.DataFrame,
        horizon: Duration | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        origins: int | None = ORIGINS,
    ) -> pd.DataFrame:
        """Forecasts every observation of a table from earlier times of its series.

        Args:
            df: held-out table.
            horizon: how far ahead; the fitted one unless told.
            quantiles: levels between 0 and 1, or one of them.
            origins: most times per series to forecast from, evenly spread over those with an
                observation within the horizon; None takes all, which costs rows times rows per
                horizon.

        Returns:
            A long frame: identifier, `origin`, time, `lead` (in time units), `variable`, `actual`,
            `mean`, `std` and quantiles, for `latentode.metrics.summarise`.
        """
        self._check_fitted()
        levels = quantile_list(quantiles)
        dataset = self.read(df)
        ahead = self.horizon_ if horizon is None else self.axis_.duration(horizon)
        asked, actual, keys = observed_ahead(dataset, ahead, origins)
        frame = self._answer(dataset, asked, keys).to_frame(levels)
        frame.insert(len(keys.columns), "actual", actual)
        return frame

    def compare(
        self, df: pd.DataFrame, horizon: Duration | None = None, origins: int | None = ORIGINS
    ) -> pd.DataFrame:
        """The backtest of this model and of the baselines, told apart by the column `model`.

        The time-of-day mean is among them where the times have hours: neither dates nor numbers do.
        Arguments as for `backtest`: from up to 200 times of each series unless told.
        """
        self._check_fitted()
        baselines = [b().use(self.schema_, self.climatology_) for b in BASELINES if b.suits(self.axis_)]
        backtest = self.backtest(df, horizon, origins=origins)
        return compare(self.read(df), backtest, baselines, MODEL_NAME, origins)

    def score(self, df: pd.DataFrame, origins: int | None = ORIGINS) -> float:
        """Skill over the last-value forecast: 1 - MAE / MAE(last value), mean over variables.

        0 is no better than repeating the last value, 1 is perfect, below 0 is worse. Forecasts from
        up to `origins` evenly spread times of each series; None takes all.
        """
        self._check_fitted()
        dataset = self.read(df)
        asked, actual, keys = observed_ahead(dataset, self.horizon_, origins)
        if len(actual) == 0:
            raise SchemaError("no series has two times within a horizon: nothing can be scored")
        last = LastValue().use(self.schema_, self.climatology_)
        error = np.abs(self._answer(dataset, asked, keys).mean - actual)
        naive = np.abs(last.answer(dataset, asked) - actual)
        by = pd.DataFrame({"error": error, "naive": naive}).groupby(asked.variable).mean()
        return float((1 - by["error"] / by["naive"].clip(lower=1e-12)).mean())

    def save(self, folder: str | Path) -> None:
        """Writes `forecaster.json` and `weights.pt` into a folder, which is made if need be."""
        self._check_fitted()
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            "format": FORMAT,
            "parameters": self.get_params(),
            "schema": self.schema_.to_json(),
            "axis": vars(self.axis_),
            "scaling": self.scaling_.to_dict(),
            "climatology": self.climatology_.to_dict(),
            "module": dict(self.module_.hparams),
            "horizon": self.horizon_,
            "context": self.context_,
            "history": self.history_.to_dict("list") if hasattr(self, "history_") else None,
        }
        # Each file replaces its forerunner whole, so that a crash leaves a readable model.
        weights, described = folder / "weights.pt.new", folder / "forecaster.json.new"
        torch.save(self.module_.state_dict(), weights)
        described.write_text(json.dumps(state, indent=1, default=_json))
        weights.replace(folder / "weights.pt")
        described.replace(folder / "forecaster.json")

    @classmethod
    def load(cls, folder: str | Path) -> LatentODEForecaster:
        """Reads what `save` wrote.

        Raises:
            LatentODEError: if the folder holds no model, or one of a later release.
        """
        path = Path(folder) / "forecaster.json"
        if not path.exists():
            raise LatentODEError(f"{folder} holds no fitted model (no forecaster.json); fit one first")
        state = json.loads(path.read_text())
        if state["format"] > FORMAT:
            raise LatentODEError(f"{folder} was saved by a later release of latentode; upgrade")
        model = cls(**state["parameters"])
        model.schema_ = Schema.from_json(state["schema"])
        model.axis_ = TimeAxis(**state["axis"])
        model.scaling_ = Scaling.from_dict(state["scaling"])
        model.climatology_ = Climatology.from_dict(state["climatology"])
        model.horizon_, model.context_ = state["horizon"], state["context"]
        with torch.random.fork_rng(devices=[]):
            model.module_ = LitLatentODE(**state["module"])
        if state.get("history") is not None:
            model.history_ = pd.DataFrame(state["history"])
        weights = torch.load(Path(folder) / "weights.pt", map_location="cpu", weights_only=True)
        model.module_.load_state_dict(weights)
        model.module_.eval()
        return model

    @classmethod
    def from_lightning(cls, module: LitLatentODE, data: IrregularDataModule) -> LatentODEForecaster:
        """A fitted forecaster around a module that your own `Trainer` has trained.

        Args:
            module: trained on `data`.
            data: with a `Forecasting` task; its schema and scaling are taken over, and with its other
                settings and those of the module become the forecaster's parameters.

        Raises:
            LatentODEError: if the task is another.
        """
        if not isinstance(data.task, Forecasting):
            raise LatentODEError("a forecaster needs a data module with task=Forecasting(...)")
        model = cls(**_settings(module, data, data.task, cls().get_params()))
        model.schema_, model.axis_, model.scaling_ = data.schema, data.axis, data.scaling
        model.climatology_ = Climatology.fit(data.train.dataset)
        model.horizon_ = data.axis.duration(data.task.horizon)
        far = CONTEXT_HORIZONS * model.horizon_
        model.context_ = far if data.task.context is None else float(data.task.context)  # type: ignore[arg-type]
        model.module_ = module.cpu().eval()
        return model

    def _durations(self, dataset: SeriesDataset) -> tuple[float, float]:
        spans = (dataset.last - dataset.first)[dataset.last > dataset.first]
        if len(spans) == 0:
            raise SchemaError(
                "no series has observations at two different times, so there is nothing to learn "
                "from; check the id and time columns"
            )
        given = self.horizon
        horizon = usual_horizon(dataset) if given is None else dataset.axis.duration(given)
        if self.context is None:
            return horizon, CONTEXT_HORIZONS * horizon
        return horizon, dataset.axis.duration(self.context, "context")

    def _data(self, dataset: SeriesDataset, validation: pd.DataFrame | None) -> IrregularDataModule:
        if validation is None:
            train, held_out = split_validation(dataset, self.horizon_, self.random_state)
        else:
            train = dataset
            held_out = _ordered(SeriesDataset.from_frame(validation, dataset.schema, self.duplicates))
        task = Forecasting(self.horizon_, self.context_)
        return IrregularDataModule(
            train, held_out, task=task, batch_size=self.batch_size, seed=self.random_state
        )

    def _module(self, sizes: dict[str, Any]) -> LitLatentODE:
        return LitLatentODE(
            **sizes,
            lr=_plain(self.lr),
            latent_size=_plain(self.latent_size),
            hidden_size=_plain(self.hidden_size),
            encoder=self.encoder,
            likelihood=self.likelihood,
            t0=self.t0,
            solver=None if self.solver is None else {k: _plain(v) for k, v in self.solver.items()},
        )

    def _train(self, data: IrregularDataModule, folder: Path | None) -> None:
        begun = False

        def keep(history: pd.DataFrame) -> None:
            self.history_ = history

        def save() -> None:
            nonlocal begun
            begun = True
            if folder is not None:
                self.save(folder)

        try:
            run_fit(
                self.module_,
                data,
                max_epochs=self.max_epochs,
                patience=self.patience,
                verbose=self.verbose,
                on_end=keep,
                on_best=None if folder is None else save,
            )
            begun = True
        finally:
            if begun:
                save()  # again, with the whole history

    def _check_parameters(self) -> None:
        for name in ("latent_size", "hidden_size", "max_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise LatentODEError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if not 0 < self.lr < np.inf:
            raise LatentODEError(f"lr must be positive and finite, got {self.lr!r}")
        if self.random_state < 0:
            raise LatentODEError(f"random_state must not be negative, got {self.random_state!r}")

    def _check_fitted(self) -> None:
        if not hasattr(self, "module_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit first")

    @property
    def _targets(self) -> tuple[str, ...]:
        return self.schema_.targets or ()

    def _chosen(self, variables: Sequence[str] | None) -> np.ndarray:
        known = self._targets
        if variables is None:
            return np.arange(len(known))
        variables = (variables,) if isinstance(variables, str) else tuple(variables)
        if not variables:
            raise SchemaError(f"variables is empty: name some of {', '.join(known)}, or leave it out")
        for name in variables:
            if name not in known:
                raise SchemaError(
                    f"variable {name!r} was not among the targets of training: {', '.join(known)}"
                )
        return np.array([known.index(v) for v in variables])

    def read(self, frame: pd.DataFrame) -> SeriesDataset:
        """A table as the fitted model reads it.

        Raises:
            SchemaError: if it cannot be read, lacks a column, or its times are of another kind.
        """
        for name in self._targets if self.schema_.layout == "wide" else ():
            if name not in frame.columns:
                raise SchemaError(
                    f"column `{name}`, which the model was trained on, is not in the table, whose "
                    f"columns are {some_names(frame.columns)}; correct its name, or add it empty if "
                    "nothing was observed of it"
                )
        dataset = SeriesDataset.from_frame(frame, self.schema_, self.duplicates)
        if dataset.axis.is_calendar != self.axis_.is_calendar:
            raise SchemaError(
                f"column `{self.schema_.time}` holds {dataset.axis.kind} times, but the model was "
                f"trained on {self.axis_.kind} times"
            )
        # A resolved schema has a time unit, declared or not.
        return replace(dataset, axis=replace(dataset.axis, declared=self.axis_.declared))

    def _read_with_known(self, history: pd.DataFrame, at: At) -> SeriesDataset:
        """The history and, below it, the rows of `at` that say something of known columns."""
        dataset, schema = self.read(history), self.schema_
        told = [c for c in schema.known if isinstance(at, pd.DataFrame) and c in at.columns]
        if not told:
            return dataset
        asked = cast(pd.DataFrame, at)
        places = query_times(dataset, asked)
        ticks = dataset.axis.query_ticks(places.keys[str(schema.time)])
        there = pd.MultiIndex.from_arrays([dataset.series_of_row, dataset.row_ticks])
        new = ~pd.MultiIndex.from_arrays([places.series, ticks]).isin(there)
        statics = dataset.static_frame().iloc[places.series].reset_index(drop=True)
        values = asked[told].reset_index(drop=True)
        added = pd.concat([places.keys, statics, values], axis=1)[new].drop_duplicates()
        if schema.layout == "long":
            added[str(schema.variable)] = self._targets[0]
        table, _, _ = read_columns(history, schema)
        return self.read(pd.concat([table, added], ignore_index=True))

    def _check_not_before_history(
        self, dataset: SeriesDataset, series: np.ndarray, time: np.ndarray
    ) -> None:
        early = time < dataset.first[series]
        if early.any():
            at = int(early.argmax())
            raise SchemaError(
                f"series {dataset.ids[series[at]]!r} is asked about a time "
                f"{dataset.first[series[at]] - time[at]:g}{dataset.axis.unit_name} before its first "
                "observation; a forecast needs something observed before or around it"
            )

    def _origins(self, dataset: SeriesDataset, series: np.ndarray, time: np.ndarray) -> np.ndarray:
        """The last observation at or before each time: what the model has been trained to go on from.

        So a time inside the history is answered from what had been seen by then.
        """
        seen = pd.DataFrame({"series": dataset.series, "origin": dataset.time}).sort_values("origin")
        asked = pd.DataFrame({"series": series, "time": time}).sort_values("time", kind="stable")
        found = pd.merge_asof(asked, seen, left_on="time", right_on="origin", by="series")
        origin = found["origin"].set_axis(asked.index).sort_index().to_numpy()
        return np.where(np.isnan(origin), dataset.last[series], origin)

    def _answer(self, dataset: SeriesDataset, asked: Asked, keys: pd.DataFrame) -> Forecast:
        series = Series(dataset, self.scaling_)
        return forecast(self.module_.model, series, self.scaling_, asked, keys, self.context_)


def _settings(
    module: LitLatentODE, data: IrregularDataModule, task: Forecasting, names: Iterable[str]
) -> dict[str, Any]:
    """Those of the named parameters that a module and its data say, given or by default."""
    network = {n: p.default for n, p in signature(build_latent_ode).parameters.items()}
    of_data = {
        "horizon": task.horizon,
        "context": task.context,
        "batch_size": data.batch_size,
        "random_state": data.seed,
    }
    said = {**network, **module.hparams, **of_data}
    return {name: said[name] for name in names if name in said}


def _ordered(dataset: SeriesDataset) -> SeriesDataset:
    """Series in the order of their keys: sums, and so a fit, depend on no order in the table."""
    return dataset.select(np.argsort(series_keys(dataset), kind="stable"))


def _say_merged(dataset: SeriesDataset) -> None:
    if dataset.merged:
        warnings.warn(
            f"{dataset.merged} rows were merged into others of the same series and time, as duplicates "
            "asks",
            stacklevel=3,
        )


def _plain(value: Any) -> Any:
    """Python's own number for one of numpy's, as from a grid that was searched."""
    return value.item() if isinstance(value, np.generic) else value


def _json(value: object) -> object:
    plain = _plain(value)
    return str(value) if plain is value else plain
