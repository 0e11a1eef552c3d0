"""On a CUDA device: what the CPU answers, in every layout, family, precision and door."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from making import batch_of, classifier, network, noise_for, piece, same, tiny, waves
from test_trainer_modes import LAYOUTS, LIKELIHOODS, PRECISIONS, some_data, some_module, trainer_of

from latentode import LatentODEForecaster
from latentode.model.emission import STRUCTURES
from latentode.model.objective import elbo_terms, negative_elbo
from latentode.nn import ENCODERS
from latentode.nn import LIKELIHOODS as FAMILIES

TINY = {"latent_size": 4, "hidden_size": 16, "lr": 1e-2, "verbose": False}
pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*treespec.*"),
]
READERS = [("per-variable", "gru"), *(("joint", name) for name in ENCODERS)]
CARD = {"accelerator": "gpu", "devices": 1}


def gradients(model, batch):
    model.zero_grad(set_to_none=True)
    noise = noise_for(len(batch), latent=model.latent_size).to(batch.start.device)
    loss = negative_elbo(elbo_terms(model, batch, noise), 0.7, 0.3)
    loss.backward()
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return loss.item(), {n: grad.to("cpu", copy=True) for n, grad in found.items()}


def same_on_both(**options):
    rng = np.random.default_rng(0)
    batch = batch_of([piece(rng, *size) for size in ((6, 5), (4, 6), (0, 3), (9, 0))])
    counted = replace(batch, target=replace(batch.target, value=batch.target.value.abs().round()))
    batch = counted if options.get("likelihood") in ("poisson", "negative-binomial") else batch
    model = network(**options)
    on_cpu, expected = gradients(model, batch)
    on_card, found = gradients(model.cuda(), batch.to(torch.device("cuda")))
    assert on_card == pytest.approx(on_cpu, rel=1e-9)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-7, atol=1e-9, msg=name)


@pytest.mark.parametrize("likelihood", [n for n, kind in FAMILIES.items() if not kind.of_data_units])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_of_every_family_are_those_of_the_cpu(layout, likelihood):
    same_on_both(likelihood=likelihood, **{"latent": "per-variable", **LAYOUTS[layout]})


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(("layout", "encoder"), READERS)
def test_gradients_of_every_encoder_are_those_of_the_cpu(layout, encoder, structure):
    given = {"latent": "per-variable", **LAYOUTS[layout]}
    same_on_both(encoder=encoder, structure=structure, **given)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_layout_trains_in_every_precision(layout, precision):
    data = some_data()
    likelihood = LIKELIHOODS[PRECISIONS.index(precision)]
    module = some_module(data, **LAYOUTS[layout], likelihood=likelihood)
    trainer = trainer_of(precision=precision, num_sanity_val_steps=1, **CARD)
    trainer.fit(module, data)
    for name in ("train_loss", "val_loss", "val_nll"):
        assert np.isfinite(float(trainer.callback_metrics[name])), name
    assert trainer.global_step > 0 and module.skipped_batches == 0


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_fit_on_a_card_is_asked_by_every_door(layout, structure, tmp_path):
    frame = waves(6, 20)
    options = {"latent": "per-variable", **LAYOUTS[layout], "structure": structure}
    model = tiny(**options).fit(frame, trainer=CARD)
    expected = tiny(**options).fit(frame, trainer={"accelerator": "cpu"})
    assert next(model.network_.parameters()).device.type == "cpu"
    at = [12.5, 13.0, 14.0]
    found, other = (m.predict(frame, at=at) for m in (model, expected))
    numbers = found.select_dtypes("number").columns
    np.testing.assert_allclose(found[numbers], other[numbers], rtol=0.02, atol=0.02)
    model.save(tmp_path / "model")
    again = LatentODEForecaster.load(tmp_path / "model").predict(frame, at=at)
    pd.testing.assert_frame_equal(again, found)
    tested = model.backtest(frame)["mean"]
    assert len(tested) and np.isfinite(tested).all()
    assert model.predict(frame, at=[5.0])["mean"].notna().all()
    assert np.isfinite(model.predict(frame, at=at, samples=3)["value"]).all()
    assert np.isfinite(model.sample_paths(frame, draws=4).value([13.0])["mean"]).all()
    if structure == "state-space":
        assert model.forecast(frame, at).components()["value"].notna().all()
    model.calibrate(frame)


def test_a_network_left_on_a_card_answers_there():
    frame = waves(4, 20)
    model = tiny().fit(frame, trainer=CARD)
    before = model.predict(frame, at=[12.5])
    model.network_.cuda()
    after = model.predict(frame, at=[12.5])
    pd.testing.assert_frame_equal(before, after, rtol=1e-3, atol=1e-4)


def test_a_classifier_is_fitted_on_a_card():
    frame = waves(8, 16)
    labels = pd.DataFrame({"id": [f"s{i}" for i in range(8)], "label": list("abababab")})
    model = classifier(latent="joint", max_epochs=1, **TINY).fit(frame, labels, trainer=CARD)
    assert np.isfinite(model.predict_proba(frame).select_dtypes("number")).all(axis=None)


def test_deterministic_fits_on_a_card_are_equal_to_the_last_bit():
    frame, found = waves(4, 20), []
    for _ in range(2):
        try:
            model = tiny(max_epochs=2).fit(frame, trainer={**CARD, "deterministic": True})
        finally:
            torch.use_deterministic_algorithms(False)
        found.append(model.predict(frame, at=[12.5, 14.0]))
    same(*found)
