r"""Learning-rate schedules by name: `torch`'s schedulers in the form that Lightning takes.

All warm up linearly over `LR_WARMUP` steps. Then *constant* stays, *cosine* follows
$\frac12 (1 + \cos(\pi s / S))$ to the trainer's last step S (and stays where there is none), and
*plateau* halves the rate whenever the monitored metric has not fallen for some epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LinearLR, ReduceLROnPlateau

__all__ = ["SCHEDULES", "Schedule", "constant", "cosine", "plateau"]

LR_WARMUP = 50
PLATEAU_FACTOR, PLATEAU_PATIENCE = 0.5, 3

Schedule = Callable[[Optimizer, float, str], list[dict[str, Any]]]


def cosine(optimizer: Optimizer, steps: float, monitor: str) -> list[dict[str, Any]]:
    """Warms up, then decays to nothing at the last step, if there is one.

    Args:
        optimizer: with the peak learning rate.
        steps: how many the trainer will take; may be infinite.
        monitor: the metric to watch; this schedule does not.
    """

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / LR_WARMUP)
        if not math.isfinite(steps):
            return warm
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))

    return [{"scheduler": LambdaLR(optimizer, factor), "interval": "step"}]


def constant(optimizer: Optimizer, steps: float, monitor: str) -> list[dict[str, Any]]:
    """Warms up and stays; arguments as for `cosine`."""
    return cosine(optimizer, math.inf, monitor)


def plateau(optimizer: Optimizer, steps: float, monitor: str) -> list[dict[str, Any]]:
    """Warms up, then halves when `monitor` stops falling; arguments as for `cosine`."""
    warm = LinearLR(optimizer, 1 / LR_WARMUP, total_iters=LR_WARMUP - 1)
    fall = ReduceLROnPlateau(optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE)
    watched = {"scheduler": fall, "interval": "epoch", "monitor": monitor, "strict": False}
    return [{"scheduler": warm, "interval": "step"}, watched]


SCHEDULES: dict[str, Schedule] = {"cosine": cosine, "constant": constant, "plateau": plateau}
