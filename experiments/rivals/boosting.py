"""Boosting: LightGBM direct over lead times, tuned on validation rows, by one loss each.

Trees add to a base: the latest value, or a ridge regression of what came later on features and their
products with the lead time, since trees by themselves carry no motion on. The base, then the settings,
are those that do best on validation rows, by which rounds are counted (early stopping), too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from features import Rows

__all__ = ["Boosted", "Loss", "Ridge", "fit_loss", "tune"]

FIXED: dict[str, Any] = {"n_jobs": 1, "verbose": -1, "random_state": 0, "subsample_freq": 1}
GRID: tuple[dict[str, Any], ...] = (
    {"num_leaves": 15, "min_child_samples": 40, "subsample": 0.8, "colsample_bytree": 0.5},
    {"num_leaves": 63, "min_child_samples": 100, "subsample": 0.8, "colsample_bytree": 0.3},
)
RATE, MOST_ROUNDS, PATIENCE = 0.05, 600, 25
PENALTIES = (30.0, 3000.0)  # of ridge regressions, in rows
BASES = (None, *PENALTIES)


@dataclass(frozen=True)
class Loss:
    """What trees lower.

    Args:
        name: of a model in the tables.
        objective: LightGBM's.
        level: of a quantile.
    """

    name: str
    objective: str
    level: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        """For LightGBM."""
        return {"objective": self.objective, **({} if self.level is None else {"alpha": self.level})}

    def of(self, error: np.ndarray) -> np.ndarray:
        """The loss of actual values less predicted ones."""
        if self.objective == "l2":
            return error**2
        level = 0.5 if self.level is None else self.level
        return np.maximum(level * error, (level - 1) * error)


@dataclass(frozen=True)
class Ridge:
    """A linear regression on features and their products with the lead time.

    Args:
        loc, scale: of features; missing ones are at their mean.
        weight: shape `(2 * features + 1,)`.
    """

    loc: np.ndarray
    scale: np.ndarray
    weight: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray, y: np.ndarray, weight: np.ndarray, penalty: float) -> Ridge:
        """Of rows and their values less the latest ones."""
        with np.errstate(invalid="ignore"):
            loc, scale = np.nan_to_num(np.nanmean(x, axis=0)), np.nan_to_num(np.nanstd(x, axis=0))
        scale = np.where(scale > 0, scale, 1.0)
        made = cls(loc, scale, np.zeros(2 * x.shape[1] + 1))
        columns = made.columns(x)
        gram = (columns * weight[:, None]).T @ columns
        gram[np.diag_indices_from(gram)] += penalty * weight.mean()
        return cls(loc, scale, np.linalg.solve(gram, columns.T @ (weight * y)))

    def columns(self, x: np.ndarray) -> np.ndarray:
        """Standardised features and their products with the lead time, the first of them."""
        filled = np.clip(np.nan_to_num((x - self.loc) / self.scale), -5, 5).astype(np.float64)
        return np.concatenate([filled * x[:, :1], filled, x[:, :1]], axis=1)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """What is added to the latest values."""
        return self.columns(x) @ self.weight


@dataclass(frozen=True)
class Boosted:
    """A fitted model of one loss.

    Args:
        ridge: under the trees; None where the latest value is.
        trees: of LightGBM.
        unit: of what trees add, in data units.
    """

    ridge: Ridge | None
    trees: Any
    unit: float

    def predict(self, rows: Rows) -> np.ndarray:
        """Values in data units, shape `(rows,)`."""
        added = self.trees.predict(rows.x)
        if self.ridge is not None:
            added = added + self.ridge.predict(rows.x)
        return rows.base + self.unit * added


def fit_loss(
    train: Rows,
    loss: Loss,
    choice: dict[str, Any],
    weight: np.ndarray | None = None,
    validation: tuple[Rows, np.ndarray] | None = None,
) -> Boosted:
    """Fits trees; with validation rows and weights until these get no better.

    Args:
        train: rows.
        loss: what is lowered.
        choice: settings of LightGBM, with `ridge`, the penalty of the base; None for the latest value.
        weight: of rows; None for 1.
        validation: rows and weights by which rounds are counted; without, `choice` has `n_estimators`.
    """
    from lightgbm import LGBMRegressor, early_stopping

    weight = np.ones(len(train.y)) if weight is None else weight
    settings = {k: v for k, v in choice.items() if k != "ridge"}
    unit = float(np.sqrt(np.average((train.y - train.base) ** 2, weights=weight))) or 1.0
    left = (train.y - train.base) / unit
    penalty = choice["ridge"]
    ridge = None if penalty is None else Ridge.fit(train.x, left, weight, penalty)
    if ridge is not None:
        left = left - ridge.predict(train.x)
    more: dict[str, Any] = {}
    if validation is not None:
        rows, weights = validation
        kept = (rows.y - rows.base) / unit - (0.0 if ridge is None else ridge.predict(rows.x))
        more = {
            "eval_set": [(rows.x, kept)],
            "eval_sample_weight": [weights],
            "callbacks": [early_stopping(PATIENCE, verbose=False)],
        }
        settings = {"n_estimators": MOST_ROUNDS, **settings}
    trees = LGBMRegressor(learning_rate=RATE, **FIXED, **settings, **loss.options)
    trees.fit(train.x, left, sample_weight=weight, categorical_feature=[1], **more)
    return Boosted(ridge, trees, unit)


def tune(
    train: Rows,
    validation: Rows,
    loss: Loss,
    bases: Sequence[float | None] = BASES,
    weights: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[Boosted, dict[str, Any], float]:
    """The settings that do best on validation rows, with their model and its loss there.

    Args:
        train, validation: rows.
        loss: what is lowered, and judged by.
        bases: penalties of ridge regressions, None for the latest value.
        weights: of both; None for 1.
    """
    own, held = weights or (np.ones(len(train.y)), np.ones(len(validation.y)))
    best: tuple[Boosted, dict[str, Any], float] | None = None
    tries: list[dict[str, Any]] = [{**GRID[0], "ridge": ridge} for ridge in bases]
    for i in range(len(tries) + len(GRID) - 1):
        if i == len(tries):  # the base is chosen
            assert best is not None
            tries += [{**settings, "ridge": best[1]["ridge"]} for settings in GRID[1:]]
        made = fit_loss(train, loss, tries[i], own, (validation, held))
        value = float(np.average(loss.of(validation.y - made.predict(validation)), weights=held))
        if best is None or value < best[2]:
            rounds = made.trees.best_iteration_ or MOST_ROUNDS
            best = made, {**tries[i], "n_estimators": rounds}, value
    assert best is not None
    return best
