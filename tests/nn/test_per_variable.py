"""What the per-variable encoder is made of besides its GRU: packed sequences and exchange."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentode.data.batch import Observations
from latentode.nn.changes import N_CHANGES
from latentode.nn.encoders import Exchange, VariableEncoder
from latentode.nn.sequences import CYCLES, Histories

pytestmark = pytest.mark.usefixtures("float64")
EXACT = {"rtol": 0.0, "atol": 1e-12}
randomly = settings(max_examples=10, deadline=None, derandomize=True)


def observations(table):
    """From rows (series, variable, time, value)."""
    table = np.array(table, dtype=float).reshape(-1, 4)
    return Observations(
        torch.tensor(table[:, 0].astype(int)),
        torch.tensor(table[:, 1].astype(int)),
        torch.tensor(table[:, 2].copy()),
        torch.tensor(table[:, 3].copy()),
    )


# ------------------------------------------------------------------ histories


def test_a_history_holds_what_its_own_cell_showed():
    seen = observations([(1, 0, -0.5, 3.0), (0, 1, -1.0, 7.0), (1, 0, -2.0, 1.0), (1, 1, -0.1, 9.0)])
    found = Histories.of(seen, torch.zeros(2), n_variables=2, backward=False)
    assert found.sizes == [3, 1]
    assert found.cell.tolist() == [2, 1, 3, 2]
    assert found.observed.tolist() == [2, 1, 3]
    value, gap, left_log, left = found.features.T[:4]
    assert value.tolist() == [1.0, 7.0, 9.0, 3.0]
    assert gap[:3].tolist() == [0.0, 0.0, 0.0]
    assert float(gap[3]) == pytest.approx(np.log1p(150) / np.log1p(100))
    assert left.tolist() == [2.0, 1.0, pytest.approx(0.1), 0.5]
    assert float(left_log[1]) == 1.0
    half_a_cycle = found.features[1, 4 + N_CHANGES :][
        : len(CYCLES)
    ]  # one unit of time at half a cycle a unit
    assert half_a_cycle.tolist() == pytest.approx([np.sin(2 * np.pi * c) for c in CYCLES], abs=1e-6)
    assert found.features[3, 4 + N_CHANGES + len(CYCLES)] == pytest.approx(np.cos(np.pi / 2), abs=1e-6)


def test_read_backwards_a_history_begins_with_its_latest():
    seen = observations([(0, 0, -2.0, 1.0), (0, 0, -0.5, 3.0), (0, 0, -1.5, 2.0)])
    found = Histories.of(seen, torch.full((1,), -2.0), n_variables=1, backward=True)
    assert found.features[:, 0].tolist() == [3.0, 2.0, 1.0]
    assert found.features[:, 3].tolist() == [1.5, 0.5, 0.0]
    assert found.features[0, 1] == 0
    assert found.features[1, 1] > found.features[2, 1] > 0


@given(st.integers(0, 30), st.integers(0, 2**32 - 1), st.booleans())
@randomly
def test_histories_pack_every_observation_once_whatever_the_order(n, seed, backward):
    rng = np.random.default_rng(seed)
    table = np.c_[rng.integers(3, size=n), rng.integers(4, size=n), -rng.random(n), rng.normal(size=n)]
    one, other = (
        Histories.of(observations(t), torch.zeros(3), 4, backward) for t in (table, table[::-1].copy())
    )
    assert sum(one.sizes) == n
    assert one.sizes == sorted(one.sizes, reverse=True)
    assert torch.equal(one.features, other.features)
    assert torch.equal(one.cell, other.cell)
    np.testing.assert_array_equal(np.sort(one.features[:, 0]), np.sort(table[:, 3]))


# ------------------------------------------------------------------ exchange and encoder


def test_exchange_does_not_depend_on_the_order_of_variables():
    layer, h = Exchange(6, heads=4), torch.randn(2, 5, 6)
    order = torch.randperm(5)
    torch.testing.assert_close(layer(h[:, order]), layer(h)[:, order], **EXACT)


def encoder(layers=2):
    return VariableEncoder(embedding_size=3, n_static=2, size=8, layers=layers, heads=2)


def test_without_exchange_a_summary_depends_on_its_own_observations_only():
    plain, embeddings, static = encoder(layers=0), torch.randn(3, 3), torch.randn(1, 2)
    table = [(0, 0, -0.5, 1.0), (0, 1, -0.7, 2.0)]
    before = plain(observations(table), embeddings, static, torch.zeros(1))
    table[1] = (0, 1, -0.6, 5.0)
    after = plain(observations(table), embeddings, static, torch.zeros(1))
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    assert not torch.equal(before[:, 1], after[:, 1])


def test_a_variable_never_observed_hears_of_the_others():
    full, embeddings, static = encoder(), torch.randn(3, 3), torch.randn(1, 2)
    one, other = (
        full(observations([(0, 0, -0.5, value)]), embeddings, static, torch.zeros(1))
        for value in (1.0, 2.0)
    )
    assert (one - other)[:, 1:].abs().amax(2).min() > 1e-6


def test_nothing_observed_is_read_from_embeddings_and_statics():
    full, embeddings = encoder(), torch.randn(3, 3)
    nothing, static = observations([]), torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 1.0]])
    found = full(nothing, embeddings, static, torch.zeros(3))
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[0], found[1], **EXACT)
    assert not torch.allclose(found[0], found[2])
    assert not torch.allclose(found[0, 0], found[0, 1])


def test_series_of_hundreds_of_variables_are_read_alone_as_together():
    rng = np.random.default_rng(0)
    n, many = 400, 300
    cells = np.c_[rng.integers(3, size=n), rng.integers(many, size=n)]
    table = np.c_[cells, -rng.random(n), rng.normal(size=n)]
    full, embeddings, static = encoder(), torch.randn(many, 3), torch.randn(3, 2)
    together = full(observations(table), embeddings, static, torch.zeros(3))
    own = table[table[:, 0] == 1]
    own[:, 0] = 0
    alone = full(observations(own), embeddings, static[1:2], torch.zeros(1))
    torch.testing.assert_close(alone[0], together[1], **EXACT)
