"""A folder of Parquet files that is left on disk is trained on as the same table in memory."""

import numpy as np
import pandas as pd
import pytest
import torch
from frames import wide

from latentode import Forecasting, IrregularDataModule, LatentODEError, Schema, SchemaError
from latentode.data import ParquetFolder, SeriesDataset, scaling
from latentode.data.files.table_files import read_table
from latentode.data.split import by_key, split_validation
from latentode.data.tables.file_format import FileFormat

TASK = Forecasting("4h", "12h")
SCHEMA = Schema(static_covariates=("age", "ward"), transforms={"b": "yeo-johnson"}, cycles=())


def table(n=24):
    """Of several wards; the last row of each series has no value."""
    frame = wide(n, 9)
    place = frame["id"].rank(method="dense").astype(int)
    return frame.assign(age=(place % 5).where(place % 3 > 0), ward=place.map(lambda p: "nes"[p % 3]))


def written(frame, folder, files=5):
    """Whole series in each of some files; returns the table in the order of the files."""
    folder.mkdir()
    names = frame["id"].unique()
    parts = [frame[frame["id"].isin(own)] for own in np.array_split(names, files)]
    for number, part in enumerate(parts):
        part.to_parquet(folder / f"{number}.parquet", index=False)
    return pd.concat(parts, ignore_index=True)


def modules(folder, frame, **options):
    """Of the folder, and of the same series in memory."""
    given = {"task": TASK, "schema": SCHEMA, "windows_per_epoch": 60, "batch_size": 16, **options}
    tables = ParquetFolder(folder), by_key(SeriesDataset.from_frame(frame, SCHEMA))
    return [IrregularDataModule(t, **given) for t in tables]


def shown(batches):
    """All numbers of batches."""
    return [
        [x.tolist() for x in (b.start, b.static, b.context.value, b.target.time, b.events.time, b.end)]
        for b in batches
    ]


@pytest.mark.parametrize("bucketed", [False, True])
def test_batches_scales_and_sizes_are_those_of_memory(tmp_path, bucketed):
    frame = written(table(), tmp_path / "folder")
    one, other = modules(
        tmp_path / "folder",
        frame,
        bucketed=bucketed,
        validation=wide(3, 9, seed=2).assign(age=1.0, ward="n"),
    )
    assert isinstance(one.train.dataset.value, np.memmap)
    assert (one.scaling, one.sizes, one.axis, one.schema) == (
        other.scaling,
        other.sizes,
        other.axis,
        other.schema,
    )
    assert one.climatology.to_dict() == other.climatology.to_dict()
    for loader in ("train_dataloader", "val_dataloader"):
        assert shown(getattr(one, loader)()) == shown(getattr(other, loader)())
    assert shown([one.examples()]) == shown([other.examples()])
    assert one.state_dict() == other.state_dict()


def test_sums_of_parts_are_those_of_the_whole(monkeypatch):
    dataset = SeriesDataset.from_frame(table(), SCHEMA)
    whole = scaling.Scaling.fit(dataset)
    monkeypatch.setattr(scaling, "AT_ONCE", 7)
    parts = scaling.Scaling.fit(dataset)
    np.testing.assert_allclose(parts.loc, whole.loc, rtol=1e-12)
    np.testing.assert_allclose(parts.scale, whole.scale, rtol=1e-12)


def test_what_is_held_out_is_what_memory_holds_out(tmp_path):
    frame = written(table(30), tmp_path / "folder")
    train, held = ParquetFolder(tmp_path / "folder").stored(SCHEMA, hold_out=True, seed=3)
    whole = by_key(SeriesDataset.from_frame(frame, SCHEMA))
    other, other_held = split_validation(whole, 4.0, 3)
    assert set(held.dataset.ids) == set(other_held.dataset.ids) and held.begin is None
    assert set(train.ids) == set(other.ids) and len(train.time) == len(other.time)
    assert set(train.sample.ids) == set(train.ids)
    with pytest.raises(LatentODEError, match="too few"):
        written(table(5), tmp_path / "few", 2)
        ParquetFolder(tmp_path / "few").stored(SCHEMA, hold_out=True)


def test_a_series_may_be_in_several_files_of_a_folder_of_its_own(tmp_path):
    frame = table(6)
    for name, own in frame.groupby("id"):
        place = tmp_path / "folder" / f"id={name}"
        place.mkdir(parents=True)
        own.drop(columns="id").iloc[::2].to_parquet(place / "one.parquet", index=False)
        own.drop(columns="id").iloc[1::2].to_parquet(place / "two.parquet", index=False)
    one, other = modules(tmp_path / "folder", frame.sort_values("id", kind="stable"))
    assert shown(one.train_dataloader()) == shown(other.train_dataloader())


def test_folders_are_read_as_text_on_disk_as_in_memory(tmp_path):
    frame, names = table(6), ["007", "7", "a", "b", "c", "d"]
    for name, (_, own) in zip(names, frame.groupby("id"), strict=True):
        place = tmp_path / "folder" / f"id={name}"
        place.mkdir(parents=True)
        own.drop(columns="id").to_parquet(place / "one.parquet", index=False)
    memory = read_table(tmp_path / "folder")
    assert sorted(memory["id"].unique()) == names
    one, other = modules(tmp_path / "folder", memory)
    assert list(one.train.dataset.ids) == list(other.train.dataset.ids)
    assert shown(one.train_dataloader()) == shown(other.train_dataloader())


def test_a_path_of_many_rows_is_left_on_disk(tmp_path, monkeypatch):
    frame = written(table(), tmp_path / "folder")
    given = {"task": TASK, "schema": SCHEMA, "windows_per_epoch": 60}
    small = IrregularDataModule(str(tmp_path / "folder"), **given)
    monkeypatch.setattr("latentode.data.on_disk.MANY_ROWS", len(frame) - 1)
    large = IrregularDataModule(str(tmp_path / "folder"), **given)
    assert not isinstance(small.train.dataset.value, np.memmap)
    assert isinstance(large.train.dataset.value, np.memmap)
    (tmp_path / "folder" / "notes.csv").write_text("id\n")
    assert ParquetFolder.at(tmp_path / "folder") is None


def test_workers_read_from_disk_too(tmp_path):
    frame = written(table(), tmp_path / "folder")
    one, other = modules(tmp_path / "folder", frame, num_workers=1)
    assert shown(one.train_dataloader()) == shown(other.train_dataloader())
    assert torch.utils.data.get_worker_info() is None


def spoilt(frame, how):
    """Tables of two files, of which the second is wrong."""
    first, second = frame[frame["id"] == frame["id"].iloc[0]], frame[frame["id"] != frame["id"].iloc[0]]
    changes = {
        "twice": second.assign(id=frame["id"].iloc[0]),
        "text": second.assign(a="n/e"),
        "dates": second.assign(time=np.arange(len(second), dtype=float)),
        "without": second.drop(columns="a"),
    }
    return first, changes[how]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("twice", r"is in 0\.parquet and in 1\.parquet"),
        ("text", r"1\.parquet"),
        ("dates", r"1\.parquet"),
        ("without", r"`a`"),
    ],
)
def test_files_that_do_not_go_together_are_named(tmp_path, how, said):
    for number, part in enumerate(spoilt(table(4), how)):
        part.to_parquet(tmp_path / f"{number}.parquet", index=False)
    with pytest.raises(SchemaError, match=said):
        ParquetFolder(tmp_path).stored(SCHEMA, hold_out=False)


def test_what_is_not_read_from_disk_is_refused(tmp_path):
    written(table(4).assign(dose=1.0), tmp_path / "folder", 2)
    folder = ParquetFolder(tmp_path / "folder")
    with pytest.raises(SchemaError, match="in memory only"):
        folder.stored(Schema(known_future=("dose",)))
    with pytest.raises(SchemaError, match=r"na_values and flags .*read in memory only"):
        folder.stored(Schema(file_format=FileFormat(na_values=("-999",))))
    train, _ = folder.stored(SCHEMA)
    with pytest.raises(LatentODEError, match="no table is made again"):
        train.select([0])
    data = IrregularDataModule(folder, task=TASK, schema=SCHEMA)
    with pytest.raises(LatentODEError, match="to train on"):
        data.loader(train)
    train.value[0] = -np.inf
    bad = np.zeros(len(train.time), dtype=bool)
    bad[np.nonzero(train.variable == 0)[0][:1]] = True
    with pytest.raises(SchemaError, match="at series"):
        scaling.refuse_values(train, 0, bad[train.variable == 0], "x", "y", "z")
