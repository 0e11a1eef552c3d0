"""Pictures and pages: forecasts, how good they are, latent paths, vector fields, the report.

In: a fitted forecaster or frames of forecasts. Out: figures of matplotlib or plotly, an HTML page.
May import: `evaluation` and what lies below it. The only room that imports matplotlib.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from latentode.plotting.diagnostics import (
        plot_calibration,
        plot_errors,
        plot_leaderboard,
        plot_learning,
        plot_residuals,
    )
    from latentode.plotting.fields import latent_slope_field, plot_latent, slope_field
    from latentode.plotting.forecasts import (
        plot_components,
        plot_forecast,
        plot_origins,
        plot_tracks,
        plot_what_if,
    )
    from latentode.plotting.futures import plot_first_passage, plot_paths
    from latentode.plotting.interactive import to_plotly
    from latentode.plotting.kinds import KINDS, plot
    from latentode.plotting.page import write_page
    from latentode.plotting.phase import Forecaster, Plane, latent_paths

__all__ = [
    "KINDS",
    "Forecaster",
    "Plane",
    "latent_paths",
    "latent_slope_field",
    "plot",
    "plot_calibration",
    "plot_components",
    "plot_errors",
    "plot_first_passage",
    "plot_forecast",
    "plot_latent",
    "plot_leaderboard",
    "plot_learning",
    "plot_origins",
    "plot_paths",
    "plot_residuals",
    "plot_tracks",
    "plot_what_if",
    "slope_field",
    "to_plotly",
    "write_page",
]

# Imported on first use, so that a command that needs no network loads neither torch nor Lightning.
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "diagnostics": [
            "plot_calibration",
            "plot_errors",
            "plot_leaderboard",
            "plot_learning",
            "plot_residuals",
        ],
        "fields": ["latent_slope_field", "plot_latent", "slope_field"],
        "forecasts": [
            "plot_components",
            "plot_forecast",
            "plot_origins",
            "plot_tracks",
            "plot_what_if",
        ],
        "futures": ["plot_first_passage", "plot_paths"],
        "interactive": ["to_plotly"],
        "kinds": ["KINDS", "plot"],
        "page": ["write_page"],
        "phase": ["Forecaster", "Plane", "latent_paths"],
    },
)
