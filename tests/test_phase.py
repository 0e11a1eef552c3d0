"""Slope fields: of fields in the plane, and of a fitted forecaster's latent space on a plane in it."""

import numpy as np
import pytest
import torch
from making import tiny, waves

from latentode.errors import LatentODEError
from latentode.ode import Context, LinearControl, MLPDynamics, StepControl
from latentode.plotting.fields import latent_slope_field, slope_field
from latentode.plotting.phase import Plane, latent_paths


def turn(t, z, context):
    return torch.stack([z[:, 1], -z[:, 0]], dim=1)


def arrows(figure):
    (found,) = (c for c in figure.axes[0].collections if type(c).__name__ == "Quiver")
    return found


def test_arrows_are_the_directions_of_the_field_and_paths_its_solutions():
    start = torch.tensor([[1.0, 0.0], [0.0, 0.5]])
    figure = slope_field(turn, (-2, 2), (-1, 1), starts=start, span=(0.0, 3.0), density=5)
    drawn = arrows(figure)
    across, upward = drawn.XY.T
    assert len(across) == 25 and across.min() == -2 and upward.max() == 1
    speed = np.hypot(across, upward)
    moving = speed > 0
    assert np.allclose(drawn.U[moving] * speed[moving], upward[moving], atol=1e-6)
    assert np.allclose(drawn.V[moving] * speed[moving], -across[moving], atol=1e-6)
    assert np.allclose(drawn.get_array(), speed, atol=1e-6)
    curve = figure.axes[0].lines[0].get_xydata()
    assert np.allclose(curve[-1], [np.cos(3), -np.sin(3)], atol=1e-5)
    assert len(figure.axes[0].lines) == 4  # a curve and a dot each


def test_a_plane_is_that_of_the_principal_components():
    torch.manual_seed(0)
    points = torch.randn(200, 2, dtype=torch.float64) * torch.tensor([3.0, 1.0])
    basis = torch.linalg.qr(torch.randn(6, 2, dtype=torch.float64))[0]
    states = points @ basis.T + torch.randn(6, dtype=torch.float64)
    plane = Plane.of(states)
    assert plane.explained == pytest.approx(1)
    assert torch.allclose(plane.lift(plane.project(states)), states)
    assert torch.allclose(plane.axes @ plane.axes.T, torch.eye(2, dtype=torch.float64))
    assert plane.project(states)[:, 0].std() > 2 * plane.project(states)[:, 1].std()
    assert Plane.of(states + 0.3 * torch.randn_like(states)).explained < 0.99
    with pytest.raises(LatentODEError, match="at least 2"):
        Plane.of(states[:, :1])


def test_slopes_on_a_plane_are_those_of_the_field_at_its_points():
    torch.manual_seed(0)
    field, plane = MLPDynamics(4, (8,), context_size=1), Plane.of(torch.randn(30, 4))
    context = Context(torch.tensor([[0.7]]))
    drawn = arrows(slope_field(field, (-1, 1), (-1, 1), plane=plane, context=context, density=3))
    points = torch.tensor(drawn.XY, dtype=torch.float32)
    slopes = field(torch.zeros(9), plane.lift(points), context.repeat(9)) @ plane.axes.T
    expected = (slopes / slopes.norm(dim=1, keepdim=True)).detach().numpy()
    assert np.allclose(np.stack([drawn.U, drawn.V], 1), expected, atol=1e-5)


@pytest.mark.parametrize("control", [StepControl, LinearControl])
def test_rows_of_a_context_are_chosen_with_their_paths(control):
    times, values = torch.arange(6.0).view(3, 2), torch.randn(3, 2, 1)
    context = Context(torch.randn(3, 2), control(times, values))
    t = torch.tensor([2.5, 4.5])
    some = context.select(torch.tensor([1, 2]))
    whole = context.at(torch.tensor([0.0, 2.5, 4.5]))
    assert torch.equal(some.at(t), whole[1:])
    assert Context().select(torch.tensor([0])).at(t) is None


@pytest.mark.parametrize("layout", ["joint", "per-variable"])
def test_the_latent_space_of_a_fitted_forecaster_is_drawn_with_a_path_per_series(layout):
    frame = waves(4, 20)
    model = tiny(latent=layout).fit(frame)
    variable = model.schema_.targets[-1]
    states, context, name = latent_paths(model, frame, variable, ahead=4.0)
    assert states.shape == (4, 201, 3)
    network = model.network_
    # The path solves the network's own field: its slope at the origin is the field's there.
    step = 4.0 / 200 / network.time_scale
    slope = network.dynamics(torch.zeros(1), states[:1, 0], context)
    assert torch.allclose((states[:1, 1] - states[:1, 0]) / step, slope, rtol=0.1, atol=1e-3)
    assert (name == "space") == (layout == "joint")
    figure = latent_slope_field(model, frame, variable, ahead=4.0)
    assert len(figure.axes[0].lines) == 8 and "of the variance" in figure.axes[0].get_title()


def test_coupled_variables_have_no_field_of_their_own():
    frame = waves(3, 20)
    model = tiny(latent="per-variable", network={"interaction": "dynamics"}).fit(frame)
    with pytest.raises(LatentODEError, match="interaction"):
        latent_slope_field(model, frame)
