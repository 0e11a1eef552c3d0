"""How good probabilities of an event are: proper scores, what they are made of, and a cure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

__all__ = ["CURES", "difference", "floored", "recalibrated", "reliability", "scores"]

FLOOR = 1e-3  # so that one miss of five hundred draws is no certainty
EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
CURES = ("raw", "logistic", "isotonic")
RESAMPLED = 2000


def floored(probability: np.ndarray) -> np.ndarray:
    """Probabilities away from 0 and 1."""
    return np.clip(probability, FLOOR, 1 - FLOOR)


def recalibrated(cure: str, past: np.ndarray, came: np.ndarray, new: np.ndarray) -> np.ndarray:
    """What past probabilities that came true or not say of new ones.

    Args:
        cure: "raw" for none, "logistic" for a line in the log-odds (Platt), "isotonic" for any
            ascending curve.
        past: probabilities of events whose outcome is known.
        came: whether they happened.
        new: probabilities to recalibrate.
    """
    if cure == "raw":
        return floored(new)
    if cure == "isotonic":
        return floored(IsotonicRegression(out_of_bounds="clip").fit(past, came).predict(new))
    line = LogisticRegression(C=np.inf, max_iter=1000).fit(_log_odds(past), came)
    return floored(line.predict_proba(_log_odds(new))[:, 1])


def scores(probability: np.ndarray, came: np.ndarray, usual: float) -> dict[str, float]:
    """Brier score, skill over another's, log loss, AUC; and the parts of the Brier score.

    It is `miscalibration` less `discrimination` plus the variance of the event, with what an isotonic
    fit to these very outcomes could still mend for the first (Dimitriadis, Gneiting and Jordan, 2021).

    Args:
        probability: of each event.
        came: whether it happened.
        usual: the Brier score that skill is over.
    """
    brier = float(brier_score_loss(came, probability))
    best = IsotonicRegression().fit(probability, came).predict(probability)
    mended, spread = float(brier_score_loss(came, best)), float(came.mean() * (1 - came.mean()))
    return {
        "brier": brier,
        "skill": 1 - brier / usual,
        "log loss": float(log_loss(came, probability)),
        "auc": float(roc_auc_score(came, probability)),
        "mean": float(probability.mean()),
        "miscalibration": brier - mended,
        "discrimination": spread - mended,
    }


def reliability(probability: np.ndarray, came: np.ndarray) -> list[dict[str, Any]]:
    """By bins of the probability: how many, what was said on average, how often it happened."""
    place = np.clip(np.searchsorted(EDGES, probability, "right") - 1, 0, len(EDGES) - 2)
    table = pd.DataFrame({"bin": place, "said": probability, "came": came.astype(float)})
    found = table.groupby("bin").agg(n=("said", "size"), said=("said", "mean"), came=("came", "mean"))
    return [{"from": EDGES[i], "to": EDGES[i + 1], **row} for i, row in found.to_dict("index").items()]


def difference(
    one: np.ndarray, other: np.ndarray, came: np.ndarray, day: np.ndarray
) -> dict[str, float]:
    """Brier score of the other less that of the one, with a 95 % interval by resampling whole days."""
    gain = (other - came) ** 2 - (one - came) ** 2
    days = pd.DataFrame({"day": day, "gain": gain}).groupby("day")["gain"].agg(["sum", "size"])
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(days), size=(RESAMPLED, len(days)))
    sums, sizes = days["sum"].to_numpy()[chosen], days["size"].to_numpy()[chosen]
    low, high = np.quantile(sums.sum(axis=1) / sizes.sum(axis=1), [0.025, 0.975])
    return {"gain": float(gain.mean()), "low": float(low), "high": float(high)}


def _log_odds(probability: np.ndarray) -> np.ndarray:
    p = floored(probability)
    return np.log(p / (1 - p))[:, None]
