r"""ObservationTimes: when series are observed, not what is observed, as frames.

The likelihood of a whole record goes through it event by event,

$$\log p = \sum_i \log E_z\Big[\lambda(t_{i+1})\, e^{-\int_{t_i}^{t_{i+1}} \lambda}\Big]
  + \log E_z\Big[e^{-\int_{t_n}^{t_\text{end}} \lambda}\Big],$$

each factor read from what had been observed by $t_i$, so that it is a probability density of all times
after the first, whatever the model has learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from latentode.data.cells.columns import IntoFrame, frame_or_as_is
from latentode.data.dataset import SeriesDataset
from latentode.data.files.writing import in_kind_of
from latentode.data.queries import At, QueryTimes, query_times
from latentode.errors import SchemaError
from latentode.forecast.engine import EventRates
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.queries import (
    ForecastQueries,
    chosen_variables,
    queries_at,
    warn_of_guesses,
)

__all__ = ["ObservationTimes"]


@dataclass(frozen=True)
class ObservationTimes:
    """The process of the times at which series are observed; `LatentODEForecaster` makes one.

    Args:
        fitted: a model that was trained with `observation_times`.
        dataset: histories, as `fitted` reads them.
        kind: an empty frame of the library whose frames answer.

    Raises:
        LatentODEError: if the model was trained without `observation_times`.
    """

    fitted: FittedForecaster
    dataset: SeriesDataset = field(repr=False)
    kind: IntoFrame = field(default_factory=pd.DataFrame, repr=False, compare=False)

    def __post_init__(self) -> None:
        _ = self.fitted.engine.network.times_process  # which raises

    def intensity(
        self, at: At | IntoFrame, count: int | None = None, variables: Sequence[str] | None = None
    ) -> Any:
        """How often each series will be observed at the times asked, per time unit.

        Args:
            at: as for `LatentODEForecaster.predict`; a time inside the history is answered from what
                had been seen by then, right after the last observation no later than it.
            count: likewise.
            variables: which variables, where each has an intensity of its own; all by default.

        Returns:
            A frame: identifier, time, (`variable`,) `intensity`, the mean over latent samples.
        """
        places = query_times(self.dataset, frame_or_as_is(at), count)
        found = _intensity(self.fitted, self.dataset, places, self._chosen(variables))
        return in_kind_of(self.kind, found)

    def expected_counts(
        self, at: At | IntoFrame, count: int | None = None, variables: Sequence[str] | None = None
    ) -> Any:
        """How many observations are expected between successive times after each series' last one.

        With `at="24h", count=4`, in each of the four times six hours ahead. Arguments as for
        `intensity`.

        Returns:
            A frame: identifier, `since` (the last observation, then the time before), `until`,
            (`variable`,) `expected`; by series and time.

        Raises:
            SchemaError: for a time before the last observation of its series.
        """
        places = query_times(self.dataset, frame_or_as_is(at), count)
        found = _expected_counts(self.fitted, self.dataset, places, self._chosen(variables))
        return in_kind_of(self.kind, found)

    def log_likelihood(self) -> Any:
        """How well it is foreseen when each series is observed, after its first time.

        Every time is judged from the earlier ones of its series, with their values. A series is watched
        up to its last row: one without values says that nothing was observed until then.

        Returns:
            A frame: identifier, `events`, `watched` (time units), `log_likelihood` (its differences
            matter, not its unit) and `constant`, the log-likelihood of the typical rate of training.
        """
        return in_kind_of(self.kind, _log_likelihood(self.fitted, self.dataset))

    def _chosen(self, variables: Sequence[str] | None) -> np.ndarray:
        return chosen_variables(self.fitted.reader.schema, variables)


def _intensity(
    fitted: FittedForecaster, dataset: SeriesDataset, places: QueryTimes, chosen: np.ndarray
) -> pd.DataFrame:
    queries, keys = queries_at(dataset, places, _processes(fitted, chosen))
    warn_of_guesses(dataset, queries, fitted.horizon)
    found = _rates(fitted, dataset, queries)
    return _named(fitted, keys).assign(intensity=found.intensity.mean(axis=0))


def _expected_counts(
    fitted: FittedForecaster, dataset: SeriesDataset, places: QueryTimes, chosen: np.ndarray
) -> pd.DataFrame:
    fitted.reader.schema.refuse_columns(("since", "until", "expected"))
    last = dataset.last
    early = places.time < last[places.series]
    if early.any():
        name = dataset.ids[places.series[int(early.argmax())]]
        raise SchemaError(
            f"series {name!r} is asked to count up to a time before its last observation, where "
            "nothing is left to expect; ask for later times, or cut the history"
        )
    queries, keys = queries_at(dataset, places, _processes(fitted, chosen))
    queries = ForecastQueries(queries.series, queries.variable, queries.time, last[queries.series])
    warn_of_guesses(dataset, queries, fitted.horizon)
    total = _rates(fitted, dataset, queries).expected.mean(axis=0)
    time = str(fitted.reader.schema.time)
    frame = _named(fitted, keys).rename(columns={time: "until"})
    frame = frame.assign(
        total=total, _series=queries.series, _variable=queries.variable, _at=queries.time
    )
    frame = frame.sort_values(["_series", "_at", "_variable"], ignore_index=True)
    by = frame.groupby(["_series", "_variable"])
    begin = dataset.axis.restore(dataset.last_ticks[frame["_series"].to_numpy()])
    before = by["until"].shift()
    since = before.where(before.notna(), begin.set_axis(frame.index)).astype(frame["until"].dtype)
    frame.insert(frame.columns.get_loc("until"), "since", since)  # type: ignore[arg-type]
    frame["expected"] = frame["total"] - by["total"].shift().fillna(0.0)
    return frame.drop(columns=["total", "_series", "_variable", "_at"])


def _log_likelihood(fitted: FittedForecaster, dataset: SeriesDataset) -> pd.DataFrame:
    process = fitted.engine.network.times_process
    gaps = _gaps(dataset)
    n = process.n_processes
    queries = ForecastQueries(
        np.repeat(gaps["series"].to_numpy(), n),
        np.tile(np.arange(n), len(gaps)),
        np.repeat(gaps["to"].to_numpy(), n),
        np.repeat(gaps["time"].to_numpy(), n),
    )
    found = _rates(fitted, dataset, queries)
    happened = _happened(dataset, gaps, process.per_variable)
    with np.errstate(divide="ignore"):
        gain = np.where(happened.reshape(-1), np.log(found.intensity), 0.0) - found.expected
    each = gain.reshape(len(gain), len(gaps), n).sum(axis=2)
    typical = process.typical.double().cpu().numpy()
    gap = (gaps["to"] - gaps["time"]).to_numpy()
    constant = (happened * np.log(typical) - gap[:, None] * typical).sum(axis=1)
    table = pd.DataFrame(
        {
            "events": happened.sum(axis=1),
            "watched": gap,
            "log_likelihood": logsumexp(each, axis=0) - np.log(len(each)),
            "constant": constant,
        }
    )
    sums = table.groupby(gaps["series"].to_numpy()).sum().reindex(range(len(dataset)), fill_value=0)
    if fitted.reader.schema.id is not None:
        sums.insert(0, fitted.reader.schema.id, dataset.ids)
    return sums


def _gaps(dataset: SeriesDataset) -> pd.DataFrame:
    """From each time of a series to its next, and from its last to the end of the watch.

    Columns `series`, `time`, `to` and whether there is an event `at_end`.
    """
    events = pd.DataFrame({"series": dataset.series, "time": dataset.time}).drop_duplicates()
    events = events.reset_index(drop=True)
    later = events.groupby("series")["time"].shift(-1)
    until = dataset.watched_until[events["series"].to_numpy()]
    events = events.assign(to=later.fillna(pd.Series(until)), at_end=later.notna())
    kept = events["at_end"] | (events["to"] > events["time"])
    return events[kept].reset_index(drop=True)


def _happened(dataset: SeriesDataset, gaps: pd.DataFrame, per_variable: bool) -> np.ndarray:
    """Which processes have an event at the end of each gap, shape `(gaps, processes)`."""
    at_end = gaps["at_end"].to_numpy()
    if not per_variable:
        return at_end[:, None]
    n = len(dataset.variables)
    places = pd.MultiIndex.from_arrays([gaps["series"], gaps["to"]])
    where = places.get_indexer(pd.MultiIndex.from_arrays([dataset.series, dataset.time]))
    made = np.zeros((len(gaps), n), dtype=bool)
    made[where[where >= 0], dataset.variable[where >= 0]] = True
    return made & at_end[:, None]


def _rates(fitted: FittedForecaster, dataset: SeriesDataset, queries: ForecastQueries) -> EventRates:
    return fitted.engine.event_rates(fitted.reader.series(dataset), queries)


def _processes(fitted: FittedForecaster, chosen: np.ndarray) -> np.ndarray:
    return chosen if fitted.engine.network.times_process.per_variable else np.zeros(1, dtype=np.int64)


def _named(fitted: FittedForecaster, keys: pd.DataFrame) -> pd.DataFrame:
    per_variable = fitted.engine.network.times_process.per_variable
    return keys if per_variable else keys.drop(columns="variable")
