"""Every picture of the README and the guides, from the model that comes with the package.

python -m benchmarks.pictures
python -m benchmarks.pictures docs/samples.png docs/edits.png

The same model gives the same pictures again. docs/demo.png takes Chromium, chromedriver and the extra [demo].
"""

import argparse
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from PIL.Image import Image as Picture
from torch import Tensor

import glow_app
from benchmarks import demo_picture
from glow_app import figures
from glow_app.config.check import check_choice
from glow_app.latents.directions import Directions
from glow_app.latents.interpolation import between
from glow_app.latents.restoring import what_was_seen
from glow_app.model import Model

NAME = "celeba64"

TEMPERATURES = (0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

CHAIN, STEPS = (40, 19, 23), 9
"""Samples that are interpolated; images of a row."""

FACE = 27
"""The sample that is edited: nobody's portrait."""

EDITED = ("Smiling", "Eyeglasses", "Male", "Young", "Blond_Hair")

AMOUNTS = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)


def samples(model: Model) -> Picture:
    """32 new images at temperature 0.7."""
    return figures.grid(model.sample(32, temperature=0.7, seed=0), 8)


def temperatures(model: Model) -> Picture:
    """The same eight images at several temperatures."""
    rows = [model.sample(8, temperature=t, seed=0) for t in TEMPERATURES]
    return figures.grid(torch.cat(rows), 8, row_labels=[f"T = {t:g}" for t in TEMPERATURES])


def interpolation(model: Model) -> Picture:
    """From each of some samples to the next, a row each."""
    points = [model.encode(sample(model, i)) for i in CHAIN]
    rows = [model.decode(between(a, b, STEPS, "linear")) for a, b in pairwise(points)]
    return figures.grid(torch.cat(rows), STEPS)


def edits(model: Model) -> Picture:
    """One sample with less and more of some attributes."""
    return edited(model, glow_app.load_directions(NAME))


def edited(model: Model, directions: Directions) -> Picture:
    """As :func:`edits`, with these directions."""
    face = sample(model, FACE)
    names = [name for name in EDITED if name in directions.names]
    rows = [model.edit(face, directions, {name: amount}) for name in names for amount in AMOUNTS]
    return figures.grid(torch.cat(rows), len(AMOUNTS), 2, names, [f"{amount:+g}" for amount in AMOUNTS])


def restored(model: Model) -> Picture:
    """Some samples whose right half is hidden, and two answers to what it may be."""
    faces = torch.cat([sample(model, number) for number in (FACE, *CHAIN)])
    seen = what_was_seen(faces, model.n_bits, "right", None, None).picture()
    answers = model.restore(faces, mask="right", n=2)
    rows = torch.cat([seen[:, None], answers, faces[:, None]], 1)
    return figures.grid(rows.flatten(0, 1), 4, 2, column_labels=["seen", "answer 0", "answer 1", "given"])


def demo(model: Model) -> Picture:
    """The page of glow-demo, after some moves of its sliders."""
    from glow_app.demo import page, server
    from glow_app.demo.studio import Studio

    blocks = page.build(Studio(model, glow_app.load_directions(NAME), None, seed=0), 12)
    try:
        picture = demo_picture.screenshot(server.launch(blocks, None, 10))
        return picture.quantize(256, kmeans=2)  # small enough for a repository
    finally:
        blocks.close(verbose=False)


def sample(model: Model, number: int) -> Tensor:
    """A sample of the model at temperature 0.7, as ``images=sample:3`` names it, uint8 (1, C, H, W)."""
    return model.sample(1, temperature=0.7, first=number)


PICTURES: dict[str, Callable[[Model], Picture]] = {
    "docs/samples.png": samples,
    "docs/temperatures.png": temperatures,
    "docs/interpolation.png": interpolation,
    "docs/edits.png": edits,
    "docs/restored.png": restored,
    "docs/demo.png": demo,
}
"""Each picture and what makes it."""


def main() -> None:
    """Makes all of them, or those that are named."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("pictures", nargs="*", help="which; all if none is named")
    wanted = options.parse_args().pictures or list(PICTURES)
    for name in wanted:
        check_choice("picture", name, tuple(PICTURES))
    model = glow_app.load(NAME)
    for name in wanted:
        figures.save_png(PICTURES[name](model), Path(__file__).parents[1] / name)
        print(name)


if __name__ == "__main__":
    main()
