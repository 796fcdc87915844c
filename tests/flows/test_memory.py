"""``memory=reversible``: right gradients wherever a training run may need them, and a word when they are not."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from glow_app.flows import Bijection, Chain, Glow
from glow_app.flows.memory import Drift
from tests.contracts.bijections import perturb, step
from tests.flows.models import small_glow


class Conditioned(Bijection):
    """``z = x * exp(w c)``: depends on a condition that is itself learned."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert cond is not None
        log_scale = (self.w * cond)[:, None, None, None]
        return x * log_scale.exp(), log_scale.flatten() * x[0].numel()

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        assert cond is not None
        return z * torch.exp(-self.w * cond)[:, None, None, None]


def gradients(glow: Glow, x: Tensor) -> list[Tensor]:
    for parameter in glow.parameters():
        parameter.grad = None
    glow.log_prob(x).mean().backward()
    return [p.grad.clone() for p in glow.parameters() if p.grad is not None]


def images(n: int = 4, dtype: torch.dtype = torch.float32) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(n, 3, 16, 16, dtype=dtype) - 0.5


def largest_error(a: list[Tensor], b: list[Tensor]) -> float:
    return max(
        ((x.double() - y).abs().max() / y.abs().max().clamp_min(1e-12)).item() for x, y in zip(a, b, strict=True)
    )


def test_a_condition_gets_its_gradient() -> None:
    found = []
    for memory in ("plain", "reversible"):
        torch.manual_seed(0)
        learned, middle = Conditioned(), step(4).double()
        perturb(middle)
        chain = Chain([learned, middle, Conditioned()], memory)
        x = torch.randn(3, 4, 2, 2, dtype=torch.float64, requires_grad=True)
        cond = torch.tensor([0.1, -0.2, 0.5], dtype=torch.float64, requires_grad=True)
        z, logdet = chain(x, cond)
        (z.square().sum() + logdet.sum()).backward()
        found.append([x.grad, cond.grad, learned.w.grad])
    for a, b in zip(*found, strict=True):
        assert a is not None
        assert b is not None
        assert (a - b).abs().max() < 1e-10


def test_only_the_output_is_kept() -> None:
    """What autograd saves does not grow with the number of steps."""
    kept = {}
    for n_steps in (2, 12):
        glow = small_glow((3, 16, 16), n_steps=n_steps, dtype=torch.float32, memory="reversible")
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor, sizes: dict[int, int] = sizes, glow: Glow = glow) -> Tensor:
            if not isinstance(tensor, nn.Parameter):
                sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            glow.log_prob(images())
        kept[n_steps] = sum(sizes.values())
    assert kept[12] == kept[2]


def steps_like_trained_ones(memory: str, coupling: str) -> Glow:
    """32 steps, moved so little that gradients do not explode on their way through them."""
    options = {"n_levels": 1, "n_steps": 32, "width": 16, "coupling": coupling, "anchor_every": 32}
    glow = small_glow((3, 16, 16), trained=False, memory=memory, **options)
    torch.manual_seed(2)
    perturb(glow, 0.005)
    return glow


@pytest.mark.parametrize("coupling", ["affine", "additive"])
def test_float32_gradients_are_as_good_as_those_of_autograd(coupling: str) -> None:
    """Against float64, 32 steps, bounded scales: the error is within twice that of plain float32."""
    exact = gradients(steps_like_trained_ones("plain", coupling), images(dtype=torch.float64))
    errors = {}
    for memory in ("plain", "reversible"):
        glow = steps_like_trained_ones(memory, coupling).float()
        errors[memory] = largest_error(gradients(glow, images()), exact)
    assert errors["reversible"] <= 2 * errors["plain"]


def test_bfloat16_conditioners_invert_to_the_same_rounding() -> None:
    """Both directions round the same numbers: the drift is that of the float32 trunk, not of bfloat16."""
    found = {}
    for memory in ("plain", "reversible"):
        glow = steps_like_trained_ones(memory, "affine").float()
        glow.set_conditioner_dtype(torch.bfloat16)
        found[memory] = gradients(glow, images())
    exact = gradients(steps_like_trained_ones("plain", "affine"), images(dtype=torch.float64))
    plain, reversible = (largest_error(found[memory], exact) for memory in ("plain", "reversible"))
    assert reversible < 1.5 * plain


def test_gradients_accumulate() -> None:
    glow = small_glow((3, 16, 16), memory="reversible")
    x = images(dtype=torch.float64)
    whole = gradients(glow, x)
    for parameter in glow.parameters():
        parameter.grad = None
    for half in x.chunk(2):
        (glow.log_prob(half).mean() / 2).backward()
    halves = [p.grad for p in glow.parameters() if p.grad is not None]
    assert all((a - b).abs().max() < 1e-9 * max(1, a.abs().max()) for a, b in zip(whole, halves, strict=True))


def test_frozen_parameters_get_no_gradient() -> None:
    glow = small_glow((3, 16, 16), memory="reversible")
    frozen = glow.levels[0].steps.steps[0].actnorm
    frozen.requires_grad_(False)
    glow.log_prob(images(dtype=torch.float64)).sum().backward()
    assert frozen.bias.grad is None
    assert glow.levels[0].steps.steps[1].actnorm.bias.grad is not None


class Forgetful(Bijection):
    """Its inverse is off by a part of the state's size."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error = error
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x + self.shift, torch.zeros(len(x))

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z - self.shift + self.error


def test_drift_is_looked_for_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glow_app.flows.bijection.CHECK_EVERY", 3)
    chain = Chain([Forgetful(0.1)], memory="reversible")

    def backward(error: float) -> None:
        chain.steps[0].error = error  # type: ignore[assignment]
        z, _ = chain(torch.randn(64, 4, 4, 4, requires_grad=True))
        z.sum().backward()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for error in (0.001, 0.1, 0.1):  # small; not looked at; not looked at
            backward(error)
    with pytest.warns(
        RuntimeWarning, match=r"step 0 of a level was recomputed with an error of 0\.[01]\d* of its size"
    ):
        backward(0.1)
    for error in (1.0, float("nan")):
        chain._passes = 0
        with pytest.raises(Drift, match=r"gradients are wrong; use memory=checkpoint, scale=bounded"):
            backward(error)


def test_every_level_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    glow = small_glow((3, 16, 16), n_levels=3, memory="reversible")
    seen: list[Tensor] = []
    monkeypatch.setattr("glow_app.flows.memory._compare", lambda computed, kept, number: seen.append(computed))
    glow.log_prob(images(dtype=torch.float64)).sum().backward()
    assert len({z.shape for z in seen}) == 3


def test_anchors_stop_the_drift() -> None:
    """With an anchor before each step, the error of one inverse does not reach the next."""
    chain = Chain([Forgetful(0.3) for _ in range(4)], memory="reversible", anchor_every=1)
    chain._passes = 1  # the first pass is checked
    x = torch.randn(2, 4, 4, 4, requires_grad=True)
    seen: list[Tensor] = []
    original = Forgetful.forward

    def noted(self: Forgetful, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        seen.append(x.detach())
        return original(self, x, cond)

    Forgetful.forward = noted  # type: ignore[method-assign]
    try:
        z, _ = chain(x)
        seen.clear()
        z.sum().backward()
    finally:
        Forgetful.forward = original  # type: ignore[method-assign]
    assert all((state - x).abs().max() < 0.31 for state in seen)  # and not 0.3, 0.6, 0.9, 1.2
