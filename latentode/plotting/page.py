"""One self-contained page about how good forecasts are: tables and pictures, for any browser.

Its first sentences are verdicts: what the figures mean, for those who act on forecasts. Errors are
those of the mean, in the variable's own unit; what they are held against is the best of the forecasts
that need no learning. An interval keeps its promise where its coverage is within `ABOUT` of it, in
shares of the values.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment
from markupsafe import Markup

from latentode.evaluation.metrics import bin_leads, summarise
from latentode.plotting.canvas import pyplot
from latentode.plotting.diagnostics import plot_calibration, plot_errors

__all__ = ["COVERED", "REPORT_LEVELS", "Verdict", "verdicts", "write_page"]

LOW, HIGH, PROMISED = "q0.1", "q0.9", 0.8
ABOUT = 0.05  # of all values, by which a coverage may miss its promise
LEVEL = 0.02  # of the better error: below it two forecasts are called alike
COVERED = (50, 80, 95)  # per cent of the central intervals whose coverage is told
REPORT_LEVELS = (0.025, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.975)

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
tr.own td { font-weight: 600 }
td.best { background: #e6f4ea }
figure { margin: 1rem 0; overflow-x: auto }
figure svg { max-width: 100%; height: auto }
</style>
<h1>{{ title }}</h1>
<p>{{ about }}</p>
<h2>In short</h2>
{% for verdict in verdicts %}
<h3>{{ verdict.variable }}</h3>
<ul>
{% for sentence in verdict.sentences %}<li>{{ sentence }}</li>{% endfor %}
</ul>
{% endfor %}
<p>Everything above is of forecasts that were compared with what really came, in the table that was
evaluated. It holds for the future as far as the future resembles that table.</p>
<h2>Errors</h2>
{% for variable, leads in errors.items() %}
<h3>{{ variable }}</h3>
<table>
<tr><th>model</th>{% for lead in leads.heads %}<th>MAE, {{ lead }}</th>{% endfor %}
{% for lead in leads.heads %}<th>CRPS, {{ lead }}</th>{% endfor %}</tr>
{% for row in leads.rows %}
<tr{% if row.own %} class="own"{% endif %}><td>{{ row.name }}</td>
{% for cell in row.cells %}
<td{% if cell.best %} class="best"{% endif %}>{{ cell.text }}</td>
{% endfor %}</tr>
{% endfor %}
</table>
{% endfor %}
<p>MAE is the mean distance between a forecast and what came; CRPS is the same for a forecast with its
intervals. Less is better, and the least of each column is shaded. A forecast without intervals is a
point: its CRPS is its absolute error.</p>
<figure>{{ pictures[0] }}</figure>
<h2>Intervals</h2>
<table>
<tr><th>variable</th>{% for head in intervals.heads %}<th>{{ head }}</th>{% endfor %}</tr>
{% for name, cells in intervals.rows %}
<tr><td>{{ name }}</td>{% for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table>
<p>The share of actual values inside the central intervals of {{ own }}. Below: the share of actual
values under each predicted quantile, which lies on the diagonal where intervals keep their promises;
and where in its forecast each value lay, which is even then.</p>
<figure>{{ pictures[1] }}</figure>
</html>
"""


def write_page(
    path: Path, compared: pd.DataFrame, title: str, about: str, unit: str, bins: int = 3
) -> None:
    """Writes the page.

    Args:
        path: of the HTML file.
        compared: of `LatentODEForecaster.compare(..., quantiles=REPORT_LEVELS)`; its first model is
            the one that the page is about.
        title: the heading.
        about: what was forecast from where, a sentence.
        unit: of lead times.
        bins: into how many bins of lead time errors are split.

    Raises:
        LatentODEError: if matplotlib is not installed.
    """
    own = str(compared["model"].iloc[0])
    table = summarise(bin_leads(compared, bins), ["variable", "lead", "model"]).reset_index()
    made = compared[compared["model"] == own]
    covered = summarise(made, ["variable"], "coverages")[[f"coverage_{p}" for p in COVERED]]
    text = (
        Environment(autoescape=True)
        .from_string(PAGE)
        .render(
            title=title,
            about=about,
            own=own,
            verdicts=verdicts(compared, own, unit),
            errors={
                str(v): _errors(part, own, unit) for v, part in table.groupby("variable", sort=False)
            },
            intervals={
                "heads": [f"{percent} %" for percent in COVERED],
                "rows": [(str(v), [f"{x:.1%}" for x in row]) for v, *row in covered.itertuples()],
            },
            pictures=[
                _svg(plot_errors(compared, unit, bins, "crps")),
                _svg(plot_calibration(made)),
            ],
        )
    )
    path.write_text(text, encoding="utf-8")


def _errors(part: pd.DataFrame, own: str, unit: str) -> dict[str, object]:
    """Heads and rows of a variable's table."""
    wide = part.pivot_table(["mae", "crps"], "model", "lead", sort=False)
    leads = sorted(part["lead"].unique())
    values = wide[[(figure, lead) for figure in ("mae", "crps") for lead in leads]]
    least = values.to_numpy() == np.nanmin(values.to_numpy(), axis=0)
    rows = [
        {
            "name": str(name),
            "own": name == own,
            "cells": [{"text": f"{x:.4g}", "best": bool(b)} for x, b in zip(row, best, strict=True)],
        }
        for name, row, best in zip(values.index, values.to_numpy(), least, strict=True)
    ]
    return {"heads": [f"to {lead:g} {unit}" for lead in leads], "rows": rows}


def _svg(figure: Any) -> Markup:
    """The picture as an element of a page; what it says of variables is escaped by matplotlib."""
    out = io.StringIO()
    figure.savefig(out, format="svg")
    pyplot().close(figure)
    text = out.getvalue()
    return Markup(text[text.index("<svg") :])


@dataclass(frozen=True)
class Verdict:
    """What is said of one variable.

    Args:
        variable: its name.
        sentences: in the order in which they matter.
    """

    variable: str
    sentences: tuple[str, ...]


def verdicts(compared: pd.DataFrame, own: str, unit: str) -> list[Verdict]:
    """Sentences for each variable.

    Args:
        compared: as for `write_page`.
        own: the name of the model that they are about.
        unit: of lead times.
    """
    return [
        Verdict(str(name), tuple(_sentences(part, own, unit)))
        for name, part in compared.groupby("variable", sort=False)
    ]


def _sentences(part: pd.DataFrame, own: str, unit: str) -> list[str]:
    made = part[part["model"] == own]
    error = (made["actual"] - made["mean"]).abs()
    usual, rare = (error.quantile(q) for q in (0.5, 0.9))
    nearest, furthest = made["lead"].min(), made["lead"].max()
    found = [
        f"{len(made):,} forecasts of {nearest:.3g} to {furthest:.3g} {unit} ahead were compared with "
        f"what came. Half of them were within {usual:.3g} of it, nine in ten within "
        f"{rare:.3g}."
    ]
    errors = summarise(part, ["model"], "mae")["mae"]
    others = errors.drop(own)
    if len(others):
        found.append(_beside(float(errors[own]), float(others.min()), str(others.idxmin())))
    if {LOW, HIGH} <= set(made.columns):
        found.append(_honest(made))
    return found


def _beside(error: float, other: float, name: str) -> str:
    """The model's error beside the best of the simple forecasts'."""
    told = (
        f"On average it misses by {error:.3g}; the best of the simple forecasts, {name}, by {other:.3g}"
    )
    if error < (1 - LEVEL) * other:
        return f"{told}: {1 - error / other:.0%} less."
    if error > other / (1 - LEVEL):
        return f"{told}. For this variable the simple forecast is the better one: use that."
    return f"{told}: they are alike, and the simple forecast does as well."


def _honest(made: pd.DataFrame) -> str:
    """Whether the 80 % interval covers what it promises."""
    share = float(made["actual"].between(made[LOW], made[HIGH]).mean())
    width = float((made[HIGH] - made[LOW]).median())
    told = (
        f"The 80 % interval, typically {width:.3g} wide, is to contain 80 of 100 values; it contained "
        f"{100 * share:.0f}"
    )
    if share < PROMISED - ABOUT:
        return f"{told}. It is too narrow: surprises are more frequent. Calibrate the model."
    if share > PROMISED + ABOUT:
        return f"{told}. It is wider than it has to be: what it says is on the safe side."
    return f"{told}. It keeps its promise."
