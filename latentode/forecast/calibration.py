r"""Calibration: quantiles of forecasts corrected by how often held-out observations fell below them.

A forecast with cdf F claims that the score $t = \Phi^{-1}(F(y))$ of what is then observed, y, is
standard normal; t is its nominal score. Held-out forecasts of a variable about as far ahead come from
m exchangeable groups: series, or blocks of time. With $t_{(k)}$ the k-th smallest of m
scores, one drawn from each group at random, the calibrated score of a value is c(t), piecewise linear
with

$$c\big(E[t_{(k)}]\big) = \Phi^{-1}\Big(\frac{k}{m + 1}\Big), \qquad k = 1, \dots, m,$$

the mean being over the draws, interpolated to the levels 1%, 2.5%, 5%, ..., 99%. The calibrated
distribution has the cdf $\Phi(c(\Phi^{-1}(F(x))))$, whatever the likelihood. Between the mean leads of
neighbouring bins c is interpolated.

**What is guaranteed.** Of a group that is exchangeable with those learnt from, a value chosen at random
lies below the k-th smallest of one draw per group with a probability of k / (m + 1): split conformal
prediction (of hierarchical data, by repeated subsampling) with the scores of Chernozhukov et al. So it
lies below the lower p-quantile with a probability of at most p, and likewise above, exactly where each
group has one forecast; by Jensen's inequality also of the mean over draws, where the density of the
scores falls off outwards from the middle. This holds for $1 / (m + 1) \le p \le m / (m + 1)$ only.

**Further out** the tails of the forecast are shifted in score and keep their shape, so that its mean
and standard deviation stay sane however few groups there are: a nominal score grows with the calibrated
one at slope 1, or at the mean slope of the guaranteed part where that is less, as of forecasts that are
too wide. That guarantees nothing, and a quantile that is asked for there warns.

The origins of one series say nothing of how series differ: counted as if each were a series of its own,
intervals would be far too narrow for a new series.

References:
    Distributional conformal prediction (Chernozhukov, Wuthrich and Zhu, 2021),
    https://arxiv.org/abs/1909.07889
    Distribution-free prediction sets for two-layer hierarchical models (Dunn, Wasserman and Ramdas,
    2022), https://arxiv.org/abs/1809.07441
    Accurate uncertainties for deep learning using calibrated regression (Kuleshov et al., 2018),
    https://arxiv.org/abs/1807.00263
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from latentode.data.cells.columns import (
    forecast_column,
    interval_levels,
    number_column,
    quantile_levels,
    quantile_name,
)
from latentode.errors import LatentODEError, check_whole, warn
from latentode.forecast.residuals import (
    CALIBRATED_SCORES,
    FURTHEST,
    LEVELS,
    Curves,
    guaranteed_levels,
    piecewise_linear,
)

__all__ = ["Calibration", "Curve", "time_blocks"]

PER_BIN = 200  # forecasts in a bin of lead time, at least, where there are so many
FEWEST = 40  # forecasts of a variable: with fewer, its outer quantiles would be its extremes
EPS, TINY = np.finfo(np.float64).eps, np.finfo(np.float64).tiny
LEAST_STEP = 1e-6  # between the scores at neighbouring levels, so that c can be inverted
MOST_DRAWS, FEWEST_DRAWS = 400, 50  # of one score per group
SCORES_DRAWN = 200_000  # in all draws of one curve, between those bounds


@dataclass(frozen=True)
class Curve:
    """The calibration curve of one variable, by lead time.

    Args:
        leads: mean lead time of each bin, ascending, shape `(bins,)`.
        nominal_scores: those at which the calibrated scores are `CALIBRATED_SCORES`, ascending along
            them, shape `(bins, knots)`.
        shares: the share of the held-out observations at or below the uncalibrated forecast's quantile
            of each of `LEVELS`, each observation counted once, shape `(levels,)`.
        forecasts: how many forecasts it is learnt from.
        groups: how many exchangeable groups they are of, in the bin that has the fewest.
    """

    leads: np.ndarray
    nominal_scores: np.ndarray
    shares: np.ndarray
    forecasts: int
    groups: int

    @classmethod
    def fit(cls, lead: np.ndarray, score: np.ndarray, group: np.ndarray, bins: int) -> Curve:
        """Learns the curve from the scores of what was observed.

        Args:
            lead: time since each forecast's origin, shape `(forecasts,)`.
            score: normal score of each actual value, likewise.
            group: which exchangeable group each is of, likewise.
            bins: of lead time, at most; each has equally many forecasts.
        """
        order = np.argsort(lead, kind="stable")
        parts = np.array_split(order, min(bins, max(1, len(order) // PER_BIN)))
        scores = np.stack([_nominal_scores(score[p], group[p]) for p in parts])
        groups = min(len(np.unique(group[p])) for p in parts)
        shares = np.searchsorted(np.sort(score), special.ndtri(LEVELS), "right") / len(score)
        return cls(np.array([lead[p].mean() for p in parts]), scores, shares, len(order), groups)

    def at(self, lead: np.ndarray) -> np.ndarray:
        """The nominal scores at leads of shape `(queries,)`: shape `(knots, queries)`."""
        place = np.interp(lead, self.leads, np.arange(len(self.leads)))
        below = np.minimum(place.astype(np.int64), max(0, len(self.leads) - 2))
        above = np.minimum(below + 1, len(self.leads) - 1)
        share = (place - below)[:, None]
        return ((1 - share) * self.nominal_scores[below] + share * self.nominal_scores[above]).T

    def uncalibrated_coverage(self, level: float) -> float:
        """The share of the held-out observations inside the uncalibrated forecasts' central interval.

        Of whole numbers the ends of the interval count in part, as its level is met within a step.

        Args:
            level: nominal coverage of the interval, per cent.
        """
        low, high = np.interp(interval_levels(level), LEVELS, self.shares)
        return float(high - low)


def time_blocks(series: np.ndarray, time: np.ndarray, length: float) -> np.ndarray:
    """The stretch of time that each forecast is of: all of one err alike, whatever their origins.

    Args:
        series: of each forecast, shape `(forecasts,)`.
        time: what is forecast, likewise, in time units since the series' start.
        length: of a stretch, best the longest lead.

    Example:
        >>> time_blocks(np.array([0, 0, 0, 1]), np.array([1.0, 1.9, 2.1, 1.0]), 2.0).tolist()
        [0, 0, 1, 2]
    """
    where = np.stack([series.astype(np.float64), np.floor(time / length)])
    return np.unique(where, axis=1, return_inverse=True)[1].reshape(-1)


def _nominal_scores(score: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The nominal scores at `CALIBRATED_SCORES`, ascending, shape `(knots,)`.

    Beyond the outermost levels that so many groups can guarantee, on straight lines of one slope: that
    of the curve between those levels, and at most 1.
    """
    ordered = _mean_order_statistics(score, group)
    groups = len(ordered)
    inside = np.interp(LEVELS, np.arange(1, groups + 1) / (groups + 1), ordered)
    inside += LEAST_STEP * np.arange(len(LEVELS))
    guaranteed = guaranteed_levels(groups)
    knots = CALIBRATED_SCORES[1:-1][guaranteed]
    nearest = np.clip(CALIBRATED_SCORES, knots[0], knots[-1])
    slope = 1.0 if len(knots) == 1 else min(1.0, np.ptp(inside[guaranteed]) / np.ptp(knots))
    return np.interp(nearest, knots, inside[guaranteed]) + slope * (CALIBRATED_SCORES - nearest)


def _mean_order_statistics(score: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The means of ascending scores, one drawn from each group, over draws: shape `(groups,)`.

    The scores of a group are drawn without replacement of equal parts of them, from a fixed seed.
    """
    order = np.lexsort((score, group))
    _, first, sizes = np.unique(group[order], return_index=True, return_counts=True)
    draws = int(np.clip(SCORES_DRAWN // len(sizes), FEWEST_DRAWS, MOST_DRAWS))
    if sizes.max() == 1:
        return np.sort(score)
    parts = np.broadcast_to((np.arange(draws)[:, None] + 0.5) / draws, (draws, len(sizes)))
    level = np.random.default_rng(0).permuted(parts, axis=0)
    drawn = score[order][first + (level * sizes).astype(np.int64)]
    return np.sort(drawn, axis=1).mean(axis=0)


@dataclass(frozen=True)
class Calibration:
    """Calibration curves by variable, learnt from forecasts that came true.

    Args:
        curves: by name of the variable; variables without one stay as they are.

    Example:
        >>> past = pd.DataFrame({"variable": "x", "lead": 1.0, "actual": range(-50, 51)})
        >>> past = past.assign(**{"q0.1": -10.0, "q0.5": 0.0, "q0.9": 10.0})  # far too narrow
        >>> new = past.iloc[:1].drop(columns="actual")
        >>> made = Calibration.of_quantiles(past).apply(new)
        >>> made[["q0.1", "q0.5", "q0.9"]].round(1).to_numpy().tolist()
        [[-40.8, 0.0, 40.8]]
    """

    curves: dict[str, Curve]

    @classmethod
    def fit(
        cls,
        variable: Sequence[str] | np.ndarray,
        lead: np.ndarray,
        score: np.ndarray,
        bins: int = 6,
        group: np.ndarray | None = None,
    ) -> Calibration:
        """Learns c from forecasts that came true.

        Args:
            variable: names, shape `(forecasts,)`.
            lead: times since the origins, likewise.
            score: normal scores of what was observed, likewise.
            bins: of lead time, at most; each has equally many forecasts of a variable.
            group: the series of each forecast, if new series are to be forecast, or `time_blocks`; None
                where forecasts are exchangeable each on its own.

        Raises:
            LatentODEError: for no forecasts at all, fewer than one bin, arguments of other lengths, a
                lead or score that is no finite number, or a forecast of no group.

        Warns:
            UserWarning: naming a variable that too few forecasts are of; it stays as it is.
        """
        check_whole("bins", bins)
        if len(score) == 0:
            raise LatentODEError("there are no forecasts that came true to calibrate by")
        groups = np.arange(len(score)) if group is None else pd.factorize(np.asarray(group))[0]
        parts = {"variable": np.asarray(variable).astype(str), "lead": lead, "score": score}
        for name, part in (parts | {"group": groups}).items():
            if len(part) != len(score):
                raise LatentODEError(f"`{name}` has {len(part)} values for {len(score)} scores")
        if (groups < 0).any():
            raise LatentODEError(f"row {np.argmax(groups < 0)} of the forecasts has no `group`")
        frame = pd.DataFrame(parts | {"group": groups})
        scored = number_column(frame, "score").clip(-FURTHEST, FURTHEST)
        frame = frame.assign(lead=number_column(frame, "lead"), score=scored)
        curves = {}
        for name, own in frame.groupby("variable", sort=False):
            if len(own) < FEWEST:
                warn(
                    f"`{name}` stays uncalibrated: {len(own)} forecasts of it came true, and it takes "
                    f"{FEWEST}",
                )
                continue
            leads, scores, groups = (own[c].to_numpy() for c in ("lead", "score", "group"))
            curves[str(name)] = Curve.fit(leads, scores, groups, bins)
        return cls(curves)

    @classmethod
    def of_quantiles(
        cls, frame: pd.DataFrame, bins: int = 6, group: np.ndarray | None = None
    ) -> Calibration:
        """Learns c from forecasts that are known by some of their quantiles only.

        Between quantiles, and beyond the outermost, a value's score is taken as linear in it: exact for
        normal forecasts, and the nearer the more quantiles there are. A value at which several of them
        lie, as of a count, has the score in the middle of theirs.

        Args:
            frame: `variable`, `lead`, `actual` and at least two quantiles, as
                `LatentODEForecaster.backtest` has them.
            bins: as for `fit`.
            group: as for `fit`.

        Raises:
            LatentODEError: as `fit`, for a column that is missing, fewer than two quantiles, and a row
                without one of them or without its actual value.
        """
        actual, lead = (number_column(frame, name) for name in ("actual", "lead"))
        levels = _levels(frame)
        quantiles = np.sort([number_column(frame, quantile_name(q)) for q in levels], axis=0)
        # Far less than forecasts are wide, and more than rounding.
        width, size = np.ptp(quantiles, axis=0), np.abs(quantiles).max(axis=0, initial=0)
        apart = np.maximum(1e-9 * width, 4 * EPS * size) + TINY
        apart = apart * np.arange(len(levels))[:, None]
        scores = np.broadcast_to(special.ndtri(levels)[:, None], quantiles.shape)
        lowest = piecewise_linear(actual, quantiles + apart, scores)
        highest = piecewise_linear(actual, quantiles - apart[::-1], scores)
        score = (lowest.clip(-FURTHEST, FURTHEST) + highest.clip(-FURTHEST, FURTHEST)) / 2
        return cls.fit(forecast_column(frame, "variable").to_numpy(), lead, score, bins, group)

    def of(self, variable: Sequence[str] | np.ndarray, lead: np.ndarray) -> Curves:
        """The curves of queries, by their variables' names and lead times."""
        names, lead = np.asarray(variable).astype(str), np.asarray(lead, dtype=float)
        nominal = np.repeat(CALIBRATED_SCORES[:, None], len(lead), axis=1)
        count = np.zeros(len(lead), dtype=np.int64)
        for name, curve in self.curves.items():
            own = names == name
            nominal[:, own], count[own] = curve.at(lead[own]), curve.groups
        return Curves(nominal, count)

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Forecasts with their quantiles moved; the other columns stay, and rows without a quantile.

        Args:
            frame: `variable`, `lead` and at least two quantiles.

        Raises:
            LatentODEError: for a column that is missing, fewer than two quantiles, or a row without a
                lead.
        """
        levels = _levels(frame)
        curves = self.of(forecast_column(frame, "variable").to_numpy(), number_column(frame, "lead"))
        given = [number_column(frame, quantile_name(q), finite=False) for q in levels]
        quantiles = np.sort(given, axis=0)
        place = np.flatnonzero(curves.changed & np.isfinite(quantiles).all(axis=0))
        curves, quantiles = curves.take(place), quantiles[:, place]
        scores = np.broadcast_to(special.ndtri(levels)[:, None], quantiles.shape)
        made = {}
        for level, values in zip(levels, given, strict=True):
            curves.warn_of_unguaranteed(level)
            score = curves.nominal_score(special.ndtri(level))
            values[place] = piecewise_linear(score, scores, quantiles)
            made[quantile_name(level)] = values
        return frame.assign(**made)

    def to_dict(self) -> dict[str, Any]:
        """Primitives; `from_dict` is its inverse."""
        return {
            name: {
                "leads": c.leads.tolist(),
                "nominal_scores": c.nominal_scores.tolist(),
                "shares": c.shares.tolist(),
                "forecasts": c.forecasts,
                "groups": c.groups,
            }
            for name, c in self.curves.items()
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Calibration:
        """Reads what `to_dict` wrote."""
        arrays = ("leads", "nominal_scores", "shares")
        return cls(
            {name: Curve(**c | {a: np.array(c[a]) for a in arrays}) for name, c in state.items()}
        )


def _levels(frame: pd.DataFrame) -> list[float]:
    levels = quantile_levels(frame)
    if len(levels) < 2:
        raise LatentODEError(
            f"to be calibrated, forecasts need two quantiles or more; there are {levels}"
        )
    return levels
