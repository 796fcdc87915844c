"""Scaled convolutions: the written-out gradients are those of the plain formula, however torch computes it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows import ConvNet, Glow, initialize
from glow_app.flows.conditioner import ZeroConv2d
from glow_app.flows.fast import accelerate
from glow_app.flows.fast.conditioner import FastConvNet, with_gradients


def plain(net: ConvNet, x: Tensor) -> Tensor:
    """The network as its formula says, with a real border channel, for autograd."""
    for number, layer in enumerate((net.conv1, net.conv2, net.conv3)):
        weight, padding = layer.weight, layer.weight.shape[-1] // 2
        if layer.border is not None:
            outside = F.pad(torch.zeros_like(x[:, :1]), (1, 1, 1, 1), value=1.0)
            x, weight, padding = (
                torch.cat([F.pad(x, (1, 1, 1, 1)), outside], 1),
                torch.cat([weight, layer.border], 1),
                0,
            )
        y = F.conv2d(x, weight, padding=padding) + layer.bias[:, None, None]
        x = y * torch.exp(3 * layer.logs)[:, None, None]
        x = x.relu() if number < 2 else x
    return x


def random_net(border: bool, dtype: torch.dtype) -> FastConvNet:
    net = accelerate(ConvNet(3, 6, width=16, border=border, compute_dtype=None).to(dtype))
    assert isinstance(net, FastConvNet)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net


@pytest.mark.parametrize("border", [True, False])
@pytest.mark.parametrize("shape", [(17, 3, 8, 8), (4, 3, 8, 8), (3, 3, 5, 7), (1, 3, 2, 2), (2, 3, 1, 1), (2, 3, 3, 1)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_answer_and_gradients_are_those_of_the_plain_formula(
    border: bool, shape: tuple[int, ...], layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    net = random_net(border, torch.float64)
    x = torch.randn(shape, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    answer, expected = net(x), plain(net, x)
    assert (answer - expected).abs().max() < 1e-11
    gradient = torch.randn_like(expected)
    found = torch.autograd.grad(answer, [x, *net.parameters()], gradient)
    wanted = torch.autograd.grad(expected, [x, *net.parameters()], gradient)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape and (one - other).abs().max() < 1e-9


def test_gradients_do_not_touch_what_came_in() -> None:
    torch.manual_seed(0)
    net = random_net(True, torch.float32)
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    answer = net(x)
    gradient = torch.randn_like(answer).contiguous(memory_format=torch.channels_last)
    before = gradient.clone()
    answer.backward(gradient)
    assert torch.equal(gradient, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_gradients_outside_of_a_graph_are_those_of_autograd(dtype: torch.dtype) -> None:
    """What ``memory=reversible`` goes backward with, beside what any network would give it."""
    torch.manual_seed(0)
    net = random_net(True, torch.float64)
    net.compute_dtype = dtype
    x = torch.randn(3, 3, 4, 6, dtype=torch.float64)
    found = []
    for network in (net, _Hidden(net)):
        answer, gradients = with_gradients(network, x)
        assert not answer.requires_grad
        of_x, of_parameters = gradients(torch.ones_like(answer))
        assert of_x.dtype == torch.float64 and set(of_parameters) == set(net.parameters())
        found.append([answer, of_x, *(of_parameters[parameter] for parameter in net.parameters())])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


class _Hidden(nn.Module):
    """A network of which nothing is known."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def test_an_input_without_gradient_gets_none() -> None:
    net = random_net(True, torch.float32)
    answer = net(torch.randn(2, 3, 4, 4))
    answer.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_gradients_of_bfloat16_biases_are_added_up_in_float32() -> None:
    """Added up in bfloat16, ones come to 256 and not further."""
    layer = accelerate(ZeroConv2d(3, 5, border=True))
    layer(torch.zeros(64, 3, 16, 16, dtype=torch.bfloat16)).backward(torch.ones(64, 5, 16, 16, dtype=torch.bfloat16))
    assert layer.bias.grad is not None and layer.border is not None and layer.border.grad is not None
    assert layer.bias.grad.tolist() == [64 * 16 * 16] * 5
    # A corner of a kernel sees two sides of the frame, which share a pixel; its middle sees nothing of it.
    side, corner = 64 * 16, 64 * (16 + 15)
    assert layer.border.grad[0, 0].tolist() == [[corner, side, corner], [side, 0, side], [corner, side, corner]]


@torch.no_grad()
def test_evaluation_keeps_folded_weights_until_a_parameter_changes() -> None:
    torch.manual_seed(0)
    net = random_net(True, torch.float32).eval()
    x = torch.randn(4, 3, 8, 8)
    first = net(x)
    assert torch.equal(first, net.train()(x))  # the same arithmetic
    net.eval()(x)
    for parameter in net.parameters():
        parameter.mul_(1.5)
        assert torch.allclose(net(x), plain(net, x), rtol=1e-4, atol=1e-3)
    net.compute_dtype = torch.bfloat16
    assert not torch.equal(net(x), plain(net, x)) and torch.allclose(net(x), plain(net, x), rtol=0.1, atol=10)
    net.compute_dtype = None
    smaller = x[:, :, :5, :6]
    assert torch.allclose(net(smaller), plain(net, smaller), rtol=1e-4, atol=1e-3)


def test_evaluating_in_inference_mode_first_does_not_spoil_training() -> None:
    glow = accelerate(Glow((3, 12, 20), n_levels=1, n_steps=1, width=4))  # a size that no other test has
    x = torch.rand(4, 3, 12, 20) - 0.5
    initialize(glow, x)
    with torch.inference_mode():
        glow.eval().log_prob(x)
    glow.train().log_prob(x).mean().backward()


def test_exporting_leaves_nothing_behind() -> None:
    net = random_net(True, torch.float32).eval()
    x = torch.randn(2, 3, 11, 13)
    with torch.no_grad():
        program = torch.export.export(net, (x,)).module()
        assert torch.allclose(program(x), net(x), atol=1e-5)
