"""Neural ordinary differential equations, useful without the rest of the package.

In: a vector field (`Dynamics`, or any function of time, state and context), first states and each
row's own span. Out: a `Trajectory`, which answers at any time and carries exact gradients.
May import: `errors`. Of libraries torch, torchdiffeq, numba and numpy, neither pandas nor Lightning.
"""

from latentode.ode.cnf import CNF, FlowDistribution
from latentode.ode.context import Context
from latentode.ode.control import LinearControl, StepControl
from latentode.ode.exact import ClosedFormTrajectory
from latentode.ode.fields import FIELDS, FieldKind
from latentode.ode.fields.closed_form import ClosedForm, CompartmentDynamics, LinearDynamics
from latentode.ode.fields.networks import (
    AugmentedDynamics,
    CoupledDynamics,
    Dynamics,
    FieldSizes,
    GatedDynamics,
    MLPDynamics,
    SecondOrderDynamics,
)
from latentode.ode.layer import Augment, Autonomous, ODEBlock
from latentode.ode.solver import ADAPTIVE, ADJOINTS, METHODS, NATIVE, Solver
from latentode.ode.trajectory import HermiteTrajectory, Stats, Trajectory, integrate

__all__ = [
    "ADAPTIVE",
    "ADJOINTS",
    "CNF",
    "FIELDS",
    "METHODS",
    "NATIVE",
    "Augment",
    "AugmentedDynamics",
    "Autonomous",
    "ClosedForm",
    "ClosedFormTrajectory",
    "CompartmentDynamics",
    "Context",
    "CoupledDynamics",
    "Dynamics",
    "FieldKind",
    "FieldSizes",
    "FlowDistribution",
    "GatedDynamics",
    "HermiteTrajectory",
    "LinearControl",
    "LinearDynamics",
    "MLPDynamics",
    "ODEBlock",
    "SecondOrderDynamics",
    "Solver",
    "Stats",
    "StepControl",
    "Trajectory",
    "integrate",
]
