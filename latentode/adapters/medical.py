"""Medicine: what intensive care units, laboratories, cohort studies and glucose monitors write.

Identifiers stay as they are, and nothing is written anywhere. What a reader leaves out, it counts in a
warning.
"""

from latentode.adapters.glucose import MG_PER_MMOL, glucose
from latentode.adapters.labs import Conversion, lab_events
from latentode.adapters.physionet import physionet2012, physionet2012_outcomes
from latentode.adapters.visits import visits

__all__ = [
    "MG_PER_MMOL",
    "Conversion",
    "glucose",
    "lab_events",
    "physionet2012",
    "physionet2012_outcomes",
    "visits",
]
