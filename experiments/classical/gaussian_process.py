r"""GaussianProcess: the baseline that statisticians try first, one variable of one series at a time.

$$x(t) \sim \mathrm{GP}\big(\bar x,\;
  a\,k_{3/2}(|t - t'| / \ell) + b\,k_{\text{cycle}}(t, t') + \sigma^2 \delta_{t t'}\big)$$

with a Matérn kernel, a decaying periodic one where there is a cycle, and white noise (Rasmussen and
Williams, 2006, chapters 4 and 5), by scikit-learn.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy import special
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    ExpSineSquared,
    Kernel,
    Matern,
    WhiteKernel,
)

from latentode.data.cells.time_axis import Duration
from latentode.data.climatology import Climatology
from latentode.data.dataset import SeriesDataset
from latentode.data.tables.schema import Schema
from latentode.evaluation.baselines import Baseline
from latentode.forecast import ForecastQueries

__all__ = ["GaussianProcess"]

FAR = 1e7  # typical gaps between windows that are fitted together: they know nothing of each other


class GaussianProcess(Baseline):
    """Conditions on the last observations of the variable; what other variables show is not seen.

    A kernel per variable is found at `fit`, by maximum marginal likelihood over a few windows of the
    training series together; `answer` only conditions on it.

    Args:
        window: how many of the last observations it conditions on; the cost grows with the cube.
        windows: how many training windows the kernel is found on.
        cycle: the period of a cycle, such as "24h"; None for none.
        seed: of the choice of windows.

    Example:
        >>> times = np.arange(60.0)
        >>> frame = pd.DataFrame({"id": 1, "time": times, "x": np.sin(times / 4)})
        >>> process = GaussianProcess(window=30).fit(frame)
        >>> found = process.predict(frame[:40], at=[41.0])["mean"].item()
        >>> bool(abs(found - np.sin(41 / 4)) < 0.05)
        True
    """

    name = "Gaussian process"

    def __init__(
        self, window: int = 60, windows: int = 3, cycle: Duration | None = None, seed: int = 0
    ) -> None:
        self.window, self.windows, self.cycle, self.seed = window, windows, cycle, seed

    def fit(self, df: pd.DataFrame | SeriesDataset, schema: Schema | None = None) -> GaussianProcess:
        """Finds the kernels."""
        dataset = df if isinstance(df, SeriesDataset) else SeriesDataset.from_frame(df, schema)
        self.use(dataset.schema, Climatology.fit(dataset))
        period = None if self.cycle is None else dataset.axis.duration(self.cycle, "cycle")
        self.scale_, self.kernels_ = [], []
        for variable in range(len(dataset.variables)):
            own = dataset.variable == variable
            values = dataset.value[own]
            self.scale_.append(float(values.std()) or 1.0)
            self.kernels_.append(self._kernel(dataset, variable, period))
        return self

    def quantiles(
        self, dataset: SeriesDataset, queries: ForecastQueries, levels: list[float]
    ) -> np.ndarray:
        """Predictive quantiles in data units, shape `(queries, levels)`."""
        mean, std = self._conditioned(dataset, queries)
        return mean[:, None] + std[:, None] * special.ndtri(np.asarray(levels))

    def _answer(self, dataset: SeriesDataset, queries: ForecastQueries) -> np.ndarray:
        return self._conditioned(dataset, queries)[0]

    def _conditioned(
        self, dataset: SeriesDataset, queries: ForecastQueries
    ) -> tuple[np.ndarray, np.ndarray]:
        mean, std = np.empty(len(queries.time)), np.empty(len(queries.time))
        for place, series, variable, origin in _groups(queries):
            time, value = _seen(dataset, series, variable, origin, self.window)
            center, scale = self.climatology_.mean[variable], self.scale_[variable]
            model = GaussianProcessRegressor(self.kernels_[variable], optimizer=cast(Any, None))
            if len(time):
                model.fit(time[:, None], (value - center) / scale)
            found, spread = model.predict(queries.time[place][:, None], return_std=True)
            mean[place], std[place] = center + scale * found, scale * spread
        return mean, std

    def _kernel(self, dataset: SeriesDataset, variable: int, period: float | None) -> Kernel:
        """The kernel of the greatest marginal likelihood over some windows."""
        own = np.nonzero(dataset.variable == variable)[0]
        gap = _typical_gap(dataset, own)
        kernel = ConstantKernel(1.0, (1e-3, 1e3)) * Matern(10 * gap, (0.3 * gap, 1e4 * gap), nu=1.5)
        if period is not None:
            decay = RBF(10 * period, (period, 1e3 * period))
            wave = ExpSineSquared(1.0, period, (0.1, 10.0), "fixed")
            kernel = kernel + ConstantKernel(0.1, (1e-4, 1e2)) * decay * wave
        kernel = kernel + WhiteKernel(0.05, (1e-5, 10.0))
        rng = np.random.default_rng(self.seed)
        times, values = [], []
        for number, end in enumerate(rng.choice(own, min(self.windows, len(own)), replace=False)):
            time, value = _seen(
                dataset, int(dataset.series[end]), variable, float(dataset.time[end]), self.window
            )
            # A whole number of cycles apart, so that each keeps its phase.
            far = FAR * gap if period is None else np.ceil(FAR * gap / period) * period
            times.append(time + number * far)
            values.append(value)
        scaled = (np.concatenate(values) - self.climatology_.mean[variable]) / self.scale_[variable]
        model: Any = GaussianProcessRegressor(kernel, n_restarts_optimizer=1, random_state=self.seed)
        with warnings.catch_warnings():  # a parameter at its bound, such as no noise, is an answer too
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(np.concatenate(times)[:, None], scaled).kernel_


def _groups(queries: ForecastQueries) -> Iterator[tuple[np.ndarray, int, int, float]]:
    """Places of the queries of each (series, variable, origin)."""
    table = pd.DataFrame({"s": queries.series, "v": queries.variable, "o": queries.origin})
    for (series, variable, origin), place in table.groupby(["s", "v", "o"]).indices.items():  # type: ignore[misc]
        yield np.asarray(place), int(series), int(variable), float(origin)


def _seen(
    dataset: SeriesDataset, series: int, variable: int, origin: float, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """The last `most` observations of a variable by `origin`."""
    begin, end = np.searchsorted(dataset.series, [series, series + 1])
    end = begin + np.searchsorted(dataset.time[begin:end], origin, "right")
    own = begin + np.nonzero(dataset.variable[begin:end] == variable)[0][-most:]
    return dataset.time[own], dataset.value[own]


def _typical_gap(dataset: SeriesDataset, own: np.ndarray) -> float:
    gaps = np.diff(dataset.time[own])[np.diff(dataset.series[own]) == 0]
    gaps = gaps[gaps > 0]
    return float(np.median(gaps)) if len(gaps) else 1.0
