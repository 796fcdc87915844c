"""Inspects a flow on one batch: where values cease to be finite, and how small scales become."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from glow_app.data.stream import Batch
from glow_app.flows import VAE
from glow_app.flows.coupling import AffineCoupling
from glow_app.flows.family.batchnorm import alone
from glow_app.flows.family.made import MaskedAutoregressive
from glow_app.flows.family.marginal import MarginalGaussianization
from glow_app.flows.family.masked import MaskedCoupling
from glow_app.flows.family.mintnet import MintLayer
from glow_app.likelihood import dequantize
from glow_app.training.module import GlowModule

SCALING = (AffineCoupling, MarginalGaussianization, MaskedAutoregressive, MaskedCoupling, MintLayer)
"""Layers that scale by their input."""

NAMED = 4
"""Largest number of sample positions or parameters that are listed; the others are counted."""


def examine(module: GlowModule, batch: Batch) -> list[str]:
    """Computes ``batch`` again, forward and backward, and returns a line for each thing that is not finite.

    The numbers are the same, since noise is a function of the position. Gradients are those of this batch, before they
    are averaged over ranks or accumulated.
    """
    # Before a validation, gradients are already off.
    with torch.inference_mode(False), torch.enable_grad(), torch.compiler.set_stance("force_eager"), alone():
        bits = module.bits_per_dim(batch)
        bad = ~torch.isfinite(bits.detach())
        if bad.any():
            layer = _first_not_finite(module, batch)
            return [f"samples at positions {_named(batch.positions[bad].tolist())}: not finite from {layer} on"]
        named = dict(module.flow.named_parameters())
        gradients = torch.autograd.grad(bits.mean(), list(named.values()), allow_unused=True)
    bad_ones = [name for name, g in zip(named, gradients, strict=True) if g is not None and not torch.isfinite(g).all()]
    if not bad_ones:
        return []
    positions = f"{batch.positions.min().item()} to {batch.positions.max().item()}"
    return [f"samples at positions {positions}: gradient not finite of {_named(bad_ones)}"]


def smallest_scale(module: GlowModule, batch: Batch, n: int) -> Tensor | None:
    """The smallest scale of layers that scale by their input, on the first ``n`` images; None without."""
    smallest: list[Tensor] = []

    def look(name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(layer, SCALING):
            smallest.append(layer.scales(inputs[0]).amin())

    few = Batch(*(None if part is None else part[:n] for part in batch))  # type: ignore[arg-type]
    with torch.no_grad(), torch.compiler.set_stance("force_eager"), alone(), _looking_at(module.flow, look):
        module.bits_per_dim(few)
    return torch.stack(smallest).amin() if smallest else None


@torch.no_grad()
def _first_not_finite(module: GlowModule, batch: Batch) -> str:
    """The first layer or parameter whose values are not finite."""
    for name, parameter in module.flow.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"the parameter {name}"
    x = dequantize(batch.images, module.noise(batch), module.n_bits)
    if not torch.isfinite(x).all():
        return "the dequantized images"
    found: list[str] = []

    def look(name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        if not all(torch.isfinite(tensor).all() for tensor in _tensors(output)):
            found.append(f"{name} ({getattr(layer, 'kind', type(layer).__name__)})")

    with _looking_at(module.flow, look):
        if isinstance(module.flow, VAE):
            module.bits_per_dim(batch)
        else:
            module.flow.decompose(x, module.cond(batch.labels))  # layer by layer: nothing is fused
    return found[0] if found else "the likelihood"


@contextmanager
def _looking_at(flow: nn.Module, look: Any) -> Iterator[None]:
    """Calls ``look(name, layer, inputs, output)`` after every layer inside the context."""
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, output, name=name: look(name, layer, inputs, output))
        for name, layer in flow.named_modules()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _named(items: list[Any]) -> str:
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return ", ".join(map(str, items[:NAMED])) + more
