"""The race's own arithmetic, and the layers that are compared in it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.training import family, layers, maf, report, schedules
from benchmarks.training import race as module
from benchmarks.training.ideas import adam, idea, muon
from benchmarks.training.ours import Ours, glow
from benchmarks.training.race import Now, Race, Recipe, augmented, validate
from glow_app.flows import MAF, Bijection, initialize
from glow_app.flows.conditioner import ConvNet
from glow_app.likelihood import dequantization_noise, dequantize
from tests.contracts.bijections import perturb

HALF = 2


def net(n_in: int, n_out: int) -> ConvNet:
    return ConvNet(n_in, n_out, width=6, border=True, compute_dtype=None)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.SinhArcsinh(net, HALF),
        lambda: layers.Spline(net, HALF, bins=4),
        lambda: layers.MixtureOfLogistics(net, HALF, components=3),
        lambda: layers.DeepSplit(net(HALF, 2 * HALF)),
        lambda: layers.DeepSplit(layers.GatedResidualNet(HALF, 2 * HALF, 6)),
    ],
    ids=["sinh_arcsinh", "spline", "mixture", "deep_split", "residual"],
)
def test_layers_are_bijections(make: Callable[[], Bijection]) -> None:
    torch.manual_seed(0)
    layer = make().double()
    perturb(layer)
    x = torch.randn(2, 2 * HALF, 4, 2, dtype=torch.float64)
    z, logdet = layer(x)
    assert (layer.inverse(z) - x).abs().max() < 1e-7
    for number, one in enumerate(x):
        jacobian = torch.autograd.functional.jacobian(lambda image: layer(image[None])[0][0], one)
        expected = torch.linalg.slogdet(jacobian.reshape(one.numel(), one.numel())).logabsdet
        assert abs(logdet[number] - expected) < 1e-8


def test_learned_noise_is_in_the_bin_with_its_density() -> None:
    """The density is 1 over the derivative of the map from the Gaussian number, in one dimension at a time."""
    torch.manual_seed(0)
    noise = layers.VariationalNoise(1, width=4).double()
    perturb(noise)
    images = torch.randint(256, (2, 1, 4, 4))
    u, log_q = noise.sample(images, torch.randn(2, 4, 2, 2, dtype=torch.float64))
    assert ((u > 0) & (u < 1)).all()
    eps = torch.randn(1, 4, 2, 2, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda e: noise.sample(images[:1], e)[0], eps).reshape(16, 16)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(eps).sum()
    expected = normal - torch.linalg.slogdet(jacobian).logabsdet
    assert noise.sample(images[:1], eps)[1].item() == pytest.approx(expected.item(), abs=1e-8)
    assert log_q.shape == (2,)


def images(n: int, size: int = 8) -> torch.Tensor:
    return torch.randint(256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))


RECIPES = {
    "adam": idea(adam(1e-3), widths=(4,) * 3, n_steps=(1,) * 3),
    "muon": idea(muon(1e-3), widths=(4,) * 3, n_steps=(1,) * 3),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_race_ends_with_its_images(name: str) -> None:
    lines: list[str] = []
    one = Race(RECIPES[name], images(64), images(16), images=96, validations=3, tell=lines.append)
    result = one.run()
    assert (result.steps, result.images, len(result.curve), len(lines)) == (3, 96, 3, 3)
    assert [seen for seen, _, _ in result.curve] == [32, 64, 96]
    assert result.reconstructed == 1.0
    assert result.bits == pytest.approx(validate(one.model, images(16)).mean().item())


@pytest.mark.parametrize("name", RECIPES)
def test_a_killed_race_goes_on(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(state: Path | None) -> Race:
        return Race(
            RECIPES[name], images(40), images(16), images=192, validations=1, tell=lambda line: None, state=state
        )

    whole = start(None).run()
    monkeypatch.setattr(module, "SAVE_EVERY", 0)
    state = tmp_path / "state.pt"
    killed = start(state)
    update = killed._update

    def die_later() -> None:
        update()
        if killed.step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(killed, "_update", die_later)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    again = start(state).run()
    assert (again.bits, again.steps, again.images) == (whole.bits, whole.steps, whole.images)
    assert not state.exists()


def test_shifts_move_images_by_at_most_their_part() -> None:
    recipe = Recipe(lambda shape: nn.Identity(), lambda model: [], lambda now: 1.0, flip=False, shift=0.25)  # type: ignore[arg-type, return-value]
    torch.manual_seed(0)
    point = torch.zeros(64, 1, 8, 8, dtype=torch.uint8)
    point[:, :, 4, 4] = 1
    rows, columns = augmented(point, recipe)[:, 0].nonzero()[:, 1:].unbind(1)
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}


def test_schedules_at_their_corners() -> None:
    def at(part: float, step: int = 0) -> Now:
        return Now(step, int(1000 * part), part)

    cosine = schedules.cosine(0.1)
    assert cosine(at(0.1)) == pytest.approx(1)
    assert cosine(at(0.55)) == pytest.approx(0.5)
    assert cosine(at(1.0)) == pytest.approx(0)
    trapezoid = schedules.warm_stable_decay(0.1, 0.4)
    assert [round(trapezoid(at(part)), 6) for part in (0.1, 0.6, 0.8, 1.0)] == [1, 1, 0.5, 0]
    assert schedules.constant(500)(at(0.25)) == 0.5
    assert schedules.constant()(at(0)) == 1
    noam = schedules.noam(100)
    assert [noam(at(0, step)) for step in (49, 99, 399, 10**6)] == [0.5, 1.0, 0.5, 0.1]


def test_the_guides_have_the_tables_of_the_results() -> None:
    made = report.tables()
    for guide in report.GUIDES:
        assert report.written(guide.read_text(), made) == guide.read_text()


def test_relatives_stand_in_a_table_at_their_better_rates() -> None:
    def line(data: str, seed: int, rate: float, bits: float) -> dict[str, Any]:
        times = {"forward": 1.25, "inverse": 2.5}
        return {
            "name": "glow", "data": data, "seed": seed, "rate": rate, "bits": bits, "parameters": 383028,
            "images": 1000, "milliseconds": times,
        }  # fmt: skip

    lines = [line("drawn_faces", 0, 1e-3, 9.0), {"name": "glow", "data": "drawn_faces", "seed": 0, "failed": "inf"}]
    lines += [line(data, seed, 4e-3, 3.0 + seed) for data in report.FAMILY_DATA for seed in (0, 1, 2)]
    row = report.family(lines).splitlines()[-1]
    assert row == "| `glow` | 0.38M | 1,000 | 4.000 ± 1.000 | 4.000 ± 1.000 | 4.000 ± 1.000 | 1.2 | 2.5 |"


def test_averages_have_running_statistics() -> None:
    """Those of batch normalisation belong to the weights with which they were taken."""
    race = Race(
        Recipe(lambda shape: Ours(MAF(shape, 1, 1, 4), dtype=None), adam(1e-3), schedules.cosine(), average=0.99),
        images(64), images(16), images=64, validations=1, tell=lambda line: None,
    )  # fmt: skip
    statistics = sum(weight.numel() for weight in race.average.weights) - sum(p.numel() for p in race.parameters)
    assert statistics == 2 * 3 * 8 * 8
    before = race.average.weights[-1].clone()
    race.run()
    assert not torch.equal(race.average.weights[-1], before)


def test_nats_of_logits_leave_out_the_jacobian_of_the_logit() -> None:
    torch.manual_seed(0)
    flow = MAF((1, 2, 2), 1, 1, 8, logit=maf.ALPHA)
    some = torch.randint(256, (3, 1, 2, 2), dtype=torch.uint8)
    initialize(flow, torch.rand(50, 1, 2, 2) - 0.5)
    found = maf.nats_of_logits(flow.eval(), some, maf.ALPHA)
    x = dequantize(some, dequantization_noise(some, 0, torch.arange(3)), 8)
    for number, one in enumerate(x.double()):
        slopes = torch.autograd.functional.jacobian(
            lambda v: torch.logit(maf.ALPHA + (1 - 2 * maf.ALPHA) * (v + 0.5)), one
        )
        expected = flow.log_prob(x[number : number + 1]).item() - slopes.reshape(4, 4).diagonal().log().sum().item()
        assert found[number].item() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 32, 32)])
def test_relatives_have_equally_many_parameters(shape: tuple[int, int, int]) -> None:
    sizes = {name: sum(p.numel() for p in build(shape).parameters()) for name, build in family.MODELS.items()}
    sizes.pop("maf, 5 x 1024")
    assert max(sizes.values()) / min(sizes.values()) < 1.07


def test_a_relative_is_trained_timed_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(family.MODELS, "tiny", lambda shape: glow(shape, widths=(4,) * 3, n_steps=(1,) * 3))
    monkeypatch.setattr(family, "images", lambda data, arguments: (images(64), images(16)))
    output = tmp_path / "family.jsonl"
    arguments = "--data drawn_faces --models tiny --seeds 0 --seconds 0.05 --output"
    monkeypatch.setattr("sys.argv", ["family", *arguments.split(), str(output)])
    family.main()
    family.main()  # nothing is left to do
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["rate"] for line in lines] == list(family.RATES)
    assert all(line["bits"] > 0 and line["milliseconds"]["inverse"] > 0 for line in lines)
    assert family.rate_of("tiny", [{**lines[0], "bits": 2.0}, {**lines[1], "bits": 1.0}]) == family.RATES[1]
    lines[1].pop("bits")  # of one that failed
    assert family.rate_of("tiny", lines) == family.RATES[0]
