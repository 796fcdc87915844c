"""The conditioner as matrix products, which is how a GPU computes it: the same answer and gradients, on any device."""

import copy
from collections.abc import Callable
from statistics import median
from typing import cast

import pytest
import torch
from torch import Tensor

from glow_app.data.stream import Batch
from glow_app.flows import AffineCoupling, ConvNet, Glow
from glow_app.flows.fast import accelerate, matmul, reference
from glow_app.training.fast.cuda_graph import CapturedLoss
from tests.flows.models import small_glow

Answers = Callable[[list[ConvNet], Tensor], list[Tensor]]


def by_convolutions(nets: list[ConvNet], x: Tensor) -> list[Tensor]:
    return [net(x) for net in nets]


def by_products(nets: list[ConvNet], x: Tensor) -> list[Tensor]:
    matrices = matmul.joint_matrices([net.layers() for net in nets], *x.shape[2:], nets[0].compute_dtype or x.dtype)
    return [net(x, of_one) for net, of_one in zip(nets, matrices.unbind(), strict=True)]


def nets(border: bool, n_in: int = 3, n_out: int = 6) -> list[ConvNet]:
    found = [accelerate(ConvNet(n_in, n_out, 16, border, compute_dtype=None).double()) for _ in range(3)]
    for net in found:
        net.to(memory_format=torch.channels_last)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return found


def with_gradients(answers: Answers, nets: list[ConvNet], x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The answers, and the gradients of some function of them: of ``x``, then of all parameters."""
    x = x.detach().requires_grad_()
    found = answers(nets, x)
    total = sum((y * torch.arange(y.numel()).cos().view(y.shape)).sum() for y in found)
    parameters = [parameter for net in nets for parameter in net.parameters()]
    return found, list(torch.autograd.grad(total, [x, *parameters]))  # type: ignore[call-overload]


@pytest.mark.parametrize("border", [True, False])
@pytest.mark.parametrize("channels", [(3, 6), (12, 24), (5, 5)])
@pytest.mark.parametrize("size", [(3, 4, 6), (1, 4, 4), (2, 1, 1), (2, 2, 1)])
def test_they_are_the_convolutions(border: bool, channels: tuple[int, int], size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    conditioners = nets(border, *channels)
    x = torch.randn(size[0], channels[0], *size[1:], dtype=torch.float64)
    expected, found = (with_gradients(how, conditioners, x) for how in (by_convolutions, by_products))
    for a, b in zip([*expected[0], *expected[1]], [*found[0], *found[1]], strict=True):
        assert (a - b).abs().max() <= 1e-11 * (1 + a.abs().max())


def test_bfloat16_products_are_as_exact_as_convolutions() -> None:
    torch.manual_seed(0)
    conditioners = nets(border=True)
    x = torch.randn(4, 3, 8, 8)
    exact = with_gradients(by_convolutions, conditioners, x.double())
    rounded = [copy.deepcopy(net).float() for net in conditioners]
    for net in rounded:
        net.compute_dtype = torch.bfloat16
    errors = []
    for how in (by_convolutions, by_products):
        found = with_gradients(how, rounded, x)
        pairs = list(zip([*exact[0], *exact[1]], [*found[0], *found[1]], strict=True))
        assert all(b.dtype == torch.float32 for _, b in pairs)
        errors.append(median(((a - b).norm() / a.norm()).item() for a, b in pairs))
    assert 1e-4 < errors[1] < 1.1 * errors[0] < 0.02


def test_gradients_are_laid_out_as_their_parameters() -> None:
    conditioners = nets(border=True)
    _, (_, *gradients) = with_gradients(by_products, conditioners, torch.randn(2, 3, 4, 4, dtype=torch.float64))
    parameters = [parameter for net in conditioners for parameter in net.parameters()]
    assert all(g.stride() == p.stride() for g, p in zip(gradients, parameters, strict=True))


@pytest.mark.parametrize("memory", ["plain", "checkpoint"])
@pytest.mark.parametrize("coupling", ["affine", "additive"])
def test_a_level_prepares_them_for_all_of_its_steps(
    memory: str, coupling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    glow = small_glow(coupling=coupling, memory=memory).train()
    x = torch.rand(3, *glow.image_shape, dtype=torch.float64) - 0.5
    calls: list[int] = []
    joint = matmul.joint_matrices
    monkeypatch.setattr(
        matmul, "joint_matrices", lambda nets, *size, **how: calls.append(len(nets)) or joint(nets, *size, **how)
    )
    expected = loss_and_gradients(glow, x)
    assert calls == []
    monkeypatch.setattr(matmul, "suit", lambda x: True)
    found = loss_and_gradients(glow, x)
    assert calls == [2, 2]
    assert_near(found, expected, 1e-10)
    glow.eval()
    with torch.no_grad():
        glow.log_prob(x)
    assert calls == [2, 2]  # at rest, every conditioner keeps what is made of its weights


class OwnCoupling(AffineCoupling):
    """A subclass, which keeps its class and takes no matrices."""


class OwnNet(ConvNet):
    """The same."""


@pytest.mark.parametrize("own", [OwnCoupling, OwnNet])
def test_layers_of_ones_own_are_left_as_they_are(own: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "suit", lambda x: True)
    glow = reference(small_glow()).train()
    for layer in glow.modules():
        if type(layer) is own.__base__:
            layer.__class__ = own
    x = torch.rand(3, *glow.image_shape, dtype=torch.float64) - 0.5
    plain = loss_and_gradients(glow, x)
    assert_near(loss_and_gradients(accelerate(glow), x), plain, 1e-10)
    assert any(type(layer) is own for layer in glow.modules())


def loss_and_gradients(glow: Glow, x: Tensor) -> list[Tensor]:
    loss = glow.log_prob(x).mean()
    return [loss, *torch.autograd.grad(loss, list(glow.parameters()))]


def assert_near(found: list[Tensor], expected: list[Tensor], error: float) -> None:
    for a, b in zip(found, expected, strict=True):
        assert (a.cpu() - b).norm() <= error * (1e-3 + b.norm())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("memory", ["plain", "checkpoint", "reversible"])
@pytest.mark.parametrize("coupling", ["affine", "additive"])
def test_a_gpu_has_the_same_gradients(memory: str, coupling: str) -> None:
    glow = small_glow((3, 16, 16), coupling=coupling, memory=memory, width=24).train()
    x = torch.rand(5, *glow.image_shape, dtype=torch.float64) - 0.5
    assert_near(loss_and_gradients(copy.deepcopy(glow).cuda(), x.cuda()), loss_and_gradients(glow, x), 1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_computes_float32_and_bfloat16_as_well_as_they_allow() -> None:
    glow = small_glow((3, 16, 16), width=24).train()
    x = torch.rand(5, *glow.image_shape, dtype=torch.float64) - 0.5
    exact = loss_and_gradients(glow, x)
    errors = []
    for device, dtype in (("cuda", None), ("cuda", torch.bfloat16), ("cpu", torch.bfloat16)):
        there = copy.deepcopy(glow).float().to(device)
        there.set_conditioner_dtype(dtype)
        found = loss_and_gradients(there, x.float().to(device))
        errors.append(
            median(((a.cpu() - b).norm() / (1e-3 + b.norm())).item() for a, b in zip(found, exact, strict=True))
        )
    assert errors[0] < 1e-4
    assert errors[1] < 2 * errors[2]  # from one draw of images to the next, either varies by half


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("memory", ["plain", "checkpoint"])
def test_a_capture_has_the_same_gradients(memory: str) -> None:
    glow = small_glow((3, 16, 16), memory=memory, dtype=torch.float32, width=24).cuda().train()
    batches = [torch.rand(5, *glow.image_shape, device="cuda") - 0.5 for _ in range(3)]
    parameters = list(glow.parameters())
    captured = CapturedLoss(lambda batch: glow.log_prob(batch.images).mean(), parameters)
    for x in batches:
        loss = captured(Batch(x, torch.arange(len(x), device="cuda"), None))
        loss.backward()
        found = [loss, *(cast(Tensor, parameter.grad) for parameter in parameters)]
        assert_near(found, [g.cpu() for g in loss_and_gradients(glow, x)], 1e-5)
        glow.zero_grad()
