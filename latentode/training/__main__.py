"""The module and the data module as commands: `python -m latentode.training fit --config run.yaml`.

Lightning's own command line over both: `fit`, `validate` and `predict`, any argument of the trainer, of
callbacks and of loggers, each from YAML or as an option; the network's sizes come from the data.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from latentode.errors import LatentODEError
from latentode.training.data_module import IrregularDataModule
from latentode.training.module import LatentODEModule

__all__ = ["main"]


class _Commands(LightningCLI):
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("data.sizes", "model.sizes", apply_on="instantiate")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command; an error that the user can mend is one line and exit status 1.

    Args:
        arguments: of the command line, by default those of the program.
    """
    try:
        _Commands(LatentODEModule, IrregularDataModule, args=arguments)  # type: ignore[arg-type]
    except LatentODEError as error:
        sys.exit(f"error: {error}")
    except ModuleNotFoundError as error:
        if "jsonargparse" not in str(error):
            raise
        sys.exit(
            'error: YAML of a Trainer is read by jsonargparse: pip install "latentode[lightning-cli]"'
        )


if __name__ == "__main__":
    main()
