"""OnlineForecaster: a history that grows, row by row, and forecasts from it without refitting.

The rows are kept as they came, and read anew with each addition: a forecast from a history that grew is
that from the longer history, exactly, late rows and revised ones included.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, Self

import pandas as pd

from latentode.data.cells.columns import IntoFrame, to_pandas
from latentode.data.files.writing import in_kind_of, kind_of
from latentode.data.queries import At
from latentode.errors import LatentODEError, shown
from latentode.estimators.forecaster import LatentODEForecaster
from latentode.forecast.forecast import Forecast
from latentode.forecast.sample_paths import SamplePaths

__all__ = ["OnlineForecaster"]


class OnlineForecaster:
    """Answers as a fitted forecaster does, from a history that it keeps; threads may add to it at once.

    Args:
        forecaster: fitted; it stays as it is, and none of the history is saved with it.
        history: table with the columns of training to begin with; None for nothing yet.

    Attributes:
        history: the rows so far, None before the first.

    Raises:
        NotFittedError: if the forecaster is not fitted.
        SchemaError: for a history that cannot be read.
    """

    def __init__(self, forecaster: LatentODEForecaster, history: IntoFrame | None = None) -> None:
        if not isinstance(forecaster, LatentODEForecaster):
            raise LatentODEError(
                f"forecaster is a fitted LatentODEForecaster, such as one that load gives; got "
                f"{shown(forecaster)}"
            )
        self.forecaster = forecaster
        self.history: pd.DataFrame | None = None
        self._kind: IntoFrame = pd.DataFrame()
        self._adding = threading.Lock()
        _ = forecaster.network_  # which raises where there is none
        if history is not None:
            self.update(history)

    def update(self, rows: IntoFrame) -> Self:
        """Takes new observations in: what is forecast from then on is as from the longer history.

        Args:
            rows: table with the columns of training; of series known or new, in any order, also earlier
                than what is known. Rows that repeat one go by the forecaster's `duplicates`.

        Returns:
            Itself; unchanged if there are no rows, or if they are refused.

        Raises:
            SchemaError: for rows that cannot be read, alone or with the history.
        """
        own, table = self.forecaster, to_pandas(rows)
        with self._adding:
            self._kind = kind_of(rows)
            if table.empty:  # nothing new, as where a sensor is polled
                return self
            self.history = own.fitted_.reader.extend(self.history, table, own.duplicates)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {n: v for n, v in vars(self).items() if n != "_adding"}  # no lock can be pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _adding=threading.Lock())

    def predict(self, at: At | IntoFrame, **how: Any) -> Any:
        """`LatentODEForecaster.predict` from the history so far; arguments as there.

        Returns:
            A frame of the library that the latest rows came in.
        """
        return in_kind_of(self._kind, self.forecaster.predict(self._rows(), at, **how))

    def forecast(self, at: At | IntoFrame, **how: Any) -> Forecast:
        """`LatentODEForecaster.forecast` from the history so far; arguments as there."""
        return self.forecaster.forecast(self._rows(), at, **how)

    def sample_paths(self, **how: Any) -> SamplePaths:
        """`LatentODEForecaster.sample_paths` from the history so far; arguments as there."""
        return replace(self.forecaster.sample_paths(self._rows(), **how), kind=self._kind)

    def _rows(self) -> pd.DataFrame:
        if self.history is None:
            raise LatentODEError("nothing has been observed yet: give rows with update()")
        return self.history
