"""Ways to edit, compared."""

from pathlib import Path
from typing import Any

import torch

from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.evaluation.editing.comparison import Compared, compare
from glow_app.evaluation.editing.editors import in_pixels
from glow_app.evaluation.judge import Judge, Verdict
from glow_app.model import load


class Blind(Judge):
    """Sees what the labels do not say, or what they do."""

    sight: bool = False

    def forward(self, images: torch.Tensor) -> Verdict:
        named = images.flatten(1).float().mean(1) > 128
        return Verdict(
            (2.0 * (named == self.sight).float() - 1)[:, None].expand(-1, len(self.attributes)), images[:, :0]
        )


class Labelled(DrawnFaces):
    """Drawn faces of which the first half is called ``Smiling``: their pixels are white, those of the others black."""

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full(self.image_shape, 200 if index < len(self) // 2 else 50, dtype=torch.uint8)


def compared(run: Path, sight: bool) -> Compared | None:
    faces = Labelled("test", 16, n_images=12)
    column = faces.attribute_names.index("Smiling")
    faces.attributes = faces.attributes.clone()
    faces.attributes[:, column] = (torch.arange(12) < 6).to(torch.uint8)
    model = load(run)
    judge = Blind(faces.image_shape, faces.attribute_names, ())
    judge.sight = sight
    brighter = in_pixels(model, ["Smiling"], torch.full((1, *faces.image_shape), 100.0).double(), torch.ones(1))
    options: dict[str, Any] = {"amounts": [0.5, 1.0], "success": 0.5, "curve_images": 6, "seed": 0, "batch_size": 5}
    return compare(model, judge, {"pixels": brighter}, faces, range(12), ["Smiling"], **options, eyes=None)


def test_edits_that_succeed(run: Path) -> None:
    found = compared(run, sight=True)
    assert found is not None
    assert [point.success for point in found.curves["pixels"]["Smiling"]] == [0, 1]
    equal = found.equal["pixels"]["Smiling"]
    assert equal is not None and equal.amount == 0.75
    assert found.images == 12 and found.moved is None and found.persons is None
    assert found.told["none"] == 0.5


def test_nothing_is_compared_where_the_judge_sees_nothing_rightly(run: Path) -> None:
    assert compared(run, sight=False) is None
