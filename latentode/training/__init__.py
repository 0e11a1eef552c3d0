"""Training with Lightning: the module, the data module, callbacks and a whole fit.

In: tables with a `Task` and a network. Out: trained weights and the metrics of each epoch.
May import: `evaluation` and what lies below it. The only room that imports Lightning.
`TrainingConfig` says what is lowered, by which optimiser and for how long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from latentode.training.callbacks import average_weights
    from latentode.training.config import TrainingConfig
    from latentode.training.data_module import IrregularDataModule
    from latentode.training.fit import run_fit
    from latentode.training.module import LatentODEModule

__all__ = ["IrregularDataModule", "LatentODEModule", "TrainingConfig", "average_weights", "run_fit"]

# Imported on first use, so that a command that needs no network loads neither torch nor Lightning.
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "callbacks": ["average_weights"],
        "config": ["TrainingConfig"],
        "data_module": ["IrregularDataModule"],
        "fit": ["run_fit"],
        "module": ["LatentODEModule"],
    },
)
