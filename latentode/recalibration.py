r"""Recalibration: predictive intervals made as wide as forecasts that have come true say.

With the median $m_i$ and the central interval of half width $h_i$ of past forecasts, and what was then
observed, $y_i$, an interval $m \pm c\,h$ covers the nominal share $\alpha$ of new values if

$$c = Q_\alpha\big(|y_i - m_i| / h_i\big),$$

whatever the distribution, as long as new forecasts err as past ones did: split conformal prediction
with normalised scores. Every quantile of a new forecast is moved from its median by the factor $c$ of
its variable and lead time. The model stays as it is.

References:
    Distribution-free predictive inference for regression (Lei et al., 2018),
    https://arxiv.org/abs/1604.04173
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from latentode.errors import LatentODEError
from latentode.quantiles import quantile_levels, quantile_name

__all__ = ["Recalibration"]


@dataclass(frozen=True)
class Recalibration:
    """The factors by which intervals are to be widened, by variable and lead time.

    Args:
        edges: upper ends of the bins of lead time, ascending, the last infinite.
        factors: of each (variable, bin).

    Example:
        >>> past = pd.DataFrame({"variable": "x", "lead": 1.0, "actual": range(-50, 51)})
        >>> past = past.assign(**{"q0.1": -10.0, "q0.5": 0.0, "q0.9": 10.0})  # far too narrow
        >>> new = past.iloc[:1].drop(columns="actual")
        >>> Recalibration.fit(past, bins=1).apply(new)[["q0.1", "q0.5", "q0.9"]].to_numpy().tolist()
        [[-40.0, 0.0, 40.0]]
    """

    edges: np.ndarray
    factors: dict[tuple[str, int], float]

    @classmethod
    def fit(cls, frame: pd.DataFrame, level: float = 0.8, bins: int = 4) -> Recalibration:
        """Takes the factors from a backtest of forecasts that have come true.

        Args:
            frame: `variable`, `lead`, `actual` and quantiles, as `LatentODEForecaster.backtest` has
                them: the median, and both ends of the interval that is to cover.
            level: the share that it is to cover.
            bins: into how many bins of equally many forecasts lead times are split.

        Raises:
            LatentODEError: for an empty frame, or one without these quantiles.
        """
        ends = [round((1 - level) / 2, 6), round((1 + level) / 2, 6)]
        missing = [q for q in (*ends, 0.5) if quantile_name(q) not in frame.columns]
        if missing:
            raise LatentODEError(f"the forecasts lack the quantile {missing[0]:g}; ask for it")
        if frame.empty:
            raise LatentODEError("there are no past forecasts to recalibrate by")
        cuts = np.unique(np.quantile(frame["lead"], np.arange(1, bins) / bins))
        edges = np.append(cuts, np.inf)
        low, high = (frame[quantile_name(q)].to_numpy() for q in ends)
        off = (frame["actual"] - frame["q0.5"]).abs().to_numpy() / ((high - low) / 2)
        groups = pd.Series(off).groupby([frame["variable"].astype(str).to_numpy(), _bin(frame, edges)])
        found = groups.quantile(level).to_dict()
        return cls(edges, {(str(v), int(b)): float(c) for (v, b), c in found.items()})  # type: ignore[misc]

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Forecasts whose quantiles are moved from their medians.

        Args:
            frame: `variable`, `lead`, the median `q0.5` and other quantiles.

        Raises:
            LatentODEError: for a variable or a lead time of which no past forecast is known.
        """
        keys = list(zip(frame["variable"].astype(str), _bin(frame, self.edges).tolist(), strict=True))
        unknown = next((k for k in keys if k not in self.factors), None)
        if unknown is not None:
            raise LatentODEError(f"no past forecast of {unknown[0]!r} is of such a lead time")
        factor = np.array([self.factors[k] for k in keys])
        middle = frame["q0.5"].to_numpy()
        names = [quantile_name(q) for q in quantile_levels(frame)]
        return frame.assign(**{n: middle + factor * (frame[n].to_numpy() - middle) for n in names})


def _bin(frame: pd.DataFrame, edges: np.ndarray) -> np.ndarray:
    return np.searchsorted(edges, frame["lead"].to_numpy(), "left")
