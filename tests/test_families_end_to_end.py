"""Families and transforms from tables to forecasts: fit, save, checkpoint, command line, errors."""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer
from making import TINY, forecaster, module_of, same, tiny

from latentode import Forecasting, IrregularDataModule, LatentODEForecaster, LatentODEModule, Schema
from latentode.cli import main
from latentode.data.dataset import SeriesDataset
from latentode.data.scaling import Scaling
from latentode.errors import LatentODEError, SchemaError
from latentode.nn.likelihoods import LIKELIHOODS

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*treespec.*")
LIKELIHOOD = {
    "n": "poisson",
    "bursts": "negative-binomial",
    "on": "bernoulli",
    "share": "beta",
    "size": "log-normal",
    "any": "quantile",
    "t": "student-t",
}
SCHEMA = Schema(transforms={"dose": "log", "sat": ("logit", 0, 100), "price": "yeo-johnson"})


def table(n=6, rows=16, seed=0):
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(n):
        time = np.sort(rng.uniform(0, 12, rows)).round(3)
        wave = np.sin(time + i)
        parts.append(
            pd.DataFrame(
                {
                    "id": f"s{i}",
                    "time": time,
                    "n": rng.poisson(np.exp(1 + wave)),
                    "bursts": rng.negative_binomial(2, 0.3, rows),
                    "on": (rng.random(rows) < 0.5 + 0.4 * wave).astype(int),
                    "share": rng.beta(3 + 2 * wave, 3.0),
                    "size": np.exp(wave + 0.3 * rng.normal(size=rows)),
                    "any": rng.gamma(2.0, size=rows),
                    "t": wave + 0.1 * rng.standard_t(3, size=rows),
                    "dose": np.exp(wave),
                    "sat": 100 / (1 + np.exp(-wave - 1)),
                    "price": wave - 0.5,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def frame():
    return table()


@pytest.fixture(scope="module")
def model(frame):
    return forecaster(**TINY, likelihood=LIKELIHOOD).fit(frame, SCHEMA)


def test_forecasts_stay_where_their_variables_live(model, frame):
    asked = model.forecast(frame, at=2.0, count=4)
    answer = asked.to_frame((0.05, 0.5, 0.95)).assign(draw=asked.sample(1)[0])
    of = dict(list(answer.groupby("variable")))
    columns = ["q0.05", "q0.5", "q0.95", "draw"]
    for v in ("n", "bursts", "on"):
        assert (of[v][columns] == of[v][columns].round()).all(axis=None)
        assert (of[v][columns] >= 0).all(axis=None)
    assert (of["on"][columns] <= 1).all(axis=None)
    for v, high in (("size", np.inf), ("dose", np.inf), ("sat", 100.0), ("share", 1.0)):
        inside = of[v][[*columns, "mean"]]
        assert ((inside > 0) & (inside < high)).all(axis=None)
    assert (answer["std"] > 0).all() and np.isfinite(answer["mean"]).all()
    assert np.isfinite(asked.log_prob(asked.quantile(0.4))).all()


def test_a_saved_model_and_a_checkpoint_say_the_same(model, frame, tmp_path):
    expected = model.predict(frame, at=2.0, count=2)
    model.save(tmp_path / "m")
    again = LatentODEForecaster.load(tmp_path / "m")
    pd.testing.assert_frame_equal(again.predict(frame, at=2.0, count=2), expected, check_exact=True)
    assert (
        again.fitted_.reader.scaling == model.fitted_.reader.scaling and again.schema_ == model.schema_
    )
    assert again.model.likelihood == LIKELIHOOD
    data = IrregularDataModule(frame, schema=SCHEMA, task=Forecasting(2.0, 6.0), windows_per_epoch=6)
    options = {"latent_size": 3, "hidden_size": 8, "likelihood": LIKELIHOOD}
    module = module_of(data.sizes, **options)
    trainer = Trainer(
        max_epochs=1, default_root_dir=tmp_path, logger=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "c.ckpt")
    loaded = LatentODEModule.load_from_checkpoint(tmp_path / "c.ckpt", weights_only=True)
    one, other = (LatentODEForecaster.from_lightning(m, data) for m in (module, loaded))
    pd.testing.assert_frame_equal(one.predict(frame, 1.0), other.predict(frame, 1.0), check_exact=True)
    assert other.model.likelihood == LIKELIHOOD
    (table,) = trainer.predict(module, IrregularDataModule(
        frame, frame, schema=SCHEMA, task=Forecasting(2.0, 6.0)
    ))  # fmt: skip
    counts = table[table["variable"] == "n"]
    assert len(counts) and (counts["q0.5"] == counts["q0.5"].round()).all()


@pytest.mark.parametrize("loss", ["mse", "mae", "mse+mae"])
def test_point_losses_train_every_family(frame, loss):
    options = {**TINY, "likelihood": LIKELIHOOD, "loss": loss, "balance": "variables"}
    model = forecaster(**options).fit(frame, SCHEMA)
    assert np.isfinite(model.history_["val_loss"]).all()


def test_a_forecast_of_one_variable_does_not_depend_on_what_else_is_asked(model, frame):
    every = model.predict(frame, at=2.0)
    for v in ("n", "dose", "t"):
        alone = model.predict(frame, at=2.0, variables=[v]).reset_index(drop=True)
        of = every[every["variable"] == v].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, of, rtol=1e-4)


def test_a_part_of_a_forecast_says_of_its_queries_what_the_whole_does(model, frame):
    every = [time + 0.01 for time in (3.0, 6.0, 9.0)]
    model.calibrate(table(n=10, seed=5), bins=2)
    whole = model.forecast(frame, at=every)
    model.fitted_ = replace(model.fitted_, calibration=None)
    assert whole.joint is not None and whole.transforms and whole.score_transform.curves.changed.any()
    places = np.random.default_rng(0).permutation(len(whole))[:60]
    part = whole.take(places)
    expected = whole.to_frame((0.1, 0.5)).iloc[places].reset_index(drop=True)
    pd.testing.assert_frame_equal(part.to_frame((0.1, 0.5)), expected, rtol=1e-6)
    value = whole.quantile(0.3)
    np.testing.assert_allclose(part.cdf(value[places]), whole.cdf(value)[places], atol=1e-8)
    np.testing.assert_allclose(part.log_prob(value[places]), whole.log_prob(value)[places], rtol=1e-6)
    np.testing.assert_allclose(part.sample(3), whole.sample(3)[:, places], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("column", "value", "name", "wants"),
    [
        ("n", -1.0, "poisson", "whole numbers from 0 on"),
        ("bursts", 1.5, "negative-binomial", "whole numbers from 0 on"),
        ("on", 0.5, "bernoulli", "0 or 1"),
        ("share", 1.0, "beta", "values above 0 and below 1"),
        ("size", 0.0, "log-normal", "positive values"),
    ],
)
def test_a_value_that_its_likelihood_cannot_explain_is_refused_before_training(
    frame, model, column, value, name, wants
):
    bad = frame.astype({column: float})
    bad.loc[20, column] = value
    bad.loc[3, column] = value  # of two the first
    message = f"column `{column}`: {value} at row 3, but likelihood '{name}' wants {wants}; correct it"
    with pytest.raises(SchemaError, match=message):
        forecaster(**TINY, likelihood={column: name}).fit(bad)
    with pytest.raises(SchemaError, match=message):
        model.predict(bad, at=1.0)
    data = IrregularDataModule(bad, task=Forecasting(2.0))
    module = module_of(data.sizes, likelihood={column: name})
    with pytest.raises(SchemaError, match=message):
        Trainer(max_epochs=1, logger=False, accelerator="cpu", enable_checkpointing=False).fit(
            module, data
        )


def test_loaders_of_ones_own_are_trained_on_as_they_are(frame, tmp_path):
    data = IrregularDataModule(frame, schema=SCHEMA, task=Forecasting(2.0, 6.0), windows_per_epoch=6)
    module = module_of(data.sizes, latent_size=3, hidden_size=8, likelihood=LIKELIHOOD)
    options = {"logger": False, "accelerator": "cpu", "enable_checkpointing": False}
    trainer = Trainer(max_epochs=1, enable_progress_bar=False, enable_model_summary=False, **options)
    trainer.fit(module, data.train_dataloader())
    assert module.skipped_batches == 0


def test_in_a_long_table_the_row_and_the_variable_are_named(frame):
    long = frame.melt(["id", "time"], ["n", "t"])
    long.loc[5, "value"] = 0.5
    with pytest.raises(SchemaError, match=r"column `value` \(variable `n`\): 0.5 at row 5"):
        forecaster(**TINY, likelihood={"n": "poisson"}).fit(long)


@pytest.mark.parametrize(
    ("column", "value", "spec", "message"),
    [
        ("dose", 0.0, "log", "0.0 at row 7, but transform 'log' wants positive values; take 'yeo-j"),
        ("dose", -1.0, "box-cox", "-1.0 at row 7, but transform 'box-cox' wants positive values"),
        ("sat", 100.0, ("logit", 0, 100), "100.0 at row 7, .* strictly between .* wider bounds"),
    ],
)
def test_a_value_beyond_a_transforms_domain_is_refused(frame, column, value, spec, message):
    frame = frame[["id", "time", column]]
    bad = frame.copy()
    bad.loc[7, column] = value
    schema = Schema(transforms={column: spec})
    with pytest.raises(SchemaError, match=f"column `{column}`: {message}"):
        tiny().fit(bad, schema)
    fitted = tiny().fit(frame, schema)
    with pytest.raises(SchemaError, match=f"column `{column}`: {message}"):
        fitted.predict(bad, at=1.0)


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ({"dosis": "log"}, "transforms= speaks of `dosis`, which is none of"),
        ({"dose": "sqrt"}, "transform 'sqrt' of `dose` is unknown; choose from log, logit, box-cox"),
        ({"dose": ("log", 0, 1)}, "only logit takes bounds"),
        ({"sat": ("logit", 100, 0)}, "a lower and a higher one"),
    ],
)
def test_a_transform_that_makes_no_sense_is_refused(frame, transforms, message):
    with pytest.raises(SchemaError, match=message):
        forecaster(**TINY).fit(frame, Schema(transforms=transforms))


def test_a_likelihood_of_the_tables_own_values_does_not_go_with_a_transform(frame):
    with pytest.raises(LatentODEError, match="does not go with the transform 'log'"):
        forecaster(**TINY, likelihood={"dose": "log-normal"}).fit(frame, SCHEMA)


def test_scaling_is_of_transformed_training_values_and_survives_json(frame):
    scaling = Scaling.fit(SeriesDataset.from_frame(frame, SCHEMA))
    v = list(frame.columns[2:]).index("dose")
    assert scaling.loc[v] == pytest.approx(np.log(frame["dose"]).mean())
    assert scaling.scale[v] == pytest.approx(np.log(frame["dose"]).std(ddof=0))
    assert Scaling.from_dict(scaling.to_dict()) == scaling
    plain = Scaling.fit(SeriesDataset.from_frame(frame))
    state = plain.to_dict()
    state.pop("transforms")  # as an earlier release wrote it
    assert Scaling.from_dict(state) == plain
    again = Schema.from_json(SCHEMA.to_json())
    assert again == SCHEMA and hash(again) == hash(SCHEMA)
    assert again.transforms["sat"] == ("logit", 0.0, 100.0)


def test_the_command_line_takes_both(frame, tmp_path, monkeypatch, capsys):
    frame[["id", "time", "n", "t", "sat"]].to_csv(tmp_path / "t.csv", index=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["latentode", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    size = ("--max-epochs", 1, "--latent-size", 2, "--hidden-size", 8, "--quiet", "--horizon", 2)
    told = ("--likelihood", "n=poisson,t=laplace", "--transform", "sat=logit:0:100")
    model = tmp_path / "m"
    assert run("fit", tmp_path / "t.csv", "--out", model, *size, *told)[0] == 0
    fitted = LatentODEForecaster.load(model)
    assert fitted.model.likelihood == {"n": "poisson", "t": "laplace"}
    assert dict(fitted.schema_.transforms) == {"sat": ("logit", 0.0, 100.0)}
    status, out, _ = run("forecast", model, tmp_path / "t.csv", "--ahead", 1)
    assert status == 0 and "sat" in out
    for wrong, said in (
        (("--transform", "sat"), "--transform 'sat' is not variable=name"),
        (("--transform", "sat=logit:a:b"), "is not variable=name"),
        (("--transform", "sad=log"), "--transform speaks of `sad`"),
        (("--likelihood", "z=poisson"), "--likelihood speaks of the variable 'z'"),
        (("--likelihood", "t=poisson"), "line 2, but likelihood 'poisson'"),
    ):
        status, _, err = run("fit", tmp_path / "t.csv", "--out", tmp_path / "x", *size, *wrong)
        assert status == 1 and said in err, err


def test_every_parameter_receives_a_gradient_in_both_layouts(frame):
    data = IrregularDataModule(frame, schema=SCHEMA, task=Forecasting(2.0, 6.0), batch_size=6)
    batch = next(iter(data.train_dataloader()))
    for layout in ("joint", "per-variable"):
        torch.manual_seed(0)
        options = {"latent": layout, "likelihood": LIKELIHOOD}
        module = module_of(data.sizes, latent_size=4, hidden_size=8, **options)
        noise = torch.randn(1, len(batch), module.model.latent_size)
        made, _ = module.model(batch, batch.target.queries(), noise)
        made.log_prob(batch.target.value.float()).mean().backward()
        for name, parameter in module.model.named_parameters():
            if "backward" not in name:
                assert parameter.grad is not None, name
                assert torch.isfinite(parameter.grad).all(), name


def of_sizes(likelihood):
    """Sixteen series of two kinds and sizes, of which the first jumps at its end, and a new one."""
    rng, n, rows = np.random.default_rng(0), 16, 36
    kind = np.arange(n) % 2
    size = np.where(kind == 1, 0.6, 0.2)[:, None] * np.exp(0.3 * rng.normal(size=(n, 1)))
    level = np.clip(size * np.ones(rows), 0.02, 0.7)
    level[0, -6:] += 0.25
    x = 20 * level * np.exp(0.1 * rng.normal(size=level.shape))
    if likelihood in ("poisson", "negative-binomial"):
        x = rng.poisson(x).astype(float)
    elif likelihood == "bernoulli":
        x = (rng.random(level.shape) < level).astype(float)
    elif likelihood == "beta":
        x = np.clip(x / 20, 0.01, 0.99)
    table = pd.DataFrame({"id": np.repeat(np.arange(n), rows), "time": np.tile(np.arange(36.0), n)})
    table["kind"], table["x"] = np.repeat(np.array(["a", "b"])[kind], rows), x.ravel()
    new = pd.DataFrame({"id": [99], "time": [0.0], "kind": ["b"], "x": [np.nan]})
    return pd.concat([table, new], ignore_index=True)


@pytest.mark.parametrize("latent", ["per-variable", "joint"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_jumps_sizes_and_statics_are_of_a_series_alone_in_every_family(likelihood, latent, tmp_path):
    table = of_sizes(likelihood)
    options = {"likelihood": likelihood, "latent": latent, "max_epochs": 0}
    schema = Schema(targets=("x",), static_covariates=("kind",))
    model = tiny(horizon=5.0, **options).fit(table[table["id"] < 99], schema)
    found = model.predict(table, 3.0).set_index("id")
    assert np.isfinite(found.select_dtypes(float)).all(axis=None)
    for some in ([0], [99], [3, 0]):
        alone = model.predict(table[table["id"].isin(some)], 3.0).set_index("id")
        pd.testing.assert_frame_equal(alone, found.loc[sorted(some)], rtol=1e-5)
    model.save(tmp_path)
    same(type(model).load(tmp_path).predict(table, 3.0), model.predict(table, 3.0))
    plain = model.predict(table.assign(x=table["x"].where(table["time"] < 30)), 9.0).set_index("id")
    if likelihood != "bernoulli":
        assert found.loc[0, "mean"] > plain.loc[0, "mean"]  # it has risen
        assert found.loc[99, "mean"] > found.loc[0, "mean"] * 0.5  # of the larger kind
