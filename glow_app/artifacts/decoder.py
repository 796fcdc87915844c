"""The decoder on its own: the way back from latents to images, as a module and as one file for other programs.

``torch.export``'s format, or ONNX; each file is checked against the model. The inverse of each step's ActNorm and 1x1
convolution is solved once, in float64, and stored: what is exported holds no factorisation, only products, convolutions
and the couplings' arithmetic.
"""

import copy
import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.errors import UserError
from glow_app.flows import Bijection, Flow
from glow_app.flows.fast import reference
from glow_app.flows.fast.pixel_affine import inverse_map
from glow_app.flows.glow import FlowStep, Level
from glow_app.runtime.atomic import write_atomically

CHECKED_IMAGES = (1, 3)
"""Batches that are decoded by the file and by the model."""

TOLERANCE = 1e-4
"""Largest difference in ``x`` that counts as the same: a fortieth of a grey level of 256."""


class _StepBack(nn.Module):
    """The inverse of a :class:`~glow_app.flows.glow.FlowStep` with its affine map of a pixel stored."""

    matrix: Tensor
    bias: Tensor

    def __init__(self, step: FlowStep) -> None:
        super().__init__()
        matrix, bias = inverse_map(step.actnorm, step.permutation, torch.float32)
        self.register_buffer("matrix", matrix.detach().clone(memory_format=torch.contiguous_format))
        self.register_buffer("bias", bias.detach().clone())
        self.coupling = step.coupling

    def forward(self, z: Tensor) -> Tensor:
        x = self.coupling.inverse(z).permute(0, 2, 3, 1)
        return F.linear(x, self.matrix, self.bias).permute(0, 3, 1, 2)


class _LevelBack(nn.Module):
    """The inverse of a :class:`~glow_app.flows.glow.Level`."""

    def __init__(self, level: Level) -> None:
        super().__init__()
        self.prior = level.prior
        self.steps = nn.ModuleList(_StepBack(cast(FlowStep, step)) for step in reversed(level.steps.steps))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        x = self.prior.inverse(z, labels)
        for step in self.steps:
            x = step(x)
        return F.pixel_shuffle(x, 2)


class _Back(nn.Module):
    """The inverse of any other level, as it is."""

    def __init__(self, level: Bijection) -> None:
        super().__init__()
        self.level = level

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return self.level.inverse(z, labels)


class Decoder(nn.Module):
    """``Flow.inverse`` for any number of images: latents, finest first, and labels if the model has classes, to ``x``.

    ``x`` is (B, C, H, W) in [-1/2, 1/2) up to what the model gets wrong; a pixel is ``floor((x + 1/2) 2**n_bits)``.

    Args:
        flow: trained; its parameters are shared, not copied.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.latent_shapes = flow.latent_shapes
        self.levels = nn.ModuleList(
            _LevelBack(level) if isinstance(level, Level) else _Back(cast(Bijection, level)) for level in flow.levels
        )

    def forward(self, latents: Sequence[Tensor], labels: Tensor | None = None) -> Tensor:
        *finer, x = latents
        x = self.levels[-1](x, labels)
        for level, latent in zip(reversed(self.levels[:-1]), reversed(finer), strict=True):
            x = level(torch.cat([x, latent], 1), labels)
        return x


def save_torch(flow: Flow, path: Path) -> float:
    """Writes a ``.pt2`` file, and gives the largest difference from the model in ``x``.

    It takes the latents, finest first, as one list, and after it the labels, int64 (B,), of a conditional model.

    Raises:
        UserError: the disk refuses, or the file computes something else.
    """
    content = io.BytesIO()
    torch.export.save(_program(flow), content)
    write_atomically(path, lambda file: file.write(content.getvalue()))
    loaded = torch.export.load(path).module()
    return _checked(flow, loaded, path)


def save_onnx(flow: Flow, path: Path) -> float:
    """As :func:`save_torch`, an ``.onnx`` file: inputs ``latent_1`` (finest) ..., with classes ``label``; output ``x``.

    Raises:
        UserError: besides, the packages of the extra ``onnx`` are missing.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch needs it
    except ModuleNotFoundError as error:
        raise UserError(f"format=onnx needs {error.name}: install it with pip install 'glow_app[onnx]'") from error
    names = [f"latent_{level}" for level in range(1, len(flow.latent_shapes) + 1)]
    names += ["label"] if flow.n_classes else []
    program = torch.onnx.export(_program(flow), dynamo=True, input_names=names, output_names=["x"], verbose=False)
    assert program is not None
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "decoder.onnx")
        program.save(str(whole), external_data=False)
        content = whole.read_bytes()
    write_atomically(path, lambda file: file.write(content))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def decode(latents: Sequence[Tensor], *labels: Tensor) -> Tensor:
        inputs = {name: tensor.numpy() for name, tensor in zip(names, [*latents, *labels], strict=True)}
        return torch.from_numpy(session.run(["x"], inputs)[0])

    return _checked(flow, decode, path)


def _program(flow: Flow) -> torch.export.ExportedProgram:
    # A copy, of plain layers in the plain memory format: the file should not depend on what is fast here.
    decoder = Decoder(reference(copy.deepcopy(flow)).cpu()).to(memory_format=torch.contiguous_format).eval()
    for parameter in decoder.parameters():
        parameter.requires_grad_(False)
    batch = torch.export.Dim("batch")
    latents, *labels = _inputs(flow, 2, 1.0, seed=0)
    dynamic = ([{0: batch}] * len(latents), *({0: batch} for _ in labels))
    with torch.no_grad():
        return torch.export.export(decoder, (latents, *labels), dynamic_shapes=dynamic)


def _inputs(flow: Flow, n: int, temperature: float, seed: int) -> tuple[Any, ...]:
    """What a decoder of ``flow`` takes for ``n`` images: latents, and labels if there are classes."""
    labels = [torch.arange(n) % flow.n_classes] if flow.n_classes else []
    return flow.sample_latents(n, temperature, seed), *labels


@torch.no_grad()
def _checked(flow: Flow, decode: Callable[..., Tensor], path: Path) -> float:
    batches = [_inputs(flow, n, 0.7, seed=1) for n in CHECKED_IMAGES]
    differences = [(decode(*inputs) - flow.inverse(*inputs)).abs().max() for inputs in batches]
    worst = torch.stack(differences).max().item()  # not a number if one of them is none
    if not worst <= TOLERANCE:
        raise UserError(f"{path} differs from the model by {worst:.2g} in x, more than {TOLERANCE:g}: do not use it")
    return worst
