"""Vector fields, each a `Dynamics`, by kind: rows are independent of one another.

`FIELDS` names those that a model may ask for. To add one: write its module with a class method `of`
that makes it from `FieldSizes`, and add a line to `FIELDS`; `tests/ode/test_contracts.py` then runs
over it. A field whose solution is known is a `ClosedForm`, and its line says `closed_form=True`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from latentode.ode.fields.closed_form import CompartmentDynamics, LinearDynamics
from latentode.ode.fields.networks import (
    Dynamics,
    FieldSizes,
    GatedDynamics,
    MLPDynamics,
    SecondOrderDynamics,
)

__all__ = ["FIELDS", "FieldKind"]


@dataclass(frozen=True)
class FieldKind:
    """A vector field by name.

    Args:
        make: the field of a model of these sizes.
        even: whether it takes states of an even size only.
        closed_form: whether its solution is known, so that `Solver("exact", intervals=1)` suits it.
        positive: whether its states stay positive, so that a decoder may read their logarithm.
    """

    make: Callable[[FieldSizes], Dynamics]
    even: bool = False
    closed_form: bool = False
    positive: bool = False


FIELDS: dict[str, FieldKind] = {
    "mlp": FieldKind(MLPDynamics.of),
    "gated": FieldKind(GatedDynamics.of),
    "linear": FieldKind(LinearDynamics.of, even=True, closed_form=True),
    "second-order": FieldKind(SecondOrderDynamics.of, even=True),
    "compartments": FieldKind(CompartmentDynamics.of, even=True, closed_form=True, positive=True),
}
