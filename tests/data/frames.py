"""Small tables that the data tests share."""

import numpy as np
import pandas as pd


def wide(n_series=3, n_rows=5, seed=0, unit="h"):
    """Asynchronous wide table: two variables, some cells and one whole row without a value."""
    random = np.random.default_rng(seed)
    ids = np.repeat([f"s{i}" for i in range(n_series)], n_rows)
    minutes = np.concatenate(
        [np.sort(random.choice(1000, n_rows, replace=False)) for _ in range(n_series)]
    )
    time = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(minutes, unit="min")
    frame = pd.DataFrame({"id": ids, "time": time})
    frame["a"], frame["b"] = random.normal(size=(2, len(frame)))
    frame.loc[random.random(len(frame)) < 0.3, "a"] = np.nan
    frame.loc[frame.index[1], ["a", "b"]] = np.nan
    return frame


def numeric(times, values=None, **columns):
    """One series with numbers for times."""
    values = np.arange(float(len(times))) if values is None else values
    return pd.DataFrame({"id": "s", "time": times, "x": values, **columns})


def melted(frame):
    """The long form of a wide table with `id` and `time`."""
    return frame.melt(["id", "time"]).dropna(ignore_index=True)
