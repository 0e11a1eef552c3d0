"""Training-step time of the solver beside its peers, at equal gradient error; see README.md.

python experiments/solver_speed/run.py [--smoke] [--out results.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peers
import torch
from torch import Tensor, nn
from workload import Workload, ours, relative_error

from latentode.ode import Solver

HERE = Path(__file__).parent
SPAN, QUERIES = 10.0, (50, 200)
Step = Callable[[], Tensor]


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


def contenders(work: Workload, small: bool) -> tuple[dict[str, Step], list[str]]:
    """Everything that runs the workload, and the names of what is absent."""
    steps = {
        "latentode rk4 32": ours(work, Solver("rk4", 32)),
        "latentode rk38 24": ours(work, Solver("rk38", 24)),
        "latentode ab4 128": ours(work, Solver("ab4", 128)),
        "latentode ab4 64": ours(work, Solver("ab4", 64)),
    }
    absent = []
    if small:
        wrapped = AnyModule(work.field)
        steps |= {
            "latentode rk4 32 checkpoint": ours(work, Solver("rk4", 32, adjoint="checkpoint")),
            "latentode rk4 32 any module": ours(work, Solver("rk4", 32), wrapped),
            "plain backpropagation rk4 32": ours(work, Solver("rk4", 32), lambda *a: wrapped(*a)),
            "same operations as large products": products(work, 129),
            "torchdiffeq dopri5 adjoint, 32 shared knots": peers.torchdiffeq_shared(work, 1e-3),
        }
    if peers.installed("torchode"):
        steps["torchode tsit5"] = peers.torchode(work, 1e-4)
    else:
        absent.append("torchode")
    if peers.installed("jax", "diffrax"):
        steps["diffrax tsit5 vmap"] = peers.diffrax_vmap(work, 1e-4)
        if small:
            steps["diffrax tsit5 joint, 24 steps"] = peers.diffrax_joint(work, 24)
    else:
        absent.append("diffrax")
    return steps, absent


def compare(work: Workload, small: bool, repeats: int) -> dict:
    """Times and gradient errors of all contenders."""
    steps, absent = contenders(work, small)
    exact = ours(work.double(), Solver("dopri5", 256, rtol=1e-9, atol=1e-9))()
    errors = {name: relative_error(g, exact) for name, step in steps.items() if len(g := step())}
    times = milliseconds(steps, repeats)
    base = times["latentode rk4 32"]
    return {
        "absent": absent,
        "rows": {
            name: {"ms": ms, "over rk4": ms / base, "gradient error": errors.get(name)}
            for name, ms in times.items()
        },
    }


def union(repeats: int) -> dict:
    """Against the union of all times of a batch of 32."""
    work = Workload.make(32, 16, 64, QUERIES, SPAN)
    times = milliseconds({"ours": ours(work, Solver("rk4", 32))}, 5 * repeats)
    times |= milliseconds({"union": peers.torchdiffeq_union(work, 1e-4)}, repeats)
    return times | {"ratio": times["union"] / times["ours"]}


def flat_in_queries(repeats: int) -> dict:
    """A step with ten times the queries, and the solve alone."""
    few = Workload.make(64, 16, 64, QUERIES, SPAN)
    many = Workload.make(64, 16, 64, (10 * QUERIES[0], 10 * QUERIES[1]), SPAN)
    solver = Solver("rk4", 32)
    times = milliseconds({"few": ours(few, solver), "many": ours(many, solver)}, repeats)
    return times | {"ratio": times["many"] / times["few"]}


def slopes(repeats: int) -> dict:
    """Exponents of time in rows and in steps."""
    rows = (256, 512, 1024, 2048)
    by_rows = {str(n): ours(Workload.make(n, 16, 64, (3, 8), SPAN), Solver("rk4", 32)) for n in rows}
    work, steps = Workload.make(64, 16, 64, (3, 8), SPAN), (32, 64, 128, 256)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one repeat of the small parts")
    parser.add_argument("--out", type=Path, help="default: results.json here; smoke writes none")
    arguments = parser.parse_args()
    smoke = arguments.smoke
    repeats = 1 if smoke else 15
    results: dict = {"threads": threads(1 if smoke else 5)}  # before all is bound to one core
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {0})
    torch.set_num_threads(1)
    results["machine"] = {"torch": torch.__version__, "cpu": platform.machine(), "cores": 1}
    rows = 8 if smoke else 64
    results["64/16/64"] = compare(Workload.make(rows, 16, 64, QUERIES, SPAN), True, repeats)
    if not smoke:
        big = Workload.make(256, 32, 128, QUERIES, SPAN)
        results["256/32/128"] = compare(big, False, 5)
        work = Workload.make(4096, 16, 64, (2, 8), SPAN)
        results["4096 rows"] = milliseconds({"rk4 32": ours(work, Solver("rk4", 32))}, 3)
        results["union"] = union(1)
        results["queries"] = flat_in_queries(repeats)
        results["slopes"] = slopes(5)
    text = json.dumps(results, indent=1)
    print(text)
    out = arguments.out or (None if smoke else HERE / "results.json")
    if out is not None:
        out.write_text(text + "\n")


if __name__ == "__main__":
    main()
