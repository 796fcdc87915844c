"""A run tells whether its data are still the same."""

from pathlib import Path

from glow_app.data.identity import IMAGES, difference, remember
from glow_app.data.sets.drawn_faces import DrawnFaces


def test_other_images_are_told_apart(tmp_path: Path) -> None:
    source = DrawnFaces("val", 16, 0, 20)
    assert difference(source, tmp_path) is None  # a run that does not say
    remember([source], tmp_path)
    assert difference(DrawnFaces("val", 16, 0, 20), tmp_path) is None
    assert difference(DrawnFaces("test", 16, 0, 20), tmp_path) is None
    start = "the val images of data=drawn_faces are not those that the run began with"
    assert difference(DrawnFaces("val", 16, 1, 20), tmp_path) == f"{start} (other pixels)"
    assert difference(DrawnFaces("val", 16, 0, 21), tmp_path) == f"{start} (20 then, 21 now)"
    (tmp_path / IMAGES).write_text("{")
    assert difference(source, tmp_path) is None
