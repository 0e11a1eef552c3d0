"""The command line without its script: `python -m latentode.cli`, by any Python that has it."""

from latentode.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
