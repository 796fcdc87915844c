"""Scaled convolutions with ReLUs between them as one operation: packed in inference, with explicit gradients."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from glow_app.flows.conditioner import ConvNet, ScaledConv2d, ZeroConv2d
from glow_app.flows.fast import inference, matmul
from glow_app.flows.fast.cache import WhileUnchanged, parameters_of
from glow_app.flows.fast.convolutions import Layer, convolutions, differentiate, run
from glow_app.flows.fast.faster import Faster
from glow_app.flows.fast.inference import Packed
from glow_app.flows.fast.matmul import Matrices

Gradients = Callable[[Tensor], tuple[Tensor, dict[Tensor, Tensor]]]
"""Maps the gradient of an output to those of the input and of the parameters; called once."""


def layer_of(convolution: ScaledConv2d) -> Layer:
    """Returns the parameters of one convolution."""
    return Layer(convolution.weight, convolution.border, convolution.bias, convolution.logs)


def output(x: Tensor, owners: list[ScaledConv2d], training: bool, packed: WhileUnchanged[Any]) -> Tensor:
    """Applies convolutions in order, with a ReLU between two.

    Args:
        x: (B, in, H, W); everything is computed in its dtype.
        owners: modules with the parameters.
        training: False if weights may be packed once for many batches, as long as no gradient is needed.
        packed: cache of the packed weights.
    """
    if training or torch.is_grad_enabled():
        return convolutions(x, [layer_of(owner) for owner in owners])
    weights = packed(
        parameters_of(*owners), (x.shape[2:], x.dtype), lambda: inference.pack(x, [layer_of(one) for one in owners])
    )
    return inference.multiply(x, weights) if isinstance(weights, Packed) else inference.convolve(x, weights)


class FastZeroConv2d(Faster, ZeroConv2d):
    """A convolution whose weights are packed for inference."""

    kept = ("_packed",)
    _packed: WhileUnchanged[Any]

    def forward(self, x: Tensor) -> Tensor:
        return output(x, [self], self.training, self._packed)


class FastConvNet(Faster, ConvNet):
    """Three convolutions as one operation, or as matrix products if the matrices of K steps are precomputed."""

    kept = ("_packed",)
    _packed: WhileUnchanged[Any]

    def forward(self, x: Tensor, matrices: Matrices | None = None) -> Tensor:
        """Returns the output; ``matrices``, if precomputed, are those of :func:`matmul.joint_matrices`."""
        if matrices is not None:
            return matmul.output(x, matrices)
        h = x.to(self.compute_dtype or x.dtype)
        return output(h, [self.conv1, self.conv2, self.conv3], self.training, self._packed).to(x.dtype)

    def layers(self) -> list[Layer]:
        """Returns the parameters, in the order in which the convolutions are applied."""
        return [layer_of(self.conv1), layer_of(self.conv2), layer_of(self.conv3)]

    @torch.no_grad()
    def with_gradients(self, x: Tensor) -> tuple[Tensor, Gradients]:
        """Returns the output, without a graph, and the function that computes its gradients."""
        layers = self.layers()
        y, saved = run(x.to(self.compute_dtype or x.dtype), layers)

        @torch.no_grad()
        def gradients(grad: Tensor) -> tuple[Tensor, dict[Tensor, Tensor]]:
            grad_x, found = differentiate(saved, layers, grad.to(y.dtype))
            parameters = (parameter for layer in layers for parameter in layer)
            pairs = zip(parameters, found, strict=True)
            return cast(Tensor, grad_x).to(x.dtype), {p: g for p, g in pairs if p is not None and g is not None}

        return y.to(x.dtype), gradients


def with_gradients(network: nn.Module, x: Tensor) -> tuple[Tensor, Gradients]:
    """Returns a conditioner's output, without a graph, and its gradients: for the backward pass of ``reversible``."""
    if isinstance(network, FastConvNet):
        return network.with_gradients(x)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = network(x)

    def gradients(grad: Tensor) -> tuple[Tensor, dict[Tensor, Tensor]]:
        grad_x, *found = torch.autograd.grad(y, [x, *parameters], grad)
        return grad_x, dict(zip(parameters, found, strict=True))

    return y.detach(), gradients
