"""Samples: temperature reaches every level, an image is a function of its number, and files survive a kill."""

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from glow_app.commands import sample_files
from glow_app.commands.sample_files import NpzFile, PngFolder, SampleFiles
from glow_app.commands.sample_metadata import Metadata, State, written_alone
from glow_app.errors import UserError
from glow_app.flows import Glow
from glow_app.latents.sampling import GROUP, Sampler
from tests.flows.models import small_glow

N = 40


def sampler(label: int | None = None, **options: Any) -> Sampler:
    return Sampler(small_glow(dtype=torch.float32, **options), 8, 0.7, seed=3, label=label)


def facts(**changed: Any) -> dict[str, Any]:
    held = {"model": "abc", "model_folder": "here", "n": N, "first": 2, "seed": 3, "temperature": [0.7]}
    return held | {"image_shape": [3, 8, 8]} | changed


def draw(files: SampleFiles, source: Sampler, batches: int | None = None) -> list[int]:
    """Draws all that is missing, or so many batches and is killed; the numbers that were drawn."""
    drawn: list[int] = []
    for count, batch in enumerate(source.batches(files.todo(), GROUP)):
        if count == batches:
            return drawn
        files.add(batch)
        drawn += batch.numbers
    files.finish()
    return drawn


def break_images(flow: Glow, monkeypatch: pytest.MonkeyPatch, broken: set[int]) -> None:
    """Makes the model give NaN in the images with these numbers."""
    true_latents, true_inverse = flow.sample_latents, flow.inverse
    asked: list[int] = []

    def latents(n: int, temperature: float, seed: int, first: int) -> list[Tensor]:
        asked[:] = range(first, first + n)
        return true_latents(n, temperature, seed, first)

    def inverse(z: list[Tensor], cond: Tensor | None = None) -> Tensor:
        x = true_inverse(z, cond)
        x[[row for row, number in enumerate(asked) if number in broken], 0, 3, 5] = float("nan")
        return x

    monkeypatch.setattr(flow, "sample_latents", latents)
    monkeypatch.setattr(flow, "inverse", inverse)


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0, (1.0, 0.7, 0.0), (0.2, 0.5, 1.3)])
def test_temperature_reaches_every_level(temperature: float | tuple[float, ...]) -> None:
    glow = small_glow((3, 16, 16), n_levels=3)
    each = temperature if isinstance(temperature, tuple) else (temperature,) * 3
    drawn = glow.sample_latents(400, temperature, seed=1)
    with torch.no_grad():
        seen, _ = glow(glow.sample(400, temperature, seed=1))
    for latents in (drawn, seen):
        for t, z in zip(each, latents, strict=True):
            assert z.mean().item() == pytest.approx(0, abs=0.02)
            assert z.std().item() == pytest.approx(t, rel=0.02, abs=1e-6)


def test_temperature_0_is_one_image() -> None:
    images = Sampler(small_glow(), 8, 0.0, seed=0).draw(range(5)).images
    assert (images == images[0]).all()
    assert torch.equal(Sampler(small_glow(), 8, 0.0, seed=9).draw([77]).images[0], images[0])


@pytest.mark.parametrize("options", [{"width": 64}, {"width": 256}, {"n_classes": 3}])
def test_an_image_is_a_function_of_its_number(options: dict[str, Any]) -> None:
    source = sampler(image_shape=(3, 16, 16), **options)
    whole = source.draw(range(50)).images
    assert len(set(map(bytes, whole.numpy()))) == 50
    for batch_size in (1, 3, 8, 32, 64):
        batches = list(source.batches(range(50), batch_size))
        assert [number for batch in batches for number in batch.numbers] == list(range(50))
        assert max(len(batch.numbers) for batch in batches) <= max(batch_size, GROUP)
        assert torch.equal(torch.cat([batch.images for batch in batches]), whole)
    for first in (1, 15, 16, 49):
        assert torch.equal(source.draw([first]).images[0], whole[first])
    assert torch.equal(source.draw([3, 17, 40]).images, whole[[3, 17, 40]])


def test_the_seed_changes_every_image() -> None:
    glow = small_glow()
    a, b = (Sampler(glow, 8, 0.7, seed).draw(range(4)).images for seed in (0, 1))
    assert (a != b).flatten(1).any(1).all()


def test_classes_in_turn_or_one() -> None:
    in_turn, one = sampler(n_classes=3), sampler(n_classes=3, label=2)
    assert in_turn.labels(range(4, 8)) == [1, 2, 0, 1]
    assert one.labels(range(4, 8)) == [2, 2, 2, 2]
    assert sampler().labels(range(4)) is None
    same = (in_turn.draw(range(6)).images == one.draw(range(6)).images).flatten(1).all(1)
    assert same.tolist() == [False, False, True] * 2


def test_png_files_hold_the_samples(tmp_path: Path) -> None:
    source = sampler()
    draw(PngFolder(tmp_path / "png", facts()), source)
    assert sorted(path.name for path in (tmp_path / "png").iterdir()) == [
        *(f"{number:06d}.png" for number in range(2, 2 + N)),
        "samples.json",
    ]
    for number, image in zip(range(2, 2 + N), source.draw(range(2, 2 + N)).images, strict=True):
        with Image.open(tmp_path / "png" / f"{number:06d}.png") as picture:
            assert np.array_equal(np.asarray(picture), image.permute(1, 2, 0).numpy())


def test_png_draws_only_what_is_missing(tmp_path: Path) -> None:
    folder, source = tmp_path / "png", sampler()
    draw(PngFolder(folder, facts()), source)
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "000007.png").unlink()
    (folder / "000030.png").write_bytes(content["000030.png"][:-5])
    (folder / "000031.png").write_bytes(b"")
    assert draw(PngFolder(folder, facts()), source) == [7, 30, 31]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == content
    assert draw(PngFolder(folder, facts()), source) == []


def test_png_may_grow(tmp_path: Path) -> None:
    folder, source = tmp_path / "png", sampler()
    draw(PngFolder(folder, facts(n=10)), source)
    assert draw(PngFolder(folder, facts(n=N)), source) == list(range(12, 2 + N))
    with pytest.raises(UserError, match=r"png holds samples with n=40, more than 10: choose output"):
        PngFolder(folder, facts(n=10))


@pytest.mark.parametrize("n_classes", [0, 3])
def test_npz_holds_the_samples(tmp_path: Path, n_classes: int) -> None:
    source, path = sampler(n_classes=n_classes), tmp_path / "deep" / "T0.70.npz"
    draw(NpzFile(path, facts(), source.labels), source)
    with np.load(path) as arrays:
        assert arrays["arr_0"].dtype == np.uint8
        expected = source.draw(range(2, 2 + N)).images.permute(0, 2, 3, 1).numpy()
        assert np.array_equal(arrays["arr_0"], expected)
        assert ("arr_1" in arrays) == bool(n_classes)
        if n_classes:
            assert arrays["arr_1"].tolist() == [number % 3 for number in range(2, 2 + N)]
    assert sorted(found.name for found in path.parent.iterdir()) == ["T0.70.npz", "T0.70.npz.json"]
    assert draw(NpzFile(path, facts(), source.labels), source) == []


@pytest.mark.parametrize("flushed", ["always", "never"])
@pytest.mark.parametrize("lost", ["nothing", "some pixels", "all pixels", "not the last pixels"])
def test_npz_goes_on_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flushed: str, lost: str) -> None:
    monkeypatch.setattr(sample_files, "FLUSH_SECONDS", -1.0 if flushed == "always" else 1e9)
    source = sampler(n_classes=2)
    whole, killed = tmp_path / "whole.npz", tmp_path / "killed.npz"
    break_images(source.flow, monkeypatch, {5, 20})
    draw(NpzFile(whole, facts(), source.labels), source)
    assert draw(NpzFile(killed, facts(), source.labels), source, batches=2) == list(range(2, 32))
    partial = tmp_path / "killed.npz.partial"
    if lost == "some pixels":
        partial.write_bytes(partial.read_bytes()[:1000])
    elif lost == "all pixels":
        partial.unlink()
    elif lost == "not the last pixels":
        partial.write_bytes(partial.read_bytes() + bytes(100))
    assert not killed.exists()
    first = 32 if flushed == "always" and lost in ("nothing", "not the last pixels") else 2
    assert draw(NpzFile(killed, facts(), source.labels), source) == list(range(first, 2 + N))
    assert killed.read_bytes() == whole.read_bytes()
    assert not partial.exists()


def test_npz_that_was_drawn_but_not_finished(tmp_path: Path) -> None:
    source, path = sampler(), tmp_path / "a.npz"
    files = NpzFile(path, facts(), source.labels)
    for batch in source.batches(files.todo(), GROUP):
        files.add(batch)
    files.flush()
    assert draw(NpzFile(path, facts(), source.labels), source) == []
    with np.load(path) as arrays:
        assert len(arrays["arr_0"]) == N


def test_images_that_are_not_finite_are_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sampler(n_classes=3)
    expected = source.draw(range(2, 2 + N)).images
    break_images(source.flow, monkeypatch, {4, 40})
    folder, npz = tmp_path / "png", tmp_path / "a.npz"
    for files in (PngFolder(folder, facts()), NpzFile(npz, facts(), source.labels)):
        draw(files, source)
        assert files.metadata.state == (N, (4, 40))
        assert json.loads(files.metadata.path.read_text())["not_finite"] == [4, 40]
    assert len(list(folder.glob("*.png"))) == N - 2
    assert not (folder / "000004.png").exists()
    kept = [number for number in range(2, 2 + N) if number not in (4, 40)]
    with np.load(npz) as arrays:
        assert np.array_equal(arrays["arr_0"], expected[[k - 2 for k in kept]].permute(0, 2, 3, 1).numpy())
        assert arrays["arr_1"].tolist() == [number % 3 for number in kept]
    assert draw(PngFolder(folder, facts()), source) == []


def test_an_npz_of_nothing_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sampler()
    break_images(source.flow, monkeypatch, set(range(100)))
    for _ in range(2):
        draw(NpzFile(tmp_path / "a.npz", facts(), source.labels), source)
        assert [path.name for path in tmp_path.iterdir()] == ["a.npz.json"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "other"}, "holds samples of another model: choose output="),
        ({"seed": 4}, "holds samples with seed=3, not 4: choose output="),
        ({"temperature": [0.704], "first": 0}, r"first=2, not 0, temperature=\[0.7\], not \[0.704\]"),
        ({"label": 1}, "label=null, not 1"),
    ],
)
def test_other_samples_are_left_alone(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    source = sampler()
    makers = (
        lambda held: PngFolder(tmp_path / "png", held),
        lambda held: NpzFile(tmp_path / "a.npz", held, source.labels),
    )
    for make in makers:
        draw(make(facts(n=4, label=None)), source)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for make in makers:
        with pytest.raises(UserError, match=message):
            make(facts(n=4, label=None) | changed)
        make(facts(n=4, label=None, model_folder="moved"))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_other_samples_that_may_be_replaced(tmp_path: Path) -> None:
    path, picture = tmp_path / "a.png.json", tmp_path / "a.png"
    old = Metadata(path, facts(), picture, replace=True)
    assert not old.of_others
    old.state = State(N, (3,))
    old.write()
    again = Metadata(path, facts(n=4), picture, free=("n",), replace=True)
    assert (again.of_others, again.state) == (False, State(N, (3,)))
    other = Metadata(path, facts(model="other"), picture, replace=True)
    assert (other.of_others, other.state) == (True, State(0, ()))


def tried_elsewhere(path: Path, times: int = 1) -> list[str]:
    """What another process is told that wants to write there, too."""
    script = (
        "import sys; from pathlib import Path; from glow_app.commands.sample_metadata import written_alone\n"
        "for _ in range(int(sys.argv[2])):\n"
        "    try: written_alone(Path(sys.argv[1])).__enter__()\n"
        "    except Exception as error: print(error)"
    )
    command = [sys.executable, "-c", script, str(path), str(times)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.npz"
    with written_alone(path), written_alone(tmp_path / "deep" / "b.npz"):
        said = f"another glow-sample is writing {path}: wait for it, or choose output=..."
        assert tried_elsewhere(path, times=2) == [said, said]
    assert not list(path.parent.iterdir())
    with pytest.raises(KeyboardInterrupt), written_alone(path):
        raise KeyboardInterrupt
    assert not list(path.parent.iterdir())


def test_a_lock_that_a_killed_process_left(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    script = (
        "import sys, time; from pathlib import Path; from glow_app.commands.sample_metadata import written_alone\n"
        "with written_alone(Path(sys.argv[1])): print('locked', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(UserError, match="another glow-sample is writing"):
        written_alone(path).__enter__()
    process.kill()
    process.communicate(timeout=60)
    assert [left.name for left in tmp_path.iterdir()] == [".a.npz.lock"]
    with written_alone(path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_that_is_deleted_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, true_lockf = tmp_path / "a.npz", fcntl.lockf
    left: list[Path] = [tmp_path / ".a.npz.lock"]

    def lockf(file: BinaryIO, operation: int) -> None:
        if left:
            left.pop().unlink()  # as the process does that had it until now
        true_lockf(file, operation)

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with written_alone(path):
        assert not left
        assert "another glow-sample is writing" in tried_elsewhere(path)[0]


def test_a_lock_that_the_disk_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot write .*\.a\.npz\.lock: .*; free some space"):
        written_alone(tmp_path / "file" / "a.npz").__enter__()


def test_what_nobody_accounts_for_is_left_alone(tmp_path: Path) -> None:
    source = sampler()
    folder, npz = tmp_path / "png", tmp_path / "a.npz"
    for files in (PngFolder(folder, facts(n=4)), NpzFile(npz, facts(n=4), source.labels)):
        draw(files, source)
        account = files.metadata.path
        account.write_text('{"format_version": 1}')
        with pytest.raises(UserError, match=rf"{account.name} is damaged .*: choose output="):
            type(files)(files.path, facts(n=4), *([source.labels] if files.path == npz else []))
        account.unlink()
        with pytest.raises(UserError, match=rf"{files.path.name} already exists, but .*json is missing"):
            type(files)(files.path, facts(n=4), *([source.labels] if files.path == npz else []))


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    source = sampler()
    folder = tmp_path / "png"
    files = PngFolder(folder, facts())
    todo = files.todo()
    shutil.rmtree(folder)
    folder.write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot write .*000002\.png: .*; free some space"):
        files.add(next(source.batches(todo, GROUP)))
