"""Trains a model for a given CPU time or number of images, and validates it on the way.

Seconds are CPU seconds of the process, in training alone: other work on the machine hardly changes them, and
validation, start-up and data are nobody's cost. Noise of validation images depends on nothing but the image.
"""

# pyright: reportPrivateImportUsage=false
# torch._foreach_* is how torch's own optimizers update all parameters in a few launches; it has no public name.

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from glow_app.likelihood import dequantization_noise


class Model(nn.Module):
    """A density of 8-bit images."""

    def initialize(self, images: Tensor) -> None:
        """Initialises from uint8 images (B, C, H, W)."""
        with torch.no_grad():
            self.train().bits(images, torch.rand(images.shape))

    def bits(self, images: Tensor, u: Tensor) -> Tensor:
        """Bits per dimension, (B,), of uint8 images with dequantization noise ``u`` in [0, 1)."""
        raise NotImplementedError

    def reconstruct(self, images: Tensor) -> Tensor | None:
        """Images through the latents and back, uint8; None if the program does not offer it."""
        return None

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode inside the context."""
        self.eval()
        yield
        self.train()


@dataclass(frozen=True)
class Now:
    """How far training is.

    Attributes:
        step: number of the coming update, from 0.
        images: images seen.
        part: part of the run that is over, in [0, 1].
    """

    step: int
    images: int
    part: float


@dataclass(frozen=True)
class Recipe:
    """How a model is built and trained.

    Attributes:
        model: image shape -> model.
        optimizers: model -> optimizers with their highest learning rates.
        rate: factor of the learning rates.
        batch: images per update.
        average: limit of the weight average's decay; 0 for none.
        flip: whether images are mirrored at random.
        shift: largest shift as a part of the size, filled with zeros; 0 for none.
        clip: changes the gradients of the parameters.
        init_images: images for the initialisation.
    """

    model: Callable[[tuple[int, ...]], Model]
    optimizers: Callable[[Model], Sequence[Optimizer]]
    rate: Callable[[Now], float]
    batch: int = 32
    average: float = 0.0
    flip: bool = True
    shift: float = 0.0
    clip: Callable[[list[nn.Parameter]], object] = lambda parameters: None
    init_images: int = 256


@dataclass
class Result:
    """What a race leaves.

    Attributes:
        parameters: learned numbers.
        steps: updates.
        images: images seen.
        seconds: CPU seconds of training.
        curve: images seen, CPU seconds and validation bits/dim at each validation.
        bits: the last validation's.
        standard_error: of ``bits``.
        train_bits: running mean over the last few hundred updates.
        reconstructed: part of 256 validation images that come back exactly; None if not offered.
    """

    parameters: int
    steps: int
    images: int
    seconds: float
    curve: list[tuple[int, float, float]]
    bits: float
    standard_error: float
    train_bits: float
    reconstructed: float | None


class Average:
    """The weights' exponential moving average, as in :class:`glow_app.training.ema.WeightAverage`."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = [p.detach() for p in model.parameters()]
        self.average = [w.clone() for w in self.weights]

    def update(self, step: int) -> None:
        torch._foreach_lerp_(self.average, self.weights, 1 - min(self.decay, (1 + step) / (10 + step)))

    @contextmanager
    def used(self) -> Iterator[None]:
        kept = [w.clone() for w in self.weights]
        torch._foreach_copy_(self.weights, self.average)
        yield
        torch._foreach_copy_(self.weights, kept)


def race(
    recipe: Recipe, train: Tensor, val: Tensor, *, seconds: float = math.inf, images: float = math.inf, seed: int = 0,
    validations: int = 3, tell: Callable[[str], object] = print,
) -> tuple[Result, Model]:  # fmt: skip
    """Trains until ``seconds`` or ``images`` are used up; returns the result and the model with averaged weights."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = recipe.model(tuple(train.shape[1:]))
    model.initialize(train[torch.randperm(len(train), generator=generator)[: recipe.init_images]])
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizers = recipe.optimizers(model)
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    average = Average(model, recipe.average)
    order = torch.empty(0, dtype=torch.long)
    used, seen, step, smooth = 0.0, 0, 0, 0.0
    curve: list[tuple[int, float, float]] = []
    bits = torch.empty(0)
    while (part := max(used / seconds, seen / images)) < 1:
        began = time.process_time()
        if len(order) < recipe.batch:
            order = torch.randperm(len(train), generator=generator)
        batch, order = augmented(train[order[: recipe.batch]], recipe), order[recipe.batch :]
        loss = model.bits(batch, torch.rand(batch.shape)).mean()
        loss.backward()
        recipe.clip(parameters)
        factor = recipe.rate(Now(step, seen, part))
        for optimizer, own in zip(optimizers, rates, strict=True):
            for group, rate in zip(optimizer.param_groups, own, strict=True):
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad()
        step, seen = step + 1, seen + len(batch)
        average.update(step)
        value = loss.item()
        if not math.isfinite(value):
            raise ArithmeticError(f"step {step}, {seen} images: the loss is {value}")
        smooth += (value - smooth) / min(step, 300)
        used += time.process_time() - began
        if max(used / seconds, seen / images) >= (len(curve) + 1) / validations:
            with average.used():
                bits = validate(model, val)
            curve.append((seen, round(used, 1), bits.mean().item()))
            tell(f"{used:7.0f} s {seen:8d} images  train {smooth:.4f}  val {bits.mean():.4f}")
    torch._foreach_copy_(average.weights, average.average)
    error = bits.std().item() / len(bits) ** 0.5
    n = sum(p.numel() for p in parameters)
    last, exact = bits.mean().item(), reconstructed(model, val[:256])
    return Result(n, step, seen, round(used, 1), curve, last, error, smooth, exact), model


def augmented(images: Tensor, recipe: Recipe) -> Tensor:
    """Mirrors and shifts uint8 images at random."""
    if recipe.flip:
        images = torch.where((torch.rand(len(images)) < 0.5)[:, None, None, None], images.flip(3), images)
    if recipe.shift:
        size = images.shape[-1]
        most = round(recipe.shift * size)
        padded = F.pad(images, (most, most, most, most))
        corners = torch.randint(2 * most + 1, (len(images), 2)).tolist()
        images = torch.stack([one[:, y : y + size, x : x + size] for one, (y, x) in zip(padded, corners, strict=True)])
    return images


@torch.no_grad()
def validate(model: Model, images: Tensor, batch: int = 250) -> Tensor:
    """Bits/dim of each image, float64, with noise that is a function of the image's number."""
    state = torch.get_rng_state()
    torch.manual_seed(0)  # for a model that draws its own noise
    bits = []
    with model.evaluating():
        for first in range(0, len(images), batch):
            some = images[first : first + batch]
            u = dequantization_noise(some, 0, torch.arange(first, first + len(some)))
            bits.append(model.bits(some, u))
    torch.set_rng_state(state)
    return torch.cat(bits).double()


@torch.no_grad()
def reconstructed(model: Model, images: Tensor) -> float | None:
    """The part of the images that come back exactly."""
    with model.evaluating():
        back = model.reconstruct(images)
    return None if back is None else (back == images).flatten(1).all(1).double().mean().item()
