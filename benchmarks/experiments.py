"""What the experiments in conf/experiment/ need of a GPU's memory: computed from counted allocations.

    python -m benchmarks.experiments

No GPU is used. What a training step of the experiment's model has live at most, beyond weights and gradients, is
counted (benchmarks/allocations.py) for one image and for two at K = 2 and K = 4, in float32 on a CPU, and continued in
a straight line to the experiment's K and batch. To it are added 4 bytes per parameter each for weights and gradients, 4
more for the sum of gradients if captured steps (trainer.cuda_graph) are accumulated, 8 for the optimizer and 4 for
averaged weights; and what a GPU multiplies with (glow_app/flows/fast/matmul.py), all of it and twice that of the
largest level, for its gradients.
Not in it: libraries, workspaces and fragmentation; so an experiment is sized to 70% of its GPU's memory. With
trainer.precision=bf16 less is needed than this.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from benchmarks.allocations import activation_bytes
from benchmarks.report import CONSOLE
from benchmarks.shapes import faces
from glow_app.cli import conf_folder
from glow_app.config.check import check
from glow_app.config.model import GlowConfig
from glow_app.config.train import TrainConfig
from glow_app.flows import initialize
from glow_app.flows.fast import matmul
from glow_app.flows.glow import Level
from glow_app.training.trainer import Layout, captures_steps

CPU = torch.device("cpu")
MODES = ("plain", "checkpoint", "reversible")
DEPTHS = (2, 4)


def experiments() -> dict[str, TrainConfig]:
    """Every experiment with a Glow, as composed."""
    found = {}
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        for path in sorted((conf_folder() / "experiment").glob("*.yaml")):
            composed = compose("train", overrides=[f"experiment={path.stem}"])
            if OmegaConf.is_missing(composed.data, "root"):
                composed.data.root = "/data"
            if composed.model.name == "glow" and isinstance(composed.model.n_steps, int):  # K by level is for a CPU
                found[path.stem] = check(composed, TrainConfig)
    return found


def counted(model: GlowConfig, size: int, memory: str, n_steps: int, batch: int) -> int:
    """Bytes of a forward and backward pass beyond weights and gradients."""
    torch.manual_seed(0)
    flow = replace(model, memory=memory, n_steps=n_steps).build((3, size, size), 0).train()
    images = faces(4, size, CPU)
    initialize(flow, images)

    def task() -> None:
        flow.log_prob(images[:batch]).mean().backward()

    task()  # gradients exist
    flow.zero_grad()
    return activation_bytes(task, flow)


def per_image(model: GlowConfig, size: int, memory: str) -> tuple[float, float]:
    """Bytes at the model's K that each image adds, and those that none adds."""
    bytes_of = {(k, b): counted(model, size, memory, k, b) for k in DEPTHS for b in (1, 2)}
    low, high = DEPTHS

    def at_depth(batch: int) -> float:
        slope = (bytes_of[high, batch] - bytes_of[low, batch]) / (high - low)
        return bytes_of[high, batch] + slope * (model.n_steps - high)

    one, two = at_depth(1), at_depth(2)
    return two - one, 2 * one - two


def matrices(model: GlowConfig, size: int) -> int:
    """Bytes of what a GPU makes of the conditioners' weights, and of its gradients; none with ``reversible``."""
    if model.memory == "reversible":
        return 0
    with torch.device("meta"):
        flow = model.build((3, size, size), 0)
        of_levels = []
        for number, level in enumerate(cast(list[Level], list(flow.levels)), start=1):
            nets = [step.coupling.conditioner.layers() for step in cast(list[Any], level.steps.steps)]
            found = matmul.joint_matrices(nets, size >> number, size >> number, torch.float32)
            of_levels.append(sum(matrix.nbytes for matrix in found))
    return sum(of_levels) + 2 * max(of_levels)


def main() -> None:
    """Prints a table and writes results/experiments.json."""
    torch.set_num_threads(1)
    known: dict[tuple, dict[str, tuple[float, float]]] = {}
    rows = {}
    for name, config in experiments().items():
        model, size = config.model, config.data.side
        assert isinstance(model, GlowConfig)
        key = (size, model.n_levels, model.n_steps, model.width, model.coupling)
        if key not in known:
            known[key] = {memory: per_image(model, size, memory) for memory in MODES}
        n_parameters = sum(p.numel() for p in model.build((3, size, size), 0).parameters())
        summed = config.trainer.accumulate > 1 and captures_steps(config, Layout(devices=1, machines=1))
        state = n_parameters * (4 + 4 + 8 + 4 * summed + (4 if config.optim.ema_decay else 0))
        each, fixed = known[key][model.memory]
        fixed += matrices(model, size)
        rows[name] = {
            "parameters": n_parameters,
            "memory": model.memory,
            "batch_size": config.trainer.batch_size,
            "total_gb": round((state + fixed + each * config.trainer.batch_size) / 1e9, 2),
            "state_gb": round(state / 1e9, 2),
            "per_image_gb": {memory: round(known[key][memory][0] / 1e9, 4) for memory in MODES},
        }
        CONSOLE.print(name, rows[name])
    path = Path(__file__).parent / "results" / "experiments.json"
    path.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
