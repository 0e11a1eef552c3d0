"""A fit on a folder that is left on disk is the fit on the same table in memory."""

import numpy as np
import pytest
from making import same, tiny, waves
from typer.testing import CliRunner

from latentode import LatentODEError, LatentODEForecaster
from latentode.cli import app
from latentode.data import ParquetFolder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    frame, place = waves(24, 20), tmp_path_factory.mktemp("folder")
    for number, own in enumerate(np.array_split(frame["id"].unique(), 4)):
        frame[frame["id"].isin(own)].to_parquet(place / f"{number}.parquet", index=False)
    return place, frame


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_fit_on_a_folder_is_that_in_memory(folder):
    place, frame = folder
    one, other = (tiny(max_epochs=2).fit(t) for t in (ParquetFolder(place), frame))
    same(one.history_, other.history_)
    same(one.leaderboard_, other.leaderboard_)
    same(one.predict(frame, 1.0), other.predict(frame, 1.0))


def test_the_command_leaves_a_folder_on_disk_where_told_to(folder, tmp_path):
    place, frame = folder
    options = ["--horizon", "2", "--max-epochs", "1", "--windows-per-epoch", "16", "--hidden-size", "8"]
    command = ["fit", str(place), "--likelihood", "normal", "--cycles", "none", *options, "--out"]
    said = []
    for name, more in (("disk", ["--on-disk"]), ("memory", ["--in-memory"])):
        done = CliRunner().invoke(app, [*command, str(tmp_path / name), *more])
        assert done.exit_code == 0, done.output
        said.append("480 rows in 4 files are left on disk" in done.output)
    assert said == [True, False]
    one, other = (LatentODEForecaster.load(tmp_path / name) for name in ("disk", "memory"))
    same(one.predict(frame, 1.0), other.predict(frame, 1.0))


def test_what_no_folder_can_be_is_refused(folder, tmp_path):
    (tmp_path / "x.csv").write_text("id,time,x\na,0,1\n")
    with pytest.raises(LatentODEError, match="not a folder of Parquet files alone"):
        tiny().fit(ParquetFolder(tmp_path))
    done = CliRunner().invoke(
        app, ["fit", str(tmp_path), "--on-disk", "--out", str(tmp_path / "model")]
    )
    assert "not a folder of Parquet files alone" in str(done.exception)
