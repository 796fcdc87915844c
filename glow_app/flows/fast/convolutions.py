"""Scaled convolutions with ReLUs in between: the output and explicit gradients.

A layer computes ``y = conv(x, s w) + s (border map + bias)`` with ``s = exp(3 logs)`` per output channel. Autograd
would compute the same gradients; explicit ones need fewer passes over the large activations: a ReLU's gradient
overwrites the incoming one, the border channel's needs only the pixels at the edge, and the scales' gradients are
computed from those of the small weights.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from glow_app.flows.pixel_affine import LOGS_FACTOR


class Layer(NamedTuple):
    """The parameters of one convolution.

    Attributes:
        weight: (out, in, k, k), with k = 1 or 3.
        border: (out, 1, 3, 3), the kernels of the border channel; None without one.
        bias: (out,).
        logs: (out,), the log-scales divided by 3.
    """

    weight: Tensor
    border: Tensor | None
    bias: Tensor
    logs: Tensor


def convolutions(x: Tensor, layers: Sequence[Layer]) -> Tensor:
    """Applies ``layers`` in order, with a ReLU between two: stride 1, zero padding that keeps the size.

    Args:
        x: (B, in, H, W); everything is computed in its dtype, with weights that are scaled in their own.
        layers: the parameters.

    Returns:
        (B, out, H, W), in the memory format channels_last.
    """
    return cast(Tensor, _Convolutions.apply(x, *(parameter for layer in layers for parameter in layer)))


class Folded(NamedTuple):
    """A layer with its scale multiplied in, for images of one size.

    Attributes:
        weight: (out, in, k, k), in the dtype of the convolution.
        bias: (out,), or, with a border channel, the bias at every pixel (1, out, H, W).
    """

    weight: Tensor
    bias: Tensor


def fold(layer: Layer, scale: Tensor, height: int, width: int, dtype: torch.dtype) -> Folded:
    """Computes ``s w`` and ``s (border map + bias)`` with ``s = scale``, (out,)."""
    if layer.border is None:
        bias = layer.bias * scale
    else:
        around = frame(height, width, layer.border).around
        edge = torch.addmm(layer.bias, around, layer.border.flatten(1).T).mul_(scale)
        bias = edge.view(1, height, width, -1).permute(0, 3, 1, 2)
    return Folded(_scaled(layer.weight, scale, dtype), bias.to(dtype))


def convolved(x: Tensor, layer: Folded) -> Tensor:
    """Computes the output of one layer for ``x``, channels_last, without gradients."""
    padding = layer.weight.shape[-1] // 2
    if layer.bias.dim() == 1:
        return F.conv2d(x, layer.weight, layer.bias, padding=padding)
    y = F.conv2d(x, layer.weight, padding=padding)
    # torch 2.11: a compiled function whose output was changed in place has no gradients.
    return y + layer.bias if torch.compiler.is_compiling() else y.add_(layer.bias)


def border_map(kernel: Tensor, height: int, width: int) -> Tensor:
    """The border channel's part of a 3x3 convolution: its kernels applied to a frame of ones around zeros.

    Args:
        kernel: (out, 1, 3, 3), the weights of the border channel.
        height: rows of the image.
        width: columns of the image.

    Returns:
        (1, out, height, width), zero except along the edge.
    """
    # Permuted, so that the gradient has the memory format of the kernel.
    flat = kernel.permute(0, 2, 3, 1).flatten(1)
    return (flat @ frame(height, width, kernel).around.T).unflatten(1, (height, width))[None]


class Saved(NamedTuple):
    """Tensors saved for backward, besides the parameters.

    Attributes:
        inputs: input of each layer; where it is 0, the ReLU before it passes no gradient.
        scales: scale of each layer, (out,).
    """

    inputs: list[Tensor]
    scales: list[Tensor]


def run(x: Tensor, layers: Sequence[Layer]) -> tuple[Tensor, Saved]:
    """Computes the output of :func:`convolutions`, without a graph, and saves what :func:`differentiate` needs."""
    x = x.contiguous(memory_format=torch.channels_last)
    saved = Saved([], [])
    for layer in layers:
        if saved.inputs:
            x = x.relu_()
        saved.inputs.append(x)
        saved.scales.append(torch.exp(LOGS_FACTOR * layer.logs))
        x = convolved(x, fold(layer, saved.scales[-1], *x.shape[2:], x.dtype))
    return x, saved


def differentiate(
    saved: Saved, layers: Sequence[Layer], grad: Tensor, wants_x: bool = True
) -> tuple[Tensor | None, list[Tensor | None]]:
    """Computes the gradients, given that of the output.

    Args:
        saved: tensors saved by :func:`run`.
        layers: as passed to :func:`run`.
        grad: (B, out, H, W), in the dtype of the output.
        wants_x: whether the gradient with respect to ``x`` is needed.

    Returns:
        The gradient with respect to ``x``, and those with respect to the parameters of all layers, in order.
    """
    grad = grad.contiguous(memory_format=torch.channels_last)
    gradients: list[Tensor | None] = []
    for number in range(len(layers) - 1, -1, -1):
        x = saved.inputs[number]
        grad_x, layer_gradients = _backpropagate(x, layers[number], saved.scales[number], grad, wants_x or number > 0)
        gradients[:0] = layer_gradients
        if number:
            # In place: nothing else holds this gradient.
            torch.ops.aten.threshold_backward.grad_input(grad_x, x, 0, grad_input=grad_x)
        grad = grad_x
    return (grad if wants_x else None), gradients


class _Convolutions(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor | None) -> Tensor:
        y, saved = run(x, _layers(parameters))
        ctx.save_for_backward(*saved.inputs, *saved.scales, *parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        tensors = ctx.saved_tensors  # read once: checkpointing allows no second read
        n = len(tensors) // (2 + len(Layer._fields))
        saved, layers = Saved(list(tensors[:n]), list(tensors[n : 2 * n])), _layers(tensors[2 * n :])
        grad_x, gradients = differentiate(saved, layers, grad, ctx.needs_input_grad[0])
        return grad_x, *gradients


def _layers(parameters: Sequence[Any]) -> list[Layer]:
    size = len(Layer._fields)
    return [Layer(*parameters[start : start + size]) for start in range(0, len(parameters), size)]


def _backpropagate(
    x: Tensor, layer: Layer, scale: Tensor, grad: Tensor, wants_x: bool
) -> tuple[Any, tuple[Tensor | None, ...]]:
    """Computes the gradients of ``x`` (None unless wanted) and of the parameters, given that of the layer's output."""
    weight = _scaled(layer.weight, scale, x.dtype)
    padding = [weight.shape[-1] // 2] * 2
    mask = [wants_x, True, False]
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [1, 1], padding, [1, 1], False, [0, 0], 1, mask
    )
    grad_weight = in_memory_format_of(grad_weight.to(scale.dtype) * scale.view(-1, 1, 1, 1), layer.weight)
    grad_logs = (grad_weight * layer.weight).sum((1, 2, 3))
    # Torch sums bfloat16 in float32 anyway; with dtype=torch.float32 it would copy the tensor first.
    grad_bias = grad.sum((0, 2, 3)).to(scale.dtype).mul_(scale)
    grad_border = None
    if layer.border is not None:
        edges = frame(x.shape[2], x.shape[3], scale)
        at_edges = pixels(grad).flatten(1, 2).index_select(1, edges.edge).sum(0, dtype=scale.dtype)
        grad_border = (at_edges.T @ edges.around_edge).mul_(scale.view(-1, 1))
        grad_border = grad_border.view(-1, 3, 3, 1).permute(0, 3, 1, 2)
        grad_logs += (grad_border * layer.border).sum((1, 2, 3))
    grad_logs.addcmul_(grad_bias, layer.bias).mul_(LOGS_FACTOR)
    return grad_x if wants_x else None, (grad_weight, grad_border, grad_bias, grad_logs)


def in_memory_format_of(grad: Tensor, parameter: Tensor) -> Tensor:
    """Returns ``grad`` in the memory format of its parameter: data parallelism would have to copy any other."""
    return grad if grad.stride() == parameter.stride() else torch.empty_like(parameter).copy_(grad)


def _scaled(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Computes ``s w``; recomputed in backward, since saving it would be a second copy of the model."""
    return (weight * scale.view(-1, 1, 1, 1)).to(dtype)


class Frame(NamedTuple):
    """The border channel, 1 outside the image and 0 inside, as 3x3 patches.

    Attributes:
        around: (H * W, 9), the patch around each pixel.
        edge: int64, indices of the pixels at the edge: the patches of all others are 0.
        around_edge: ``around[edge]``.
    """

    around: Tensor
    edge: Tensor
    around_edge: Tensor


_FRAMES: dict[tuple[int, int, torch.dtype, torch.device], Frame] = {}


def frame(height: int, width: int, like: Tensor) -> Frame:
    """Returns the cached frame of images of this size, in the dtype and on the device of ``like``."""
    key = height, width, like.dtype, like.device
    if torch.compiler.is_compiling():
        return _make_frame(*key)  # traced tensors must not be cached
    if key not in _FRAMES:
        with torch.inference_mode(False):  # training needs it too, even if inference creates it
            _FRAMES[key] = _make_frame(*key)
    return _FRAMES[key]


def _make_frame(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Frame:
    inside = torch.zeros(height, width, dtype=dtype, device=device)
    around = F.pad(inside, (1, 1, 1, 1), value=1.0).unfold(0, 3, 1).unfold(1, 3, 1).reshape(height * width, 9)
    numbers = torch.arange(height * width, device=device).view(height, width)
    middle = numbers[1:-1]
    # The last row and column, unless they are also the first.
    sides = numbers[:1], numbers[1:][-1:], middle[:, :1], middle[:, 1:][:, -1:]
    edge = torch.cat([side.flatten() for side in sides])
    return Frame(around, edge, around[edge])


def pixels(x: Tensor) -> Tensor:
    """Returns (B, C, H, W) as (B, H, W, C), the memory order of channels_last."""
    return x.permute(0, 2, 3, 1)


def channels_first(x: Tensor) -> Tensor:
    """Returns (B, H, W, C) as (B, C, H, W), in the memory format channels_last."""
    return x.permute(0, 3, 1, 2)
