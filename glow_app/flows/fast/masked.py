"""Masked linear layers in inference: the mask is applied once, for many batches."""

import torch
from torch import Tensor
from torch.nn import functional as F

from glow_app.flows.family.made import MaskedLinear
from glow_app.flows.fast.cache import WhileUnchanged
from glow_app.flows.fast.faster import Faster


class FastMaskedLinear(Faster, MaskedLinear):
    """A masked linear layer whose masked weights are kept: for few samples, to mask them takes most of the time."""

    kept = ("_masked",)
    _masked: WhileUnchanged[Tensor]

    def forward(self, input: Tensor) -> Tensor:
        if self.training or torch.is_grad_enabled():
            return super().forward(input)
        weight = self._masked((self.weight,), input.dtype, lambda: self.masked_weight().to(input.dtype))
        return F.linear(input, weight, self.bias.to(input.dtype))
