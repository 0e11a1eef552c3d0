"""Boosting beside the latent ODE: Markdown tables from the results.json of both experiments."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

__all__ = ["show"]

EXPERIMENTS = Path(__file__).parents[1]
OURS = ("latent ODE", "latent ODE, per variable")
HEAD = (
    "| variable | lead | MAE: latent ODE | boosting | CRPS: latent ODE | boosting | covers | boosting |"
)


def show(results: dict[str, Any]) -> str:
    """A table per data set, the lower figure of each pair in bold.

    Args:
        results: of this experiment, by data set.
    """
    parts = []
    for name, found in results.items():
        if "rows" in found:
            parts.append(f"### {name}\n\n{_rolling(name, found['rows'])}")
        elif "squared" in found:
            parts.append(f"### {name}\n\n{_benchmark(name, found)}")
    return "\n\n".join(parts)


def _rolling(name: str, rows: list[dict[str, Any]]) -> str:
    content = json.loads((EXPERIMENTS / name / "results.json").read_text())
    own = content if isinstance(content, list) else content["rows"]
    ours = {(r["variable"], r["lead"]): r for r in own if r["model"] in OURS}
    lines = [HEAD, "|---" * 8 + "|"]
    for row in rows:
        mine = ours[row["variable"], row["lead"]]
        pairs = [*_pair(mine["mae"], row["mae"]), *_pair(mine["crps"], row["crps"])]
        shares = [f"{100 * r['coverage']:.0f} %" for r in (mine, row)]
        lead = row["lead"] if isinstance(row["lead"], str) else f"{row['lead']:g}"
        lines.append("| " + " | ".join([row["variable"], lead, *pairs, *shares]) + " |")
    return "\n".join(lines)


def _benchmark(name: str, found: dict[str, Any]) -> str:
    rows = json.loads((EXPERIMENTS / "forecast_benchmark" / "results.json").read_text())
    lines = ["| | validation MSE | validation MAE |", "|---|---|---|"]
    for model, loss in (("per-variable", ""), ("per-variable [absolute loss", ", absolute loss")):
        own = [
            r["metrics"]["validation"]
            for r in rows
            if r["dataset"] == name
            and r["seed"] is not None
            and r["model"].split(",")[0].rstrip("]") == model
        ]
        if own:
            mine = [f"{statistics.mean(r[m] for r in own):.5f}" for m in ("mse", "mae")]
            seeds = "one seed" if len(own) == 1 else f"{len(own)} seeds"
            lines.append(f"| latent ODE, per variable{loss}, {seeds} | {' | '.join(mine)} |")
    for loss in ("squared", "absolute"):
        lines.append(f"| boosting, {loss} loss | {found[loss]['mse']:.5f} | {found[loss]['mae']:.5f} |")
    return "\n".join(lines)


def _pair(mine: float, other: float) -> tuple[str, str]:
    texts = f"{mine:.3g}", f"{other:.3g}"
    if mine == other:
        return texts
    return (f"**{texts[0]}**", texts[1]) if mine < other else (texts[0], f"**{texts[1]}**")
