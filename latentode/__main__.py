"""The command line without its script: `python -m latentode`, with whatever Python has the package."""

from latentode.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
