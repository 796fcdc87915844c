"""Any folder of images: listing, splits, pixels, attributes, and what goes wrong."""

import csv
import io
import itertools
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from glow_app.build import open_split
from glow_app.config.data import DATA_SCHEMAS
from glow_app.data.image import CorruptImage
from glow_app.data.picture import open_picture
from glow_app.data.sets.folder import Folder
from glow_app.data.source import Labelled, fingerprint_digest
from glow_app.errors import UserError
from tests.data.layouts import picture, real_data


def write_images(root: Path, names: list[str]) -> None:
    for k, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 12), (k % 256, 2 * k % 256, 90)).save(path)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    write_images(tmp_path, [f"{k:03d}.png" for k in range(100)])
    return tmp_path


def test_images_are_found_in_order_and_hidden_files_are_not(tmp_path: Path) -> None:
    names = ["a.png", "b/2.JPG", "b/c/x.webp", "train/z.bmp"]
    write_images(tmp_path / "train", names)
    write_images(tmp_path / "train", [".hidden.png", ".git/x.png"])
    (tmp_path / "train" / "notes.txt").write_text("no image")
    write_images(tmp_path / "val", ["v.png"])
    source = Folder(tmp_path, "train", 8)
    assert [source.item_name(i) for i in range(len(source))] == [f"train/{name}" for name in names]


def test_pixels_are_the_central_part_resized(tmp_path: Path) -> None:
    y, x = np.mgrid[:40, :60]
    (tmp_path / "train").mkdir()
    Image.fromarray(np.stack([y, x, y * 0], axis=-1).astype(np.uint8)).save(tmp_path / "train" / "a.png")
    write_images(tmp_path / "val", ["v.png"])
    pixels = Folder(tmp_path, "train", 40)[0]
    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels[1], torch.arange(10, 50, dtype=torch.uint8).expand(40, 40))
    assert Folder(tmp_path, "train", (20, 10))[0].shape == (3, 20, 10)
    assert Folder(tmp_path, "train", (20, 10)).image_shape == (3, 20, 10)
    grey = Folder(tmp_path, "train", 20, channels=1)
    assert grey[0].shape == grey.image_shape == (1, 20, 20)


def test_split_folders_are_respected_under_their_usual_names(tmp_path: Path) -> None:
    for name in ("validation", "valid", "val"):
        root = tmp_path / name
        write_images(root, ["train/a.png", "train/b.png", f"{name}/c.png", "test/d.png", "elsewhere/e.png"])
        assert [Folder(root, split, 8).files for split in ("train", "val", "test")] == [
            ["train/a.png", "train/b.png"],
            [f"{name}/c.png"],
            ["test/d.png"],
        ]


def test_a_missing_val_folder_is_held_out_of_train(tmp_path: Path) -> None:
    write_images(tmp_path, [f"train/{k}.png" for k in range(60)] + ["test/t.png"])
    train, val = Folder(tmp_path, "train", 8), Folder(tmp_path, "val", 8)
    assert len(train) + len(val) == 60
    assert 1 <= len(val) <= 15
    assert set(train.files).isdisjoint(val.files)
    assert Folder(tmp_path, "test", 8).files == ["test/t.png"]


def test_the_hash_split_is_a_partition_that_never_moves(flat: Path) -> None:
    before = {split: Folder(flat, split, 8).files for split in ("train", "val", "test")}
    assert sorted(itertools.chain(*before.values())) == [f"{k:03d}.png" for k in range(100)]
    assert [len(files) for files in before.values()] == [83, 9, 8]
    assert before["val"][:3] == ["002.png", "004.png", "019.png"]
    write_images(flat, [f"new_{k}.png" for k in range(50)])
    for split, files in before.items():
        assert set(files) <= set(Folder(flat, split, 8).files)


def test_a_source_travels_and_repeats_itself(flat: Path) -> None:
    source = Folder(flat, "test", 8)
    copy = pickle.loads(pickle.dumps(source))
    assert torch.equal(copy[3], source[3])
    assert copy.fingerprint() == source.fingerprint()


def test_the_fingerprint_follows_whatever_changes_pixels(flat: Path) -> None:
    first = Folder(flat, "train", 8).fingerprint()
    assert first == Folder(flat, "train", 8).fingerprint()
    assert first != Folder(flat, "train", 9).fingerprint()
    assert first != Folder(flat, "train", 8, channels=1).fingerprint()
    assert first != Folder(flat, "val", 8).fingerprint()
    os.utime(flat / Folder(flat, "train", 8).files[0], (1, 1))
    assert first != Folder(flat, "train", 8).fingerprint()


def test_wrong_roots_say_what_to_do(tmp_path: Path) -> None:
    write_images(tmp_path / "faces", ["a.png"])
    with pytest.raises(UserError, match=r"facse does not exist; set data\.root to the folder that holds"):
        Folder(tmp_path / "facse", "train", 8)
    with pytest.raises(UserError, match=r"is a file, not a folder; set data.root to .*faces"):
        Folder(tmp_path / "faces" / "a.png", "train", 8)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / ".hidden.png").write_bytes(b"")
    with pytest.raises(UserError, match="no images in"):
        Folder(tmp_path / "none", "train", 8)
    write_images(tmp_path / "half", ["train/a.png", "val/b.png"])
    with pytest.raises(UserError, match=r"split test of .* is empty \(train 1, val 1, test 0\)"):
        Folder(tmp_path / "half", "test", 8)
    with pytest.raises(UserError, match="did you mean train"):
        Folder(tmp_path / "half", "trian", 8)
    with pytest.raises(UserError, match="image_size=0"):
        Folder(tmp_path / "half", "train", 0)


def test_a_corrupt_file_is_named_and_the_others_are_not_lost(tmp_path: Path) -> None:
    write_images(tmp_path, ["train/a.png", "train/c.png"])
    (tmp_path / "train" / "b.jpg").write_bytes(b"<html>refused</html>")
    source = Folder(tmp_path, "train", 8, on_corrupt="skip")
    assert source.on_corrupt == "skip"
    with pytest.raises(CorruptImage, match=r"b\.jpg: a web page.*data\.on_corrupt=skip"):
        source[1]
    assert source[0].shape == source[2].shape == (3, 8, 8)


def test_every_suffix_of_a_format_that_is_read_is_listed(tmp_path: Path) -> None:
    kinds = {"jfif": "JPEG", "jpe": "JPEG", "tif": "TIFF", "tiff": "TIFF", "avif": "AVIF", "pbm": "PPM", "pnm": "PPM"}
    (tmp_path / "train").mkdir()
    for suffix, kind in kinds.items():
        picture(0, 20, 20).save(tmp_path / "train" / f"a.{suffix}", kind)
    source = Folder(tmp_path, "train", 8, on_corrupt="error")
    assert sorted(source.files + Folder(tmp_path, "val", 8).files) == sorted(f"train/a.{suffix}" for suffix in kinds)
    assert source.left_out == ""
    assert source[0].shape == (3, 8, 8)


def test_pictures_that_are_not_read_are_counted(tmp_path: Path) -> None:
    write_images(tmp_path, ["train/a.png", "val/b.png"])
    for name in ("x.HEIC", "deep/y.heic", "z.psd", "._a.heic", "notes.txt", "table.csv", "noseparatorheic"):
        (tmp_path / "train" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "train" / name).write_bytes(b"")
    (tmp_path / "elsewhere.heic").write_bytes(b"")
    for split in ("train", "val"):
        assert (
            Folder(tmp_path, split, 8).left_out == "3 files that are not read: .heic 2, .psd 1; convert to JPEG or PNG"
        )
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.heic").write_bytes(b"")
    with pytest.raises(UserError, match=r"no images in .*; it holds 1 file that is not read: .heic 1; convert"):
        Folder(tmp_path / "only", "train", 8)


def test_a_link_that_leads_nowhere_is_a_corrupt_image(tmp_path: Path) -> None:
    write_images(tmp_path, ["train/a.png", "val/v.png"])
    (tmp_path / "train" / "b.png").symlink_to("gone.png")
    source = Folder(tmp_path, "train", 8)
    with pytest.raises(CorruptImage, match=r"b\.png: a symbolic link to gone\.png, which does not exist"):
        source[1]
    before = source.fingerprint()
    write_images(tmp_path, ["train/gone.png"])
    (tmp_path / "train" / "gone.png").rename(tmp_path / "gone.png")
    (tmp_path / "train" / "b.png").unlink()
    (tmp_path / "train" / "b.png").symlink_to("../gone.png")
    assert Folder(tmp_path, "train", 8).fingerprint() != before


@pytest.mark.parametrize("names", [["train/a.png", "deep/val/b.png", "val/c.png"], [f"{k}.png" for k in range(30)]])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_zip_is_the_folder_that_it_holds(tmp_path: Path, names: list[str], wrapped: bool) -> None:
    root = tmp_path / "faces"
    write_images(root, [*names, ".hidden.png", "deep/.git/d.png"])
    (root / "x.psd").write_bytes(b"")
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(root.rglob("*"), reverse=True):
            archive.write(path, path.relative_to(tmp_path if wrapped else root))
        archive.writestr("__MACOSX/faces/._a.png", b"")
        archive.writestr("READ.ME", b"")
    table = tmp_path / "t.csv"
    table.write_text("file,Odd\n" + "".join(f"{name},{k % 2}\n" for k, name in enumerate(names) if "deep" not in name))
    for split in ("train", "val"):
        plain, zipped = (Folder(where, split, 8, attributes=table) for where in (root, packed))
        assert zipped.files == plain.files != []
        assert torch.equal(zipped.fetch(range(len(zipped))), plain.fetch(range(len(plain))))
        assert torch.equal(torch.as_tensor(zipped.attributes), torch.as_tensor(plain.attributes))
    assert zipped.fingerprint() != plain.fingerprint()
    assert torch.equal(pickle.loads(pickle.dumps(zipped))[0], zipped[0])


def test_zips_that_hold_nothing_to_train_on(tmp_path: Path) -> None:
    packed = tmp_path / "packed.zip"
    packed.write_bytes(b"<html>refused</html>")
    with pytest.raises(UserError, match=r"packed\.zip is a web page"):
        Folder(packed, "train", 8)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a/x.heic", b"")
    with pytest.raises(UserError, match=r"no images in .*packed\.zip .*\.heic 1"):
        Folder(packed, "train", 8)


def test_each_fit_is_named_and_a_picture_that_somebody_brings_is_treated_alike(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        picture(3, 30, 50).save(tmp_path / split / "a.png")
    sources = {fit: Folder(tmp_path, "train", (16, 24), fit=fit) for fit in ("crop", "pad", "stretch")}
    assert [source.preprocessing for source in sources.values()] == [
        "central part, antialiased bilinear to 16x24",
        "whole picture between black bars, antialiased bilinear to 16x24",
        "whole picture stretched, antialiased bilinear to 16x24",
    ]
    for fit, source in sources.items():
        brought = open_picture(tmp_path / "train" / "a.png", (3, 16, 24), {"name": "folder", "fit": fit})
        assert torch.equal(brought, source[0])
    assert len({tuple(source[0].flatten().tolist()) for source in sources.values()}) == 3
    with pytest.raises(UserError, match=r"data\.fit=padd: did you mean pad\?"):
        Folder(tmp_path, "train", 8, fit="padd")


def test_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    write_images(tmp_path / "real", ["train/a.png"])
    (tmp_path / "real" / "train" / "again").symlink_to(tmp_path / "real" / "train", target_is_directory=True)
    assert Folder(tmp_path / "real", "train", 8).files == ["train/a.png"]


def attributes(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_attributes_by_any_name_of_the_file_that_is_unique(tmp_path: Path) -> None:
    write_images(tmp_path, ["train/a.png", "train/deep/b.png", "val/a.png"])
    text = "file,Smiling,Young\ntrain/a.png,1,0\nb.png,-1,1\nval/a.png, 0 ,1\n"
    source = Folder(tmp_path, "train", 8, attributes=attributes(tmp_path / "t.csv", text))
    assert source.attribute_names == ("Smiling", "Young")
    assert source.attributes is not None
    assert source.attributes.dtype == torch.uint8
    assert source.attributes.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,S\ntrain/a.png,1\nb.png,0\nval/a.png,0\nz.png,1\n", "1 rows have no image, the first is z.png"),
        ("file,S\na.png,1\nb.png,0\n", "a.png fits train/a.png and val/a.png"),
        ("file,S\nb.png,1\ndeep/b.png,0\n", "two rows"),
        ("file,S\nb.png,2\ntrain/a.png,1\nval/a.png,0\n", "b.png, column S: 2"),
        ("file,S\nb.png,yes\n", "line 2"),
        ("file,S\nb.png,1,1\n", "line 2"),
        ("file,S\nb.png,\n", r"line 2 \(b.png\), column S: has no value"),
        ("file,S\n\nb.png,1\na.png,0.5\n", r"line 4 \(a.png\), column S: '0.5' is no 1 or 0"),
        ("file;S;T\nb.png;1;0\na.png;1\n", r"line 3 \(a.png\) has 2 cells and the header 3"),
        ("file,Smiling,smiling\nb.png,1,1\n", "two columns have the name smiling"),
        ("file,S,,T\nb.png,1,1,1\n", "a column after S has no name"),
        ("file,S\na,1\n", "a fits train/a.png and val/a.png"),
        (",file,S\n0,b.png,1\n1,train/a.png,2\n", "train/a.png, column S: 2"),
        ("b.png,1\nc.png,1\n", "first line must name the columns"),
        ("<!doctype html><html>", "is a web page"),
        ("", "is empty"),
    ],
)
def test_attribute_tables_that_do_not_fit(tmp_path: Path, text: str, says: str) -> None:
    write_images(tmp_path, ["train/a.png", "train/deep/b.png", "val/a.png"])
    with pytest.raises(UserError, match=says) as caught:
        Folder(tmp_path, "train", 8, attributes=attributes(tmp_path / "t.csv", text))
    assert "t.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


LABELS = [("train/a.png", 1, 0), ("train/deep/b.png", 0, 1), ("val/a.png", 1, 1)]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("value", ["{}", "{}.0", "{!r}", "{:d},0"])
@pytest.mark.parametrize("index", ["none", "", "Unnamed: 0", "left out"])
def test_tables_as_spreadsheets_and_statistics_programs_write_them(
    tmp_path: Path, separator: str, encoding: str, value: str, index: str
) -> None:
    write_images(tmp_path, [name for name, *_ in LABELS])
    header = ["file", "Smiling, broad", "Young"]
    rows = [[name, *(value.format(bool(v) if "r" in value else v) for v in values)] for name, *values in LABELS]
    if index != "none":
        rows = [[str(k), *row] for k, row in enumerate(rows)]
        header = header if index == "left out" else [index, *header]
    with open(tmp_path / "t.csv", "w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=separator).writerows([header, *rows])
    source = Folder(tmp_path, "train", 8, attributes=tmp_path / "t.csv")
    assert source.attribute_names == ("Smiling, broad", "Young")
    assert torch.as_tensor(source.attributes).tolist() == [[1, 0], [0, 1]]
    assert source.labelled is None


@pytest.mark.parametrize(
    "text",
    [
        ",S,T\ntrain/a.png,1,0\ntrain/deep/b.png,0,1\nval/a.png,1,1\n",  # file names as the index of pandas
        "file;S;T;\ntrain/a.png;1;0;\nb.png;0;1;\n;;;\nval/a.png;1;1;\n",  # empty cells and lines of Excel
        "file,S,T\rtrain/a.png,1,0\rb.png,0,1\rval/a.png,1,1\r",
        "file,S,T\ntrain/a,TRUE,FALSE\nb,FALSE,TRUE\nval/a,TRUE,TRUE\n",
        "file,S,T\n.\\train\\a.jpg,1,-1\nb.JPG,-1,1\nval/a.webp,1,1\n",
    ],
)
def test_tables_with_a_habit(tmp_path: Path, text: str) -> None:
    write_images(tmp_path, [name for name, *_ in LABELS])
    source = Folder(tmp_path, "train", 8, attributes=attributes(tmp_path / "t.csv", text))
    assert source.attribute_names == ("S", "T")
    assert torch.as_tensor(source.attributes).tolist() == [[1, 0], [0, 1]]


def test_pictures_without_a_row_are_kept_and_known_as_such(tmp_path: Path) -> None:
    write_images(tmp_path, [name for name, *_ in LABELS])
    table = attributes(tmp_path / "t.csv", "file,S\nb.png,1\n")
    source = Folder(tmp_path, "train", 8, attributes=table)
    assert torch.as_tensor(source.labelled).tolist() == [False, True]
    assert torch.as_tensor(source.attributes).tolist() == [[0], [1]]
    assert torch.as_tensor(Folder(tmp_path, "val", 8, attributes=table).labelled).tolist() == [False]
    known = Labelled(source)
    assert (len(known), known.item_name(0)) == (1, "train/deep/b.png")
    assert torch.equal(known[0], source[1])
    assert torch.equal(known.fetch([0]), source[1][None])
    assert torch.as_tensor(known.attributes).tolist() == [[1]]
    assert fingerprint_digest(known) != fingerprint_digest(source)
    assert len(Labelled(Folder(tmp_path, "train", 8, attributes=attributes(table, "file,S\nb,1\ntrain/a,0\n")))) == 2


@pytest.mark.parametrize(
    ("root", "table"),
    [
        ("faces", "faces/identity_CelebA.txt"),
        ("faces", "identity_CelebA.csv"),
        ("Img/img_align_celeba", "Anno/identity_CelebA.txt"),
    ],
)
def test_persons_of_celeba_that_would_be_in_train_and_in_test(tmp_path: Path, root: str, table: str) -> None:
    write_images(tmp_path / root, [f"{k:06d}.jpg" for k in range(30)])
    config = DATA_SCHEMAS["folder"](
        name="folder", image_size=8, n_bits=8, flip=True, shift=0.0, cache=False, cache_folder=None, workers=0,
        root=str(tmp_path / root), on_corrupt="error", channels=3, attributes=None, fit="crop", eyes=None,
    )  # fmt: skip
    output = io.StringIO()
    open_split(config, "train", Console(file=output))
    assert output.getvalue() == ""
    (tmp_path / table).parent.mkdir(exist_ok=True)
    (tmp_path / table).write_text("000001.jpg 1\n")
    for split in ("train", "val", "test"):
        open_split(config, split, Console(file=output, width=1000))
    assert output.getvalue().count("warning: ") == len(output.getvalue().splitlines()) == 1
    assert Path(table).name in output.getvalue()
    assert "use data=celeba" in output.getvalue()
    write_images(tmp_path / root, ["train/1.png", "val/1.png", "test/1.png"])
    assert Folder(tmp_path / root, "train", 8).warning is None, "divided by hand"


def test_a_missing_attribute_table(tmp_path: Path) -> None:
    write_images(tmp_path, ["train/a.png"])
    with pytest.raises(UserError, match=r"annotation file .*none\.csv does not exist"):
        Folder(tmp_path, "train", 8, attributes=tmp_path / "none.csv")


@pytest.mark.slow
def test_the_real_smiles(tmp_path: Path) -> None:
    with tarfile.open(real_data("smiles_lfw64.tar")) as archive:
        archive.extractall(tmp_path, filter="data")
    sources = [Folder(tmp_path, split, 64, channels=1) for split in ("train", "val", "test")]
    assert sum(len(source) for source in sources) == 13_165
    for source, share in zip(sources, (0.8, 0.1, 0.1), strict=True):
        assert abs(len(source) / 13_165 - share) < 0.01
        assert all(source[i].shape == (1, 64, 64) for i in range(len(source)))


def test_capitals_of_split_folders_do_not_matter_and_likenesses_are_asked_about(tmp_path: Path) -> None:
    for folder in ("Train", "VALID", "Test"):
        (tmp_path / folder).mkdir()
        picture(0, 20, 20).save(tmp_path / folder / f"{folder}.png")
    assert [Folder(tmp_path, split, 8).files for split in ("train", "val", "test")] == [
        ["Train/Train.png"],
        ["VALID/VALID.png"],
        ["Test/Test.png"],
    ]
    (tmp_path / "validation").mkdir()
    with pytest.raises(UserError, match="holds VALID and validation, both for val; keep one"):
        Folder(tmp_path, "train", 8)
    (tmp_path / "validation").rmdir()
    (tmp_path / "eval").mkdir()
    with pytest.raises(UserError, match=r"eval a split\? rename it"):
        Folder(tmp_path, "train", 8)


def test_the_folders_of_mnist_as_png_are_splits(tmp_path: Path) -> None:
    for folder in ("training", "testing"):
        (tmp_path / folder / "7").mkdir(parents=True)
        for number in range(20):
            picture(number, 28, 28).save(tmp_path / folder / "7" / f"{number}.png")
    train, val, test = (Folder(tmp_path, split, 8, channels=1) for split in ("train", "val", "test"))
    assert len(train) + len(val) == len(test) == 20
    assert all(file.startswith("training/7/") for file in [*train.files, *val.files])


@pytest.mark.parametrize("value", ["--1", "\u00b2", "1" * 25, '"' + "9" * 200_000 + '"'], ids=range(4))
def test_values_that_are_no_small_integers_are_told(tmp_path: Path, value: str) -> None:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        picture(0, 20, 20).save(tmp_path / split / "a.png")
    table = tmp_path / "table.csv"
    table.write_text(f"file,Smiling\ntrain/a.png,{value}\nval/a.png,1\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"table\.csv"):
        Folder(tmp_path, "train", 8, attributes=table)


def test_classes_are_the_folders_of_every_split(tmp_path: Path) -> None:
    write_images(tmp_path, ["train/cat/a.png", "train/cat/deep/b.png", "train/007/c.png", "val/cat/d.png"])
    train, val = Folder(tmp_path, "train", 8), Folder(tmp_path, "val", 8)
    before = train.fingerprint()
    assert (train.classes, train.class_names) == (None, ())  # nobody has asked
    for source in (train, val):
        source.find_classes()
        assert source.class_names == ("007", "cat")
    assert train.files == ["train/007/c.png", "train/cat/a.png", "train/cat/deep/b.png"]
    assert train.classes is not None and train.classes.tolist() == [0, 1, 1]
    assert val.classes is not None and val.classes.tolist() == [1]
    assert train.fingerprint() == before


def test_classes_of_a_folder_without_splits(tmp_path: Path) -> None:
    write_images(tmp_path, [f"{kind}/{k}.png" for kind in ("cat", "dog") for k in range(40)])
    for split in ("train", "val", "test"):
        source = Folder(tmp_path, split, 8)
        source.find_classes()
        assert source.classes is not None
        assert [source.class_names[label] for label in source.classes] == [file[:3] for file in source.files]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (
            ["train/cat/a.png", "train/b.png", "val/cat/c.png"],
            r"/train/b\.png lies in no class folder, .*/train/<class>/b",
        ),
        (["train/cat/a.png", "val/c.png"], r"/val/c\.png lies in no class folder"),
        (["cat/a.png", "b.png"], r"/b\.png lies in no class folder, .*: move it to .*/<class>/b\.png"),
        (["train/cat/a.png", "val/dog/c.png"], r"has val images of class dog, but no training images"),
    ],
)
def test_images_whose_class_is_not_known(tmp_path: Path, names: list[str], says: str) -> None:
    write_images(tmp_path, names)
    with pytest.raises(UserError, match=says) as caught:
        Folder(tmp_path, "train", 8).find_classes()
    assert "\n" not in str(caught.value)
