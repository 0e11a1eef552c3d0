"""The leaderboard of a fit: what is held out, forecast by the model and by what is simpler."""

import numpy as np
import pandas as pd
import pytest
from making import same, tiny, waves

from latentode import LatentODEForecaster
from latentode.evaluation.leaderboard import TOGETHER, advice, to_text
from latentode.evaluation.residual_fit import judging_pairs


@pytest.fixture(scope="module")
def table():
    return waves(30, 16, seed=1).drop_duplicates(["id", "time"]).assign(still=4.0)


@pytest.fixture(scope="module")
def fitted(table):
    return tiny().fit(table)


def test_every_figure_is_that_of_the_forecasts_themselves(fitted, table):
    board = fitted.leaderboard_
    assert set(board["variable"]) == {TOGETHER, "x", "y", "still"}
    held_out = table[~table["id"].isin(_trained_on(table))]
    some, pairs = judging_pairs(fitted.horizon_, fitted.read(held_out))
    answer = fitted.fitted_.forecast(some, pairs.queries, pairs.keys)
    error = np.abs(answer.mean - pairs.actual)
    inside = (answer.quantile(0.1) <= pairs.actual) & (pairs.actual <= answer.quantile(0.9))
    own = board[board["model"] == "latent ODE"].set_index("variable")
    for name in ("x", "y"):
        chosen = (pairs.keys["variable"] == name).to_numpy()
        assert own.loc[name, "mae"] == pytest.approx(error[chosen].mean(), rel=1e-6)
        assert own.loc[name, "inside_80"] == pytest.approx(inside[chosen].mean(), rel=1e-6)
        assert own.loc[name, "n"] == chosen.sum()


def _trained_on(table):
    """The series that the seed 0 leaves to train on."""
    from latentode.data import SeriesDataset
    from latentode.data.split import by_key, split_validation

    train, _ = split_validation(by_key(SeriesDataset.from_frame(table)), 2.0, 0)
    return set(train.ids)


def test_a_constant_variable_does_not_spoil_what_is_said_of_all(fitted):
    board = fitted.leaderboard_
    together = board[board["variable"] == TOGETHER].set_index("model")
    of_two = board[board["variable"].isin(["x", "y"]) & (board["model"] == "last value")]
    assert np.isfinite(together["mae"]).all() and together.loc["last value", "mae"] < 3
    assert together.loc["last value", "n"] == of_two["n"].sum()


def test_it_is_saved_with_the_model(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    same(LatentODEForecaster.load(tmp_path / "model").leaderboard_, fitted.leaderboard_)


def test_where_something_simpler_wins_a_sentence_says_so(fitted):
    board = fitted.leaderboard_
    better = board.assign(mae=board["mae"].where(board["model"] != "last value", 1e-3))
    assert "last value has a smaller error than the model (0.001 against" in str(advice(better))
    best = board.assign(mae=board["mae"].where(board["model"] != "latent ODE", 1e-3))
    assert advice(best) is None
    assert "inside 80 %" in to_text(board) and TOGETHER in to_text(board)


def test_without_held_out_data_there_is_none(table):
    short = pd.DataFrame(
        {"id": ["a", "a", "b", "b"], "time": [0.0, 1.0, 0.0, 1.0], "x": [1.0, 2, 3, 4]}
    )
    with pytest.warns(UserWarning, match="too little data to hold any out"):
        model = tiny(horizon=1.0).fit(short)
    assert model.leaderboard_.empty


def test_without_a_structural_block_only_baselines_stand_beside(table):
    model = tiny(network={"structure": "last-value"}).fit(table)
    assert "structural block alone" not in set(model.leaderboard_["model"])


def test_a_fit_without_epochs_says_that_it_is_the_structural_forecast_and_has_one_row_of_it(
    table, capsys
):
    model = tiny(max_epochs=0, verbose=True).fit(table)
    of_first = model.leaderboard_.groupby("variable", sort=False).get_group(TOGETHER)["model"]
    assert "latent ODE" in set(of_first) and "structural block alone" not in set(of_first)
    said = capsys.readouterr().err
    assert "training: none (max_epochs is 0), so that the structural forecast answers alone" in said
    assert "epochs of" not in said and "what training adds" not in said
