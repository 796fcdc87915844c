"""CelebA-HQ: reduction by means, both partitions, attributes by number and through the mapping."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glow_app.data.image import CorruptImage
from glow_app.data.sets.celeba_hq import CelebAHQ
from glow_app.data.source import EmptySplit
from glow_app.errors import UserError
from tests.data.layouts import write_lines


def write(folder: Path, n: int = 20, side: int = 16, first: int = 0, name: str = "{}.png") -> np.ndarray:
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    for k in range(n):
        Image.fromarray(pixels[k]).save(folder / name.format(first + k))
    return pixels


def write_mapping(root: Path, n: int = 20) -> None:
    lines = [f"{k}         {100 - k}        {101 - k:06d}.jpg" for k in range(n)]
    write_lines(root / "CelebA-HQ-to-CelebA-mapping.txt", ["idx     orig_idx     orig_file", *lines])


def test_images_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write(tmp_path / "CelebA-HQ-img", name="{}.jpg")
    train, val, test = (CelebAHQ(tmp_path, split, 16, validation=3) for split in ("train", "val", "test"))
    assert train.files == [f"{k}.jpg" for k in range(15)]
    assert val.files == ["15.jpg", "16.jpg", "17.jpg"]
    assert test.files == ["18.jpg", "19.jpg"]
    assert CelebAHQ(tmp_path / "CelebA-HQ-img", "test", 16).files == test.files
    with pytest.raises(EmptySplit):
        CelebAHQ(tmp_path, "val", 16, validation=0)


def test_larger_images_are_reduced_by_means_with_one_floor(tmp_path: Path) -> None:
    pixels = write(tmp_path / "images", n=3, side=64)
    source = CelebAHQ(tmp_path / "images", "train", 8, validation=0)
    expected = pixels.reshape(3, 8, 8, 8, 8, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2)
    assert torch.equal(source.fetch(range(3)), torch.from_numpy(np.floor(expected).astype(np.uint8)))
    assert torch.equal(
        CelebAHQ(tmp_path / "images", "train", 64, validation=0)[2],
        torch.from_numpy(pixels[2].transpose(2, 0, 1).copy()),
    )
    assert source.image_shape == (3, 8, 8)
    copy = pickle.loads(pickle.dumps(source))
    assert torch.equal(copy[1], source[1])
    assert copy.fingerprint() == source.fingerprint()


@pytest.mark.parametrize(("side", "size"), [(48, 16), (16, 32), (20, 16)])
def test_other_sizes_are_refused(tmp_path: Path, side: int, size: int) -> None:
    write(tmp_path / "images", n=3, side=side)
    source = CelebAHQ(tmp_path / "images", "train", size, validation=0, on_corrupt="skip")
    with pytest.raises(
        UserError, match=rf"is {side}x{side}: data=celeba_hq needs squares of data\.image_size={size} or"
    ) as caught:
        source[0]
    assert not isinstance(caught.value, CorruptImage)


def test_attributes_of_celebamask_hq(tmp_path: Path) -> None:
    write(tmp_path / "CelebA-HQ-img", n=10)
    rows = [f"{k}.jpg  {1 if k % 2 else -1}  {1 if k > 4 else -1}" for k in range(10)]
    write_lines(tmp_path / "CelebAMask-HQ-attribute-anno.txt", ["10", "Smiling Young ", *rows])
    source = CelebAHQ(tmp_path, "val", 16, validation=3)
    assert source.attribute_names == ("Smiling", "Young")
    assert torch.as_tensor(source.attributes).tolist() == [[0, 1], [1, 1], [0, 1]]
    write_lines(tmp_path / "CelebAMask-HQ-attribute-anno.txt", ["9", "Smiling Young ", *rows[:3], *rows[4:]])
    with pytest.raises(UserError, match=r"1 images have no row, the first is 3\.png"):
        CelebAHQ(tmp_path, "train", 16, validation=3)


def test_attributes_and_partition_of_celeba_through_the_mapping(tmp_path: Path) -> None:
    write(tmp_path / "celeba_hq_256", n=6, name="{:05d}.png")
    with pytest.raises(UserError, match=r"needs CelebA-HQ-to-CelebA-mapping\.txt and list_eval_partition\.txt"):
        CelebAHQ(tmp_path, "test", 16, partition="celeba")
    write_mapping(tmp_path, 6)
    names = [f"{k:06d}.jpg" for k in range(90, 102)]
    write_lines(
        tmp_path / "list_attr_celeba.txt", ["12", "Male", *(f"{n} {1 if n > '000098.jpg' else -1}" for n in names)]
    )
    write_lines(tmp_path / "list_eval_partition.txt", [f"{n} {k % 3}" for k, n in enumerate(names)])
    assert torch.as_tensor(CelebAHQ(tmp_path, "train", 16, validation=1).attributes).flatten().tolist() == [
        1,
        1,
        1,
        0,
        0,
    ]
    parts = {split: CelebAHQ(tmp_path, split, 16, partition="celeba") for split in ("train", "val", "test")}
    assert {split: source.files for split, source in parts.items()} == {
        "test": ["00000.png", "00003.png"],
        "val": ["00001.png", "00004.png"],
        "train": ["00002.png", "00005.png"],
    }
    assert torch.as_tensor(parts["test"].attributes).flatten().tolist() == [1, 0]
    for path in tmp_path.glob("*.txt"):
        path.write_text(path.read_text(), encoding="utf-16", newline="\r\n")
    marked = CelebAHQ(tmp_path, "test", 16, partition="celeba")
    assert (marked.files, torch.as_tensor(marked.attributes).flatten().tolist()) == (parts["test"].files, [1, 0])
    (tmp_path / "CelebA-HQ-to-CelebA-mapping.txt").write_text("idx orig_idx orig_file\n1 2\n")
    with pytest.raises(UserError, match="lines of idx, orig_idx and orig_file"):
        CelebAHQ(tmp_path, "train", 16)


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no images in .*put the 30,000 images there"):
        CelebAHQ(tmp_path, "train")
    write(tmp_path / "a" / "data256x256", n=3)
    with pytest.raises(UserError, match=rf"set data\.root={tmp_path / 'a' / 'data256x256'}$"):
        CelebAHQ(tmp_path, "train")
    write(tmp_path / "a" / "data512x512", n=3)
    with pytest.raises(UserError, match=r"several folders with images .*data256x256, data512x512"):
        CelebAHQ(tmp_path / "a", "train")
    for part in ("train/female", "train/male", "val/female", "val/male"):
        write(tmp_path / "stargan" / "celeba_hq" / part, n=2)
    for root in (tmp_path / "stargan", tmp_path / "stargan" / "celeba_hq"):
        with pytest.raises(UserError, match=rf"use data=folder data\.root={tmp_path}/stargan/celeba_hq, which keeps"):
            CelebAHQ(root, "train")
    with pytest.raises(UserError, match=r"\(female, male\).*or use data=folder, which takes them together"):
        CelebAHQ(tmp_path / "stargan" / "celeba_hq" / "train", "train")
    write(tmp_path / "named", n=2, name="{}_face.png")
    with pytest.raises(UserError, match=r"0_face\.png has no number"):
        CelebAHQ(tmp_path / "named", "train")
    write(tmp_path / "twice", n=2)
    write(tmp_path / "more", n=2, name="{:03d}.png")
    (tmp_path / "more" / "001.png").rename(tmp_path / "twice" / "001.png")
    with pytest.raises(UserError, match="have the same number"):
        CelebAHQ(tmp_path / "twice", "train")
