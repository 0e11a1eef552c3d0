"""Other ways to the probability that the level is reached within the hour: each fit on past hours.

Ways that foresee a course of readings answer by what happened in training: the probability is the share
of past courses of errors which, added to the course foreseen, reach the level.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd
from classical.gaussian_process import GaussianProcess
from hours import LEVEL, STEPS, Hours
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

__all__ = ["Binned", "Climatology", "Drift", "Process", "Rival", "Shortcut"]

EDGES = (90, 110, 130, 145, 155, 165, 173)  # mg/dL, between bins of the last value
BLOCKS = 4  # of a day
BORROWED = 10.0  # hours' worth of the wider group in the frequency of a narrower one


class Rival(Protocol):
    """Learns from past hours and answers for others."""

    name: str

    def fit(self, past: Hours) -> Rival: ...

    def probability(self, hours: Hours) -> np.ndarray: ...


class Climatology:
    """How often it happened."""

    name = "climatology"

    def fit(self, past: Hours) -> Climatology:
        self.share_ = float(past.reached.mean())
        return self

    def probability(self, hours: Hours) -> np.ndarray:
        return np.full(len(hours), self.share_)


class Binned:
    """How often it happened from such a value at such a time of day.

    Frequencies of few hours lean on those of the same value at all times, and these on all.
    """

    name = "climatology by value and time of day"

    def fit(self, past: Hours) -> Binned:
        value, block = _cell(past)
        shape = (len(EDGES) + 1, BLOCKS)
        n, k = np.zeros(shape), np.zeros(shape)
        np.add.at(n, (value, block), 1)
        np.add.at(k, (value, block), past.reached)
        wide = (k.sum(1) + BORROWED * past.reached.mean()) / (n.sum(1) + BORROWED)
        self.share_ = (k + BORROWED * wide[:, None]) / (n + BORROWED)
        return self

    def probability(self, hours: Hours) -> np.ndarray:
        return self.share_[_cell(hours)]


class Drift:
    """A course that carries the last value on, with past errors of such courses around it.

    Args:
        name: what to call it.
        damping: what part of the slope is kept at each of `STEPS`: 0 for the last value, 1 for linear
            drift, None for what least squares says, lead by lead.
    """

    def __init__(self, name: str, damping: float | None) -> None:
        self.name, self.damping = name, damping

    def fit(self, past: Hours) -> Drift:
        run = past.slope[:, None] * STEPS
        if self.damping is None:
            change = past.after - past.value[:, None]
            self.kept_ = (run * change).sum(axis=0) / (run**2).sum(axis=0)
        else:
            self.kept_ = np.full(len(STEPS), self.damping)
        self.errors_ = past.after - self.course(past)
        return self

    def course(self, hours: Hours) -> np.ndarray:
        """What is foreseen at `STEPS`, shape `(hours, 12)`."""
        return hours.value[:, None] + self.kept_ * hours.slope[:, None] * STEPS

    def probability(self, hours: Hours) -> np.ndarray:
        short = LEVEL - self.course(hours)
        return np.array([(self.errors_ >= one).any(axis=1).mean() for one in short])


class Process:
    """Futures drawn from a Gaussian process given the last readings, the noise of readings included.

    Args:
        table: `time` and `glucose`, of which each hour sees what lies before it.
        process: fitted; its kernel is what is learnt.
        draws: how many courses.
    """

    name = GaussianProcess.name

    def __init__(self, table: pd.DataFrame, process: GaussianProcess, draws: int = 2000) -> None:
        self.table, self.process, self.draws = table, process, draws

    def fit(self, past: Hours) -> Process:
        return self

    def probability(self, hours: Hours) -> np.ndarray:
        time, value = self.table["time"].to_numpy(), self.table["glucose"].to_numpy(dtype=float)
        center, scale = self.process.climatology_.mean[0], self.process.scale_[0]
        elapsed = (time - time[0]) / np.timedelta64(1, "h")
        rng = np.random.default_rng(0)
        found = np.empty(len(hours))
        for i, origin in enumerate(np.searchsorted(time, hours.origin.to_numpy())):
            seen = slice(max(0, origin + 1 - self.process.window), origin + 1)
            model = GaussianProcessRegressor(self.process.kernels_[0], optimizer=None)
            model.fit(elapsed[seen, None] - elapsed[origin], (value[seen] - center) / scale)
            mean, covariance = model.predict(STEPS[:, None], return_cov=True)
            courses = rng.multivariate_normal(mean, covariance, self.draws, method="cholesky")
            found[i] = (center + scale * courses >= LEVEL).any(axis=1).mean()
        return found


class Shortcut:
    """The question itself as a classification: logistic regression, with no course between.

    On the value, the slope, the time of day (a sine and a cosine) and all products of two of them.
    """

    name = "logistic regression"

    def fit(self, past: Hours) -> Shortcut:
        steps = (
            StandardScaler(),
            PolynomialFeatures(2, include_bias=False),
            LogisticRegression(max_iter=1000),
        )
        self.model_ = make_pipeline(*steps).fit(_features(past), past.reached)
        return self

    def probability(self, hours: Hours) -> np.ndarray:
        return self.model_.predict_proba(_features(hours))[:, 1]


def _cell(hours: Hours) -> tuple[np.ndarray, np.ndarray]:
    """The bin of the value, and the block of the day."""
    block = (hours.time_of_day * BLOCKS / 24).astype(int)
    return np.searchsorted(EDGES, hours.value, "right"), block


def _features(hours: Hours) -> np.ndarray:
    turn = 2 * np.pi * hours.time_of_day / 24
    return np.stack([hours.value, hours.slope, np.sin(turn), np.cos(turn)], axis=1)
