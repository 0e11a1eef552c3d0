"""README: the code on files of a field runs on small files in their formats."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from latentode import LatentODEForecaster, Schema

README = Path(__file__).parent.parent / "README.md"
QUICK = "forecaster(max_epochs=1, hidden_size=8, latent_size=4, verbose=False, "


def blocks():
    """The python blocks of the section on files, by the adapters that they import."""
    section = README.read_text().split("## Files of your field")[1].split("\n## ")[0]
    found = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    return {re.search(r"adapters import (\w+)", code)[1]: code for code in found}


def weather(folder):
    stamps = pd.date_range("2024-11-02 00:51", periods=48, freq="h", tz="America/New_York")
    lines = [
        f"JFK,{t:%Y-%m-%d %H:%M},{50 + 5 * np.sin(i / 4):.1f},{'T' if i % 9 == 0 else 'M'}"
        for i, t in enumerate(stamps)
    ]
    (folder / "metars.csv").write_text("#DEBUG:\nstation,valid,tmpf,p01i\n" + "\n".join(lines) + "\n")
    track = "AL092011, IRENE, 1,\n20110828, 0935, L, TS, 39.4N, 74.4W, 60, 959,\n"
    (folder / "hurdat2.txt").write_text(track)
    heads = {"TMAX": "   83  W", "PRCP": "    3T W"}
    daily = [f"USW00094728202402{e}{s}" + "-9999   " * 30 for e, s in heads.items()]
    (folder / "USW00094728.dly").write_text("\n".join(daily) + "\n")


def finance(folder):
    days = pd.bdate_range("2024-01-01", periods=40)
    for name, level in (("spx", 4700), ("nky", 33000)):
        prices = level * np.exp(np.cumsum(np.random.default_rng(level).normal(0, 0.01, 40)))
        pd.DataFrame({"Date": days, "Close": prices}).to_csv(folder / f"{name}.csv", index=False)
    (folder / "wti.csv").write_text("DATE,DCOILWTICO\n2024-01-02,70.6\n2024-01-03,.\n")
    (folder / "cpi.csv").write_text("DATE,CPILFESL\n2023-12-01,313.2\n2024-01-01,314.4\n")


def medical(folder):
    rows = ["subject_id,charttime,itemid,valuenum,valueuom"]
    for patient in ("007", "12"):
        for i, t in enumerate(pd.date_range("2150-01-01", periods=24, freq="5h")):
            item, value, unit = [(50931, 90 + i, "mg/dL"), (50809, 5 + i / 10, "mmol/L")][i % 2]
            rows.append(f"{patient},{t},{item},{value},{unit}")
            rows.append(f"{patient},{t},50912,{1 + i % 3 / 10},mg/dL")
    (folder / "labevents.csv").write_text("\n".join(rows) + "\n")
    (folder / "anna.csv").write_text("timestamp,glucose\n2024-10-27 02:10,110\n2024-10-27 02:05,Low\n")


@pytest.mark.parametrize("domain", [weather, finance, medical], ids=lambda d: d.__name__)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_code_of_a_domain_runs_on_its_files(domain, tmp_path, monkeypatch, capsys):
    domain(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    exec(blocks()[domain.__name__].replace("forecaster(", QUICK), {})
    assert "q0.9" in capsys.readouterr().out
    assert set(tmp_path.iterdir()) == before  # nothing is written that was not asked for


def infusions():
    """A drug given for ten minutes that fades by a fifth a minute."""
    rows = []
    for i, strength in enumerate(np.linspace(1, 3, 6)):
        time = np.array([0.0, 2.0, 4.0, 7.0, 10.0, 12.0, 18.0, 30.0])
        level = strength * 5 * (np.exp(-0.2 * np.maximum(time - 10, 0)) - np.exp(-0.2 * time))
        rate = np.where(time < 10, strength, 0.0)
        table = pd.DataFrame({"patient": f"p{i}", "time": time, "rate": rate, "level": level})
        rows.append(table.assign(level=table["level"].where(~table["time"].isin([0.0, 10.0]))))
    return pd.concat(rows, ignore_index=True)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_code_on_known_futures_answers_two_of_them(capsys):
    section = README.read_text().split("### What if: known futures")[1].split("\n### ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    names = {"infusions": infusions(), "Schema": Schema, "LatentODEForecaster": LatentODEForecaster}
    exec(code.replace("forecaster(", QUICK), names)
    assert capsys.readouterr().out.count("q0.9") == 2
    model, early, half = (names[name] for name in ("model", "early", "half"))
    one, other = (model.predict(table, at=20.0, count=4) for table in (early, half))
    assert (one["mean"] != other["mean"]).all() and (one["time"] == other["time"]).all()
