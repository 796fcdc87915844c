"""Drawn faces with one attribute more or less."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glow_app.data.cache import cached
from glow_app.data.faces.counterfactual import FACTOR_OF, drawn, region, toggled
from glow_app.data.faces.factors import FACE_ATTRIBUTES, FACTOR_NAMES, sample_factors
from glow_app.data.sets.drawn_faces import DrawnFaces
from tests.data.arrays import ArraySource

FACES = [sample_factors(3, index) for index in range(300)]


@pytest.mark.parametrize("attribute", FACE_ATTRIBUTES)
def test_the_attribute_changes(attribute: str) -> None:
    column = FACE_ATTRIBUTES.index(attribute)
    ways: Counter[int] = Counter()
    for face in FACES:
        other = toggled(face, attribute)
        if other is None:
            hair = attribute == "Bangs" or attribute.endswith("_Hair")
            assert face.hat if attribute == "Bald" else (hair and face.bald)
            continue
        assert other.attributes()[column] == 1 - face.attributes()[column]
        assert other.texture_seed == face.texture_seed
        ways[face.attributes()[column]] += 1
    assert min(ways[0], ways[1]) >= 5  # both ways were tried


def test_nothing_else_changes_where_nothing_else_has_to() -> None:
    alone = ("Smiling", "Young", "Eyeglasses", "Male", "Mustache", "Pale_Skin", "Mouth_Slightly_Open", "Rosy_Cheeks")
    for face in FACES[:50]:
        for attribute in alone:
            other = toggled(face, attribute)
            assert other is not None
            differing = [a != b for a, b in zip(face.attributes(), other.attributes(), strict=True)]
            assert sum(differing) == 1


def test_more_of_the_factor_is_more_of_the_attribute() -> None:
    vectors = torch.tensor([face.as_vector() for face in FACES])
    labels = torch.tensor([face.attributes() for face in FACES])
    for attribute, (factor, sign) in FACTOR_OF.items():
        values = sign * vectors[:, FACTOR_NAMES.index(factor)]
        has_it = labels[:, FACE_ATTRIBUTES.index(attribute)].bool()
        assert values[has_it].mean() > values[~has_it].mean() + 0.1


def test_the_region_is_where_the_feature_is() -> None:
    source = DrawnFaces("test", 64, n_images=20)
    middles: dict[str, list[float]] = {"Eyeglasses": [], "Smiling": [], "Wearing_Hat": []}
    for index in range(20):
        for attribute, rows in middles.items():
            found = region(source[index], source.face(index), attribute)
            assert found is not None
            assert found.shape == (64, 64)
            assert 0.01 < found.double().mean() < 0.6
            rows.append(found.nonzero()[:, 0].double().mean().item())
    hat, glasses, mouth = (sum(middles[name]) / 20 for name in ("Wearing_Hat", "Eyeglasses", "Smiling"))
    assert hat < glasses < mouth


def test_no_region_where_there_is_no_counterpart() -> None:
    source = DrawnFaces("test", 16, n_images=1)
    assert region(source[0], replace(source.face(0), bald=True), "Black_Hair") is None


def test_drawn_faces_are_known_through_their_cache(tmp_path: Path) -> None:
    source = DrawnFaces("test", 16, n_images=3)
    assert drawn(source) is source
    assert drawn(cached(source, tmp_path, workers=0, progress=lambda done, total: None)) is source
    assert drawn(ArraySource(3)) is None
