"""Neural ordinary differential equations, usable without the rest of the package."""

from latentode.ode.blocks import Augment, Autonomous, ODEBlock
from latentode.ode.clock import ClockDynamics
from latentode.ode.closed_form import ClosedForm
from latentode.ode.cnf import CNF, FlowDistribution
from latentode.ode.compartments import CompartmentDynamics
from latentode.ode.context import Context, LinearControl, StepControl
from latentode.ode.coupled import CoupledDynamics
from latentode.ode.dynamics import Dynamics, MLPDynamics
from latentode.ode.extended import AugmentedDynamics, SecondOrderDynamics
from latentode.ode.gated import GatedDynamics
from latentode.ode.linear import LinearDynamics
from latentode.ode.quadrature import integrate
from latentode.ode.solve import ADAPTIVE, ADJOINTS, METHODS, NATIVE, Solver
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
