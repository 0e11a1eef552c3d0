"""Backtester: how a fitted forecaster's answers compare with what came true; calibration by that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import pandas as pd

from latentode.data.columns import IntoFrame
from latentode.data.quantile_columns import quantile_list
from latentode.data.queries import At
from latentode.data.time_axis import Duration
from latentode.estimators.predictor import QUANTILES, Predictor
from latentode.evaluation.backtest import (
    ORIGINS,
    backtest,
    backtest_pairs,
    calibrated,
    compare_with_baselines,
    evaluate,
    skill,
)
from latentode.evaluation.metrics import USUAL, metric_list
from latentode.forecast.calibration import Calibration

__all__ = ["Backtester"]


class Backtester(Predictor):
    """Forecasts of what was observed, from what had been seen before it.

    Attributes:
        calibration_: what `calibrate` learnt; None for none.
    """

    calibration_: Calibration | None

    def backtest(
        self,
        df: IntoFrame,
        horizon: Duration | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        origins: int | None = ORIGINS,
        cutoffs: At | None = None,
        log_prob: bool = False,
    ) -> pd.DataFrame:
        """Forecasts observations of a table from earlier times of their series, or from given cutoffs.

        Nothing later than an origin is seen when it is forecast from, but of columns that are known
        ahead. The model stays as it is: fit it on what was there before the first cutoff.

        Args:
            df: held-out table; for cutoffs with what came before them, too.
            horizon: how far ahead; the fitted one unless told.
            quantiles: levels between 0 and 1, or one of them.
            origins: most times per series to forecast from, evenly spread over those with an
                observation within the horizon; None takes all, which costs rows times rows per
                horizon. Of no account with `cutoffs`.
            cutoffs: timestamps to forecast every series from that has shown anything by then: a
                rolling evaluation in time, as a forecaster in use would have met it.
            log_prob: whether to add the log-density of each actual value, in data units.

        Returns:
            A long frame: identifier, `origin`, time, `lead` (in time units), `variable`, `actual`,
            `mean`, `std` and quantiles (and `log_prob`), for `latentode.evaluation.metrics.summarise`.

        Raises:
            SchemaError: for a table or cutoffs that cannot be read, and where nothing is observed
                within a horizon after any cutoff.

        Example:
            >>> import numpy as np
            >>> from latentode import LatentODEForecaster
            >>> frame = pd.DataFrame({"id": 1, "time": np.arange(30.0), "x": np.sin(np.arange(30.0))})
            >>> options = {"latent_size": 2, "hidden_size": 8, "max_epochs": 1, "verbose": False}
            >>> model = LatentODEForecaster(4.0, **options).fit(frame[:20])
            >>> found = model.backtest(frame, horizon=2.0, cutoffs=[19.5, 25.0])
            >>> found[["origin", "time", "lead"]].to_numpy().tolist()
            [[19.5, 20.0, 0.5], [19.5, 21.0, 1.5], [25.0, 26.0, 1.0], [25.0, 27.0, 2.0]]
        """
        fitted, levels, dataset = self._fitted, quantile_list(quantiles), self.read(df)
        pairs = backtest_pairs(fitted, dataset, horizon, origins, cutoffs)
        return backtest(fitted, dataset, pairs, levels, log_prob)

    def compare(
        self,
        df: IntoFrame,
        horizon: Duration | None = None,
        origins: int | None = ORIGINS,
        cutoffs: At | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        log_prob: bool = False,
    ) -> pd.DataFrame:
        """The backtest of this model and of the baselines, told apart by the column `model`.

        The time-of-day mean is among them where the times have hours: neither dates nor numbers do.
        Arguments as for `backtest`: from up to 200 times of each series unless told.
        """
        fitted, levels, dataset = self._fitted, quantile_list(quantiles), self.read(df)
        pairs = backtest_pairs(fitted, dataset, horizon, origins, cutoffs)
        return compare_with_baselines(fitted, dataset, pairs, levels, log_prob)

    def evaluate(
        self,
        df: IntoFrame,
        horizon: Duration | None = None,
        origins: int | None = ORIGINS,
        cutoffs: At | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        metrics: str | Sequence[str] = USUAL,
        bins: int = 3,
    ) -> pd.DataFrame:
        """Mean figures of `compare`: by variable, lead time and model, as `latentode evaluate` prints.

        Args:
            df, horizon, origins, cutoffs: as for `backtest`.
            quantiles: levels between 0 and 1: those of "pinball", of which intervals are the ends, and
                of which the CRPS is a mean, so that figures compare at equal levels only.
            metrics: of `latentode.evaluation.METRICS`: "mae", "rmse", "crps", "coverage" (of the
                outermost interval), "pinball", "interval" (its score), "coverages" and "nll", which
                baselines, having no density, do not have.
            bins: of lead time, each named by its upper end in time units.

        Returns:
            A frame indexed by `variable`, `lead`, `model`, with `n` and the figures.

        Raises:
            SchemaError: where nothing can be scored.
            LatentODEError: for an unknown metric, or one that the quantiles do not allow.

        Example:
            >>> import numpy as np
            >>> from latentode import LatentODEForecaster
            >>> frame = pd.DataFrame({"id": 1, "time": np.arange(30.0), "x": np.sin(np.arange(30.0))})
            >>> options = {"latent_size": 2, "hidden_size": 8, "max_epochs": 1, "verbose": False}
            >>> model = LatentODEForecaster(4.0, **options).fit(frame)
            >>> list(model.evaluate(frame, metrics=["crps", "interval", "nll"]))
            ['n', 'crps', 'interval_80', 'nll']
        """
        metrics = metric_list(metrics)
        fitted, levels, dataset = self._fitted, quantile_list(quantiles), self.read(df)
        pairs = backtest_pairs(fitted, dataset, horizon, origins, cutoffs)
        return evaluate(fitted, dataset, pairs, levels, metrics, bins)

    def calibrate(
        self,
        df: IntoFrame,
        horizon: Duration | None = None,
        origins: int | None = ORIGINS,
        cutoffs: At | None = None,
        bins: int = 6,
        exchangeable: str | None = None,
    ) -> Self:
        """Makes quantiles mean what they say, by forecasts of a table that came true.

        What is observed is forecast from earlier times, as in `backtest`; where it lay among the
        quantiles says, by variable and lead time, which quantiles deserve their names: see
        `latentode.forecast.calibration`. From then on all that says how likely a value is at a time
        ahead is calibrated: `predict`, `forecast`, `backtest`, what is drawn by `samples=`, and whole
        futures (`paths`, `rate`, `integral`, `time_to`). Again replaces it; `calibration_ = None`
        undoes it.

        Args:
            df: table that the fit has not seen; as many series, or as long a time, as can be had.
            horizon: how far ahead; the fitted one unless told. Later leads are taken as the last.
            origins: as for `backtest`.
            cutoffs: as for `backtest`.
            bins: of lead time, at most; fewer where a variable has under 200 forecasts for each.
            exchangeable: "series", if new series are to be forecast: each counts once, and quantiles
                are guaranteed as far as their number allows; "origins", if later times of the same
                series are. By default "series", of a single one "origins".

        Returns:
            Itself.

        Raises:
            SchemaError: for a table that cannot be read, and where nothing in it can be forecast.

        Warns:
            UserWarning: naming variables with too few forecasts that came true; they stay as they are.

        References:
            Distributional conformal prediction (Chernozhukov, Wuthrich and Zhu, 2021),
            https://arxiv.org/abs/1909.07889
        """
        fitted, dataset = self._fitted, self.read(df)
        pairs = backtest_pairs(fitted, dataset, horizon, origins, cutoffs)
        self.calibration_ = calibrated(fitted, dataset, pairs, bins, exchangeable).calibration
        return self

    def score(self, df: pd.DataFrame, origins: int | None = ORIGINS) -> float:
        """Skill over the last-value forecast: 1 - MAE / MAE(last value), mean over variables.

        0 is no better than repeating the last value, 1 is perfect, below 0 is worse. Forecasts from
        up to `origins` evenly spread times of each series; None takes all.
        """
        return skill(self._fitted, self.read(df), origins)
