"""Directions on latents whose axes are known."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from glow_app.errors import UserError
from glow_app.latents.direction_methods import from_moments, oracle_shrinkage
from glow_app.latents.directions import Directions, load, save
from glow_app.latents.moments import Moments, flat, subspace, unflat

SHAPES = [(2, 4, 4), (4, 2, 2)]
D = 48
NAMES = ["Smiling", "Makeup", "Blond", "Black"]


def axes() -> Tensor:
    torch.manual_seed(0)
    return torch.linalg.qr(torch.randn(D, 4)).Q.T


def labelled(n: int = 8000) -> tuple[Tensor, Tensor]:
    """Latents ``noise + 3 * (axes of the attributes)``: makeup goes with a smile, and no hair has two colours."""
    torch.manual_seed(1)
    smiling = torch.rand(n) < 0.5
    makeup = torch.where(torch.rand(n) < 0.8, smiling, torch.rand(n) < 0.5)
    colour = torch.rand(n)
    attributes = torch.stack([smiling, makeup, colour < 0.45, colour > 0.55], 1).float()
    return torch.randn(n, D) + 3 * attributes @ axes(), attributes


def moments_of(z: Tensor, attributes: Tensor, batch_size: int = 1000) -> Moments:
    moments = Moments(SHAPES, attributes.shape[1])
    for part, labels in zip(z.split(batch_size), attributes.split(batch_size), strict=True):
        moments.update(unflat(part, SHAPES), labels)
    return moments


@pytest.fixture(scope="module")
def found() -> dict[str, Directions]:
    made, left_out = from_moments(moments_of(*labelled()), NAMES, SHAPES, "digest", {"data": "here"}, None)
    assert not left_out
    return {one.method: one for one in made}


def test_the_mean_difference_is_the_difference_of_means(found: dict[str, Directions]) -> None:
    z, attributes = labelled()
    plain = found["mean_difference"]
    for row in range(4):
        has = attributes[:, row] == 1
        assert torch.allclose(plain.vectors[row], z[has].mean(0) - z[~has].mean(0), atol=1e-4)


def test_only_balanced_directions_keep_apart_what_occurs_together(found: dict[str, Directions]) -> None:
    cosines = {method: (one.units @ axes().T)[0] for method, one in found.items()}
    assert cosines["mean_difference"][1] > 0.5
    assert cosines["balanced"][0] > 0.98
    assert abs(cosines["balanced"][1]) < 0.08


def test_alternatives_are_not_held_fixed(found: dict[str, Directions]) -> None:
    """From black to blond the black has to go: the direction of one colour is away from the other."""
    blond = (found["balanced"].units @ axes().T)[2]
    assert blond[2] > 0.6
    assert blond[3] < -0.6
    assert blond[:2].abs().max() < 0.08


def test_the_discriminant_sees_through_correlated_noise() -> None:
    torch.manual_seed(2)
    has = (torch.rand(20000, 1) < 0.5).float()
    z = torch.randn(20000, D)
    # The attribute moves the first number; the second has its noise, nine times as strong: z1 - z2 tells best.
    z[:, :1] = 0.1 * z[:, :1] + z[:, 1:2] + has
    made, _ = from_moments(moments_of(z, has), ["Smiling"], SHAPES, "digest", {}, 0.0)
    units = {one.method: one.units[0] for one in made}
    assert units["discriminant"][1] / units["discriminant"][0] == pytest.approx(-1, abs=0.05)
    assert abs(units["mean_difference"][1] / units["mean_difference"][0]) < 0.1


def test_amount_one_is_the_distance_of_the_class_means(found: dict[str, Directions]) -> None:
    z, attributes = labelled()
    for one in found.values():
        for row, name in enumerate(NAMES):
            has = attributes[:, row] == 1
            measured = one.measure(unflat(z, SHAPES))[:, row]
            assert measured[~has].mean().item() == pytest.approx(0, abs=1e-4)
            assert measured[has].mean().item() == pytest.approx(1, abs=1e-4)
            moved = one.measure(one.edit(unflat(z[:5], SHAPES), {name: 0.7}))[:, row]
            assert torch.allclose(moved, measured[:5] + 0.7, atol=1e-4)


def test_amount_zero_changes_nothing_and_edits_add_up(found: dict[str, Directions]) -> None:
    one, latents = found["balanced"], unflat(labelled()[0][:3], SHAPES)
    for a, b in zip(one.edit(latents, {"Smiling": 0.0, "Makeup": 0.0}), latents, strict=True):
        assert torch.equal(a, b)
    together = one.edit(latents, {"Smiling": 0.5, "makeup": -1.0})
    in_turn = one.edit(one.edit(latents, {"Makeup": -1.0}), {"smiling": 0.5})
    assert torch.allclose(flat(together), flat(in_turn), atol=1e-5)


def test_amounts_are_odd(found: dict[str, Directions]) -> None:
    latents = unflat(labelled()[0][:3], SHAPES)
    each = torch.tensor([0.4, -1.2, 2.0])
    for one in found.values():
        uneven = replace(one, gains=torch.tensor([2.0, 0.5, 1.3, 0.7], dtype=torch.float64))
        for amounts in ({"Smiling": 1.0}, {"Black": -1.7, "Makeup": 0.3}, {"Blond": each, "Smiling": -0.5}):
            back = uneven.edit(uneven.edit(latents, amounts), {name: -amount for name, amount in amounts.items()})
            assert torch.allclose(flat(back), flat(latents), atol=1e-5)
    there = uneven.edit(latents, {"Blond": each})
    for number, amount in enumerate(each.tolist()):
        alone = uneven.edit([z[number : number + 1] for z in latents], {"Blond": amount})
        assert torch.allclose(flat(there)[number], flat(alone)[0], atol=1e-6)
        moved = flat(alone)[0] - flat(latents)[number]
        assert torch.allclose(moved, 1.3 * amount * uneven.vectors[2], atol=1e-5)


def test_orthogonal_to_and_levels(found: dict[str, Directions]) -> None:
    plain = found["mean_difference"]
    apart = plain.refined(["Makeup"], None)
    assert abs(apart.units[0] @ plain.units[1]) < 1e-5
    assert torch.allclose(apart.units[1], plain.units[1], atol=1e-6)
    coarse = plain.refined([], [2])
    fine_part, coarse_part = unflat(coarse.vectors, SHAPES)
    assert (fine_part == 0).all()
    assert (coarse_part != 0).any()
    assert torch.allclose(coarse.units.norm(dim=1), torch.ones(4))
    with pytest.raises(UserError, match=r"levels=\[3\]: this model has the levels 1 \(finest\) to 2"):
        plain.refined([], [3])
    with pytest.raises(UserError, match="attribute Smilling is unknown: did you mean Smiling"):
        plain.refined(["Smilling"], None)


def test_the_order_of_batches_and_processes_does_not_matter() -> None:
    z, attributes = labelled(600)
    whole = moments_of(z, attributes)
    merged = Moments(SHAPES, 4)
    for part in (slice(0, 250), slice(250, 600)):
        merged.add_state(moments_of(z[part], attributes[part], batch_size=70).state())
    assert merged.count == whole.count == 600
    for name, value in whole.sums.items():
        assert torch.allclose(merged.sums[name], value, rtol=1e-12)


def test_rare_attributes_are_left_out() -> None:
    z, attributes = labelled(200)
    attributes[:, 1] = 0
    attributes[:4, 1] = 1
    made, left_out = from_moments(moments_of(z, attributes), NAMES, SHAPES, "digest", {}, None)
    assert left_out == ["Makeup"]
    assert all(one.names == ("Smiling", "Blond", "Black") for one in made)
    with pytest.raises(UserError, match="none of the attributes has at least 5 images with it and 5 without, of 200"):
        from_moments(moments_of(z, torch.ones(200, 4)), NAMES, SHAPES, "digest", {}, None)


def test_without_a_subspace_there_is_no_discriminant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glow_app.latents.moments.SUBSPACE_LIMIT", 20)
    assert subspace([32, 16]) == (16, [2])
    made, _ = from_moments(moments_of(*labelled(500)), NAMES, SHAPES, "digest", {}, None)
    fine_part, _ = unflat(made[2].units, SHAPES)
    assert (fine_part == 0).all()
    monkeypatch.setattr("glow_app.latents.moments.SUBSPACE_LIMIT", 10)
    made, _ = from_moments(moments_of(*labelled(500)), NAMES, SHAPES, "digest", {}, None)
    assert [one.method for one in made] == ["mean_difference", "balanced"]


def test_shrinkage_is_full_for_pure_noise_and_small_for_clear_structure() -> None:
    torch.manual_seed(0)
    noise = torch.randn(100, 50, dtype=torch.float64)
    assert oracle_shrinkage(noise.T @ noise / 100, 100) > 0.9
    clear = noise * torch.linspace(0.1, 10, 50)
    assert oracle_shrinkage(clear.T @ clear / 100, 100) < 0.5


class TestFiles:
    def test_come_back_the_same(self, found: dict[str, Directions], tmp_path: Path) -> None:
        save(list(found.values()), tmp_path / "directions")
        for method, one in found.items():
            for path in (tmp_path, tmp_path / "directions"):
                loaded = load(path, method)
                assert torch.equal(loaded.vectors, one.vectors)
                assert (loaded.names, loaded.latent_shapes) == (one.names, one.latent_shapes)
                assert loaded.metadata["counts"]["Smiling"]["with"] == one.metadata["counts"]["Smiling"]["with"]

    def test_of_earlier_gains_for_adding_and_for_removing_the_mean_counts(
        self, found: dict[str, Directions], tmp_path: Path
    ) -> None:
        one = found["balanced"]
        both = torch.tensor([[1.0, 2.0], [0.5, 0.5], [2.0, 1.0], [1.2, 0.4]], dtype=torch.float64)
        save([replace(one, gains=both)], tmp_path)
        assert torch.allclose(load(tmp_path, "balanced").gains, torch.tensor([1.5, 0.5, 1.5, 0.8]).double())

    def test_whatever_is_wrong_is_one_line(self, found: dict[str, Directions], tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"no directions at .*: make them with glow-directions"):
            load(tmp_path)
        save(list(found.values())[:2], tmp_path)
        with pytest.raises(UserError, match=r"method=discriminant: .* holds balanced, mean_difference"):
            load(tmp_path, "discriminant")
        content = (tmp_path / "directions.safetensors").read_bytes()
        (tmp_path / "directions.safetensors").write_bytes(content[:-1] + b"x")
        with pytest.raises(UserError, match=r"directions\.safetensors is damaged"):
            load(tmp_path)
        for metadata in ("{", "[]", json.dumps({"format": 1})):
            (tmp_path / "directions.json").write_text(metadata)
            with pytest.raises(UserError, match="holds no sound directions"):
                load(tmp_path)

    def test_directions_of_another_model_are_refused(self, found: dict[str, Directions]) -> None:
        found["balanced"].require("digest")
        with pytest.raises(UserError, match="these directions belong to another model"):
            found["balanced"].require("other")
