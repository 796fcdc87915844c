"""Exported models: they come back the same, and whatever is wrong with them is said."""

import dataclasses
import hashlib
import json
import resource
from pathlib import Path

import pytest
import torch

from glow_app.artifacts.card import Card
from glow_app.artifacts.weights import export, load
from glow_app.errors import UserError
from glow_app.flows import Glow
from tests.contracts.bijections import perturb
from tests.training.runs import configure


def card_of(flow: Glow) -> Card:
    """A card for a flow with the options of :func:`tests.flows.models.small_glow`."""
    n_steps = len(list(flow.levels[0].steps.children()))  # type: ignore[union-attr]
    conditional = str(flow.n_classes > 0).lower()
    return Card(
        model=configure(
            "model.n_levels=2", f"model.n_steps={n_steps}", "model.width=8", f"model.class_conditional={conditional}"
        ).model,
        image_shape=flow.image_shape,
        n_bits=8,
        class_names=tuple(f"class {number}" for number in range(flow.n_classes)),
        data={"name": "folder"},
        preprocessing="none",
        step=0,
        weights="raw",
        metrics={},
        versions={},
    )


def test_a_card_keeps_the_steps_of_each_level(tmp_path: Path) -> None:
    model = configure("model.n_levels=2", "model.n_steps=[3,1]", "model.width=8").model
    flow = model.build((3, 8, 8), n_classes=0)
    flow.initialized.fill_(1)
    card = dataclasses.replace(card_of(Glow((3, 8, 8), n_levels=2, n_steps=1, width=8)), model=model)
    export(flow, card, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.card.model == model
    assert [len(level.steps.steps) for level in loaded.flow.levels] == [3, 1]  # type: ignore[union-attr]


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Glow, Card, Path]:
    model = configure("model.n_levels=2", "model.n_steps=2", "model.width=8", "model.class_conditional=true").model
    torch.manual_seed(0)
    flow = model.build((3, 8, 8), n_classes=2)
    perturb(flow)
    flow.initialized.fill_(1)
    card = Card(
        model=model,
        image_shape=(3, 8, 8),
        n_bits=5,
        class_names=("cat", "dog"),
        data={"name": "folder"},
        preprocessing="none",
        step=3,
        weights="raw",
        metrics={"test/bits_per_dim": 1.5},
        versions={"torch": "x"},
    )
    export(flow, card, tmp_path / "model")
    return flow, card, tmp_path / "model"


def test_comes_back_the_same(exported: tuple[Glow, Card, Path]) -> None:
    flow, card, folder = exported
    for path in (folder, folder.parent, str(folder)):
        loaded, its_card, digest, found, storage = load(path)
        assert found == folder
        assert digest == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        assert its_card == card
        assert storage == "fp32"
        assert not loaded.training
        x, labels = torch.rand(2, 3, 8, 8) - 0.5, torch.tensor([0, 1])
        assert torch.equal(loaded.log_prob(x, labels), flow.log_prob(x, labels))


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model at .*nowhere: give the folder of a run"):
        load(tmp_path / "nowhere")


def test_a_checkpoint_of_training_is_not_an_exported_model(tmp_path: Path) -> None:
    path = tmp_path / "step_00000008.ckpt"
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"step_00000008\.ckpt is a file: give the folder of the run"):
        load(path)


@pytest.mark.parametrize("written", [None, 0])
def test_points_have_no_bits(exported: tuple[Glow, Card, Path], written: int | None) -> None:
    """Cards of points once had 0, which is no number of bits."""
    path = exported[2] / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"n_bits": written}))
    assert load(exported[2]).card.n_bits is None


def test_damage_is_told(exported: tuple[Glow, Card, Path]) -> None:
    _, card, folder = exported
    weights, text = (folder / "model.safetensors").read_bytes(), (folder / "model.json").read_text()
    for damaged in (weights[: len(weights) // 2], weights[:-1] + bytes([weights[-1] ^ 1])):
        (folder / "model.safetensors").write_bytes(damaged)
        with pytest.raises(UserError, match=r"model\.safetensors is damaged, or not what model\.json describes"):
            load(folder)
    (folder / "model.safetensors").write_bytes(weights)
    written = json.loads(text)
    wrong = [{"image_shape": [3, 8]}, {"image_shape": [3, 8, "8"]}, {"metrics": {"test": "low"}}]
    wrong += [{"n_bits": 9}, {"n_bits": -1}]
    changed = [json.dumps(written | values) for values in wrong]
    for broken in ("{", "[]", '{"format": 1}', text.replace('"width"', '"widht"'), *changed):
        (folder / "model.json").write_text(broken)
        with pytest.raises(UserError, match=r"model\.json is damaged or not a model card"):
            load(folder)
    (folder / "model.json").write_text(text.replace('"n_steps": 2', '"n_steps": 0'))
    with pytest.raises(UserError, match=r"model\.n_steps=0 is too small"):
        load(folder)
    (folder / "model.json").write_text(text.replace('"format": 1', '"format": 99'))
    with pytest.raises(UserError, match="another format than 1"):
        load(folder)
    other = dataclasses.replace(card, model=dataclasses.replace(card.model, width=16))
    digest = hashlib.sha256(weights).hexdigest()
    (folder / "model.json").write_text(json.dumps({"format": 1, "sha256": digest, **dataclasses.asdict(other)}))
    with pytest.raises(UserError, match=r"model\.safetensors cannot be loaded"):
        load(folder)


def test_values_that_are_not_finite_are_never_exported(exported: tuple[Glow, Card, Path], tmp_path: Path) -> None:
    flow, card, _ = exported
    with torch.no_grad():
        next(flow.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match=r"not exported: .* holds values that are not finite"):
        export(flow, card, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_nothing_is_allocated_for_a_card_that_its_weights_belie(exported: tuple[Glow, Card, Path]) -> None:
    _, _, folder = exported
    written = json.loads((folder / "model.json").read_text())
    written["model"] |= {"width": 16384, "n_steps": 16}  # 40 GB
    (folder / "model.json").write_text(json.dumps(written))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"model\.safetensors cannot be loaded"):
        load(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kB
