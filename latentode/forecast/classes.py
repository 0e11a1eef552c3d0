"""Classifying: probabilities of the classes of series in memory, or of series at times."""

from __future__ import annotations

import numpy as np
import torch

from latentode.data.batch import Batch, Series
from latentode.data.labels import Labels
from latentode.model.network import LatentODE
from latentode.nn.latent_state import shared_noise

__all__ = ["class_probabilities"]

SERIES_AT_ONCE = 256
LATENT_ROWS_AT_ONCE = 65536  # samples of rows that are solved at once, for the memory they take


@torch.no_grad()
def class_probabilities(
    model: LatentODE,
    series: Series,
    context: float,
    owner: np.ndarray,
    time: np.ndarray | None = None,
    samples: int = 32,
) -> np.ndarray:
    """Probabilities read from all that was observed of each series, mean over latent samples.

    Args:
        model: with a label head; its mode and parameters are left as they are.
        series: histories.
        context: how far back of its last observation the encoder sees a series, in time units.
        owner: the series of each label asked for.
        time: since the series' start, in time units; None where labels are of whole series.
        samples: latent samples; one where z(t0) is a point.

    Returns:
        Shape `(labels, classes)`.
    """
    noise = shared_noise(samples if model.variational else 1, model.latent_size)
    at_once = max(1, LATENT_ROWS_AT_ONCE // (len(noise) * model.rows_per_series))
    at_once = min(SERIES_AT_ONCE, at_once)
    parts, places = [], []
    training = model.training
    model.eval()
    asked = np.unique(owner)
    for begin in range(0, len(asked), at_once):
        chosen = asked[begin : begin + at_once]
        place = np.nonzero((owner >= chosen[0]) & (owner <= chosen[-1]))[0]
        ends = series.last[chosen]
        row = np.searchsorted(chosen, owner[place])
        since = np.zeros(len(place)) if time is None else time[place] - ends[row]
        labels = Labels(*(torch.from_numpy(x) for x in (row, since, np.zeros_like(row))))
        batch = series.batch_at(chosen, ends, context)
        parts.append(_probabilities(model, batch, labels, noise))
        places.append(place)
    model.train(training)
    if not parts:
        return np.zeros((0, 0))
    return np.concatenate(parts)[np.argsort(np.concatenate(places))]


def _probabilities(model: LatentODE, batch: Batch, labels: Labels, noise: torch.Tensor) -> np.ndarray:
    device = next(model.parameters()).device
    batch, labels = batch.to(device), labels.to(device)
    z0 = model.encode(batch).sample(noise.to(device, model.dtype))
    path = model.trajectory(batch, z0, torch.cat([batch.start, labels.time]))
    logits = model.label_logits(path, batch, labels)
    return logits.double().softmax(dim=2).mean(dim=0).cpu().numpy()
