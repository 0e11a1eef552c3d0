"""Verdicts: what the figures of an evaluation mean, in sentences for those who act on forecasts.

Errors are those of the mean, in the variable's own unit; what they are held against is the best of the
forecasts that need no learning. An interval keeps its promise where its coverage is within
`ABOUT` of it, in shares of the values.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from latentode.evaluation.metrics import summarise

__all__ = ["Verdict", "verdicts"]

LOW, HIGH, PROMISED = "q0.1", "q0.9", 0.8
ABOUT = 0.05  # of all values, by which a coverage may miss its promise
LEVEL = 0.02  # of the better error: below it two forecasts are called alike


@dataclass(frozen=True)
class Verdict:
    """What is said of one variable.

    Args:
        variable: its name.
        sentences: in the order in which they matter.
    """

    variable: str
    sentences: tuple[str, ...]


def verdicts(compared: pd.DataFrame, own: str, unit: str) -> list[Verdict]:
    """Sentences for each variable.

    Args:
        compared: as for `write_page`.
        own: the name of the model that they are about.
        unit: of lead times.
    """
    return [
        Verdict(str(name), tuple(_sentences(part, own, unit)))
        for name, part in compared.groupby("variable", sort=False)
    ]


def _sentences(part: pd.DataFrame, own: str, unit: str) -> list[str]:
    made = part[part["model"] == own]
    error = (made["actual"] - made["mean"]).abs()
    usual, rare = (error.quantile(q) for q in (0.5, 0.9))
    nearest, furthest = made["lead"].min(), made["lead"].max()
    found = [
        f"{len(made):,} forecasts of {nearest:.3g} to {furthest:.3g} {unit} ahead were compared with "
        f"what came. Half of them were within {usual:.3g} of it, nine in ten within "
        f"{rare:.3g}."
    ]
    errors = summarise(part, ["model"], "mae")["mae"]
    others = errors.drop(own)
    if len(others):
        found.append(_beside(float(errors[own]), float(others.min()), str(others.idxmin())))
    if {LOW, HIGH} <= set(made.columns):
        found.append(_honest(made))
    return found


def _beside(error: float, other: float, name: str) -> str:
    """The model's error beside the best of the simple forecasts'."""
    told = (
        f"On average it misses by {error:.3g}; the best of the simple forecasts, {name}, by {other:.3g}"
    )
    if error < (1 - LEVEL) * other:
        return f"{told}: {1 - error / other:.0%} less."
    if error > other / (1 - LEVEL):
        return f"{told}. For this variable the simple forecast is the better one: use that."
    return f"{told}: they are alike, and the simple forecast does as well."


def _honest(made: pd.DataFrame) -> str:
    """Whether the 80 % interval covers what it promises."""
    share = float(made["actual"].between(made[LOW], made[HIGH]).mean())
    width = float((made[HIGH] - made[LOW]).median())
    told = (
        f"The 80 % interval, typically {width:.3g} wide, is to contain 80 of 100 values; it contained "
        f"{100 * share:.0f}"
    )
    if share < PROMISED - ABOUT:
        return f"{told}. It is too narrow: surprises are more frequent. Calibrate the model."
    if share > PROMISED + ABOUT:
        return f"{told}. It is wider than it has to be: what it says is on the safe side."
    return f"{told}. It keeps its promise."
