"""Pictures and pages: forecasts, latent paths, vector fields, the report of an evaluation.

In: an estimator or frames of forecasts. Out: matplotlib figures, one self-contained HTML page.
May import: `estimators` and what lies below it. The only room that imports matplotlib.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from latentode.plotting.page import write_page
    from latentode.plotting.phase import Plane, latent_paths
    from latentode.plotting.pictures import latent_slope_field, plot_forecast, plot_tracks, slope_field

__all__ = [
    "Plane",
    "latent_paths",
    "latent_slope_field",
    "plot_forecast",
    "plot_tracks",
    "slope_field",
    "write_page",
]

# Imported on first use, so that a command that needs no network loads neither torch nor Lightning.
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "page": ["write_page"],
        "phase": ["Plane", "latent_paths"],
        "pictures": ["latent_slope_field", "plot_forecast", "plot_tracks", "slope_field"],
    },
)
