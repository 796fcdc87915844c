"""The data-dependent initialisation: one explicit pass, once, before the first training update."""

from typing import cast

import torch
from torch import Tensor

from glow_app.flows.bijection import Bijection
from glow_app.flows.flow import Flow


@torch.no_grad()
def initialize(flow: Flow, x: Tensor, cond: Tensor | None = None) -> None:
    """Sets every ActNorm of ``flow`` so that its output over the batch ``x`` has mean 0 and standard deviation 1.

    Layers are initialised in order, each on the output of the layers before it. All processes that train one model
    must pass the same ``x``. Kingma & Dhariwal 2018, sec. 3.1.

    Args:
        flow: a model that has not been initialised.
        x: (B, C, H, W) dequantized training images; published: 256 at 32x32, 256 (32/H)^2 at larger sizes.
        cond: int64 (B,) class labels of a conditional model.

    Raises:
        RuntimeError: the model is already initialised (doing it again would discard training).
        ValueError: a channel is constant over the batch.
    """
    if flow.initialized.item():
        raise RuntimeError(f"this {flow.kind} is already initialised")
    flow._check_shape(x)
    for level in flow.levels:
        # The first half is the next level's input; after the last level it is not used.
        x = cast(Bijection, level).initialize(x, cond).chunk(2, 1)[0]
    flow.initialized.fill_(1)
