"""Data sets that a program has as objects."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from glow_app.data.sets.own import Own, as_source
from glow_app.data.source import fingerprint_digest
from glow_app.errors import UserError

PIXELS = torch.randint(0, 256, (6, 3, 8, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
ARRAYS = PIXELS.permute(0, 2, 3, 1).numpy()


class Listed(list):
    """A list with attributes."""


@pytest.mark.parametrize(
    "images",
    [
        list(PIXELS),
        PIXELS,
        list(ARRAYS),
        [Image.fromarray(array) for array in ARRAYS],
        PIXELS / 255,
        TensorDataset(PIXELS),
    ],
    ids=["tensors", "one tensor", "arrays", "pictures", "floats", "rows"],
)
def test_images_of_any_kind(images: Sequence[Any]) -> None:
    source = Own(images, "val")
    assert (source.image_shape, len(source), source.split, source.classes) == ((3, 8, 12), 6, "val", None)
    assert torch.equal(source.fetch(range(6)), PIXELS)
    assert as_source(source, "val") is source


def test_other_images_have_another_fingerprint() -> None:
    digests = {fingerprint_digest(Own(images, "train")) for images in (PIXELS, PIXELS.flip(3), list(PIXELS))}
    assert len(digests) == 3
    assert fingerprint_digest(Own(PIXELS.clone(), "train")) in digests


def test_grey_pictures_have_one_channel() -> None:
    grey = Image.fromarray(ARRAYS[0]).convert("L")
    for images in ([grey], [np.asarray(grey)], [np.asarray(grey)[:, :, None]]):
        assert torch.equal(Own(images, "train")[0], torch.from_numpy(np.array(grey))[None])


def test_pairs_have_classes() -> None:
    labels = torch.tensor([2, 0, 1, 1, 0, 2])
    source = Own(TensorDataset(PIXELS, labels), "train")
    assert source.classes is not None
    assert torch.equal(source.classes, labels)
    assert source.class_names == ("0", "1", "2")
    assert torch.equal(source[5], PIXELS[5])


def test_classes_as_torchvision_has_them() -> None:
    images = Listed((pixels, None) for pixels in PIXELS)  # the labels of the pairs are not read
    images.targets, images.classes = [0, 1, 0, 1, 0, 1], ["cat", "dog"]
    source = Own(images, "train")
    assert source.class_names == ("cat", "dog")
    assert source.classes is not None
    assert source.classes.tolist() == images.targets


def test_attributes() -> None:
    images = Listed(PIXELS)
    images.attribute_names, images.attributes = ["Smiling", "Young"], [[0, 1]] * 6
    source = Own(images, "train")
    assert source.attribute_names == ("Smiling", "Young")
    assert source.attributes is not None
    assert source.attributes.tolist() == images.attributes
    images.attributes = [[0, 1]] * 5
    with pytest.raises(UserError, match=r"attributes of the train images have shape \(5, 2\): .* 6 images, .* 2 names"):
        Own(images, "train")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "there are no train images: this list has length 0"),
        (["a.png"], "train image 0 is str: give a tensor"),
        ([PIXELS], r"train image 0 is \(6, 3, 8, 12\): give a tensor"),
        ([254.0 * (PIXELS[0] > 99)], r"train image 0: images are float32 \(3, 8, 12\) from 0 to 254: give uint8"),
        ([PIXELS[0].numpy()], r"train image 0: an array of shape \(3, 8, 12\) is no image"),
        ([(PIXELS[0], "cat")], "the labels of the train images are no numbers of classes"),
        ([(PIXELS[0], 0.5)], r"the labels of the train images are torch.float32 \(1,\): give the number of a class"),
        ([(PIXELS[0], -1)], "give the number of a class"),
    ],
)
def test_what_is_no_data_set(images: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Own(images, "train")


def test_images_of_several_shapes() -> None:
    with pytest.raises(UserError, match=r"test image 1 has shape \(3, 8, 8\), and the first one \(3, 8, 12\)"):
        Own([PIXELS[0], PIXELS[1, :, :, :8]], "test").fetch([0, 1])
