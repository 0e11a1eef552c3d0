r"""Export: the forecast as one function of flat tensors, for `torch.export` and ONNX Runtime.

Of one series and one forecast origin,

$$(t_i, v_i, x_i)_{i \le N},\ (t_j, v_j)_{j \le Q} \;\to\; z(t_0) \to z(t_j) \to
  \text{parameters of } p(x_j),$$

encoder, solver and decoder in one graph. N and Q are fixed: rows that are not there belong to a second
series, on which no other depends. What the structural block says, by a Kalman filter, is an input.
`ExportedForecast` asks such a graph as a forecaster asks its network: tables in, tables out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from latentode.data.batch import Batch, Observations, Queries, Series
from latentode.data.cells.columns import IntoFrame, quantile_list
from latentode.data.files.writing import FrameT, in_kind_of
from latentode.data.queries import At, query_times
from latentode.errors import LatentODEError, as_path, check_whole
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.forecast import Forecast
from latentode.forecast.queries import ForecastQueries, queries_at
from latentode.model.network import LatentODE
from latentode.model.structure import Outlook
from latentode.nn.latent_state import shared_noise
from latentode.nn.likelihoods import join, parameters_of, take, with_parameters

__all__ = ["ExportedForecast", "ForecastFunction", "export_forecast"]

KINDS = (".pt2", ".onnx")
CONTEXT = ("time", "variable", "value", "present", "start", "static")
ASKED = ("asked_time", "asked_variable")
STRUCTURE = tuple(f.name for f in fields(Outlook))
ONNX_PACKAGES = "ONNX needs onnx, onnxscript and onnxruntime: pip install latentode[export]"
MOST = 4096  # rows, and queries


class ForecastFunction(nn.Module):
    """Parameters of the distribution of each query, shape `(samples, queries)`, in scaled units.

    Args:
        networks: the trained members of an ensemble, or one, without known-future columns.
        samples: latent samples of each.
    """

    noise: Tensor

    def __init__(self, networks: Sequence[LatentODE], samples: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.register_buffer("noise", shared_noise(samples, networks[0].latent_size))

    def forward(
        self,
        time: Tensor,
        variable: Tensor,
        value: Tensor,
        present: Tensor,
        start: Tensor,
        static: Tensor,
        asked_time: Tensor,
        asked_variable: Tensor,
        *structure: Tensor,
    ) -> tuple[Tensor, ...]:
        """One series; times since the forecast origin in time units, values in scaled units.

        Args:
            time, variable, value, present: of each row, `(rows,)`; only those present count.
            start: where the context begins, shape `(1,)`.
            static: encoded static covariates, shape `(1, static)`.
            asked_time, asked_variable: of each query, shape `(queries,)`.
            structure: the parts of an `Outlook` there, for a network with a structural block.
        """
        nobody = start.new_zeros(2, 0)
        seen = Observations((~present).long(), variable, time, value)
        of = seen.select(torch.zeros(0, dtype=torch.long, device=time.device))
        batch = Batch(
            seen, of, start.repeat(2), static.repeat(2, 1), nobody, nobody[..., None][..., :0]
        )
        queries = Queries(torch.zeros_like(asked_variable), asked_variable, asked_time)
        outlook = Outlook(*structure) if structure else None
        each = [self._said(cast(LatentODE, n), batch, queries, outlook) for n in self.networks]
        # Of units, which have no samples, all networks say the same.
        return tuple(torch.cat(own) if own[0].ndim > 1 else own[0] for own in zip(*each, strict=True))

    def _said(
        self, network: LatentODE, batch: Batch, queries: Queries, outlook: Outlook | None
    ) -> tuple[Tensor, ...]:
        """What one network says of the queries of the first series of a batch."""
        z0 = network.encode(batch).sample(self.noise.to(network.dtype))[:, :1]
        rows = network.layout.rows(1, queries, every=True)
        path = network.path(batch, z0, rows, ahead=1, past=False)
        times = (queries.time / network.time_scale).to(network.dtype).repeat(len(z0))
        z = path.at(rows.answering(len(z0)), times).unflatten(0, (len(z0), len(queries)))
        return parameters_of(network.emit(z, batch, queries, outlook))


@dataclass(frozen=True)
class ExportedForecast:
    """A graph that was exported, with what reads tables for it.

    Args:
        fitted: the model that was exported.
        run: the graph: from arrays by the names of its inputs to the parameters.
        max_rows: observations that it takes.
        max_queries: queries that it answers at once.
    """

    fitted: FittedForecaster
    run: Callable[[dict[str, np.ndarray]], Sequence[np.ndarray]]
    max_rows: int
    max_queries: int

    @classmethod
    def load(cls, fitted: FittedForecaster, path: str | Path) -> ExportedForecast:
        """Of a file that `export_forecast` wrote for the model; a LatentODEError for any other."""
        path = _checked(path)
        run, sizes = (_torch_run if path.suffix == ".pt2" else _onnx_run)(path)
        return cls(fitted, run, *sizes)

    def predict(
        self,
        history: FrameT,
        at: At | IntoFrame,
        count: int | None = None,
        quantiles: float | Sequence[float] = (0.1, 0.5, 0.9),
    ) -> FrameT:
        """As the forecaster's `predict`, for times after the last observation of each series.

        Raises:
            LatentODEError: for a time inside a history, or for more observations than the graph takes.
        """
        levels = quantile_list(quantiles)
        dataset, asked = self.fitted.reader.read_question(history, at)
        places = query_times(dataset, asked, count)
        queries, keys = queries_at(dataset, places, np.arange(len(dataset.variables)))
        if (queries.origin < dataset.last[queries.series]).any():
            raise LatentODEError(
                "an exported forecast answers times after each series' last observation; ask the "
                "forecaster itself about times inside a history"
            )
        lead, reach = queries.time - queries.origin, self.fitted.engine.network.time_scale
        if len(lead) and lead.max() > reach * (1 + 1e-9):  # which forgives a horizon's rounding
            raise LatentODEError(
                f"an exported forecast reaches {reach:g} time units, one horizon, ahead of the last "
                f"observation of each series, and {lead.max():g} were asked; ask the forecaster itself"
            )
        series = self.fitted.series(dataset)
        return in_kind_of(history, self._forecast(series, queries, keys).to_frame(levels))

    def _forecast(self, series: Series, queries: ForecastQueries, keys: pd.DataFrame) -> Forecast:
        parts, places = [], []
        for number in np.unique(queries.series):
            own = np.flatnonzero(queries.series == number)
            for begin in range(0, len(own), self.max_queries):
                place = own[begin : begin + self.max_queries]
                found = self.run(self.inputs(series, queries.take(place)))
                parts.append(self._distribution(found, queries.variable[place]))
                places.append(place)
        order = torch.from_numpy(np.argsort(np.concatenate(places)))
        return self.fitted.forecast_of(take(join(parts), order), series, queries, keys)

    def inputs(self, series: Series, queries: ForecastQueries) -> dict[str, np.ndarray]:
        """The graph's inputs, by name.

        Args:
            series: histories, as `FittedForecaster.series` makes them.
            queries: of one series and one origin, at most `max_queries`.
        """
        network, origin = self.fitted.engine.network, queries.origin[:1]
        batch = series.batch_at(queries.series[:1], origin, self.fitted.engine.context_length, 0.0)
        n = len(batch.context)
        if n > self.max_rows:
            raise LatentODEError(
                f"a context of {n} observations is more than the {self.max_rows} that were exported; "
                "export with a larger max_rows="
            )
        seen, ahead = batch.context, queries.time - origin
        structure = None
        if network.emission.structure is not None:
            of = (0 * queries.series, queries.variable, ahead)
            asked = Queries(*map(torch.from_numpy, of))
            structure = network.emission.outlook(batch, asked, network.time_scale)
        sizes = self.max_rows, self.max_queries
        found = _arrays(seen, batch, sizes, ahead, queries.variable, structure)
        return {name: x.numpy() for name, x in found.items()}

    def _distribution(self, parameters: Sequence[np.ndarray], variable: np.ndarray) -> Distribution:
        """The distribution with these parameters."""
        network, of = self.fitted.engine.network, torch.from_numpy(variable)
        likelihood, n = network.likelihood.of_every(), self.fitted.engine.n_samples
        raw = torch.zeros(n, len(of), likelihood.n_raw, dtype=torch.float64)
        own = (p[: len(of)] if p.ndim == 1 else p[:, : len(of)] for p in parameters)
        given = (torch.as_tensor(p, dtype=torch.float64) for p in own)
        if network.emission.structure is None:
            made = likelihood.distribution(raw, raw[..., 0], of)
        else:  # of some likelihoods another kind
            made = likelihood.about(raw, raw[..., 0], torch.ones_like(raw[..., 0]), of)
        return likelihood.own_parts(with_parameters(made, lambda _: next(given)), of)


def export_forecast(
    fitted: FittedForecaster,
    path: str | Path,
    max_rows: int = 256,
    max_queries: int = 64,
) -> None:
    """Writes the forecast of one series as a graph.

    Args:
        fitted: the model.
        path: a file ending in ".pt2", for `torch.export.load`, or in ".onnx", for ONNX Runtime.
        max_rows: most observations of a context.
        max_queries: how many queries are answered at once.

    Raises:
        LatentODEError: for a network that cannot be written so, saying why, or another kind of file.
    """
    path = _checked(path)
    for name, number in (("max_rows", max_rows), ("max_queries", max_queries)):
        check_whole(name, number)
        if number > MOST:
            raise LatentODEError(f"{name} must be at most {MOST}, got {number}")
    _refuse(network := fitted.engine.network)
    networks = deepcopy(fitted.engine.networks)
    for own in networks:
        own.emission.likelihood = own.likelihood.of_every()
    function = ForecastFunction(networks, fitted.engine.samples_each).cpu().eval()
    example = _example(network, (max_rows, max_queries))
    checked = Distribution._validate_args  # of which Student's t asks another than its own
    Distribution.set_default_validate_args(False)
    try:
        with torch.no_grad():
            program = torch.export.export(function, tuple(example.values()), strict=False)
            if path.suffix == ".pt2":
                torch.export.save(program, path)
            else:
                _save_onnx(program, path, list(example))
    except LatentODEError:
        raise
    except Exception as error:  # of whatever kind: the exporters have many
        raise LatentODEError(
            f"this network ({type(network.layout).__name__}, {type(network.dynamics).__name__}, "
            f"method={network.solver.method!r}, {type(network.likelihood).__name__}) cannot be written "
            f"as {path.suffix}: {str(error).strip().splitlines()[0]}"
        ) from error
    finally:
        Distribution.set_default_validate_args(checked)


def _refuse(network: LatentODE) -> None:
    """Raises for what no graph can hold."""
    if network.sizes is not None and network.sizes.n_known:
        raise LatentODEError("a network with known-future columns cannot be exported; leave them out")
    if network.solver.method not in ("euler", "midpoint", "rk4", "rk38", "exact"):
        raise LatentODEError(
            f"method={network.solver.method!r} takes as many steps as a batch needs, which no graph "
            "holds; fit with a method of fixed steps, such as rk38"
        )


def _example(network: LatentODE, sizes: tuple[int, int]) -> dict[str, Tensor]:
    """Inputs of the right shapes: one observation and one query."""
    n_static = 0 if network.sizes is None else network.sizes.n_static
    one, first = torch.full((1,), -0.5 * network.time_scale, dtype=torch.float64), torch.zeros(1).long()
    seen = Observations(first, first, one, torch.zeros_like(one))
    nothing = torch.zeros(1, 0, dtype=torch.float64)
    static = torch.zeros(1, n_static, dtype=torch.float64)
    batch = Batch(seen, seen, one, static, nothing, nothing[..., None][..., :0])
    structure, block = None, network.emission.structure
    if block is not None:
        structure = network.emission.outlook(batch, Queries(first, first, -one), network.time_scale)
    return _arrays(seen, batch, sizes, -one.numpy(), first.numpy(), structure)


def _arrays(
    seen: Observations,
    batch: Batch,
    sizes: tuple[int, int],
    ahead: np.ndarray,
    variable: np.ndarray,
    structure: Outlook | None,
) -> dict[str, Tensor]:
    """Inputs by name, padded to these numbers of observations and of queries."""

    def padded(x: Tensor, size: int, fill: float = 0.0) -> Tensor:
        return torch.cat([x, x.new_full((size - len(x), *x.shape[1:]), fill)])

    found = {name: padded(getattr(seen, name), sizes[0]) for name in CONTEXT[:3]}
    found["present"] = torch.arange(sizes[0]) < len(seen)
    found |= {"start": batch.start, "static": batch.static}
    for name, x in zip(ASKED, (ahead, variable), strict=True):
        found[name] = padded(torch.from_numpy(x), sizes[1])
    if structure is not None:  # deviations of 1, not 0, of what is not asked
        found |= {name: padded(getattr(structure, name), sizes[1], 1.0) for name in STRUCTURE}
    return found


def _save_onnx(program: Any, path: Path, names: list[str]) -> None:
    try:
        import onnxscript  # noqa: F401 # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise LatentODEError(ONNX_PACKAGES) from error
    cast(Any, torch.onnx.export(program, dynamo=True, input_names=names, verbose=False)).save(str(path))


def _checked(path: str | Path) -> Path:
    if (place := as_path("path", path)).suffix not in KINDS:
        raise LatentODEError(f"a forecast is exported as {' or '.join(KINDS)}, not {place.name!r}")
    return place


def _torch_run(path: Path) -> tuple[Callable[..., Any], tuple[int, int]]:
    program = torch.export.load(path)
    module = program.module()
    shapes = [x.shape for x in program.example_inputs[0]]  # type: ignore[index]

    def run(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            return [p.numpy() for p in module(*map(torch.from_numpy, inputs.values()))]

    return run, (shapes[0][0], shapes[len(CONTEXT)][0])


def _onnx_run(path: Path) -> tuple[Callable[..., Any], tuple[int, int]]:
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise LatentODEError(ONNX_PACKAGES) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # matrices this small gain nothing from more
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    taken = {i.name: i for i in session.get_inputs()}

    def run(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        return cast(Any, session.run(None, {n: x for n, x in inputs.items() if n in taken}))

    return run, (taken["time"].shape[0], taken["asked_time"].shape[0])
