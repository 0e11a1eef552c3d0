"""Which figures of which results.json stand in the table of experiments/README.md, and how."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FIGURES", "Figure", "table"]

Read = Callable[[Any], str]


@dataclass(frozen=True)
class Figure:
    """A line of the table.

    Args:
        experiment: name of its folder.
        what: what the figure says, with its unit.
        read: from the content of results.json to text.
    """

    experiment: str
    what: str
    read: Read


def at(*path: str, show: str = "{:.3g}") -> Read:
    """The number at a path of keys."""

    def read(results: Any) -> str:
        for key in path:
            results = results[key]
        return show.format(results)

    return read


def several(*keys: str, show: str = "{:.2f}") -> Read:
    """Numbers that belong together."""

    def read(results: Any) -> str:
        return ", ".join(show.format(results[key]) for key in keys)

    return read


def several_at(end: tuple[str, ...], *paths: tuple[str, ...]) -> Read:
    """The numbers at several paths of keys, each with the same end."""

    def read(results: Any) -> str:
        return ", ".join(at(*path, *end)(results) for path in paths)

    return read


def by_hand(what: str) -> Read:
    """What a fit finds out by itself, and the best family that is named."""

    def read(results: Any) -> str:
        own = dict(results["families"][what])
        auto = own.pop("auto")
        best = min(own, key=own.__getitem__)
        return f"{auto:.3g}; {own[best]:.3g}, {best}"

    return read


def covered(data: str, *made: str) -> Read:
    """Shares inside 50, 80 and 95 % intervals, before and after."""

    def read(results: Any) -> str:
        def shares(own: dict[str, float]) -> str:
            return ", ".join(f"{100 * own[f'{p} %']:.1f}" for p in (50, 80, 95))

        return "; ".join(shares(results[data][name]) for name in made)

    return read


def beside_classical(table: str) -> Read:
    """The judged figure of the default forecaster, of the best classical model, and which that is."""

    def read(results: Any) -> str:
        judged, models = results["tables"][table]["judged"], results["tables"][table]["models"]
        mine, others = models.pop("latent ODE", {}), {m: r for m, r in models.items() if judged in r}
        own = f"{mine[judged]:.3g}" if judged in mine else "not run yet"
        best = min((m for m in others if m[:10] != "latent ODE" and m != "LightGBM"),
                   key=lambda m: others[m][judged], default=None)  # fmt: skip
        return own if best is None else f"{own}; {others[best][judged]:.3g}, {best}"

    return read


def over_the_best_classical(*models: str) -> Read:
    """Geometric means over all tables of models' figures over those of the best classical model."""

    def read(results: Any) -> str:
        means = results["summary"]["models"]
        return ", ".join(
            f"{means[m]['over the best']:.2f}" if m in means else "not run yet" for m in models
        )

    return read


def ratio(one: tuple[str, ...], other: tuple[str, ...], show: str = "{:.2g} x") -> Read:
    """The quotient of the numbers at two paths."""

    def read(results: Any) -> str:
        return show.format(float(at(*one, show="{}")(results)) / float(at(*other, show="{}")(results)))

    return read


def storm(variable: str, model: str, lead: str = "48h") -> Read:
    def read(rows: Any) -> str:
        named = [r for r in rows if (r["lead"], r["variable"], r["model"]) == (lead, variable, model)]
        return f"{named[0]['mae']:.2f}"

    return read


def boosted(name: str, lead: str | float, *variables: str) -> Read:
    """MAE and CRPS of boosting for some variables at a lead time."""

    def read(results: Any) -> str:
        rows = {(r["variable"], r["lead"]): r for r in results[name]["rows"]}
        own = [rows[variable, lead] for variable in variables]
        return "; ".join(", ".join(f"{r[m]:.3g}" for r in own) for m in ("mae", "crps"))

    return read


def boosted_errors(name: str) -> Read:
    """The squared error of the loss that lowers it, and the absolute one likewise."""

    def read(results: Any) -> str:
        found = results[name]
        return f"{found['squared']['mse']:.4g}, {found['absolute']['mae']:.4g}"

    return read


def chosen(method: str, intervals: int, column: str) -> Read:
    def read(rows: Any) -> str:
        (row,) = [r for r in rows if (r["method"], r["intervals"]) == (method, intervals)]
        return f"{row[column]:.2g}"

    return read


def benchmark(dataset: str, model: str, metric: str = "mse") -> Read:
    """Mean and standard deviation over seeds and folds."""

    def read(rows: Any) -> str:
        own = [r for r in rows if (r["dataset"], r["model"]) == (dataset, model)]
        values = [r["metrics"]["validation"][metric] for r in own]
        spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.3g}{spread} ({len(values)} runs)"

    return read


RIVALS = ("latent ODE, per variable", "latent ODE, joint", "GRU, no ODE", "last value", "linear drift",
          "series mean", "Gaussian process")  # fmt: skip
WTI = "DCOILWTICO"
SEEN = ("nothing", "first minutes")  # of a patient before the forecast
MOVING = ("random walk, moving volatility",)
RECALIBRATED = "latent ODE, per variable, recalibrated"
IN_ORDER = "per variable, joint, GRU without ODE; last value, drift, series mean, Gaussian process"


def rivals(
    variable: str, lead: float, figure: str, key: str = "rows", more: tuple[str, ...] = ()
) -> Read:
    """A figure of every model and baseline of a rolling backtest, in the order of `IN_ORDER`."""

    def read(results: Any) -> str:
        rows = [r for r in results[key] if (r["variable"], r["lead"]) == (variable, lead)]
        named = {r["model"]: r[figure] for r in rows}
        return ", ".join(f"{named[model]:.3g}" for model in (*RIVALS, *more))

    return read


def rolled(variable: str, lead: float) -> Read:
    """MAE and CRPS of a rolling backtest for every model, in the order of `ROLLED`."""

    def read(results: Any) -> str:
        own = {r["model"]: r for r in results["rows"] if (r["variable"], r["lead"]) == (variable, lead)}
        figures = (", ".join(f"{own[n][f]:.3g}" for n in ROLLED) for f in ("mae", "crps"))
        return "; ".join(figures)

    return read


def crossing(cure: str, figure: str = "brier") -> Read:
    """A score of the probabilities of every way to them, in the order of `CROSSING`."""

    def read(results: Any) -> str:
        return ", ".join(f"{results['scores'][name][cure][figure]:.4f}" for name in CROSSING)

    return read


def led(name: str) -> Read:
    """Held-out MAE and CRPS of a fit, those of its block alone, and the best baseline's error."""

    def read(results: Any) -> str:
        if name not in results:
            return "not run yet"
        rows, told = results[name], []
        for model in LED:
            own = rows.get(model)
            told.append("none" if own is None else f"{own['mae']:.3g}, {own['crps']:.3g}")
        others = {m: r["mae"] for m, r in rows.items() if m not in LED}
        best = min(others, key=others.__getitem__)
        return "; ".join([*told, f"{others[best]:.3g}, {best}"])

    return read


def domain(
    experiment: str,
    what: str,
    variable: str,
    lead: float,
    key: str = "rows",
    more: tuple[str, ...] = (),
) -> list[Figure]:
    """A line for the MAE and one for the CRPS."""
    order = ", ".join((IN_ORDER, *more))
    return [
        Figure(experiment, f"{what}, {name}: {order if name == 'MAE' else 'in the same order'}",
               rivals(variable, lead, name.lower(), key, more))
        for name in ("MAE", "CRPS")
    ]  # fmt: skip


ROLLED = (
    "latent ODE, per variable",
    "latent ODE, joint",
    "GRU, no ODE",
    "last value",
    "linear drift",
    "series mean",
    "time-of-day mean",
    "Gaussian process",
)
CROSSING = (
    "latent ODE",
    "climatology",
    "climatology by value and time of day",
    "last value",
    "linear drift",
    "damped drift",
    "Gaussian process",
    "logistic regression",
)
LED = ("latent ODE", "structural block alone")
LEADERBOARDS = (
    "storms",
    "asynchronous",
    "both_sides",
    "event_times",
    "glucose",
    "station_weather",
    "pbc_visits",
    "wti_cpi",
    "remifentanil",
    "one_or_many",
)
SPEED = "64/16/64", "rows"
SOLVED = "solve and its gradients, 65536 rows of 16, width 64"
ON_CARD = (
    "latentode rk38, 32 steps, card",
    "latentode rk38, 32 steps, CUDA graph",
    "torchode tsit5, 2e-4, card",
)
LONG_MODELS = "MAE", "last value's", "time-of-day mean's"
CONTRACTING = "backsolve z0 gradient error on a contracting field"
FIGURES = [
    Figure("storms", "longitude 48 h ahead, mean absolute error, a state per variable (°)",
           storm("long", "latent ODE")),
    Figure("storms", "the same, joint (°)", storm("long", "latent ODE, joint")),
    Figure("storms", "the same, linear drift, the best baseline (°)", storm("long", "linear drift")),
    *(
        Figure("rivals", f"storms, {lead}, boosting's MAE; CRPS: latitude, longitude, wind, pressure",
               boosted("storms", lead, "lat", "long", "wind", "pressure"))
        for lead in ("24h", "48h")
    ),
    *(
        Figure("rivals", f"glucose {what} ahead (mg/dL), boosting's MAE; CRPS",
               boosted("glucose", lead, "glucose"))
        for lead, what in ((0.5, "15 to 30 min"), (1.0, "45 to 60 min"))
    ),
    *(
        Figure("leaderboards", f"{name}, held out, MAE, CRPS: fit; block alone; baseline", led(name))
        for name in LEADERBOARDS
    ),
    Figure("rivals", "p12_hourly, validation, boosting's MSE, MAE", boosted_errors("p12_hourly")),
    Figure("gpu", "ms on a card, gradients of a solve of 65,536 rows: rk38, its CUDA graph, torchode",
           several_at(("ms",), *((SOLVED, way) for way in ON_CARD))),
    Figure("gpu", "ms on a card, a training step of 512 series of PhysioNet's size",
           at("training step, physionet2012, per-variable, state-space", "512 series, card", "ms")),
    Figure("serving", "CPU ms of one forecast of a storm, a state per variable; joint",
           several_at((), ("per-variable", "predict, ms"), ("joint", "predict, ms"))),
    Figure("serving", "the same, from arrays to arrays",
           several_at((), *((one, "predict from arrays, ms") for one in ("per-variable", "joint")))),
    Figure("serving", "CPU seconds from a fresh process to the first forecast; collector set aside",
           several_at((), ("cold start, CPU s", "all"), ("the same, collector set aside", "all"))),
    Figure("serving", "exported graph, largest relative difference from predict",
           at("per-variable", ".pt2 relative difference", show="{:.1e}")),
    Figure("serving", "series per second by two workers over one",
           at("series per second", "two workers over one")),
    Figure("short_series", "12 to 80 rows of ten kinds, error over that of the best of three rules",
           at("summary", "over the best, geometric mean", show="{:.2f}")),
    Figure("short_series", "of these values, inside 80 % intervals",
           at("summary", "inside 80 %, mean", show="{:.0%}")),
    Figure("one_or_many", "50,000 rows, to one horizon, MAE: latent ODE, last value, time of day",
           several_at((), *(("long", "to 1 horizons", who) for who in LONG_MODELS))),
    Figure("one_or_many", "CPU seconds of that fit", at("long", "fit", "CPU seconds", show="{:.0f}")),
    Figure("one_or_many", "new short series, MAE: 1,500 learned from, 5,000",
           several_at((), *(("many", f"{n} series", "MAE") for n in (1500, 5000)))),
    *(
        Figure("one_or_many", f"{what}, minus log-density: auto; best by hand", by_hand(what))
        for what in ("counts", "skewed sizes", "shares", "prices")
    ),
    Figure("solver_speed", "torchode's training step over rk38's, equal gradient error",
           at(*SPEED, "torchode tsit5", "over rk38", show="{:.1f} x")),
    Figure("solver_speed", "diffrax's (jit and vmap) over rk38's",
           at(*SPEED, "diffrax tsit5 vmap", "over rk38", show="{:.1f} x")),
    Figure("solver_speed", "torchdiffeq's adjoint over rk38's",
           at(*SPEED, "torchdiffeq dopri5 adjoint, 32 shared knots", "over rk38", show="{:.0f} x")),
    Figure("solver_choice", "rk38 with 5 intervals, largest error (predicted standard deviations)",
           chosen("rk38", 5, "largest error")),
    Figure("memory", "checkpoint's memory over direct's, 256 steps",
           ratio(("checkpoint", "256", "MB"), ("direct", "256", "MB"))),
    Figure("memory", "backsolve's z0 gradient error over a long contracting span",
           at(CONTRACTING, "span 4, rtol 0.001", show="{:.1f} x the gradient")),
    Figure("training_step", "a union grid's training step over that on own clocks, GRU",
           at("gru, union grid / own clocks", show="{:.0f} x")),
    Figure("event_times", "simulated: part of the gain over a constant rate that the true one makes",
           at("simulated", "part of the possible gain", show="{:.0%}")),
    Figure("event_times", "simulated: rms error of the intensity over that of the constant rate",
           ratio(("simulated", "rms error of the intensity"),
                 ("simulated", "rms error of the constant rate"))),
    Figure("event_times", "storms: log-likelihood per event", at("storms", "log-likelihood per event")),
    Figure("event_times", "the same, constant rate", at("storms", "constant rate")),
    Figure("both_sides", "hidden values of sines, joint: MAE from both sides over that from the past",
           ratio(("sine, joint, both sides", "mae"), ("sine, joint, past only", "mae"))),
    Figure("both_sides", "the same, a state per variable",
           ratio(("sine, per-variable, both sides", "mae"), ("sine, per-variable, past only", "mae"))),
    Figure("mortality", "validation AUC, latent ODE", at("latent ODE", "AUC")),
    Figure("mortality", "the same, logistic regression", at("logistic regression", "AUC")),
    Figure("euler_resnet", "residual blocks against Euler steps, same weights, largest difference",
           at("difference, own weights, 24 blocks, float64")),
    Figure("euler_resnet", "orders found: Euler, midpoint, RK4",
           several("slope euler", "slope midpoint", "slope rk4")),
    Figure("augmented", "nested annuli: worst error on a circle, plain, best of three seeds",
           at("annuli plain worst error on a circle, least of seeds")),
    Figure("augmented", "the same, augmented, worst of three seeds",
           at("annuli augmented worst error on a circle, most of seeds")),
    Figure("augmented", "evaluations at the end, plain and augmented",
           several("annuli plain evaluations", "annuli augmented evaluations", show="{:.0f}")),
    Figure("adjoint", "gradient by the adjoint at 1e-13 beside finite differences",
           at("gradient at 1e-13 beside finite differences")),
    Figure("adjoint", "memory against depth, exponent: direct, checkpoint, backsolve",
           several(*(f"growth of memory, {a}" for a in ("direct", "checkpoint", "backsolve")))),
    Figure("odenet_digits", "test accuracy, three seeds: ODE net and residual network",
           several("odenet accuracy", "resnet accuracy", show="{:.2%}")),
    Figure("odenet_digits", "parameters of the ODE net over the residual network's",
           at("parameters odenet / resnet", show="{:.2f} x")),
    Figure("slope_field", "error of a learned field where it was observed, relative",
           at("field error where observed", show="{:.1%}")),
    Figure("cnf", "two moons, log-likelihood: truth, CNF, spline flow, affine flow",
           several(*(f"two_moons: {m} log-likelihood" for m in ("true", "cnf", "nsf", "maf")))),
    Figure("cnf", "eight gaussians, the same",
           several(*(f"eight_gaussians: {m} log-likelihood" for m in ("true", "cnf", "nsf", "maf")))),
    *(
        Figure("spirals", f"{what}, RMSE at 30, 50, 100 observations: {model}",
               several(*(f"{n} observations: {model} {what}" for n in (30, 50, 100)), show="{:.3f}"))
        for what, model in (
            ("reconstruction", "latent ODE, linear"), ("reconstruction", "latent ODE"),
            ("reconstruction", "latent ODE, values alone"),
            ("one step ahead", "RNN"), ("one step ahead", "GRU"),
            ("extrapolation", "latent ODE, linear"), ("extrapolation", "latent ODE"),
            ("extrapolation", "latent ODE, values alone"),
            ("extrapolation", "RNN"), ("extrapolation", "GRU"),
        )
    ),
    *domain("wti_cpi", "log WTI, 1 trading day", WTI, 1.0, more=MOVING),
    *domain("wti_cpi", "log WTI, 11 to 20 trading days", WTI, 28.0, more=MOVING),
    *domain("wti_cpi", "log core CPI, 15 to 28 days", "CPILFESL", 28.0),
    *domain("wti_cpi", "log S&P 500, 11 to 20 trading days", "sp500", 28.0, "indices", MOVING),
    *domain("wti_cpi", "log VIX, 11 to 20 trading days", "vix", 28.0, "indices", MOVING),
    Figure("wti_cpi", "WTI, all leads, MAE over the last value's: per variable, joint, GRU without ODE",
           several(*(f"{WTI}: MAE over the last value's: {m}" for m in RIVALS[:3]), show="{:.3f}")),
    Figure("wti_cpi", "its 80 % interval covers: the same, and recalibrated per variable",
           several(*(f"{WTI}: 80 % interval covers: {m}" for m in (*RIVALS[:3], RECALIBRATED)),
                   show="{:.1%}")),
    *domain("pbc_visits", "log bilirubin, 251 to 500 days", "log bili", 500.0),
    *domain("pbc_visits", "log bilirubin, 801 to 1100 days", "log bili", 1100.0),
    *domain("pbc_visits", "albumin (g/dl), 251 to 500 days", "albumin", 500.0),
    *domain("pbc_visits", "log prothrombin time, 251 to 500 days", "log protime", 500.0),
    Figure("pbc_visits", "80 % interval covers, all together: per variable, joint, GRU without ODE",
           several(*(f"80 % interval covers: {m}" for m in RIVALS[:3]), show="{:.1%}")),
    Figure("remifentanil", "error of log concentration, rates known; nothing, then minutes seen",
           several(*(f"log MAE, {s} seen: latent ODE, rates known" for s in SEEN), show="{:.3f}")),
    Figure("remifentanil", "the same over that with rates unknown",
           several(*(f"log MAE, {s} seen: known over unknown" for s in SEEN))),
    Figure("remifentanil", "the same ratio in ng/ml",
           several(*(f"MAE, {s} seen: known over unknown" for s in SEEN))),
    Figure("remifentanil", "nothing seen, the same error of compartments, of the mean curve",
           several("log MAE, nothing seen: compartments", "log MAE, nothing seen: mean curve",
                   show="{:.3f}")),
    Figure("remifentanil", "concentration where the rate is doubled: 10 %, median, 90 %",
           several(*(f"concentration where the rate is doubled, q{q}" for q in (0.1, 0.5, 0.9)))),
    Figure("asynchronous", "x up to 6 h ahead, mean absolute error from the table as it is",
           at("MAE", "latent ODE")),
    Figure("asynchronous", "the same by boosting, from a grid of 1 h; of 15 min",
           lambda r: several(*(f"boosting on a grid of {g}" for g in ("1 h", "15 min")))(r["MAE"])),
    Figure("asynchronous", "the error that the noise of a reading makes by itself", at("noise alone")),
    Figure("first_look", "inspect 100,000 laboratory events, s of CPU from start to end",
           at("inspect, s of CPU", show="{:.2f}")),
    Figure("first_look", "records in the challenge's text files, and those forecast, by two commands",
           several("records", "records forecast", show="{:.0f}")),
    *(
        Figure("ordinary_tables", f"{what}: latent ODE; the best classical model",
               beside_classical(table))
        for table, what in (
            ("lines", "lines of own slopes, MAE"), ("one_line", "one line, MAE"),
            ("sine", "a sine, MAE"),
            ("daily_and_weekly", "daily and weekly cycles, MAE"),
            ("known_columns", "known columns, MAE"),
            ("known_columns_of_many", "known columns, sixty short series, MAE"),
            ("slow_response", "a schedule with a slow response, MAE"),
            ("counts", "counts, RMSE to the rate"),
            ("mixed_scales", "mixed scales, median error over own scale"),
            ("random_walks", "random walks, MAE"),
            ("exact_sines", "sines without noise, jump at the origin (deviations)"),
            ("own_periods", "sines of own periods, MAE"),
        )
    ),
    Figure("ordinary_tables", "over the best classical model, geometric mean of tables: latent ODE, "
           "Prophet, Gaussian process, LightGBM",
           over_the_best_classical("latent ODE", "Prophet", "Gaussian process", "LightGBM")),
    *(
        Figure("forecast_benchmark", f"{dataset}, validation MSE, {model}", benchmark(dataset, model))
        for dataset in ("physionet2012", "p12_hourly", "LEN01", "LI01", "DUP03")
        for model in ("per-variable", "last-value")
    ),
    *(
        Figure("station_weather", f"{what}, {lead / 2:g} to {lead:g} h ahead, MAE; CRPS, eight models",
               rolled(variable, lead))
        for variable, what in (
            ("temp", "temperature (°F)"), ("dewp", "dew point (°F)"), ("pressure", "pressure (hPa)"),
            ("wind_speed", "wind (mph)"), ("wind_gust", "gusts (mph)"),
        )
        for lead in (6.0, 24.0)
    ),
    Figure("station_weather",
           "CRPS over the best baseline's: temperature, dew point, pressure, wind, gusts",
           lambda results: ", ".join(
               f"{results['crps_over_the_best_baselines'][variable]:.2f}"
               for variable in ("temp", "dewp", "pressure", "wind_speed", "wind_gust"))),
    *(
        Figure("glucose", f"{what} ahead (mg/dL), MAE; CRPS, eight models", rolled("glucose", lead))
        for lead, what in ((0.5, "15 to 30 min"), (1.0, "45 to 60 min"))
    ),
    Figure("trust", "saves ended by kill -9 that left a whole model; resumed fits equal bit for bit",
           lambda results: f"{results['saves']['whole']} of {results['saves']['kills']}; "
           f"{results['fits']['equal']} of {results['fits']['resumed runs']}"),
    Figure("on_disk", "20 million observations, most memory of an epoch, GB: on disk, in memory",
           lambda results: ", ".join(
               f"{results[way]['peak_gb']:.2f}" for way in ("on disk", "in memory"))),
    Figure("on_disk", "seconds of CPU for the same batches, on disk over in memory",
           ratio(("on disk", "batches_s"), ("in memory", "batches_s"))),
    Figure("crossing", "180 mg/dL within an hour, Brier score: latent ODE; climatology, the same by "
           "value and time of day, last value, drift, damped drift, Gaussian process, "
           "logistic regression",
           crossing("raw")),
    Figure("crossing", "the same, recalibrated on held-out days", crossing("logistic")),
    *(
        Figure("calibration", f"{data}, % inside 50, 80, 95 % intervals: before; after",
               covered(data, "before", "after"))
        for data in ("storms", "glucose", "PhysioNet 2012")
    ),
    *(
        Figure("calibration", f"{data}, CRPS after over before, median and worst variable",
               lambda results, data=data: ", ".join(
                   f"{results[data]['after'][f'CRPS, {which}']:.3f}" for which in ("median", "worst")))
        for data in ("storms", "glucose", "PhysioNet 2012")
    ),
]  # fmt: skip


def table(folder: Path) -> str:
    """A Markdown table of every figure whose results.json is there.

    Raises:
        KeyError: if a results.json lacks a figure.
    """
    lines = ["| experiment | figure | value |", "|---|---|---|"]
    for figure in FIGURES:
        file = folder / figure.experiment / "results.json"
        found = figure.read(json.loads(file.read_text())) if file.exists() else "not run yet"
        lines.append(f"| [{figure.experiment}]({figure.experiment}) | {figure.what} | {found} |")
    return "\n".join(lines)
