"""The decoder as a module of its own, and as a file for other programs."""

from pathlib import Path

import pytest
import torch

from glow_app.artifacts.decoder import Decoder, _checked, save_onnx, save_torch
from glow_app.errors import UserError
from tests.flows.models import small_glow


@pytest.mark.parametrize("options", [{}, {"coupling": "additive", "permutation": "shuffle"}, {"permutation": "full"}])
def test_the_decoder_is_the_inverse(options: dict[str, str]) -> None:
    flow = small_glow(dtype=torch.float32, **options)
    latents = flow.sample_latents(5, 0.7, seed=0)
    with torch.no_grad():
        assert torch.allclose(Decoder(flow)(latents), flow.inverse(latents), atol=1e-6)


@pytest.mark.slow
def test_a_file_for_torch(tmp_path: Path) -> None:
    flow = small_glow(dtype=torch.float32, n_steps=1).eval()
    assert save_torch(flow, tmp_path / "decoder.pt2") < 1e-5
    latents = flow.sample_latents(7, 0.7, seed=2)
    again = torch.export.load(tmp_path / "decoder.pt2").module()(latents)
    assert torch.allclose(again, flow.inverse(latents), atol=1e-5)
    assert all(parameter.requires_grad for parameter in flow.parameters())


@pytest.mark.slow
def test_a_file_for_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    flow = small_glow(dtype=torch.float32, n_steps=1).eval()
    assert save_onnx(flow, tmp_path / "decoder.onnx") < 1e-5
    assert [path.name for path in tmp_path.iterdir()] == ["decoder.onnx"]
    conditional = small_glow(dtype=torch.float32, n_steps=1, n_classes=3).eval()
    assert save_onnx(conditional, tmp_path / "decoder.onnx") < 1e-5


def test_a_file_that_computes_something_else_is_told(tmp_path: Path) -> None:
    flow = small_glow(dtype=torch.float32, n_steps=1).eval()
    for wrong in (0.01, float("nan")):
        with pytest.raises(UserError, match=r"differs from the model by .* do not use it"):
            _checked(flow, lambda latents, wrong=wrong: flow.inverse(latents) + wrong, tmp_path / "decoder.pt2")


def test_a_conditional_decoder_takes_labels(tmp_path: Path) -> None:
    flow = small_glow(dtype=torch.float32, n_classes=3).eval()
    latents, labels = flow.sample_latents(4, 0.7, seed=0), torch.tensor([2, 0, 1, 2])
    with torch.no_grad():
        assert torch.allclose(Decoder(flow)(latents, labels), flow.inverse(latents, labels), atol=1e-6)
        assert not torch.allclose(flow.inverse(latents, labels), flow.inverse(latents, labels.flip(0)), atol=1e-3)


@pytest.mark.slow
def test_a_file_for_torch_that_takes_labels(tmp_path: Path) -> None:
    flow = small_glow(dtype=torch.float32, n_steps=1, n_classes=3).eval()
    assert save_torch(flow, tmp_path / "decoder.pt2") < 1e-5
    latents, labels = flow.sample_latents(4, 0.7, seed=0), torch.tensor([2, 0, 1, 2])
    again = torch.export.load(tmp_path / "decoder.pt2").module()(latents, labels)
    assert torch.allclose(again, flow.inverse(latents, labels), atol=1e-5)
