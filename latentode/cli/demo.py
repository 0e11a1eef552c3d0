"""The demo: fit on Atlantic storms before 2018, forecast the later ones, score and draw it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from latentode.data.files.table_files import read_table
from latentode.data.tables.schema import Schema
from latentode.errors import LatentODEError
from latentode.estimators.forecaster import LatentODEForecaster
from latentode.evaluation.metrics import at_leads, summarise
from latentode.model.config import ModelConfig
from latentode.plotting.forecasts import plot_tracks
from latentode.training.config import TrainingConfig

__all__ = ["run_demo", "storms_path"]

FIRST_TEST_YEAR = 2018
LEADS = ("24h", "48h")
SHOWN = ("lat", "long", "wind", "pressure")
SCHEMA = Schema(
    id="id",
    time="time",
    targets=(*SHOWN, "tropicalstorm_force_diameter", "hurricane_force_diameter"),
)


def storms_path() -> Path:
    """The storms table: inside an installed package, or in the folder it was cloned into."""
    packaged = Path(str(files("latentode.cli") / "storms.csv"))
    cloned = Path(__file__).parents[2] / "datasets" / "storms" / "storms.csv"
    found = next((p for p in (packaged, cloned) if p.exists()), None)
    if found is None:
        raise LatentODEError("storms.csv is missing from this installation; reinstall latentode")
    return found


def run_demo(out: Path, say: Callable[[str], None], verbose: bool = True, epochs: int = 60) -> None:
    """Runs all of it.

    Args:
        out: folder for the model, the forecasts, the table and the picture.
        say: where progress is told.
        verbose: whether to show a progress bar.
        epochs: most epochs to train.
    """
    out.mkdir(parents=True, exist_ok=True)
    storms = read_table(storms_path(), SCHEMA)
    first = pd.to_datetime(storms.groupby("id")["time"].transform("min"))
    later = first.dt.year >= FIRST_TEST_YEAR
    train, test = storms[~later], storms[later]
    say(f"{train['id'].nunique()} storms to learn from, {test['id'].nunique()} later ones to forecast")
    say("fitting a latent state per variable, the default")
    # A day and two ahead is what is asked; chosen by the storms of 2014 to 2017.
    training = TrainingConfig(max_epochs=epochs, variance_power=0.5)
    model = LatentODEForecaster("72h", training=training, verbose=verbose)
    model.fit(train, SCHEMA, save_to=out / "model")

    history, future, asked = _halve(test)
    forecast = model.predict(history, asked)
    forecast.to_csv(out / "forecast.csv", index=False)
    say("fitting a joint latent state per storm, to compare")
    per_storm = ModelConfig(latent="joint")
    joint = LatentODEForecaster("72h", model=per_storm, training=training, verbose=verbose)
    joint.fit(train, SCHEMA)
    say("scoring every fix from every earlier one of its storm ...")
    table = _both(_score(model, test), _score(joint, test))
    table.to_csv(out / "metrics.csv")
    say(_readable(table))
    _draw(out / "tracks.png", history, future, forecast)
    say(
        f"\nforecasts  {out / 'forecast.csv'}\nmetrics    {out / 'metrics.csv'}\n"
        f"picture    {out / 'tracks.png'}\nmodel      {out / 'model'}"
    )


def _halve(test: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Each storm's first half, its second half, and off-grid times 6 to 72 hours after the first."""
    stamps = pd.to_datetime(test["time"])
    begin, end = (stamps.groupby(test["id"]).transform(how) for how in ("min", "max"))
    seen = stamps <= begin + (end - begin) / 2
    origin = stamps[seen].groupby(test["id"][seen]).max()
    ahead = pd.DataFrame({"ahead": pd.to_timedelta(np.linspace(6, 72, 13), unit="h")})
    asked = origin.rename("time").reset_index().merge(ahead, how="cross")
    asked["time"] += asked.pop("ahead")
    return test[seen], test[~seen], asked


def _score(model: LatentODEForecaster, test: pd.DataFrame) -> pd.DataFrame:
    compared = model.compare(test)
    dataset = model.read(test)
    chosen = at_leads(compared, dataset, LEADS, "30min")
    return summarise(chosen, ["lead", "variable", "model"])


def _both(table: pd.DataFrame, joint: pd.DataFrame) -> pd.DataFrame:
    """The default's table with the rows of the joint latent state after its own."""
    name = table.index.get_level_values("model")[0]
    own = joint[joint.index.get_level_values("model") == name]
    own = own.rename(index={name: f"{name}, joint"}, level="model")
    first = table.index.get_level_values("model") == name
    return pd.concat([table[first], own, table[~first]])


def _readable(table: pd.DataFrame) -> str:
    """Mean absolute errors, a line per model, and how often the 80 % interval held the truth."""
    flat = table.reset_index()
    mae = flat.pivot_table("mae", "model", ["lead", "variable"])
    columns = [(lead, v) for lead in LEADS for v in SHOWN]
    order = list(dict.fromkeys(table.index.get_level_values("model")))
    held = flat[flat["model"] == order[0]]
    coverage = held.pivot_table("coverage", "lead", "variable")[list(SHOWN)]
    shown = mae.loc[order, columns].round(2)  # type: ignore[index]
    return (
        f"\nmean absolute error (degrees, degrees, knots, hPa)\n{shown.to_string()}\n\n"
        f"share of actual values inside the 80 % interval\n{coverage.round(3).to_string()}"
    )


def _draw(path: Path, history: pd.DataFrame, future: pd.DataFrame, forecast: pd.DataFrame) -> None:
    longest = history["id"].value_counts().index[:6]
    tracks = []
    for name in longest:
        parts = [frame[frame["id"] == name] for frame in (history, future, forecast)]
        limit = parts[2]["time"].max()
        came = parts[1][pd.to_datetime(parts[1]["time"]) <= limit]
        tracks.append((str(name), parts[0], came, parts[2]))
    plot_tracks(tracks, "long", "lat").savefig(path, dpi=120)
