"""A server of one saved model: histories and questions in, forecasts out, as JSON.

pip install fastapi uvicorn
LATENTODE_MODEL=model OMP_NUM_THREADS=1 uvicorn app:app --workers 2
"""

from __future__ import annotations

import gc
import os
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from latentode import LatentODEError, ServedForecaster

MODEL = ServedForecaster.load(os.environ["LATENTODE_MODEL"])
ZONE = "naive" if MODEL.axis_.timezone is None else "UTC"
gc.collect()
gc.freeze()  # what is loaded now stays: no collection has to look at it again
app = FastAPI(title="latentode")


class Question(BaseModel):
    """What is asked.

    Args:
        history: rows of a table, each a mapping from columns to cells.
        at: a duration ahead, such as "24h", or timestamps.
        count: with a duration, how many times up to it.
        quantiles: levels.
    """

    history: list[dict[str, Any]]
    at: str | list[str]
    count: int | None = None
    quantiles: list[float] = [0.1, 0.5, 0.9]


@app.get("/health")
def health() -> dict[str, Any]:
    """Whether the model is there, and what it forecasts."""
    return {"targets": MODEL.schema_.targets, "horizon": MODEL.horizon_}


@app.post("/forecast")
def forecast(question: Question) -> list[dict[str, Any]]:
    """Rows of identifier, time, variable, mean, std and quantiles; 422 with the fix for a bad table."""
    names = {name: None for row in question.history for name in row}
    history = {name: [row.get(name) for row in question.history] for name in names}
    try:
        answer = MODEL.predict_arrays(history, question.at, question.count, question.quantiles)
    except LatentODEError as error:
        raise HTTPException(422, str(error)) from error
    columns = [_cells(column) for column in answer.values()]
    return [dict(zip(answer, row, strict=True)) for row in zip(*columns, strict=True)]


def _cells(column: np.ndarray) -> list[Any]:
    """A column as JSON has it."""
    if column.dtype.kind == "M":
        return np.datetime_as_string(column, timezone=ZONE).tolist()
    return column.tolist()
