"""The published conditioner as matrix products over pixels, with explicit gradients: for training on a GPU.

GPU convolutions are tuned for many input and output channels. These go from few to many and back, for which matrix
products are faster. The first convolution is a product with the 3x3 patches of the image (im2col), extended by those of
the border channel and a 1 for the bias. The last one is a product that computes each pixel's contributions to its nine
neighbours, which are then summed (col2im). Patches and contributions are small, as they have few channels.

Small operations take less time on a GPU than their launches, so weights are scaled and packed for all K steps of a
level at once.

Images are (B, H, W, C) here, the memory order of a channels_last tensor.
"""

# pyright: reportPrivateImportUsage=false

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from glow_app.flows.fast.convolutions import Layer, channels_first, frame, pixels
from glow_app.flows.fast.im2col import col2im, columns, patches
from glow_app.flows.pixel_affine import LOGS_FACTOR

ALIGNED = 8
"""Tensor cores read this many bfloat16 numbers at once: rows of matrices are padded to a multiple."""


class Matrices(NamedTuple):
    """The packed weights of a conditioner; or, with a leading dimension, of each of K conditioners.

    A position is one of the nine entries of a 3x3 kernel. A mirrored kernel is rotated by half a turn, as in the
    gradient of a convolution.

    Attributes:
        first: (width, 9 n_in + 9 + 1 and more), kernels of the channels and of the border channel, the bias, zeros.
        first_bias: (width,), zeros: required by the fused product and ReLU.
        first_mirrored: (width, 9 n_in and more), the mirrored kernels of the channels; without a gradient.
        second: (width, width).
        second_bias: (width,).
        last: (9 n_out and more, width), the channels of each position, zeros; without a gradient.
        last_mirrored: ``last``, mirrored.
        last_bias: (H * W, n_out), bias and border channel of the last convolution at each pixel; (1, n_out) without a
            border channel. In the parameters' dtype; all others have the dtype of the products.
    """

    first: Tensor
    first_bias: Tensor
    first_mirrored: Tensor
    second: Tensor
    second_bias: Tensor
    last: Tensor
    last_mirrored: Tensor
    last_bias: Tensor

    def unbind(self) -> "list[Matrices]":
        """Returns the matrices of each conditioner."""
        return [Matrices(*one) for one in zip(*(tensor.unbind() for tensor in self), strict=True)]


def suit(x: Tensor) -> bool:
    """Returns whether to use matrix products on the device of ``x``."""
    return x.is_cuda


def output(x: Tensor, matrices: Matrices) -> Tensor:
    """Computes the conditioner's output for ``x`` (B, n_in, H, W), with products in the dtype of the matrices.

    Returns:
        (B, n_out, H, W), in the dtype of ``matrices.last_bias``, in the memory format channels_last.
    """
    return cast(Tensor, _Output.apply(x, *matrices))


def joint_matrices(conditioners: Sequence[Sequence[Layer]], height: int, width: int, dtype: torch.dtype) -> Matrices:
    """Packs K conditioners, each of three layers, for images of one size, with products in ``dtype``."""
    parameters = [parameter for layers in conditioners for layer in layers for parameter in layer]
    first, second, second_bias, last_mirrored, last_bias = cast(
        tuple[Tensor, ...], _Joint.apply(len(conditioners), height, width, dtype, *parameters)
    )
    n_in, n_out = conditioners[0][0].weight.shape[1], last_bias.shape[-1]
    first_mirrored = _mirrored(first.detach()[..., : 9 * n_in], n_in, 2)
    last = _mirrored(last_mirrored.detach()[:, : 9 * n_out], n_out, 1)
    first_bias = torch.zeros_like(second_bias)
    return Matrices(
        *(first, first_bias, _aligned(first_mirrored), second, second_bias),
        *(_aligned_rows(last), last_mirrored, last_bias),
    )


class _Output(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *parts: Tensor) -> Tensor:
        matrices = Matrices(*parts)
        x = pixels(x).to(matrices.first.dtype)
        h1 = torch._addmm_activation(matrices.first_bias, columns(x, matrices.first.shape[-1]), matrices.first.T)
        h2 = torch._addmm_activation(matrices.second_bias, h1, matrices.second.T)
        ctx.save_for_backward(x, h1, h2, *parts)
        shape = (*x.shape[:3], matrices.last_bias.shape[-1])
        return channels_first(col2im(_product(h2, matrices.last.T), shape, matrices.last_bias))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, h1, h2, *parts = ctx.saved_tensors
        matrices = Matrices(*parts)
        grad = pixels(grad)
        grad_last_bias = grad[0] if len(grad) == 1 else grad.sum(0)
        grad_last_bias = grad_last_bias.flatten(0, 1).sum_to_size(matrices.last_bias.shape)
        # A pixel's contribution to a neighbour has the gradient of the neighbour.
        around = patches(grad.to(h2.dtype), len(matrices.last))
        grad_2 = _through_relu(around @ matrices.last_mirrored, h2)
        grad_last_mirrored = around.T @ h2
        grad_second_bias = _sum_of_rows(grad_2)
        grad_second = grad_2.T @ h1
        grad_1 = _through_relu(grad_2 @ matrices.second, h1)
        grad_first = grad_1.T @ columns(x, matrices.first.shape[-1])
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = channels_first(col2im(_product(grad_1, matrices.first_mirrored), x.shape))
        return grad_x, grad_first, None, None, grad_second, grad_second_bias, None, grad_last_mirrored, grad_last_bias


def _sum_of_rows(matrix: Tensor) -> Tensor:
    """Sums (n, m) -> (m,) as a product, which is faster on a GPU than a sum that is not compiled."""
    if torch.compiler.is_compiling():
        return matrix.sum(0)
    return matrix.new_ones(ALIGNED, len(matrix)).matmul(matrix)[0]


def _through_relu(grad: Tensor, positive: Tensor) -> Tensor:
    """Keeps the gradient where the ReLU's output is positive; overwrites ``grad``, which nothing else holds."""
    if torch.compiler.is_compiling():
        return torch.where(positive > 0, grad, 0.0)
    return torch.ops.aten.threshold_backward.grad_input(grad, positive, 0, grad_input=grad)


def _mirrored(kernels: Tensor, n_channels: int, dim: int) -> Tensor:
    """Rotates each kernel of ``kernels``, (9 C) along ``dim``, by half a turn."""
    return kernels.unflatten(dim, (9, n_channels)).flip(dim).flatten(dim, dim + 1)


class _Joint(torch.autograd.Function):
    """The parameters of K conditioners -> their stacked :class:`Matrices`, and the gradients back.

    Only matrices and scales are saved. With ``matrix = scale * weight``, a log-scale's gradient is the sum over its row
    of the matrix times its gradient, so the weights are not needed.
    """

    @staticmethod
    def forward(
        ctx: Any, n: int, height: int, width: int, dtype: torch.dtype, *parameters: Tensor | None
    ) -> tuple[Tensor, ...]:
        w1, border1, b1, logs1, w2, _, b2, logs2, w3, border3, b3, logs3 = _stacked(n, parameters)
        scale1, scale2, scale3 = (torch.exp(LOGS_FACTOR * logs) for logs in (logs1, logs2, logs3))
        n_width, n_in = w1.shape[1], w1.shape[2]
        kernels1 = w1.permute(0, 1, 3, 4, 2)
        columns = [kernels1.flatten(2), _or_zeros(border1, kernels1), b1[..., None]]
        first = _aligned(_as(torch.cat(columns, -1) * scale1[..., None], dtype))
        second = _as(w2.flatten(2) * scale2[..., None], dtype)
        second_bias = _as(b2 * scale2, dtype)
        kernels3 = _as(w3.permute(0, 3, 4, 1, 2).flatten(1, 2) * scale3.view(n, 1, -1, 1), dtype)
        last_mirrored = _aligned_rows(kernels3.flip(1).flatten(1, 2))
        last_bias = b3[:, None]
        if border3 is not None:
            last_bias = last_bias + frame(height, width, b3).around @ border3.flatten(2).transpose(1, 2)
        last_bias = last_bias * scale3[:, None]
        ctx.save_for_backward(first, second, second_bias, last_mirrored, last_bias, scale1, scale2, scale3)
        ctx.size = n, n_width, n_in, height, width
        ctx.borders = border1 is not None, border3 is not None
        return first, second, second_bias, last_mirrored, last_bias

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grad_first, grad_second, grad_second_bias, grad_last_mirrored, grad_last_bias = grads
        first, second, second_bias, last_mirrored, last_bias, scale1, scale2, scale3 = ctx.saved_tensors
        n, n_width, n_in, height, width = ctx.size
        with_border1, with_border3 = ctx.borders
        n_out, dtype = scale3.shape[1], scale1.dtype

        kernels, rest = grad_first[..., : 9 * n_in], grad_first[..., 9 * n_in :] * scale1[..., None]
        grad_w1 = _kernels(kernels * scale1[..., None], n_in)
        grad_border1 = _kernels(rest[..., :9].contiguous(), 1) if with_border1 else None
        grad_b1 = rest[..., 9].contiguous()
        grad_logs1 = (grad_first * first).sum(-1, dtype=dtype)

        grad_w2 = (grad_second * scale2[..., None])[:, :, None, None].permute(0, 1, 4, 2, 3)
        grad_b2 = grad_second_bias * scale2
        grad_logs2 = (grad_second * second).sum(-1, dtype=dtype) + grad_second_bias * second_bias

        grad_last_kernels = grad_last_mirrored[:, : 9 * n_out].unflatten(1, (9, n_out))
        grad_w3 = _kernels(grad_last_kernels.flip(1).transpose(1, 2).flatten(2) * scale3[..., None], n_width)
        grad_logs3 = (grad_last_kernels * last_mirrored[:, : 9 * n_out].unflatten(1, (9, n_out))).sum(
            (1, 3), dtype=dtype
        )
        grad_logs3 = grad_logs3 + (grad_last_bias * last_bias).sum(1)
        scaled = grad_last_bias * scale3[:, None]
        grad_b3 = scaled.sum(1)
        grad_border3 = None
        if with_border3:
            grad_border3 = _kernels(scaled.transpose(1, 2) @ frame(height, width, scaled).around, 1)
        grad_logs1, grad_logs2, grad_logs3 = (LOGS_FACTOR * grad for grad in (grad_logs1, grad_logs2, grad_logs3))
        kinds = (
            *(grad_w1, grad_border1, grad_b1, grad_logs1),
            *(grad_w2, None, grad_b2, grad_logs2),
            *(grad_w3, grad_border3, grad_b3, grad_logs3),
        )
        by_conditioner = zip(*(([None] * n if kind is None else kind.unbind()) for kind in kinds), strict=True)
        return None, None, None, None, *(gradient for one in by_conditioner for gradient in one)


def _stacked(n: int, parameters: Sequence[Tensor | None]) -> list[Any]:
    """Stacks each kind of parameter of all ``n`` conditioners; None for a kind that they do not have."""
    n_kinds = len(parameters) // n
    kinds = [parameters[kind::n_kinds] for kind in range(n_kinds)]
    return [None if kind[0] is None else torch.stack(cast(list[Tensor], list(kind))) for kind in kinds]


def _as(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Converts ``x`` to ``dtype``."""
    # torch 2.11: a compiled function whose output is a conversion to the same dtype has no gradients.
    return x if x.dtype == dtype else x.to(dtype)


def _kernels(by_position: Tensor, n_in: int) -> Tensor:
    """Returns (K, out, 9 in) as (K, out, in, 3, 3), in the weights' memory format, so that optimizers need no copy."""
    return by_position.unflatten(2, (3, 3, n_in)).permute(0, 1, 4, 2, 3)


def _or_zeros(border: Tensor | None, like: Tensor) -> Tensor:
    return like.new_zeros(*like.shape[:2], 9) if border is None else border.flatten(2)


def _aligned(matrix: Tensor) -> Tensor:
    """Appends zeros to the rows of ``matrix``."""
    missing = -matrix.shape[-1] % ALIGNED
    return F.pad(matrix, (0, missing)) if missing else matrix


def _aligned_rows(matrix: Tensor) -> Tensor:
    """Appends rows of zeros to ``matrix``."""
    missing = -matrix.shape[-2] % ALIGNED
    return F.pad(matrix, (0, 0, 0, missing)) if missing else matrix


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Computes ``a @ b``; the product of bfloat16 matrices is float32, the dtype of its sums."""
    if a.dtype != torch.bfloat16:
        return a @ b
    return torch.mm(a, b, out_dtype=torch.float32) if a.is_cuda else a.float() @ b.float()
