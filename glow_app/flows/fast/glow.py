"""Steps of flow with ActNorm and 1x1 convolution fused to one map, computed for all steps of a level at once."""

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor

from glow_app.flows.bijection import Bijection, Chain, gradients
from glow_app.flows.fast import matmul
from glow_app.flows.fast.cache import WhileUnchanged, parameters_of
from glow_app.flows.fast.conditioner import FastConvNet
from glow_app.flows.fast.coupling import FastAdditiveCoupling, FastAffineCoupling
from glow_app.flows.fast.faster import Faster
from glow_app.flows.fast.matmul import Matrices
from glow_app.flows.fast.pixel_affine import PixelMap, inverse_map, joint_map
from glow_app.flows.glow import FlowStep
from glow_app.flows.memory import run
from glow_app.flows.pixel_affine import log_determinant, multiply


class FastFlowStep(Faster, FlowStep):
    """A step that fuses ActNorm and permutation to one map, whose inverse is cached until a parameter changes."""

    kept = ("_inverse",)
    _inverse: WhileUnchanged[tuple[Tensor, Tensor]]

    def forward(
        self, x: Tensor, cond: Tensor | None = None, mixing: PixelMap | None = None, matrices: Matrices | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns ``z`` and the log-determinant, without that of ``mixing`` if it is given.

        ``mixing`` is the precomputed fused map of ActNorm and permutation; ``matrices`` are the conditioner's.
        """
        if mixing is not None:
            return self.coupling(mixing.transform(x), cond, *([] if matrices is None else [matrices]))
        y, fused_logdet = self._fused(x)
        z, coupling_logdet = self.coupling(y, cond)
        return z, fused_logdet + coupling_logdet

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        y = self.coupling.inverse(z, cond)
        solve = partial(inverse_map, self.actnorm, self.permutation, z.dtype)
        if self.training or torch.is_grad_enabled():
            matrix, bias = solve()
        else:
            matrix, bias = self._inverse(parameters_of(self.actnorm, self.permutation), z.dtype, solve)
        return multiply(matrix, y, bias)

    def backpropagate(
        self, z: Tensor, grad_z: Tensor, grad_logdet: Tensor, cond: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[Tensor, Tensor]]:
        y, grad_y, coupling_gradients = self.coupling.backpropagate(z, grad_z, grad_logdet, cond)
        with torch.no_grad():
            matrix, bias = inverse_map(self.actnorm, self.permutation, y.dtype)
            x = multiply(matrix, y, bias)
        parameters = [*self.actnorm.parameters(), *self.permutation.parameters()]
        grad_x, fused_gradients = gradients(self._fused, x, grad_y, grad_logdet, parameters)
        return x, grad_x, coupling_gradients | fused_gradients

    def _fused(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Applies ActNorm and permutation as one map."""
        (fused,) = joint_map([self.actnorm], [self.permutation]).unbind()
        return fused(x)


class FastChain(Faster, Chain):
    """A chain that computes the fused maps of its steps at once, if all are steps of flow of one kind."""

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        steps = self.steps
        if (self.memory == "reversible" and torch.is_grad_enabled()) or not _are_alike(steps):
            return super().forward(x, cond)
        steps = cast(list[FastFlowStep], steps)
        fused = joint_map([step.actnorm for step in steps], [step.permutation for step in steps])
        matrices = _joint_matrices(steps, x)
        calls = [
            partial(step, mixing=step_map, matrices=step_matrices)
            for step, step_map, step_matrices in zip(steps, fused.unbind(), matrices, strict=True)
        ]
        z, logdet = run(calls, x, cond, self.memory)
        return z, logdet + log_determinant(fused.logdet.sum(), x)


def _are_alike(steps: Sequence[Bijection]) -> bool:
    """Returns whether all are steps of flow with the same kind of permutation and number of channels."""
    if not all(isinstance(step, FastFlowStep) for step in steps):
        return False
    kinds = {(type(step.permutation), len(step.actnorm.bias)) for step in cast(Sequence[FastFlowStep], steps)}
    return len(kinds) == 1


def _joint_matrices(steps: Sequence[FastFlowStep], x: Tensor) -> Sequence[Matrices | None]:
    """Packs the conditioners' matrices if they run on a GPU with gradients; otherwise returns None for each step."""
    if not (torch.is_grad_enabled() and matmul.suit(x)):
        return [None] * len(steps)
    couplings = [
        step.coupling for step in steps if isinstance(step.coupling, FastAffineCoupling | FastAdditiveCoupling)
    ]
    nets = [coupling.conditioner for coupling in couplings if isinstance(coupling.conditioner, FastConvNet)]
    if len(nets) < len(steps):  # a custom conditioner, which accepts no matrices
        return [None] * len(steps)
    layers = [net.layers() for net in nets]
    return matmul.joint_matrices(layers, *x.shape[2:], dtype=nets[0].compute_dtype or x.dtype).unbind()
