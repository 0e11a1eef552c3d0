"""Description: what a saved model says of itself, as JSON, with the types and ranges of all of it.

It is checked when a model is saved and when one is loaded. Sizes that have to agree are compared before
anything of these sizes is made.
"""

from __future__ import annotations

import math
from typing import Annotated, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from latentode.data.cells.time_axis import KINDS, UNITS, TimeAxis
from latentode.data.tables.schema import Schema
from latentode.data.tables.transforms import POWERS, check_spec
from latentode.forecast.residuals import CALIBRATED_SCORES
from latentode.forecast.residuals import LEVELS as SHARED_LEVELS
from latentode.model.config import ModelConfig, Sizes
from latentode.training.config import TrainingConfig

__all__ = ["Description", "first_complaint"]

HOURS = 24
MOST_STEPS = 1024
TICKS = ("s", "ms", "us", "ns")

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
AnyNumber = Annotated[float, Field(allow_inf_nan=True)]
Numbers = list[float]
Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]


class _Part(BaseModel):
    """Strict types, finite numbers, and no field that is not named here."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, frozen=True, arbitrary_types_allowed=True
    )


class _Parameters(_Part):
    """Those of an estimator; durations as text."""

    horizon: float | str | None = None
    context_length: float | str | None = None
    model: ModelConfig
    training: TrainingConfig
    duplicates: str
    verbose: bool
    random_state: Annotated[int, Field(ge=0)]
    members: Annotated[int, Field(ge=1)] = 1


class _Scaling(_Part):
    loc: Numbers
    scale: list[Positive]
    known_loc: Numbers
    known_scale: list[Positive]
    static_loc: dict[str, float]
    static_scale: dict[str, Positive]
    categories: dict[str, list[str]]
    transforms: list[Annotated[list[str | float], Field(min_length=1)] | None]

    @model_validator(mode="after")
    def _agree(self) -> Self:
        _same("scale", len(self.scale), len(self.loc))
        _same("known_scale", len(self.known_scale), len(self.known_loc))
        if self.static_loc.keys() != self.static_scale.keys():
            raise ValueError("static_loc and static_scale are of other columns")
        if self.transforms:
            _same("transforms", len(self.transforms), len(self.loc))
        for transform in self.transforms:
            _check_transform(transform)
        return self


class _Climatology(_Part):
    mean: Numbers
    by_hour: list[Annotated[Numbers, Field(min_length=HOURS, max_length=HOURS)]]


class _Residuals(_Part):
    noise: list[Annotated[float, Field(ge=0)]]
    length: list[Positive]


class _Curve(_Part):
    leads: Annotated[Numbers, Field(min_length=1)]
    nominal_scores: list[Numbers]
    shares: list[Share]
    forecasts: Annotated[int, Field(ge=1)]
    groups: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _agree(self) -> Self:
        _same("nominal_scores", len(self.nominal_scores), len(self.leads))
        _same("shares", len(self.shares), len(SHARED_LEVELS))
        for scores in self.nominal_scores:
            _same("nominal_scores", len(scores), len(CALIBRATED_SCORES))
            if (np.diff(scores) <= 0).any():
                raise ValueError("nominal_scores must ascend")
        if (np.diff(self.leads) < 0).any():
            raise ValueError("leads must ascend")
        return self


class _Network(_Part):
    config: ModelConfig
    sizes: Sizes


class Description(_Part):
    """All of a fitted estimator but its weights.

    Args:
        format: its number.
        parameters: of the estimator.
        network: what it was built from.
        solver_steps: steps per interval, as training left them.
        other_solver_steps: those of the further members of an ensemble.
        schema: as `Schema.to_json` writes it.
        axis: what the time column means.
        scaling, climatology, residuals, calibration: as their `to_dict` makes them.
        horizon: how far ahead it was trained to look, in time units.
        context_length: how far back it looks, likewise; may be infinite.
        history: metrics per epoch; a metric may be no number.
        leaderboard: of what a fit was judged by, likewise.
        classes: what series are classified into; None where they are not.
        notes: what a fit said of its table.
    """

    format: int
    parameters: _Parameters
    network: _Network
    solver_steps: Steps
    other_solver_steps: list[Steps] = []
    schema_: Annotated[Schema, Field(alias="schema")]
    axis: TimeAxis
    scaling: _Scaling
    climatology: _Climatology
    horizon: Positive
    context_length: Annotated[AnyNumber, Field(gt=0)]
    history: dict[str, list[int | AnyNumber]]
    leaderboard: dict[str, list[str | int | AnyNumber | None]]
    classes: list[str | bool | int | float] | None
    notes: list[str] = []
    residuals: _Residuals | None
    calibration: dict[str, _Curve] | None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        schema, scaling, residuals = self.schema_, self.scaling, self.residuals
        if schema.time is None or schema.targets is None or schema.layout is None:
            raise ValueError("schema does not name every column")
        _check_axis(self.axis)
        counts = {
            "scaling.loc": len(scaling.loc),
            "climatology.mean": len(self.climatology.mean),
            "climatology.by_hour": len(self.climatology.by_hour),
        }
        if residuals is not None:
            counts |= {
                "residuals.noise": len(residuals.noise),
                "residuals.length": len(residuals.length),
            }
        for name, count in counts.items():
            _same(name, count, len(schema.targets))
        _same("scaling.known_loc", len(scaling.known_loc), len(schema.known_future))
        self._check_sizes()
        return self

    def _check_sizes(self) -> None:
        """What a network is built of is what tables are read by."""
        schema, sizes, classes = self.schema_, self.network.sizes, self.classes or ()
        targets, periods = schema.targets or (), schema.periods
        numeric, texts = self.scaling.static_loc, self.scaling.categories.values()
        n_static = 2 * len(numeric) + sum(map(len, texts)) + 2 * len(periods)
        for name, count in (
            ("n_variables", len(targets)),
            ("n_known", len(schema.known_future)),
            ("n_static", n_static),
            ("n_classes", len(classes)),
        ):
            _same(name, getattr(sizes, name), count)
        if sizes.labels not in (None, "series", "times") or (sizes.labels is None) != (not classes):
            raise ValueError("labels and classes do not go together")
        for name, count in (
            ("known_zero", len(schema.known_future)),
            ("variable_rates", len(targets)),
            ("periods", len(periods)),
        ):
            numbers = getattr(sizes, name)
            if numbers is not None:
                _same(name, len(numbers), count)
        for name, numbers in (
            ("time_scale", [sizes.time_scale]),
            ("event_rate", [sizes.event_rate]),
            ("variable_rates", sizes.variable_rates or ()),
            ("periods", sizes.periods or ()),
        ):
            if not all(number > 0 for number in numbers):
                raise ValueError(f"{name} must be positive")
        if sizes.variables is not None:
            if tuple(sizes.variables) != targets:
                raise ValueError("network.sizes.variables are others than the schema's")
            _UNITS.validate_python(sizes.variables)


class _Units(_Part):
    loc: float
    scale: Positive
    transform: str | None = None


_UNITS = TypeAdapter(dict[str, _Units])


def first_complaint(error: ValidationError) -> str:
    """What is wrong, and where, in one line."""
    found = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place, message = ".".join(map(str, found["loc"])), found["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _same(name: str, count: int, expected: int) -> None:
    if count != expected:
        raise ValueError(f"{name} is of {count}, where {expected} are meant")


def _check_axis(axis: TimeAxis) -> None:
    """Raises a ValueError for an axis that no table has."""
    units, ticks = (UNITS, TICKS) if axis.is_calendar else (("1",), ("1", *TICKS))
    if axis.kind not in KINDS or axis.unit not in ticks or axis.time_unit not in units:
        raise ValueError(f"axis is no time axis: {axis}")
    try:
        pd.Timestamp(0, tz=axis.timezone)
    except Exception as error:  # of another type for each way to be no zone
        raise ValueError(f"axis.timezone is no time zone: {axis.timezone!r}") from error


def _check_transform(spec: list[str | float] | None) -> None:
    """Raises a ValueError for a transform that no table was fitted to."""
    if spec is None:
        return
    name, *numbers = spec
    low, high = POWERS.get(str(name), (-math.inf, math.inf))
    powers = name not in POWERS or (len(numbers) == 1 and low <= float(numbers[0]) <= high)
    if not powers or (name == "logit") != (len(numbers) == 2):
        raise ValueError(f"{spec} is no fitted transform")
    if name not in POWERS:
        check_spec("scaling.transforms", spec)
