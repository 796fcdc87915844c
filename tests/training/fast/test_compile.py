"""Compiled training: the same likelihoods and gradients, of every kind of flow, and ``full`` is one piece of code."""

import copy
from functools import partialmethod
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from glow_app.flows import Flow, Glow, Nice, RealNVP, initialize
from glow_app.flows.conditioner import Network
from glow_app.flows.fast import matmul
from glow_app.training.fast.compile import compile_flow
from tests.contracts.bijections import perturb

pytestmark = pytest.mark.filterwarnings("ignore")  # by torch, of its own code

GLOW = {"n_levels": 2, "n_steps": 2, "width": 8}

FLOWS: dict[str, tuple[type[Flow], dict[str, Any]]] = {
    "affine": (Glow, GLOW),
    "sigmoid-full": (Glow, GLOW | {"scale": "sigmoid", "permutation": "full"}),
    "additive-no-border": (Glow, GLOW | {"coupling": "additive", "border": False}),
    "bf16": (Glow, GLOW),
    "nice": (Nice, {"n_couplings": 4, "n_hidden": 1, "width": 16}),
    "real_nvp": (RealNVP, {"n_levels": 1, "n_blocks": 1, "width": 4}),
    "classes": (Glow, GLOW | {"n_steps": 1, "n_classes": 3}),
}


def made(kind: str) -> tuple[Flow, Tensor, Tensor | None]:
    """A flow, images and labels, in float64, in which two ways to compute the same agree to many digits."""
    torch.manual_seed(0)
    make, options = FLOWS[kind]
    flow = make((3, 8, 8), **options).double()
    x = torch.rand(16, 3, 8, 8, dtype=torch.float64) - 0.5
    labels = torch.arange(16) % flow.n_classes if flow.n_classes else None
    initialize(flow, x, labels)
    perturb(flow, 0.02)
    for module in flow.modules():
        if kind == "bf16" and isinstance(module, Network):
            module.compute_dtype = torch.bfloat16
    return flow.train(), x, labels


def gradients(flow: Flow, x: Tensor, labels: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-likelihoods, and the gradient of each parameter and of the images."""
    x = x.clone().requires_grad_()
    log_prob = flow.log_prob(x, labels)
    log_prob.mean().backward()
    found = {name: parameter.grad for name, parameter in flow.named_parameters()} | {"images": x.grad}
    return log_prob.detach(), {name: grad for name, grad in found.items() if grad is not None}


def compare(kind: str, how: str) -> None:
    """Fails if what is compiled gives other likelihoods or gradients."""
    flow, x, labels = made(kind)
    expected, of_flow = gradients(copy.deepcopy(flow), x, labels)
    compile_flow(flow, how)
    found, of_compiled = gradients(flow, x, labels)
    assert torch.allclose(found, expected, rtol=1e-10)
    assert of_compiled.keys() == of_flow.keys()
    for name, grad in of_flow.items():
        assert (of_compiled[name] - grad).norm() <= 1e-10 * (grad.norm() + 1e-3), name


@pytest.mark.parametrize("how", ["steps", "full"])
@pytest.mark.parametrize("kind", [kind for kind in FLOWS if kind != "classes"])
def test_what_is_traced_has_the_same_gradients(kind: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be compiled is run as it was traced, which takes less time than to generate code."""
    torch.compiler.reset()
    counters.clear()
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager"))
    compare(kind, how)
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == 1 or how == "steps"


@pytest.mark.parametrize("how", ["steps", "full"])
@pytest.mark.parametrize("kind", ["affine", "additive-no-border", "bf16"])
def test_as_on_a_gpu_it_has_the_same_gradients_too(kind: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "suit", lambda x: True)
    test_what_is_traced_has_the_same_gradients(kind, how, monkeypatch)


@pytest.mark.slow
def test_generated_code_has_the_same_gradients() -> None:
    torch.compiler.reset()
    compare("classes", "full")
