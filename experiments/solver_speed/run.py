"""Training-step time of the solver beside its peers, at equal gradient error; see README.md.

python experiments/solver_speed/run.py [--smoke] [--only PART ...] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import peers
import torch
from torch import Tensor, nn
from workload import Workload, decoded_at_knots, ours, relative_error

from latentode.ode import Solver

HERE = Path(__file__).parent
SPAN, QUERIES = 10.0, (50, 200)
GRADIENT_ERROR = 4e-3
Step = Callable[[], Tensor]
Maker = Callable[[], Step]


class AnyModule(nn.Module):
    """The same field without its hand-written pullback."""

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field

    def forward(self, t: Tensor, z: Tensor, context: object) -> Tensor:
        return self.field(t, z, context)


def milliseconds(
    steps: dict[str, Step], repeats: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Median time of each, taken in turns so that a busy moment hits all alike.

    On one core the process's own time is what a quiet machine would take.
    """
    calls = {name: getattr(step, "timed", step) for name, step in steps.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            begin = clock()
            call()
            if repeat:  # the first is to warm up
                taken[name].append(1e3 * (clock() - begin))
    return {name: statistics.median(times) for name, times in taken.items()}


def products(work: Workload, evaluations: int) -> Step:
    """The floating-point operations of that many evaluations and pullbacks as large products."""
    many = evaluations * len(work.z0)
    pairs = []
    for layer in work.field.layers:
        x, g = torch.randn(many, layer.in_features), torch.randn(many, layer.out_features)
        pairs.append((x, layer.weight.detach(), g))

    def step() -> Tensor:
        for x, weight, g in pairs:
            torch.mm(x, weight.T), torch.mm(g, weight), torch.mm(g.T, x)
        return torch.zeros(0)

    return step


def families(work: Workload, small: bool) -> tuple[dict[str, dict[object, Maker]], list[str]]:
    """What runs the workload, settings from cheap to exact by name; and the names of what is absent."""
    steps = (8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 32, 40)
    tolerances = (1e-3, 5e-4, 2e-4, 1e-4)

    def native(method: str, counts: tuple[int, ...], field: object = None, **solver: str) -> dict:
        return {n: partial(ours, work, Solver(method, n, **solver), field) for n in counts}

    found: dict[str, dict] = {
        "latentode rk4": native("rk4", steps),
        "latentode rk38": native("rk38", steps),
    }
    absent = []
    if small:
        wrapped = AnyModule(work.field)
        found |= {
            "latentode rk38 checkpoint": native("rk38", steps, adjoint="checkpoint"),
            "latentode rk38, any module": native("rk38", steps, wrapped),
            "torchdiffeq dopri5 adjoint, 32 shared knots": {
                t: partial(peers.torchdiffeq_shared, work, t) for t in (1e-2, 1e-3, 1e-4)
            },
        }
    if peers.installed("torchode"):
        found["torchode tsit5"] = {t: partial(peers.torchode, work, t) for t in tolerances}
    else:
        absent.append("torchode")
    if peers.installed("jax", "diffrax"):
        found["diffrax tsit5 vmap"] = {t: partial(peers.diffrax_vmap, work, t) for t in tolerances}
        if small:
            joint = {n: partial(peers.diffrax_joint, work, n) for n in steps}
            found["diffrax tsit5, one joint solve"] = joint
    else:
        absent.append("diffrax")
    return found, absent


def compare(work: Workload, small: bool, repeats: int) -> dict:
    """Every contender at its cheapest setting whose gradient error is at most `GRADIENT_ERROR`."""
    found, absent = families(work, small)
    exact = ours(work.double(), Solver("dopri5", 256, rtol=1e-9, atol=1e-9))()
    chosen: dict[str, Step] = {}
    rows: dict[str, dict] = {}
    for name, settings in found.items():
        for setting, make in settings.items():
            chosen[name] = make()
            error = relative_error(chosen[name](), exact)
            rows[name] = {"setting": setting, "gradient error": error}
            if error <= GRADIENT_ERROR:
                break
    evaluations = 4 * int(rows["latentode rk38"]["setting"]) + 1
    chosen["rk38's operations as large products"] = products(work, evaluations)
    times = milliseconds(chosen, repeats)
    base = times["latentode rk38"]
    for name, ms in times.items():
        rows.setdefault(name, {}).update({"ms": ms, "over rk38": ms / base})
    return {"absent": absent, "rows": rows}


def union(repeats: int) -> dict:
    """Against the union of all times of a batch of 32."""
    work = Workload.make(32, 16, 64, QUERIES, SPAN)
    times = milliseconds({"ours": ours(work, Solver("rk4", 32))}, 5 * repeats)
    times |= milliseconds({"union": peers.torchdiffeq_union(work, 1e-4)}, repeats)
    return times | {"ratio": times["union"] / times["ours"]}


def flat_in_queries(repeats: int) -> dict:
    """Ten times the queries: decoded one by one, or at the knots, as a linear decoder may be."""
    few = Workload.make(64, 16, 64, QUERIES, SPAN)
    many = Workload.make(64, 16, 64, (10 * QUERIES[0], 10 * QUERIES[1]), SPAN)
    solver, found = Solver("rk4", 32), {}
    for name, make in (("states", ours), ("decoded at the knots", decoded_at_knots)):
        times = milliseconds({"few": make(few, solver), "many": make(many, solver)}, repeats)
        found[name] = times | {"ratio": times["many"] / times["few"]}
    return found


def slopes(repeats: int) -> dict:
    """Exponents of time in rows and in steps, where the overhead of a call is small beside it."""
    rows = (512, 1024, 2048, 4096)
    by_rows = {str(n): ours(Workload.make(n, 16, 64, (3, 8), SPAN), Solver("rk4", 32)) for n in rows}
    work, steps = Workload.make(64, 16, 64, (3, 8), SPAN), (128, 256, 512, 1024)
    by_steps = {str(n): ours(work, Solver("rk4", n)) for n in steps}
    found = {}
    for name, made in (("rows", by_rows), ("steps", by_steps)):
        times = milliseconds(made, repeats)
        sizes, ms = [float(n) for n in times], list(times.values())
        found[name] = times | {"slope": float(np.polyfit(np.log(sizes), np.log(ms), 1)[0])}
    return found


def threads(repeats: int) -> dict:
    """Milliseconds by number of threads."""
    shapes = {"64/16/64": (64, 16, 64), "256/32/128": (256, 32, 128), "4096/16/64": (4096, 16, 64)}
    made = {
        name: ours(Workload.make(*s, (3, 8), SPAN), Solver("rk4", 16)) for name, s in shapes.items()
    }
    found, before = {}, torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found[str(count)] = milliseconds(made, repeats, time.perf_counter)
    finally:
        torch.set_num_threads(before)
    return found


def parts(smoke: bool) -> dict[str, Callable[[], dict]]:
    """What can be measured, by name."""
    if smoke:
        few = Workload.make(2, 16, 64, (2, 4), SPAN / 8)
        return {"64/16/64": lambda: compare(few, True, 1)}
    repeats, rows = 15, 64
    small = {
        "threads": lambda: threads(5),
        "64/16/64": lambda: compare(Workload.make(rows, 16, 64, QUERIES, SPAN), True, repeats),
    }
    many = Workload.make(4096, 16, 64, (2, 8), SPAN)
    return {
        **small,
        "64/16/64, half the span": lambda: compare(
            Workload.make(rows, 16, 64, QUERIES, SPAN / 2), True, repeats
        ),
        "256/32/128": lambda: compare(Workload.make(256, 32, 128, QUERIES, SPAN), False, 5),
        "4096 rows": lambda: milliseconds({"rk38 20": ours(many, Solver("rk38", 20))}, 3),
        "union": lambda: union(1),
        "queries": lambda: flat_in_queries(repeats),
        "slopes": lambda: slopes(5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one repeat of a small part")
    parser.add_argument("--only", nargs="+", help="names of parts; others keep what results.json holds")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/solver_speed")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/solver_speed") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "results.json"
    results: dict = {}
    if arguments.only and out.exists():
        results = json.loads(out.read_text())
    results["machine"] = {"torch": torch.__version__, "cpu": platform.machine(), "cores": 1}
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
    for name, measure in parts(arguments.smoke).items():
        if arguments.only and name not in arguments.only:
            continue
        if cores is not None:  # one core, but where threads are compared
            os.sched_setaffinity(0, cores if name == "threads" else {min(cores)})
        torch.set_num_threads(1)
        results[name] = measure()
        print(json.dumps({name: results[name]}, indent=1), flush=True)
    out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
