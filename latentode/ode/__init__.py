"""Neural ordinary differential equations, usable without the rest of the package."""

from latentode.ode.context import Context, StepControl
from latentode.ode.dynamics import Dynamics, MLPDynamics
from latentode.ode.solve import ADAPTIVE, ADJOINTS, METHODS, Solver
from latentode.ode.trajectory import Trajectory

__all__ = [
    "ADAPTIVE",
    "ADJOINTS",
    "METHODS",
    "Context",
    "Dynamics",
    "MLPDynamics",
    "Solver",
    "StepControl",
    "Trajectory",
]
