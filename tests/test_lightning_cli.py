"""`python -m latentode.training`: the example of the docs runs, and mistakes are a line each."""

from pathlib import Path

import pytest
from test_readme import ROOT, patients

from latentode import LatentODEModule

pytest.importorskip("jsonargparse")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*treespec.*")
QUICK = {"max_epochs": 1, "limit_train_batches": 2, "accelerator": "cpu", "logger": "false"}


def command(*options, name="fit"):
    from latentode.training.__main__ import main

    quick = [f"--trainer.{n}={v}" for n, v in QUICK.items()]
    small = ["--model.model.hidden_size=8", "--data.windows_per_epoch=64", "--data.schema.cycles=none"]
    main([name, "--config", str(ROOT / "docs" / "training.yaml"), *quick, *small, *options])


@pytest.fixture
def tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    patients(8).to_csv("patients.csv", index=False)
    patients(4, 1).to_csv("later_patients.csv", index=False)


def test_the_example_of_the_docs_trains_by_its_settings(tables):
    command()
    module = LatentODEModule.load_from_checkpoint("kept/best.ckpt", weights_only=True)
    network = module.model
    assert (network.config.latent_size, network.solver.method) == (8, "rk4")
    assert network.sizes.n_variables == 2
    assert network.sizes.variables["lactate"]["transform"] == "log"
    assert network.sizes.time_scale == 12.0
    assert module.training_config.schedule == "cosine"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--data.schema.id=nobody", "column `nobody` is not in the table"),
        ("--data.train=elsewhere.csv", "elsewhere.csv is not there"),
        ("--model.model={laten_size: 3}", "did you mean `latent_size`"),
    ],
)
def test_a_mistake_is_a_line_that_names_it(tables, option, said, capsys):
    with pytest.raises(SystemExit) as left:
        command(option)
    line = str(left.value.code)
    assert line.startswith("error: ") and said in line
    assert "\n" not in line and len(line) < 600
    assert "Traceback" not in capsys.readouterr().err


def test_a_value_in_the_table_that_cannot_be_read_does_not_print_the_table(tables):
    table = Path("patients.csv")
    table.write_text(table.read_text().replace("p7,", "p7,not a time", 1))
    with pytest.raises(SystemExit) as left:
        command()
    line = str(left.value.code)
    assert "charttime" in line and "line" in line and len(line) < 600
