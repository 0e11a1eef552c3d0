"""An irregular, asynchronous table: forecasts from it as it is, beside those from a grid.

    python experiments/asynchronous/run.py [--smoke] [--out FOLDER]

Simulated: two variables that swing with a period of each series' own, one a quarter behind the other.
The first is read in bursts with hours between them, the second now and then at other times. What is
asked is the first, up to six hours ahead, at times that lie on no grid. Gridded forecasters see means
of an hour, or of a quarter of one, carried forward where nothing was read: what a table must be turned
into before most packages take it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

from latentode import LatentODEForecaster, Schema, TrainingConfig

HERE = Path(__file__).parent
SPAN, HORIZON, HISTORY = 72.0, 6.0, 24.0  # hours
GRIDS = {"1 h": 1.0, "15 min": 0.25}
NOISE = 0.15
TRAINING = TrainingConfig(max_epochs=20, windows_per_epoch=400)
SCHEMA = Schema(id="series", time="hour", targets=("x", "y"), cycles="none")


def simulated(n: int, seed: int) -> pd.DataFrame:
    """Series of bursts of four readings of x, ten minutes apart, and single readings of y."""
    rng = np.random.default_rng(seed)
    tables = []
    for i in range(n):
        period, phase = rng.uniform(5, 9), rng.uniform(0, 2 * np.pi)
        starts = np.cumsum(rng.exponential(2.6, 60) + 0.8)
        bursts = (starts[:, None] + np.arange(4) / 6).ravel()
        times = {"x": bursts, "y": np.cumsum(rng.exponential(1.6, 100) + 0.05)}
        for name, shift in (("x", 0.0), ("y", np.pi / 2)):
            at = times[name][times[name] < SPAN].round(3)
            value = np.sin(2 * np.pi * at / period + phase - shift) + NOISE * rng.normal(size=len(at))
            tables.append(pd.DataFrame({"series": f"s{i:03}", "hour": at, name: value}))
    table = pd.concat(tables, ignore_index=True)
    return table.groupby(["series", "hour"], as_index=False, sort=True).first()


def origins_of(table: pd.DataFrame, n: int) -> pd.DataFrame:
    """`n` times of each series at which a burst of x has just ended, and what of x came after."""
    rows = []
    for name, own in table.dropna(subset="x").groupby("series"):
        hours, values = own["hour"].to_numpy(), own["x"].to_numpy()
        ends = hours[:-1][np.diff(hours) > 0.5]
        ends = ends[(ends > HISTORY) & (ends < SPAN - HORIZON)]
        for origin in ends[np.unique(np.linspace(0, len(ends) - 1, n).astype(int))]:
            ahead = (hours > origin) & (hours <= origin + HORIZON)
            rows.append(pd.DataFrame({"series": name, "origin": origin, "hour": hours[ahead],
                                      "actual": values[ahead]}))  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def gridded(own: pd.DataFrame, width: float, until: float) -> np.ndarray:
    """Means of both variables in cells of `width` hours up to a time, carried forward, `(cells, 2)`."""
    seen = own[own["hour"] <= until]
    cells = np.ceil(np.round((until - seen["hour"]) / width, 9)).astype(int)  # 0 holds the time itself
    means = seen.groupby(np.maximum(cells, 1))[["x", "y"]].mean()
    count = round(HISTORY / width)
    backwards = means.reindex(range(1, count + 1))
    return backwards.iloc[::-1].ffill().fillna(0.0).to_numpy()


class GriddedBoosting:
    """Gradient boosting on the last cells of a grid, a model per hour ahead, told the lead time."""

    def __init__(self, width: float) -> None:
        self.width = width

    def _features(self, table: pd.DataFrame, asked: pd.DataFrame) -> np.ndarray:
        series = dict(list(table.groupby("series")))
        pairs = asked[["series", "origin"]].drop_duplicates()
        made = {
            (name, origin): gridded(series[name], self.width, origin).ravel()
            for name, origin in pairs.itertuples(index=False)
        }
        return np.stack(
            [made[key] for key in asked[["series", "origin"]].itertuples(index=False, name=None)]
        )

    def fit(self, table: pd.DataFrame, asked: pd.DataFrame) -> GriddedBoosting:
        """Learns from what came after origins of the training table."""
        self.models = {}
        for h, (mine, inputs) in self._by_hour(table, asked).items():
            model = HistGradientBoostingRegressor(max_iter=120, random_state=0)
            self.models[h] = model.fit(inputs, asked["actual"].to_numpy()[mine])
        return self

    def predict(self, table: pd.DataFrame, asked: pd.DataFrame) -> np.ndarray:
        """Forecasts at the times that are asked for."""
        found = np.empty(len(asked))
        for h, (mine, inputs) in self._by_hour(table, asked).items():
            found[mine] = self.models[h].predict(inputs)
        return found

    def _by_hour(
        self, table: pd.DataFrame, asked: pd.DataFrame
    ) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """For each hour ahead, which questions lie in it and what is known of them."""
        features = self._features(table, asked)
        lead = (asked["hour"] - asked["origin"]).to_numpy()
        hour = np.clip(np.ceil(np.round(lead, 9)).astype(int), 1, round(HORIZON))
        inputs = np.column_stack([features, lead])
        return {int(h): (hour == h, inputs[hour == h]) for h in np.unique(hour)}


def by_origin(model: LatentODEForecaster, table: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """Our forecasts of x from what had been seen by each origin."""
    series, parts = dict(list(table.groupby("series"))), []
    for (name, origin), own in asked.groupby(["series", "origin"], sort=False):
        seen = series[name][series[name]["hour"] <= origin]
        made = model.predict(seen, at=own[["series", "hour"]], level=80, variables=["x"])
        parts.append(made[["mean", "q0.1", "q0.9"]].set_index(own.index))
    return pd.concat(parts).loc[asked.index]


def typical(asked: pd.DataFrame, error: pd.Series) -> tuple[str, float]:
    """The series and origin whose mean error is the median of those with the most that came true."""
    groups = error.groupby([asked["series"], asked["origin"]]).agg(["mean", "size"])
    full = groups[groups["size"] >= groups["size"].quantile(0.8)].sort_values("mean")
    name, origin = full.index[len(full) // 2]
    return str(name), float(origin)


def draw(file: Path, table: pd.DataFrame, made: dict[str, pd.DataFrame]) -> None:
    """One series: what was read, what each sees of it, and its forecast."""
    from latentode.plotting.canvas import ACTUAL, HELD_OUT, OWN, finish, panels

    figure, grid = panels(2, height=2.3, sharex=True, sharey=True)
    one, origin = made["asked"], float(made["asked"]["origin"].iloc[0])
    seen = table[(table["hour"] <= origin) & (table["hour"] > origin - HISTORY)]
    for axes in grid[:, 0]:
        axes.axvline(origin, color="0.35", linestyle="--", linewidth=1)
        axes.plot(one["hour"], one["actual"], "o", mfc="white", mec=HELD_OUT, ms=5, label="came true")
        axes.set_ylabel("x")
    top, below = grid[:, 0]
    ours = made["ours"]
    top.fill_between(
        ours["hour"], ours["q0.1"], ours["q0.9"], color=OWN, alpha=0.25, label="80 % interval"
    )
    top.plot(ours["hour"], ours["mean"], color=OWN, label="forecast")
    top.plot(seen["hour"], seen["x"], ".", color=ACTUAL, ms=5, label="x, as it was read")
    top.plot(seen["hour"], seen["y"], "x", color="0.55", ms=4, label="y, at other times")
    top.set_title("latentode: the table as it is", loc="left", fontsize="medium")
    cells = gridded(table, 1.0, origin)[:, 0]
    edges = origin - HISTORY + np.arange(len(cells) + 1)
    below.stairs(cells, edges, color=ACTUAL, baseline=None, label="x on a grid of 1 h, carried forward")
    grids = made["gridded"]
    below.plot(
        grids["hour"], grids["mean"], color="#E69F00", linestyle="-.", linewidth=2, label="forecast"
    )
    below.set_title("gradient boosting: the same table on a grid", loc="left", fontsize="medium")
    below.set_xlabel("hour")
    for axes in (top, below):
        axes.legend(fontsize="x-small", ncols=5, loc="lower left")
        axes.set_ylim(-2.2, 1.6)
    finish(figure).savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few series, an epoch")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/asynchronous")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/asynchronous") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    n, held_out, each = (8, 2, 2) if arguments.smoke else (160, 40, 8)
    training = TRAINING.replace(max_epochs=1, windows_per_epoch=32) if arguments.smoke else TRAINING
    train, test = simulated(n, seed=0), simulated(held_out, seed=1)
    learnt, asked = origins_of(train, 30), origins_of(test, each)
    model = LatentODEForecaster(HORIZON, HISTORY, training=training, verbose=False).fit(train, SCHEMA)
    ours = by_origin(model, test, asked)
    errors = {"latent ODE": np.abs(ours["mean"] - asked["actual"]).mean()}
    grids = {}
    for name, width in GRIDS.items():
        grids[name] = GriddedBoosting(width).fit(train, learnt)
        errors[f"boosting on a grid of {name}"] = np.abs(
            grids[name].predict(test, asked) - asked["actual"]
        ).mean()
    seen = test.dropna(subset="x").groupby("series")
    last = asked.apply(
        lambda r: seen.get_group(r["series"]).query("hour <= @r.origin")["x"].iloc[-1], axis=1
    )
    errors["last value"] = np.abs(last - asked["actual"]).mean()
    errors["mean"] = np.abs(asked["actual"]).mean()
    inside = asked["actual"].between(ours["q0.1"], ours["q0.9"]).mean()
    results = {
        "MAE": {name: float(e) for name, e in errors.items()},
        "noise alone": NOISE * float(np.sqrt(2 / np.pi)),
        "inside 80 %": float(inside),
        "values": len(asked),
    }
    print(json.dumps(results, indent=1))
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    name, origin = typical(asked, np.abs(grids["1 h"].predict(test, asked) - asked["actual"]))
    one = asked[(asked["series"] == name) & (asked["origin"] == origin)]
    own = test[test["series"] == name]
    fine = pd.DataFrame(
        {"series": name, "origin": origin, "hour": origin + np.arange(0.05, HORIZON, 0.05)}
    )
    curve = model.predict(
        own[own["hour"] <= origin], at=fine[["series", "hour"]], level=80, variables=["x"]
    )
    gridded_curve = fine.assign(mean=grids["1 h"].predict(test, fine))
    draw(folder / "asynchronous.png", own, {"asked": one, "ours": curve, "gridded": gridded_curve})


if __name__ == "__main__":
    main()
