"""``glow-interpolate``."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from glow_app.commands.interpolate import _name, interpolate
from glow_app.commands.photos import Picture
from glow_app.config.editing import InterpolateConfig
from glow_app.data.image import to_tensor
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.errors import UserError
from glow_app.figures import animation
from glow_app.model import load
from tests.commands.using import configure, use


def told(run: Path, folder: Path, *arguments: str) -> str:
    shared = (f"checkpoint={run}", f"output={folder}", "zoom=1")
    return use(interpolate, configure("interpolate", InterpolateConfig, *shared, *arguments))


def cell(path: Path, row: int, column: int, scale: int = 6) -> torch.Tensor:
    """One image of a grid without labels, at its own size."""
    pixels = to_tensor(Image.open(path).convert("RGB"))
    step = 16 * scale + 2
    y, x = 2 + row * step, 2 + column * step
    return pixels[:, y : y + 16 * scale : scale, x : x + 16 * scale : scale]


def test_a_strip_between_two_images_of_the_data_set(run: Path, tmp_path: Path) -> None:
    text = told(run, tmp_path, "images=[3,5]", "steps=5")
    assert "end points: 2 of 2 reconstructed exactly" in text
    path = tmp_path / "test_3-test_5_linear5.png"
    assert f"  {path}" in text
    strip = load(run).interpolate(*faces(3, 5), steps=5)
    # The command's noise is that of the images' numbers, the method's that of position 0: same ends, other middles.
    assert torch.equal(cell(path, 0, 0), strip[0])
    assert torch.equal(cell(path, 0, 4), strip[-1])
    with Image.open(tmp_path / "test_3-test_5_linear5.gif") as film:
        assert film.n_frames == 8  # type: ignore[attr-defined]  # there and back again
        assert film.size == (96, 96)


def test_samples_need_no_data(run: Path, tmp_path: Path) -> None:
    told(run, tmp_path, "images=[sample:2,sample:0]", "steps=3", "seed=5", f"data.cache_folder={tmp_path / 'none'}")
    path, samples = tmp_path / "sample_2-sample_0_linear3.png", load(run).sample(3, 0.7, seed=5)
    assert torch.equal(cell(path, 0, 0), samples[2]) and torch.equal(cell(path, 0, 2), samples[0])
    assert not (tmp_path / "none").exists()


def test_pictures_that_are_not_reconstructed_exactly_are_named(run: Path, tmp_path: Path) -> None:
    shared = ["checkpoint=faces64", f"output={tmp_path}", "images=[3,5]", "steps=2", "data.cache=false"]
    text = use(interpolate, configure("interpolate", InterpolateConfig, *shared, "precision=bf16"))
    assert "end points: 0 of 2 reconstructed exactly" in text
    for name in ("test_3", "test_5"):
        assert re.search(rf"  {name} is not: it is off by up to [1-9]\d* of 255 grey levels", text)
    assert "is not" not in use(interpolate, configure("interpolate", InterpolateConfig, *shared))


def faces(*numbers: int) -> list[torch.Tensor]:
    source = DrawnFaces("test", image_size=16, n_images=64)
    return [source[number] for number in numbers]


def test_a_chain_has_one_row_per_pair(run: Path, tmp_path: Path) -> None:
    told(run, tmp_path, "images=[0,1,2]", "steps=4", "path=spherical")
    path = tmp_path / "test_0-test_1-test_2_spherical4.png"
    a, b, c = faces(0, 1, 2)
    for (row, column), image in {(0, 0): a, (0, 3): b, (1, 0): b, (1, 3): c}.items():
        assert torch.equal(cell(path, row, column), image)


def test_results_are_shown_four_times_larger(run: Path, tmp_path: Path) -> None:
    shared = (f"checkpoint={run}", f"output={tmp_path}")
    use(interpolate, configure("interpolate", InterpolateConfig, *shared, "images=[3,5]", "steps=3"))
    path = tmp_path / "test_3-test_5_linear3.png"
    with Image.open(path) as picture:
        assert picture.size == (3 * 66 + 2, 68)
    with Image.open(path.with_suffix(".gif")) as film:
        assert film.size == (64, 64)


def test_a_grid_has_its_corners_where_they_belong(run: Path, tmp_path: Path) -> None:
    told(run, tmp_path, "images=[0,1,2,3]", "layout=grid", "steps=3")
    path = tmp_path / "test_0-test_1-test_2-test_3_linear3_grid.png"
    for (row, column), image in zip([(0, 0), (0, 2), (2, 0), (2, 2)], faces(0, 1, 2, 3), strict=True):
        assert torch.equal(cell(path, row, column), image)
    assert not list(tmp_path.glob("*.gif"))


def test_files_of_any_size(run: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (50, 33), (200, 10, 10, 128)).save(tmp_path / "red one.png")
    Image.new("L", (7, 90), 40).save(tmp_path / "grey.webp")
    text = told(run, tmp_path / "out", f"images=['{tmp_path}/red one.png','{tmp_path}/grey.webp']", "steps=3")
    assert "end points: 2 of 2 reconstructed exactly" in text
    assert (tmp_path / "out" / "red_one-grey_linear3.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "images has no value: name files, folders, samples, or numbers of the data set"),
        (["images=[3]"], "images= names one image: give two or more"),
        (["images=[3,99]"], "images=99: drawn_faces test has the images 0 to 63"),
        (["images=[3,me.jpg]"], "image me.jpg does not exist"),
        (["images=[1,2,3]", "layout=grid"], "layout=grid takes four images, one for each corner, and images= names 3"),
        (["images=[1,2]", "steps=1"], "steps=1 is too small: it must be at least 2"),
        (["images=[1,2]", "label=3"], "label=3: this model is not class-conditional"),
    ],
)
def test_mistakes(run: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        told(run, tmp_path, *arguments)


def test_no_film_without_an_encoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    frames = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    monkeypatch.setattr(animation.shutil, "which", lambda name: None)
    assert not animation.save_mp4(frames, tmp_path / "film.mp4", 100)
    monkeypatch.setattr(animation.shutil, "which", lambda name: "/bin/false")
    assert not animation.save_mp4(frames, tmp_path / "film.mp4", 100)
    assert not list(tmp_path.iterdir())


def test_a_film_where_there_is_an_encoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    encoder = tmp_path / "ffmpeg"
    encoder.write_text('#!/bin/sh\nfor last; do :; done\nls "$(dirname "$last")" > "$last"\n')
    encoder.chmod(0o755)
    monkeypatch.setattr(animation.shutil, "which", lambda name: str(encoder))
    assert animation.save_mp4(torch.zeros(3, 3, 16, 16, dtype=torch.uint8), tmp_path / "film.mp4", 100)
    assert (tmp_path / "film.mp4").read_text().split()[:4] == ["00000.png", "00001.png", "00002.png", "00003.png"]


def test_a_class_does_not_name_a_folder() -> None:
    pictures = [Picture(name, torch.zeros(3, 8, 8), 0) for name in ("a", "b")]
    config: Any = SimpleNamespace(path="linear", steps=9, layout="strip", label="T-shirt/top")
    assert _name(pictures, config) == "a-b_linear9_T-shirt_top"
