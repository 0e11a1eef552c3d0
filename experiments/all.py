"""Runs every experiment and rebuilds the table of experiments/README.md from their results.json.

    python experiments/all.py [NAME ...] [--table]

One after the other, each in its full size; what needs $LATENTODE_DATA is left out, with a word, where
that is not set. Of `forecast_benchmark`, whose models train for hours, the baselines are run. --table
only rebuilds the table.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from figures import table

HERE = Path(__file__).parent
NAMES = sorted(p.parent.name for p in HERE.glob("*/run.py"))
BENCHMARK = ["physionet2012", "p12_hourly", "LEN01", "LI01", "DUP03"]
NEED_DATA = {"forecast_benchmark"}
BEGIN, END = "<!-- figures: made by all.py -->\n", "\n<!-- end of figures -->"


def run(name: str) -> bool:
    """Whether the experiment ran to its end; what it prints is shown."""
    if name in NEED_DATA and "LATENTODE_DATA" not in os.environ:
        print(f"== {name}: left out, LATENTODE_DATA is not set", flush=True)
        return True
    print(f"== {name}", flush=True)
    begin = time.monotonic()
    options = BENCHMARK if name == "forecast_benchmark" else []
    done = subprocess.run([sys.executable, str(HERE / name / "run.py"), *options], check=False)
    minutes = (time.monotonic() - begin) / 60
    print(f"== {name}: {'done' if done.returncode == 0 else 'FAILED'}, {minutes:.1f} min", flush=True)
    return done.returncode == 0


def rebuild(readme: Path) -> None:
    """Puts the table between its two marks."""
    text = readme.read_text()
    marks = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    readme.write_text(marks.sub(lambda _: BEGIN + table(HERE) + END, text))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all if none")
    parser.add_argument("--table", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(NAMES))
    if unknown:
        parser.error(f"{unknown[0]} is no experiment; choose from {', '.join(NAMES)}")
    failed = [] if arguments.table else [n for n in arguments.names or NAMES if not run(n)]
    rebuild(HERE / "README.md")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
