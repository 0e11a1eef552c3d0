"""LatentODEClassifier and the label head: what they learn, depend on, and refuse."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from making import batch_of, classifier, network, noise_for, piece
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from latentode import (
    IrregularDataModule,
    LatentODEClassifier,
    LatentODEError,
    LatentODEForecaster,
    Schema,
    SchemaError,
    SeriesDataset,
)
from latentode.data import Classification
from latentode.data.labels import Labels, read_labels
from latentode.model.objective import elbo_terms, mean_label_loss

exactly = {"rtol": 0.0, "atol": 1e-10}
TINY = {"latent_size": 4, "hidden_size": 16, "lr": 1e-2, "verbose": False}
KINDS = [
    pytest.param({"labels": of, "n_classes": 3, **kind}, id=f"{of}-{what}")
    for of in ("series", "times")
    for what, kind in {
        "joint": {},
        "start": {"t0": "start"},
        "per-variable": {"latent": "per-variable", "attention_heads": 2, "variational": True},
        "coupled": {"latent": "per-variable", "attention_heads": 2, "interaction": "dynamics"},
    }.items()
]
every_kind = pytest.mark.parametrize("options", KINDS)


def pieces(seed=0, sizes=((5, 4), (3, 6), (0, 2), (4, 0))):
    rng = np.random.default_rng(seed)
    return [piece(rng, *size) for size in sizes]


def labelled(made, of, seed=0):
    """A batch of which every series has a label, or two at times of its context and after it."""
    batch = batch_of(made)
    series = torch.arange(len(made))
    time = torch.zeros(len(made), dtype=torch.float64)
    if of == "times":
        series = series.repeat_interleave(2)
        time = torch.stack([0.5 * batch.start, 1.0 - 0.1 * batch.start], dim=1).reshape(-1)
    return replace(batch, labels=Labels(series, time, (series + (time > 0)) % 3))


def level_and_trend(n, seed):
    """Series whose trend, not their level, says what they are; ids are text."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(n):
        time = np.sort(rng.uniform(0, 10, rng.integers(6, 14)))
        x = rng.normal() + (1 if i % 2 else -1) * 0.3 * time + 0.1 * rng.normal(size=len(time))
        y = np.where(rng.uniform(size=len(time)) < 0.5, np.nan, rng.normal(size=len(time)))
        parts.append(pd.DataFrame({"id": f"{seed}-{i}", "time": time, "x": x, "y": y}))
    frame = pd.concat(parts, ignore_index=True)
    labels = {f"{seed}-{i}": "up" if i % 2 else "down" for i in range(n)}
    return frame, pd.Series(labels)


def phases(n, seed):
    """Sines, and at 5 times of each whether it is high then."""
    rng = np.random.default_rng(seed)
    parts, labels = [], []
    for i in range(n):
        phase, time = rng.uniform(0, 6.28), np.sort(rng.uniform(0, 6, 25))
        x = np.sin(time + phase) + 0.1 * rng.normal(size=len(time))
        asked = rng.uniform(time[0], 6, 5)
        parts.append(pd.DataFrame({"id": i, "time": time, "x": x}))
        labels.append(pd.DataFrame({"id": i, "time": asked, "high": np.sin(asked + phase) > 0}))
    return pd.concat(parts, ignore_index=True), pd.concat(labels, ignore_index=True)


@pytest.fixture(scope="module")
def trained():
    frame, labels = level_and_trend(80, 0)
    return classifier(latent="joint", max_epochs=12, **TINY).fit(frame, labels)


@pytest.fixture(scope="module")
def per_variable():
    frame, labels = level_and_trend(40, 0)
    network = {"attention_layers": 1}
    return classifier(max_epochs=2, network=network, **TINY).fit(frame, labels)


def test_what_tells_series_apart_is_learnt(trained):
    frame, labels = level_and_trend(40, 1)
    assert trained.score(frame, labels) > 0.9
    found = trained.predict_proba(frame)
    assert list(found) == ["down", "up"]
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (trained.predict(frame) == np.where(found["up"] > 0.5, "up", "down")).all()
    assert {"val_labels", "val_accuracy", "val_loss"} <= set(trained.history_)
    np.testing.assert_allclose(trained.history_["val_loss"], trained.history_["val_labels"])


@pytest.mark.slow
def test_labels_at_times_are_learnt_and_answered_at_any_time():
    options = {**TINY, "latent_size": 6}
    frame, labels = phases(60, 0)
    model = classifier(latent="joint", max_epochs=40, **options).fit(frame, labels)
    held_out, truth = phases(20, 1)
    base = max(truth["high"].mean(), 1 - truth["high"].mean())
    assert model.score(held_out, truth) > base + 0.25
    at = truth[["id", "time"]].sample(frac=1, random_state=0)
    found = model.predict_proba(held_out, at)
    assert list(found.index.names) == ["id", "time"]
    assert found.index.tolist() == list(at.itertuples(index=False, name=None))
    with pytest.raises(LatentODEError, match="say at which"):
        model.predict(held_out)
    with pytest.raises(SchemaError, match="before its first observation"):
        model.predict(held_out, pd.DataFrame({"id": [3], "time": [-1.0]}))


@pytest.mark.parametrize("layout", ["trained", "per_variable"])
def test_a_series_is_classified_the_same_alone_among_others_and_in_any_order(layout, request):
    model = request.getfixturevalue(layout)
    frame, _ = level_and_trend(8, 2)
    together = model.predict_proba(frame)
    shuffled = model.predict_proba(frame.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(shuffled.loc[together.index], together, rtol=0, atol=1e-6)
    for name in together.index:
        alone = model.predict_proba(frame[frame["id"] == name])
        np.testing.assert_allclose(alone.loc[name], together.loc[name], rtol=0, atol=1e-6)


def test_a_fit_does_not_depend_on_the_order_of_rows_or_labels(per_variable):
    frame, labels = level_and_trend(40, 0)
    again = clone(per_variable).fit(frame.sample(frac=1, random_state=1), labels.iloc[::-1])
    other, _ = level_and_trend(5, 3)
    pd.testing.assert_frame_equal(
        again.predict_proba(other), per_variable.predict_proba(other), check_exact=True
    )


def test_labels_may_be_a_frame_and_integers():
    frame, _ = level_and_trend(24, 0)
    numbered = frame.assign(id=frame["id"].str[2:].astype(int))
    table = pd.DataFrame({"id": range(24), "outcome": [0, 1] * 12})
    model = classifier(latent="joint", max_epochs=1, **TINY).fit(numbered, table)
    assert model.classes_.tolist() == [0, 1] and not model._of_times
    assert model.predict(numbered).isin([0, 1]).all()
    assert 0 <= model.score(numbered, table) <= 1


def test_a_loaded_classifier_is_the_saved_one(trained, tmp_path):
    frame, _ = level_and_trend(6, 4)
    trained.save(tmp_path)
    loaded = LatentODEClassifier.load(tmp_path)
    assert loaded.get_params() == trained.get_params()
    assert loaded.classes_.tolist() == trained.classes_.tolist()
    pd.testing.assert_frame_equal(
        loaded.predict_proba(frame), trained.predict_proba(frame), check_exact=True
    )
    with pytest.raises(LatentODEError, match=r"no forecaster\.safetensors"):
        LatentODEForecaster.load(tmp_path)


@pytest.mark.usefixtures("float64")
@every_kind
def test_a_series_has_the_same_labels_alone_in_a_batch_and_in_any_order(options):
    model, made = network(**options), pieces()
    noise = noise_for(len(made), latent=model.latent_size)

    def loss(made, noise):
        batch = labelled(made, options["labels"])
        # The same class for each series wherever it stands.
        batch = replace(batch, labels=replace(batch.labels, klass=0 * batch.labels.klass))
        return elbo_terms(model, batch, noise).labels

    together = loss(made, noise)
    for i, each in enumerate(made):
        torch.testing.assert_close(loss([each], noise[:, i : i + 1])[0], together[i], **exactly)
    order = np.random.default_rng(1).permutation(len(made))
    torch.testing.assert_close(
        loss([made[i] for i in order], noise[:, order]), together[order], **exactly
    )


@pytest.mark.usefixtures("float64")
@every_kind
def test_labels_and_targets_do_not_reach_what_is_said_of_them(options):
    model = network(**options)
    batch = labelled(pieces(), options["labels"])
    noise = noise_for(len(batch), latent=model.latent_size)
    other = replace(
        batch,
        target=replace(batch.target, value=-5 * batch.target.value),
        labels=replace(batch.labels, klass=(batch.labels.klass + 1) % 3),
    )
    logits = []
    for each in (batch, other):
        through = model.reach(each, past=False)
        path = model.answer(each, each.target.queries(), noise, through)[2]
        logits.append(model.label_logits(path, each, each.labels))
    torch.testing.assert_close(*logits, **exactly)
    assert logits[0].std() > 1e-3
    one, two = (mean_label_loss(elbo_terms(model, b, noise)).detach() for b in (batch, other))
    assert abs(float(one - two)) > 1e-6


@pytest.mark.usefixtures("float64")
@every_kind
def test_every_parameter_of_the_head_and_the_encoder_learns_from_labels(options):
    model = network(**options)
    batch = labelled(pieces(), options["labels"])
    noise = noise_for(len(batch), latent=model.latent_size)
    mean_label_loss(elbo_terms(model, batch, noise)).backward()
    for name, parameter in model.named_parameters():
        of_values = name.startswith("layout.decoder")
        zero = parameter.grad is None or parameter.grad.abs().max() == 0
        assert zero == of_values, name


@pytest.mark.usefixtures("float64")
def test_the_mean_of_a_path_is_read_beside_its_end():
    """With a linear field the mean over the context has a closed form."""
    model = network(labels="series", n_classes=2, solver={"intervals": 40}, n_static=0, n_known=0)
    batch = labelled([replace(p, static=p.static[:0]) for p in pieces(sizes=((6, 1),))], "series")
    batch = replace(batch, control_value=batch.control_value[..., :0])
    z0 = model.encode(batch).sample(noise_for(1))
    path = model.trajectory(batch, z0, batch.start)
    seen = []
    hook = model.labelling.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.label_logits(path, batch, batch.labels)
    hook.remove()
    now, mean = seen[0].squeeze(1).squeeze(1).chunk(2, dim=1)
    torch.testing.assert_close(now, z0[:, 0], **exactly)
    start = float(batch.start[0]) / 2.0
    fine = torch.linspace(start, 0, 20001)
    along = torch.stack([path.at(torch.full_like(fine, s, dtype=torch.long), fine) for s in range(3)])
    torch.testing.assert_close(mean, torch.trapezoid(along, fine, dim=1) / -start, rtol=1e-6, atol=1e-6)


def test_a_data_module_labels_its_batches_by_series_and_by_time():
    frame, labels = phases(6, 0)
    data = IrregularDataModule(
        frame[frame["id"] < 4],
        frame[frame["id"] >= 4],
        task=Classification(labels, span=2.0),
    )
    assert data.classes == (False, True)
    (batch,) = data.val_dataloader()
    own = labels[labels["id"] >= 4].sort_values(["id", "time"])
    last = frame.groupby("id")["time"].max()
    assert batch.labels.series.tolist() == (own["id"] - 4).tolist()
    assert batch.labels.klass.tolist() == own["high"].astype(int).tolist()
    expected = own["time"].to_numpy() - last[own["id"]].to_numpy()
    np.testing.assert_allclose(batch.labels.time, expected, atol=1e-12)


FRAME = pd.DataFrame({"id": ["a", "a", "b"], "time": [0.0, 1.0, 0.0], "x": [1.0, 2.0, 3.0]})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1]), "labels are a ndarray, which does not say whose they are"),
        ([0, 1], "labels are a list, which does not say whose they are"),
        (pd.Series({"a": 0}), "series 'b' has no label"),
        (pd.Series({"a": 0, "b": 1, "c": 1}), "label of series 'c', which is not in the table"),
        (pd.Series({"a": 0, "b": None}), "the label of 'b' is missing"),
        (pd.Series([0, 1, 1], index=["a", "b", "a"]), "'a' has more than one label"),
        (pd.DataFrame({"id": ["a", "b"], "y": [0, 1], "z": [0, 1]}), "labels have the columns"),
        (pd.DataFrame({"name": ["a", "b"], "y": [0, 1]}), "labels have the columns"),
        (pd.DataFrame({"id": ["a", "b"], "time": [-1.0, 0.0], "y": [0, 1]}), "before its first"),
        (pd.DataFrame({"id": ["a", "a", "b"], "time": 0.5, "y": 0}), "more than one label at one time"),
        (pd.Series(dtype=int), "labels have no rows"),
    ],
)
def test_labels_that_do_not_match_are_refused_with_the_series_and_the_fix(labels, message):
    with pytest.raises(SchemaError, match=message):
        read_labels(labels, SeriesDataset.from_frame(FRAME))


def test_identifiers_of_another_type_are_named():
    dataset = SeriesDataset.from_frame(FRAME.assign(id=[1, 1, 2]))
    with pytest.raises(SchemaError, match="it has 1, of type int: convert one of the two"):
        read_labels(pd.Series({"1": 0, "2": 1}), dataset)


def test_what_cannot_be_classified_is_refused(trained):
    frame, labels = level_and_trend(24, 0)
    with pytest.raises(NotFittedError, match="call fit first"):
        classifier().predict(frame)
    with pytest.raises(SchemaError, match="every label is 'up'"):
        classifier(**TINY).fit(frame, pd.Series("up", index=labels.index))
    with pytest.raises(LatentODEError, match="dropout must be at least 0"):
        classifier(label_dropout=1.0).fit(frame, labels)
    with pytest.raises(SchemaError, match="'sideways' was not among the classes of training"):
        trained.score(frame, labels.replace("up", "sideways"))
    with pytest.raises(LatentODEError, match="leave out at="):
        trained.predict(frame, frame[["id", "time"]])
    with pytest.raises(LatentODEError, match="labels of 'rows' are unknown"):
        network(labels="rows", n_classes=2)
    with pytest.raises(LatentODEError, match="at least two classes"):
        network(labels="series", n_classes=1)
    with pytest.raises(LatentODEError, match="no label head"):
        batch = labelled(pieces(), "series")
        model = network()
        path = model.trajectory(batch, noise_for(4), batch.start)
        model.label_logits(path, batch, batch.labels)


def test_a_table_of_one_series_has_labels_of_times():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"t": np.arange(40.0), "x": np.sin(np.arange(40.0)) + 0.1 * rng.normal(size=40)}
    )
    labels = pd.DataFrame({"t": frame["t"], "high": frame["x"] > 0})
    model = classifier(latent="joint", max_epochs=1, **TINY)
    with pytest.warns(UserWarning, match="too few to hold any out"):
        model.fit(frame, labels, Schema(time="t", targets="x"))
    assert len(model.predict(frame, labels[["t"]])) == 40
    assert 0 <= model.score(frame, labels) <= 1


def test_a_wild_reading_leaves_probabilities_of_every_series(trained):
    frame, _ = level_and_trend(8, 2)
    before = trained.predict_proba(frame)
    column = next(c for c in frame if c not in ("id", "time"))
    for wild in (1e20, -1e30):
        values = frame[column].where(frame.index != 0, wild)
        found = trained.predict_proba(frame.assign(**{column: values}))
        assert np.isfinite(found.to_numpy()).all()
        others = found.index != frame["id"].iloc[0]
        pd.testing.assert_frame_equal(found[others], before[others], rtol=0, atol=1e-6)
