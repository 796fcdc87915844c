"""Whole models: what Glow promises."""

import itertools
import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from glow_app import noise
from glow_app.flows import ActNorm, AffineCoupling, Chain, ConvNet, FlowStep, Glow, InvConv1x1, TopPrior, initialize
from glow_app.flows.base import Normal
from glow_app.flows.bijection import deinterleave
from glow_app.flows.pixel_affine import channel_permutation
from tests.contracts.bijections import perturb
from tests.flows.models import small_glow

TRUNK = {torch.ops.aten.addmm, torch.ops.aten.sigmoid, torch.ops.aten.exp, torch.ops.aten.cat, torch.ops.aten.sum}
"""Operations that only the trunk, and the scaling of weights, may use."""

VARIANTS = [
    {"coupling": coupling, "permutation": permutation, "scale": scale, "border": border}
    for coupling, permutation, scale, border in [
        ("affine", "lu", "bounded", True),
        ("affine", "full", "sigmoid", True),
        ("additive", "lu", "bounded", False),
        ("affine", "shuffle", "bounded", False),
        ("additive", "reverse", "sigmoid", True),
    ]
]


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(map(str, options.values())))
class TestLaws:
    def test_logdet_is_that_of_the_jacobian(self, options: dict, trained: bool) -> None:
        glow = small_glow((1, 4, 4), trained, **options)
        x = torch.rand(1, 1, 4, 4, dtype=torch.float64) - 0.5

        def flat(x: Tensor) -> Tensor:
            return torch.cat([z.flatten() for z in glow(x)[0]])

        jacobian = torch.autograd.functional.jacobian(flat, x).reshape(16, 16)
        assert abs(glow(x)[1].item() - torch.linalg.slogdet(jacobian).logabsdet.item()) < 1e-8

    def test_inverse_undoes_forward(self, options: dict, trained: bool) -> None:
        glow = small_glow(trained=trained, **options)
        x = torch.rand(4, 3, 8, 8, dtype=torch.float64) - 0.5
        assert (glow.inverse(glow(x)[0]) - x).abs().max() < 1e-10
        assert (glow.float().inverse(glow(x.float())[0]) - x.float()).abs().max() < 1e-4

    def test_reversible_gradients_are_those_of_autograd(self, options: dict, trained: bool) -> None:
        """In float64, relative to the largest gradient of a parameter: 1e-9."""
        gradients = []
        for memory in ("plain", "reversible"):
            glow = small_glow(trained=trained, n_steps=5, memory=memory, anchor_every=3, **options)
            x = torch.linspace(-0.5, 0.5, 2 * 3 * 64, dtype=torch.float64).view(2, 3, 8, 8).requires_grad_()
            glow.log_prob(x).sum().backward()
            gradients.append([x.grad, *(p.grad for p in glow.parameters())])
        for a, b in zip(*gradients, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                assert (a - b).abs().max() <= 1e-9 * max(1.0, a.abs().max())

    def test_memory_modes_agree_to_the_bit(self, options: dict, trained: bool) -> None:
        gradients = []
        for memory in ("plain", "checkpoint"):
            glow = small_glow(trained=trained, dtype=torch.float32, memory=memory, **options)
            x = torch.linspace(-0.5, 0.5, 2 * 3 * 64).view(2, 3, 8, 8)
            glow.log_prob(x).sum().backward()
            gradients.append([p.grad for p in glow.parameters()])
        for a, b in zip(*gradients, strict=True):
            assert (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize("shape", [(3, 8, 16), (1, 16, 8), (1, 6, 10), (3, 4, 4)])
def test_any_shape_that_the_levels_divide(shape: tuple[int, int, int]) -> None:
    n_levels = 1 if shape[1] % 4 else 2
    glow = small_glow(shape, n_levels=n_levels)
    x = torch.rand(2, *shape, dtype=torch.float64) - 0.5
    latents, _ = glow(x)
    assert [tuple(z.shape[1:]) for z in latents] == glow.latent_shapes
    assert sum(math.prod(s) for s in glow.latent_shapes) == glow.n_dims
    assert (glow.inverse(latents) - x).abs().max() < 1e-10


@pytest.mark.parametrize("permutation", ["lu", "full"])
def test_density_in_two_dimensions_integrates_to_one(permutation: str) -> None:
    torch.manual_seed(0)
    steps = []
    for _ in range(3):
        net = ConvNet(1, 2, width=16, border=True, compute_dtype=None)
        steps.append(FlowStep(ActNorm(2), channel_permutation(permutation, 2), AffineCoupling(net, "bounded")))
    flow = Chain([*steps, TopPrior(2, border=True)]).double()
    perturb(flow, 0.1)
    line = torch.linspace(-15, 15, 301, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).view(-1, 2, 1, 1)
    with torch.no_grad():
        total = sum(_density(flow, part).sum().item() for part in points.split(20_000))
    assert abs(total * (line[1] - line[0]).item() ** 2 - 1) < 1e-4  # 2e-5 of one lies outside


def _density(flow: Chain, x: Tensor) -> Tensor:
    z, logdet = flow(x)
    return torch.exp(Normal().log_prob([z]) + logdet)


def test_log_prob_is_that_of_an_explicit_conditional_prior() -> None:
    """The whitened split says the same as the leaving half's density under the Gaussian that the kept half predicts."""
    glow = small_glow((3, 8, 8))
    x = torch.rand(4, 3, 8, 8, dtype=torch.float64) - 0.5
    expected = torch.zeros(4, dtype=torch.float64)
    h = x
    for level in glow.levels:
        h, _ = level.squeeze(h)
        h, logdet = level.steps(h)
        expected += logdet
        if isinstance(level.prior, TopPrior):
            mean, log_std = level.prior._mean_and_log_std(h, None)
            leaving = h
        else:
            h, leaving = h.chunk(2, 1)
            mean, log_std = deinterleave(level.prior.conv(h))
        normal = torch.distributions.Normal(mean, log_std.exp())
        expected += normal.log_prob(leaving).flatten(1).sum(1)
    difference = (glow.log_prob(x) - expected).abs() / expected.abs()
    assert difference.max() < 1e-12


def test_initialisation_normalises_every_actnorm() -> None:
    torch.manual_seed(0)
    glow = Glow((3, 16, 16), n_levels=2, n_steps=3, width=8).double()
    x = torch.rand(128, 3, 16, 16, dtype=torch.float64) ** 2 - 0.5
    initialize(glow, x)
    outputs: list[Tensor] = []
    for module in glow.modules():
        if isinstance(module, FlowStep):
            module.register_forward_pre_hook(lambda step, args: outputs.append(step.actnorm(args[0])[0]))
        if isinstance(module, ConvNet):
            module.register_forward_pre_hook(lambda net, args: outputs.append(net.conv1(args[0])))
            module.register_forward_pre_hook(lambda net, args: outputs.append(net.conv2(net.conv1(args[0]).relu())))
    with torch.no_grad():
        glow(x)
    assert len(outputs) == 2 * 3 * 3
    for output in outputs:
        values = output.transpose(0, 1).flatten(1)
        assert values.mean(1).abs().max() < 1e-6
        assert (values.std(1, unbiased=False) - 1).abs().max() < 1e-4  # the published 1e-6 beside the deviation


def test_initialising_happens_once_and_survives_reloading() -> None:
    glow = small_glow(trained=False, dtype=torch.float32)
    x = torch.rand(4, 3, 8, 8) - 0.5
    with pytest.raises(RuntimeError, match="already initialised"):
        initialize(glow, x)
    torch.manual_seed(7)
    other = Glow((3, 8, 8), n_levels=2, n_steps=2, width=8)
    other.load_state_dict(glow.state_dict())
    other.train()
    assert torch.equal(other.log_prob(x), glow.log_prob(x))
    assert all(torch.equal(a, b) for a, b in zip(glow.state_dict().values(), other.state_dict().values(), strict=True))


def test_using_an_uninitialised_model_is_an_error() -> None:
    glow = Glow((3, 8, 8), n_levels=2, n_steps=1, width=8)
    with pytest.raises(RuntimeError, match="not initialised"):
        glow(torch.zeros(1, 3, 8, 8))
    with pytest.raises(RuntimeError, match="not initialised"):
        glow.sample(1)


def test_a_constant_channel_cannot_be_initialised() -> None:
    glow = Glow((3, 8, 8), n_levels=2, n_steps=1, width=8)
    with pytest.raises(
        ValueError, match="channel 0 of 12 has standard deviation 0 over the initialisation batch of 16"
    ):
        initialize(glow, torch.zeros(16, 3, 8, 8))


def test_impossible_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="30x32 is not divisible by 8"):
        Glow((3, 30, 32), n_levels=3, n_steps=1, width=8)
    with pytest.raises(ValueError, match=r"x has shape \(1, 3, 4, 4\); this Glow takes \(batch, 3, 8, 8\)"):
        small_glow().log_prob(torch.zeros(1, 3, 4, 4))


def test_a_new_model_is_the_identity_in_its_couplings() -> None:
    glow = small_glow(trained=False, scale="bounded")
    x = torch.randn(2, 12, 4, 4, dtype=torch.float64)
    for step in glow.levels[0].steps.steps:
        z, logdet = step.coupling(x)
        assert torch.equal(z, x)
        assert torch.equal(logdet, torch.zeros(2, dtype=torch.float64))


def test_class_conditional_model_needs_and_uses_its_labels() -> None:
    glow = small_glow(n_classes=3)
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64) - 0.5
    with pytest.raises(ValueError, match=r"needs cond, a label in 0 ... 2"):
        glow.log_prob(x)
    assert not torch.equal(glow.log_prob(x, torch.tensor([0, 0])), glow.log_prob(x, torch.tensor([1, 1])))
    labels = torch.tensor([1, 2])
    assert (glow.inverse(glow(x, labels)[0], labels) - x).abs().max() < 1e-10


class TestSampling:
    def test_image_i_is_a_function_of_seed_and_i(self) -> None:
        glow = small_glow().eval()
        together = glow.sample(5, temperature=0.7, seed=3)
        assert torch.allclose(together[2:4], glow.sample(2, temperature=0.7, seed=3, first=2), atol=1e-12)
        assert not torch.allclose(together, glow.sample(5, temperature=0.7, seed=4))

    def test_latents_are_drawn_in_the_order_in_which_they_lie(self) -> None:
        glow = small_glow()
        latents = glow.sample_latents(2, 1.0, seed=3)
        numbers = noise.normal(3, noise.Stream.LATENTS, torch.arange(2), glow.n_dims)
        lying = torch.cat([z.permute(0, 2, 3, 1).flatten(1) for z in latents], 1)
        assert torch.equal(lying, numbers.to(lying.dtype))

    def test_temperature_reaches_every_level(self) -> None:
        glow = small_glow((3, 16, 16), n_levels=3)
        for temperature in (0.0, 0.5, 1.0):
            for z in glow.sample_latents(200, temperature, seed=0):
                assert abs(z.std().item() - temperature) < 0.02

    def test_temperature_zero_is_one_image(self) -> None:
        images = small_glow().sample(3, temperature=0.0)
        assert torch.equal(images[0], images[1])

    def test_sampled_latents_come_back(self) -> None:
        glow = small_glow()
        latents = glow.sample_latents(4, 1.0, seed=0)
        for a, b in zip(glow(glow.inverse(latents))[0], latents, strict=True):
            assert (a - b).abs().max() < 1e-10

    def test_cached_inverse_follows_the_parameters(self) -> None:
        glow = small_glow().eval()
        before = glow.sample(2)
        with torch.no_grad():
            glow.levels[0].steps.steps[0].permutation.log_s.add_(0.1)
        after = glow.sample(2)
        assert not torch.allclose(before, after)
        assert torch.equal(after, glow.train().sample(2))  # in training nothing is cached


def test_trunk_stays_in_float32_under_autocast() -> None:
    glow = small_glow(dtype=torch.float32)
    x = torch.rand(2, 3, 8, 8) - 0.5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        latents, logdet = glow(x)
        assert glow.inverse(latents).dtype == torch.float32
    assert {z.dtype for z in latents} == {logdet.dtype} == {torch.float32}
    assert torch.equal(logdet, glow(x)[1])


def test_bfloat16_conditioners_keep_a_float32_trunk() -> None:
    glow = small_glow(dtype=torch.float32)
    x = torch.rand(2, 3, 8, 8) - 0.5
    exact = glow.log_prob(x)
    glow.set_conditioner_dtype(torch.bfloat16)
    trunk: set[torch.dtype] = set()
    convolutions: Counter[torch.dtype] = Counter()
    for module in glow.modules():
        if isinstance(module, FlowStep):
            module.register_forward_hook(lambda _, __, output: trunk.update(o.dtype for o in output))

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            answer = func(*args, **(kwargs or {}))
            if func is torch.ops.aten.convolution.default:
                convolutions[answer.dtype] += 1
            elif func.overloadpacket in TRUNK:
                trunk.add(answer.dtype)
            return answer

    with Watch():
        latents, _ = glow(x)
    n_conditioners = sum(isinstance(module, ConvNet) for module in glow.modules())
    n_splits = len(glow.levels) - 1
    assert convolutions == {
        torch.bfloat16: 3 * n_conditioners,
        torch.float32: n_splits + 1,
    }  # the last is the border map of the top prior
    assert trunk == {torch.float32}
    assert (glow.inverse(latents) - x).abs().max() < 1e-4  # the same rounding both ways
    assert ((glow.log_prob(x) - exact) / (glow.n_dims * math.log(2))).abs().max() < 0.01


@pytest.mark.parametrize(
    ("options", "published", "unused_top_prior_channels"),
    [
        ({"image_shape": (3, 32, 32), "n_levels": 3, "n_steps": 32, "coupling": "affine"}, 44.6e6, 48),
        ({"image_shape": (3, 256, 256), "n_levels": 6, "n_steps": 32, "coupling": "additive"}, 175.1e6, 384),
    ],
    ids=["CIFAR-10", "CelebA-HQ"],
)
def test_published_parameter_counts(options: dict, published: float, unused_top_prior_channels: int) -> None:
    glow = Glow(width=512, scale="sigmoid", **options)
    stored = sum(p.numel() for p in glow.parameters())
    # Ours stores L and U as whole matrices, of which one triangle each is used. The released code has a full matrix,
    # and a top prior that convolves zeros: 3 x 3 x (2C)^2 weights that never receive a gradient; ours leaves them out.
    triangles = sum(m.lower.numel() + m.log_s.numel() for m in glow.modules() if isinstance(m, InvConv1x1))
    comparable = stored - triangles + 9 * (2 * unused_top_prior_channels) ** 2
    assert abs(comparable - published) < 0.05e6


def test_each_level_can_have_its_own_number_of_steps() -> None:
    flow = Glow((3, 16, 16), n_levels=3, n_steps=(5, 2, 1), width=4)
    assert [len(level.steps.steps) for level in flow.levels] == [5, 2, 1]  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"n_steps=\[5, 2\]: give one number for each of 3 levels"):
        Glow((3, 16, 16), n_levels=3, n_steps=(5, 2), width=4)


def test_variants_are_all_different() -> None:
    x = torch.rand(1, 3, 8, 8, dtype=torch.float64) - 0.5
    values = [small_glow(**options).log_prob(x).item() for options in VARIANTS]
    assert all(abs(a - b) > 1e-6 for a, b in itertools.combinations(values, 2))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"coupling": "afine"}, "coupling is 'afine'; choose affine or additive"),
        ({"permutation": "qr"}, "permutation is 'qr'; choose one of lu, full, shuffle, reverse"),
        ({"scale": "exp"}, "scale is 'exp'; choose one of sigmoid, bounded"),
    ],
)
def test_unknown_options_are_named(option: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_glow(**option)


def test_gradients_are_laid_out_as_their_parameters() -> None:
    """Otherwise data parallelism warns, and copies them."""
    glow = small_glow(dtype=torch.float32)
    parameters = dict(glow.named_parameters())
    found = torch.autograd.grad(glow.log_prob(torch.rand(2, 3, 8, 8) - 0.5).mean(), list(parameters.values()))
    for (name, parameter), gradient in zip(parameters.items(), found, strict=True):
        assert gradient.stride() == parameter.stride(), name
