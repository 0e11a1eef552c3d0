r"""The rows of the table: baselines, a GRU without an ODE, and latent ODEs in two layouts.

The GRU is the latent ODE's encoder with a decoder that is told the lead time,
$x_{t, v} = f_v(h, t - t_0)$: what remains if the path of the state is taken away.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from latentode import LatentODEModule, ModelConfig, TrainingConfig
from latentode.data import Batch, Queries
from latentode.evaluation.baselines import Baseline, LastValue, LinearDrift, SeriesMean
from latentode.model import Emission, Sizes
from latentode.nn.changes import ChangeUnits
from latentode.nn.encoders import GRUEncoder
from latentode.nn.latent_state import LatentState, mlp
from latentode.nn.likelihoods import LIKELIHOODS, Likelihood, gather_variable
from latentode.nn.sequences import Events, last_values

sys.path.insert(0, str(Path(__file__).parents[1]))
from clock import ClockConfig

__all__ = ["BASELINES", "MODELS", "DirectForecaster", "build", "n_parameters"]

BASELINES: dict[str, type[Baseline]] = {
    "last-value": LastValue,
    "history-mean": SeriesMean,
    "linear-drift": LinearDrift,
}
MODELS = ("gru", "joint", "per-variable", "per-variable-clock")
WIDTHS = range(8, 513, 4)


class DirectForecaster(nn.Module):
    """A GRU whose summary is decoded at each lead time; stands where a `LatentODE` would.

    Args:
        n_variables: number of variables.
        n_static: number of encoded static features.
        time_scale: length of one unit of model time.
        hidden_size: size of the GRU's state.
        width: of the decoder.
        likelihood: as for the latent ODE.
    """

    latent_size = 1  # of the noise that it has no use for
    rows_per_series = 1
    variational = False
    event_times = labelling = None

    def __init__(
        self,
        n_variables: int,
        n_static: int,
        time_scale: float,
        hidden_size: int,
        width: int,
        likelihood: str = "normal",
    ) -> None:
        super().__init__()
        self.n_variables, self.time_scale = n_variables, time_scale
        self.emission = Emission(LIKELIHOODS[likelihood](), n_variables, last_value=True)
        self.encoder, self.units = GRUEncoder(n_variables, hidden_size), ChangeUnits(n_variables)
        outputs = n_variables * self.likelihood.n_raw
        self.decoder = mlp(hidden_size + n_static + 1, width, width, outputs)
        nn.init.xavier_uniform_(self.decoder[-1].weight, gain=0.1)  # type: ignore[arg-type]

    @property
    def likelihood(self) -> Likelihood:
        return self.emission.likelihood

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    value_dtype = dtype

    def forward(
        self, batch: Batch, queries: Queries, noise: Tensor
    ) -> tuple[Distribution, LatentState]:
        context = batch.context.rescale_time(self.time_scale, self.dtype)
        last = last_values(context, len(batch), self.n_variables)
        events = Events.of(context, len(batch), self.n_variables, False, None, self.units)
        summary = self.encoder(events, torch.zeros_like(batch.start, dtype=self.dtype), last)
        summary = torch.cat([summary, batch.static.to(self.dtype)], dim=1)
        lead = (queries.time / self.time_scale).to(self.dtype)
        state = torch.cat([summary[queries.series], lead[:, None]], dim=1)
        raw = gather_variable(self.decoder(state), queries.variable, self.likelihood.n_raw)
        raw = raw.expand(len(noise), *raw.shape)
        return self.emission(raw, batch, queries, self.time_scale), LatentState(summary, None)

    def estimate(self, batch: Batch, n_series: int) -> None:
        """Units of changes, from training windows."""
        self.units.estimate(batch.context.rescale_time(self.time_scale, self.dtype))

    def reach(self, batch: Batch, past: bool) -> None:
        """None: there is no path."""

    def span_ahead(self, times: Tensor) -> float:
        """How far ahead of the origin it is asked, in time units: there is no path to solve further."""
        return float(times.max()) if len(times) else self.time_scale

    def answer(
        self, batch: Batch, queries: Queries, noise: Tensor, through: None = None
    ) -> tuple[Distribution, LatentState, None]:
        """As `forward`, without a path."""
        return *self(batch, queries, noise), None

    def solver_error(self, batch: Batch) -> Tensor:
        """0: there is no solver."""
        return batch.start.new_zeros(len(batch))


def build(kind: str, sizes: Sizes, config: dict[str, Any], training: TrainingConfig) -> LatentODEModule:
    """An untrained model.

    Args:
        kind: of `MODELS`.
        sizes: of the data module.
        config: settings of the network, a section by the name of each layout; the GRU takes the joint
            one's.
        training: how it is to be trained.
    """
    if kind == "per-variable":
        return LatentODEModule(sizes, ModelConfig.of({**config[kind], "latent": kind}), training)
    if kind == "per-variable-clock":
        own = {**config["per-variable"], "latent": "per-variable", "interaction": "encoder"}
        return LatentODEModule(sizes, ClockConfig.of(own), training)
    joint = ModelConfig.of({**config["joint"], "latent": "joint"})
    module = LatentODEModule(sizes, joint, training)
    if kind == "gru":
        size = n_parameters(module)
        module.model = _gru_of_size(size, sizes, joint.hidden_size)  # type: ignore[assignment]
    return module


def _gru_of_size(size: int, sizes: Sizes, hidden: int) -> DirectForecaster:
    """The GRU whose decoder is so wide that it has about as many parameters."""

    def make(width: int) -> DirectForecaster:
        shape = sizes.n_variables, sizes.n_static
        return DirectForecaster(*shape, sizes.time_scale, hidden, width)

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        width = min(WIDTHS, key=lambda w: abs(n_parameters(make(w)) - size))
    return make(width)


def n_parameters(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in module.parameters())
