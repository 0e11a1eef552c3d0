"""Oil by the day beside core prices by the month: what can be forecast of a price, and what cannot.

    python experiments/wti_cpi/run.py [--smoke] [--out FOLDER]

Logarithms of daily WTI and monthly core CPI (datasets/wti_cpi), each value at the time at which it was
known. Models are fitted on what came before 2011 and stopped by windows of 2011 and 2012, on which
settings were chosen too; then, unchanged, they forecast 1 to 20 trading days ahead from every Thursday
of 2013 to 2018. With the package arch (`pip install --no-deps arch==8.0.0`) the same for the S&P 500
and the VIX, forecast through 2017 and 2018.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from latentode import ModelConfig, Schema, TrainingConfig
from latentode.adapters import finance
from latentode.forecast.calibration import Calibration

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from classical.gaussian_process import GaussianProcess  # noqa: E402
from rolling import LEVELS, backtests, draw, latent_odes, quiet, readable, save, table  # noqa: E402

DATA = HERE.parents[1] / "datasets" / "wti_cpi"
HORIZON = "28D"  # 20 trading days
LEADS = (1.0, 7.0, 14.0, 28.0)  # days: of 1, 5, 10 and 20 trading days
DAY = pd.Timedelta("1D")
CPI_KNOWN_AFTER = "45D"  # the first of a month to the middle of the next one
DECAY = 0.94  # of RiskMetrics, per trading day
TRADING_DAYS = 5 / 7  # a day
MODEL = ModelConfig(
    latent_size=4,
    hidden_size=16,
    encoder_size=16,
    embedding_size=4,
    attention_layers=1,
    likelihood="student-t",
)
TRAINING = TrainingConfig(max_epochs=14, lr=2e-3)
YEARS = ("2011-01-01", "2013-01-01", "2018-12-31")  # starts of validation, of the test, and its end
RECALIBRATED = "latent ODE, per variable, recalibrated"


def oil_and_prices() -> tuple[pd.DataFrame, Schema]:
    """Logarithms of WTI and core CPI at the times at which they were known, as one series."""
    cpi = pd.read_csv(DATA / "CPILFESL.csv")
    sources = {"oil": DATA / "DCOILWTICO.csv", "cpi": cpi[cpi["observation_date"] >= "1985-06"]}
    known = {"DCOILWTICO": "1D", "CPILFESL": CPI_KNOWN_AFTER}
    return _logarithms(*finance.macro(sources, available_at=known))


def indices() -> tuple[pd.DataFrame, Schema]:
    """Logarithms of the S&P 500's and the VIX's closes, read from the installed package arch.

    Raises:
        ModuleNotFoundError: if it is not installed.
    """
    found = find_spec("arch")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("no package arch: pip install --no-deps arch==8.0.0")
    folder = Path(found.submodule_search_locations[0]) / "data"
    sources = {}
    for name, column in (("sp500", "Close"), ("vix", "vix")):
        read = pd.read_csv(folder / name / f"{name}.csv.gz")
        dates = pd.to_datetime(read["Date"], format="%m/%d/%Y").dt.strftime("%Y-%m-%d")
        sources[name] = pd.DataFrame({"observation_date": dates, name: read[column]})
    return _logarithms(*finance.macro(sources, available_at="1D"))


def _logarithms(frame: pd.DataFrame, schema: Schema) -> tuple[pd.DataFrame, Schema]:
    frame, schema = finance.log_prices(frame, schema)
    return frame.assign(id="market"), replace(schema, id="id", cycles=())


def windows(frame: pd.DataFrame, cutoffs: pd.DatetimeIndex) -> pd.DataFrame:
    """A series per cutoff: what was there by then of ten horizons, and the horizon after it."""
    ahead = pd.Timedelta(HORIZON)
    parts = [
        frame[frame["time"].between(c - 10 * ahead, c + ahead)].assign(id=str(c.date()))
        for c in cutoffs
    ]
    return pd.concat(parts, ignore_index=True)


def moving_volatility(frame: pd.DataFrame, asked: pd.DataFrame, variable: str) -> pd.DataFrame:
    """The random walk whose variance is the exponentially weighted one of daily changes (RiskMetrics).

    Args:
        frame: all observations.
        asked: a backtest, of which the `variable`'s rows are answered.
        variable: of which.
    """
    own = frame[frame["variable"] == variable].set_index("time")["value"].sort_index()
    variance = own.diff().pow(2).ewm(alpha=1 - DECAY).mean()
    asked = asked[asked["variable"] == variable]
    place = own.index.searchsorted(pd.DatetimeIndex(asked["origin"]), "right") - 1
    mean = own.to_numpy()[place]
    std = np.sqrt(variance.to_numpy()[place] * np.maximum(1.0, asked["lead"] * TRADING_DAYS))
    quantiles = {f"q{q:g}": mean + std * special.ndtri(q) for q in LEVELS}
    return asked.assign(mean=mean, std=std, **quantiles, model="random walk, moving volatility")


def recalibrated(past: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """The forecasts of each year, recalibrated by those that had come true before it began."""
    every, made = pd.concat([past, test], ignore_index=True), []
    for year, part in test.groupby(test["origin"].dt.year):
        before = every[every["time"] < pd.Timestamp(year=int(year), month=1, day=1)]  # type: ignore[call-overload]
        made.append(Calibration.of_quantiles(before, bins=4).apply(part))
    return pd.concat(made, ignore_index=True)


def by_year(frame: pd.DataFrame, variable: str, model: str) -> dict[str, float]:
    """The share inside the 80 % interval, by year of the cutoff, all lead times together."""
    own = frame[(frame["variable"] == variable) & (frame["model"] == model)]
    inside = own["actual"].between(own["q0.1"], own["q0.9"])
    return {str(y): float(x) for y, x in inside.groupby(own["origin"].dt.year).mean().items()}


def altogether(found: pd.DataFrame, variable: str) -> dict[str, float]:
    """All lead times together: MAE over that of the last value, and the share inside the 80 % interval.

    Args:
        found: of `table`.
        variable: of which.
    """
    own = found[found["variable"] == variable]
    weighted = own[["mae", "coverage"]].mul(own["n"], axis=0).groupby(own["model"]).sum()
    mean = weighted.div(own.groupby("model")["n"].sum(), axis=0)
    last = mean.loc["last value", "mae"]
    over = {f"{variable}: MAE over the last value's: {m}": x / last for m, x in mean["mae"].items()}
    inside = {f"{variable}: 80 % interval covers: {m}": x for m, x in mean["coverage"].items()}
    return {name: float(x) for name, x in {**over, **inside}.items()}


def study(
    frame: pd.DataFrame,
    schema: Schema,
    prices: tuple[str, ...],
    years: tuple[str, str, str],
    training: TrainingConfig = TRAINING,
) -> pd.DataFrame:
    """Every model's and baseline's forecasts of the test years.

    Args:
        frame: of which everything is known.
        schema: of it.
        prices: variables for which the walk of moving volatility is answered too.
        years: starts of validation, of the test, and its end.
        training: how the latent ODEs are trained.
    """
    stop, begin, end = (pd.Timestamp(y) for y in years)
    horizon = pd.Timedelta(HORIZON)
    held_out = pd.date_range(stop, begin - horizon, freq="W-THU")
    train, known = frame[frame["time"] < stop], frame[frame["time"] < begin]
    checked = windows(known, held_out[::2])
    models = latent_odes(train, schema, HORIZON, MODEL, training, checked)
    cutoffs = list(pd.date_range(begin, end - horizon, freq="W-THU"))
    found = backtests(models, known, frame, cutoffs, HORIZON, GaussianProcess(window=60))
    name = next(iter(models))
    past = models[name].backtest(known, HORIZON, LEVELS, cutoffs=list(held_out))
    own = found[found["model"] == name]
    more = [moving_volatility(frame, own, v) for v in prices]
    again = recalibrated(past, own).assign(model=RECALIBRATED)
    return pd.concat([found, again, *more], ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one epoch, few years")
    parser.add_argument("--out", type=Path, help="folder for results.json and pictures")
    arguments = parser.parse_args()
    out = arguments.out or (Path("build/wti_cpi") if arguments.smoke else HERE)
    quiet()
    frame, schema = oil_and_prices()
    years, training = YEARS, TRAINING
    if arguments.smoke:
        frame = frame[frame["time"].between("2010-01-01", "2013-05-01")]
        years = ("2012-01-01", "2013-01-01", "2013-05-01")
        training = TRAINING.replace(max_epochs=1)
    forecasts = study(frame, schema, ("DCOILWTICO",), years, training)
    found = table(forecasts, LEADS)
    besides: dict[str, Any] = {
        f"80 % interval of WTI covers, by year: {model}": by_year(forecasts, "DCOILWTICO", model)
        for model in found["model"].unique()
    }
    besides |= altogether(found, "DCOILWTICO")
    print(readable(found), "\n")
    if find_spec("arch") is None:
        print("S&P 500 and VIX are left out: pip install --no-deps arch==8.0.0")
    elif not arguments.smoke:
        own = ("2016-01-01", "2017-01-01", "2018-12-31")
        rows = table(study(*indices(), ("sp500", "vix"), own), LEADS)
        besides |= {
            "indices": rows.to_dict("records"),
            **altogether(rows, "sp500"),
            **altogether(rows, "vix"),
        }
        print(readable(rows))
    save(out, found, **besides)
    draw(out / "crps.png", found, "days")


if __name__ == "__main__":
    main()
