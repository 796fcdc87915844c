"""Data sets of the hub, through a stand-in for its library."""

import pickle
import sys
from typing import Any

import pytest
import torch

from glow_app.data.image import CorruptImage, to_tensor
from glow_app.data.sets.hf import HubImages
from glow_app.data.transforms import centre_crop_aspect, resize_bilinear
from glow_app.errors import UserError
from tests.data.layouts import encode, picture


class Image:
    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class ClassLabel:
    def __init__(self, names: list[str]) -> None:
        self.names = names


class Part:
    """As much of ``datasets.Dataset`` as is used."""

    def __init__(self, n: int, first: int, labels: list[int] | None, decodes: bool = True) -> None:
        self.n, self.first, self.labels, self.decodes = n, first, labels, decodes
        self.features = {"id": object(), "picture": Image(), "mask": Image()}
        if labels is not None:
            self.features["kind"] = ClassLabel(["cat", "dog"])
        self._fingerprint = f"part {first}"

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return self.labels
        assert not self.decodes, "the library would decode"
        return {"picture": {"bytes": encode(picture(self.first + key, 20, 30), "PNG"), "path": None}}

    def cast_column(self, column: str, feature: Image) -> "Part":
        assert column == "picture"
        return Part(self.n, self.first, self.labels, feature.decode)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Part]:
    """The splits of the only data set of the hub, ``me/cats``."""
    parts: dict[str, Part] = {}

    class Library:
        pass

    def load_dataset(root: str) -> dict[str, Part]:
        if root != "me/cats":
            raise RuntimeError("no such data set\nat all")
        return parts

    library: Any = Library()
    library.Image, library.ClassLabel, library.load_dataset = Image, ClassLabel, load_dataset
    monkeypatch.setitem(sys.modules, "datasets", library)
    return parts


def test_splits_pixels_and_classes(hub: dict[str, Part]) -> None:
    hub |= {"train": Part(30, 0, [0, 1] * 15), "validation": Part(3, 50, [1, 1, 0]), "test": Part(2, 90, [-1, -1])}
    train, val, test = (HubImages("me/cats", split, (16, 16)) for split in ("train", "val", "test"))
    assert [len(train), len(val), len(test)] == [30, 3, 2]
    expected = to_tensor(resize_bilinear(centre_crop_aspect(picture(51, 20, 30), 16, 16), 16, 16))
    assert torch.equal(pickle.loads(pickle.dumps(val))[1], expected)
    assert val.class_names == train.class_names == ("cat", "dog")
    assert val.classes is not None and val.classes.tolist() == [1, 1, 0]
    assert test.classes is None  # withheld
    assert len({str(source.fingerprint()) for source in (train, val, test)}) == 3
    assert val.item_name(1) == "me/cats val 1"
    assert HubImages("me/cats", "val", 16, channels=1)[0].shape == (1, 16, 16)


def test_missing_splits_are_taken_from_train(hub: dict[str, Part]) -> None:
    hub["train"] = Part(200, 0, None)
    rows = {split: HubImages("me/cats", split, 16).rows for split in ("train", "val", "test")}
    assert sorted(rows["train"] + rows["val"] + rows["test"]) == list(range(200))
    assert all(10 <= len(rows[split]) <= 30 for split in ("val", "test"))
    hub["test"] = Part(5, 300, None)
    again = {split: HubImages("me/cats", split, 16).rows for split in ("train", "val", "test")}
    assert again == {"train": sorted(rows["train"] + rows["test"]), "val": rows["val"], "test": [0, 1, 2, 3, 4]}


def test_what_is_wrong_is_told_in_one_line(hub: dict[str, Part], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^data=hf: me/dogs cannot be loaded \(no such data set\); check the name"):
        HubImages("me/dogs", "train", 16)
    hub["all"] = Part(3, 0, None)
    with pytest.raises(UserError, match="me/cats has no split train, but all"):
        HubImages("me/cats", "train", 16)
    hub["train"] = Part(3, 0, None)
    hub["train"].features = {"text": object()}
    with pytest.raises(UserError, match=r"no column of images \(text: object\)"):
        HubImages("me/cats", "train", 16)
    hub["train"] = Part(3, 0, None)
    monkeypatch.setattr("tests.data.sets.test_hf.encode", lambda *of: b"no picture")
    with pytest.raises(CorruptImage, match="me/cats train 0"):
        HubImages("me/cats", "train", 16)[0]
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"data=hf needs datasets: install it with pip install 'glow_app\[hf\]'"):
        HubImages("me/cats", "train", 16)
