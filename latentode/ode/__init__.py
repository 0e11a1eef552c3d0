"""Neural ordinary differential equations, usable without the rest of the package."""

from latentode.ode.context import Context, LinearControl, StepControl
from latentode.ode.dynamics import Dynamics, MLPDynamics
from latentode.ode.solve import ADAPTIVE, ADJOINTS, METHODS, NATIVE, Solver
from latentode.ode.trajectory import Trajectory

__all__ = [
    "ADAPTIVE",
    "ADJOINTS",
    "METHODS",
    "NATIVE",
    "Context",
    "Dynamics",
    "LinearControl",
    "MLPDynamics",
    "Solver",
    "StepControl",
    "Trajectory",
]
