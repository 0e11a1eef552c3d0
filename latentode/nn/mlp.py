"""A multi-layer perceptron, the one brick that encoders and decoders share."""

from __future__ import annotations

from torch import nn

__all__ = ["mlp"]


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers of the given sizes with tanh between them.

    Example:
        >>> mlp(2, 8, 1)[0].out_features
        8
    """
    layers: list[nn.Module] = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*layers[:-1])
