"""``glow-evaluate quality=true``."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from glow_app.commands import quality
from glow_app.commands.evaluate import compare, evaluate
from glow_app.config.commands import EvaluateConfig
from glow_app.errors import UserError
from tests.commands.using import configure, use

QUICK = ["gap_images=0", "check_images=1", "quality.measure=true", "quality.examples=128"]


def told(run: Path, folder: Path, *arguments: str, how: Callable = evaluate) -> str:
    return use(how, configure("evaluate", EvaluateConfig, f"checkpoint={run}", f"output={folder}", *arguments))


def test_samples_between_floor_and_noise(run: Path, tmp_path: Path) -> None:
    text = told(run, tmp_path, *QUICK)
    found = json.loads((tmp_path / "evaluation.json").read_text())["quality"]
    names = [
        "samples, temperature 0.7", "samples, temperature 1", "real: other test images", "real: 32 training images",
        "blurred: those others", "noise: uniform",
    ]  # fmt: skip
    assert list(found["sets"]) == names
    assert found["images"] == 32
    assert 0 <= found["balanced_accuracy"] <= 1
    for row in found["sets"].values():
        assert set(row) == {"local KID", "local KID spread", "local FID", "local density", "local coverage"}
    floor, blurred, noise = (found["sets"][name] for name in names[2:3] + names[4:])
    assert floor["local FID"] < blurred["local FID"] < noise["local FID"]
    assert floor["local coverage"] > noise["local coverage"]
    for word in (*names, "local KID", "local coverage", "never with published", "sets of 32 images", "(balanced)"):
        assert word in text


def test_the_same_again_with_the_saved_classifier(run: Path, tmp_path: Path) -> None:
    arguments = [*QUICK, "n_images=40", "quality.samples=16", "quality.temperature=1"]
    told(run, tmp_path, *arguments)
    first = json.loads((tmp_path / "evaluation.json").read_text())["quality"]
    assert f"the classifier in {tmp_path / quality.CLASSIFIER} is used again" in told(run, tmp_path, *arguments)
    again = json.loads((tmp_path / "evaluation.json").read_text())["quality"]
    assert again == first
    assert first["images"] == 16
    assert [name for name in first["sets"] if "samples" in name] == ["samples, temperature 1"]


def test_nothing_is_measured_unless_it_is_asked_for(run: Path, tmp_path: Path) -> None:
    assert "KID" not in told(run, tmp_path, "gap_images=0", "check_images=1", "n_images=4")
    assert json.loads((tmp_path / "evaluation.json").read_text())["quality"] is None
    assert not (tmp_path / quality.CLASSIFIER).exists()


def test_figures_of_inception_are_not_local(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "inception", lambda path, device: lambda images: images.float().mean((2, 3)))
    text = told(run, tmp_path, *QUICK, "quality.weights=weights.pth")
    found = json.loads((tmp_path / "evaluation.json").read_text())["quality"]
    assert "FID" in found["sets"]["noise: uniform"]
    assert "InceptionV3 (weights.pth)" in found["features"]
    assert "local" not in text
    assert not (tmp_path / quality.CLASSIFIER).exists()


def pictures(folder: Path, *names: str) -> list[str]:
    """The options for a folder of pictures: those of ``names`` for each of train and test."""
    for split in ("train", "test"):
        for name in names:
            path = folder / "pictures" / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.effect_noise((16, 16), 60).convert("RGB").save(path)
    return ["data=folder", f"data.root={folder / 'pictures'}", f"data.cache_folder={folder / 'cache'}"]


def test_folders_are_classes_to_train_on(run: Path, tmp_path: Path) -> None:
    names = [f"{name}/{i}.png" for name in ("cats", "dogs") for i in range(40)]
    text = told(run, tmp_path / "out", *QUICK, "quality.samples=10", *pictures(tmp_path, *names))
    assert "a classifier of 2 attributes or classes of " in text


def test_without_labels_there_is_no_classifier(run: Path, tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(20)]
    with pytest.raises(
        UserError, match=r"^quality=true: data=folder has neither attributes nor classes .*weights=FILE"
    ):
        told(run, tmp_path / "out", *QUICK, *pictures(tmp_path, *names))


def test_few_training_images_are_left_out(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "inception", lambda path, device: lambda images: images.float().mean((2, 3)))
    data = pictures(tmp_path, *(f"{i}.png" for i in range(20)))
    for i in range(15):
        (tmp_path / "pictures" / "train" / f"{i}.png").unlink()
    told(run, tmp_path / "out", *QUICK, "quality.weights=weights.pth", *data)
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())["quality"]
    assert not any("training" in name for name in found["sets"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["split=train"], "quality=true compares with images that were not learned from: choose split=val or"),
        (["quality.samples=33"], "quality.samples=33: half of the 64 images of drawn_faces test are 32, with which"),
        (["n_images=12"], "quality.samples=6: half of the 12 images .*; at least 10 are needed"),
        (["quality.samples=5"], "quality.samples=5 is too small: it must be at least 10"),
        (["quality.weights=/nowhere"], "quality.weights=/nowhere does not exist: name the file pt_inception"),
        (["quality.measure=false", "quality.weights=w.pth"], "quality.weights=w.pth is for quality=true: add it"),
    ],
)
def test_mistakes(run: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        told(run, tmp_path, *QUICK, *arguments)


def test_two_models_are_compared_without(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="quality=true measures one model, and compare two"):
        told(run, tmp_path, *QUICK, f"compare=[{run},{run}]", how=compare)


def test_samples_that_are_not_finite_are_counted(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from glow_app.latents.sampling import Sampler

    draw = Sampler.draw

    def spoiled(sampler: Sampler, numbers: list[int]) -> object:
        return draw(sampler, numbers)._replace(finite=torch.tensor(numbers) != 3)

    monkeypatch.setattr(Sampler, "draw", spoiled)
    assert "2 samples are not finite, and taken as grey" in told(run, tmp_path, *QUICK)
