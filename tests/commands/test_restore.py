"""``glow-restore``."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glow_app.commands.restore import restore
from glow_app.config.editing import RestoreConfig
from glow_app.data.image import to_tensor
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.errors import UserError
from glow_app.model import load
from tests.commands.using import configure, use


def told(run: Path, folder: Path, *arguments: str) -> str:
    shared = (f"checkpoint={run}", f"output={folder}", "zoom=1", "steps=10")
    return use(restore, configure("restore", RestoreConfig, *shared, *arguments))


def pixels(path: Path) -> torch.Tensor:
    return to_tensor(Image.open(path).convert("RGB"))


def face(number: int) -> torch.Tensor:
    return DrawnFaces("test", image_size=16, n_images=64)[number]


def test_answers_keep_what_was_seen(run: Path, tmp_path: Path) -> None:
    text = told(run, tmp_path, "images=[3,5]", "mask=left", "n=3", "batch_size=2")
    for number in (3, 5):
        stem = f"test_{number}_mask_left"
        answers = [pixels(tmp_path / f"{stem}_{answer}.png") for answer in range(3)]
        for answer in answers:
            assert torch.equal(answer[:, :, 8:], face(number)[:, :, 8:])
            assert not torch.equal(answer, face(number))
        assert not torch.equal(answers[0], answers[1])
        facts = json.loads((tmp_path / f"{stem}.json").read_text())
        assert facts["model"] == load(run).digest and (facts["mask"], facts["seed"], facts["steps"]) == ("left", 0, 10)
        assert [one["file"] for one in facts["answers"]] == [f"{stem}_{answer}.png" for answer in range(3)]
        assert facts["answers"][0]["bits_per_dim"] == pytest.approx(load(run).bits_per_dim(answers[0]).item(), abs=1e-3)
        with Image.open(tmp_path / f"{stem}.png") as together, Image.open(tmp_path / f"{stem}_steps.png") as steps:
            assert together.width == 5 * (6 * 16 + 2) + 2
            assert steps.size == (8 * (6 * 16 + 2) + 2, 3 * (6 * 16 + 2) + 2)
        assert f"  {tmp_path / stem}.png" in text


def test_the_method_of_the_model_does_the_same(run: Path, tmp_path: Path) -> None:
    told(run, tmp_path, "images=[3]", "mask=random:0.5", "seed=4", "temperature=0.5")
    (answers,) = load(run).restore(face(3), mask="random:0.5", steps=10, seed=4, temperature=0.5)
    assert torch.equal(answers[0], pixels(tmp_path / "test_3_mask_random_0_5_0.png"))
    assert json.loads((tmp_path / "test_3_mask_random_0_5.json").read_text())["temperature"] == 0.5
    assert not torch.equal(answers, load(run).restore(face(3), mask="random:0.5", steps=10, seed=4)[0])


def test_masks_from_files_noise_and_scale(run: Path, tmp_path: Path) -> None:
    levels = np.zeros((16, 16), dtype=np.uint8)
    levels[3:9, 2:14] = 255
    Image.fromarray(levels).save(tmp_path / "scratch.png")
    Image.new("RGB", (40, 30), (200, 150, 90)).save(tmp_path / "me.png")
    out = tmp_path / "out"
    told(run, out, f"images=[{tmp_path}/me.png,sample:1]", f"mask={tmp_path}/scratch.png")
    answer = pixels(out / "sample_1_mask_scratch_0.png")
    same = answer == load(run).sample(1, 0.7, first=1)[0]
    assert same[:, torch.from_numpy(levels == 0)].all()
    assert (out / "me_mask_scratch.json").exists()
    told(run, out, "images=[3]", "noise=0.1")
    told(run, out, "images=[3]", "scale=2")
    for name in ("test_3_noise0.1", "test_3_scale2"):
        assert pixels(out / f"{name}_0.png").shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["images=[3]"], "nothing to do: give mask=right, noise=0.1 or scale=2"),
        (["mask=left"], "images has no value"),
        (["images=[3]", "mask=left", "scale=2"], "mask=left and scale=2: give one of mask, noise and scale"),
        (["images=[3]", "mask=middle"], "mask=middle is neither a file nor one of left, right"),
        (["images=[3]", "noise=0.001"], "noise=0.001 is too small: it must be at least 0.02"),
        (["images=[3]", "noise=2"], "noise=2.0 is too large"),
        (["images=[3]", "scale=1"], "scale=1 is too small: it must be at least 2"),
        (["images=[3]", "scale=5"], "scale=5: give a divisor of the images' 16 x 16 pixels"),
        (["images=[3]", "mask=left", "n=0"], "n=0 is too small"),
        (["images=[99]", "mask=left"], "images=99: drawn_faces test has the images 0 to 63"),
    ],
)
def test_mistakes(run: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        told(run, tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()
