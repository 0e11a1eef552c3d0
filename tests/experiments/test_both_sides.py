"""Both sides of a hidden value say more than its past, and than going back in time."""

import pytest
from running import experiment


@pytest.mark.slow
def test_both_sides_are_better_than_the_past_and_than_going_back():
    run = experiment("both_sides")
    scores = run.run(run.sine, run.JOINT, 40, 8)
    both, past, back = (scores[way] for way in ("both sides", "past only", "backwards"))
    for metric in ("mae", "crps", "mean std"):
        assert both[metric] < 0.9 * past[metric], metric
    assert both["mae"] < back["mae"] and both["crps"] < back["crps"]
    assert both["coverage of 80 %"] > 0.7
