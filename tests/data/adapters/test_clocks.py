"""Wall clocks as instants: the nights on which they change."""

import pandas as pd
import pytest

from latentode import SchemaError
from latentode.adapters.handover import Notes, to_instants


def placed(clocks, timezone, series=None):
    times = pd.Series(pd.to_datetime(clocks))
    whose = pd.Series(["a"] * len(times) if series is None else series)
    notes = Notes("x")
    instants = to_instants(times, timezone, whose, notes).dt.tz_convert("UTC")
    return instants.dt.strftime("%d %H:%M").tolist(), notes.lines


def test_an_hour_that_comes_twice_is_told_apart_by_the_order_of_rows():
    clocks = ["2024-10-27 01:30", "2024-10-27 02:00", "2024-10-27 02:00", "2024-10-27 03:00"]
    instants, told = placed(clocks, "Europe/Berlin")
    assert instants == ["26 23:30", "27 00:00", "27 01:00", "27 02:00"]
    assert told[0].startswith("2 times that the clocks of Europe/Berlin passed twice, 1 of them")
    backwards, _ = placed(clocks[::-1], "Europe/Berlin")
    assert backwards == instants[::-1]


def test_every_series_has_its_own_second_pass():
    clocks = ["2024-10-27 02:00", "2024-10-27 02:00", "2024-10-27 02:30", "2024-10-27 02:30"]
    instants, _ = placed(clocks, "Europe/Berlin", ["a", "b", "a", "b"])
    assert instants == ["27 00:00", "27 00:00", "27 00:30", "27 00:30"]


def test_an_hour_that_never_was_is_read_as_not_set_forward():
    instants, told = placed(
        ["2024-03-31 01:59", "2024-03-31 02:30", "2024-03-31 03:31"], "Europe/Berlin"
    )
    assert instants == ["31 00:59", "31 01:30", "31 01:31"]
    assert told == ["1 times that the clocks of Europe/Berlin skipped, read as not set forward"]
    half, _ = placed(["2024-10-06 02:15"], "Australia/Lord_Howe")
    assert half == ["05 15:45"]


def test_an_unknown_zone_is_refused():
    with pytest.raises(SchemaError, match=r"timezone 'Mars' is unknown; write an IANA name"):
        placed(["2024-01-01"], "Mars")
