"""The data-dependent initialisation: one explicit pass, before the first step of training and never again."""

from typing import cast

import torch
from torch import Tensor

from glow_app.flows.bijection import Bijection
from glow_app.flows.flow import Flow


@torch.no_grad()
def initialize(flow: Flow, x: Tensor, cond: Tensor | None = None) -> None:
    """Sets every ActNorm of ``flow`` such that its output over the batch ``x`` has mean 0 and standard deviation 1.

    Done layer by layer, each on what the layers before it, already initialised, make of ``x``. Several processes that
    train one model must all pass the same ``x``. Kingma & Dhariwal 2018, sec. 3.1.

    Args:
        flow: a model that has not been initialised.
        x: (B, C, H, W) dequantized training images; as published 256 of them at 32x32, and (32/H)^2 of that at larger.
        cond: int64 (B,) class labels of a conditional model.

    Raises:
        RuntimeError: the model is initialised already (initialising again would throw training away).
        ValueError: a channel is constant over the batch.
    """
    if flow.initialized.item():
        raise RuntimeError(f"this {flow.kind} is already initialised")
    flow._check_shape(x)
    for level in flow.levels:
        # Half of the channels goes on; after the last level nothing does.
        x = cast(Bijection, level).initialize(x, cond).chunk(2, 1)[0]
    flow.initialized.fill_(1)
