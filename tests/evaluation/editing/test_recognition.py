"""Distances between persons."""

from importlib.util import find_spec

import pytest
import torch

from glow_app.data.landmarks import is_installed
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.evaluation.editing.recognition import distance, embed, pairs_of


def test_pairs_by_hand() -> None:
    same, two = pairs_of([5, 7, 5, 8, 9, 5])
    assert same == [(0, 2), (2, 5)]
    assert two == [(0, 3), (1, 4)]
    assert pairs_of([1, 2, 3]) == ([], [])


def test_distance_by_hand() -> None:
    assert distance(torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]])) == 3


@pytest.mark.skipif(not is_installed(), reason="the extra align is not installed")
def test_a_face_is_at_no_distance_from_itself_and_at_some_from_another() -> None:
    faces = DrawnFaces("test", 64, n_images=2)
    assert faces.eyes is not None
    first, again, other = embed(faces.fetch([0, 0, 1]), faces.eyes)
    assert first.shape == (128,) and first.dtype == torch.float64
    assert torch.equal(first, again) and (first - other).norm() > 0.05
    assert embed(faces.fetch([0])[:, :1], faces.eyes).isfinite().all()  # grey


def test_the_packages_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_installed() == all(find_spec(name) for name in ("dlib", "face_recognition_models"))
    monkeypatch.setattr("glow_app.data.landmarks.find_spec", lambda name: None)
    assert not is_installed()
