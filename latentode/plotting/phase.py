r"""Looking at state spaces: a plane in one, and the paths of series in that of a fitted forecaster.

The plane of the two principal components $u, w$ about the mean $o$ of some states holds as much of
their variance as any: $z \mapsto (u \cdot (z - o), w \cdot (z - o))$.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from torch import Tensor

from latentode.data.cells.columns import IntoFrame
from latentode.data.cells.time_axis import Duration
from latentode.data.dataset import SeriesDataset
from latentode.errors import LatentODEError
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.queries import ForecastQueries, chosen_variables, warn_of_guesses
from latentode.ode import Context

__all__ = ["Forecaster", "Plane", "fitted_of", "latent_paths"]

ALONG = 200  # intervals along a drawn path


class Forecaster(Protocol):
    """What pictures need of an estimator: what its fit has left behind, and how it reads tables."""

    fitted_: FittedForecaster

    def read(self, frame: IntoFrame) -> SeriesDataset:
        """A table as the fitted model reads it."""
        ...


def fitted_of(forecaster: Forecaster) -> FittedForecaster:
    """What the fit of a forecaster has left behind.

    Raises:
        NotFittedError: if there was none.
    """
    fitted = getattr(forecaster, "fitted_", None)
    if fitted is None:
        raise NotFittedError(f"this {type(forecaster).__name__} is not fitted yet; call fit first")
    return fitted


@dataclass(frozen=True)
class Plane:
    """A plane of a state space to look at.

    Args:
        origin: shape `(latent,)`.
        axes: two orthonormal directions, shape `(2, latent)`.
        explained: share of the variance of what it was fitted to.
    """

    origin: Tensor
    axes: Tensor
    explained: float = 1.0

    @classmethod
    def of(cls, states: Tensor) -> Plane:
        """The plane of the two principal components of states of shape `(n, latent)`.

        Raises:
            LatentODEError: for states of fewer than two dimensions, or fewer than two states.
        """
        if states.ndim != 2 or min(states.shape) < 2:
            raise LatentODEError(
                f"states have shape {tuple(states.shape)}; a plane needs (n, latent), both at least 2"
            )
        found = PCA(2).fit(states.detach().cpu().double().numpy())
        origin, axes = (torch.as_tensor(a).to(states) for a in (found.mean_, found.components_))
        return cls(origin, axes, float(found.explained_variance_ratio_.sum()))

    def project(self, states: Tensor) -> Tensor:
        """Coordinates `(..., 2)` of states `(..., latent)`."""
        return (states - self.origin) @ self.axes.T

    def lift(self, points: Tensor) -> Tensor:
        """States `(..., latent)` of points `(..., 2)` of the plane."""
        return self.origin + points @ self.axes


@torch.no_grad()
def latent_paths(
    forecaster: Forecaster,
    history: IntoFrame,
    variable: str | None = None,
    ahead: Duration | None = None,
) -> tuple[Tensor, Context, str]:
    """The latent path of each series from its forecast origin on, from the mean of q(z(t0)).

    Args:
        forecaster: fitted.
        history: table with the columns of training.
        variable: whose latent state, in the layout per variable; the first by default.
        ahead: how far; one horizon by default.

    Returns:
        States of shape `(paths, times, latent)`, what the field of the first path is told, and what to
        call them.

    Raises:
        LatentODEError: where variables act on each other along the way: then no field of one exists.

    Warns:
        UserWarning: as `warn_of_guesses` does.
    """
    fitted, dataset = fitted_of(forecaster), forecaster.read(history)
    network, reader = fitted.engine.network, fitted.reader
    every, series = np.arange(len(dataset)), reader.series(dataset)
    batch = series.batch_at(every, dataset.last, fitted.engine.context_length)
    rows = network.layout.rows(len(batch))
    if rows.folded > 1:
        raise LatentODEError(
            "with interaction='dynamics' a variable's latent state has no field of its own to draw; "
            "fit with interaction='encoder' or latent='joint'"
        )
    index = chosen_variables(reader.schema, None if variable is None else [variable])[0]
    mine = (rows.place % rows.blocks == index % rows.blocks).nonzero().squeeze(1)
    horizon = fitted.horizon if ahead is None else reader.axis.duration(ahead, "ahead")
    last = dataset.last
    asked = ForecastQueries(every, np.full(len(every), index), last + horizon, last)
    warn_of_guesses(dataset, asked, fitted.horizon)
    times = torch.linspace(0, horizon, ALONG + 1, dtype=torch.float64)
    z0 = network.encode(batch).sample(torch.zeros(1, 1, network.latent_size))
    path = network.trajectory(batch, z0, times, rows)
    at = (times / network.time_scale).to(z0).expand(len(path.times), -1)
    context = network._context(batch, rows)
    name = "space" if rows.blocks == 1 else f"state of {dataset.variables[index]}"
    return path(at)[mine], context.select(mine[:1]), name
