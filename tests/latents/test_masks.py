"""Masks: by name, from files and arrays, and mistakes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from glow_app.errors import UserError
from glow_app.latents.masks import missing


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("left", slice(None), slice(3)),
        ("right", slice(None), slice(3, None)),
        ("top", slice(2), slice(None)),
        ("bottom", slice(2, None), slice(None)),
        ("centre", slice(1, 3), slice(1, 5)),
    ],
)
def test_names(name: str, rows: slice, columns: slice) -> None:
    expected = torch.zeros(4, 6, dtype=torch.bool)
    expected[rows, columns] = True
    assert torch.equal(missing(name, 4, 6), expected)


def test_random_pixels_are_as_many_as_asked_for_and_follow_the_seed() -> None:
    first = missing("random:0.3", 10, 20, seed=1)
    assert first.sum() == 60
    assert torch.equal(first, missing("random:0.3", 10, 20, seed=1))
    assert not torch.equal(first, missing("random:0.3", 10, 20, seed=2))


def test_what_is_white_is_missing(tmp_path: Path) -> None:
    levels = np.array([[0, 127, 128], [255, 10, 200]], dtype=np.uint8)
    expected = torch.tensor([[False, False, True], [True, False, True]])
    Image.fromarray(levels).save(tmp_path / "grey.png")
    Image.fromarray(levels).convert("RGB").save(tmp_path / "colour.png")
    files = [str(tmp_path / "grey.png"), tmp_path / "colour.png"]
    for mask in [*files, levels, Image.fromarray(levels), expected, expected.float().numpy()]:
        assert torch.equal(missing(mask, 2, 3), expected)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("rigth", r"mask=rigth is neither a file nor one of left, .* random:0.5: did you mean right\?$"),
        ("random:0", "mask=random:0: the share that is missing must be above 0 and below 1"),
        ("random:1.5", "mask=random:1.5: the share"),
        ("random:0.0001", "mask=random:0.0001: nothing is missing"),
        (np.zeros((4, 4)), "the mask: nothing is missing; paint what is to be filled white"),
        (np.ones((4, 4)), "the mask: everything is missing"),
        (np.eye(5), "the mask has 5 x 5 pixels, and the model's images 4 x 4: resize it"),
        (np.ones((3, 4, 4)), r"the mask has shape \(3, 4, 4\): give \(H, W\)"),
    ],
)
def test_mistakes(mask: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        missing(mask, 4, 4)


def test_mistakes_in_files(tmp_path: Path) -> None:
    Image.new("L", (6, 4), 255).save(tmp_path / "large.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match=r"large\.png has 6 x 4 pixels, and the model's images 4 x 4"):
        missing(str(tmp_path / "large.png"), 4, 4)
    with pytest.raises(UserError, match=r"text\.png"):
        missing(tmp_path / "text.png", 4, 4)
