"""A flow of levels, each of which factors out some of the variables: the structure of Glow and its relatives."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from glow_app.flows.base import base_distribution
from glow_app.flows.bijection import Bijection
from glow_app.flows.conditioner import Network


class Flow(nn.Module):
    """An invertible map x <-> latents, one per level, finest first; all their numbers have the base distribution.

    Each level is a bijection. The first half of its output channels is the input of the next level, the second half is
    its latent; the whole output of the last level is the last latent.

    A new flow must be initialised from data once, by :func:`glow_app.flows.initialize.initialize`, before use.

    Args:
        image_shape: (C, H, W) of ``x``; vectors of D numbers are (D, 1, 1).
        levels: in the order in which ``forward`` applies them.
        latent_shapes: (C, H, W) of each level's latent.
        base: ``normal`` or ``logistic``, see :mod:`glow_app.flows.base`.
        n_classes: number of classes of ``cond``; 0 for an unconditional model.
    """

    decodes_in_turn = False
    """``inverse`` finds one number, or one diagonal of pixels, after the other."""
    decodes_by_search = False
    """``inverse`` searches for numbers, in as many steps as it takes."""
    initialized: Tensor

    def __init__(
        self,
        image_shape: Sequence[int],
        levels: Sequence[Bijection],
        latent_shapes: Sequence[tuple[int, int, int]],
        base: str = "normal",
        n_classes: int = 0,
    ) -> None:
        super().__init__()
        n_channels, height, width = image_shape
        self.image_shape = (n_channels, height, width)
        self.levels = nn.ModuleList(levels)
        self.latent_shapes: list[tuple[int, int, int]] = list(latent_shapes)
        """(C, H, W) of each latent, finest first."""
        self.base = base_distribution(base)
        self.n_classes = n_classes
        # uint8: some communication backends refuse bool.
        self.register_buffer("initialized", torch.zeros((), dtype=torch.uint8))
        self._known_to_be_initialized = False

    @property
    def kind(self) -> str:
        """The name of the class."""
        return type(self).__name__

    @property
    def n_dims(self) -> int:
        """D = C * H * W, the number of subpixels of an image and of numbers in its latents."""
        return math.prod(self.image_shape)

    @property
    def steps_of_search(self) -> list[int]:
        """The steps of the last ``inverse`` in each layer that searches and counts, in the order of ``forward``."""
        return []

    @property
    def conditioner_dtype(self) -> torch.dtype | None:
        """The dtype of :meth:`set_conditioner_dtype`; None if all conditioners compute in that of the trunk."""
        networks = (module for module in self.modules() if isinstance(module, Network))
        return next((network.compute_dtype for network in networks if network.compute_dtype is not None), None)

    def set_conditioner_dtype(self, dtype: torch.dtype | None) -> None:
        """Sets the dtype in which conditioners compute, e.g. ``torch.bfloat16``; None is the dtype of the trunk."""
        for module in self.modules():
            if isinstance(module, Network):
                module.compute_dtype = dtype

    def update_statistics(self) -> None:
        """Updates running statistics by the last training batch, after its backward pass; there are none here."""

    def learned(self) -> list[Tensor]:
        """Returns the tensors that training changes and that a weight average covers."""
        return list(self.parameters())

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """Returns the latents, finest first, and the log-determinant (B,) in nats.

        Args:
            x: (B, C, H, W) dequantized images in [-1/2, 1/2).
            cond: int64 (B,) class labels of a conditional model.
        """
        self.check_initialized()
        self._check_shape(x)
        latents: list[Tensor] = []
        logdet = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for level in self.levels:
            x, level_logdet = level(x, cond)
            logdet = logdet + level_logdet
            if len(latents) < len(self.levels) - 1:
                x, latent = x.chunk(2, 1)
                latents.append(latent)
        latents.append(x)
        return latents, logdet

    def decompose(self, x: Tensor, cond: Tensor | None = None) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        """Returns the latents and, per level, the log-determinant (B,) of each kind of layer; ``forward`` sums them."""
        self.check_initialized()
        self._check_shape(x)
        latents: list[Tensor] = []
        parts: list[dict[str, Tensor]] = []
        for level in self.levels:
            x, level_parts = cast(Bijection, level).decompose(x, cond)
            parts.append(level_parts)
            if len(parts) < len(self.levels):
                x, latent = x.chunk(2, 1)
                latents.append(latent)
        return [*latents, x], parts

    def inverse(self, latents: Sequence[Tensor], cond: Tensor | None = None) -> Tensor:
        """Returns the ``x`` with these latents (finest first): the exact inverse of ``forward``."""
        self.check_initialized()
        *finer, x = latents
        x = cast(Bijection, self.levels[-1]).inverse(x, cond)
        for level, latent in zip(reversed(self.levels[:-1]), reversed(finer), strict=True):
            x = cast(Bijection, level).inverse(torch.cat([x, latent], 1), cond)
        return x

    def inverse_with_logdet(self, latents: Sequence[Tensor], cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns ``x`` and its log-determinant (B,): ``log_prob(x)`` is ``base.log_prob(latents)`` minus it."""
        self.check_initialized()
        *finer, x = latents
        x, logdet = cast(Bijection, self.levels[-1]).inverse_with_logdet(x, cond)
        for level, latent in zip(reversed(self.levels[:-1]), reversed(finer), strict=True):
            x, level_logdet = cast(Bijection, level).inverse_with_logdet(torch.cat([x, latent], 1), cond)
            logdet = logdet + level_logdet
        return x, logdet

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Returns log p(x) of continuous images, in nats: (B,)."""
        latents, logdet = self(x, cond)
        return self.base.log_prob(latents) + logdet

    @torch.no_grad()
    def sample(
        self,
        n: int,
        temperature: float | Sequence[float] = 1.0,
        seed: int = 0,
        cond: Tensor | None = None,
        first: int = 0,
    ) -> Tensor:
        """Draws images from the model, with latents ``temperature`` times those of the base at every level.

        Image i is a function of (seed, i), whichever other images are drawn with it.
        Kingma & Dhariwal 2018, sec. 6.2 (temperature).

        Args:
            n: number of images.
            temperature: 0 is the single image of the latents' mode, 1 the model's own distribution; or one value per
                level, finest first.
            seed: seed of the noise.
            cond: int64 (n,) class labels of a conditional model.
            first: index of the first image.

        Returns:
            (n, C, H, W), in [-1/2, 1/2) up to the model's errors.
        """
        return self.inverse(self.sample_latents(n, temperature, seed, first), cond)

    def sample_latents(self, n: int, temperature: float | Sequence[float], seed: int, first: int = 0) -> list[Tensor]:
        """Draws latents of the base times ``temperature``, finest first, for images ``first`` ... ``first + n - 1``.

        An image's numbers are drawn pixel by pixel, all channels of a pixel together.
        """
        temperatures = temperature if isinstance(temperature, Sequence) else [temperature] * len(self.latent_shapes)
        parameter = next(self.parameters())
        positions = torch.arange(first, first + n, device=parameter.device)
        sizes = [math.prod(shape) for shape in self.latent_shapes]
        drawn = self.base.draw(seed, positions, sum(sizes)).split(sizes, 1)
        scaled = ((t * numbers).to(parameter.dtype) for t, numbers in zip(temperatures, drawn, strict=True))
        return [z.view(n, h, w, c).permute(0, 3, 1, 2) for z, (c, h, w) in zip(scaled, self.latent_shapes, strict=True)]

    def check_initialized(self) -> None:
        """Raises RuntimeError if the model has neither been initialised from data nor loaded."""
        # Read once per model, not once per step: reading the buffer synchronises a GPU.
        if not self._known_to_be_initialized:
            if not self.initialized.item():
                raise RuntimeError(
                    f"this {self.kind} is not initialised: call initialize(flow, images), or load a checkpoint, first"
                )
            self._known_to_be_initialized = True

    def _check_shape(self, x: Tensor) -> None:
        if x.dim() != 4 or tuple(x.shape[1:]) != self.image_shape:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; this {self.kind} takes (batch, {', '.join(map(str, self.image_shape))})"
            )


@torch.no_grad()
def single_level(bijection: Bijection, image_shape: Sequence[int]) -> Flow:
    """Returns the flow whose only level is ``bijection``, and whose latent is all of its output."""
    was_training = bijection.training
    z, _ = bijection.eval()(torch.zeros(1, *image_shape))
    bijection.train(was_training)
    n_channels, height, width = z.shape[1:]
    return Flow(image_shape, [bijection], [(n_channels, height, width)])
