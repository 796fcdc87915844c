"""Measures how fast a configuration trains on this machine, and predicts how long the whole run would take."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from rich.console import Console
from torch import Tensor, nn

from glow_app.build import PRECISIONS, forbid_tf32
from glow_app.config.train import TrainConfig
from glow_app.data.stream import Batch
from glow_app.flows import Flow, initialize
from glow_app.likelihood import dequantize
from glow_app.runtime import distributed
from glow_app.runtime.console import Progress, counting, say
from glow_app.runtime.devices import name_of
from glow_app.training import report
from glow_app.training.begin import make_module
from glow_app.training.clock import Clock
from glow_app.training.ema import WeightAverage
from glow_app.training.fast.compile import compile_flow
from glow_app.training.guards.failures import out_of_memory
from glow_app.training.muon import kernels_of
from glow_app.training.optim import clip_gradients, gradient_norm, make_optimizer
from glow_app.training.trainer import Layout, captures_steps, layout, layout_elsewhere
from glow_app.units import duration

STEPS = 20
"""Number of measured steps."""

WARM_UP = 3
"""Number of steps before, in which memory is allocated, algorithms are chosen and code is generated."""

CLASSES = 10
"""Number of classes assumed for a conditional model, whose data are not read."""


def estimate(config: TrainConfig, console: Console) -> float | None:
    """Trains for 23 steps on made-up images, measures 20, prints the result, and writes no files.

    The cost of a step does not depend on what the images show, and loading from the cache is far faster than training.
    So the images are noise of the right shape, and the data need not be there. Each process measures one device with
    its part of the batch, and rank 0 prints. A machine without the GPU that is asked for, as the login node of a
    cluster, measures nothing: it prints what can be counted.

    Args:
        config: all options.
        console: where to write.

    Returns:
        images per second; None if nothing was measured.

    Raises:
        UserError: there are fewer devices, or they have too little memory.
    """
    if not distributed.is_rank_zero():
        console = Console(quiet=True)
    if config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        _count(config, console)
        return None
    where = layout(config.trainer)
    forbid_tf32()
    torch.manual_seed(config.seed)
    on_gpu = config.trainer.accelerator == "gpu"
    device = torch.device("cuda", distributed.local_rank()) if on_gpu else torch.device("cpu")
    shape = _image_shape(config)
    flow = config.model.build(shape, CLASSES)
    for line in report.intent(config, flow, where.world_size):
        say(console, line)
    n_images = config.trainer.batch_size // where.world_size
    with _out_of_memory_explained(), counting(console, "measuring") as progress:
        images = torch.randint(256, (n_images, *shape), dtype=torch.uint8, device=device)
        seconds = _measure(config, where, flow.to(device), images, progress)
        memory = _peak_gb(device)
    per_second = n_images * where.world_size / seconds
    together = f" of each of {where.world_size} processes, if they lose nothing" if where.world_size > 1 else ""
    say(console, f"measured  {STEPS} steps of {n_images} made-up images on {name_of(device)}{together}")
    say(console, f"speed     {per_second:,.4g} images/s, {seconds:.3g} s a step")
    say(console, f"memory    {memory:.2f} GB at most" + ("" if device.type == "cuda" else " (the whole process)"))
    if config.max_seconds is not None:
        seen = round(config.max_seconds * per_second)
        say(console, f"images    {seen:,} in {config.max_seconds:g} seconds, less what validation and samples take")
    else:
        total = config.max_steps * config.trainer.batch_size * config.trainer.accumulate
        time_taken = duration(total / per_second)
        say(console, f"time      {time_taken} for {total:,} images; validation and samples come on top")
    return per_second


def _count(config: TrainConfig, console: Console) -> None:
    """Prints what is known without a measurement."""
    where = layout_elsewhere(config.trainer)
    with torch.device("meta"):
        flow = config.model.build(_image_shape(config), CLASSES)
    for line in report.intent(config, flow, where.world_size):
        say(console, line)
    gb = bytes_of_parameters(config, flow) / 1e9
    say(
        console,
        f"memory    {gb:.2f} GB on each GPU for parameters, gradients and the optimizer; activations come on top",
    )
    say(console, "measured  nothing, as this machine has no GPU: repeat it on one that has, for speed, time and memory")


def bytes_of_parameters(config: TrainConfig, flow: nn.Module) -> int:
    """Bytes of the parameters, their gradients, the optimizer's moments and, if there are any, averages: float32."""
    n_parameters = sum(parameter.numel() for parameter in flow.parameters())
    n_moments = 2 * n_parameters
    if config.optim.name == "muon":
        n_moments -= sum(kernel.numel() for kernel in kernels_of(flow))  # one moment each
    return 4 * (n_parameters * (2 + (config.optim.ema_decay > 0)) + n_moments)


def _image_shape(config: TrainConfig) -> tuple[int, int, int]:
    height, width = config.data.size
    return getattr(config.data, "channels", 3), height, width


def _measure(config: TrainConfig, where: Layout, flow: Flow, images: Tensor, progress: Progress) -> float:
    """Seconds per step: forward, backward and update."""
    device, n = images.device, len(images)
    labels = torch.arange(n, device=device) % CLASSES
    if not flow.initialized.item():
        initialize(flow, dequantize(images, 0.5, config.data.n_bits), labels if flow.n_classes else None)
    compile_flow(flow, config.trainer.compile)
    precision = PRECISIONS[config.trainer.precision]
    captured = captures_steps(config, where)
    module = make_module(flow.train(), config, where, Clock(config.max_steps, config.max_seconds))
    flow.set_conditioner_dtype(precision)
    optimizer = make_optimizer(flow, config.optim, captured)
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # there is nothing to learn from noise, and a run begins near 0 too
    average = WeightAverage(config.optim.ema_decay) if config.optim.ema_decay else None
    if average:
        average.follow(flow)
    start = 0.0
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            start = _now(device)
        positions = torch.arange(n, device=device) + step * n
        module.training_loss(Batch(images, positions, labels)).backward()
        module.on_after_backward()
        norm = gradient_norm(optimizer)  # every run computes it
        if config.optim.clip_norm is not None:
            clip_gradients(optimizer, config.optim.clip_norm, norm)
        optimizer.step()
        optimizer.zero_grad()
        if average:
            average.update(step + 1)
        progress(step + 1, WARM_UP + STEPS)
    return (_now(device) - start) / STEPS


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _peak_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


@contextmanager
def _out_of_memory_explained() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if (explanation := out_of_memory(error)) is None:
            raise
        raise explanation from error
