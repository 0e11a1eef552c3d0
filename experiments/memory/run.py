"""Peak memory and time of the three adjoints against the number of steps; see README.md.

python experiments/memory/run.py [--smoke] [--out DIRECTORY]
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import re
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from latentode.ode import MLPDynamics, Solver

HERE = Path(__file__).parent
ADJOINTS = ("direct", "checkpoint", "backsolve")


def training_step(adjoint: str, steps: int) -> None:
    """Forward and backward of one batch: 64 rows, latent 16, two hidden layers of 64."""
    torch.manual_seed(0)
    field, z0 = MLPDynamics(16, (64, 64)), torch.randn(64, 16, requires_grad=True)
    # Few knots, many steps: what is kept besides them is the adjoint's own.
    solver = Solver("rk4", 8, steps // 8, adjoint=adjoint)
    path = solver.solve(field, z0, torch.zeros(64), torch.full((64,), 4.0))
    path.final.square().sum().backward()


def resident(what: str) -> int:
    """Resident bytes now (`VmRSS`) or the most since the last reset (`VmHWM`), as Linux counts them."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def grown(adjoint: str, steps: int) -> float:
    """Megabytes of resident memory that a step takes over what was held before."""
    training_step(adjoint, 8)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier steps freed must not serve this one
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = resident("VmRSS")
    training_step(adjoint, steps)
    return (resident("VmHWM") - before) / 2**20


def peaks(sizes: tuple[int, ...]) -> dict[tuple[str, int], float]:
    """`grown` of each adjoint and number of steps; in a process that does nothing else."""
    with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        asked = [(adjoint, n) for adjoint in ADJOINTS for n in sizes]
        return dict(zip(asked, pool.map(grown, *zip(*asked, strict=True)), strict=True))


def milliseconds(adjoint: str, steps: int, repeats: int) -> float:
    """Median over repeats."""
    taken = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        training_step(adjoint, steps)
        taken.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(taken[1:])


def backsolve_error(span: float, rtol: float) -> float:
    """Relative error of backsolve's z0 gradient on a contracting field, against direct in float64."""
    torch.manual_seed(0)
    field = MLPDynamics(16, (64, 64)).double()
    torch.nn.init.xavier_normal_(field.layers[-1].weight)

    def contracting(t: torch.Tensor, z: torch.Tensor, context: object) -> torch.Tensor:
        return field(t, z) - 3 * z

    start = torch.randn(64, 16, dtype=torch.float64)

    def gradient(solver: Solver) -> torch.Tensor:
        z0 = start.clone().requires_grad_()
        ends = torch.zeros(64, dtype=torch.float64), torch.full((64,), span, dtype=torch.float64)
        path = solver.solve(contracting, z0, *ends)
        return torch.autograd.grad(path.final.square().sum(), z0)[0]

    exact = gradient(Solver("dopri5", 1, rtol=1e-10, atol=1e-12))
    got = gradient(Solver("dopri5", 1, rtol=rtol, atol=rtol, adjoint="backsolve"))
    return ((got - exact).norm() / exact.norm()).item()


def draw(results: dict, file: Path) -> None:
    """Memory against steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3.5), layout="constrained")
    for adjoint in ADJOINTS:
        points = results[adjoint]
        axes.plot([int(n) for n in points], [p["MB"] for p in points.values()], "o-", label=adjoint)
    axes.set(xscale="log", yscale="log", xlabel="RK4 steps", ylabel="peak memory, MB")
    axes.legend()
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="two sizes, one repeat")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/memory")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/memory") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    sizes = (8, 16) if arguments.smoke else (16, 32, 64, 128, 256, 512)
    repeats = 1 if arguments.smoke else 7
    most = peaks(sizes)
    results: dict = {
        adjoint: {
            str(n): {"MB": most[adjoint, n], "ms": milliseconds(adjoint, n, repeats)} for n in sizes
        }
        for adjoint in ADJOINTS
    }
    results["backsolve z0 gradient error on a contracting field"] = {
        f"span {span:g}, rtol {rtol:g}": backsolve_error(span, rtol)
        for span in (1.0, 4.0)
        for rtol in (1e-3, 1e-6)
    }
    print(json.dumps(results, indent=1))
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    try:
        draw(results, folder / "memory.png")
    except ImportError:
        print("matplotlib is not installed: nothing drawn")


if __name__ == "__main__":
    main()
