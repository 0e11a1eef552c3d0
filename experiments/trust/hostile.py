"""Hostile inputs: files with flipped bytes and odd cells, odd frames, odd questions, odd command lines.

Each is a call that ought to answer, or to raise a `LatentODEError`. What else happens is counted.
"""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentode import LatentODEError, LatentODEForecaster, Schema
from latentode.cli import main
from latentode.data.dataset import SeriesDataset
from latentode.data.files.table_files import read_table
from latentode.data.report import inspect

__all__ = ["Counts", "inputs", "spreadsheets"]

SECONDS = 5.0  # after which a call hangs
CELLS = [
    *("", " ", "NA", "nan", "inf", "-inf", "1e400", "1e308", "-1e308", "1e-320", "NaT", "true"),
    *(
        "1_000",
        "٣",
        "−5",
        "½",
        "'",
        '"',
        ";",
        "\t",
        "\x00",
        "\r",
        "\ufeff",
        "\u202e",
        "=1+1",
        "9" * 400,
    ),
    *("1" + "0" * 30, "-0", "2024-02-30", "0000-00-00", "9999-12-31", "10000-01-01", "1677-09-21"),
    *("2262-04-12", "2024-01-01T25:00", "2024-01-01T00:00:60", "2024-01-01T00:00:00+99:99", "12:00"),
    *(
        str(2**63),
        str(-(2**63) - 1),
        str(2**64),
        "1,5",
        "1.5.5",
        "1e5",
        "🙂",
        "None",
        "<0.5",
        "07:30 PM",
    ),
]
VALUES = [
    *(np.nan, np.inf, -np.inf, 1e300, -1e308, 3.5e38, 1e-300, 5e-324, 0, -0.0, "x", None, True, [1]),
    *(10**400, 2**63, decimal.Decimal("NaN"), decimal.Decimal("1.5"), 1j, "1", b"1", pd.NaT, object()),
]
TIMES = [
    *(np.nan, np.inf, 1e308, 1e15 + 0.125, 1e300, -0.0, 2**53 + 1, 2**63, "3", "x", "\t", None, True),
    *(
        10**400,
        1e20,
        pd.NaT,
        pd.Timestamp("2024-01-01"),
        dt.date(2024, 1, 1),
        "2024-04-03",
        "9999-12-31",
    ),
]
NAMES = [
    None,
    np.nan,
    "",
    0,
    1,
    "p0 ",
    ("a",),
    [1],
    b"p0",
    2**70,
    float("inf"),
    "p0",
    "😀",
    "\x00",
    True,
]
QUESTIONS = [
    *(
        "6h",
        "0h",
        "-1h",
        "1e9h",
        "999999999D",
        "nan h",
        "inf",
        "nan",
        "",
        " ",
        "h",
        "1ns",
        0,
        -1,
        1,
        6.0,
    ),
    *(1e-12, 1e-300, 1e10, 1e15, 1e38, 1e300, float("nan"), float("inf"), True, None, [], [None]),
    *([np.nan], ["2024-04-03"], ["x"], [1, "a"], [[1]], {}, {"a": 1}, set(), b"6h", 1j, np.array([])),
    *(np.array([[1.0, 2.0]]), np.float32(3), np.timedelta64(3, "h"), np.timedelta64("NaT"), pd.NaT),
    *(pd.Timedelta("3h"), pd.Timedelta.max, dt.timedelta.max, dt.date(2024, 4, 4), dt.datetime.max),
    *(pd.Timestamp("2024-04-04T00:00Z"), pd.Timestamp.max, pd.Series([1.0, np.inf]), pd.DataFrame()),
    *(pd.DataFrame({"id": ["p0"]}), pd.DataFrame({"id": ["p0"], "time": [None]})),
    *(pd.DataFrame({"id": ["zz"], "time": [50.0]}), pd.DataFrame({"id": ["p0"], "time": [1e300]})),
    *(pd.DataFrame({"id": [["p0"]], "time": [50.0]}), range(3), [1e300], [60.0, 1e15], [10**400]),
    *(decimal.Decimal("3"), 10**400, [50.0], "9999-12-31", [2**63], ["2024-04-03T00:00Z", "nan"]),
]
OPTIONS: list[dict[str, Any]] = [
    *({}, {}, {}, {"count": 3}, {"count": 0}, {"count": 1.5}, {"count": 2**40}, {"quantiles": []}),
    *({"quantiles": [0, 1]}, {"quantiles": [1e-300]}, {"quantiles": ["a"]}, {"quantiles": [np.nan]}),
    *({"variables": ["zz"]}, {"variables": []}, {"variables": "x"}, {"level": 101}, {"level": [0]}),
    *({"level": 99.9999999999}, {"level": "80"}, {"samples": 0}, {"samples": -1}, {"samples": 3}),
    *({"samples": 2**40}, {"samples": 3, "seed": -1}, {"samples": 2, "seed": 2**70}, {"smooth": False}),
]


class Hang(BaseException):
    """A call took longer than `SECONDS`."""


class Counts:
    """What became of calls, by kind: answered, refused, and what ought not to be.

    Attributes:
        found: how many of each (kind, outcome).
        examples: of each outcome that ought not to be, where and with what.
    """

    BAD = ("other exceptions", "not finite", "hangs")

    def __init__(self) -> None:
        self.found: collections.Counter[tuple[str, str]] = collections.Counter()
        self.examples: dict[str, str] = {}

    def call(self, kind: str, act: Callable[[], object]) -> None:
        """Makes one call and counts its outcome; `act` returns what ought to be finite."""
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                outcome = "answered" if _finite(act()) else "not finite"
        except LatentODEError:
            outcome = "refused"
        except Hang:
            outcome = "hangs"
        except Exception as error:
            outcome = "other exceptions"
            self._note(kind, error)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if outcome in ("hangs", "not finite"):
            self.examples.setdefault(f"{kind}: {outcome}", repr(getattr(act, "__defaults__", ""))[:600])
        self.found[kind, outcome] += 1

    def _note(self, kind: str, error: Exception) -> None:
        places = [f for f in traceback.extract_tb(error.__traceback__) if "latentode/" in f.filename]
        place = f"{Path(places[-1].filename).name}:{places[-1].lineno}" if places else "?"
        self.examples.setdefault(f"{kind}: {type(error).__name__} at {place}", str(error)[:200])

    def table(self) -> dict[str, dict[str, int]]:
        """By kind, how many inputs and how many of each outcome that ought not to be."""
        made: dict[str, dict[str, int]] = {}
        for (kind, outcome), n in sorted(self.found.items()):
            row = made.setdefault(kind, {"inputs": 0, "refused": 0, **dict.fromkeys(self.BAD, 0)})
            row["inputs"] += n
            if outcome in row:
                row[outcome] += n
        return made


def _finite(found: object) -> bool:
    if isinstance(found, pd.DataFrame):
        # An identifier comes back as it was given, be it infinite.
        numbers = (
            found.drop(columns="id", errors="ignore").select_dtypes("number").to_numpy(dtype=float)
        )
        return bool(np.isfinite(numbers).all())
    return found is None or bool(np.isfinite(found).all())


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, inserted, removed or repeated."""
    found = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 1, 2, 5]))):
        place, kind = int(rng.integers(len(found) + 1)), int(rng.integers(5))
        if kind == 0 and place < len(found):
            found[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del found[place : place + int(rng.choice([1, 3, 30]))]
        elif kind == 2:
            found[place:place] = rng.bytes(int(rng.choice([1, 2, 8])))
        elif kind == 3:
            begin = int(rng.integers(len(found) + 1))
            found[place:place] = found[begin : begin + 40]
        elif rng.random() < 0.2:
            del found[place:]
    return bytes(found)


def rewritten(content: bytes, rng: np.random.Generator) -> bytes:
    """A table as text with odd cells, rows and columns."""
    rows = [line.split(",") for line in content.decode().splitlines()]
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        row = rows[int(rng.integers(len(rows)))]
        place, kind = int(rng.integers(len(row) + 1)), int(rng.integers(7))
        cell = str(rng.choice(CELLS))
        if kind <= 2 and place < len(row):
            row[place] = cell
        elif kind == 3:
            row.append(cell)
        elif kind == 4 and row:
            row.pop()
        elif kind == 5:
            rows.insert(int(rng.integers(len(rows))), list(row))
        else:
            for other in rows[1:]:
                other[place : place + 1] = [cell]
    separator = rng.choice([",", ",", ",", ";", "\t", "|"])
    return "\n".join(separator.join(row) for row in rows).encode("utf-8", "surrogatepass")


def spoilt(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """A frame with odd values, times, names, columns, types."""
    names = frame["id"].unique()
    frame = frame[frame["id"].isin(names[: int(rng.integers(1, 4))])].head(int(rng.choice([1, 2, 30])))
    frame = frame.reset_index(drop=True)
    for _ in range(int(rng.choice([0, 1, 1, 2]))):
        column = str(rng.choice(["x", "y", "time", "id"]))
        if column not in frame or frame.columns.duplicated().any() or frame.empty:
            break
        odd = {"time": TIMES, "id": NAMES}.get(column, VALUES)
        value, row = odd[int(rng.integers(len(odd)))], int(rng.integers(len(frame)))
        kind = int(rng.integers(9))
        if kind <= 3:
            cells = frame[column].astype(object).tolist()
            cells[row] = value
            frame[column] = pd.Series(cells, dtype=object).infer_objects()
        elif kind == 4:
            frame[column] = pd.Series([value] * len(frame), dtype=object).infer_objects()
        elif kind == 5:
            frame = frame.drop(columns=column)
        elif kind == 6:
            frame = (
                pd.concat([frame, frame[[column]]], axis=1) if rng.random() < 0.5 else frame.iloc[:0]
            )
        elif kind == 7 and pd.api.types.is_float_dtype(frame[column]):
            frame[column] = frame[column] * rng.choice([1e15, 1e300, 0])
        else:
            unit = str(rng.choice(["s", "ns"]))
            frame["time"] = pd.date_range("2024", periods=len(frame), freq="D", unit=unit)
    return frame


def inputs(
    models: dict[str, tuple[LatentODEForecaster, Path]],
    table: pd.DataFrame,
    folder: Path,
    seed: int,
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Hostile calls without end, with their kinds.

    Args:
        models: by name, a fitted model and the folder in which it is saved.
        table: what they were fitted on: id, time, x, y.
        folder: to write files into.
        seed: of what is drawn.
    """
    rng, whole = np.random.default_rng(seed), table.head(25).to_csv(index=False).encode()
    path, number = folder / "hostile.csv", 0
    while True:
        number += 1
        model, saved = models[sorted(models)[number % len(models)]]
        content = flipped(whole, rng) if number % 2 else rewritten(whole, rng)
        yield "reading", lambda c=content: _read(path, c)
        frame = spoilt(table, rng)
        yield "inspect", lambda f=frame: _inspect(f)
        if number % 2 == 0:
            plain = "1h" if model.axis_.is_calendar else 1.0
            at = QUESTIONS[int(rng.integers(len(QUESTIONS)))] if rng.random() < 0.4 else plain
            how = OPTIONS[int(rng.integers(len(OPTIONS)))]
            yield "predict", lambda m=model, f=frame, a=at, h=how: m.predict(f, a, **h)
        if number % 10 == 0:
            words = _words(rng, path, saved)
            yield "command line", lambda c=content, w=words: _command(path, c, w)


def spreadsheets(counts: Counts, folder: Path, n: int) -> None:
    """Tables that hypothesis makes up, read and inspected."""
    cells = st.one_of(st.sampled_from(CELLS), st.text(max_size=6), st.floats().map(str))
    header = st.lists(st.sampled_from(["id", "time", "x", "variable", "value", "", "x"]), max_size=4)
    rows = st.lists(st.lists(cells, max_size=4), max_size=6)
    path = folder / "spreadsheet.csv"

    @settings(
        max_examples=n,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(header, rows)
    def one(header: list[str], rows: list[list[str]]) -> None:
        text = "\n".join(",".join(row) for row in [header, *rows])
        content = text.encode("utf-8", "surrogatepass")
        counts.call("reading", lambda: _read(path, content))

    one()


def _read(path: Path, content: bytes) -> object:
    path.write_bytes(content)
    return _inspect(read_table(path, Schema(), ()))


def _inspect(frame: pd.DataFrame) -> object:
    inspect(frame).to_text()
    dataset = SeriesDataset.from_frame(frame)
    return np.concatenate([dataset.value, dataset.time])


def _words(rng: np.random.Generator, table: Path, model: Path) -> list[str]:
    """A command line: of known commands and options with odd values, and now and then unknown ones."""
    odd = [str(rng.choice(CELLS)).replace("\x00", "") for _ in range(3)]
    commands = [
        ["inspect", str(table)],
        ["inspect", str(table), "--id", odd[0], "--time", odd[1]],
        ["forecast", str(model), str(table), "--ahead", odd[0]],
        ["forecast", str(model), str(table), "--at", odd[0], "--quantiles", odd[1]],
        ["ask", str(model), str(table), "--first-passage", f"x>{odd[0]}", "--draws", "4"],
        ["ask", str(model), str(table), "--rate", "x", "--ahead", odd[0]],
        ["convert", odd[0], str(table), "--out", str(table.with_name("out.csv"))],
        ["forecast", str(table), str(model), "--ahead", "3"],
        ["inspect", odd[0]],
        odd,
    ]
    return commands[int(rng.integers(len(commands)))]


def _command(path: Path, content: bytes, words: list[str]) -> None:
    """Runs the command line in this process; an exit status is an answer."""
    path.write_bytes(content)
    before = sys.argv, warnings.showwarning
    sys.argv = ["latentode", *words]
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            main()
    except SystemExit:
        pass
    finally:
        sys.argv, warnings.showwarning = before


def hang(*_: object) -> None:
    """What the timer of a call does."""
    raise Hang
