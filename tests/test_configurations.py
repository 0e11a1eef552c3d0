"""Configurations: frozen, typed, reached by the same names from every door."""

import copy
import pickle

import numpy as np
import pytest

from latentode import LatentODEError, LatentODEForecaster, ModelConfig, SolverConfig, TrainingConfig
from latentode.cli.options import configurations, settings_file
from latentode.model import Sizes
from latentode.model.objective import GAINS
from latentode.training import callbacks
from latentode.training import config as training_config

EVERY = (ModelConfig, SolverConfig, TrainingConfig, Sizes)
every_kind = pytest.mark.parametrize("kind", EVERY, ids=lambda k: k.__name__)


@every_kind
def test_what_is_written_as_primitives_is_read_as_the_same(kind):
    default = kind()
    assert kind.of(default.to_dict()) == default
    assert pickle.loads(pickle.dumps(default)) == default == copy.deepcopy(default)
    assert repr(default) == f"{kind.__name__}()"


@every_kind
def test_a_setting_that_does_not_exist_is_refused_with_those_that_do(kind):
    first = next(iter(kind().get_params()))
    for door in (lambda n: kind(**n), lambda n: kind().replace(**n), kind.of):
        with pytest.raises(LatentODEError, match=rf"no setting `nonsense`.*`{first}`"):
            door({"nonsense": 1})


@every_kind
def test_a_setting_of_another_type_is_refused_by_every_door(kind):
    for name, value in kind().get_params(deep=False).items():
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            continue
        wrong = "nonsense" if isinstance(value, int | float) else 3.5
        for door in (lambda n: kind(**n), lambda n: kind().replace(**n), kind.of):
            with pytest.raises(LatentODEError, match=name):
                door({name: wrong})


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (ModelConfig, {"latent_size": True}),
        (ModelConfig, {"latent_size": 8.5}),
        (ModelConfig, {"latent_size": 0}),
        (ModelConfig, {"structure": True}),
        (ModelConfig, {"encoder_size": 0}),
        (ModelConfig, {"attention_layers": -1}),
        (ModelConfig, {"likelihood": ["normal"]}),
        (ModelConfig, {"solver": None}),
        (ModelConfig, {"solver": {"steps": "many"}}),
        (SolverConfig, {"tolerance": -1.0}),
        (TrainingConfig, {"max_epochs": 1.5}),
        (TrainingConfig, {"error_units": 3.0}),
        (TrainingConfig, {"lr": "1e-3"}),
        (TrainingConfig, {"lr": 0.0}),
    ],
)
def test_values_that_make_no_sense_are_refused_when_they_are_said(kind, wrong):
    with pytest.raises(LatentODEError):
        kind(**wrong)


def test_numbers_of_numpy_become_pythons_own():
    config = ModelConfig(latent_size=np.int64(8), label_dropout=np.float32(0.5))
    assert type(config.latent_size) is int and type(config.label_dropout) is float


def test_nested_settings_are_named_with_two_underscores():
    config = ModelConfig().replace(solver__method="euler", latent_size=4)
    assert config == ModelConfig(latent_size=4, solver=SolverConfig(method="euler"))
    assert config.get_params()["solver__method"] == "euler"
    assert repr(config) == "ModelConfig(latent_size=4, solver=SolverConfig(method='euler'))"
    with pytest.raises(LatentODEError, match="has no setting `x`"):
        config.replace(latent_size__x=1)
    with pytest.raises(LatentODEError, match="horizon has no settings of its own"):
        LatentODEForecaster().set_params(horizon__x=1)


def test_yaml_names_the_settings_and_options_win_over_it(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "model:\n  latent_size: 4\n  solver: {method: euler}\ntraining:\n  lr: 1e-3\n  max_epochs: 7\n"
    )
    given = {"model": {"solver__steps": 2}, "training": {"max_epochs": 1}}
    model, training = configurations(given, path)
    assert model == ModelConfig(latent_size=4, solver=SolverConfig(method="euler", steps=2))
    assert training == TrainingConfig(lr=1e-3, max_epochs=1)
    for text, message in (
        ("model: 3", "must hold `model:` and `training:`"),
        ("network:\n  latent_size: 4", "has the section 'network'"),
        ("model: [", "cannot be read as YAML"),
    ):
        path.write_text(text)
        with pytest.raises(LatentODEError, match=message):
            settings_file(path)
    path.write_text("model:\n  latent_sise: 4")
    with pytest.raises(LatentODEError, match="did you mean `latent_size`"):
        configurations({"model": {}, "training": {}}, path)


def test_the_choices_that_need_no_lightning_to_be_known_are_those_there_are():
    assert set(callbacks.SCHEDULES) == set(training_config.SCHEDULES)
    assert set(GAINS) == set(training_config.METRICS)
