"""Muon: momentum whose update is orthogonalised, for kernels of convolutions; Adam for all other parameters."""

# pyright: reportPrivateImportUsage=false
# torch._foreach_* is how torch's own optimizers update all parameters in a few launches; it has no public name.

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adam import adam

from glow_app.flows.conditioner import ScaledConv2d

MOMENTUM = 0.95
"""``mu``, as published."""

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""``a, b, c`` of the quintic ``a x + b x^3 + c x^5``, which moves singular values towards 1."""

N_ITERATIONS = 5
"""Iterations after which singular values are between about 0.7 and 1.2, which is near enough."""


class Muon(Optimizer):
    """Muon for kernels, Adam for the rest.

    A kernel (out, in, k, k) is a matrix (a, b) with ``a = out`` and ``b = in k^2``:

        m = mu m + (1 - mu) g,   u = mu m + (1 - mu) g,   w = w - lr * 0.2 sqrt(max(a, b)) * orthogonalize(u)

    An update has the root mean square of a typical one of Adam's, 0.2 lr, so both take the same learning rate. As
    :class:`torch.optim.Muon` with ``adjust_lr_fn="match_rms_adamw"`` and without weight decay, which takes matrices
    only, one after the other: here all kernels of one shape are orthogonalised at once. Jordan et al. 2024, "Muon: an
    optimizer for hidden layers in neural networks"; the scale is that of Liu et al. 2025, sec. 2.2.

    Args:
        params: all parameters.
        kernels: those of them, of two dimensions or more, whose updates are orthogonalised.
        lr: learning rate.
        betas: (beta1, beta2) of Adam.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        kernels: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float],
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas})
        self._kernels = {id(kernel) for kernel in kernels}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if kernels := [p for p in params if id(p) in self._kernels]:
                self._update_kernels(kernels, group["lr"])
            if others := [p for p in params if id(p) not in self._kernels]:
                self._update_others(others, group["lr"], group["betas"])
        return loss

    def _update_kernels(self, params: list[nn.Parameter], lr: float) -> None:
        gradients = [cast(Tensor, p.grad) for p in params]
        means = [self._of(p, "momentum") for p in params]
        torch._foreach_lerp_(means, gradients, 1 - MOMENTUM)
        updates = torch._foreach_lerp(gradients, means, MOMENTUM)
        alike: dict[torch.Size, list[int]] = {}
        for number, update in enumerate(updates):
            alike.setdefault(update.shape, []).append(number)
        for shape, numbers in alike.items():
            matrices = torch.stack([updates[number].flatten(1) for number in numbers])
            scaled = orthogonalize(matrices) * (lr * 0.2 * max(matrices.shape[1:]) ** 0.5)
            torch._foreach_sub_([params[number] for number in numbers], list(scaled.view(-1, *shape)))

    def _update_others(self, params: list[nn.Parameter], lr: float, betas: tuple[float, float]) -> None:
        adam(
            cast(list[Tensor], params),
            [cast(Tensor, p.grad) for p in params],
            *([self._of(p, name) for p in params] for name in ("exp_avg", "exp_avg_sq")),
            max_exp_avg_sqs=[],
            state_steps=[self._of(p, "step") for p in params],
            fused=True,
            amsgrad=False,
            beta1=betas[0],
            beta2=betas[1],
            lr=lr,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def _of(self, parameter: nn.Parameter, name: str) -> Tensor:
        state = self.state[parameter]
        if name not in state:
            state[name] = (
                torch.zeros((), device=parameter.device)
                if name == "step"
                else torch.zeros_like(parameter, memory_format=torch.preserve_format)
            )
        return state[name]


def orthogonalize(matrices: Tensor) -> Tensor:
    """About the nearest orthogonal matrices, by Newton and Schulz's iteration in bfloat16: (N, a, b), float32.

    ``U V^T`` of the singular value decomposition ``U S V^T``, with singular values that are only near 1.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if is_tall else matrices).bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(N_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).to(matrices.dtype)


def kernels_of(flow: nn.Module) -> list[nn.Parameter]:
    """The kernels of all convolutions but weight-normalised ones: of Glow's conditioners and of its splits.

    Matrices of linear layers are not among them: a matrix of ``a`` columns takes ``5 a`` products of its own size, a
    convolution of a batch as many as it has pixels, a linear layer only as many as there are images.
    """
    layers = [module for module in flow.modules() if isinstance(module, ScaledConv2d | nn.Conv2d)]
    return [layer.get_parameter("weight") for layer in layers]
