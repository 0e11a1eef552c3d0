"""The table: rows on disk, each written as soon as there is one, and how to show them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["merge", "show"]

KEY = ("dataset", "model", "seed", "fold", "smoke")


def merge(path: Path, row: dict[str, Any], keep: tuple[str, ...] = ()) -> None:
    """Puts a row in the place of an earlier one of the same data set, model, seed and fold.

    Args:
        path: of the file of rows.
        row: the new one.
        keep: what stays of the earlier one, such as the cost of a training that is not done again.
    """
    rows = json.loads(path.read_text()) if path.exists() else []
    kept = [r for r in rows if any(r.get(k) != row.get(k) for k in KEY)]
    before = next((r for r in rows if all(r.get(k) == row.get(k) for k in KEY)), {})
    row = {**row, **{name: before[name] for name in keep if name in before}}
    kept = sorted([*kept, row], key=lambda r: [str(r.get(k)) for k in KEY])
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(kept, indent=1) + "\n")
    new.replace(path)


def show(path: Path, dataset: str) -> str:
    """The rows of a data set as a Markdown table, mean and standard deviation over seeds and folds."""
    rows = json.loads(path.read_text()) if path.exists() else []
    rows = [r for r in rows if r["dataset"] == dataset]
    if not rows:
        return f"no results for {dataset} yet"
    table = pd.DataFrame([{**r, **_flat(r)} for r in rows])
    columns = list(dict.fromkeys(c for r in rows for c in _flat(r)))
    lines = ["| | runs | parameters | CPU min | " + " | ".join(columns) + " |"]
    lines.append("|---" * (4 + len(columns)) + "|")
    for model, group in sorted(table.groupby("model"), key=lambda g: g[1][columns[0]].mean()):
        size = group["parameters"].iloc[0]
        cells = [str(model), str(len(group)), f"{size:,}", f"{group['cpu_minutes'].mean():.1f}"]
        cells += [_spread(group[c]) for c in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _flat(row: dict[str, Any]) -> dict[str, float]:
    found = {f"{part} {name}": v for part, m in row["metrics"].items() for name, v in m.items()}
    return dict(sorted(found.items(), key=lambda item: item[0].split()[0] != "validation"))


def _spread(values: pd.Series) -> str:
    values = values.dropna()
    if len(values) < 2:
        return f"{values.mean():.5f}"
    return f"{values.mean():.5f} ± {values.std():.5f}"
