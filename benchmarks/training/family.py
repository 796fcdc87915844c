"""Glow and its relatives at equal parameters and equal time: bits/dim, and what the two directions cost.

    python -m benchmarks.training.family --cifar10 FOLDER --mnist FOLDER
    python -m benchmarks.training.family --data drawn_faces --seeds 0 --models maf glow

Every model of a data set has about as many parameters (0.38M in colour, 0.16M in grey), and as many CPU seconds of one
core in training, in float32, by Adam with averaged weights; the highest learning rate of a model is the better of
``RATES`` on the first seed of drawn faces. What is measured is kept, and the same command goes on from there.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import report
from benchmarks.training.ideas import adam
from benchmarks.training.ours import Ours
from benchmarks.training.race import Race, Recipe
from benchmarks.training.schedules import clip_norm, cosine
from glow_app.data.sets.cifar import Cifar10
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.data.sets.mnist import Mnist
from glow_app.data.source import ImageSource
from glow_app.flows import MAF, Flow, Gaussianization, Glow, MintNet, Nice, RealNVP
from glow_app.flows.emerging import EmergingGlow
from glow_app.flows.search import inverse_or_nan

LINES = report.RESULTS / "family.jsonl"

RATES = (1e-3, 4e-3)

VALIDATION = 1000
"""Images of the validation split, its first."""

Shape = tuple[int, int, int]


def sizes(colour: Any, grey: Any) -> Callable[[Shape], Any]:
    """A size that depends on whether images have colours."""
    return lambda shape: colour if shape[0] == 3 else grey


MODELS: dict[str, Callable[[Shape], Flow]] = {
    "glow": lambda s: Glow(s, n_levels=3, n_steps=4, width=64),
    "glow, emerging": lambda s: EmergingGlow(s, n_levels=3, n_steps=4, width=sizes(48, 60)(s)),
    "real_nvp": lambda s: RealNVP(
        s, n_levels=3, n_blocks=sizes(2, 1)(s), width=sizes(10, 9)(s), momentum=0.0, logit=0.05
    ),
    "nice": lambda s: Nice(s, n_couplings=4, n_hidden=2, width=sizes(30, 37)(s), base="logistic"),
    "maf": lambda s: MAF(s, n_layers=2, n_hidden=1, width=sizes(20, 25)(s), logit=0.05),
    "maf, 5 x 1024": lambda s: MAF(s, n_layers=5, n_hidden=1, width=1024, logit=0.05),
    "mintnet": lambda s: MintNet(s, n_levels=3, n_layers=sizes(3, 4)(s), width=sizes(60, 36)(s), logit=0.05),
    "gaussianization": lambda s: Gaussianization(
        s, n_layers=sizes(3, 4)(s), n_components=sizes(10, 9)(s), n_reflections=16, logit=0.05
    ),
}
"""At equal parameters, but for the MAF of the published size."""


def images(data: str, arguments: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Training and validation images: 10,000 drawn faces, 45,000 of CIFAR-10, 55,000 of MNIST; 1,000 to validate on."""
    sources: dict[str, Callable[[str], ImageSource]] = {
        "drawn_faces": DrawnFaces,
        "cifar10": lambda split: Cifar10(arguments.cifar10, split),
        "mnist": lambda split: Mnist(arguments.mnist, split),
    }
    train, val = (sources[data](split) for split in ("train", "val"))
    return train.fetch(range(len(train))), val.fetch(range(VALIDATION))


def recipe(name: str, rate: float, flip: bool) -> Recipe:
    """How a model is trained at a highest rate."""
    return Recipe(
        lambda shape: Ours(MODELS[name](shape), dtype=None),  # type: ignore[arg-type]
        adam(rate), cosine(), batch=32, average=0.999, flip=flip, clip=clip_norm(100.0),
    )  # fmt: skip


@torch.no_grad()
def milliseconds(flow: Flow, images: Tensor, repeats: int = 3) -> dict[str, float]:
    """Shortest CPU time of either direction for an image of a batch, in ms."""
    flow.eval()
    x = images / 256 - 0.5
    z = flow(x)[0]
    found = {}
    for direction, run in (("forward", lambda: flow(x)), ("inverse", lambda: inverse_or_nan(flow, z, None))):
        times = []
        for _ in range(repeats):
            began = time.process_time()
            run()
            times.append(time.process_time() - began)
        found[direction] = min(times) / len(images) * 1e3
    return found


def train(
    name: str, data: str, seed: int, rate: float, splits: tuple[Tensor, Tensor], seconds: float
) -> dict[str, Any]:
    """Trains one model, and times it."""
    race = Race(
        recipe(name, rate, flip=data != "mnist"), *splits, seconds=seconds, seed=seed, validations=1,
        reconstructions=16, tell=lambda line: print(f"{data} {name} {rate:g} {seed} {line}", flush=True),
    )  # fmt: skip
    try:
        result = asdict(race.run())
    except ArithmeticError as error:
        result = {"failed": str(error)}
    else:
        assert isinstance(race.model, Ours)
        result |= {"milliseconds": milliseconds(race.model.flow, splits[1][:16])}
    facts = {key: report.machine(torch.device("cpu"))[key] for key in ("processor", "threads", "torch")}
    return {"name": name, "data": data, "seed": seed, "rate": rate, "limit": seconds} | result | facts


def rate_of(name: str, lines: list[dict[str, Any]]) -> float:
    """The better rate of a model on the first seed of drawn faces."""
    tried = [line for line in lines if (line["name"], line["data"], line["seed"]) == (name, "drawn_faces", 0)]
    return min(tried, key=lambda line: line.get("bits", float("inf")))["rate"]


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, help="as data.root of glow-train")
    parser.add_argument("--mnist", type=Path, help="as data.root of glow-train")
    parser.add_argument("--data", nargs="+", default=["drawn_faces", "mnist", "cifar10"])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU seconds of training")
    parser.add_argument("--output", type=Path, default=LINES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = (
        [json.loads(line) for line in arguments.output.read_text().splitlines()] if arguments.output.exists() else []
    )
    splits = {data: images(data, arguments) for data in arguments.data}
    for seed in arguments.seeds:
        for data in arguments.data:
            for name in arguments.models:
                for rate in RATES if (data, seed) == ("drawn_faces", 0) else [rate_of(name, lines)]:
                    known = {(line["name"], line["data"], line["seed"], line["rate"]) for line in lines}
                    if (name, data, seed, rate) not in known:
                        lines.append(train(name, data, seed, rate, splits[data], arguments.seconds))
                        with arguments.output.open("a") as file:
                            file.write(json.dumps(lines[-1]) + "\n")


if __name__ == "__main__":
    main()
