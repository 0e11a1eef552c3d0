"""Makes the models that a release leaves for later ones to load: `python tests/saved/make.py`.

Run once, before a release; what an earlier release made is never made again.
"""

from pathlib import Path

import numpy as np
import pandas as pd

import latentode
from latentode import (
    LatentODEClassifier,
    LatentODEForecaster,
    ModelConfig,
    Schema,
    TrainingConfig,
)

HERE = Path(__file__).parent
SMALL = ModelConfig(
    latent_size=2, hidden_size=4, embedding_size=2, attention_heads=1, attention_layers=1, harmonics=1
)
ONCE = TrainingConfig(max_epochs=1, windows_per_epoch=32)
ASKED = ["2024-03-03T10:30", "2024-03-06T09:00", "2024-03-08T21:15"]


def table(n_series: int = 12, rows: int = 40, seed: int = 0) -> pd.DataFrame:
    """Vital signs of patients at irregular times, with a dose that is known ahead and their age."""
    rng = np.random.default_rng(seed)
    parts = []
    for name in range(n_series):
        hours = np.sort(rng.choice(24 * 5 * 4, rows, replace=False)) / 4
        wave = np.sin(2 * np.pi * hours / 24)
        part = {"id": f"p{name}", "time": pd.Timestamp("2024-03-01") + pd.to_timedelta(hours, unit="h")}
        part |= {"hr": 80 + 9 * wave + rng.normal(0, 2, rows), "lac": np.exp(rng.normal(0, 0.4, rows))}
        part |= {"dose": (hours > 40) * 1.0, "age": 40.0 + name, "ward": "AB"[name % 2]}
        parts.append(pd.DataFrame(part))
    frame = pd.concat(parts, ignore_index=True)
    frame["lac"] = frame["lac"].where(rng.random(len(frame)) < 0.6)
    return frame.round(3)


def main() -> None:
    """Writes models, the table and their answers into a folder named as the release."""
    folder = HERE / latentode.__version__
    frame = table()
    schema = Schema(
        static_covariates=("age", "ward"),
        known_future=("dose",),
        cycles=("24h",),
        transforms={"lac": "log"},
        time_unit="h",
    )
    model = LatentODEForecaster("12h", "36h", SMALL, ONCE, verbose=False).fit(frame, schema)
    model.calibrate(table(seed=1), bins=2)
    model.save(folder)
    history = frame.groupby("id").head(25).reset_index(drop=True)
    history.to_csv(folder / "history.csv", index=False)
    model.predict(history, ASKED).to_csv(folder / "forecasts.csv", index=False)
    labels = pd.Series([f"{n % 2}" for n in range(12)], index=[f"p{n}" for n in range(12)])
    classes = LatentODEClassifier(None, SMALL, ONCE, verbose=False)
    classes.fit(frame[["id", "time", "hr", "lac"]], labels)
    classes.save(folder)
    classes.predict_proba(history).to_csv(folder / "classes.csv")


if __name__ == "__main__":
    main()
