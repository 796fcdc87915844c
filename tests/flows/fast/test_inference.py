"""What evaluation keeps changes nothing: the same numbers, until a parameter changes, and in nobody's way."""

import pickle
from typing import Any, cast

import pytest
import torch

from glow_app.flows import ConvNet, glow
from glow_app.flows.fast import inference
from tests.flows.models import small_glow


def random_net(dtype: torch.dtype, border: bool = True) -> ConvNet:
    torch.manual_seed(0)
    net = ConvNet(3, 6, width=16, border=border, compute_dtype=dtype)
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
    products_of = isinstance(cast(Any, net._convolutions._prepared._kept)[1], inference.Packed)
    assert products_of == (wide and dtype == torch.float32 and inference._packs(x))


@torch.no_grad()
def test_what_is_kept_stays_behind() -> None:
    """When a model is trained on, copied or written to a file."""
    net = random_net(torch.float32).eval()
    x = torch.randn(4, 3, 8, 8)
    expected = net(x)
    assert torch.equal(pickle.loads(pickle.dumps(net))(x), expected)
    kept = net._convolutions._prepared
    assert kept._kept is not None
    net.train()
    assert kept._kept is None


@torch.no_grad()
def test_images_go_through_a_level_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = small_glow((3, 16, 8), dtype=torch.float32, n_classes=3).eval()
    x, labels = torch.rand(5, 3, 16, 8) - 0.5, torch.tensor([0, 1, 2, 1, 0])
    latents, logdet = flow(x, labels)
    sizes: list[int] = []
    flow.levels[0].squeeze.register_forward_hook(lambda _, inputs, output: sizes.append(len(inputs[0])))
    activation_of_one = 12 * 8 * 4 * 4  # bytes: 12 channels of 8x4 pixels, at the first level
    monkeypatch.setattr(glow, "AT_ONCE", 2 * activation_of_one // torch.get_num_threads())
    found, found_logdet = flow(x, labels)
    for one, other in zip([*found, found_logdet], [*latents, logdet], strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert torch.allclose(flow.inverse(latents, labels), x, atol=1e-4)
    assert sizes == [2, 2, 1]
    flow.train()(x, labels)
    assert sizes == [2, 2, 1, 5]
