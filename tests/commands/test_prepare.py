"""glow-prepare: the cache and the data card, from the command line."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.forked import SCRIPTS, call


def run(folder: Path, *arguments: str, before: Callable[[], object] | None = None) -> subprocess.CompletedProcess[str]:
    return call(folder, "prepare_data", f"data.cache_folder={folder / 'cache'}", *arguments, before=before)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    lines = ["image,Red"]
    for split, n in (("train", 20), ("val", 5)):
        (root / split).mkdir(parents=True)
        for i in range(n):
            Image.new("RGB", (40, 30), ("red" if i % 4 == 0 else "blue")).save(root / split / f"{i:02d}.png")
            lines.append(f"{split}/{i:02d}.png,{int(i % 4 == 0)}")
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    return root


def test_the_card_says_what_is_there(tmp_path: Path, pictures: Path) -> None:
    (pictures / "train" / "03.png").write_bytes(b"")
    (pictures / "train" / "04.png").unlink()
    (pictures / "train" / "04.png").symlink_to("gone.png")
    for name in ("train/a.heic", "val/b.heic"):
        (pictures / name).write_bytes(b"")
    table = pictures / "table.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-2]))  # the last two of val have no row
    settings = ["data=folder", f"data.root={pictures}", "data.on_corrupt=skip"]
    result = run(tmp_path, *settings, f"data.attributes={table}", "verify=true")
    assert result.returncode == 0, result.stderr
    lines = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.split()}
    assert lines["images"] == ["18", "5"]
    assert lines["without"] == ["attributes", "0", "2"]
    assert lines["Red"] == ["22.2%", "33.3%"]
    assert "left out of train: " in result.stdout
    assert "04.png: a symbolic link to gone.png, which does not exist" in result.stdout
    assert result.stdout.count("left out  2 files that are not read: .heic 2; convert to JPEG or PNG\n") == 1
    assert "03.png: the file is empty (0 bytes)" in result.stdout
    assert "test: " in result.stdout  # why there is none
    assert "verified" in result.stdout
    (sheet,) = tmp_path.glob("cache/folder-train-*/contact_sheet.png")
    with Image.open(sheet) as picture:
        assert picture.size[0] > 8 * 96
    (card,) = tmp_path.glob("cache/folder-train-*/card.json")
    assert json.loads(card.read_text())["n_images"] == 18


def test_a_damaged_cache_is_found(tmp_path: Path, pictures: Path) -> None:
    settings = ["data=folder", f"data.root={pictures}"]
    assert run(tmp_path, *settings).returncode == 0
    (pixels,) = tmp_path.glob("cache/folder-val-*/pixels.bin")
    pixels.write_bytes(bytes(pixels.stat().st_size))
    result = run(tmp_path, *settings, "verify=true")
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: the pixel cache {pixels.parent} is damaged; delete this folder")


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("splits=[train,tset]", "splits=tset is not one of train, val, test"),
        ("data=celeba", "data.root has no value"),
        ("data=cifra10", "data=cifra10 is not one of"),
        ("contact_sheet=0", "contact_sheet=0 is too small"),
        ("max_steps=5", "unknown key max_steps"),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path: Path, mistake: str, message: str) -> None:
    result = run(tmp_path, mistake)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def fill_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))


def test_a_full_disk_is_told_and_the_build_goes_on_later(tmp_path: Path, pictures: Path) -> None:
    settings = ["data=folder", f"data.root={pictures}", "workers=0"]
    result = run(tmp_path, *settings, before=fill_disk)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: cannot write the pixel cache in {tmp_path / 'cache'}")
    assert "data.cache_folder" in result.stderr
    assert result.stderr.count("\n") == 1
    assert run(tmp_path, *settings, "verify=true").returncode == 0


@pytest.mark.slow
def test_a_killed_build_goes_on(tmp_path: Path) -> None:
    arguments = ["data.n_images=2000", "splits=[train]", f"data.cache_folder={tmp_path / 'cache'}"]
    command = [sys.executable, str(SCRIPTS / "prepare_data.py"), *arguments]
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    deadline = time.monotonic() + 60
    log = None
    while time.monotonic() < deadline:
        log = next(tmp_path.glob("cache/*.building/done.txt"), None)
        if log is not None and log.read_text().count("\n") >= 2:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert log is not None
    done = log.read_text().count("\n")
    assert 2 <= done < 8
    result = run(tmp_path, *arguments, "verify=true")
    assert result.returncode == 0, result.stderr
    whole = tmp_path / "whole"
    whole.mkdir()
    assert run(whole, *arguments[:2]).returncode == 0
    pixels = [next(folder.glob("cache/*/pixels.bin")).read_bytes() for folder in (tmp_path, whole)]
    assert pixels[0] == pixels[1]
