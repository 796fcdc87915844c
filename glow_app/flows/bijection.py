"""The interface of every layer of a flow, and chains of layers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor, nn

from glow_app.flows.memory import CHECK_EVERY, MEMORY_MODES, run, run_reversible


class Bijection(nn.Module, ABC):
    """An invertible map of images, x <-> z, with the log-determinant of its Jacobian.

    ``x`` and ``z`` are (B, C, H, W) in the trunk's dtype (float32, or float64 in tests). ``cond`` is an optional
    condition of the layer; in Glow it holds int64 (B,) class labels, and most layers ignore it.
    """

    @abstractmethod
    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns ``z`` and, per sample, ``logdet = log|det dz/dx|``: (B,), in nats, in the dtype of ``x``."""

    @abstractmethod
    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        """Returns the ``x`` with ``forward(x, cond)[0] == z``, up to rounding."""

    def inverse_with_logdet(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns ``inverse(z)`` and ``log|det dx/dz|``, (B,); overridden where it takes no ``forward`` besides."""
        x = self.inverse(z, cond)
        return x, -self(x, cond)[1]

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Initialises data-dependent parameters from the activations ``x``, and returns ``z``.

        Called once, without gradients, by :func:`glow_app.flows.initialize.initialize`.
        """
        return self(x, cond)[0]

    def backpropagate(
        self, z: Tensor, grad_z: Tensor, grad_logdet: Tensor, cond: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[Tensor, Tensor]]:
        """Computes the input and gradients from the output: see ``reversible`` in :mod:`glow_app.flows.memory`.

        Args:
            z: output of ``forward``.
            grad_z: gradient of the loss with respect to ``z``.
            grad_logdet: gradient with respect to the log-determinant, (B,).
            cond: as passed to ``forward``.

        Returns:
            ``x`` up to rounding, its gradient, and those of the parameters and, if it requires one, of ``cond``.
        """
        with torch.no_grad():
            x = self.inverse(z, cond)
        others = [*self.parameters(), *([] if cond is None else [cond])]
        return x, *gradients(lambda x: self(x, cond), x, grad_z, grad_logdet, others)

    def decompose(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns ``z`` and the log-determinant (B,) of each kind of layer inside, by name; their sum is ``logdet``."""
        z, logdet = self(x, cond)
        return z, {self.kind: logdet}

    @property
    def kind(self) -> str:
        """The name of the class."""
        return type(self).__name__


class Chain(Bijection):
    """Bijections one after the other: ``z = f_K(... f_1(x))``; the log-determinants add up.

    Args:
        steps: the bijections, in the order in which ``forward`` applies them.
        memory: how training stores activations for the gradient; see :mod:`glow_app.flows.memory`.
        anchor_every: steps between two states that ``reversible`` stores.
    """

    def __init__(self, steps: Iterable[Bijection], memory: str = "plain", anchor_every: int = 32) -> None:
        super().__init__()
        if memory not in MEMORY_MODES:
            raise ValueError(f"memory is {memory!r}; choose one of {', '.join(MEMORY_MODES)}")
        for number, step in enumerate(steps):
            self.add_module(str(number), step)
        self.memory = memory
        self.anchor_every = anchor_every
        self._passes = 0

    @property
    def steps(self) -> list[Bijection]:
        """The bijections, in the order in which ``forward`` applies them."""
        return cast(list[Bijection], list(self.children()))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.memory != "reversible" or not torch.is_grad_enabled():
            return run(self.steps, x, cond, self.memory)
        check = self._passes % CHECK_EVERY == 0
        self._passes += 1
        return run_reversible(self.steps, x, cond, self.anchor_every, check)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        for step in reversed(self.steps):
            z = step.inverse(z, cond)
        return z

    def inverse_with_logdet(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return run([step.inverse_with_logdet for step in reversed(self.steps)], z, cond, self.memory)

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        for step in self.steps:
            x = step.initialize(x, cond)
        return x

    def decompose(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        return decompose_in_turn(self.steps, x, cond)


def decompose_in_turn(layers: Iterable[Bijection], x: Tensor, cond: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
    """Applies :meth:`Bijection.decompose` to layers in turn; log-determinants of the same kind are summed."""
    total: dict[str, Tensor] = {}
    for layer in layers:
        x, parts = layer.decompose(x, cond)
        for kind, logdet in parts.items():
            total[kind] = total[kind] + logdet if kind in total else logdet
    return x, total


def gradients(
    function: Callable[[Tensor], tuple[Tensor, Tensor]],
    x: Tensor,
    grad_z: Tensor,
    grad_logdet: Tensor,
    others: Iterable[Tensor],
) -> tuple[Tensor, dict[Tensor, Tensor]]:
    """Computes the gradients of ``x`` and of ``others`` that require one, given those of ``function(x)``."""
    wanted = [other for other in others if other.requires_grad]
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        outputs = function(x)
    # A constant log-determinant has no graph.
    connected = [(o, g) for o, g in zip(outputs, (grad_z, grad_logdet), strict=True) if o.requires_grad]
    found = torch.autograd.grad(
        [o for o, _ in connected], [x, *wanted], [g for _, g in connected], allow_unused=True, materialize_grads=True
    )
    return found[0], dict(zip(wanted, found[1:], strict=True))


def deinterleave(output: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the even and the odd channels of (B, 2C, H, W), as views: two times (B, C, H, W)."""
    even, odd = output.unflatten(1, (-1, 2)).unbind(2)
    return even, odd


def sum_per_sample(values: Tensor) -> Tensor:
    """Sums (B, ...) over everything but the batch: (B,)."""
    return values.sum(tuple(range(1, values.dim())))


def zero_logdet(x: Tensor) -> Tensor:
    """The log-determinant of a volume-preserving map: zeros (B,)."""
    return torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
