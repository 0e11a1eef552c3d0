"""Build DCOILWTICO.csv and CPILFESL.csv, daily oil and monthly core prices, from the package arch.

Writes both beside this file, in the layout of FRED's downloads, and prints the figures quoted in
README.md. With --check, writes nothing and exits with status 1 if a committed file is not what this
script builds.

    pip install --no-deps arch==8.0.0
    python datasets/wti_cpi/prepare.py
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
# Series: its file within arch/data, its rows, and how many of them hold no value.
SOURCES = {
    "DCOILWTICO": ("wti/wti.csv.gz", 8_611, 290),
    "CPILFESL": ("core_cpi/core-cpi.csv.gz", 743, 0),
}


def require(condition: bool, message: str) -> None:
    """Stop with a message unless the condition holds."""
    if not condition:
        sys.exit(f"prepare.py: {message}")


def source_folder() -> Path:
    """Where the installed package keeps its data; the package itself is not imported."""
    found = find_spec("arch")
    if found is None or not found.submodule_search_locations:
        sys.exit("prepare.py: the package arch is not installed: pip install --no-deps arch==8.0.0")
    return Path(found.submodule_search_locations[0]) / "data"


def read(series: str) -> pd.DataFrame:
    """One series: its dates as FRED writes them now, its values as they are written."""
    name, rows, empty = SOURCES[series]
    table = pd.read_csv(source_folder() / name, dtype=str, keep_default_na=False)
    require(list(table.columns) == ["Date", series], f"{name} has other columns than before")
    require(len(table) == rows, f"{series}: found {len(table)} rows, expected {rows}; look again")
    found = int((table[series] == ".").sum())
    require(found == empty, f"{series}: found {found} rows without a value, expected {empty}")
    dates = pd.to_datetime(table.pop("Date"), format="%m/%d/%Y")
    require(bool(dates.is_monotonic_increasing and dates.is_unique), f"{series}: dates out of order")
    table.insert(0, "observation_date", dates.dt.strftime("%Y-%m-%d"))
    return table


def report(series: str, table: pd.DataFrame) -> None:
    """Print the figures quoted in README.md."""
    dates = pd.to_datetime(table["observation_date"])
    value = pd.to_numeric(table[series], errors="coerce")
    there = dates[value.notna()]
    gaps = there.diff().dropna().dt.days
    print(f"{series}: {len(table)} rows, {value.notna().sum()} values, {dates.min()} to {dates.max()}")
    print(f"  range {value.min():g} (on {dates[value.idxmin()]}) to {value.max():g}")
    shares = gaps.value_counts(normalize=True).sort_index()
    print("  days between values:", ", ".join(f"{d}: {s:.1%}" for d, s in shares.items()))


def main() -> int:
    """Build both files and write them, or compare them with the committed ones."""
    parser = argparse.ArgumentParser(description="Build the two files from the package arch.")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check, same = parser.parse_args().check, True
    for series in SOURCES:
        table, file = read(series), HERE / f"{series}.csv"
        text = table.to_csv(index=False, lineterminator="\n")
        if check:
            alike = file.exists() and file.read_bytes() == text.encode()
            print(f"{file.name}", "is up to date" if alike else "differs from what prepare.py builds")
            same = same and alike
        else:
            file.write_bytes(text.encode())
            report(series, table)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
