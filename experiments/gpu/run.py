"""Training and solving on a CUDA card beside one CPU core, captured as CUDA graphs and not.

    PYTHONPATH=. python experiments/gpu/run.py [--smoke] [--minutes 6] [--out FOLDER]

Needs neither Lightning nor data: batches are drawn in the sizes of the storms and of PhysioNet 2012.
torchode is measured where it is installed, and the suite's CUDA test is run where pytest is. Prints a
table in markdown and writes results.json. Ends within --minutes: what does not fit is left out and says
so. Without a CUDA device it says that and measures nothing; --smoke tries every part on the CPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latentode.data.batch import Batch, Observations
from latentode.model import LatentODE, ModelConfig, Sizes
from latentode.model.objective import elbo_terms, negative_elbo
from latentode.ode import MLPDynamics, Solver

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
CPU = torch.device("cpu")
LARGEST_ON_CPU = 4096  # rows of a solve
Step = Callable[[], object]


@dataclass
class Clock:
    """How much time is left for everything, and for one figure.

    Args:
        seconds: for everything.
        each: for the repeats of one figure.
        most: repeats of one figure.
    """

    seconds: float
    each: float = 1.0
    most: int = 20
    begin: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.begin)

    def measure(self, step: Step, device: torch.device) -> dict[str, float | int]:
        """Median wall time of a call in milliseconds, and what it allocates on the card at most."""

        def settled() -> None:
            if device.type == "cuda":
                torch.cuda.synchronize()

        step()
        step()
        settled()
        held = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
        taken, until = [], time.monotonic() + self.each
        while len(taken) < self.most and (len(taken) < 3 or time.monotonic() < until):
            begin = time.perf_counter()
            step()
            settled()
            taken.append(1e3 * (time.perf_counter() - begin))
        found: dict[str, float | int] = {"ms": statistics.median(taken), "repeats": len(taken)}
        if device.type == "cuda":
            found["MB"] = (torch.cuda.max_memory_allocated() - held) / 2**20
        return found


class Report:
    """Figures by part and name, written as they come, so that an end by force loses none of them.

    Args:
        path: of results.json.
        clock: what says how much time is left.
    """

    LEAST = 8.0  # seconds that a figure may take, its warm-up included

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path, self.clock, self.found = path, clock, {}

    def add(self, part: str, name: str, make: Callable[[], dict[str, Any]]) -> None:
        """What `make` finds; why not, where it fails or no time is left."""
        if self.clock.left < self.LEAST:
            found: dict[str, Any] = {"left out": "no time was left"}
        else:
            try:
                found = make()
            except Exception as failure:  # one figure's failure must not cost the others
                said = str(failure).strip().splitlines() or [""]
                found = {"failed": f"{type(failure).__name__}: {said[0][:160]}"}
        self.found.setdefault(part, {})[name] = found
        print(f"  {part} | {name}: {found}", file=sys.stderr, flush=True)
        self.path.write_text(json.dumps(self.found, indent=1))

    def markdown(self, title: str) -> str:
        """A table for each part whose figures are times."""
        lines = [f"### {title}", ""]
        for part, rows in self.found.items():
            if part == "machine":
                lines += [f"- {name}: {'; '.join(map(str, r.values()))}" for name, r in rows.items()]
                continue
            columns = [c for c in dict.fromkeys(c for r in rows.values() for c in r) if c != "repeats"]
            lines += ["", f"| {part} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
            for name, row in rows.items():
                cells = (row.get(c, "") for c in columns)
                shown = (f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells)
                lines.append(f"| {name} | {' | '.join(shown)} |")
        return "\n".join(lines)


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def captured(step: Step) -> Step:
    """A CUDA graph of a step: its kernels launched at once."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


# A training step of the whole network.


@dataclass(frozen=True)
class Shape:
    """What a batch of a table is like: observations of a series before and after its origin.

    Args:
        variables: number of variables.
        context: mean number of observations that an encoder sees.
        target: mean number of observations ahead.
        past: length of the context, in horizons.
    """

    variables: int
    context: int
    target: int
    past: float

    def batch(self, n_series: int) -> Batch:
        """Series on clocks of their own, each with between half and one and a half times the mean."""
        generator = np.random.default_rng(0)

        def part(mean: int, begin: float, end: float) -> Observations:
            counts = generator.integers(mean // 2, mean + mean // 2 + 1, n_series)
            series = np.repeat(np.arange(n_series), counts)
            when = generator.uniform(begin, end, len(series))
            variable = generator.integers(0, self.variables, len(series))
            value = np.sin(5 * when + series) + 0.1 * generator.normal(size=len(series))
            return Observations(*map(torch.from_numpy, (series, variable, when, value)))

        start = torch.full((n_series,), -self.past, dtype=torch.float64)
        empty = torch.zeros(n_series, 0, dtype=torch.float64)
        parts = part(self.context, -self.past, 0.0), part(self.target, 0.0, 1.0)
        return Batch(*parts, start, empty, empty, empty[..., None][..., :0])


# As a training loader makes them of the two tables, horizons of 72 and of 24 hours.
SHAPES = {"storms": Shape(6, 91, 46, 5.4), "physionet2012": Shape(41, 224, 157, 2.0)}


def training_step(config: ModelConfig, shape: Shape, n_series: int, device: torch.device) -> Step:
    """Forward, backward and AdamW's step."""
    torch.manual_seed(0)
    model: LatentODE = config.build(Sizes(n_variables=shape.variables)).to(device)
    batch = shape.batch(n_series).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        noise = torch.randn(1, n_series, model.latent_size, device=device)
        negative_elbo(elbo_terms(model, batch, noise)).backward()
        optimizer.step()

    return step


def kernels(step: Step) -> dict[str, Any]:
    """How many kernels a step launches on the card, and for how long these keep it busy."""
    from torch.profiler import ProfilerActivity, profile

    step()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        step()
        torch.cuda.synchronize()
    events = [e for e in recorded.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(e.time_range.elapsed_us() for e in events) / 1e3
    return {"kernels": len(events), "busy ms": float(busy)}


def train(report: Report, device: torch.device, sizes: tuple[int, ...]) -> None:
    """Training steps of the default network, with its structural block and without, on both devices."""
    for table, shape in SHAPES.items():
        for structure in ("state-space", "last-value"):
            for latent in ("per-variable", "joint"):
                config = ModelConfig(latent=latent, structure=structure)
                part = f"training step, {table}, {latent}, {structure}"
                for n in sizes:

                    def made(where: torch.device, n: int = n, c: ModelConfig = config) -> Step:
                        return training_step(c, shape, n, where)  # noqa: B023

                    def on_card(made: Callable[..., Step] = made) -> dict[str, Any]:
                        step = made(device)
                        found = report.clock.measure(step, device)
                        return found | (kernels(step) if device.type == "cuda" else {})

                    report.add(part, f"{n} series, card", on_card)
                with one_thread():
                    first = sizes[0]
                    report.add(part, f"{first} series, one CPU core",
                               lambda: report.clock.measure(made(CPU, first), CPU))  # noqa: B023  # fmt: skip


# A solve and its gradients.


class Workload(nn.Module):
    """Rows of a latent ODE, read at queries of their own, squared, and differentiated.

    Args:
        rows: number of rows, each with 32 queries.
        latent: size of a state.
        width: of the two hidden layers of the field.
        device: where all of it lies.
    """

    QUERIES, SPAN = 32, 10.0

    def __init__(self, rows: int, latent: int, width: int, device: torch.device) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.field = MLPDynamics(latent, (width, width))
        for layer in self.field.layers:  # as lively as a trained one
            nn.init.xavier_normal_(layer.weight, gain=1.4)  # type: ignore[arg-type]
        self.z0 = nn.Parameter(torch.randn(rows, latent))
        self.t1 = nn.Parameter(self.SPAN * (0.75 + 0.5 * torch.rand(rows)), requires_grad=False)
        asked = torch.rand(rows, self.QUERIES).sort(dim=1).values * self.t1[:, None]
        self.times = nn.Parameter(asked, requires_grad=False)
        index = torch.arange(rows).repeat_interleave(self.QUERIES)
        self.rows = nn.Parameter(index, requires_grad=False)
        self.to(device)

    def gradient(self, states: Tensor) -> Tensor:
        """All gradients of the mean square in one vector; parameters keep theirs in place."""
        self.zero_grad(set_to_none=False)
        states.square().mean().backward()
        return torch.cat([self.z0.grad.flatten(), *(p.grad.flatten() for p in self.field.parameters())])  # type: ignore[union-attr]

    def native(self, solver: Solver) -> Tensor:
        path = solver.solve(self.field, self.z0, torch.zeros_like(self.t1), self.t1)
        return self.gradient(path.at(self.rows, self.times.flatten()))

    def torchode(self, tolerance: float) -> Tensor:
        """Every row with its own steps and its own evaluation times."""
        import torchode as to

        term = to.ODETerm(lambda t, y: self.field(t, y), with_stats=False)
        controller = to.IntegralController(atol=tolerance, rtol=tolerance, term=term)
        solver = to.AutoDiffAdjoint(to.Tsit5(term=term), controller)
        start = torch.zeros_like(self.t1)
        problem = to.InitialValueProblem(self.z0, start, self.t1, self.times)
        return self.gradient(solver.solve(problem).ys)

    def torchdiffeq(self, method: str, knots: int, **options: Any) -> Tensor:
        """Rows on their own scale and one grid of knots, between which cubics are laid."""
        from latentode.ode import HermiteTrajectory

        import torchdiffeq  # isort: skip

        s = torch.linspace(0, 1, knots, device=self.t1.device)
        unit = self.t1[:, None]
        states = torchdiffeq.odeint(
            lambda s, z: unit * self.field(s * self.t1, z), self.z0, s, method=method, **options
        ).transpose(0, 1)  # type: ignore[union-attr]
        slopes = self.field(self.t1, states.flatten(0, 1)).view_as(states)
        path = HermiteTrajectory(unit * s, states, slopes)
        return self.gradient(path.at(self.rows, self.times.flatten()))


def solve(report: Report, device: torch.device, shapes: tuple[tuple[int, int, int], ...]) -> None:
    """Gradients of a solve by several packages, captured and not, beside one CPU core."""
    for rows, latent, width in shapes:
        part = f"solve and its gradients, {rows} rows of {latent}, width {width}"
        exact: list[Tensor] = []

        def error(found: Tensor, exact: list[Tensor] = exact) -> float:
            if not exact:
                fine = Workload(rows, latent, width, device)  # noqa: B023
                exact.append(fine.native(Solver("rk4", 128)))
            return float((found.double() - exact[0]).norm() / exact[0].norm())

        def figure(
            run: Callable[[Workload], Tensor], where: torch.device, as_graph: bool = False
        ) -> dict[str, Any]:
            work = Workload(rows, latent, width, where)  # noqa: B023
            known = rows <= LARGEST_ON_CPU  # noqa: B023
            off = {"gradient error": error(run(work).to(device))} if known else {}
            step = captured(lambda: run(work)) if as_graph else lambda: run(work)
            found = report.clock.measure(step, where)
            if as_graph:
                found.pop("MB", None)  # held by the graph
            return found | off

        ways: dict[str, Callable[[Workload], Tensor]] = {
            "latentode rk38, 32 steps": lambda w: w.native(Solver("rk38", 32)),
            "latentode rk38, 32 steps, checkpoint": lambda w: w.native(
                Solver("rk38", 32, adjoint="checkpoint")
            ),
            "torchdiffeq rk4, 32 equal steps": lambda w: w.torchdiffeq("rk4", 33),
        }
        adaptive: dict[str, Callable[[Workload], Tensor]] = {
            "torchode tsit5, 2e-4": lambda w: w.torchode(2e-4),
            "torchdiffeq dopri5, 1e-4, 32 knots": lambda w: w.torchdiffeq(
                "dopri5", 32, rtol=1e-4, atol=1e-4
            ),
        }
        for name, run in (ways | adaptive).items():
            report.add(part, f"{name}, card", lambda run=run: figure(run, device))
        if device.type == "cuda":
            # A capture that fails leaves the process unfit for more: torchdiffeq's comes last of all.
            last = rows == shapes[-1][0]
            for name, run in ways.items() if last else list(ways.items())[:2]:
                report.add(part, f"{name}, CUDA graph", lambda run=run: figure(run, device, True))
        with one_thread():
            for name in ("latentode rk38, 32 steps", "torchode tsit5, 2e-4"):
                run = (ways | adaptive)[name]
                if rows <= LARGEST_ON_CPU:
                    report.add(part, f"{name}, one CPU core", lambda run=run: figure(run, CPU))


def test_of_the_graph() -> dict[str, Any]:
    """What the suite's own CUDA test says, where pytest is installed."""
    if importlib.util.find_spec("pytest") is None:
        return {"tests": "pytest is not installed"}
    place = ROOT / "tests/ode/test_export.py"
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--noconftest", "-p",
               "no:cacheprovider", "-rA", f"--rootdir={ROOT}", "-k", "cuda", str(place)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    return {"tests": [*(done.stdout or done.stderr).strip().splitlines(), ""][-2]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="every part on the CPU, tiny, in seconds")
    parser.add_argument("--minutes", type=float, default=6.0, help="within which it ends")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/gpu")
    arguments = parser.parse_args()
    if not arguments.smoke and not torch.cuda.is_available():
        print("no CUDA device is present (or torch was built without CUDA): nothing was measured; "
              "--smoke tries every part on the CPU")  # fmt: skip
        return
    folder = arguments.out or (Path("build/gpu") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    clock = Clock(60 * arguments.minutes)
    report = Report(folder / "results.json", clock)
    device = CPU if arguments.smoke else torch.device("cuda")
    name = "the CPU, a smoke test" if arguments.smoke else torch.cuda.get_device_name()
    of = {"python": sys.version.split()[0], "torch": torch.__version__, "CUDA": torch.version.cuda}
    report.add("machine", "card", lambda: {"name": name})
    report.add("machine", "versions", lambda: of)
    if arguments.smoke:
        clock.each, clock.most = 0.0, 3
        train(report, device, (2,))
        solve(report, device, ((8, 4, 8),))
    else:
        report.add("machine", "the suite's CUDA test", test_of_the_graph)
        train(report, device, (32, 512))
        solve(report, device, ((64, 16, 64), (4096, 16, 64), (65536, 16, 64)))
    print(report.markdown(f"{name}, torch {torch.__version__}"))


if __name__ == "__main__":
    main()
