"""Scaled convolutions with ReLUs in between: the output and, written out, the gradients.

A layer computes ``y = conv(x, s w) + s (border map + bias)`` with ``s = exp(3 logs)`` per output channel. Autograd
would find the same gradients; written out they take fewer passes over the activations, which are large: a ReLU's
gradient overwrites the one that came in, bias and border channel share one sum over the batch, taken in the order in
which the numbers lie, and the scales' gradients come from those of the weights, which are small.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from glow_app.flows.pixel_affine import LOGS_FACTOR


class Layer(NamedTuple):
    """What one convolution learns.

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
    """``s w`` and ``s (border map + bias)`` with ``s = scale``, (out,)."""
    if layer.border is None:
        bias = layer.bias * scale
    else:
        around = frame(height, width, layer.border).around
        edge = torch.addmm(layer.bias, around, layer.border.flatten(1).T).mul_(scale)
        bias = edge.view(1, height, width, -1).permute(0, 3, 1, 2)
    return Folded(_scaled(layer.weight, scale, dtype), bias.to(dtype))


def convolved(x: Tensor, layer: Folded) -> Tensor:
    """The output of one layer for ``x``, channels_last, without gradients."""
    padding = layer.weight.shape[-1] // 2
    if layer.bias.dim() == 1:
        return F.conv2d(x, layer.weight, layer.bias, padding=padding)
    y = F.conv2d(x, layer.weight, padding=padding)
    # Compiled by torch 2.11, a function whose output was changed in place has no gradients.
    return y + layer.bias if torch.compiler.is_compiling() else y.add_(layer.bias)


def border_map(kernel: Tensor, height: int, width: int) -> Tensor:
    """What the border channel contributes to a 3x3 convolution: its kernels applied to a frame of ones around zeros.

    Args:
        kernel: (out, 1, 3, 3), the weights that the border channel has.
        height: rows of the image.
        width: columns of the image.

    Returns:
        (1, out, height, width), zero except along the edge.
    """
    # Through a permutation, so that the gradient has the memory format of the kernel.
    flat = kernel.permute(0, 2, 3, 1).flatten(1)
    return (flat @ frame(height, width, kernel).around.T).unflatten(1, (height, width))[None]


class Saved(NamedTuple):
    """What the gradients need besides the parameters.

    Attributes:
        inputs: of each layer; where one is 0, the ReLU before it lets no gradient pass.
        scales: of each layer, (out,).
    """

    inputs: list[Tensor]
    scales: list[Tensor]


def run(x: Tensor, layers: Sequence[Layer]) -> tuple[Tensor, Saved]:
    """The output of :func:`convolutions`, without a graph, and what :func:`differentiate` needs."""
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
    """The gradients, given that of the output.

    Args:
        saved: by :func:`run`.
        layers: that it was given.
        grad: (B, out, H, W), in the dtype of the output.
        wants_x: whether the gradient with respect to ``x`` is needed.

    Returns:
        The gradient with respect to ``x``, and those to the parameters of all layers, in order.
    """
    grad = grad.contiguous(memory_format=torch.channels_last)
    of_layers: list[Tensor | None] = []
    for number in range(len(layers) - 1, -1, -1):
        x = saved.inputs[number]
        grad_x, of_layer = _backpropagate(x, layers[number], saved.scales[number], grad, wants_x or number > 0)
        of_layers[:0] = of_layer
        if number:
            # In place: nothing else holds this gradient.
            torch.ops.aten.threshold_backward.grad_input(grad_x, x, 0, grad_input=grad_x)
        grad = grad_x
    return (grad if wants_x else None), of_layers


class _Convolutions(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor | None) -> Tensor:
        y, saved = run(x, _layers(parameters))
        ctx.save_for_backward(*saved.inputs, *saved.scales, *parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        tensors = ctx.saved_tensors  # read once: checkpointing hands them out only once
        n = len(tensors) // (2 + len(Layer._fields))
        saved, layers = Saved(list(tensors[:n]), list(tensors[n : 2 * n])), _layers(tensors[2 * n :])
        grad_x, of_layers = differentiate(saved, layers, grad, ctx.needs_input_grad[0])
        return grad_x, *of_layers


def _layers(parameters: Sequence[Any]) -> list[Layer]:
    size = len(Layer._fields)
    return [Layer(*parameters[start : start + size]) for start in range(0, len(parameters), size)]


def _backpropagate(
    x: Tensor, layer: Layer, scale: Tensor, grad: Tensor, wants_x: bool
) -> tuple[Any, tuple[Tensor | None, ...]]:
    """Gradients with respect to ``x``, None unless wanted, and to the parameters, given that of the layer's output."""
    weight = _scaled(layer.weight, scale, x.dtype)
    padding = [weight.shape[-1] // 2] * 2
    mask = [wants_x, True, False]
    grad_x, of_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [1, 1], padding, [1, 1], False, [0, 0], 1, mask
    )
    of_weight = in_memory_format_of(of_weight.to(scale.dtype) * scale.view(-1, 1, 1, 1), layer.weight)
    of_logs = (of_weight * layer.weight).sum((1, 2, 3))
    # Torch adds up bfloat16 numbers in float32 anyway; told to sum in float32, it would copy all of them first.
    of_bias = grad.sum((0, 2, 3)).to(scale.dtype).mul_(scale)
    of_border = None
    if layer.border is not None:
        edges = frame(x.shape[2], x.shape[3], scale)
        at_edges = pixels(grad).flatten(1, 2).index_select(1, edges.edge).sum(0, dtype=scale.dtype)
        of_border = (at_edges.T @ edges.around_edge).mul_(scale.view(-1, 1))
        of_border = of_border.view(-1, 3, 3, 1).permute(0, 3, 1, 2)
        of_logs += (of_border * layer.border).sum((1, 2, 3))
    of_logs.addcmul_(of_bias, layer.bias).mul_(LOGS_FACTOR)
    return grad_x if wants_x else None, (of_weight, of_border, of_bias, of_logs)


def in_memory_format_of(grad: Tensor, parameter: Tensor) -> Tensor:
    """``grad``, in the memory format of its parameter: data parallelism would have to copy any other."""
    return grad if grad.stride() == parameter.stride() else torch.empty_like(parameter).copy_(grad)


def _scaled(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """``s w``. Made again for the gradient rather than saved, which would be a second copy of the model."""
    return (weight * scale.view(-1, 1, 1, 1)).to(dtype)


class Frame(NamedTuple):
    """The border channel, 1 outside of the image and 0 inside, as the pixels of an image see it.

    Attributes:
        around: (H * W, 9), the 3x3 surroundings of each pixel.
        edge: int64, numbers of the pixels at the edge: the others see nothing of it.
        around_edge: ``around[edge]``.
    """

    around: Tensor
    edge: Tensor
    around_edge: Tensor


_FRAMES: dict[tuple[int, int, torch.dtype, torch.device], Frame] = {}


def frame(height: int, width: int, like: Tensor) -> Frame:
    """That of images of this size, in the dtype and on the device of ``like``: made once for each."""
    key = height, width, like.dtype, like.device
    if torch.compiler.is_compiling():
        return _make_frame(*key)  # what is being traced is not to be kept
    if key not in _FRAMES:
        with torch.inference_mode(False):  # used in training too, whatever needs it first
            _FRAMES[key] = _make_frame(*key)
    return _FRAMES[key]


def _make_frame(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Frame:
    inside = torch.zeros(height, width, dtype=dtype, device=device)
    around = F.pad(inside, (1, 1, 1, 1), value=1.0).unfold(0, 3, 1).unfold(1, 3, 1).reshape(height * width, 9)
    numbers = torch.arange(height * width, device=device).view(height, width)
    middle = numbers[1:-1]
    # The last row and column where they are not the first as well.
    sides = numbers[:1], numbers[1:][-1:], middle[:, :1], middle[:, 1:][:, -1:]
    edge = torch.cat([side.flatten() for side in sides])
    return Frame(around, edge, around[edge])


def pixels(x: Tensor) -> Tensor:
    """(B, C, H, W) as (B, H, W, C), the order in which the numbers lie."""
    return x.permute(0, 2, 3, 1)


def channels_first(x: Tensor) -> Tensor:
    """(B, H, W, C) as (B, C, H, W), in the memory format channels_last."""
    return x.permute(0, 3, 1, 2)
