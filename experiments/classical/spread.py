"""Spread: intervals for a point forecaster, from how far off it was before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from latentode.data.cells.columns import quantile_name
from latentode.errors import LatentODEError

__all__ = ["Spread"]


@dataclass(frozen=True)
class Spread:
    """Empirical quantiles of past errors by variable and lead time.

    Args:
        edges: upper ends of the bins of lead time, ascending, the last infinite.
        errors: actual values less forecast ones by (variable, bin), ascending.

    Example:
        >>> past = pd.DataFrame({"variable": "x", "lead": 1.0, "actual": range(101), "mean": 50.0})
        >>> new = pd.DataFrame({"variable": "x", "lead": 1.0, "mean": [0.0]})
        >>> Spread.fit(past, bins=1).apply(new, [0.1, 0.9])[["q0.1", "q0.9"]].to_numpy().tolist()
        [[-40.0, 40.0]]
    """

    edges: np.ndarray
    errors: dict[tuple[str, int], np.ndarray]

    @classmethod
    def fit(cls, frame: pd.DataFrame, bins: int = 6) -> Spread:
        """Keeps the errors of a backtest.

        Args:
            frame: `variable`, `lead`, `actual` and `mean`, as `LatentODEForecaster.backtest` has them.
            bins: into how many bins of equally many forecasts lead times are split.

        Raises:
            LatentODEError: for an empty frame.
        """
        if frame.empty:
            raise LatentODEError("there are no past forecasts to take a spread from")
        cuts = np.unique(np.quantile(frame["lead"], np.arange(1, bins) / bins))
        edges = np.append(cuts, np.inf)
        error = (frame["actual"] - frame["mean"]).to_numpy()
        groups = pd.DataFrame({"v": frame["variable"].to_numpy(), "b": _bin(frame, edges), "e": error})
        kept = {
            (str(v), int(b)): np.sort(part.to_numpy())  # type: ignore[arg-type]
            for (v, b), part in groups.groupby(["v", "b"])["e"]  # type: ignore[misc]
        }
        return cls(edges, kept)

    def apply(self, frame: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
        """Adds a quantile column per level to forecasts.

        Args:
            frame: `variable`, `lead` and `mean`.
            levels: between 0 and 1.

        Raises:
            LatentODEError: for a variable or a lead time of which no past error is known.
        """
        keys = pd.MultiIndex.from_arrays([frame["variable"].astype(str), _bin(frame, self.edges)])
        off = np.empty((len(frame), len(levels)))
        for key, place in pd.Series(range(len(frame)), index=keys).groupby(level=[0, 1]):
            if key not in self.errors:
                raise LatentODEError(f"no past forecast of {key[0]!r} is of such a lead time")  # type: ignore[index]
            off[place.to_numpy()] = np.quantile(self.errors[key], levels)  # type: ignore[index]
        made = frame["mean"].to_numpy()[:, None] + off
        return frame.assign(**{quantile_name(q): made[:, i] for i, q in enumerate(levels)})


def _bin(frame: pd.DataFrame, edges: np.ndarray) -> np.ndarray:
    return np.searchsorted(edges, frame["lead"].to_numpy(), "left")
