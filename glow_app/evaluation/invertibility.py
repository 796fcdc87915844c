"""The accuracy of a trained flow's inverse: reconstructions, and the conditioning of 1x1 convolutions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.data.source import ImageSource
from glow_app.evaluation.likelihood import batches
from glow_app.flows import Flow
from glow_app.flows.pixel_affine import FullInvConv1x1, InvConv1x1
from glow_app.flows.search import inverse_or_nan
from glow_app.likelihood import dequantize, inner_noise, is_reconstructed
from glow_app.runtime import distributed
from glow_app.runtime.console import Progress
from glow_app.units import Bits, quantization_bits


@dataclass(frozen=True)
class Reconstruction:
    """Errors of images that are encoded and decoded again.

    Attributes:
        exact: bool (N,): whether an image is reconstructed, see :func:`glow_app.likelihood.is_reconstructed`.
        largest: float64 (N,): largest error of an image before quantization, in grey levels (``x`` times ``n_bins``;
            ``x`` itself for points); not finite if the inverse is not.
        mean: float64 (N,): mean absolute error of an image, in the same unit.
    """

    exact: Tensor
    largest: Tensor
    mean: Tensor


@torch.no_grad()
def reconstruct(
    flow: Flow,
    source: ImageSource,
    indices: Sequence[int],
    n_bits: Bits,
    seed: int,
    batch_size: int,
    workers: int = 0,
    progress: Progress = lambda done, total: None,
    noise: Callable[[Tensor, int, Tensor], Tensor] = inner_noise,
) -> Reconstruction:
    """Encodes and decodes images in the flow's dtype, and measures the errors.

    The arguments are those of :func:`glow_app.evaluation.likelihood.measure_likelihood`, and ``noise``, a function of
    :mod:`glow_app.likelihood`. Of :func:`~glow_app.likelihood.dequantization_noise` some is so near to the border of
    its bin that rounding moves it across.
    """
    rows: list[Tensor] = []
    for batch in batches(flow, source, distributed.shard(indices), seed, batch_size, workers, progress):
        x = dequantize(batch.images, noise(batch.images, seed, batch.positions), n_bits)
        reconstructed = inverse_or_nan(flow, flow(x, batch.labels)[0], batch.labels)
        error = (reconstructed - x).abs().flatten(1).double() * 2 ** quantization_bits(n_bits)
        exact = is_reconstructed(reconstructed, batch.images, n_bits)
        rows.append(torch.stack([exact.double(), error.amax(1), error.mean(1)], 1).cpu())
    exact, largest, mean = distributed.gather_shards(torch.cat([torch.empty(0, 3), *rows])).unbind(1)
    return Reconstruction(exact.bool(), largest, mean)


@dataclass(frozen=True)
class Conditioning:
    """The conditioning of one 1x1 convolution W.

    Attributes:
        name: name of the layer.
        condition: largest singular value of W over the smallest: errors grow by at most this.
        round_trip: largest entry of ``|W^-1 W - I|`` with both in float32.
    """

    name: str
    condition: float
    round_trip: float


@torch.no_grad()
def conditioning(flow: Flow) -> list[Conditioning]:
    """Measures all 1x1 convolutions of a flow; empty if its channels are only permuted."""
    found: list[Conditioning] = []
    for name, layer in flow.named_modules():
        if isinstance(layer, InvConv1x1 | FullInvConv1x1):
            matrix, _ = layer.matrix()
            inverse = layer.inverse_matrix()
            values = torch.linalg.svdvals(matrix.double())
            off = inverse.to(matrix.dtype) @ matrix - torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
            found.append(Conditioning(name, (values.max() / values.min()).item(), off.abs().max().item()))
    return found
