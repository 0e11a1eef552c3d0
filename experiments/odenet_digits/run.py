"""Digits told apart by a network with an ODE layer, beside a residual network of the paper's kind.

    python experiments/odenet_digits/run.py [--smoke] [--mnist FOLDER] [--epochs N] [--out FOLDER]

scikit-learn's digits unless --mnist names a folder with MNIST's four idx files, plain or gzipped.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from latentode.errors import LatentODEError
from latentode.ode import Context, ODEBlock

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

from measuring import peak_megabytes  # noqa: E402

CHANNELS, GROUPS, BLOCKS = 24, 8, 6
TOLERANCE = 1e-3
BATCH = 64
PEAK_RATE = 6e-3


@dataclass(frozen=True)
class Images:
    """Pictures `(n, 1, side, side)` in [0, 1] with their classes, to learn from and held out."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def digits() -> Images:
    """scikit-learn's 1,797 pictures of 8 by 8; a fifth of each class is held out."""
    x, y = load_digits(return_X_y=True)
    parts = train_test_split(x / 16, y, test_size=0.2, stratify=y, random_state=0)
    images = [torch.tensor(p, dtype=torch.float32).view(-1, 1, 8, 8) for p in parts[:2]]
    classes = [torch.tensor(p) for p in parts[2:]]
    return Images((images[0], classes[0]), (images[1], classes[1]))


def idx(folder: Path, name: str) -> Tensor:
    """An array in MNIST's idx format: bytes after a header that says its axes."""
    for file, opener in ((folder / name, open), (folder / f"{name}.gz", gzip.open)):
        if file.exists():
            with opener(file, "rb") as stream:
                raw = stream.read()
            axes = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
            return torch.tensor(np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(axes))
    raise LatentODEError(f"{folder} holds neither {name} nor {name}.gz; put MNIST's idx files there")


def mnist(folder: Path) -> Images:
    """The 60,000 and 10,000 pictures of 28 by 28."""
    parts = [
        (
            idx(folder, f"{p}-images-idx3-ubyte")[:, None] / 255,
            idx(folder, f"{p}-labels-idx1-ubyte").long(),
        )
        for p in ("train", "t10k")
    ]
    return Images(*parts)


def norm() -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, CHANNELS)


class Residual(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), down-sampled by `stride` on the way."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.before = nn.Sequential(norm(), nn.ReLU())
        self.shortcut = nn.Conv2d(CHANNELS, CHANNELS, 1, stride) if stride > 1 else nn.Identity()
        self.inside = nn.Sequential(
            nn.Conv2d(CHANNELS, CHANNELS, 3, stride, padding=1),
            norm(),
            nn.ReLU(),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.before(x)
        return (self.shortcut(y) if len(list(self.shortcut.parameters())) else x) + self.inside(y)


class Field(nn.Module):
    """The same two convolutions as a vector field; each sees the time as one more channel."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(norm() for _ in range(3))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(CHANNELS + 1, CHANNELS, 3, padding=1) for _ in range(2)
        )
        # Small at first, so that the solver begins with few steps and takes more as the field learns.
        nn.init.constant_(self.norms[2].weight, 0.1)  # type: ignore[arg-type]

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        time = t[:, None, None, None].expand(-1, 1, *z.shape[2:])
        for scale, convolution in zip(self.norms, self.convolutions, strict=False):
            z = convolution(torch.cat([torch.relu(scale(z)), time], dim=1))
        return self.norms[2](z)


def network(middle: list[nn.Module], side: int) -> nn.Sequential:
    """Convolution, down-sampling (once where pictures are small), what is compared, classifier."""
    halvings = 1 if side <= 8 else 2
    return nn.Sequential(
        nn.Conv2d(1, CHANNELS, 3, padding=1),
        *(Residual(stride=2) for _ in range(halvings)),
        *middle,
        norm(),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(CHANNELS * (side // 2**halvings) ** 2, 10),
    )


def resnet(side: int) -> nn.Sequential:
    """Six residual blocks in the middle."""
    return network([Residual() for _ in range(BLOCKS)], side)


def odenet(side: int, adjoint: str = "direct") -> nn.Sequential:
    """One ODE block in the middle."""
    tolerances = {"rtol": TOLERANCE, "atol": TOLERANCE}
    return network([ODEBlock(Field(), method="dopri5", adjoint=adjoint, **tolerances)], side)


MODELS: dict[str, Callable[[int], nn.Sequential]] = {"resnet": resnet, "odenet": odenet}


def evaluations(net: nn.Sequential) -> int:
    """Of the ODE blocks in the last forward pass; a residual block is one each."""
    blocks = [m for m in net if isinstance(m, ODEBlock)]
    return sum(b.evaluations for b in blocks) if blocks else BLOCKS


def shifted(x: Tensor) -> Tensor:
    """Each picture moved by a pixel up or down, left or right, or, as likely, not."""
    wide, along = pad(x, (1, 1, 1, 1)), torch.arange(x.shape[-1])
    by = torch.tensor([0, 1, 1, 2])[torch.randint(4, (2, len(x), 1))] + along
    return wide[torch.arange(len(x))[:, None, None], 0, by[0, :, :, None], by[1, :, None, :]][:, None]


@dataclass
class Run:
    """A trained network, and each epoch's mean loss and evaluations."""

    net: nn.Sequential
    loss: list[float] = field(default_factory=list)
    evaluations: list[float] = field(default_factory=list)
    seconds: float = 0.0


def train(make: Callable[[int], nn.Sequential], images: Images, epochs: int, seed: int) -> Run:
    """Adam with a learning rate that rises and falls."""
    torch.manual_seed(seed)
    x, y = images.train
    run = Run(make(x.shape[-1]))
    per_epoch = -(-len(x) // BATCH)
    optimiser = torch.optim.AdamW(run.net.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=epochs * per_epoch)
    begin = time.process_time()
    for _ in range(epochs):
        losses, counts = [], []
        for chosen in torch.randperm(len(x)).split(BATCH):
            loss = cross_entropy(run.net(shifted(x[chosen])), y[chosen])
            losses.append(loss.item())
            counts.append(evaluations(run.net))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        run.loss.append(statistics.mean(losses))
        run.evaluations.append(statistics.mean(counts))
    run.seconds = time.process_time() - begin
    print(f"seed {seed}: loss {run.loss[-1]:.4f}, {accuracy(run.net, images):.2%} right", flush=True)
    return run


def accuracy(net: nn.Sequential, images: Images) -> float:
    """Share of held-out pictures that are told right."""
    with torch.no_grad():
        guesses = torch.cat([net.eval()(x).argmax(1) for x in images.test[0].split(500)])
    net.train()
    return (guesses == images.test[1]).float().mean().item()


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def step_megabytes(net: nn.Sequential, images: Images) -> float:
    """Peak memory of one training step."""
    x, y = (part[:BATCH] for part in images.train)

    def step() -> None:
        cross_entropy(net(x), y).backward()

    step()
    net.zero_grad()
    return peak_megabytes(step)


def measure(images: Images, epochs: int, seeds: int) -> tuple[dict, dict[str, list[Run]]]:
    """Every figure of the README."""
    results: dict = {"epochs": epochs, "seeds": seeds}
    results |= {"train images": len(images.train[0]), "test images": len(images.test[0])}
    side, runs = images.train[0].shape[-1], {}
    for name, make in MODELS.items():
        runs[name] = made = [train(make, images, epochs, seed) for seed in range(seeds)]
        each = [accuracy(run.net, images) for run in made]
        results[f"{name} accuracy"] = statistics.mean(each)
        results[f"{name} accuracy of seeds"] = each
        results[f"{name} parameters"] = parameters(made[0].net)
        results[f"{name} CPU seconds per epoch"] = statistics.mean(r.seconds for r in made) / epochs
        by_epoch = [statistics.mean(e) for e in zip(*(r.evaluations for r in made), strict=True)]
        results[f"{name} evaluations by epoch"] = by_epoch
        results[f"{name} MB of a step"] = step_megabytes(made[0].net, images)
    results["parameters odenet / resnet"] = results["odenet parameters"] / results["resnet parameters"]
    lean = odenet(side, "backsolve")
    lean.load_state_dict(runs["odenet"][0].net.state_dict())
    results["odenet MB of a step, backsolve"] = step_megabytes(lean, images)
    return results, runs


def draw(runs: dict[str, list[Run]], results: dict, file: Path) -> None:
    """Losses and evaluations by epoch, memory."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    for colour, (name, made) in zip(("tab:orange", "tab:blue"), runs.items(), strict=True):
        for run in made:
            left.semilogy(run.loss, color=colour)
            middle.plot(run.evaluations, color=colour)
        left.plot([], color=colour, label=f"{name}, {results[f'{name} accuracy']:.1%} right")
    left.set(xlabel="epoch", ylabel="training loss")
    left.legend()
    middle.set(xlabel="epoch", ylabel="evaluations (resnet: blocks)", title="evaluations of dopri5")
    bars = {
        "resnet": results["resnet MB of a step"],
        "odenet\ndirect": results["odenet MB of a step"],
        "odenet\nbacksolve": results["odenet MB of a step, backsolve"],
    }
    right.bar(list(bars), list(bars.values()), color=["tab:orange", "tab:blue", "tab:blue"])
    right.set(ylabel="MB", title="peak memory of a training step")
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few pictures, one epoch, one seed")
    parser.add_argument("--mnist", type=Path, help="folder with MNIST's idx files")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/odenet_digits")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/odenet_digits") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    images = digits() if arguments.mnist is None else mnist(arguments.mnist)
    if arguments.smoke:
        images = Images(*((x[:256], y[:256]) for x, y in (images.train, images.test)))
    seeds, epochs = (1, 1) if arguments.smoke else (3, arguments.epochs)
    results, runs = measure(images, epochs, seeds)
    print(json.dumps(results, indent=1))
    name = "results.json" if arguments.mnist is None else "mnist.json"
    (folder / name).write_text(json.dumps(results, indent=1) + "\n")
    draw(runs, results, folder / name.replace("results", "odenet_digits").replace("json", "png"))


if __name__ == "__main__":
    main()
