"""Glow's likelihood stated plainly, in float64 NumPy, one formula at a time.

From uint8 images and given uniform noise to log-probability in nats, to bits per dimension and to the whitened
latents, as sections 1 and 2 of the protocol describe it (Kingma & Dhariwal 2018, arXiv 1807.03039). Nothing is fused,
folded or cached: this text exists to be read against the description, and to check faster code by its numbers.

Arrays of activations are (B, C, H, W). A log-determinant or log-density is (B,), in nats.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

COUPLINGS = ("affine", "additive")
PERMUTATIONS = ("lu", "full", "shuffle", "reverse")
SCALES = ("sigmoid", "bounded")


def quantize(images: npt.NDArray[np.uint8], n_bits: int) -> Array:
    """q = floor(image / 2**(8 - n_bits)): integers from 0 to 2**n_bits - 1."""
    return np.floor(images.astype(np.float64) / 2.0 ** (8 - n_bits))


def dequantize(images: npt.NDArray[np.uint8], noise: npt.NDArray[np.floating], n_bits: int) -> Array:
    """x = (q + u) / n_bins - 1/2, with u in [0, 1) given."""
    n_bins = 2.0**n_bits
    return (quantize(images, n_bits) + noise.astype(np.float64)) / n_bins - 0.5


def squeeze(x: Array) -> Array:
    """out[c*4 + 2*i + j, y, x] = in[c, 2*y + i, 2*x + j]: (C, H, W) -> (4C, H/2, W/2)."""
    batch, channels, height, width = x.shape
    if height % 2 or width % 2:
        raise ValueError(f"squeeze needs an even height and width, got {height}x{width}")
    out = np.empty((batch, 4 * channels, height // 2, width // 2))
    for c in range(channels):
        for i in range(2):
            for j in range(2):
                for row in range(height // 2):
                    for column in range(width // 2):
                        out[:, c * 4 + 2 * i + j, row, column] = x[:, c, 2 * row + i, 2 * column + j]
    return out


def per_channel(values: Array) -> Array:
    """(C,) -> (1, C, 1, 1)."""
    if values.ndim != 1:
        raise ValueError(f"expected one value per channel, got shape {values.shape}")
    return values[None, :, None, None]


def sum_per_image(x: Array) -> Array:
    """(B, C, H, W) -> (B,)."""
    return np.sum(x, axis=(1, 2, 3))


def actnorm(x: Array, bias: Array, logs: Array) -> tuple[Array, Array]:
    """y = (x + bias) * exp(3 logs); log|det| = H * W * sum(3 logs)."""
    batch, _, height, width = x.shape
    y = (x + per_channel(bias)) * np.exp(3.0 * per_channel(logs))
    return y, np.full(batch, height * width * np.sum(3.0 * logs))


def lu_matrix(p: Array, lower: Array, upper: Array, log_s: Array, sign: Array) -> Array:
    """W = P L (U + diag(sign * exp(log_s))), L unit lower triangular, U strictly upper triangular."""
    channels = len(log_s)
    unit_lower = np.zeros((channels, channels))
    right = np.zeros((channels, channels))
    for row in range(channels):
        for column in range(channels):
            if row > column:
                unit_lower[row, column] = lower[row, column]
            if row < column:
                right[row, column] = upper[row, column]
        unit_lower[row, row] = 1.0
        right[row, row] = sign[row] * np.exp(log_s[row])
    return p @ unit_lower @ right


def multiply_pixels(x: Array, matrix: Array) -> Array:
    """y[:, row, column] = W x[:, row, column] at each pixel."""
    batch, channels, height, width = x.shape
    y = np.empty((batch, channels, height, width))
    for row in range(height):
        for column in range(width):
            y[:, :, row, column] = x[:, :, row, column] @ matrix.T
    return y


def pad(x: Array, amount: int, value: float) -> Array:
    """Surround each channel with `amount` pixels of the given value."""
    batch, channels, height, width = x.shape
    out = np.full((batch, channels, height + 2 * amount, width + 2 * amount), value)
    out[:, :, amount : amount + height, amount : amount + width] = x
    return out


def convolve(x: Array, weight: Array, border: Array | None = None) -> Array:
    """Cross-correlation of stride 1 to an output of the input's size.

    out[o, y, x] = sum over c, i, j of weight[o, c, i, j] * padded[c, y + i, x + j]. The input is padded with zeros.
    With `border` (out, 1, kh, kw), one more input channel is appended, the last, which is 0 at every pixel of the image
    and 1 in the padding; `border` is its kernel.
    """
    batch, _, height, width = x.shape
    amount = weight.shape[2] // 2
    padded = pad(x, amount, 0.0)
    if border is not None:
        marker = pad(np.zeros((batch, 1, height, width)), amount, 1.0)
        padded = np.concatenate([padded, marker], axis=1)
        weight = np.concatenate([weight, border], axis=1)
    out = np.zeros((batch, weight.shape[0], height, width))
    for row in range(height):
        for column in range(width):
            for i in range(weight.shape[2]):
                for j in range(weight.shape[3]):
                    out[:, :, row, column] += padded[:, :, row + i, column + j] @ weight[:, :, i, j].T
    return out


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(x, 0.0)


def log_sigmoid(x: Array) -> Array:
    """log(1 / (1 + exp(-x))) = -log(exp(0) + exp(-x))."""
    return -np.logaddexp(0.0, -x)


def gaussian_log_density(z: Array, mean: Array, log_std: Array) -> Array:
    """Of each image, the sum of log N(z; mean, std^2) = -1/2 (ln(2 pi) + 2 log_std + (z - mean)^2 / exp(2 log_std))."""
    return sum_per_image(-0.5 * (np.log(2.0 * np.pi) + 2.0 * log_std + (z - mean) ** 2 / np.exp(2.0 * log_std)))


def halves(x: Array) -> tuple[Array, Array]:
    """The first and the second half of the channels."""
    if x.shape[1] % 2:
        raise ValueError(f"an even number of channels is needed, got {x.shape[1]}")
    middle = x.shape[1] // 2
    return x[:, :middle], x[:, middle:]


def interleaved(h: Array) -> tuple[Array, Array]:
    """The channels 0, 2, 4, ... and the channels 1, 3, 5, ..."""
    return h[:, 0::2], h[:, 1::2]


@dataclass(frozen=True)
class PlainGlow:
    """Glow of `n_levels` levels of `n_steps` steps, with its parameters by name.

    With l = level and k = step, both from 0, and L = n_levels:

    - `levels.{l}.steps.{k}.actnorm.{bias,logs}` (C,)
    - `levels.{l}.steps.{k}.permutation.{p,lower,upper}` (C, C) and `.{log_s,sign}` (C,) if `permutation` is "lu";
      `.weight` (C, C) if "full"; `.index` (C,) if "shuffle" or "reverse"
    - `levels.{l}.steps.{k}.coupling.conditioner.{conv1,conv2,conv3}.{weight,bias,logs}`, with `.border`
      (out, 1, 3, 3) for conv1 and conv3 if `border`
    - `levels.{l}.prior.conv.{weight,bias,logs,border}` for l < L - 1
    - `levels.{L-1}.prior.{bias,logs,border}`
    """

    parameters: Mapping[str, npt.NDArray[np.generic]]
    n_levels: int
    n_steps: int
    coupling: str
    permutation: str
    scale: str
    border: bool
    n_bits: int

    def __post_init__(self) -> None:
        for name, value, known in (
            ("coupling", self.coupling, COUPLINGS),
            ("permutation", self.permutation, PERMUTATIONS),
            ("scale", self.scale, SCALES),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {known}, got {value!r}")
        if not 1 <= self.n_bits <= 8:
            raise ValueError(f"n_bits must be from 1 to 8, got {self.n_bits}")

    def log_prob(self, images_uint8: npt.NDArray[np.uint8], noise: npt.NDArray[np.floating]) -> Array:
        """The bound on log p(q) in nats: log p_flow(x) - D ln(n_bins), with D = C * H * W."""
        dimensions = np.prod(images_uint8.shape[1:])
        return self.encode(self._pixels(images_uint8, noise))[0] - dimensions * np.log(2.0**self.n_bits)

    def bits_per_dim(self, images_uint8: npt.NDArray[np.uint8], noise: npt.NDArray[np.floating]) -> Array:
        """-(log p_flow(x) - D ln(n_bins)) / (D ln 2)."""
        dimensions = np.prod(images_uint8.shape[1:])
        return -self.log_prob(images_uint8, noise) / (dimensions * np.log(2.0))

    def latents(self, images_uint8: npt.NDArray[np.uint8], noise: npt.NDArray[np.floating]) -> list[Array]:
        """The whitened latents eps = (z - mean) / std of every split, the finest first, and of the top, the last."""
        return self.encode(self._pixels(images_uint8, noise))[1]

    def encode(self, x: Array) -> tuple[Array, list[Array]]:
        """log p_flow(x) in nats, and the whitened latents, of dequantized x.

        log p_flow(x) = sum of log|det| of every step + log-density of every leaving half given the half that is kept
        + log-density of what is left at the top.
        """
        log_p = np.zeros(x.shape[0])
        latents = []
        for level in range(self.n_levels):
            x = squeeze(x)
            for step in range(self.n_steps):
                x, log_det = self._step(x, f"levels.{level}.steps.{step}")
                log_p = log_p + log_det
            if level < self.n_levels - 1:
                kept, leaving = halves(x)
                mean, log_std = self._split_prior(kept, level)
                x = kept
            else:
                leaving = x
                mean, log_std = self._top_prior(leaving)
            log_p = log_p + gaussian_log_density(leaving, mean, log_std)
            latents.append((leaving - mean) / np.exp(log_std))
        return log_p, latents

    def _get(self, name: str) -> Array:
        return np.asarray(self.parameters[name]).astype(np.float64)

    def _pixels(self, images_uint8: npt.NDArray[np.uint8], noise: npt.NDArray[np.floating]) -> Array:
        if images_uint8.dtype != np.uint8 or images_uint8.ndim != 4:
            raise ValueError(f"images must be (B, C, H, W) uint8, got {images_uint8.shape} {images_uint8.dtype}")
        if noise.shape != images_uint8.shape or np.any(noise < 0.0) or np.any(noise >= 1.0):
            raise ValueError("the noise must have the images' shape and lie in [0, 1)")
        return dequantize(images_uint8, noise, self.n_bits)

    def _step(self, x: Array, name: str) -> tuple[Array, Array]:
        """ActNorm, then the 1x1 convolution, then the coupling."""
        x, log_det_actnorm = actnorm(x, self._get(f"{name}.actnorm.bias"), self._get(f"{name}.actnorm.logs"))
        x, log_det_permutation = self._permute(x, f"{name}.permutation")
        x, log_det_coupling = self._couple(x, f"{name}.coupling.conditioner")
        return x, log_det_actnorm + log_det_permutation + log_det_coupling

    def _permute(self, x: Array, name: str) -> tuple[Array, Array]:
        """y = W x at each pixel, log|det| = H * W * log|det W|; or y[c] = x[index[c]], log|det| = 0.

        log|det W| = sum(log_s) in the LU form; that of a full W is computed from W.
        """
        batch, channels, height, width = x.shape
        if self.permutation in ("shuffle", "reverse"):
            index = self._get(f"{name}.index").astype(np.int64)
            if sorted(index.tolist()) != list(range(channels)):
                raise ValueError(f"{name}.index is not a permutation of {channels} channels")
            y = np.empty(x.shape)
            for c in range(channels):
                y[:, c] = x[:, index[c]]
            return y, np.zeros(batch)
        if self.permutation == "lu":
            p, lower, upper = self._get(f"{name}.p"), self._get(f"{name}.lower"), self._get(f"{name}.upper")
            log_s, sign = self._get(f"{name}.log_s"), self._get(f"{name}.sign")
            matrix = lu_matrix(p, lower, upper, log_s, sign)
            log_det_matrix = np.sum(log_s)
        else:
            matrix = self._get(f"{name}.weight")
            log_det_matrix = np.linalg.slogdet(matrix)[1]
        return multiply_pixels(x, matrix), np.full(batch, height * width * log_det_matrix)

    def _couple(self, x: Array, name: str) -> tuple[Array, Array]:
        """y1 = x1, h = net(x1), and y = concat(y1, y2).

        Affine: shift = h[0::2], raw = h[1::2], y2 = (x2 + shift) * s, log|det| = sum(log s), where s is
        sigmoid(raw + 2) ("sigmoid") or exp(2 tanh(raw / 2)) ("bounded"). Additive: y2 = x2 + h, log|det| = 0.
        """
        x1, x2 = halves(x)
        h = self._conditioner(x1, name)
        if self.coupling == "additive":
            y2 = x2 + h
            log_det = np.zeros(x.shape[0])
        else:
            shift, raw = interleaved(h)
            log_s = log_sigmoid(raw + 2.0) if self.scale == "sigmoid" else 2.0 * np.tanh(raw / 2.0)
            y2 = (x2 + shift) * np.exp(log_s)
            log_det = sum_per_image(log_s)
        if y2.shape != x2.shape:
            raise ValueError(f"{name}.conv3 gives {h.shape[1]} channels for {x2.shape[1]}")
        return np.concatenate([x1, y2], axis=1), log_det

    def _conditioner(self, x: Array, name: str) -> Array:
        """3x3 convolution -> actnorm -> relu -> 1x1 convolution -> actnorm -> relu -> 3x3 zero convolution."""
        h = relu(self._convolution(x, f"{name}.conv1", self.border))
        h = relu(self._convolution(h, f"{name}.conv2", False))
        return self._convolution(h, f"{name}.conv3", self.border)

    def _convolution(self, x: Array, name: str, border: bool) -> Array:
        """(conv(x) + bias) * exp(3 logs)."""
        h = convolve(x, self._get(f"{name}.weight"), self._get(f"{name}.border") if border else None)
        return (h + per_channel(self._get(f"{name}.bias"))) * np.exp(3.0 * per_channel(self._get(f"{name}.logs")))

    def _split_prior(self, kept: Array, level: int) -> tuple[Array, Array]:
        """h = zero convolution of the kept half; mean = h[0::2], log_std = h[1::2]."""
        mean, log_std = interleaved(self._convolution(kept, f"levels.{level}.prior.conv", self.border))
        if mean.shape != kept.shape or log_std.shape != kept.shape:
            raise ValueError(f"levels.{level}.prior.conv must give {2 * kept.shape[1]} channels")
        return mean, log_std

    def _top_prior(self, z: Array) -> tuple[Array, Array]:
        """h = (conv(zeros) + bias) * exp(3 logs); means are the first half of its channels, log-stds the second.

        The convolution's input is zero in every channel but the border's, so the other channels' weights drop out and
        any values may stand for them: zeros, here.
        """
        name = f"levels.{self.n_levels - 1}.prior"
        bias, logs = self._get(f"{name}.bias"), self._get(f"{name}.logs")
        if bias.shape != (2 * z.shape[1],):
            raise ValueError(f"{name}.bias must have {2 * z.shape[1]} channels, got {bias.shape}")
        weight = np.zeros((2 * z.shape[1], z.shape[1], 3, 3))
        h = convolve(np.zeros(z.shape), weight, self._get(f"{name}.border") if self.border else None)
        h = (h + per_channel(bias)) * np.exp(3.0 * per_channel(logs))
        return h[:, : h.shape[1] // 2], h[:, h.shape[1] // 2 :]
