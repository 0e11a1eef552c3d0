"""How many forecasts a second a server answers, and how long each takes.

python load_test.py history.csv --url http://127.0.0.1:8000/forecast --requests 400 --clients 4
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pandas as pd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("history", type=Path, help="a table of one series")
    parser.add_argument("--url", default="http://127.0.0.1:8000/forecast")
    parser.add_argument("--at", default="24h")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--clients", type=int, default=4)
    arguments = parser.parse_args()
    rows = json.loads(pd.read_csv(arguments.history).to_json(orient="records"))
    body = json.dumps({"history": rows, "at": arguments.at, "count": 4}).encode()

    def ask(_: int) -> float:
        begin = time.perf_counter()
        request = Request(arguments.url, body, {"Content-Type": "application/json"})
        with urlopen(request) as answer:
            assert json.loads(answer.read())
        return 1e3 * (time.perf_counter() - begin)

    ask(0)
    begin = time.perf_counter()
    with ThreadPoolExecutor(arguments.clients) as clients:
        taken = list(clients.map(ask, range(arguments.requests)))
    rate = arguments.requests / (time.perf_counter() - begin)
    middle, late = np.quantile(taken, [0.5, 0.99])
    print(f"{rate:.1f} forecasts a second; {middle:.1f} ms in the median, {late:.1f} ms in 99 of 100")


if __name__ == "__main__":
    main()
