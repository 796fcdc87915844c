"""Steps of flow whose ActNorm and 1x1 convolution are one map, assembled for all steps of a level at once."""

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
    """A step whose ActNorm and permutation are one map, inverted once as long as no parameter changes."""

    kept = ("_inverse",)
    _inverse: WhileUnchanged[tuple[Tensor, Tensor]]

    def forward(
        self, x: Tensor, cond: Tensor | None = None, mixing: PixelMap | None = None, matrices: Matrices | None = None
    ) -> tuple[Tensor, Tensor]:
        """As every bijection; the log-determinant of ``mixing``, if ActNorm and permutation are assembled already, is
        counted where that was done. ``matrices`` are the conditioner's.
        """
        if mixing is not None:
            return self.coupling(mixing.transform(x), cond, *([] if matrices is None else [matrices]))
        y, mixing_logdet = self._mixing(x)
        z, coupling_logdet = self.coupling(y, cond)
        return z, mixing_logdet + coupling_logdet

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
        y, grad_y, of_coupling = self.coupling.backpropagate(z, grad_z, grad_logdet, cond)
        with torch.no_grad():
            matrix, bias = inverse_map(self.actnorm, self.permutation, y.dtype)
            x = multiply(matrix, y, bias)
        mixing = [*self.actnorm.parameters(), *self.permutation.parameters()]
        grad_x, of_mixing = gradients(self._mixing, x, grad_y, grad_logdet, mixing)
        return x, grad_x, of_coupling | of_mixing

    def _mixing(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """ActNorm and permutation."""
        (mixing,) = joint_map([self.actnorm], [self.permutation]).unbind()
        return mixing(x)


class FastChain(Faster, Chain):
    """A chain whose steps, if all are steps of flow of one kind, are assembled from their factors all at once."""

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        steps = self.steps
        if (self.memory == "reversible" and torch.is_grad_enabled()) or not _are_alike(steps):
            return super().forward(x, cond)
        steps = cast(list[FastFlowStep], steps)
        mixings = joint_map([step.actnorm for step in steps], [step.permutation for step in steps])
        matrices = _joint_matrices(steps, x)
        ready = [
            partial(step, mixing=mixing, matrices=of_step)
            for step, mixing, of_step in zip(steps, mixings.unbind(), matrices, strict=True)
        ]
        z, logdet = run(ready, x, cond, self.memory)
        return z, logdet + log_determinant(mixings.logdet.sum(), x)


def _are_alike(steps: Sequence[Bijection]) -> bool:
    """Whether all are steps of flow with the same kind of permutation of as many channels."""
    if not all(isinstance(step, FastFlowStep) for step in steps):
        return False
    kinds = {(type(step.permutation), len(step.actnorm.bias)) for step in cast(Sequence[FastFlowStep], steps)}
    return len(kinds) == 1


def _joint_matrices(steps: Sequence[FastFlowStep], x: Tensor) -> Sequence[Matrices | None]:
    """Of the conditioners, where they run on a GPU and are differentiated."""
    if not (torch.is_grad_enabled() and matmul.suit(x)):
        return [None] * len(steps)
    couplings = [
        step.coupling for step in steps if isinstance(step.coupling, FastAffineCoupling | FastAdditiveCoupling)
    ]
    nets = [coupling.conditioner for coupling in couplings if isinstance(coupling.conditioner, FastConvNet)]
    if len(nets) < len(steps):  # one of somebody's own, which takes no matrices
        return [None] * len(steps)
    layers = [net.layers() for net in nets]
    return matmul.joint_matrices(layers, *x.shape[2:], dtype=nets[0].compute_dtype or x.dtype).unbind()
