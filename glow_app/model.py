"""A trained Glow with images as its interface: pixels in, pixels out."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from glow_app import likelihood
from glow_app.artifacts.card import CARD, Card, read_card
from glow_app.artifacts.weights import Exported, export
from glow_app.artifacts.weights import load as load_exported
from glow_app.config.paths import as_path
from glow_app.data.picture import Images, batch_of
from glow_app.errors import UserError
from glow_app.flows import VAE, Bijection, Flow
from glow_app.flows.search import inverse_or_nan
from glow_app.latents import interpolation
from glow_app.latents.labels import Labels, class_labels
from glow_app.latents.masks import Mask
from glow_app.latents.restoring import restored, what_was_seen
from glow_app.latents.sampling import Sampler
from glow_app.likelihood import dequantization_noise, dequantize_midpoints, is_reconstructed
from glow_app.runtime.devices import usable
from glow_app.scores.complexity import CODECS
from glow_app.scores.measure import Scorer
from glow_app.scores.thresholds import mean_of_training
from glow_app.units import Bits, unit_of

if TYPE_CHECKING:
    from glow_app.latents.directions import Directions


class Model:
    """A trained Glow and its card.

    Images are uint8 (B, C, H, W) with 256 grey levels, of shape :attr:`image_shape`. Methods accept one image or
    several, as tensors, PIL images or files. Latents are lists of one tensor per level, finest first, each N(0, I)
    under the model (logistic, if that is its base). No method records gradients; :attr:`flow` is the differentiable
    model.

    A model of points in the plane uses floats instead of images: it accepts (B, 2) or (B, 2, 1, 1), and returns the
    latter. Its ``log_prob`` is the log-density itself.

    >>> import glow_app
    >>> model = glow_app.load("runs/drawn_faces/2026-01-01_12-00-00")
    >>> face = model.sample(1, seed=3)
    >>> latents = model.encode(face)
    >>> [tuple(z.shape) for z in latents]
    [(1, 6, 8, 8), (1, 24, 4, 4)]
    >>> bool((model.decode(latents) == face).all())
    True
    >>> tuple(model.interpolate(face, "me.jpg", steps=5).shape)
    (5, 3, 16, 16)
    >>> directions = glow_app.load_directions("runs/drawn_faces/2026-01-01_12-00-00")
    >>> smiling = model.edit("me.jpg", directions, {"Smiling": 0.8, "Young": -0.5})

    Args:
        exported: the exported model.
        device: device of the model.

    Attributes:
        device: device of the model.
        flow: the :class:`glow_app.flows.Flow`, in evaluation mode.
        card: its training data and results.
        digest: SHA-256 of its weights; its directions have the same.
        folder: folder that it was loaded from.
        storage: dtype of the stored weights, ``fp32`` or ``bf16``.
    """

    def __init__(self, exported: Exported, device: str | torch.device = "cpu") -> None:
        self.device = usable(device)
        self.flow: Flow = exported.flow.to(self.device)
        self.card: Card = exported.card
        self.digest = exported.digest
        self.folder = exported.folder
        self.storage = exported.storage

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.card.image_shape

    @property
    def n_bits(self) -> Bits:
        """Bits per subpixel that the model sees."""
        return self.card.n_bits

    def __repr__(self) -> str:
        n_parameters = sum(parameter.numel() for parameter in self.flow.parameters())
        unit = unit_of(self.n_bits)
        tested = self.card.metrics.get("test/bits_per_dim")
        figure = "" if tested is None else f", {unit.figure(tested, 3)} {unit.name}"
        return (
            f"Model({self.card.model.shape}, {n_parameters / 1e6:.2f}M parameters, "
            f"{unit.shape_of(self.image_shape, self.n_bits)}, step {self.card.step:,}{figure}, on {self.device})"
        )

    def to(self, device: str | torch.device) -> Self:
        """Moves the model to a device, such as ``cuda``; returns it.

        Raises:
            UserError: torch cannot use such a device here; the model stays where it is.
        """
        self.device = usable(device)
        self.flow.to(self.device)
        return self

    def save(self, folder: str | Path) -> None:
        """Writes ``model.safetensors`` and ``model.json``, which :func:`glow_app.load` reads.

        The files hold weights and options, no code: a flow of a class of your own needs a new one of that class to be
        loaded, ``glow_app.load(folder, flow=MyFlow())``.

        Raises:
            UserError: the folder holds another model, a weight is not finite, or the disk refuses.
        """
        folder = Path(as_path(str(folder)))
        if (folder / CARD).exists() and read_card(folder)[1] != self.digest:
            raise UserError(f"{folder} holds another model: choose another folder")
        export(self.flow, self.card, folder, self.storage)

    @torch.no_grad()
    def log_prob(self, images: Images, labels: Labels = None, seed: int = 0) -> Tensor:
        """A lower bound on log P(image) in nats, with one draw of the dequantization noise: (B,).

        The noise of the i-th image is a function of (seed, i). P is that of images of 2^n_bits grey levels: floats from
        0 to 1 are rounded to these first. The density of continuous images is ``model.flow.log_prob(x)``, in nats, with
        x from -1/2 (black) to 1/2 (white).
        """
        batch = self.batch(images)
        u = dequantization_noise(batch, seed, torch.arange(len(batch), device=self.device))
        return likelihood.log_prob(self.flow, batch, u, self.n_bits, self._cond(labels, len(batch)))

    def bits_per_dim(self, images: Images, labels: Labels = None, seed: int = 0) -> Tensor:
        """``-log_prob / (D ln 2)``: bits per subpixel, (B,)."""
        return likelihood.bits_per_dim(self.log_prob(images, labels, seed), self.flow.n_dims)

    def score(
        self,
        images: Images,
        labels: Labels = None,
        seed: int = 0,
        draws: int = 1,
        codecs: Sequence[str] = tuple(CODECS),
        background: "Model | None" = None,
    ) -> dict[str, Tensor]:
        """The columns of ``glow-score`` by name, float64 (B,) each: see :class:`glow_app.scores.measure.Scorer`.

        Larger values are less like the training images. Typicality is the distance from the mean of training images
        that ``glow-score calibrate=true`` has saved with the model, else from the mean on its card.
        """
        batch, mean = self.batch(images), mean_of_training(self.folder, self.digest, self.card.metrics)
        other = None if background is None else background.flow
        scorer = Scorer(self.flow, self.n_bits, seed, draws, codecs, None if mean is None else mean[0], other)
        at = torch.arange(len(batch), device=self.device)
        rows = scorer(batch, at, scorer.complexity(batch), self._cond(labels, len(batch)))
        return dict(zip(scorer.names, rows.unbind(1), strict=True))

    @torch.no_grad()
    def encode(self, images: Images, labels: Labels = None) -> list[Tensor]:
        """Encodes images to latents, each value in the middle of its grey level, one of 256 whatever the model sees.

        There is no noise in them, as there is in a likelihood: an edit of noisy latents that moves a value by a part of
        its bin would carry that share of all pixels over a border, which is seen as grain. See
        :func:`glow_app.likelihood.dequantize_midpoints`.

        Latents are float32, and all of a batch are float64 if float32 does not reconstruct one of its images, as is the
        rule for images unlike those that the model knows. :meth:`decode` computes in their dtype. A flow whose
        conditioners were set to a lower precision is not checked, and reconstructs no image exactly.

        Args:
            images: one or several.
            labels: for a class-conditional model.
        """
        batch = self.batch(images)
        if isinstance(self.flow, VAE):
            return likelihood.centre_of_posterior(self.flow, batch, self.n_bits)
        x, cond = dequantize_midpoints(batch, self.n_bits), self._cond(labels, len(batch))
        latents = self.flow(x, cond)[0]
        if self.flow.conditioner_dtype is not None:
            return latents
        if is_reconstructed(inverse_or_nan(self.flow, latents, cond), batch, self.n_bits).all():
            return latents
        return self._of_dtype(torch.float64)(x.double(), cond)[0]

    @torch.no_grad()
    def decode(self, latents: Sequence[Tensor], labels: Labels = None) -> Tensor:
        """Decodes latents to images: uint8 (B, C, H, W).

        Raises:
            UserError: an image is not finite.
        """
        x = self.inverse(latents, labels)
        finite = torch.isfinite(x).flatten(1).all(1)
        if not finite.all():
            which = ", ".join(str(i) for i in (~finite).nonzero().flatten().tolist()[:10])
            raise UserError(
                f"image {which} of {len(x)} is not finite: its latents are too far from what the model knows"
            )
        return likelihood.picture(self.flow, x, self.n_bits)

    @torch.no_grad()
    def inverse(self, latents: Sequence[Tensor], labels: Labels = None) -> Tensor:
        """Inverts latents to images before quantization, in the latents' dtype, maybe not finite: (B, C, H, W)."""
        cond = self._cond(labels, len(latents[0]))
        return self._of_dtype(latents[0].dtype).inverse([z.to(self.device) for z in latents], cond)

    def sample(
        self,
        n: int,
        temperature: float | Sequence[float] = 0.7,
        seed: int = 0,
        label: int | None = None,
        first: int = 0,
    ) -> Tensor:
        """Samples new images, uint8 (n, C, H, W): numbers ``first`` ... of :class:`glow_app.latents.sampling.Sampler`.

        Image ``i`` is a function of (seed, i, temperature, label). Kingma & Dhariwal 2018, sec. 6.2 (temperature).

        Args:
            n: number of images.
            temperature: 0 for the one most typical image, 1 for the model's own distribution; or one for each level,
                finest first.
            seed: seed of the noise.
            label: class of a conditional model's images; None: all classes in turn.
            first: number of the first image.

        Raises:
            UserError: an image is not finite, or there is no such class.
        """
        if label is not None:
            self._cond(label, n)
        batch = Sampler(self.flow, self.n_bits, temperature, seed, label).draw(range(first, first + n))
        if batch.not_finite:
            raise UserError(f"samples {batch.not_finite} are not finite: try a lower temperature than {temperature}")
        return batch.images

    def interpolate(
        self, start: Images, end: Images, steps: int = 9, path: str = "linear", label: int | None = None
    ) -> Tensor:
        """Interpolates from one image to another, both included: uint8 (steps, C, H, W).

        Args:
            start: one image.
            end: one image.
            steps: number of images.
            path: ``linear``, as published, or ``spherical``; see :mod:`glow_app.latents.interpolation`.
            label: class of both, for a class-conditional model.
        """
        a, b = self.encode(start, label), self.encode(end, label)
        if len(a[0]) != 1 or len(b[0]) != 1 or steps < 2:
            raise ValueError(f"interpolation goes from one image to one other in at least 2 steps, not {steps}")
        return self.decode(interpolation.between(a, b, steps, path), label)

    def edit(
        self, images: Images, directions: "Directions", amounts: Mapping[str, float], labels: Labels = None
    ) -> Tensor:
        """Adds attributes to images, or removes them with negative amounts: uint8 (B, C, H, W).

        Args:
            images: one or several.
            directions: directions of this model, see :func:`glow_app.load_directions`.
            amounts: attribute -> amount; 1 is the distance between the means of images with and without it.
            labels: for a class-conditional model.

        Raises:
            UserError: an attribute is unknown, or the directions are those of another model.
        """
        directions.require(self.digest)
        return self.decode(directions.edit(self.encode(images, labels), amounts), labels)

    def restore(
        self, images: Images, mask: Mask | None = None, noise: float | None = None, scale: int | None = None,
        n: int = 1, steps: int = 200, seed: int = 0, labels: Labels = None, temperature: float = 1.0,
    ) -> Tensor:  # fmt: skip
        """Completes images: fills in a mask, takes noise away, or adds detail; uint8 (B, n, C, H, W), n answers each.

        Give one of mask, noise and scale, see :func:`glow_app.latents.restoring.what_was_seen`. Answers are drawn
        from the model's distribution at a temperature.

        Raises:
            UserError: none or two of these are given, one does not fit the images, or an answer is not finite.
        """
        seen = what_was_seen(self.batch(images), self.n_bits, mask, noise, scale, seed)
        return restored(self.flow, seen, n, steps, seed, self._cond(labels, len(seen.pixels)), temperature)

    def batch(self, images: Images) -> Tensor:
        """Converts one or several images to uint8 (B, C, H, W) on the model's device.

        Tensors must have the model's :attr:`image_shape`; arrays, PIL images and files are cropped and resized. Floats
        from 0 (black) to 1 (white) are rounded to the nearest of 256 grey levels.

        Raises:
            UserError: a file is not an image.
            ValueError: a tensor or an array has another shape, type or range.
        """
        if self.n_bits is None:
            return torch.as_tensor(images, dtype=torch.float32).reshape(-1, *self.image_shape).to(self.device)
        return batch_of(images, self.image_shape, self.card.data).to(self.device)

    def _of_dtype(self, dtype: torch.dtype) -> Flow:
        """Returns the flow, or a copy in float64, which is made each time: weights may have changed."""
        return self.flow if dtype == torch.float32 else copy.deepcopy(self.flow).to(dtype)

    def _cond(self, labels: Labels, n: int) -> Tensor | None:
        return class_labels(labels, n, self.card.class_names if self.flow.n_classes else (), self.device)


def load(path: str | Path, device: str | torch.device = "cpu", flow: Flow | Bijection | None = None) -> Model:
    """Loads a trained model, see :func:`glow_app.load`, also for errors."""
    return Model(load_exported(path, flow), device)
