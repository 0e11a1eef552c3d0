"""`python -m latentode.cli` is `latentode`."""

from latentode.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
