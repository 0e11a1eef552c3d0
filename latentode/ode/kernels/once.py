"""Backward passes by hand, which can themselves not be differentiated: said, not passed over."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.autograd.function import once_differentiable

__all__ = ["differentiable_once"]


def differentiable_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """As torch's `once_differentiable`, which is silent where only what was saved needs a gradient.

    Raises:
        RuntimeError: where a gradient is asked for with `create_graph=True`.
    """
    once = once_differentiable(backward)

    @wraps(backward)
    def checked(ctx: Any, *cotangents: Any) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "this solve has first derivatives only, by a backward pass of its own; for second ones "
                "(create_graph=True) wrap the dynamics in a module that is no Dynamics"
            )
        return once(ctx, *cotangents)

    return checked
