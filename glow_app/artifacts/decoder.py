"""The decoder, from latents to images, as a module and as one file for other programs.

The file has ``torch.export``'s format or ONNX, and is checked against the model. The inverse of each step's ActNorm and
1x1 convolution is precomputed in float64: the file contains no factorisation, only products, convolutions and the
couplings' arithmetic.
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
from glow_app.flows import CNF, VAE, Bijection, Flow
from glow_app.flows.fast import reference
from glow_app.flows.fast.pixel_affine import inverse_map
from glow_app.flows.glow import FlowStep, Level
from glow_app.runtime.atomic import write_atomically

CHECKED_IMAGES = (1, 3)
"""Sizes of the batches that are decoded by the file and by the model."""

TOLERANCE = 1e-4
"""Largest difference in ``x`` that counts as the same: a fortieth of a grey level of 256."""


class _StepBack(nn.Module):
    """The inverse of a :class:`~glow_app.flows.glow.FlowStep` with its fused 1x1 map precomputed."""

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
    """The inverse of any other level."""

    def __init__(self, level: Bijection) -> None:
        super().__init__()
        self.level = level

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return self.level.inverse(z, labels)


class Decoder(nn.Module):
    """``Flow.inverse`` for any number of images.

    The inputs are latents, finest first, and labels if the model has classes. The output ``x`` is (B, C, H, W) in
    [-1/2, 1/2), up to errors of the model; a pixel is ``floor((x + 1/2) 2**n_bits)``.

    Args:
        flow: trained flow; its parameters are shared, not copied.
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
    """Writes a ``.pt2`` file, and returns the largest difference from the model in ``x``.

    Its inputs are the latents, finest first, as one list, and then the labels, int64 (B,), of a conditional model.

    Raises:
        UserError: the disk refuses, the file differs from the model, or the model decodes number after number or by a
            search.
    """
    content = io.BytesIO()
    torch.export.save(_program(flow), content)
    write_atomically(path, lambda file: file.write(content.getvalue()))
    loaded = torch.export.load(path).module()
    return _checked(flow, loaded, path)


def save_onnx(flow: Flow, path: Path) -> float:
    """Writes an ``.onnx`` file, and returns the largest difference from the model in ``x``.

    Its inputs are ``latent_1`` (finest) ... and, with classes, ``label``; its output is ``x``.

    Raises:
        UserError: as :func:`save_torch`, or the packages of the extra ``onnx`` are missing.
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
    if flow.decodes_in_turn:
        raise UserError(
            f"this {flow.kind} decodes {flow.n_dims:,} numbers one after the other, or a few at a time, and a file "
            "would hold each of these steps: leave out format=, which exports the model for glow_app"
        )
    if isinstance(flow, VAE):
        raise UserError(
            "a VAE decodes to a distribution of pixels, and these files hold decoders of flows: leave out format=, "
            "which exports the model for glow_app"
        )
    if isinstance(flow, CNF):
        raise UserError(
            f"this {flow.kind} decodes by a solver, which a file cannot hold: leave out format=, which exports the "
            "model for glow_app"
        )
    if flow.decodes_by_search:
        raise UserError(
            f"this {flow.kind} decodes by a search, which a file cannot hold: leave out format=, which exports the "
            "model for glow_app"
        )
    # A copy of reference layers in the contiguous memory format: the file must not depend on what is fast here.
    decoder = Decoder(reference(copy.deepcopy(flow)).cpu()).to(memory_format=torch.contiguous_format).eval()
    for parameter in decoder.parameters():
        parameter.requires_grad_(False)
    batch = torch.export.Dim("batch")
    latents, *labels = _inputs(flow, 2, 1.0, seed=0)
    dynamic = ([{0: batch}] * len(latents), *({0: batch} for _ in labels))
    with torch.no_grad():
        return torch.export.export(decoder, (latents, *labels), dynamic_shapes=dynamic)


def _inputs(flow: Flow, n: int, temperature: float, seed: int) -> tuple[Any, ...]:
    """Inputs of a decoder of ``flow`` for ``n`` images: latents, and labels if there are classes."""
    labels = [torch.arange(n) % flow.n_classes] if flow.n_classes else []
    return flow.sample_latents(n, temperature, seed), *labels


@torch.no_grad()
def _checked(flow: Flow, decode: Callable[..., Tensor], path: Path) -> float:
    batches = [_inputs(flow, n, 0.7, seed=1) for n in CHECKED_IMAGES]
    differences = [(decode(*inputs) - flow.inverse(*inputs)).abs().max() for inputs in batches]
    worst = torch.stack(differences).max().item()  # NaN if one of them is NaN
    if not worst <= TOLERANCE:
        raise UserError(f"{path} differs from the model by {worst:.2g} in x, more than {TOLERANCE:g}: do not use it")
    return worst
