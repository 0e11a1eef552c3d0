"""Scoring over partitions is scoring in one place, whatever carries it out."""

from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

import pandas as pd
import pytest

from latentode import LatentODEError
from latentode.estimators import distributed

NEAR = {"rtol": 1e-5, "atol": 1e-6}
ASKED = pd.DataFrame({"id": ["s3", "s0", "s3"], "time": [13.1, 12.7, 12.9]})


@pytest.fixture(params=["here", "threads", "pool", "dask", "ray"])
def engine(request):
    if request.param == "here":
        yield None
    elif request.param == "threads":
        with ThreadPoolExecutor(2) as executor:
            yield executor
    elif request.param == "pool":
        with ThreadPool(2) as pool:
            yield pool
    elif request.param == "ray":
        ray = pytest.importorskip("ray")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield "ray"
        ray.shutdown()
    else:
        client = pytest.importorskip("distributed").Client(processes=False, dashboard_address=None)
        with client:
            yield client


def test_forecasts_of_partitions_are_those_of_the_table(engine, fitted, frame, tmp_path):
    fitted.save(tmp_path)
    expected = fitted.predict(frame, 1.5, count=2, quantiles=0.3)
    for model, partitions in ((fitted, 3), (tmp_path, 1), (str(tmp_path), 50)):
        found = distributed.predict(model, frame, 1.5, engine, partitions, count=2, quantiles=0.3)
        pd.testing.assert_frame_equal(found, expected, **NEAR)


def test_a_frame_asks_each_series_its_own_times(fitted, frame):
    found = distributed.predict(fitted, frame, ASKED, partitions=3)
    by = ["id", "time", "variable"]
    expected = fitted.predict(frame, ASKED).sort_values(by, ignore_index=True)
    pd.testing.assert_frame_equal(found.sort_values(by, ignore_index=True), expected, **NEAR)


def test_backtests_of_partitions_are_those_of_the_table(fitted, frame):
    by = ["id", "origin", "time", "variable"]
    found = distributed.backtest(fitted, frame.sample(frac=1, random_state=0), partitions=3, origins=4)
    expected = fitted.backtest(frame, origins=4).sort_values(by, ignore_index=True)
    pd.testing.assert_frame_equal(found.sort_values(by, ignore_index=True), expected, **NEAR)


def test_what_cannot_be_cut_is_refused(fitted, frame):
    with pytest.raises(LatentODEError, match="column `id`"):
        distributed.predict(fitted, frame.drop(columns="id"), 1.0)
    with pytest.raises(LatentODEError, match="engine 'spark'"):
        distributed.predict(fitted, frame, 1.0, engine="spark")
    for none in (frame, frame["x"], ThreadPool, 3):
        with pytest.raises(LatentODEError, match="is none: give None"):
            distributed.predict(fitted, frame, 1.0, engine=none)
    with pytest.raises(LatentODEError, match="partitions"):
        distributed.predict(fitted, frame, 1.0, partitions=0)
