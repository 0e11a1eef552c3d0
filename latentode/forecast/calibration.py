r"""Calibration: quantiles made to mean what forecasts that have come true say that they mean.

A forecast with cdf F claims that the score $t = \Phi^{-1}(F(y))$ of what is then observed, y, is
standard normal. From n held-out forecasts of a variable about as far ahead, with scores
$t_{(1)} \le \dots \le t_{(n)}$, the honest score of a value is $c(t)$, piecewise linear through

$$c\big(t_{((n + 1) p)}\big) = \Phi^{-1}(p) \quad\text{at } p = 1\%, 2.5\%, 5\%, \dots, 99\%,$$

and the calibrated distribution has the cdf $\Phi(c(\Phi^{-1}(F(x))))$, whatever the likelihood. As
ranks among exchangeable scores are uniform, a new value lies below the calibrated p-quantile with
probability p: split conformal prediction with the scores of Chernozhukov et al., for all levels.
Between the mean leads of neighbouring bins c is interpolated.

References:
    Distributional conformal prediction (Chernozhukov, Wuthrich and Zhu, 2021),
    https://arxiv.org/abs/1909.07889
    Accurate uncertainties for deep learning using calibrated regression (Kuleshov et al., 2018),
    https://arxiv.org/abs/1807.00263
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from latentode.data.quantile_columns import interval_levels, quantile_levels, quantile_name
from latentode.errors import LatentODEError

__all__ = ["FURTHEST", "Calibration", "Curve", "Curves"]

FURTHEST = 7.5  # the score beyond which levels round to 0 and 1
PER_MILLE = (10, 25, 50, 100, 150, 200, 250, 300, 400, 500)  # and as far below 1,000
LEVELS = np.array([*PER_MILLE, *(1000 - p for p in PER_MILLE[-2::-1])]) / 1000
HONEST = np.r_[-FURTHEST, special.ndtri(LEVELS), FURTHEST]
PER_BIN = 200  # forecasts in a bin of lead time, at least, where there are so many
FEWEST = 40  # forecasts of a variable: with fewer, its outer quantiles would be its extremes
LEAST_STEP = 1e-6  # between the scores at neighbouring levels, so that c can be inverted


@dataclass(frozen=True)
class Curve:
    """Of one variable, the scores that were said where the honest ones are `HONEST`.

    Beyond the outermost levels scores are stretched as on the whole from the median to there.

    Args:
        leads: mean lead time of each bin, ascending, shape `(bins,)`.
        scores: ascending along `HONEST`, shape `(bins, knots)`.
        forecasts: how many came true.
    """

    leads: np.ndarray
    scores: np.ndarray
    forecasts: int

    @classmethod
    def fit(cls, lead: np.ndarray, score: np.ndarray, bins: int) -> Curve:
        """From the scores of what was observed, in up to `bins` bins of equally many."""
        order = np.argsort(lead, kind="stable")
        parts = np.array_split(order, min(bins, max(1, len(order) // PER_BIN)))
        said = np.stack([np.quantile(score[p], LEVELS, method="weibull") for p in parts])
        said += LEAST_STEP * np.arange(len(LEVELS))
        honest, middle = HONEST[1:-1], len(LEVELS) // 2
        ends = [
            said[:, i] + (said[:, i] - said[:, middle]) / honest[i] * (end - honest[i])
            for i, end in ((0, -FURTHEST), (-1, FURTHEST))
        ]
        scores = np.column_stack([ends[0], said, ends[1]])
        return cls(np.array([lead[p].mean() for p in parts]), scores, len(order))

    def at(self, lead: np.ndarray) -> np.ndarray:
        """The scores at leads of shape `(queries,)`: shape `(knots, queries)`."""
        place = np.interp(lead, self.leads, np.arange(len(self.leads)))
        below = np.minimum(place.astype(np.int64), max(0, len(self.leads) - 2))
        above = np.minimum(below + 1, len(self.leads) - 1)
        share = (place - below)[:, None]
        return ((1 - share) * self.scores[below] + share * self.scores[above]).T

    def covered(self, level: float) -> float:
        """The share of values, of those that came true, inside what was said to be a central interval.

        Args:
            level: per cent that it was to cover.
        """
        ends = special.ndtri(interval_levels(level))
        low, high = np.mean([special.ndtr(np.interp(ends, s, HONEST)) for s in self.scores], axis=0)
        return float(high - low)


@dataclass(frozen=True)
class Curves:
    """c of each query: what its scores are in honest ones, and back.

    Args:
        said: the scores at `HONEST`, ascending, shape `(knots, queries)`.
    """

    said: np.ndarray

    @property
    def changed(self) -> np.ndarray:
        """Which queries are calibrated."""
        return (self.said != HONEST[:, None]).any(axis=0)

    def honest(self, score: np.ndarray) -> np.ndarray:
        """c(score), of shape `(..., queries)`."""
        return _through(np.asarray(score), self.said, HONEST[:, None])

    def stated(self, honest: np.ndarray | float) -> np.ndarray:
        """The inverse of c."""
        every = np.broadcast_to(honest, np.broadcast_shapes(np.shape(honest), self.said.shape[1:]))
        return _through(every, np.broadcast_to(HONEST[:, None], self.said.shape), self.said)

    def log_slope(self, score: np.ndarray) -> np.ndarray:
        """log c' at scores of shape `(queries,)`."""
        piece = _piece(score, self.said)
        rise, run = np.diff(HONEST)[piece], _take(np.diff(self.said, axis=0), piece)
        return np.log(rise / run)


@dataclass(frozen=True)
class Calibration:
    """What forecasts that came true say of the scores of new ones, by variable and lead time.

    Args:
        curves: by variable; others stay as they are.

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
        cls, variable: Sequence[str] | np.ndarray, lead: np.ndarray, score: np.ndarray, bins: int = 6
    ) -> Calibration:
        """Learns c from forecasts that came true.

        Args:
            variable: names, shape `(forecasts,)`.
            lead: times since the origins, likewise.
            score: normal scores of what was observed, likewise.
            bins: of lead time, at most; each has equally many forecasts of a variable.

        Raises:
            LatentODEError: for no forecasts at all, or fewer than one bin.

        Warns:
            UserWarning: naming a variable that too few forecasts are of; it stays as it is.
        """
        if bins < 1:
            raise LatentODEError(f"bins must be at least 1, got {bins!r}")
        if len(score) == 0:
            raise LatentODEError("there are no forecasts that came true to calibrate by")
        score = np.clip(score, -FURTHEST, FURTHEST)
        frame = pd.DataFrame(
            {"variable": np.asarray(variable).astype(str), "lead": lead, "score": score}
        )
        curves = {}
        for name, own in frame.groupby("variable", sort=False):
            if len(own) < FEWEST:
                warnings.warn(
                    f"`{name}` stays uncalibrated: {len(own)} forecasts of it came true, and it takes "
                    f"{FEWEST}",
                    stacklevel=2,
                )
                continue
            curves[str(name)] = Curve.fit(own["lead"].to_numpy(), own["score"].to_numpy(), bins)
        return cls(curves)

    @classmethod
    def of_quantiles(cls, frame: pd.DataFrame, bins: int = 6) -> Calibration:
        """Learns c from forecasts that are known by some of their quantiles only.

        Between quantiles, and beyond the outermost, a value's score is taken as linear in it: exact for
        normal forecasts, and the nearer the more quantiles there are.

        Args:
            frame: `variable`, `lead`, `actual` and at least two quantiles, as
                `LatentODEForecaster.backtest` has them.
            bins: as for `fit`.

        Raises:
            LatentODEError: as `fit`, for fewer than two quantiles, and for a row without one of them or
                without its actual value.
        """
        used = frame[["actual", *(quantile_name(q) for q in quantile_levels(frame))]]
        empty = used.isna()
        if empty.any(axis=None):
            row, column = (int(i) for i in np.argwhere(empty.to_numpy())[0])
            raise LatentODEError(
                f"row {row} of the forecasts has no `{used.columns[column]}`; leave out what has not "
                "come true, and point forecasts"
            )
        score = _through(frame["actual"].to_numpy(dtype=float), *_known(frame))
        return cls.fit(frame["variable"].to_numpy(), frame["lead"].to_numpy(), score, bins)

    def of(self, variable: Sequence[str] | np.ndarray, lead: np.ndarray) -> Curves:
        """c of queries, by their variables' names and leads; what is asked of the past stays."""
        names, lead = np.asarray(variable).astype(str), np.asarray(lead, dtype=float)
        said = np.repeat(HONEST[:, None], len(lead), axis=1)
        for name, curve in self.curves.items():
            own = (names == name) & (lead > 0)
            said[:, own] = curve.at(lead[own])
        return Curves(said)

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Forecasts with their quantiles moved; the other columns stay.

        Args:
            frame: `variable`, `lead` and at least two quantiles.
        """
        curves = self.of(frame["variable"].to_numpy(), frame["lead"].to_numpy())
        quantiles, scores = _known(frame)
        made = {}
        for level in quantile_levels(frame):
            moved = _through(curves.stated(special.ndtri(level)), scores, quantiles)
            name = quantile_name(level)
            made[name] = np.where(curves.changed, moved, frame[name])
        return frame.assign(**made)

    def to_dict(self) -> dict[str, Any]:
        """Primitives; `from_dict` is its inverse."""
        return {
            name: {"leads": c.leads.tolist(), "scores": c.scores.tolist(), "forecasts": c.forecasts}
            for name, c in self.curves.items()
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Calibration:
        """Reads what `to_dict` wrote."""
        return cls(
            {
                n: Curve(np.array(c["leads"]), np.array(c["scores"]), c["forecasts"])
                for n, c in state.items()
            }
        )


def _known(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles, made to ascend strictly, and their scores, each of shape `(levels, rows)`."""
    levels = quantile_levels(frame)
    if len(levels) < 2:
        raise LatentODEError(
            f"to be calibrated, forecasts need two quantiles or more; there are {levels}"
        )
    quantiles = np.sort(
        np.stack([frame[quantile_name(q)].to_numpy(dtype=float) for q in levels]), axis=0
    )
    tiny = 1e-9 * np.maximum(np.ptp(quantiles, axis=0), 1e-9 * np.abs(quantiles).max(axis=0) + 1e-300)
    quantiles = quantiles + tiny * np.arange(len(levels))[:, None]
    return quantiles, np.broadcast_to(special.ndtri(levels)[:, None], quantiles.shape)


def _piece(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Between which knots of its query each x `(..., queries)` lies; the outermost ones reach on."""
    place = (x[..., None, :] >= knots).sum(axis=-2) - 1
    return np.clip(place, 0, len(knots) - 2)


def _take(values: np.ndarray, piece: np.ndarray) -> np.ndarray:
    return values[piece, np.broadcast_to(np.arange(values.shape[1]), piece.shape)]


def _through(x: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Piecewise linear through (knots, values) of each query, both of shape `(knots, queries)`."""
    piece = _piece(x, knots)
    values = np.broadcast_to(values, knots.shape)
    left, right = _take(knots, piece), _take(knots, piece + 1)
    low, high = _take(values, piece), _take(values, piece + 1)
    return low + (high - low) * (x - left) / (right - left)
