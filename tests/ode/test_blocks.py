"""An ODE as a layer: what it computes, what it costs, what it keeps apart."""

import copy

import pytest
import torch
from fields import Decay, Product, Rotation
from torch import nn

from latentode.errors import SolveError
from latentode.ode import Augment, Autonomous, Context, MLPDynamics, ODEBlock, Solver


def convolution(channels=3):
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.Tanh())


class Heating(nn.Module):
    """dz/dt = t a z on images, so z(t) = z0 exp(a t^2 / 2)."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.8))

    def forward(self, t, z, context=None):
        return t[:, None, None, None] * self.a * z


def test_euler_steps_are_residual_blocks():
    net, z0, h = convolution(), torch.randn(4, 3, 5, 5), 1 / 7
    z = z0
    for _ in range(7):
        z = z + h * net(z)
    block = ODEBlock(Autonomous(net), method="euler", steps=7)
    assert (block(z0) - z).abs().max() < 1e-14
    assert block.evaluations == 7


@pytest.mark.parametrize("method", ["rk38", "rk4", "dopri5"])
def test_a_time_dependent_field_of_images_is_solved_to_its_closed_form(method):
    z0 = torch.randn(4, 2, 3, 3)
    block = ODEBlock(Heating(), method, steps=120, span=(-1.0, 2.0), rtol=1e-9, atol=1e-9)
    exact = z0 * torch.exp(0.8 * torch.tensor((4 - 1) / 2))
    assert (block(z0) - exact).abs().max() < 1e-6


def test_back_over_the_span_comes_home():
    field, z0 = Autonomous(convolution()), torch.randn(4, 3, 5, 5)
    there = ODEBlock(field, "dopri5", rtol=1e-10, atol=1e-10)
    back = ODEBlock(field, "dopri5", span=(1.0, 0.0), rtol=1e-10, atol=1e-10)
    assert (back(there(z0)) - z0).abs().max() < 1e-7


@pytest.mark.parametrize(
    ("method", "adjoint"),
    [("rk4", "direct"), ("rk4", "checkpoint"), ("dopri5", "direct"), ("dopri5", "backsolve")],
)
@pytest.mark.parametrize("images", [True, False])
def test_gradients_are_those_of_finite_differences(method, adjoint, images):
    shape = (2, 2, 3, 3) if images else (2, 3)
    field = Autonomous(convolution(2)) if images else MLPDynamics(3, (5,))
    block = ODEBlock(field, method, 4, adjoint=adjoint, rtol=1e-10, atol=1e-10)
    z0, way = torch.randn(shape, requires_grad=True), torch.randn(shape)
    weight = next(field.parameters())
    got = torch.autograd.grad((block(z0) * way).sum(), (z0, weight))
    for tensor, gradient in zip((z0, weight), got, strict=True):
        nudge, step = torch.randn_like(tensor), 1e-5
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                tensor += sign * step * nudge
                ends.append((block(z0) * way).sum())
                tensor -= sign * step * nudge
        assert ((ends[0] - ends[1]) / (2 * step) - (gradient * nudge).sum()).abs() < 1e-6


def test_evaluations_are_counted_forwards_and_backwards():
    field, z0 = Autonomous(convolution()), torch.randn(2, 3, 5, 5)
    counted = 0

    def count(*_):
        nonlocal counted
        counted += 1

    field.register_forward_hook(count)
    for options in ({"method": "midpoint", "steps": 5}, {"method": "dopri5", "adjoint": "backsolve"}):
        counted, block = 0, ODEBlock(field, **options)
        end = block(z0)
        assert block.evaluations == counted > 0 and block.backward_evaluations == 0
        counted = 0
        end.sum().backward()
        assert block.backward_evaluations == counted
        assert (counted > 0) == (options["method"] == "dopri5")
    loose, tight = (ODEBlock(field, "dopri5", rtol=tol, atol=tol) for tol in (1e-2, 1e-9))
    loose(z0), tight(z0)
    assert tight.evaluations > loose.evaluations > 6


def test_flat_states_use_the_pullback_by_hand_and_agree_with_the_solver(monkeypatch):
    field, z0 = MLPDynamics(3, (8,)), torch.randn(6, 3)
    block = ODEBlock(field, "rk4", 5)
    t0, t1 = torch.zeros(6), torch.ones(6)
    path = Solver("rk4", 1, 5).solve(field, z0, t0, t1)
    message = "the pullback by hand calls no forward"
    monkeypatch.setattr(MLPDynamics, "forward", lambda *_: pytest.fail(message))
    assert torch.equal(block(z0), path.final)
    assert block.evaluations == path.stats.evaluations == 21


def test_context_reaches_each_sample_and_samples_do_not_mix():
    w, z0 = torch.tensor([[1.0], [2.0], [0.5]]), torch.randn(3, 2)
    block = ODEBlock(Rotation(), "rk4", 100)
    t = torch.ones(3, 1)
    exact = Rotation.exact(w, z0, torch.zeros(3), t)[:, 0]
    assert (block(z0, Context(w)) - exact).abs().max() < 1e-8
    images = torch.randn(4, 3, 5, 5)
    layer = ODEBlock(Autonomous(convolution()), "rk38")
    assert (layer(images)[2:3] - layer(images[2:3])).abs().max() < 1e-14


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_the_path_goes_from_the_input_to_the_output(method):
    z0 = torch.randn(4, 2, 3, 3)
    block = ODEBlock(Heating(), method, steps=50, span=(0.0, 2.0), rtol=1e-9, atol=1e-9)
    times = torch.tensor([0.0, 0.33, 1.7, 2.0])
    path = block.path(z0, times)
    exact = z0 * torch.exp(0.4 * times**2)[:, None, None, None, None]
    assert path.shape == (4, *z0.shape)
    assert (path - exact).abs().max() < 1e-5
    assert torch.equal(path[0], z0) and (path[-1] - block(z0)).abs().max() < 1e-7
    with pytest.raises(SolveError, match="outside its span"):
        block.path(z0, torch.tensor([2.5]))


def test_zeros_go_after_the_features_and_paths_may_then_cross():
    z = torch.randn(4, 2, 3, 3)
    wide = Augment(3)(z)
    assert wide.shape == (4, 5, 3, 3)
    assert torch.equal(wide[:, :2], z) and not wide[:, 2:].any()
    assert torch.equal(Augment(0)(z), z)

    class Swap(nn.Module):
        """Turns z over through one more dimension: z(t) = z0 cos(pi t), which no scalar field does."""

        def forward(self, t, z, context=None):
            return torch.pi * torch.stack([-z[:, 1], z[:, 0]], dim=1)

    ends = nn.Sequential(Augment(1), ODEBlock(Swap(), "rk4", 200))(torch.tensor([[-1.0], [1.0]]))
    assert (ends[:, 0] - torch.tensor([1.0, -1.0])).abs().max() < 1e-6


def test_a_block_is_a_module_like_any_other():
    block = nn.Sequential(ODEBlock(MLPDynamics(3, (4,))), nn.Linear(3, 1))
    z0 = torch.randn(5, 3)
    twin = copy.deepcopy(block)
    twin.load_state_dict(block.state_dict())
    assert torch.equal(twin(z0), block(z0))
    assert set(block.state_dict()) == {
        *(f"0.dynamics.layers.{i}.{k}" for i in (0, 1) for k in ("weight", "bias")),
        *("1.weight", "1.bias"),
    }
    assert block.float()(z0.float()).dtype == torch.float32
    assert "method='rk38', steps=6" in repr(block)


def test_what_cannot_be_is_refused_with_what_to_do():
    with pytest.raises(SolveError, match=r"Sequential .*Autonomous\(module\)"):
        ODEBlock(convolution())
    with pytest.raises(SolveError, match="rk5000"):
        ODEBlock(Decay(), method="rk5000")
    with pytest.raises(SolveError, match="negative"):
        Augment(-1)
    with pytest.raises(SolveError, match=r"shape \(4,\)"):
        ODEBlock(Decay())(torch.zeros(4))
    shrinking = Autonomous(nn.Conv2d(3, 3, 3))
    with pytest.raises(SolveError, match=r"\(2, 3, 3, 3\) for states of shape \(2, 3, 5, 5\)"):
        ODEBlock(shrinking)(torch.zeros(2, 3, 5, 5))
    with pytest.raises(SolveError, match=r"not finite|could not go on"):
        ODEBlock(Autonomous(Square()), "dopri5", span=(0.0, 2.0))(torch.ones(1, 1, 2))


class Square(nn.Module):
    def forward(self, z):
        return z.square()


@pytest.mark.parametrize("adjoint", ["direct", "backsolve"])
def test_advancing_by_an_adaptive_method_is_solving_without_the_slopes(adjoint):
    field, z0 = Product(), torch.randn(3, 2)
    t0, t1 = torch.zeros(3), torch.tensor([1.0, 0.5, -1.0])
    solver = Solver("dopri5", 2, adjoint=adjoint)
    assert torch.equal(solver.advance(field, z0, t0, t1), solver.solve(field, z0, t0, t1).final)
