"""The network with an ODE layer: its size, its counts, its data. Accuracy is measured in full size."""

import gzip

import numpy as np
import pytest
import torch
from running import experiment

from latentode.errors import LatentODEError

run = experiment("odenet_digits")


def test_the_ode_net_has_about_a_third_of_the_parameters():
    assert 0.28 < run.parameters(run.odenet(8)) / run.parameters(run.resnet(8)) < 0.38


@pytest.mark.slow
def test_it_learns_digits():
    images = run.digits()
    assert len(images.train[0]) == 1437 and len(images.test[0]) == 360
    few = run.Images(tuple(part[:640] for part in images.train), images.test)
    made = run.train(run.odenet, few, 3, seed=0)
    assert made.loss[-1] < made.loss[0] / 2
    assert run.accuracy(made.net, few) > 0.8
    assert all(count >= 14 for count in made.evaluations)


def test_memory_of_the_adjoint_is_less_than_that_of_backpropagation():
    images = run.digits()
    torch.manual_seed(0)
    direct, lean = (run.step_megabytes(run.odenet(8, a), images) for a in ("direct", "backsolve"))
    assert lean < direct / 2


def test_shifts_move_pictures_whole():
    torch.manual_seed(0)
    x = torch.zeros(200, 1, 8, 8)
    x[:, :, 3, 4] = 1
    moved = run.shifted(x)
    assert moved.shape == x.shape and (moved.sum((1, 2, 3)) == 1).all()
    places = {tuple(p.tolist()) for p in moved.nonzero()[:, 2:]}
    assert places == {(r, c) for r in (2, 3, 4) for c in (3, 4, 5)}


def test_mnist_is_read_from_its_own_files(tmp_path):
    generator = np.random.default_rng(0)
    for name, n in (("train", 5), ("t10k", 3)):
        pictures = generator.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        head = bytes([0, 0, 8, 3]) + np.array([n, 28, 28], ">i4").tobytes()
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(head + pictures.tobytes())
        head = bytes([0, 0, 8, 1]) + np.array([n], ">i4").tobytes()
        with gzip.open(tmp_path / f"{name}-labels-idx1-ubyte.gz", "wb") as stream:
            stream.write(head + np.arange(n, dtype=np.uint8).tobytes())
    images = run.mnist(tmp_path)
    assert images.test[0].shape == (3, 1, 28, 28) and images.test[1].tolist() == [0, 1, 2]
    assert torch.equal((images.test[0] * 255).round().byte()[:, 0], torch.tensor(pictures))
    assert run.odenet(28)(images.test[0]).shape == (3, 10)
    with pytest.raises(LatentODEError, match="t10k-images-idx3-ubyte"):
        (tmp_path / "t10k-images-idx3-ubyte").unlink()
        run.mnist(tmp_path)
