"""Neural ordinary differential equations, useful without the rest of the package.

In: a vector field (`Dynamics`, or any function of time, state and context), first states and each
row's own span. Out: a `Trajectory`, which answers at any time and carries exact gradients.
May import: `errors`. Of libraries torch, torchdiffeq, numba and numpy, neither pandas nor Lightning.
"""

from latentode.ode.cnf import CNF, FlowDistribution
from latentode.ode.context import Context, LinearControl, StepControl
from latentode.ode.fields.clock import ClockDynamics
from latentode.ode.fields.closed_form import ClosedForm
from latentode.ode.fields.compartments import CompartmentDynamics
from latentode.ode.fields.coupled import CoupledDynamics
from latentode.ode.fields.extended import AugmentedDynamics, SecondOrderDynamics
from latentode.ode.fields.gated import GatedDynamics
from latentode.ode.fields.linear import LinearDynamics
from latentode.ode.fields.mlp import Dynamics, MLPDynamics
from latentode.ode.layer import Augment, Autonomous, ODEBlock
from latentode.ode.quadrature import integrate
from latentode.ode.solver import ADAPTIVE, ADJOINTS, METHODS, NATIVE, Solver
from latentode.ode.trajectory import Stats, Trajectory

__all__ = [
    "ADAPTIVE",
    "ADJOINTS",
    "CNF",
    "METHODS",
    "NATIVE",
    "Augment",
    "AugmentedDynamics",
    "Autonomous",
    "ClockDynamics",
    "ClosedForm",
    "CompartmentDynamics",
    "Context",
    "CoupledDynamics",
    "Dynamics",
    "FlowDistribution",
    "GatedDynamics",
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
