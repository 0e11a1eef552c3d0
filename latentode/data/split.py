"""How training data is held out for early stopping when the user brings no validation table."""

from __future__ import annotations

import warnings

import numpy as np

from latentode.data.dataset import SeriesDataset
from latentode.data.scaling import series_keys
from latentode.data.task import uniform

__all__ = ["split_validation"]

MANY_SERIES = 20
HELD_OUT = 0.2


def split_validation(
    dataset: SeriesDataset, horizon: float, seed: int
) -> tuple[SeriesDataset, SeriesDataset | None]:
    """Holds out a fifth of the series where there are at least 20, else each one's last horizon.

    Args:
        dataset: all that may be trained on.
        horizon: in time units.
        seed: with a series' identifier it decides on which side it falls.

    Returns:
        Training and validation data; in the second case validation holds the whole series, whose
        last horizon training has not seen. None where too little would be left to train on.
    """
    if len(dataset) >= MANY_SERIES:
        order = np.argsort(uniform(series_keys(dataset), seed), kind="stable")
        n = round(HELD_OUT * len(dataset))
        train = dataset.select(np.sort(order[n:]))
        if _all_observed(train):
            return train, dataset.select(np.sort(order[:n]))
    else:
        train = dataset.until(np.maximum(dataset.last - horizon, dataset.first))
        if _all_observed(train) and (train.last > train.first).any():
            return train, dataset
    warnings.warn(
        "too little data to hold any out: training goes on for all epochs without early stopping; "
        "shorten the horizon, or pass validation=",
        stacklevel=3,
    )
    return dataset, None


def _all_observed(dataset: SeriesDataset) -> bool:
    return len(np.unique(dataset.variable)) == len(dataset.variables)
