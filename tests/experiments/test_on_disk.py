"""What is measured on disk and in memory is one and the same training."""

import pytest
from running import experiment

from latentode.data import ParquetFolder

run = experiment("on_disk")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*treespec.*")
def test_both_ways_train_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "PER_DEVICE", 40)
    run.write_folder(tmp_path / "folder", 480, 3)
    assert ParquetFolder(tmp_path / "folder").n_rows == 480
    one, other = (run.epoch_of(way, tmp_path / "folder", 32, 32) for way in run.WAYS)
    for name in ("windows", "trained"):
        assert one[name] == other[name] > 0, name
    assert one["weights"] == pytest.approx(other["weights"], rel=1e-9)  # sums are in another order
