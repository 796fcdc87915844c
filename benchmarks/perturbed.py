"""Perturbed training images, for the second model of the likelihood ratio (Ren et al. 2019).

python -m benchmarks.perturbed fashion_mnist /data/fashion OUT --channels 1
glow-train data=folder data.root=OUT data.image_size=32 data.channels=1 data.flip=false model=small

Every subpixel is replaced by a uniformly drawn one with probability RATE; what is left to learn is the background.
"""

import argparse
from pathlib import Path

import torch

from glow_app import figures, noise
from glow_app.commands.score_data import named_data

RATE = 0.1
N_IMAGES = 20_000


def main() -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="name of a data set, as in data=NAME")
    parser.add_argument("root", type=Path, help="its folder")
    parser.add_argument("out", type=Path, help="folder to write PNG files into")
    parser.add_argument("--channels", type=int, default=3)
    chosen = parser.parse_args()
    source = named_data(chosen.name, str(chosen.root), (chosen.channels, 32, 32), 8).open("train")
    folder = chosen.out / "train"
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(min(N_IMAGES, len(source))):
        figures.save_png(figures.to_picture(perturbed(source[index], index)), folder / f"{index:06d}.png")


def perturbed(image: torch.Tensor, index: int) -> torch.Tensor:
    """The image with a share ``RATE`` of its subpixels drawn anew, a function of its number."""
    drawn = noise.uniform(0, noise.Stream.PIXELS, torch.tensor([2 * index, 2 * index + 1]), image.numel())
    new = (256 * drawn[0]).to(torch.uint8).view(image.shape)
    return torch.where((drawn[1] < RATE).view(image.shape), new, image)


if __name__ == "__main__":
    main()
