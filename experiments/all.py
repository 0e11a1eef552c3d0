"""Runs every experiment and rebuilds the table of experiments/README.md from their results.json.

    python experiments/all.py [NAME ...] [--jobs 2] [--table]

Each in its full size; those that measure time run one after the other, then the others, two at a time,
a thread each. What they print lies in build/experiments/NAME.log. What needs $LATENTODE_DATA is left
out, with a word, where that is not set. Of `forecast_benchmark`, whose models train for hours, the
baselines are run. --table only rebuilds the table.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from figures import table

HERE = Path(__file__).parent
LOGS = Path("build/experiments")
NAMES = sorted(p.parent.name for p in HERE.glob("*/run.py"))
BENCHMARK = ["physionet2012", "p12_hourly", "LEN01", "LI01", "DUP03"]
NEED_DATA = {"calibration", "forecast_benchmark", "mortality"}
TIMED = {"first_look", "gpu", "memory", "serving", "solver_choice", "solver_speed", "training_step"}
BEGIN, END = "<!-- figures: made by all.py -->\n", "\n<!-- end of figures -->"


def run(name: str) -> bool:
    """Whether the experiment ran to its end."""
    if name in NEED_DATA and "LATENTODE_DATA" not in os.environ:
        print(f"{name}: left out, LATENTODE_DATA is not set", flush=True)
        return True
    options = BENCHMARK if name == "forecast_benchmark" else []
    command = [sys.executable, str(HERE / name / "run.py"), *options]
    begin = time.monotonic()
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / f"{name}.log").open("w") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"} if name not in TIMED else None
        done = subprocess.run(command, stdout=log, stderr=log, env=environment, check=False)
    minutes = (time.monotonic() - begin) / 60
    said = "done" if done.returncode == 0 else f"FAILED, see {log.name}"
    print(f"{name}: {said} ({minutes:.1f} min)", flush=True)
    return done.returncode == 0


def run_all(names: list[str], jobs: int) -> list[str]:
    """Those that failed."""
    alone = [n for n in names if n in TIMED]
    together = [n for n in names if n not in TIMED]
    passed = {n: run(n) for n in alone}
    with ThreadPoolExecutor(jobs) as pool:
        passed |= dict(zip(together, pool.map(run, together), strict=True))
    return [n for n, well in passed.items() if not well]


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
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time that measure no time")
    parser.add_argument("--table", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(NAMES))
    if unknown:
        parser.error(f"{unknown[0]} is no experiment; choose from {', '.join(NAMES)}")
    failed = [] if arguments.table else run_all(arguments.names or NAMES, arguments.jobs)
    rebuild(HERE / "README.md")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
