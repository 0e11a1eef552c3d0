r"""Emission: the distribution of a value given what the decoder reads off the latent state.

$$x_{t, v} \sim p\big(x;\, a_v + r_1(z(t)),\; \sigma(r_2(z(t)))\, g_v(t)\big)$$

Last of the four arrows. The location is counted from an anchor $a_v$, the variable's last observed
value, so that an untrained network is the last-value forecast; the scale may grow with the lead time
by $g_v$ (`latentode.nn.scales.ScaleGrowth`), and both may be told in units of the variable's recent
changes (`latentode.nn.scales.RecentChange`).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from latentode.data.batch import Observations, Queries
from latentode.errors import LatentODEError
from latentode.nn.likelihoods import Likelihood
from latentode.nn.scales import RecentChange, ScaleGrowth
from latentode.nn.sequences import last_values

__all__ = ["VALUE_UNITS", "Emission"]

VALUE_UNITS = ("training", "recent")


class Emission(nn.Module):
    """From raw decoder outputs to distributions, with a context's last values at hand.

    Args:
        likelihood: how values scatter.
        n_variables: number of variables.
        anchor: whether locations are counted from each variable's last observed value.
        value_units: "training", values as they are scaled, or "recent", distances from their variable's
            last value in units of its recent changes.
        scale_growth: whether the scale of a forecast grows with its lead time by itself.

    Raises:
        LatentODEError: for units of recent changes without an anchor, or with a family whose locations
            are no distances.
    """

    def __init__(
        self,
        likelihood: Likelihood,
        n_variables: int,
        anchor: bool = True,
        value_units: str = "training",
        scale_growth: bool = False,
    ) -> None:
        super().__init__()
        self.likelihood, self.n_variables, self.anchor = likelihood, n_variables, anchor
        self.growth = ScaleGrowth(n_variables) if scale_growth else None
        self.recent = None
        if value_units == "recent":
            self._check_recent()
            self.recent = RecentChange(n_variables)

    def view(self, seen: Observations, n_series: int) -> Observations:
        """A context as the encoder reads it, times and values in units of the model."""
        if self.recent is not None:
            seen = self.recent.relative(seen, n_series)
        return replace(seen, value=self.likelihood.view(seen.value, seen.variable))

    def forward(self, raw: Tensor, seen: Observations, queries: Queries, n_series: int) -> Distribution:
        """The distribution of each query's value in scaled units, shape `(samples, queries)`.

        Args:
            raw: of the decoder, shape `(samples, queries, n_raw)`.
            seen: the contexts, in units of the model.
            queries: what is asked, times in units of the model.
            n_series: number of series.
        """
        anchor = raw.new_zeros(len(queries))
        if self.anchor:
            cell = (queries.series, queries.variable)
            anchor = last_values(seen, n_series, self.n_variables)[cell]
        spread = None if self.growth is None else self.growth(queries.time, queries.variable)
        if self.recent is not None:
            unit = self.recent.ahead(seen, queries, n_series)
            raw = torch.cat([raw[..., :1] * unit[:, None], raw[..., 1:]], dim=-1)
            spread = unit if spread is None else unit * spread
        anchors = anchor.expand(len(raw), -1)
        return self.likelihood.distribution(raw, anchors, queries.variable, spread)

    def _check_recent(self) -> None:
        if not self.anchor:
            raise LatentODEError("value_units='recent' counts from the last value; leave anchor=True")
        families = self.likelihood.families(self.n_variables)
        other = next((f.name for f in families if f.of_data_units), None)
        if other is not None:
            raise LatentODEError(
                "value_units='recent' is for values that may be any number; leave it out with "
                f"{other!r}"
            )
