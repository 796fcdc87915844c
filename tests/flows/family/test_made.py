"""MADE, MAF and IAF: who sees whom, the same flow in another library, and densities that add up to 1."""

import copy
import itertools
import math

import pytest
import torch
import zuko
from torch import Tensor
from torch.distributions import AffineTransform

from glow_app.evaluation.density import Square, log_density
from glow_app.flows import IAF, MADE, MAF, BatchNorm, Flow, Logit, MaskedAutoregressive, Reordered, initialize
from glow_app.flows.family.made import bounded
from glow_app.flows.family.maf import order_of_layer
from glow_app.flows.fast import accelerate, reference
from tests.contracts.bijections import perturb

FLOWS = {"maf": MAF, "iaf": IAF}


def made(n_dims: int, width: int, n_hidden: int = 2, activation: str = "tanh") -> MADE:
    """Without a weight of zero; tanh, since a ReLU may be dead."""
    torch.manual_seed(0)
    network = MADE(n_dims, width, n_hidden, activation).double()
    perturb(network, 1.0)
    return network


def jacobian(function: object, n_dims: int) -> Tensor:
    """Of (1, D, 1, 1) -> (1, C, 1, 1): (C, D)."""
    x = torch.randn(1, n_dims, 1, 1, dtype=torch.float64)
    return torch.autograd.functional.jacobian(function, x).flatten(4).reshape(-1, n_dims)  # type: ignore[arg-type]


@pytest.mark.parametrize("n_hidden", [1, 2, 3])
@pytest.mark.parametrize("n_dims", [1, 2, 5])
def test_an_output_sees_all_inputs_before_it_and_no_other(n_dims: int, n_hidden: int) -> None:
    """Twelve units are enough for each degree."""
    network = made(n_dims, 12, n_hidden)
    seen = jacobian(network, n_dims).reshape(n_dims, 2, n_dims) != 0
    assert torch.equal(seen, below(n_dims))


def below(n_dims: int) -> Tensor:
    return torch.ones(n_dims, n_dims).tril(-1).bool()[:, None].expand(-1, 2, -1)


def test_fewer_units_than_dimensions_reach_over_all_of_them() -> None:
    seen = jacobian(made(9, 3), 9).reshape(9, 2, 9)[:, 0] != 0
    assert not (seen & ~below(9)[:, 0]).any()
    assert seen.any(0).tolist() == 6 * [True] + 3 * [False]
    assert seen.any(1).tolist() == [False] + 8 * [True]


def test_every_order_of_four_numbers() -> None:
    """By brute force: z depends on exactly those x whose place in the order is not later."""
    layer = MaskedAutoregressive(made(4, 12))
    for order in itertools.permutations(range(4)):
        reordered = Reordered(layer, torch.tensor(order))
        places = torch.tensor(order).argsort()
        seen = jacobian(lambda x, one=reordered: one(x)[0], 4) != 0
        assert torch.equal(seen, places[:, None] >= places)


@pytest.mark.parametrize("order", [[0, 1, 1], [0, 2, 3], [1, 2, 3]])
def test_an_order_that_is_no_permutation_is_refused(order: list[int]) -> None:
    with pytest.raises(ValueError, match=r"order is no permutation of 0 \.\.\. 2: \d is missing"):
        Reordered(MaskedAutoregressive(made(3, 4)), torch.tensor(order))


def test_orders_are_reversed_in_turn_or_drawn_by_a_seed() -> None:
    assert [order_of_layer(i, 3, None).tolist() for i in range(3)] == [[0, 1, 2], [2, 1, 0], [0, 1, 2]]
    drawn = [order_of_layer(i, 20, 7) for i in range(3)]
    assert all(order.sort().values.tolist() == list(range(20)) for order in drawn)
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[2], order_of_layer(2, 20, 7))
    assert not torch.equal(drawn[2], order_of_layer(2, 20, 8))


def test_numbers_in_turn_agree_in_half_precision_too() -> None:
    network = made(6, 10, activation="relu").float()
    network.compute_dtype = torch.bfloat16
    layer, x = MaskedAutoregressive(network), torch.randn(4, 6, 1, 1)
    again = layer.inverse(layer(x)[0])
    assert again.dtype == torch.float32
    assert (again - x).abs().max() < 0.5
    assert (again - x)[:, 0].abs().max() < 1e-6  # the first number sees nothing


def trained(name: str, shape: tuple[int, int, int] = (2, 1, 1), **options: object) -> Flow:
    """Initialised, and as if it were trained."""
    torch.manual_seed(0)
    flow = FLOWS[name](shape, **{"n_layers": 3, "n_hidden": 1, "width": 16} | options).double()  # type: ignore[arg-type]
    labels = torch.arange(64) % flow.n_classes if flow.n_classes else None
    initialize(flow, torch.rand(64, *shape, dtype=torch.float64) - 0.5, labels)
    perturb(flow, 0.1)
    return flow.eval()


@pytest.mark.parametrize("normalisation", ["batchnorm", "actnorm"])
@pytest.mark.parametrize("name", FLOWS)
def test_the_density_of_points_adds_up_to_one(name: str, normalisation: str) -> None:
    flow, square = trained(name, normalisation=normalisation, activation="tanh"), Square(side=8.0, cells=400)
    assert square.integral(log_density(flow, square.centres().double())) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "options", [{}, {"logit": 0.05, "n_classes": 2}, {"order_seed": 3, "normalisation": "actnorm"}]
)
@pytest.mark.parametrize("name", FLOWS)
@torch.no_grad()
def test_flattened_images_there_and_back(name: str, options: dict) -> None:
    flow = trained(name, (2, 3, 2), **options)
    x = torch.rand(5, 2, 3, 2, dtype=torch.float64) - 0.5
    labels = torch.arange(5) % 2 if flow.n_classes else None
    latents, logdet = flow(x, labels)
    assert [tuple(z.shape) for z in latents] == [(5, 12, 1, 1)]
    assert (flow.inverse(latents, labels) - x).abs().max() < 1e-9
    _, parts = flow.decompose(x, labels)
    assert (sum(part for level in parts for part in level.values()) - logdet).abs().max() < 1e-9


def test_an_iaf_is_a_maf_turned_round() -> None:
    """One layer each with the same weights, and normalisations that do nothing."""
    maf, iaf = (FLOWS[name]((5, 1, 1), 1, 1, 8, normalisation="actnorm").double() for name in FLOWS)
    perturb(maf.levels[0].get_submodule("1.0"))
    iaf.load_state_dict(
        {name.replace("inside.", "inside.inside.", 1): value for name, value in maf.state_dict().items()}
    )
    for flow in (maf, iaf):
        flow.initialized.fill_(1)
    x = torch.randn(4, 5, 1, 1, dtype=torch.float64)
    [z], logdet = maf(x)
    [again], turned = iaf(z)
    assert (again - x).abs().max() < 1e-12
    assert (turned + logdet).abs().max() < 1e-12


@pytest.mark.parametrize("options", [{}, {"logit": 0.05, "n_classes": 2}, {"normalisation": "actnorm"}])
def test_a_sample_of_an_iaf_has_its_density_without_passes_in_turn(
    options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = trained("iaf", (2, 3, 2), **options)
    latents, labels = flow.sample_latents(4, 1.0, 0), torch.arange(4) % 2 if flow.n_classes else None
    expected = flow.log_prob(flow.inverse(latents, labels), labels)
    monkeypatch.delattr(MADE, "in_turn")
    _, logdet = flow.train().inverse_with_logdet(latents, labels)
    assert (flow.base.log_prob(latents) - logdet - expected).abs().max() < 1e-8


def test_the_density_of_a_sample_is_finite_where_a_pixel_is_at_the_border() -> None:
    """In float32 sigmoid(30) is 1, whose logit is infinite."""
    x, logdet = Logit(0.05).inverse_with_logdet(torch.full((1, 1, 1, 1), 30.0))
    assert x.item() == pytest.approx(0.5 + 0.05 / 0.9)
    assert logdet.item() == pytest.approx(-30 - math.log(0.9))


@torch.no_grad()
def test_weights_that_are_masked_once_change_nothing() -> None:
    flow = trained("iaf", (2, 3, 2)).float()
    latents = flow.sample_latents(4, 1.0, 0)
    expected = flow.inverse(latents)
    assert torch.equal(accelerate(flow).inverse(latents), expected)
    perturb(flow)
    assert torch.equal(flow.inverse(latents), reference(copy.deepcopy(flow)).inverse(latents))


def test_batch_statistics_are_kept_and_learned() -> None:
    flow = trained("maf").train()
    norm = next(module for module in flow.modules() if isinstance(module, BatchNorm))
    before = norm.mean.clone()
    flow.log_prob(torch.randn(8, 2, 1, 1, dtype=torch.float64))
    flow.update_statistics()
    assert not torch.equal(norm.mean, before)
    assert any(tensor is norm.mean for tensor in flow.learned())


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="memory=reversible would invert layers that take a pass per dimension"):
        trained("iaf", memory="reversible")
    with pytest.raises(ValueError, match="activation is 'gelu'; choose one of relu, tanh"):
        trained("maf", activation="gelu")


def test_the_same_weights_give_the_density_of_zuko() -> None:
    """Which has no normalisation, maps z = scale x + shift, and whose hidden units take turns in their degrees."""
    torch.manual_seed(0)

    def conditional(mu: Tensor, raw: Tensor) -> AffineTransform:
        alpha = bounded(raw)
        return AffineTransform(-mu * torch.exp(-alpha), torch.exp(-alpha))

    theirs = zuko.flows.MAF(5, transforms=3, hidden_features=(12, 12), univariate=conditional).double()
    ours = MAF((5, 1, 1), n_layers=3, n_hidden=2, width=12, normalisation="actnorm").double()
    ascending = (torch.arange(12) % 4).argsort(stable=True)
    layers = [layer for layer in ours.modules() if isinstance(layer, Reordered)]
    for transform, layer in zip(theirs.transform.transforms, layers, strict=True):
        outputs = (2 * layer.order[:, None] + torch.arange(2)).flatten()
        places = [layer.order, ascending, ascending, outputs]
        for number, (source, target) in enumerate(zip(list(transform.hyper)[::2], made_of(layer).layers, strict=True)):
            with torch.no_grad():
                target.weight.copy_(source.weight[places[number + 1]][:, places[number]])
                target.bias.copy_(source.bias[places[number + 1]])
    ours.initialized.fill_(1)
    x = torch.randn(20, 5, dtype=torch.float64)
    expected = theirs().log_prob(x)
    assert expected.std() > 0.1
    assert (ours.log_prob(x[:, :, None, None]) - expected).abs().max() < 1e-6


def made_of(layer: Reordered) -> MADE:
    return next(module for module in layer.modules() if isinstance(module, MADE))
