"""Forecasts beside what came true: rolling backtests, metrics, baselines.

In: a `FittedForecaster`, or any frame of forecasts, and a held-out table. Out: frames of figures.
May import: `forecast` and what lies below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from latentode.evaluation.backtest import (
        backtest,
        backtest_pairs,
        calibrated,
        compare,
        compare_with_baselines,
        evaluate,
        skill,
    )
    from latentode.evaluation.baselines import (
        BASELINES,
        Baseline,
        LastValue,
        LinearDrift,
        SeriesMean,
        TimeOfDayMean,
    )
    from latentode.evaluation.metrics import METRICS, figures, summarise
    from latentode.evaluation.pairs import BacktestPairs, observed_after, observed_ahead
    from latentode.evaluation.residual_fit import fit_residuals

__all__ = [
    "BASELINES",
    "METRICS",
    "BacktestPairs",
    "Baseline",
    "LastValue",
    "LinearDrift",
    "SeriesMean",
    "TimeOfDayMean",
    "backtest",
    "backtest_pairs",
    "calibrated",
    "compare",
    "compare_with_baselines",
    "evaluate",
    "figures",
    "fit_residuals",
    "observed_after",
    "observed_ahead",
    "skill",
    "summarise",
]

# Imported on first use, so that a command that needs no network loads neither torch nor Lightning.
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "backtest": [
            "backtest",
            "backtest_pairs",
            "calibrated",
            "compare",
            "compare_with_baselines",
            "evaluate",
            "skill",
        ],
        "baselines": [
            "BASELINES",
            "Baseline",
            "LastValue",
            "LinearDrift",
            "SeriesMean",
            "TimeOfDayMean",
        ],
        "metrics": ["METRICS", "figures", "summarise"],
        "pairs": ["BacktestPairs", "observed_after", "observed_ahead"],
        "residual_fit": ["fit_residuals"],
    },
)
