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
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from glow_app.likelihood import dequantization_noise

SAVE_EVERY = 300
"""Seconds between two saves."""

STATE = ("order", "used", "images", "step", "smooth", "curve", "bits")
"""Attributes of a race that are saved as they are."""


class Model(nn.Module):
    """A density of 8-bit images."""

    def initialize(self, images: Tensor) -> None:
        """Initialises from uint8 images (B, C, H, W)."""
        with torch.no_grad():
            self.train().bits(images, torch.rand(images.shape))

    def bits(self, images: Tensor, u: Tensor) -> Tensor:
        """Bits per dimension, (B,), of uint8 images with dequantization noise ``u`` in [0, 1)."""
        raise NotImplementedError

    def learned(self) -> list[Tensor]:
        """What training changes, of which an average is taken."""
        return list(self.parameters())

    def update_statistics(self) -> None:
        """Called after each update, for layers that keep statistics of training batches."""

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
        reconstructed: part of the first validation images that come back exactly; None if not offered.
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

    def __init__(self, model: Model, decay: float) -> None:
        self.decay = decay
        self.weights = [p.detach() for p in model.learned()]
        self.average = [w.clone() for w in self.weights]

    def update(self, step: int) -> None:
        torch._foreach_lerp_(self.average, self.weights, 1 - min(self.decay, (1 + step) / (10 + step)))

    @contextmanager
    def used(self) -> Iterator[None]:
        kept = [w.clone() for w in self.weights]
        torch._foreach_copy_(self.weights, self.average)
        yield
        torch._foreach_copy_(self.weights, kept)


class Race:
    """One training.

    Args:
        recipe: what is trained, and how.
        train: uint8 (N, C, H, W).
        val: uint8 (M, C, H, W).
        seconds: CPU seconds of training.
        images: images of training; the race ends with the first of both limits.
        seed: of everything.
        validations: number of validations, the last one at the end.
        reconstructions: validation images that are reconstructed at the end.
        tell: called with a line at each validation.
        state: file to which the race is saved every few minutes, and from which it goes on if it exists.
    """

    def __init__(
        self, recipe: Recipe, train: Tensor, val: Tensor, *, seconds: float = math.inf, images: float = math.inf,
        seed: int = 0, validations: int = 3, reconstructions: int = 256, tell: Callable[[str], object] = print,
        state: Path | None = None,
    ) -> None:  # fmt: skip
        self.recipe, self.train, self.val, self.tell, self.state = recipe, train, val, tell, state
        self.seconds, self.most_images = seconds, images
        self.validations, self.reconstructions = validations, reconstructions
        torch.manual_seed(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.model = recipe.model(tuple(train.shape[1:]))
        first = torch.randperm(len(train), generator=self.generator)[: recipe.init_images]
        self.model.initialize(train[first])
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizers = recipe.optimizers(self.model)
        self.rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.average = Average(self.model, recipe.average)
        self.order = torch.empty(0, dtype=torch.long)
        self.used, self.images, self.step, self.smooth = 0.0, 0, 0, 0.0
        self.curve: list[tuple[int, float, float]] = []
        self.bits = torch.empty(0)

    @property
    def part(self) -> float:
        """Part of the race that is over."""
        return max(self.used / self.seconds, self.images / self.most_images)

    def run(self) -> Result:
        """Trains to the end; the model then has the averaged weights."""
        if self.state is not None and self.state.exists():
            self._load(self.state)
        self.model.train()
        saved = time.monotonic()
        while self.part < 1:
            began = time.process_time()
            self._update()
            self.used += time.process_time() - began
            if self.part >= (len(self.curve) + 1) / self.validations:
                self._validate()
            if self.state is not None and time.monotonic() - saved > SAVE_EVERY:
                self._save(self.state)
                saved = time.monotonic()
        torch._foreach_copy_(self.average.weights, self.average.average)
        if self.state is not None:
            self.state.unlink(missing_ok=True)
        return Result(
            sum(p.numel() for p in self.parameters), self.step, self.images, round(self.used, 1), self.curve,
            self.bits.mean().item(), self.bits.std().item() / len(self.bits) ** 0.5, self.smooth,
            reconstructed(self.model, self.val[: self.reconstructions]),
        )  # fmt: skip

    def _update(self) -> None:
        recipe, model = self.recipe, self.model
        if len(self.order) < recipe.batch:
            self.order = torch.randperm(len(self.train), generator=self.generator)
        batch, self.order = augmented(self.train[self.order[: recipe.batch]], recipe), self.order[recipe.batch :]
        loss = model.bits(batch, torch.rand(batch.shape)).mean()
        loss.backward()
        recipe.clip(self.parameters)
        factor = recipe.rate(Now(self.step, self.images, self.part))
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad()
        model.update_statistics()
        self.step, self.images = self.step + 1, self.images + len(batch)
        self.average.update(self.step)
        value = loss.item()
        if not math.isfinite(value):
            raise ArithmeticError(f"step {self.step}, {self.images} images: the loss is {value}")
        self.smooth += (value - self.smooth) / min(self.step, 300)

    def _validate(self) -> None:
        with self.average.used():
            self.bits = validate(self.model, self.val)
        self.curve.append((self.images, round(self.used, 1), self.bits.mean().item()))
        self.tell(f"{self.used:7.0f} s {self.images:8d} images  train {self.smooth:.4f}  val {self.bits.mean():.4f}")

    def _save(self, path: Path) -> None:
        state = {name: getattr(self, name) for name in STATE} | {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": self.average.average,
            "generators": [self.generator.get_state(), torch.get_rng_state()],
        }
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def _load(self, path: Path) -> None:
        state = torch.load(path)
        for name in STATE:
            setattr(self, name, state[name])
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        torch._foreach_copy_(self.average.average, state["average"])
        self.generator.set_state(state["generators"][0])
        torch.set_rng_state(state["generators"][1])


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
