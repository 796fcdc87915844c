"""Completions of held-out faces, beside the mean training face and biharmonic inpainting: PSNR of missing pixels.

    python -m benchmarks.restore
    python -m benchmarks.restore --images 32 --answers 8 --steps 400 --masks right centre random:0.9
    python -m benchmarks.restore --checkpoint celeba64 --root FOLDER/celeba64_faces --temperatures 0.7 1

The images are the first test images of drawn faces, or the first photographs of people that celeba64 has not seen.
PSNR is in dB, of the missing pixels only, averaged over images; that of answers is averaged over answers too, and that
of their mean (which, of many answers, is the guess with the least error) stands beside it. Biharmonic inpainting is
scikit-image's, of the extra [dev]; it takes the pixels around a hole, and knows nothing about faces.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

import glow_app
from benchmarks import report
from glow_app.data.sets.celeba import CelebA
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.latents.masks import missing
from glow_app.model import Model

TRAINING_IMAGES = 500
"""Images whose mean is a baseline."""


def psnr(images: Tensor, truth: Tensor, hidden: Tensor) -> float:
    """Mean over images of the PSNR of hidden pixels, in dB; 255 is white.

    Args:
        images: (B, C, H, W), 0 to 255.
        truth: uint8 (B, C, H, W).
        hidden: bool (H, W).
    """
    squares = ((images.double() - truth.double()) ** 2)[..., hidden].flatten(1).mean(1)
    return float((20 * np.log10(255) - 10 * torch.log10(squares.clamp(min=1e-3))).mean())


def biharmonic(images: Tensor, hidden: Tensor) -> Tensor:
    """Fills hidden pixels by scikit-image's ``inpaint_biharmonic``: (B, C, H, W), 0 to 255."""
    from skimage.restoration import inpaint_biharmonic  # pyright: ignore[reportMissingImports]

    arrays = images.permute(0, 2, 3, 1).double().numpy() / 255
    filled = [inpaint_biharmonic(array, hidden.numpy(), channel_axis=-1) for array in arrays]
    return torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2).clamp(0, 1) * 255


def measure(
    model: Model, truth: Tensor, mean: Tensor, mask: str, answers: int, steps: int, temperature: float
) -> dict[str, Any]:
    """Completes images under one mask, in three ways."""
    hidden = missing(mask, *truth.shape[2:])
    start = time.perf_counter()
    made = model.restore(truth, mask=mask, n=answers, steps=steps, temperature=temperature).cpu()
    seconds = (time.perf_counter() - start) / (len(truth) * answers)
    each = [psnr(made[:, number], truth, hidden) for number in range(answers)]
    return {
        "mask": mask,
        "temperature": temperature,
        "answers": float(np.mean(each)),
        "mean_of_answers": psnr(made.double().mean(1), truth, hidden),
        "mean_training_image": psnr(mean.expand(len(truth), -1, -1, -1), truth, hidden),
        "biharmonic": psnr(biharmonic(truth, hidden), truth, hidden),
        "bits_per_dim_of_answers": float(model.bits_per_dim(made[:, 0]).mean()),
        "bits_per_dim_of_images": float(model.bits_per_dim(truth).mean()),
        "seconds_per_answer": seconds,
    }


def first_faces(split: str, side: int, n: int) -> Tensor:
    """The first ``n`` drawn faces of a split: uint8 (n, 3, side, side)."""
    return DrawnFaces(split, side).fetch(range(n))


def first_photographs(root: str, split: str, side: int, n: int) -> Tensor:
    """The first ``n`` photographs of a split, as celeba64 was trained on: uint8 (n, 3, side, side)."""
    return CelebA(root, split, side, crop=None, validation_identities=10).fetch(range(n))


def main() -> None:
    """Measures all masks, prints a table, and writes restore_MODEL.json."""
    options = report.parser(__doc__)
    options.add_argument("--checkpoint", default="faces64")
    options.add_argument("--images", type=int, default=16)
    options.add_argument("--answers", type=int, default=4, help="answers for each image")
    options.add_argument("--steps", type=int, default=200)
    options.add_argument("--temperatures", nargs="*", type=float, default=[1.0])
    options.add_argument("--masks", nargs="*", default=["right", "bottom", "centre", "random:0.9"])
    options.add_argument("--root", help="folder of photographs, celeba64_faces, in place of drawn faces")
    arguments = options.parse_args()
    facts = report.start(arguments)
    model = glow_app.load(arguments.checkpoint, arguments.device)
    side = model.image_shape[1]
    if arguments.root is None:
        truth, train = first_faces("test", side, arguments.images), first_faces("train", side, TRAINING_IMAGES)
    else:
        truth = first_photographs(arguments.root, "val", side, arguments.images)
        train = first_photographs(arguments.root, "train", side, TRAINING_IMAGES)
    mean = train.double().mean(0)
    rows = [
        measure(model, truth, mean, mask, arguments.answers, arguments.steps, temperature)
        for temperature in arguments.temperatures
        for mask in arguments.masks
    ]
    columns = ("an answer", "mean of answers", "mean training image", "biharmonic", "s/answer")
    table = Table("missing", "temperature", *columns, box=None)
    for row in rows:
        keys = ("answers", "mean_of_answers", "mean_training_image", "biharmonic", "seconds_per_answer")
        table.add_row(row["mask"], f"{row['temperature']:g}", *(f"{row[key]:.1f}" for key in keys))
    report.CONSOLE.print(table)
    chosen = {key: getattr(arguments, key) for key in ("images", "answers", "steps")}
    model_name = Path(arguments.checkpoint).name
    content = {"machine": facts, "model": model.digest, **chosen, "rows": rows}
    report.write(report.file(arguments.output, f"restore_{model_name}", arguments.device, ".json"), content)


if __name__ == "__main__":
    main()
