"""Patients are held out as a whole, outcomes are not seen, what is asked is later than what was."""

import pandas as pd
from running import experiment

run = experiment("pbc_visits")


def test_outcomes_are_no_part_of_the_table():
    frame, schema = run.visits()
    assert not {"futime", "status"} & set(frame.columns)
    assert set(schema.targets) == {*(f"log {n}" for n in run.LOGARITHMS), *run.PLAIN}
    assert frame["log bili"].max() < 4 and len(frame) == 1945


def test_a_patient_is_in_one_part_whoever_else_is_there():
    frame, _ = run.visits()
    parts = run.split(frame)
    ids = [set(part["id"]) for part in parts]
    assert sum(map(len, ids)) == len(set.union(*ids)) == 312
    assert all(len(i) > 40 for i in ids)
    few = frame[frame["id"] % 7 == 0]
    assert set(run.split(few)[2]["id"]) == ids[2] & set(few["id"])


def test_every_later_result_within_the_horizon_is_asked_of_every_model():
    frame, schema = run.visits()
    frame = frame[frame["id"] <= 40]
    quick = run.TRAINING.replace(max_epochs=1, windows_per_epoch=32)
    found = run.study(frame, schema, run.MODEL.replace(likelihood="normal"), quick)
    test = run.split(frame)[2]
    pairs = test.merge(test, on="id", suffixes=("", " later"))
    ahead = pairs["day later"] - pairs["day"]
    pairs = pairs[(ahead > 0) & (ahead <= run.HORIZON)]
    expected = sum(int(pairs[f"{target} later"].notna().sum()) for target in schema.targets)
    counts = found.groupby("model").size()
    assert (counts == expected).all() and len(counts) == 7
    assert (found["day"] > found["origin"]).all()
    assert found["q0.1"].notna().all() and (found["q0.1"] <= found["q0.9"]).all()
    assert isinstance(found, pd.DataFrame) and set(found["id"]) <= set(test["id"])
