"""Fast paths of solves and interpolations, each equal to plain operations up to rounding.

Which of them serves a call is asked here and nowhere else; where none does, plain operations do.

A fast path answers only for what it was written for. A vector field has one by its *exact* type, with
no forward of its own, no hook and no parametrisation anywhere in it; tensors by their device and dtype.
While torch records, transforms or casts what is done (compilation, tracing, `torch.func`, forward-mode
differentiation, dispatch modes, autocast) every call takes plain operations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor, nn
from torch.nn.modules import module as modules

import latentode.ode.kernels.hermite as hermite
from latentode.errors import SolveError
from latentode.ode.checks import symbolic
from latentode.ode.context import Context
from latentode.ode.fields.closed_form import ClosedForm
from latentode.ode.fields.networks import AugmentedDynamics, MLPDynamics
from latentode.ode.kernels.compiled import small
from latentode.ode.kernels.compiled_perceptron import CompiledKernel
from latentode.ode.kernels.perceptron import MLPKernel, divergence
from latentode.ode.kernels.tape import AutogradKernel, Kernel
from latentode.ode.tableau import VectorField

__all__ = [
    "AnyKernel",
    "checkpoint_kernel",
    "closed_form",
    "constant",
    "divergence_of",
    "every_module",
    "interpolate",
    "kernel_of",
    "perceptron_of",
    "readable",
    "recorded",
    "small",
    "untouched",
]

AnyKernel = Kernel | CompiledKernel
Divergence = Callable[[Tensor, Tensor, Context | None], tuple[Tensor, Tensor]]

# Kinds of devices that torch casts for.
CASTING = ("cpu", "cuda", "mps", "xpu")
# Attributes of an instance that would be called in the place of its class's methods.
METHODS = frozenset({"forward", "inputs", "_call_impl", "_wrapped_call_impl", "_compiled_call_impl"})
# Of all modules together.
GLOBAL_HOOKS = (
    *("_global_forward_pre_hooks", "_global_forward_hooks"),
    *("_global_backward_pre_hooks", "_global_backward_hooks"),
)


def recorded(device: str = "cpu") -> bool:
    """Whether torch records, transforms or casts what is done now."""
    return symbolic() or (device in CASTING and torch.is_autocast_enabled(device))


def untouched(module: nn.Module) -> bool:
    """Whether calling a module is what its classes say: no hook, nothing overridden on an instance."""
    if any(getattr(modules, name) for name in GLOBAL_HOOKS):
        return False
    return all(
        not any(name in part.__dict__ for name in METHODS)
        and not part._forward_hooks
        and not part._forward_pre_hooks
        and not part._backward_hooks
        and not part._backward_pre_hooks
        for part in every_module(module)
    )


def every_module(module: nn.Module) -> list[nn.Module]:
    """A module and all within it, each once: as its `modules()`, but without making up names."""
    found: dict[nn.Module, None] = {}
    waiting = [module]
    while waiting:
        part = waiting.pop()
        if part not in found:
            found[part] = None
            waiting += [child for child in part._modules.values() if child is not None]
    return [*found]


def readable(x: Tensor, *others: Tensor) -> bool:
    """Whether compiled loops can read all of these, and nothing that torch records is lost by it."""
    if x.dtype not in (torch.float32, torch.float64) or recorded():
        return False
    tensors = (x, *others)
    return all(y.device.type == "cpu" and y.dtype == x.dtype and _plain(y) for y in tensors)


def _plain(x: Tensor) -> bool:
    return type(x) is Tensor or type(x) is nn.Parameter


def perceptron_of(field: VectorField, like: Tensor) -> MLPDynamics | None:
    """The perceptron that a field is, if kernels written for one may carry states like `like`."""
    if not isinstance(field, nn.Module) or not untouched(field):
        return None
    module: nn.Module = field
    while type(module) is AugmentedDynamics:
        module = module.inner
    if type(module) is not MLPDynamics or type(module.layers) is not nn.ModuleList:
        return None
    layers = list(module.layers)
    if len(layers) < 2 or recorded(like.device.type):
        return None
    fitting = all(
        type(layer) is nn.Linear
        and layer.bias is not None
        and layer.weight.dtype == layer.bias.dtype == like.dtype
        and _plain(layer.weight)
        and _plain(layer.bias)
        for layer in layers
    )
    return module if fitting and _plain(like) else None


def kernel_of(
    field: VectorField, times: Tensor, context: Context | None, z0: Tensor
) -> AnyKernel | None:
    """A field's pullback by hand for native solves; None where it is to be differentiated by torch.

    Args:
        field: the vector field.
        times: of every evaluation to come, shape `(evaluations, rows)`.
        context: what each row is told.
        z0: the first states, shape `(rows, latent)`.

    Raises:
        SolveError: if the field reads or returns other sizes than it is given.
    """
    plain_context = context is None or type(context) is Context
    found = perceptron_of(field, z0) if plain_context else None
    if found is None:
        return None
    layers: list[nn.Linear] = list(found.layers)  # type: ignore[arg-type]
    known = [None if x is None else x.to(z0.dtype) for x in _known(found, times, context)]
    n_inputs = z0.shape[1] + sum(x.shape[-1] for x in known if x is not None)
    if n_inputs != layers[0].in_features or layers[-1].out_features != z0.shape[1]:
        raise SolveError(
            f"the dynamics read {layers[0].in_features} numbers and return "
            f"{layers[-1].out_features}; state, context and time are {n_inputs} numbers, of which "
            f"{z0.shape[1]} are the state's"
        )
    weights = [layer.weight for layer in layers]
    compiled = z0.numel() > 0 and readable(z0, *weights) and small(*weights)
    return (CompiledKernel if compiled else MLPKernel)(layers, z0.shape[1], *known)


def _known(
    field: MLPDynamics, times: Tensor, context: Context | None
) -> tuple[Tensor | None, Tensor | None]:
    """Inputs besides z that stay, `(rows, ...)`, and that differ, `(evaluations, rows, ...)`."""
    context = context if field.context_size else None
    varying = []
    controls = None if context is None else context.along(times)
    if controls is not None:
        varying.append(controls)
    if field.time_dependent:
        varying.append(times[..., None])
    fixed = None if context is None else context.fixed
    return fixed, torch.cat(varying, dim=-1) if varying else None


def checkpoint_kernel(
    field: VectorField, times: Tensor, context: Context | None
) -> AutogradKernel | None:
    """The kernel of any other module for *checkpoint*; None for functions, and where torch records."""
    if not isinstance(field, nn.Module) or recorded(times.device.type):
        return None
    control = None if context is None else context.control
    if control is not None and not hasattr(control, "tensors"):  # whose gradient would be lost
        return None
    return AutogradKernel(field, times, context)


def divergence_of(field: VectorField) -> Divergence | None:
    """A field's slope and divergence in closed form; None where they are to be differentiated."""
    module = field if isinstance(field, nn.Module) and untouched(field) else None
    if type(module) is not MLPDynamics or len(module.layers) not in (2, 3):
        return None
    plain = all(type(layer) is nn.Linear for layer in module.layers)
    return partial(divergence, module) if plain else None


def closed_form(field: object) -> ClosedForm | None:
    """A field whose calls follow its closed form: nothing overridden apart, and no hook on it."""
    if not isinstance(field, ClosedForm) or not untouched(field):
        return None
    parts = ("force", "slope", "carry")
    owners = {next(c for c in type(field).mro() if part in vars(c)) for part in parts}
    apart = len(owners) > 1 or type(field).forward is not ClosedForm.forward
    return None if apart or any(part in field.__dict__ for part in parts) else field


def interpolate(knots: Tensor, states: Tensor, slopes: Tensor, rows: Tensor, times: Tensor) -> Tensor:
    """Cubic Hermite interpolation at flat (row, time) pairs.

    Args:
        knots: ascending or descending along each row, shape `(rows, K)`.
        states: shape `(rows, K, latent)`.
        slopes: shape `(rows, K, latent)`.
        rows: shape `(queries,)`.
        times: shape `(queries,)`; beyond a row's span its outermost polynomial goes on.

    Returns:
        Shape `(queries, latent)`.
    """
    moving = torch.is_grad_enabled() and (times.requires_grad or knots.requires_grad)
    if not moving and readable(knots, states, slopes, times):
        return hermite.interpolate(knots, states, slopes, rows, times)
    if recorded(states.device.type) or states.dtype != slopes.dtype or not len(times):
        return hermite.cubic(knots, states, slopes, rows, times)
    return hermite.cubic_in_bags(knots, states, slopes, rows, times)


def constant(values: tuple[float, ...], like: Tensor) -> Tensor:
    """Constants as a tensor of the dtype and device of `like`, kept so that nothing is copied again."""
    if recorded(like.device.type):  # a tensor that is being recorded must not outlive the record
        return torch.tensor(values, dtype=like.dtype, device=like.device)
    return _kept(values, like.dtype, like.device)


@lru_cache(maxsize=512)
def _kept(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    # Made as an ordinary tensor even under inference_mode, whose tensors no later gradient may meet.
    with torch.inference_mode(mode=False):
        return torch.tensor(values, dtype=dtype, device=device)
