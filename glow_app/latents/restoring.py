"""Fills in what is missing of images: answers from the model's own distribution, given what was seen.

With x = g(z) the image of latents z, the answers are draws from p(z | seen), which is proportional to
p(z) N(seen; A g(z), deviation^2 I); A says what was seen of x. They are drawn by Langevin dynamics with momentum,

    v <- m v - h grad E(z) + sqrt((1 - m^2) h) noise,    z <- z + v,    E(z) = -log p(z | seen)

while the deviation falls from 1 to that of what was seen, so that large forms are settled before small ones.
Dinh et al. 2015, sec. 5, ascend log p(x) in the pixels that are missing, with annealed noise. In latents (Asim et al.
2020), where all of p(z) has one scale, steps may be larger by orders of magnitude. Each level's h is divided by the
mean curvature of E there, which is estimated from random projections of the Jacobian. At a temperature T the image of z
is g(T z), as it is of samples.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from glow_app.errors import UserError
from glow_app.flows import Flow
from glow_app.latents.masks import Mask, missing
from glow_app.latents.tempering import tempered
from glow_app.likelihood import dequantize, quantize
from glow_app.noise import Stream, normal
from glow_app.units import Bits

SHARPNESS = 0.02
"""Least deviation of what was seen, in units of white minus black: with less, steps would have to be smaller."""

ANNEALED = 0.8
"""Share of the steps in which the deviation falls, from 1 on."""

MOMENTUM = 0.9
STEP = 0.01
"""Step size h where the curvature is 1."""

MEMORY = 0.9
"""Weight of the older estimates in that of the curvature."""

LONGEST = 0.5
"""Largest change of a latent's velocity by the gradient in a step, for models whose inverse is steep somewhere."""

MOST_STEPS = 100_000


class Seen(NamedTuple):
    """The part of images that was seen.

    Attributes:
        pixels: uint8 (B, C, H, W), the images; only what was seen of them is used.
        values: A x, (B, ...).
        of: the linear map A.
        deviation: standard deviation of ``values``, in units of white minus black.
        n_bits: bits that the model sees.
        missing: bool (H, W), if what was seen are pixels; they are kept in the answers, to the bit.
    """

    pixels: Tensor
    values: Tensor
    of: Callable[[Tensor], Tensor]
    deviation: float
    n_bits: int
    missing: Tensor | None = None

    def answers(self, x: Tensor) -> Tensor:
        """Turns dequantized images into pixels, with what was seen in its place: uint8 (B, C, H, W)."""
        made = quantize(x, self.n_bits)
        return made if self.missing is None else torch.where(self.missing, made, self.pixels)

    def picture(self) -> Tensor:
        """Shows what was seen, what is missing being grey: uint8 (B, C, H, W)."""
        return quantize(F.interpolate(self.values, self.pixels.shape[2:]), self.n_bits)

    def repeated(self, rows: Tensor) -> "Seen":
        """Selects images, some of them several times."""
        return self._replace(pixels=self.pixels[rows], values=self.values[rows])


def what_was_seen(
    images: Tensor, n_bits: Bits, mask: Mask | None, noise: float | None, scale: int | None, seed: int = 0
) -> Seen:
    """Returns what was seen of images, by exactly one of ``mask``, ``noise`` and ``scale``.

    Args:
        images: uint8 (B, C, H, W).
        n_bits: bits that the model sees.
        mask: what is missing, see :func:`glow_app.latents.masks.missing`.
        noise: standard deviation of the images' noise, in units of white minus black.
        scale: side of the squares of pixels of which only the means were seen.
        seed: seed of a mask of random pixels.

    Raises:
        UserError: none or several of these are given, one does not fit the images, or these are points.
    """
    given = [f"{key}={value}" for key, value in (("noise", noise), ("scale", scale)) if value is not None]
    if mask is not None:
        given.insert(0, f"mask={mask}" if isinstance(mask, str) else "a mask")
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)}: give one of mask, noise and scale")
    if n_bits is None:
        raise UserError("this is a model of points in the plane, and images are completed")
    if mask is not None:
        _, _, height, width = images.shape
        return with_missing(images, missing(mask, height, width, seed), n_bits)
    if noise is not None:
        return with_noise(images, noise, n_bits)
    if scale is not None:
        return shrunk(images, scale, n_bits)
    raise UserError("nothing to do: give mask=right, noise=0.1 or scale=2")


def with_missing(images: Tensor, hidden: Tensor, n_bits: int) -> Seen:
    """Returns the evidence of the pixels that are not missing.

    Args:
        images: uint8 (B, C, H, W).
        hidden: bool (H, W), which are missing.
        n_bits: bits that the model sees.
    """
    kept = (~hidden).to(images.device, torch.float32)
    x = dequantize(images, 0.5, n_bits)
    least = max(SHARPNESS, 2.0**-n_bits / 12**0.5)  # what quantization takes away
    return Seen(images, kept * x, lambda x: kept * x, least, n_bits, hidden.to(images.device))


def with_noise(images: Tensor, deviation: float, n_bits: int) -> Seen:
    """Returns the evidence of all pixels, with normal noise.

    Args:
        images: uint8 (B, C, H, W).
        deviation: of the noise, in units of white minus black.
        n_bits: bits that the model sees.

    Raises:
        UserError: it is not between ``SHARPNESS`` and 1.
    """
    if not SHARPNESS <= deviation <= 1:
        raise UserError(f"noise={deviation:g}: give the noise's standard deviation, from {SHARPNESS} to 1 (white)")
    return Seen(images, dequantize(images, 0.5, n_bits), lambda x: x, deviation, n_bits)


def shrunk(images: Tensor, scale: int, n_bits: int) -> Seen:
    """Returns the evidence of the means of squares of ``scale`` x ``scale`` pixels.

    Args:
        images: uint8 (B, C, H, W).
        scale: side of the squares, in pixels.
        n_bits: bits that the model sees.

    Raises:
        UserError: it is below 2, or does not divide height and width.
    """
    _, _, height, width = images.shape
    if scale < 2 or height % scale or width % scale:
        raise UserError(f"scale={scale}: give a divisor of the images' {width} x {height} pixels, at least 2")
    means = partial(F.avg_pool2d, kernel_size=scale)
    return Seen(images, means(dequantize(images, 0.5, n_bits)), means, SHARPNESS / scale, n_bits)


def restored(
    flow: Flow, seen: Seen, n: int, steps: int, seed: int = 0, cond: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    """Computes ``n`` answers for each image, of :func:`restorations` with the numbers 0 ... n - 1.

    Returns:
        uint8 (B, n, C, H, W).
    """
    rows = torch.arange(len(seen.pixels), device=seen.pixels.device).repeat_interleave(n)
    numbers = torch.arange(n, device=rows.device).repeat(len(seen.pixels))
    each = seen.repeated(rows)
    cond = None if cond is None else cond[rows]
    (x,) = deque(restorations(flow, each, numbers, steps, seed, cond, temperature), maxlen=1)
    return each.answers(x).unflatten(0, (-1, n))


def restorations(
    flow: Flow, seen: Seen, numbers: Tensor, steps: int, seed: int = 0, cond: Tensor | None = None,
    temperature: float = 1.0,
) -> Iterator[Tensor]:  # fmt: skip
    """Yields the images after 0 ... ``steps`` steps: first samples of the model, at last answers.

    An answer is a function of (seed, its number), up to rounding.

    Args:
        flow: the model.
        seen: what was seen of B images.
        numbers: int64 (B,), numbers of the answers, each below 2^32.
        steps: number of steps.
        seed: seed of the noise.
        cond: int64 (B,) class labels of a conditional model.
        temperature: of the distribution that answers are drawn from; at 1, the model's own.

    Yields:
        dequantized images (B, C, H, W), not rounded; see :meth:`Seen.answers`.

    Raises:
        UserError: an image is not finite.
    """

    def decode(latents: Sequence[Tensor]) -> Tensor:
        return flow.inverse(tempered(latents, temperature), cond)

    latents = _noise(flow, seed, numbers, 0)
    velocity = [torch.zeros_like(z) for z in latents]
    curvature: list[Tensor] = []
    for step in range(steps):
        deviation = seen.deviation ** min(1.0, (step + 1) / (ANNEALED * steps))
        projection = _projection(seen, seed, numbers, step)
        x, gradient, squares = _derivatives(flow, decode, seen, latents, projection, deviation)
        _require_finite(x)
        yield x
        curvature = [MEMORY * old + (1 - MEMORY) * new for old, new in zip(curvature or squares, squares, strict=True)]
        for level, kick in enumerate(_noise(flow, seed, numbers, step + 1)):
            h = STEP / (1 + curvature[level] / deviation**2)
            drift = (h * gradient[level]).clamp(-LONGEST, LONGEST)
            velocity[level] = MOMENTUM * velocity[level] - drift + ((1 - MOMENTUM**2) * h).sqrt() * kick
            latents[level] = latents[level] + velocity[level]
    with torch.no_grad():
        x = decode(latents)
    _require_finite(x)
    yield x


def _derivatives(
    flow: Flow, decode: Callable[[Sequence[Tensor]], Tensor], seen: Seen, latents: list[Tensor], projection: Tensor,
    deviation: float,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:  # fmt: skip
    """Returns x, the gradient of the energy per level, and the mean diagonal of J^T A^T A J per level, (B, 1, 1, 1)."""
    with torch.enable_grad():
        latents = [z.detach().requires_grad_() for z in latents]
        x = decode(latents)
        observed = seen.of(x)
        misfit = ((observed - seen.values) ** 2).sum() / (2 * deviation**2)
        energy = misfit - flow.base.log_prob(latents).sum()
        gradient = torch.autograd.grad(energy, latents, retain_graph=True)
        projected = torch.autograd.grad(observed, latents, projection)
    return x.detach(), list(gradient), [(p**2).mean((1, 2, 3), keepdim=True) for p in projected]


def _noise(flow: Flow, seed: int, numbers: Tensor, step: int) -> list[Tensor]:
    """Normal numbers in the shapes of the latents."""
    parameter = next(flow.parameters())
    sizes = [c * h * w for c, h, w in flow.latent_shapes]
    drawn = normal(seed, Stream.LANGEVIN, numbers * MOST_STEPS + step, flow.n_dims).to(parameter)
    return [z.view(-1, *shape) for z, shape in zip(drawn.split(sizes, 1), flow.latent_shapes, strict=True)]


def _projection(seen: Seen, seed: int, numbers: Tensor, step: int) -> Tensor:
    n = seen.values[0].numel()
    drawn = normal(seed, Stream.PROJECTION, numbers * MOST_STEPS + step, n)
    return drawn.to(seen.values).view(seen.values.shape)


def _require_finite(x: Tensor) -> None:
    finite = torch.isfinite(x).flatten(1).all(1)
    if not finite.all():
        which = int((~finite).nonzero()[0])
        raise UserError(f"answer {which} of {len(x)} is not finite: take more steps, or another seed")
