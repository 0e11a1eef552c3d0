"""A residual network is Euler's method: agreement, orders of convergence, steps where they are needed.

python experiments/euler_resnet/run.py [--smoke] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from latentode.ode import Autonomous, Context, Dynamics, ODEBlock

HERE = Path(__file__).parent
ORDERS = {"euler": 1, "midpoint": 2, "rk4": 4}
BURST, WIDTH = 0.5, 0.05  # when the rotation below is fast, and for how long


def layers(size: int, dtype: torch.dtype, gain: float = 1.0) -> nn.Sequential:
    """The inside of a residual block: two layers with tanh, weights `gain` times their usual size."""
    net = nn.Sequential(nn.Linear(size, 32), nn.Tanh(), nn.Linear(32, size)).to(dtype)
    for layer in (net[0], net[2]):
        nn.init.xavier_normal_(layer.weight, gain)  # type: ignore[arg-type]
    return net


class ResidualNetwork(nn.Module):
    """z <- z + h f_n(z), block after block."""

    def __init__(self, blocks: list[nn.Sequential], h: float) -> None:
        super().__init__()
        self.blocks, self.h = nn.ModuleList(blocks), h

    def forward(self, z: Tensor) -> Tensor:
        for block in self.blocks:
            z = z + self.h * block(z)
        return z


class BlockAfterBlock(nn.Module):
    """The field of a residual network whose blocks have weights of their own: f_n from n/h on."""

    def __init__(self, blocks: nn.ModuleList) -> None:
        super().__init__()
        self.blocks = blocks

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        return self.blocks[round(t[0].item() * len(self.blocks))](z)


class Burst(Dynamics):
    """dz/dt = w(t) [-y, x]: slow but for a burst at t = 1/2, `rate` times as fast."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        w = 1 + self.rate * torch.exp(-(((t - BURST) / WIDTH) ** 2))
        x, y = z.unbind(1)
        return w[:, None] * torch.stack([-y, x], dim=1)


def agreement(depth: int, dtype: torch.dtype, shared: bool) -> float:
    """Largest difference of a residual network and the ODE block of its weights, also of gradients.

    Relative to the largest entry of what is compared.
    """
    torch.manual_seed(0)
    blocks = [layers(8, dtype) for _ in range(1 if shared else depth)]
    network = ResidualNetwork(blocks * depth if shared else blocks, 1 / depth)
    field = Autonomous(blocks[0]) if shared else BlockAfterBlock(network.blocks)
    block = ODEBlock(field, method="euler", steps=depth)
    z0, way = torch.randn(64, 8, dtype=dtype), torch.randn(64, 8, dtype=dtype)
    results = []
    for net in (network, block):
        end = net(z0)
        gradients = torch.autograd.grad((end * way).sum(), list(network.parameters()))
        results.append([end.detach(), *gradients])
    pairs = zip(*results, strict=True)
    return max(((a - b).abs().max() / a.abs().max()).item() for a, b in pairs)


def convergence(counts: list[int]) -> dict[str, list[float]]:
    """Error of z(1) by each method with each number of steps, against dopri8 at 1e-13."""
    torch.manual_seed(0)
    field, z0 = Autonomous(layers(8, torch.float64, 1.5)), torch.randn(64, 8, dtype=torch.float64)
    with torch.no_grad():
        exact = ODEBlock(field, "dopri8", rtol=1e-13, atol=1e-13)(z0)
        return {
            method: [(ODEBlock(field, method, n)(z0) - exact).abs().max().item() for n in counts]
            for method in ORDERS
        }


def slope(counts: list[int], errors: list[float]) -> float:
    """Of log error against log step size, where the error is above rounding."""
    kept = [(1 / n, e) for n, e in zip(counts, errors, strict=True) if e > 1e-12]
    h, error = np.log(np.array(kept)).T
    return float(np.polyfit(h, error, 1)[0])


def evaluation_times(rate: float, tolerance: float = 1e-6) -> np.ndarray:
    """Where dopri5 evaluates the field that bursts."""
    times: list[float] = []
    field = Burst(rate)
    field.register_forward_pre_hook(lambda _, inputs: times.append(inputs[0][0].item()))
    with torch.no_grad():
        z0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
        ODEBlock(field, "dopri5", rtol=tolerance, atol=tolerance)(z0)
    return np.array(times)


def crowding(times: np.ndarray) -> float:
    """Evaluations per unit of time in the burst over those outside."""
    inside = np.abs(times - BURST) < 2 * WIDTH
    return float(inside.sum() / (4 * WIDTH) / ((~inside).sum() / (1 - 4 * WIDTH)))


def evaluations_of_gain(gain: float) -> int:
    """Evaluations of dopri5 for a network with weights `gain` times their usual size."""
    torch.manual_seed(0)
    block = ODEBlock(Autonomous(layers(8, torch.float64, gain)), "dopri5")
    with torch.no_grad():
        block(torch.randn(64, 8, dtype=torch.float64))
    return block.evaluations


def draw(results: dict, file: Path) -> None:
    """Errors against steps; evaluations along time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    h = [1 / n for n in results["steps"]]
    for method in ORDERS:
        label = f"{method}, slope {results['slope ' + method]:.2f}"
        left.loglog(h, results["error " + method], "o-", label=label)
    left.set(xlabel="step size", ylabel="error of z(1)", title="order of convergence")
    left.legend()
    t = np.linspace(0, 1, 400)
    rates = results["rates"]
    for place, rate in enumerate(rates):
        times = evaluation_times(rate)
        middle.plot(times, np.full(len(times), place), "|", markersize=14)
        speed = rate / rates[-1] * np.exp(-(((t - BURST) / WIDTH) ** 2))
        middle.plot(t, place - 0.4 + 0.3 * speed, "0.7", linewidth=1)
    middle.set(xlabel="t", title="where dopri5 evaluates (grey: speed)")
    middle.set_yticks(range(len(rates)), [f"burst {r:g}" for r in rates])
    gains = results["gains"]
    right.plot(gains, [results[f"evaluations at gain {g:g}"] for g in gains], "o-")
    right.set_xscale("log", base=2)
    right.set(xlabel="size of the network's weights", ylabel="evaluations of dopri5")
    right.set_title("a more complex field takes more")
    figure.savefig(file, dpi=130)


def measure(smoke: bool) -> dict:
    """Every figure of the README."""
    depths = (6, 24)
    results: dict = {
        f"difference, {kind} weights, {depth} blocks, {dtype}".replace("torch.", ""): agreement(
            depth, dtype, kind == "shared"
        )
        for kind in ("shared", "own")
        for depth in depths
        for dtype in (torch.float32, torch.float64)
    }
    counts = [8, 16, 32, 64] if smoke else [4, 8, 16, 32, 64, 128, 256, 512]
    results["steps"] = counts
    for method, errors in convergence(counts).items():
        results[f"error {method}"] = errors
        results[f"slope {method}"] = slope(counts, errors)
    results["rates"] = rates = [0.0, 30.0, 100.0]
    for rate in rates:
        times = evaluation_times(rate)
        results[f"evaluations at burst {rate:g}"] = len(times)
        results[f"crowding at burst {rate:g}"] = crowding(times)
    results["gains"] = gains = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
    results |= {f"evaluations at gain {gain:g}": evaluations_of_gain(gain) for gain in gains}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="fewer step sizes")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/euler_resnet")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/euler_resnet") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    results = measure(arguments.smoke)
    print(json.dumps(results, indent=1))
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(results, folder / "euler_resnet.png")


if __name__ == "__main__":
    main()
