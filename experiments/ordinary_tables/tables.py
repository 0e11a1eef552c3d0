"""Table: what is learned from, what is known at the forecast origin, and what came true.

Every table has the columns `id`, `time` and `y`, and perhaps columns that are known ahead. `future` has
besides `ahead`, the lead time in horizons from the forecast origin that all series share; `truth`, the
rate that counts were drawn from; and `scale`, the size of a series, in which its errors are measured.
Simulated tables go on for three horizons, lines for six; real ones end where their data do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from latentode import Schema

__all__ = ["JUMP", "MAE", "OWN_SCALE", "RATE", "Facts", "Table", "clock", "divide"]

MAE, RATE, OWN_SCALE, JUMP = "MAE", "RMSE to the rate", "median error", "jump at the origin"


@dataclass(frozen=True)
class Facts:
    """What a practitioner knows of a table, and the peers are told.

    Args:
        periods: of cycles that all series share, in units of `clock`.
        harmonics: how many sines describe each of them.
        own_cycle: whether each series has a cycle of its own, of an unknown period.
        grid: step between times that all lie on one grid: a number, or a pandas frequency of dates.
        counts: whether values are counts.
        pooled: whether one regression on the known columns serves all series.
    """

    periods: tuple[float, ...] = ()
    harmonics: tuple[int, ...] = ()
    own_cycle: bool = False
    grid: str | float | None = None
    counts: bool = False
    pooled: bool = False


@dataclass(frozen=True)
class Table:
    """What is learned from, what is seen by the forecast origin, and what came true.

    Args:
        fit: rows to learn from.
        history: rows of the series that are forecast, up to the forecast origin.
        future: their later rows.
        schema: names identifier, target, known and static columns, and nothing else.
        horizon: how far ahead of the forecast origin `ahead` is 1.
        facts: what the peers are told.
        judged: the figure by which models are compared.
        effects: by how much one unit more of each known column moves y.
    """

    fit: pd.DataFrame
    history: pd.DataFrame
    future: pd.DataFrame
    schema: Schema
    horizon: float | str
    facts: Facts = field(default_factory=Facts)
    judged: str = MAE
    effects: dict[str, float] = field(default_factory=dict)


def clock(times: pd.Series) -> np.ndarray:
    """Times as numbers; dates in days."""
    if pd.api.types.is_numeric_dtype(times):
        return times.to_numpy(dtype=float)
    return ((times - pd.Timestamp("1950-01-01")) / pd.Timedelta("1D")).to_numpy(dtype=float)


def divide(
    rows: pd.DataFrame,
    cut: float | pd.Timestamp,
    horizon: float | str,
    facts: Facts | None = None,
    held_out: Callable[[pd.Series], pd.Series] | None = None,
    extra: Sequence[str] = (),
    **more: object,
) -> Table:
    """The table of rows before and after a forecast origin.

    Args:
        rows: `id`, `time`, `y` and what else `future` is to have.
        cut: the forecast origin; `history` ends with it.
        horizon: as of `Table`.
        facts: as of `Table`.
        held_out: which identifiers are forecast and not learned from; all are both if None.
        extra: columns that only `future` has.
        more: further arguments of `Table`, and of the schema.
    """
    step = horizon if isinstance(horizon, float) else pd.Timedelta(horizon)
    rows = rows.assign(ahead=np.asarray((rows["time"] - cut) / step, dtype=float))
    new = np.full(len(rows), True) if held_out is None else held_out(rows["id"]).to_numpy()
    past, seen = rows.drop(columns=["ahead", *extra]), (rows["time"] <= cut).to_numpy()
    names = {key: more.pop(key) for key in ("known_future", "static_covariates") if key in more}
    return Table(
        past[seen] if held_out is None else past[~new & (rows["ahead"] <= 1).to_numpy()],
        past[seen & new],
        rows[~seen & new].reset_index(drop=True),
        Schema(id="id", targets=("y",), **names),  # type: ignore[arg-type]
        horizon,
        facts or Facts(),
        **more,  # type: ignore[arg-type]
    )
