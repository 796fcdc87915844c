"""What speed and memory cost in exactness: bits/dim under bfloat16 conditioners, gradients of the three memory modes.

    python -m benchmarks.accuracy

A model of K = 32 steps per level and bounded scales is trained for some hundred steps on drawn faces, so that nothing
in it is the identity any more. Then: how far bfloat16 conditioners move the bits/dim of new faces, with the same noise;
and how far float32 gradients are from those of the same model in float64, relative to the largest entry of each
parameter's gradient, for plain autograd, checkpoint and reversible.
"""

import copy
import math
from dataclasses import dataclass
from statistics import median, quantiles

import torch
from rich.table import Table
from torch import Tensor

from benchmarks import report
from benchmarks.shapes import faces
from benchmarks.timing import Requirement
from glow_app.flows import Chain, Glow, initialize
from glow_app.flows.fast import accelerate
from glow_app.flows.memory import MEMORY_MODES

STEPS, BATCH, NEW = 300, 32, 256
LEARNING_RATE = 1e-3
N_LEVELS, N_STEPS, WIDTH, SIZE = 3, 32, 32, 32


@dataclass(frozen=True)
class Trained:
    """A model, and faces that it has not seen."""

    flow: Glow
    new: Tensor


def train(device: torch.device) -> Trained:
    """Some hundred updates by Adam, seeded."""
    torch.manual_seed(0)
    images = faces(BATCH * 32 + NEW, SIZE, device)
    seen, new = images[:-NEW], images[-NEW:]
    flow = accelerate(Glow((3, SIZE, SIZE), N_LEVELS, N_STEPS, WIDTH)).to(device)
    initialize(flow, seen[:64])
    optimizer = torch.optim.Adam(flow.parameters(), lr=LEARNING_RATE)
    for step in range(STEPS):
        batch = seen[torch.randint(len(seen), (BATCH,), device=device)]
        optimizer.zero_grad()
        loss = bits_per_dim(flow, batch).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 100.0)
        optimizer.step()
        if step % 100 == 99:
            report.CONSOLE.print(f"step {step + 1}: {loss.item():.3f} bits/dim")
    return Trained(flow, new)


def bits_per_dim(flow: Glow, x: Tensor) -> Tensor:
    """Of dequantized 8-bit images, (B,)."""
    return 8 - flow.log_prob(x) / (flow.n_dims * math.log(2))


@torch.no_grad()
def moved_by_bfloat16(trained: Trained) -> float:
    """Mean bits/dim of the new faces with bfloat16 conditioners, minus that without."""
    found = []
    for dtype in (None, torch.bfloat16):
        trained.flow.set_conditioner_dtype(dtype)
        found.append(
            torch.cat([bits_per_dim(trained.flow, x) for x in trained.new.split(BATCH)]).double().mean().item()
        )
    trained.flow.set_conditioner_dtype(None)
    return found[1] - found[0]


def gradient_errors(trained: Trained) -> dict[str, float]:
    """The error of a gradient's worst entry, relative to the largest, for each mode.

    The median over all parameters, then the lower quartile over batches: where the input of a ReLU is 0 up to rounding,
    the two precisions may disagree on whether it lets the gradient pass, and all gradients of such a batch are off by
    up to a part in a thousand. About half of the batches have one, so that their median would be decided by chance.
    """
    found: dict[str, list[float]] = {memory: [] for memory in MEMORY_MODES}
    for x in trained.new.split(8):
        exact = gradients(copy.deepcopy(trained.flow).double(), x.double(), "plain")
        for memory, errors in found.items():
            pairs = zip(gradients(copy.deepcopy(trained.flow), x, memory), exact, strict=True)
            errors.append(
                median(((g.double() - e).abs().max() / e.abs().max().clamp(min=1e-12)).item() for g, e in pairs)
            )
    return {memory: quantiles(errors, n=4)[0] for memory, errors in found.items()}


def gradients(flow: Glow, x: Tensor, memory: str) -> list[Tensor]:
    """Of the mean bits/dim, with respect to all parameters."""
    for module in flow.modules():
        if isinstance(module, Chain):
            module.memory = memory
    return list(torch.autograd.grad(bits_per_dim(flow.train(), x).mean(), list(flow.parameters())))


def main() -> None:
    """Measures, prints a table, and writes accuracy.json."""
    arguments = report.parser(__doc__).parse_args()
    facts = report.start(arguments)
    trained = train(arguments.device)
    moved, errors = moved_by_bfloat16(trained), gradient_errors(trained)
    table = Table("", "measured", "must", "aim", box=None, title="exactness", title_justify="left")
    bf16 = Requirement("bits/dim moved by bfloat16 conditioners", 0.002, 0.0005)
    table.add_row(bf16.what, f"{moved:+.5f}", f"{bf16.must:g}", f"{bf16.aim:g}")
    for memory, error in errors.items():
        bound = f"{2 * errors['plain']:.1e}" if memory == "reversible" else ""
        table.add_row(f"gradient error in float32, {memory}", f"{error:.1e}", bound, "")
    report.CONSOLE.print(table)
    model = {"n_levels": N_LEVELS, "n_steps": N_STEPS, "width": WIDTH, "size": SIZE, "training_steps": STEPS}
    content = {"machine": facts, "model": model, "bits_per_dim_moved_by_bf16": moved, "gradient_error": errors}
    report.write(report.file(arguments.output, "accuracy", arguments.device, ".json"), content)


if __name__ == "__main__":
    main()
