"""``python -m benchmarks.training NAME ... --root FOLDER``: trains each, and adds a line of results for it to a file.

Names: recipes of :mod:`benchmarks.training.ideas`, or, with ``--programs FOLDER``, other programs.
"""

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from benchmarks.report import machine
from benchmarks.training.ideas import IDEAS
from benchmarks.training.race import Race, validate
from glow_app.data.sets.celeba import CelebA
from glow_app.data.sets.cifar import Cifar10
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.data.source import ImageSource

DATA: dict[str, Callable[[str, str], ImageSource]] = {
    "cifar10": Cifar10,
    "celeba64": partial(CelebA, image_size=64, crop=74, subset=True, validation_identities=10),
    "drawn_faces": lambda root, split: DrawnFaces(split),
}
"""(root, split) -> images. CIFAR-10: 45,000 and 5,000. CelebA at half its size: no person is in both splits."""


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--data", choices=sorted(DATA), default="cifar10")
    parser.add_argument("--root", default="", help="folder of the data set, as data.root of glow-train")
    parser.add_argument("--seconds", type=float, default=math.inf, help="CPU seconds of training")
    parser.add_argument("--images", type=float, default=math.inf, help="images of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--validations", type=int, default=3)
    parser.add_argument(
        "--test", action="store_true", help="evaluate the model on the test images too, once, at the end"
    )
    parser.add_argument("--programs", type=Path, help="folder with checkouts of other programs")
    parser.add_argument("--states", type=Path, help="folder in which a race that is killed is kept, to go on from")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/training.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    facts = machine(torch.device("cpu"))
    recipes = dict(IDEAS)
    if arguments.programs is not None:
        from benchmarks.training.programs import programs

        recipes |= programs(arguments.programs)
    if unknown := [name for name in arguments.names if name not in recipes]:
        parser.error(f"{unknown[0]} is not one of {', '.join(recipes)}")
    train, val = (images(DATA[arguments.data](arguments.root, split)) for split in ("train", "val"))
    for name in arguments.names:
        state = arguments.states and arguments.states / f"{arguments.data}_{name}_{arguments.seed}.pt"
        race = Race(
            recipes[name], train, val, seconds=arguments.seconds, images=arguments.images, seed=arguments.seed,
            validations=arguments.validations, tell=lambda line, name=name: print(name, line, flush=True), state=state,
        )  # fmt: skip
        result = race.run()
        limits = {key: value for key in ("seconds", "images") if math.isfinite(value := getattr(arguments, key))}
        line = {"name": name, "data": arguments.data, "limits": limits, "seed": arguments.seed} | asdict(result)
        if arguments.test:
            bits = validate(race.model, images(DATA[arguments.data](arguments.root, "test")))
            line |= {"test_bits": bits.mean().item(), "test_standard_error": bits.std().item() / len(bits) ** 0.5}
        line |= {key: facts[key] for key in ("processor", "threads", "torch")}
        with arguments.output.open("a") as file:
            print(json.dumps(line), file=file)
        print(name, f"{result.bits:.4f} ± {result.standard_error:.4f}", f"{result.images} images", flush=True)


def images(source: ImageSource) -> torch.Tensor:
    """All images of a split, uint8 (N, C, H, W)."""
    return source.fetch(range(len(source)))


main()
