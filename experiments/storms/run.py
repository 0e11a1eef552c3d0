"""The main job on real data: Atlantic storms, forecast by a model fitted on those before 2018.

    python experiments/storms/run.py [--smoke] [--out build/storms]

Runs `latentode demo`, writes its table as results.json and its picture as tracks.png beside this file
(with --smoke: into --out, after two epochs).
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pandas as pd

from latentode.cli.demo import run_demo

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="two epochs, figures into --out")
    parser.add_argument("--out", type=Path, default=Path("build/storms"))
    arguments = parser.parse_args()
    run_demo(arguments.out, print, verbose=not arguments.smoke, epochs=2 if arguments.smoke else 60)
    kept = arguments.out if arguments.smoke else HERE
    table = pd.read_csv(arguments.out / "metrics.csv").round(4)
    (kept / "results.json").write_text(json.dumps(table.to_dict("records"), indent=1))
    if kept is HERE:
        shutil.copy(arguments.out / "tracks.png", HERE / "tracks.png")


if __name__ == "__main__":
    main()
