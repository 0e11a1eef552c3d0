"""What the tests of first tables share: hours, readings, and what is read and said of a table."""

import contextlib
import io

import numpy as np
import pandas as pd
import pytest

from latentode.cli import main
from latentode.data import Schema
from latentode.data.tables.reading import read_columns

HOURS = pd.date_range("2024-03-01", periods=96, freq="h")
WAVE = np.round(20 + 3 * np.sin(np.arange(96) / 4), 1)
ROWS = [(f"{hour:%Y-%m-%d %H:%M}", value) for hour, value in zip(HOURS, WAVE, strict=True)]


def read(table, **schema):
    found = read_columns(table, Schema(**schema))
    return found, " ".join(found.notes)


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def in_this_process(*arguments):
    """What the command line prints."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr("sys.argv", ["latentode", *map(str, arguments)])
        with contextlib.suppress(SystemExit):
            main()
    return out.getvalue()
