"""What evaluation keeps changes nothing: the same numbers, until a parameter changes, and in nobody's way."""

import pickle
from typing import Any, cast

import pytest
import torch

from glow_app.flows import ConvNet
from glow_app.flows.fast import accelerate, inference
from glow_app.flows.fast.conditioner import FastConvNet


def random_net(dtype: torch.dtype, border: bool = True) -> FastConvNet:
    torch.manual_seed(0)
    net = accelerate(ConvNet(3, 6, width=16, border=border, compute_dtype=dtype))
    assert isinstance(net, FastConvNet)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net


@torch.no_grad()
@pytest.mark.parametrize(
    ("dtype", "wide"), [(torch.float32, False), (torch.float32, True), (torch.bfloat16, True)], ids=str
)
@pytest.mark.parametrize("border", [True, False])
@pytest.mark.parametrize("size", [(8, 6), (1, 2)])
def test_answers_are_those_of_training(
    dtype: torch.dtype, wide: bool, border: bool, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For any number of images after the weights have been laid out for one; and with other libraries than oneDNN."""
    monkeypatch.setattr(inference, "WIDE", 16 if wide else 17)
    net, bare = random_net(dtype, border), random_net(dtype, border).eval()
    for n_images in (1, 2, 17, 0):
        x = torch.randn(n_images, 3, *size)
        expected = net.train()(x)
        assert torch.allclose(net.eval()(x), expected, rtol=1e-5 if dtype == torch.float32 else 0.02, atol=1e-4)
        with monkeypatch.context() as patch:
            patch.setattr(inference, "_packs", lambda x: False)
            assert torch.equal(bare(x), expected)
    products_of = isinstance(cast(Any, net._packed._cached)[1], inference.Packed)
    assert products_of == (wide and dtype == torch.float32 and inference._packs(x))


@torch.no_grad()
def test_what_is_kept_stays_behind() -> None:
    """When a model is trained on, copied or written to a file."""
    net = random_net(torch.float32).eval()
    x = torch.randn(4, 3, 8, 8)
    expected = net(x)
    assert torch.equal(pickle.loads(pickle.dumps(net))(x), expected)
    kept = net._packed
    assert kept._cached is not None
    net.train()
    assert kept._cached is None
