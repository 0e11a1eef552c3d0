"""A multi-layer perceptron, the one brick that encoders and decoders share."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

__all__ = ["mlp"]


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers of the given sizes with tanh between them.

    Example:
        >>> mlp(2, 8, 1)[0].out_features
        8
    """
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*layers[:-1])
