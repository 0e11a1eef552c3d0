"""Every precision of a `Trainer` trains every encoder and option, to about the same loss."""

import logging
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer
from making import module_of

from latentode import Forecasting, IrregularDataModule
from latentode.nn import ENCODERS

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
PRECISIONS = {  # and how far from single precision its loss may be
    "64-true": 1e-3,
    "bf16-mixed": 0.05,
    "16-mixed": 0.05,
    "bf16-true": 0.15,
}
LAYOUTS = {
    "per-variable": {},
    **{f"joint-{name}": {"latent": "joint", "encoder": name} for name in ENCODERS},
}
OPTIONS = {
    "flows": {"posterior": "cnf", "prior": "cnf"},
    "flows-joint": {"latent": "joint", "posterior": "cnf", "prior": "cnf"},
    "times": {"observation_times": "poisson-per-variable"},
    "last-value": {"structure": "last-value"},
    "classic": {"latent": "joint", "structure": None},
    "coupled": {"interaction": "dynamics"},
    "gated": {"dynamics": "gated"},
    "linear": {"dynamics": "linear"},
    "second-order": {"dynamics": "second-order"},
    "counts": {"likelihood": {"n": "poisson", "p": "log-normal"}},
    "quantile": {"likelihood": "quantile"},
    "mean": {"loss": "mse+mae", "balance": "variables"},
}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    series = [
        pd.DataFrame(
            {
                "id": s,
                "time": (t := np.sort(rng.uniform(0, 30, 25))),
                "x": np.sin(t / 4 + s),
                "p": np.exp(np.sin(t / 4)),
                "n": rng.poisson(300.0, 25),
            }
        )
        for s in range(8)
    ]
    frame, task = pd.concat(series), Forecasting(6.0, 12.0)
    return IrregularDataModule(frame, frame, task=task, windows_per_epoch=8, batch_size=8)


def losses(data, precision, options):
    """The validation loss before training, and that after two epochs."""
    torch.manual_seed(0)
    options = {"latent_size": 4, "hidden_size": 8, "kl_warmup": 1, **options}
    module = module_of(data.sizes, **options)
    before = [p.detach().clone() for p in module.parameters()]
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    trainer = Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=2,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **quiet,
    )
    first = trainer.validate(module, data, verbose=False)[0]["val_loss"]
    trainer.fit(module, data)
    last = float(trainer.callback_metrics["val_loss"])
    assert module.skipped_batches == 0
    assert all(torch.isfinite(p).all() for p in module.parameters())
    changed = [
        bool((a != b.to(a.dtype)).any()) for a, b in zip(module.parameters(), before, strict=True)
    ]
    assert np.mean(changed) > 0.3
    frames = trainer.predict(module, data)
    assert all(np.isfinite(f["mean"]).all() for f in frames)
    assert "convert_input" not in vars(trainer.precision_plugin)
    return first, last


@pytest.fixture(scope="module")
def expected(data):
    """The losses in single precision, by name."""
    return cache(lambda name: losses(data, "32-true", (LAYOUTS | OPTIONS)[name]))


@pytest.mark.parametrize(
    "precision",
    # On a CPU half precision is mixed in as bfloat16 is.
    [pytest.param(p, marks=[pytest.mark.slow] * (p == "16-mixed")) for p in PRECISIONS],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_encoder_trains_in_every_precision(data, expected, precision, layout):
    found, single = losses(data, precision, LAYOUTS[layout]), expected(layout)
    close = PRECISIONS[precision]
    assert found == pytest.approx(single, rel=close, abs=close)


IN_DOUBLE = ("flows", "times", "linear", "counts")  # which bfloat16 does not do, or not alike
# Complex numbers, by which linear dynamics are solved, have no bfloat16.
PAIRS = [
    pytest.param(
        option,
        precision,
        marks=[pytest.mark.slow]
        * (precision == "bf16-mixed" or (precision == "64-true" and option not in IN_DOUBLE)),
    )
    for option in OPTIONS
    for precision in PRECISIONS
    if precision != "16-mixed" and (option, precision) != ("linear", "bf16-true")
]


@pytest.mark.parametrize(("option", "precision"), PAIRS)
def test_every_option_trains_in_every_precision(data, expected, option, precision):
    first, found = losses(data, precision, OPTIONS[option])
    close = PRECISIONS[precision]
    assert first == pytest.approx(expected(option)[0], rel=close, abs=close)
    assert np.isfinite(found)


def test_a_batch_reaches_the_network_with_its_times_in_double_precision(data):
    seen = []
    module = module_of(data.sizes, latent_size=4, hidden_size=8)
    module.on_train_batch_start = lambda batch, index: seen.append(batch.context.time.dtype)
    Trainer(
        accelerator="cpu",
        precision="bf16-true",
        max_steps=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, data)
    assert seen == [torch.float64]
