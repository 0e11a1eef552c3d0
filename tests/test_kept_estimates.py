"""The structural block's estimate is a function of its arguments, so that tests may keep it."""

import numpy as np
import torch

from latentode.model import emission
from latentode.model.marginal_likelihood import estimate
from latentode.model.structure import StructuralBlock
from latentode.nn.state_space import Cells


def cells(n, low, high, seed):
    """Of two variables, n of each."""
    rng, rows = np.random.default_rng(seed), 12
    owner = np.repeat(np.arange(2 * n), rows)
    time = rng.uniform(low, high, len(owner))
    value = np.sin(3 * time) + owner % 2 + 0.1 * rng.normal(size=len(owner))
    return Cells.of(owner, np.tile([0, 1], n), (time, value, rng.normal(size=(len(time), 1))))


def buffers(by, n_series=4, seed=0, lag=0.0):
    block = StructuralBlock(2, 1)
    block.lag.fill_(lag)
    by(block, cells(2, -6.0, 0.0, seed), cells(2, 0.0, 2.0, seed + 1), n_series)
    return [x.clone() for x in block.buffers()]


def test_an_estimate_depends_on_its_arguments_alone_and_is_kept_for_these():
    assert emission.estimate is not estimate
    found = []
    for changed in ({}, {"n_series": 1}, {"seed": 5}, {"lag": 0.5}):
        found.append(buffers(estimate, **changed))
        for _ in range(2):
            kept = buffers(emission.estimate, **changed)
            torch.testing.assert_close(kept, found[-1], rtol=0, atol=0)
    for other in found[1:]:
        assert any(not torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
