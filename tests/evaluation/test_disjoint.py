"""Images that serve two purposes are found."""

from typing import Any

import pytest

from glow_app.errors import UserError
from glow_app.evaluation.disjoint import Part, require_disjoint

FACES: dict[str, Any] = {"name": "drawn_faces", "seed": 0, "image_size": 32}
FILES: dict[str, Any] = {"name": "celeba", "root": "/data/celeba", "validation_identities": None, "image_size": 32}


def part(what: str, first: int, n: int, split: str = "val", fingerprint: str = "f", **data: Any) -> Part:
    return Part(what, f"options of {what}", FACES | data, split, first, n, fingerprint)


def test_ranges_that_only_touch_share_nothing() -> None:
    require_disjoint([part("a", 0, 10), part("b", 10, 10), part("c", 0, 100, split="test", fingerprint="g")])


def test_an_overlap_is_named_with_what_to_change() -> None:
    parts = [part("a", 0, 10, split="test", fingerprint="t"), part("b", 0, 11), part("c", 10, 5)]
    with pytest.raises(UserError) as error:
        require_disjoint(parts)
    expected = "b and c share the images 10 to 10 of drawn_faces val: change options of b, or options of c"
    assert str(error.value) == expected


def test_the_same_pictures_at_another_size_are_the_same_pictures() -> None:
    with pytest.raises(UserError, match="share the images 5 to 9"):
        require_disjoint([part("a", 0, 10), part("b", 5, 10, fingerprint="g", image_size=64)])


@pytest.mark.parametrize("other", [{"name": "folder"}, {"seed": 1}])
def test_other_pictures_are_others(other: dict[str, Any]) -> None:
    require_disjoint([part("a", 0, 10), part("b", 0, 10, fingerprint="g", **other)])


def test_folders_are_compared_as_places() -> None:
    same = FILES | {"root": "/data/elsewhere/../celeba", "image_size": 64}
    with pytest.raises(UserError, match="share the images 0 to 9 of celeba val"):
        require_disjoint([part("a", 0, 10, **FILES), part("b", 0, 10, fingerprint="g", **same)])
    require_disjoint([part("a", 0, 10, **FILES), part("b", 0, 10, fingerprint="g", **FILES | {"root": "/data/other"})])


def test_splits_that_were_made_in_another_way_cannot_be_compared() -> None:
    others = FILES | {"validation_identities": 10}
    with pytest.raises(UserError, match=r"data.validation_identities=10.*use the same"):
        require_disjoint([part("a", 0, 10, "train", **FILES), part("b", 0, 10, "val", "g", **others)])
