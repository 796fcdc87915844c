"""CelebA from its folder and from its zip, and what a damaged or mixed download says."""

import hashlib
import pickle
import shutil
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from glow_app.data.cache import cached
from glow_app.data.formats.image_store import ZipStore
from glow_app.data.image import CorruptImage, decode_image
from glow_app.data.sets.celeba import CelebA
from glow_app.errors import UserError
from tests.data.layouts import CELEBA_COLUMNS, encode, picture, real_data, write_celeba, zip_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_celeba(tmp_path / "celeba", ends="\r\n")


@pytest.mark.parametrize(("split", "names"), [("train", ["1", "2", "3"]), ("val", ["4"]), ("test", ["5"])])
def test_the_official_partition(root: Path, split: str, names: list[str]) -> None:
    source = CelebA(root, split)
    assert source.files == [f"00000{name}.jpg" for name in names]
    assert len(source) == len(names)
    assert source.item_name(0) == source.files[0]
    assert source.name == "celeba"


def test_attributes_and_identities_go_with_their_images(root: Path) -> None:
    source = CelebA(root, "train")
    assert source.attribute_names == CELEBA_COLUMNS
    assert source.attributes is not None
    assert source.identities is not None
    assert source.attributes.dtype == torch.uint8
    assert source.attributes.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert source.identities.tolist() == [10, 11, 12]


def test_pixels_are_crop_148_then_antialiased_bilinear(root: Path) -> None:
    source = CelebA(root, "train", 64)
    full = decode_image(root / "img_align_celeba" / "000002.jpg").permute(1, 2, 0).numpy()
    expected = Image.fromarray(full[35:183, 15:163]).resize((64, 64), Image.Resampling.BILINEAR)
    assert source[1].permute(1, 2, 0).numpy().tobytes() == expected.tobytes()
    assert source.image_shape == (3, 64, 64)
    assert source.preprocessing == "crop 148, antialiased bilinear to 64x64"
    assert CelebA(root, "train", 32, channels=1)[0].shape == (1, 32, 32)
    assert CelebA(root, "train", (48, 32), crop=None)[0].shape == (3, 48, 32)
    narrow = Image.fromarray(full[35:183, 15 + 37 : 15 + 111]).resize((32, 64), Image.Resampling.BILINEAR)
    assert CelebA(root, "train", (64, 32))[1].permute(1, 2, 0).numpy().tobytes() == narrow.tobytes()
    with pytest.raises(UserError, match=r"data\.crop=0"):
        CelebA(root, "train", crop=0)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_zip_gives_what_the_folder_gives(root: Path, method: int) -> None:
    folder = CelebA(root, "train", 64)
    expected = [folder[i] for i in range(3)]
    zip_folder(root / "img_align_celeba", root / "img_align_celeba.zip", method)
    shutil.rmtree(root / "img_align_celeba")
    for where in (root, root.parent, root / "img_align_celeba.zip"):
        packed = CelebA(where, "train", 64)
        assert packed.files == folder.files
        for source in (packed, pickle.loads(pickle.dumps(packed))):
            assert all(torch.equal(source[i], expected[i]) for i in (2, 0, 1))
    assert b"BufferedReader" not in pickle.dumps(packed)


def test_other_layouts_of_the_same_files(root: Path) -> None:
    expected = CelebA(root, "train")
    expected_pixels = expected[2]
    for folder, name in (
        ("Eval", "list_eval_partition.txt"),
        ("Anno", "list_attr_celeba.txt"),
        ("Img", "img_align_celeba"),
    ):
        (root / folder).mkdir()
        shutil.move(root / name, root / folder / name)
    downloaded = CelebA(root, "train")
    assert torch.equal(downloaded[2], expected_pixels)
    assert downloaded.attribute_names == CELEBA_COLUMNS
    inner = root / "Img" / "img_align_celeba"
    shutil.move(inner, root / "inner")
    inner.mkdir()
    shutil.move(root / "inner", inner / "img_align_celeba")
    assert CelebA(root, "train").files == expected.files


def test_tables_as_csv(root: Path) -> None:
    expected = CelebA(root, "train")
    for stem, header in (
        ("list_attr_celeba", "image_id,Male,Smiling,Young"),
        ("list_eval_partition", "image_id,partition"),
    ):
        lines = (root / f"{stem}.txt").read_text().splitlines()[2 if "attr" in stem else 0 :]
        (root / f"{stem}.txt").unlink()
        (root / f"{stem}.csv").write_text("\n".join([header, *(",".join(line.split()) for line in lines)]))
    source = CelebA(root, "train")
    assert source.files == expected.files
    assert torch.equal(torch.as_tensor(source.attributes), torch.as_tensor(expected.attributes))


def test_without_attributes_and_identities_there_are_still_images(root: Path) -> None:
    (root / "list_attr_celeba.txt").unlink()
    (root / "identity_CelebA.txt").unlink()
    source = CelebA(root, "val")
    assert (source.attributes, source.identities, source.attribute_names) == (None, None, ())
    with pytest.raises(UserError, match="needs identity_CelebA"):
        CelebA(root, "val", validation_identities=2)


def test_validation_by_identity_takes_persons_out_of_train(root: Path) -> None:
    assert CelebA(root, "val", validation_identities=11).files == ["000002.jpg"]
    assert CelebA(root, "train", validation_identities=11).files == ["000001.jpg", "000003.jpg"]
    assert CelebA(root, "test", validation_identities=11).files == ["000005.jpg"]
    with pytest.raises(UserError, match="at least 2"):
        CelebA(root, "val", validation_identities=1)


def test_the_fingerprint_follows_pixels(root: Path) -> None:
    first = CelebA(root, "train").fingerprint()
    assert first == CelebA(root, "train").fingerprint()
    assert first != CelebA(root, "train", crop=140).fingerprint()
    assert first != CelebA(root, "train", validation_identities=11).fingerprint()
    (root / "img_align_celeba" / "000001.jpg").write_bytes(encode(picture(99, 218, 178), "JPEG"))
    assert first != CelebA(root, "train").fingerprint()


def test_missing_images_are_an_error_unless_a_subset_is_meant(root: Path) -> None:
    (root / "img_align_celeba" / "000002.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of 3 images of train are not in .*000002\.jpg.*data\.subset=true"):
        CelebA(root, "train")
    source = CelebA(root, "train", subset=True)
    assert source.files == ["000001.jpg", "000003.jpg"]
    assert source.missing == 1
    assert source.attributes is not None
    assert source.attributes.tolist() == [[0, 0, 0], [0, 1, 0]]
    (root / "img_align_celeba" / "000004.jpg").unlink()
    with pytest.raises(UserError, match="none of the 1 images of val"):
        CelebA(root, "val", subset=True)


def test_rows_and_images_of_different_downloads(root: Path) -> None:
    shutil.copy(root / "img_align_celeba" / "000001.jpg", root / "img_align_celeba" / "000009.jpg")
    with pytest.raises(UserError, match=r"1 images in .* have no row in .*000009\.jpg"):
        CelebA(root, "train")
    assert len(CelebA(root, "train", subset=True)) == 3
    identities = root / "identity_CelebA.txt"
    identities.write_text(identities.read_text() + "000008.jpg 7\n")
    (root / "img_align_celeba" / "000009.jpg").unlink()
    with pytest.raises(UserError, match=r"1 rows are not in the partition file, one is 000008\.jpg"):
        CelebA(root, "train")
    partition = root / "list_eval_partition.txt"
    partition.write_text(partition.read_text() + "000009.jpg 0\n")
    with pytest.raises(UserError, match=r"identity_CelebA\.txt: 1 images of the partition have no row"):
        CelebA(root, "train")
    (root / "identity_CelebA.txt").unlink()
    partition.write_text("000001.jpg 0\n")
    with pytest.raises(UserError, match="have no row in"):
        CelebA(root, "train")


@pytest.mark.parametrize("name", ["list_attr_celeba.txt", "list_eval_partition.txt", "identity_CelebA.txt"])
def test_a_web_page_saved_as_text(root: Path, name: str) -> None:
    (root / name).write_text("\n<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title></html>")
    with pytest.raises(UserError, match=rf"{name} is a web page, not data"):
        CelebA(root, "train")


def test_damaged_zips(root: Path) -> None:
    target = zip_folder(root / "img_align_celeba", root / "img_align_celeba.zip", zipfile.ZIP_STORED)
    shutil.rmtree(root / "img_align_celeba")
    whole = target.read_bytes()
    place = whole.index(b"\xff\xd8\xff") + 500
    target.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
    with pytest.raises(CorruptImage, match=r"000001\.jpg in .*checksum"):
        CelebA(root, "train")[0]
    assert CelebA(root, "train")[1].shape == (3, 64, 64)
    target.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is not a complete zip: cut short"):
        CelebA(root, "train")
    target.write_text("<html><body>Too many users have viewed this file</body></html>")
    with pytest.raises(UserError, match="is a web page"):
        CelebA(root, "train")


def test_a_page_among_the_images_is_named(root: Path) -> None:
    (root / "img_align_celeba" / "000003.jpg").write_text("<!doctype html>")
    with pytest.raises(CorruptImage, match=r"000003\.jpg: a web page"):
        CelebA(root, "train")[2]


def test_images_smaller_than_the_crop_are_not_skipped_as_corrupt(tmp_path: Path) -> None:
    root = write_celeba(tmp_path / "celeba", size=(128, 128))
    with pytest.raises(UserError, match=r"is 128 x 128, smaller than data\.crop=148.*data\.crop=null") as caught:
        CelebA(root, "train", on_corrupt="skip")[0]
    assert not isinstance(caught.value, CorruptImage)
    assert CelebA(root, "train", 64, crop=None)[0].shape == (3, 64, 64)


def test_the_wrong_level_names_the_right_one(root: Path) -> None:
    assert CelebA(root.parent, "train").files == CelebA(root, "train").files
    with pytest.raises(UserError, match=r"set data\.root to the folder that holds them, or put ") as caught:
        CelebA(root / "img_align_celeba", "train")
    assert f"data.root={root}" not in str(caught.value), "nothing outside of data.root is looked at"
    outer = root.parent / "outer"
    outer.mkdir()
    shutil.move(root, outer / "faces")
    with pytest.raises(UserError, match=rf"wrong level; set data\.root={outer / 'faces'}$"):
        CelebA(outer, "train")
    shutil.rmtree(outer / "faces")
    with pytest.raises(UserError, match=r"put img_align_celeba\.zip, list_eval_partition\.txt"):
        CelebA(outer, "train")
    with pytest.raises(UserError, match="does not exist"):
        CelebA(root.parent / "nowhere", "train")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("folder", ["img_align_celeba", "img_align_celeba_png"])
def test_lossless_images_beside_tables_that_say_jpg(root: Path, folder: str, packed: bool) -> None:
    expected = CelebA(root, "train")
    pixels = torch.stack([expected[i] for i in range(3)])
    images = root / folder
    images.mkdir(exist_ok=True)
    for path in sorted((root / "img_align_celeba").glob("*.jpg")):
        Image.open(path).save(images / path.with_suffix(".png").name)
        path.unlink()
    if folder != "img_align_celeba":
        (root / "img_align_celeba").rmdir()
    if packed:
        zip_folder(images, root / f"{folder}.zip", zipfile.ZIP_STORED)
        shutil.rmtree(images)
    lossless = CelebA(root, "train")
    assert lossless.files == ["000001.png", "000002.png", "000003.png"]
    assert torch.equal(torch.stack([lossless[i] for i in range(3)]), pixels)
    assert torch.equal(torch.as_tensor(lossless.attributes), torch.as_tensor(expected.attributes))


def test_the_published_jpeg_files_come_before_the_lossless(root: Path) -> None:
    (root / "img_align_celeba_png").mkdir()
    assert CelebA(root, "train").files[0] == "000001.jpg"
    Image.new("RGB", (178, 218)).save(root / "img_align_celeba" / "000001.png")
    with pytest.raises(UserError, match=r"1 images in .* have no row in .*000001\.png"):
        CelebA(root, "train")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_tables_as_windows_saves_them(tmp_path: Path, encoding: str, ends: str) -> None:
    root = write_celeba(tmp_path, ends=ends)
    expected = CelebA(root, "train")
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    for path in root.glob("*.txt"):
        path.write_bytes((mark + path.read_bytes().decode()).encode(encoding))
    source = CelebA(root, "train")
    assert (source.files, source.attribute_names) == (expected.files, expected.attribute_names)
    assert torch.equal(torch.as_tensor(source.attributes), torch.as_tensor(expected.attributes))
    assert torch.equal(torch.as_tensor(source.identities), torch.as_tensor(expected.identities))
    (root / "list_eval_partition.txt").write_bytes(b"\xff\xfea")
    with pytest.raises(UserError, match="begins as UTF-16 text and is none"):
        CelebA(root, "train")


@pytest.mark.parametrize("inside", [False, True])
def test_images_in_the_wild_belong_to_another_data_set(root: Path, inside: bool) -> None:
    wild = (root / "img_align_celeba").rename(root / "img_celeba")
    with pytest.raises(UserError, match=rf"in the wild.* data=folder data\.root={wild}$"):
        CelebA(wild if inside else root, "train")


def test_a_root_far_too_high_is_answered_soon(tmp_path: Path) -> None:
    for k in range(40):
        for j in range(10):
            (tmp_path / "high" / f"{k}" / f"{j}").mkdir(parents=True)
    write_celeba(tmp_path / "celeba")
    for root in (Path("/"), Path.home(), tmp_path / "high"):
        begin = time.monotonic()
        with pytest.raises(UserError) as caught:
            CelebA(root, "train")
        assert time.monotonic() - begin < 1
        assert str(tmp_path / "celeba") not in str(caught.value)


def test_parts_that_are_not_there(root: Path) -> None:
    shutil.move(root / "list_eval_partition.txt", root.parent / "p.txt")
    with pytest.raises(UserError, match=r"no list_eval_partition\.txt in"):
        CelebA(root, "train")
    shutil.move(root.parent / "p.txt", root / "list_eval_partition.txt")
    shutil.rmtree(root / "img_align_celeba")
    with pytest.raises(UserError, match=r"neither img_align_celeba/ nor img_align_celeba\.zip in"):
        CelebA(root, "train")
    (root / "img_align_celeba_png.7z.001").touch()
    with pytest.raises(UserError, match=r"unpack .*img_align_celeba_png\.7z\.001 there"):
        CelebA(root, "train")


def test_a_refused_download_says_which_files_go_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    def refuse(*args: object, **options: object) -> None:
        raise RuntimeError("Too many users have viewed this file\nTraceback ...")

    monkeypatch.setattr(torchvision.datasets, "CelebA", refuse)
    with pytest.raises(UserError, match=r"Too many users .*put img_align_celeba\.zip, .* into .*new/celeba$") as caught:
        CelebA(tmp_path / "new", "train", download=True)
    assert "\n" not in str(caught.value)
    assert len(CelebA(write_celeba(tmp_path / "there" / "celeba").parent, "train", download=True)) == 3


@pytest.fixture(scope="module")
def real_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("celeba_real")
    with tarfile.open(real_data("celeba128_train.tar")) as archive:
        archive.extractall(path, filter="data")
    return next(path.rglob("list_eval_partition.txt")).parent


def test_the_real_faces_from_folder_and_zip(real_faces: Path) -> None:
    source = CelebA(real_faces, "train", 32, crop=None)
    assert (len(source), source.missing) == (5228, 0)
    val = CelebA(real_faces, "val", 32, crop=None, validation_identities=10)
    train = CelebA(real_faces, "train", 32, crop=None, validation_identities=10)
    assert (len(val), len(train)) == (563, 4665)
    assert val.identities is not None
    assert train.identities is not None
    assert not set(val.identities.tolist()) & set(train.identities.tolist())
    with pytest.raises(UserError, match=r"no image into the split val; data\.validation_identities=10"):
        CelebA(real_faces, "val", 32, crop=None)
    pixels = torch.stack([val[i] for i in range(0, 563, 40)])
    assert hashlib.sha256(pixels.numpy().tobytes()).hexdigest()[:16] == "b54c10c46749f7f6"
    archive = zip_folder(real_faces / "img_align_celeba", real_faces / "img_align_celeba.zip", zipfile.ZIP_STORED)
    try:
        begin = time.process_time()
        store = ZipStore(archive).select(val.files)
        assert all(store.read(i) == val.images.read(i) for i in range(len(val)))
        assert time.process_time() - begin < 5
    finally:
        archive.unlink()


def test_real_faces_with_the_full_annotations_are_a_subset(real_faces: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(real_data("celeba_annotations_full.zip")) as archive:
        archive.extractall(tmp_path)
    (tmp_path / "img_align_celeba").symlink_to(real_faces / "img_align_celeba", target_is_directory=True)
    with pytest.raises(UserError, match=r"157,542 of 162,770 images of train are not in"):
        CelebA(tmp_path, "train", 32, crop=None)
    some = CelebA(tmp_path, "train", 32, crop=None, subset=True)
    own = CelebA(real_faces, "train", 32, crop=None)
    assert (some.missing, some.files) == (157_542, own.files)
    assert torch.equal(torch.as_tensor(some.attributes), torch.as_tensor(own.attributes))
    assert torch.equal(torch.as_tensor(some.identities), torch.as_tensor(own.identities))


def test_a_zip_member_inflates_to_what_it_announces_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", bytes(1_000_000))
    content = bytearray(path.read_bytes())
    announced = content.rindex(b"PK\x01\x02") + 24  # the member's size in the zip's directory
    for size, message in ((1000, "damaged inside the zip"), (2**31, "more than")):
        content[announced : announced + 4] = size.to_bytes(4, "little")
        path.write_bytes(bytes(content))
        with pytest.raises(CorruptImage, match=message):
            ZipStore(path).read(0)


@pytest.mark.parametrize("line", ["000001.jpg 0", "000002.jpg 7"])
def test_a_partition_that_contradicts_itself_is_told(tmp_path: Path, line: str) -> None:
    root = write_celeba(tmp_path)
    table = root / "list_eval_partition.txt"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], line, *lines[2:]]) + "\n")
    with pytest.raises(UserError, match="a name appears twice, or a partition number is not 0, 1 or 2"):
        CelebA(root, "train")


def test_the_published_crop_tells_where_the_eyes_are(tmp_path: Path) -> None:
    root = write_celeba(tmp_path / "whole")
    eyes = CelebA(root, "train", 64).eyes
    assert eyes == pytest.approx((0.371, 0.528, 0.629, 0.529), abs=1e-3)
    assert cached(CelebA(root, "train", 64), tmp_path / "cache", 0, lambda done, total: None).eyes == eyes
    assert CelebA(root, "train", 64, crop=None).eyes is None
    half = CelebA(write_celeba(tmp_path / "half", size=(109, 89)), "train", 64, crop=74)
    assert half.eyes == pytest.approx(eyes, abs=0.01)
    (root / "img_align_celeba" / half.files[0]).write_bytes(b"broken")
    assert CelebA(root, "train", 64).eyes is None
