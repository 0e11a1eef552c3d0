r"""Components: what adds up to the mean of a forecast, series by series, time by time.

Of a variable whose values $x$ are standardised to $(T(x) - l) / s$, with T its transform if it has one,

$$E[T(x)] = \underbrace{l + s\,\ell(t)}_{\text{level}} + s\,b(t) + s\,r(t)
  + \sum_k s\,c_k(t) + \sum_j s\,e_j(t) + \text{neural} + \text{adjustment},$$

where level $\ell$, trend b, deviation r, cycles $c_k$ and effects $e_j$ of known columns are those of
the structural block (`latentode.model.structure`). *Neural* is what decoder and likelihood make of it:
the mean that they forecast less the structural one. *Adjustment* is how far calibration moves that
mean; only a calibrated forecast has it. Inside a history the parts are those of the smoother.

A transformed variable adds up in the units of its transform: of a logarithm, exponentials of components
are factors. A family of data units (counts, shares, positive values) adds up in those of the table, in
which the structural block knows it; its link and its support are part of *neural*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from latentode.data.scaling import Units
from latentode.errors import SchemaError

__all__ = ["DATA", "LEVEL", "WITHOUT_STRUCTURE", "StructuralParts"]

LEVEL = "level"  # the part that carries where a variable's values lie
NEURAL, ADJUSTMENT = "neural", "adjustment"
DATA = "data"  # the unit of variables without a transform
WITHOUT_STRUCTURE = (
    "this forecast has no components; they come with LatentODEForecaster.forecast of a model that was "
    'fitted with ModelConfig(structure="state-space"), the default'
)


@dataclass(frozen=True)
class StructuralParts:
    """The parts of the structural mean of queries.

    Args:
        names: of the parts, no two alike.
        value: each query's, in data units after its variable's transform, shape `(queries, parts)`.
    """

    names: tuple[str, ...]
    value: np.ndarray

    @classmethod
    def of(cls, names: list[str], scaled: np.ndarray, units: Units) -> StructuralParts:
        """From parts in scaled units.

        Args:
            names: of the parts; a known column with the name of another part becomes "known <name>".
            scaled: shape `(queries, parts)`.
            units: what scaled values of the queries' variables are.
        """
        value = units.scale[:, None] * scaled
        value[:, names.index(LEVEL)] += units.loc
        return cls(_distinct(names), value)

    def take(self, places: np.ndarray) -> StructuralParts:
        """Those of the queries at `places`, in their order."""
        return replace(self, value=self.value[places])

    def frame(
        self, keys: pd.DataFrame, units: Units, decoded: np.ndarray, moved: np.ndarray | None
    ) -> pd.DataFrame:
        """The components, query by query.

        Args:
            keys: of the queries, a row each.
            units: of the forecast, for the names of its transforms.
            decoded: mean of what is decoded, shape `(queries,)`.
            moved: mean after calibration and later observations, likewise; None where there are none.

        Returns:
            A long frame: the keys, `component` (the parts, "neural" and, unless `moved` is None,
            "adjustment"), `value` and `unit`, "data" or the name of a transform.
        """
        clash = keys.columns.intersection(["component", "unit"])
        if len(clash):
            raise SchemaError(
                f"column `{clash[0]}` names the series or times, but components have a column of that "
                f"name; rename it, such as `{clash[0]}_id`"
            )
        means = [decoded] if moved is None else [decoded, moved]
        names = [*self.names, NEURAL, ADJUSTMENT][: len(self.names) + len(means)]
        unit = np.full(len(keys), DATA, dtype=object)
        for transform, place in units.transforms:
            unit[place] = transform.name
        reached = np.stack([self.value.sum(axis=1), *means], axis=1)
        value = np.concatenate([self.value, np.diff(reached, axis=1)], axis=1)
        frame = keys.iloc[np.arange(len(keys)).repeat(len(names))].reset_index(drop=True)
        frame["component"] = np.tile(np.array(names, dtype=object), len(keys))
        frame["value"] = value.reshape(-1)
        frame["unit"] = unit.repeat(len(names))
        return frame


def _distinct(names: list[str]) -> tuple[str, ...]:
    """Names of which no two are alike, nor like those of other components.

    Example:
        >>> _distinct(["level", "cycle 24h", "level", "price"])
        ('level', 'cycle 24h', 'known level', 'price')
    """
    found = [NEURAL, ADJUSTMENT]
    for name in names:
        while name in found:
            name = f"known {name}"
        found.append(name)
    return tuple(found[2:])
