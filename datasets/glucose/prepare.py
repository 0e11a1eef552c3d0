"""Build glucose.csv.gz, half a year of one person's glucose monitor, from bokeh_sampledata.

    pip install --no-deps bokeh_sampledata==2026.1

Writes glucose.csv.gz beside this file and prints the figures quoted in README.md. With --check,
writes nothing and exits with status 1 if the committed file does not hold what this script builds.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import sys
from importlib.metadata import distribution
from pathlib import Path

import pandas as pd

OUTPUT = Path(__file__).with_name("glucose.csv.gz")
PACKAGE, SOURCE = "bokeh_sampledata", "bokeh_sampledata/_data/CGM.csv.gz"

# What this script was written against; anything else needs a person to look again.
SHA256 = "7adf3b557411df4791e89eb9d36e9efcaf3d3d8dd1da40e0d42173ec134d052b"
SOURCE_ROWS = 52_281


def require(condition: bool, message: str) -> None:
    """Stop with a message unless the condition holds."""
    if not condition:
        sys.exit(f"prepare.py: {message}; look at the source")


def build() -> bytes:
    """Return the text to be written: the source's own, of the expected content."""
    text = gzip.decompress(Path(str(distribution(PACKAGE).locate_file(SOURCE))).read_bytes())
    require(hashlib.sha256(text).hexdigest() == SHA256, "the source has changed")
    return text.replace(b"\r\n", b"\n")


def report(text: bytes) -> None:
    """Print the figures quoted in README.md."""
    lines = [line.split(",") for line in text.decode().splitlines()]
    table = pd.DataFrame(lines[1:], columns=pd.Index(lines[0]))
    require(len(table) == SOURCE_ROWS, f"{len(table)} rows, expected {SOURCE_ROWS}")
    time = pd.to_datetime(table["datetime"])
    gaps = time.diff().dropna() / pd.Timedelta(minutes=1)
    values = pd.to_numeric(table["glucose"])
    print(f"source: {SOURCE} of {PACKAGE} {distribution(PACKAGE).version}")
    print(f"rows: {len(table)}, from {time.min()} to {time.max()}")
    print(f"gaps of 5 min: {int((gaps == 5).sum())}, others: {int((gaps != 5).sum())}, of these")
    print(f"  shorter: {int((gaps < 5).sum())}, {int((gaps == 0).sum())} of them 0: a repeated stamp")
    silent = gaps[gaps > 5]
    print(f"  longer: {len(silent)}, median {silent.median():g} min")
    hours = (silent[silent >= 60] / 60).round(1)
    print(f"  of an hour and more: {len(hours)}, longest {hours.max():g} h")
    print(f"glucose: {values.min():g} to {values.max():g} mg/dL, mean {values.mean():.1f}")
    for limit in (40, 400):
        print(f"  exactly {limit}: {int((values == limit).sum())}")
    print(f"  within 70 to 180: {values.between(70, 180).mean():.0%}")


def main() -> int:
    """Build the file, or compare it with the committed one."""
    parser = argparse.ArgumentParser(description="Build glucose.csv.gz from bokeh_sampledata.")
    parser.add_argument("--check", action="store_true", help="compare glucose.csv.gz, write nothing")
    check = parser.parse_args().check
    text = build()
    if check:
        same = OUTPUT.exists() and gzip.decompress(OUTPUT.read_bytes()) == text
        print(f"{OUTPUT.name}", "is up to date" if same else "differs from what prepare.py builds")
        return 0 if same else 1
    OUTPUT.write_bytes(gzip.compress(text, 9, mtime=0))
    report(text)
    print(f"wrote {OUTPUT.name}: {OUTPUT.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
