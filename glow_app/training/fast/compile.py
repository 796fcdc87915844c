"""``trainer.compile``: generated code for training steps; compiling takes a minute or more before the first one."""

import torch
import torch._dynamo

from glow_app.flows import Chain, Flow

GRAPHS = 64
"""Largest number of compiled versions of a function: steps of all levels share them, and shapes differ by level."""


def compile_flow(flow: Flow, how: str) -> None:
    """Compiles the modules that training calls, in place; parameters keep their names.

    Args:
        flow: an initialised model.
        how: ``none``; ``steps``: each step of a chain by itself; ``full``: everything from images to latents as one.
    """
    if how == "none":
        return
    torch._dynamo.config.recompile_limit = GRAPHS
    flow.check_initialized()  # reads a buffer, which would break the graph
    steps = [step for chain in flow.modules() if isinstance(chain, Chain) for step in chain.steps]
    for module in [flow] if how == "full" else [step for step in steps if not isinstance(step, Chain)]:
        module.compile(dynamic=False)
