"""The decoder as one file for other programs: ``torch.export``'s format, or ONNX; each is checked against the model."""

import copy
import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glow_app.artifacts.decoder import Decoder
from glow_app.errors import UserError
from glow_app.flows import Flow
from glow_app.flows.fast import reference
from glow_app.runtime.atomic import write_durably

CHECKED_IMAGES = (1, 3)
"""Batches that are decoded by the file and by the model."""

TOLERANCE = 1e-4
"""Largest difference in ``x`` that counts as the same: a fortieth of a grey level of 256."""


def save_torch(flow: Flow, path: Path) -> float:
    """Writes a ``.pt2`` file, and gives the largest difference from the model in ``x``.

    It takes the latents, finest first, as one list, and after it the labels, int64 (B,), of a conditional model.

    Raises:
        UserError: the disk refuses, or the file computes something else.
    """
    content = io.BytesIO()
    torch.export.save(_program(flow), content)
    write_durably(path, lambda file: file.write(content.getvalue()))
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
    write_durably(path, lambda file: file.write(content))
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
