r"""Labelling: classes of a series, or of a series at a time, read off its latent path.

$$p(y) = \mathrm{softmax}\, h\Big(z(0),\
  \tfrac{1}{|t_\text{start}|}\int_{t_\text{start}}^{0} z(t)\, dt\Big),
\qquad p(y_t) = \mathrm{softmax}\, h(z(t)),$$

of the whole series from its state at the origin and the mean of its path over the context, at a time
from the state there. Training adds the log-likelihood of the labels to that of the values.

References:
    Latent ODEs for irregularly-sampled time series (Rubanova et al., 2019),
    https://arxiv.org/abs/1907.03907
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latentode.errors import LatentODEError
from latentode.model.layouts import Layout
from latentode.nn.decoders import LabelHead
from latentode.ode import Trajectory, integrate

__all__ = ["LABELS", "Labelling"]

LABELS = ("series", "times")


class Labelling(nn.Module):
    """Reads labels off paths that hold every row of each series.

    Args:
        head: from rows to logits.
        of: "series" or "times": what has a label.

    Raises:
        LatentODEError: if `of` is neither.
    """

    def __init__(self, head: LabelHead, of: str) -> None:
        super().__init__()
        if of not in LABELS:
            raise LatentODEError(f"labels of {of!r} are unknown; choose from {', '.join(LABELS)}")
        self.head, self.of = head, of

    @staticmethod
    def states_read(of: str) -> int:
        """How many states of a row a label is read from."""
        return 2 if of == "series" else 1

    def logits(
        self, path: Trajectory, layout: Layout, start: Tensor, series: Tensor, time: Tensor
    ) -> Tensor:
        """Unnormalised log-probabilities of the classes.

        Args:
            path: `samples * series * layout.blocks` rows, from each start to each time asked for.
            layout: whose rows they are.
            start: of each series' context, model time (<= 0), shape `(series,)`.
            series: of each label, shape `(labels,)`.
            time: of each label, model time; of no meaning to a label of a whole series.

        Returns:
            Shape `(samples, labels, classes)`.
        """
        n, blocks = len(start), layout.blocks
        sample = torch.arange(len(path.times) // (n * blocks), device=start.device)
        block = torch.arange(blocks, device=start.device)
        rows = sample[:, None, None] * (n * blocks) + series[:, None] * blocks + block
        flat = rows.reshape(-1)
        if self.of == "times":
            state = path.at(flat, time[:, None].expand_as(rows).reshape(-1))
        else:
            first = start[series][:, None].expand_as(rows).reshape(-1)
            now = path.at(flat, torch.zeros_like(first))
            state = torch.cat([now, _mean(path, flat, first, now)], dim=1)
        return self.head(state.unflatten(0, rows.shape), layout.row_embedding)


def _mean(path: Trajectory, rows: Tensor, start: Tensor, now: Tensor) -> Tensor:
    """Of the path from `start` to 0; the state itself where that is no time."""
    length = -start[:, None]
    some = length > 0
    total = integrate(path, lambda _, z: z, rows, start, torch.zeros_like(start))
    return torch.where(some, total / torch.where(some, length, 1.0), now)
