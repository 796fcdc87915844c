"""``glow-export``."""

import io
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console

import glow_app
from glow_app.artifacts import shipped
from glow_app.commands.export import export
from glow_app.commands.reports.model_card import TERMS
from glow_app.config.commands import ExportConfig
from glow_app.errors import UserError
from glow_app.latents.directions import Directions, save
from glow_app.model import Model
from tests.commands.using import configure

PUBLIC = {"README.md", "model.json", "model.safetensors", "samples.png"}


def directions_of(model: Model) -> Directions:
    unit = torch.nn.functional.normalize(torch.randn(1, model.flow.n_dims))
    account = {
        "model": "/home/somebody/runs/x",
        "data": {"name": "celeba", "root": "/home/somebody/celeba", "cache_folder": "/home/somebody/.cache"},
        "images": 30,
        "counts": {"Smiling": {"with": 10, "without": 20}},
    }
    return Directions(
        ("Smiling",), unit, torch.zeros_like(unit), 9 * unit, torch.ones(1, dtype=torch.float64),
        tuple(model.flow.latent_shapes), "mean_difference", model.digest, account,
    )  # fmt: skip


def told(run: Path, folder: Path, *arguments: str, made_by: str | None = None) -> str:
    output = io.StringIO()
    config = configure("export", ExportConfig, f"checkpoint={run}", f"output={folder}", *arguments)
    export(config, made_by, Console(file=output, width=200))
    return output.getvalue()


def test_a_folder_that_loads_as_the_run_does(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my_faces"
    text = told(run, folder, made_by="glow-train model=tiny")
    assert f"glow-sample checkpoint={folder}" in text
    assert {path.name for path in folder.iterdir()} == PUBLIC
    ours, theirs = glow_app.load(run), glow_app.load(folder)
    assert ours.digest == theirs.digest
    assert torch.equal(ours.sample(2), theirs.sample(2))
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: glow_app\n")
    for part in ("# my_faces", "glow-train model=tiny", "drawn_faces", f"{ours.card.metrics['test/bits_per_dim']:.4f}"):
        assert part in card
    assert "## Attributes" not in card


def test_directions_come_with_it_and_places_do_not(run: Path, tmp_path: Path) -> None:
    model = glow_app.load(run)
    own = tmp_path / "run"
    shutil.copytree(run / "model", own / "model")
    card = json.loads((own / "model" / "model.json").read_text())
    card["data"] |= {"root": "/home/somebody/celeba", "cache_folder": "/home/somebody/.cache"}
    (own / "model" / "model.json").write_text(json.dumps(card))
    (own / "config.yaml").write_text("")
    save([directions_of(model)], own / "directions")
    told(own, tmp_path / "out")
    assert torch.equal(
        glow_app.load_directions(tmp_path / "out").vectors, glow_app.load_directions(own / "directions").vectors
    )
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or b"somebody" not in path.read_bytes(), path
    data = json.loads((tmp_path / "out" / "model.json").read_text())["data"]
    assert (data["root"], data["cache_folder"]) == ("celeba", None)
    assert "| Smiling | 10 | 20 |" in (tmp_path / "out" / "README.md").read_text()
    told(tmp_path / "out", tmp_path / "again")  # what was exported can be exported
    assert (tmp_path / "again" / "directions" / "directions.json").exists()


def test_the_same_again_is_the_same(run: Path, tmp_path: Path) -> None:
    for name in ("a/x", "b/x"):
        told(run, tmp_path / name)
    for name in PUBLIC:
        assert (tmp_path / "a/x" / name).read_bytes() == (tmp_path / "b/x" / name).read_bytes()


def test_its_card_tells_what_was_measured_of_these_very_weights(run: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    shutil.copytree(run / "model", own / "model")
    (own / "config.yaml").write_text("")
    model = glow_app.load(own)
    save([directions_of(model)], own / "directions")
    measured = {"digest": model.digest, "data": model.card.data | {"workers": 3}, "split": "test", "precision": "fp32"}
    bits = {"mean": 3.21, "standard_error": 0.0123, "images": 40}
    figures = {"attribute": "Smiling", "success": 0.876, "drift": None}
    judged = {"means": {"success": None, "drift": 0.054}, "attributes": [figures]}
    for name, content in (
        ("evaluate/evaluation.json", {"bits_per_dim": bits}),
        ("judge/judge.json", {"images": 44, "amount": 1.0, "methods": {"mean_difference": judged}}),
    ):
        (own / name).parent.mkdir()
        (own / name).write_text(json.dumps(measured | content))
    card = json.loads((own / "model" / "model.json").read_text())
    (own / "model" / "model.json").write_text(json.dumps(card | {"seconds": 7200.0, "hardware": "2 x H200"}))
    told(own, tmp_path / "out", "license=mit", made_by="glow-train model=tiny")
    card = (tmp_path / "out" / "README.md").read_text()
    for part in (
        "\nlicense: mit\n",
        "| bits/dim, test | 3.2100 ± 0.0123 (40 images) |",
        "| Smiling | 10 | 20 | ",
        " | 88% |  |\n",
        "of 44 images (test), edited by 1,",
        "| `mean_difference` |  | 0.054 |",
        "\n2.0 hours on 2 x H200.\n",
        "show nobody",
    ):
        assert part in card, part
    assert glow_app.load(tmp_path / "out").card.command == "glow-train model=tiny"
    told(tmp_path / "out", tmp_path / "again")  # what is known of it stays known
    assert "glow-train model=tiny" in (tmp_path / "again" / "README.md").read_text()

    for change in ({"digest": "of others"}, {"data": model.card.data | {"seed": 1}}):
        (own / "evaluate" / "evaluation.json").write_text(json.dumps(measured | {"bits_per_dim": bits} | change))
        told(own, tmp_path / "out")
        assert "3.2100" not in (tmp_path / "out" / "README.md").read_text()
    (own / "judge" / "judge.json").write_text("{")
    with pytest.raises(UserError, match=r"judge\.json is damaged .*: measure again, or delete it"):
        told(own, tmp_path / "out")


def test_its_card_names_the_terms_of_the_training_images(run: Path, tmp_path: Path) -> None:
    assert set(TERMS) <= {path.stem for path in (shipped.folder("conf") / "data").glob("*.yaml")}
    own = tmp_path / "run"
    shutil.copytree(run / "model", own)
    for name, terms in (("celeba", "CelebA: its images, and .* non-commercial research"), ("folder", "The terms of")):
        card = json.loads((own / "model.json").read_text())
        card["data"] |= {"name": name, "root": "faces"}
        (own / "model.json").write_text(json.dumps(card))
        told(own, tmp_path / name)
        assert re.search(terms, (tmp_path / name / "README.md").read_text())


def test_half_the_size(run: Path, tmp_path: Path) -> None:
    text = told(run, tmp_path / "half", "storage=bf16")
    assert f"glow-evaluate checkpoint={tmp_path / 'half'}" in text
    whole, half = glow_app.load(run), glow_app.load(tmp_path / "half")
    assert (half.storage, half.card.metrics) == ("bf16", {})
    assert half.digest != whole.digest
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (run / "model", tmp_path / "half")]
    assert sizes[1] < 0.75 * sizes[0]
    faces = whole.sample(8, temperature=1.0)
    assert (half.bits_per_dim(faces) - whole.bits_per_dim(faces)).mean().abs() < 2e-3
    assert torch.equal(half.decode(half.encode(faces)), faces)  # another model, and as invertible

    save([directions_of(half)], tmp_path / "half" / "directions")
    told(tmp_path / "half", tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tmp_path / "half" / "model.safetensors"
    ).read_bytes()
    ours, rounded = (glow_app.load_directions(tmp_path / name) for name in ("half", "again"))
    assert torch.allclose(rounded.units.norm(dim=1), torch.ones(1))
    assert torch.allclose(rounded.vectors, ours.vectors, atol=0.02 * ours.vectors.abs().max().item())
    assert not torch.equal(rounded.units, ours.units)


def test_mistakes(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is the model's own folder: choose another folder"):
        told(run, run / "model")
    with pytest.raises(UserError, match="no directions at nowhere"):
        told(run, tmp_path, "directions=nowhere")
    with pytest.raises(UserError, match="directions=nowhere: storage=bf16 changes the weights, so they do not fit"):
        told(run, tmp_path, "directions=nowhere", "storage=bf16")
    with pytest.raises(UserError, match="license='m: t' is no identifier of a licence"):
        told(run, tmp_path, "license='m: t'")
    with pytest.raises(UserError, match="format=pickle is not one of folder, torch, onnx"):
        told(run, tmp_path, "format=pickle")
    (tmp_path / "directions").mkdir()
    with pytest.raises(UserError, match="directions belongs to another model and would be exported with this one"):
        told(run, tmp_path)
    assert not (tmp_path / "model.json").exists()


@pytest.mark.slow
def test_the_decoder_alone(run: Path, tmp_path: Path) -> None:
    assert "decoder.pt2: " in told(run, tmp_path, "format=torch")
    assert [path.name for path in tmp_path.iterdir()] == ["decoder.pt2"]
