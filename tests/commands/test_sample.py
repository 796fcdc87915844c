"""``glow-sample``: what it leaves, what it says, and how it goes on."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from glow_app import load
from glow_app.artifacts.card import Card
from glow_app.artifacts.weights import export
from glow_app.commands.reports import neighbours
from glow_app.commands.sample import sample
from glow_app.config.commands import SampleConfig
from glow_app.config.data import DataConfig
from glow_app.data.source import EmptySplit, ImageSource
from glow_app.errors import UserError
from glow_app.flows import Glow
from glow_app.latents.sampling import Sampler, Samples
from glow_app.model import Model
from tests.commands.using import configure, use, written_elsewhere
from tests.flows.models import small_glow
from tests.training.runs import configure as configure_training


def told(run: Path, folder: Path, *arguments: str) -> str:
    return use(sample, configure("sample", SampleConfig, f"checkpoint={run}", f"output={folder}", *arguments))


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def pixels(path: Path) -> Tensor:
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB")))


def break_every(monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    """Makes a model give infinity in the first of so many images."""
    true_inverse = Glow.inverse

    def inverse(self: Glow, latents: list[Tensor], cond: Tensor | None = None) -> Tensor:
        x = true_inverse(self, latents, cond)
        x[::every, 0, 0, 0] = float("inf")
        return x

    monkeypatch.setattr(Glow, "inverse", inverse)


def test_one_picture(run: Path, tmp_path: Path) -> None:
    text = told(run, tmp_path, "n=20", "first=7", "seed=4")
    assert files(tmp_path) == ["T0.70_seed4.png", "T0.70_seed4.png.json"]
    metadata = json.loads((tmp_path / "T0.70_seed4.png.json").read_text())
    model = load(run)
    assert metadata == {
        "format_version": 2, "model": model.digest, "model_folder": str(model.folder), "n": 20, "first": 7, "seed": 4,
        "temperature": [0.7], "level_temperatures": None, "label": None, "format": "grid", "precision": "fp32",
        "image_shape": [3, 16, 16], "n_bits": 8, "drawn": 20, "not_finite": [],
    }  # fmt: skip
    picture = pixels(tmp_path / "T0.70_seed4.png")
    assert picture.shape == (3 * 98 + 2, 8 * 98 + 2, 3)
    first = Sampler(model.flow, 8, 0.7, 4).draw([7]).images[0]
    assert torch.equal(picture[2:98:6, 2:98:6].permute(2, 0, 1), first)
    assert "20 images, temperature 0.70, seed 4" in text
    assert "images/s" in text
    assert text.endswith(f"look at\n  {tmp_path / 'T0.70_seed4.png'}\n")
    told(run, tmp_path, "n=3", "seed=4")  # fewer of the same
    assert pixels(tmp_path / "T0.70_seed4.png").shape == (100, 3 * 98 + 2, 3)


def test_temperatures_beside_each_other(run: Path, tmp_path: Path) -> None:
    text = told(run, tmp_path, "temperature=[0,0.5,1]", "n=30")
    assert "a picture of several temperatures shows the first 12 of each; format=png draws all 30" in text
    assert files(tmp_path) == ["T0.00_T0.50_T1.00_seed0.png", "T0.00_T0.50_T1.00_seed0.png.json"]
    picture = pixels(tmp_path / "T0.00_T0.50_T1.00_seed0.png")
    left = picture.shape[1] - 12 * 98
    assert picture.shape[0] == 3 * 98 + 2
    assert left > 30  # labels
    cells = picture[2:, left:].unfold(0, 96, 98).unfold(1, 96, 98)
    assert (cells[0] == cells[0, :1]).all()
    assert not torch.equal(cells[1, 0], cells[1, 1])
    flow = load(run).flow
    for row, temperature in enumerate((0.0, 0.5, 1.0)):
        images = Sampler(flow, 8, temperature, 0).draw(range(12)).images
        assert torch.equal(cells[row][..., ::6, ::6], images)


def test_temperatures_of_levels(run: Path, tmp_path: Path) -> None:
    text = told(run, tmp_path, "level_temperatures=[1.0,0.0]", "n=4", "format=npz")
    assert "level temperatures, finest first: 1.00-0.00" in text
    metadata = json.loads((tmp_path / "T1.00-0.00_seed0.npz.json").read_text())
    assert metadata["temperature"] is None
    assert metadata["level_temperatures"] == [1.0, 0.0]
    with np.load(tmp_path / "T1.00-0.00_seed0.npz") as arrays:
        images = Sampler(load(run).flow, 8, (1.0, 0.0), 0).draw(range(4)).images
        assert np.array_equal(arrays["arr_0"], images.permute(0, 2, 3, 1).numpy())


def test_classes(tmp_path: Path) -> None:
    options = configure_training("model.n_levels=2", "model.n_steps=2", "model.width=8", "model.class_conditional=true")
    flow = small_glow((3, 8, 8), dtype=torch.float32, n_classes=2)
    card = Card(
        model=options.model,
        image_shape=(3, 8, 8),
        n_bits=5,
        class_names=("cat", "dog"),
        data={"name": "folder", "root": "/nowhere"},
        preprocessing="none",
        step=3,
        weights="raw",
        metrics={},
        versions={},
    )
    export(flow, card, tmp_path / "model")
    npz = ("n=5", "format=npz", "first=1")
    assert "all classes in turn" in told(tmp_path / "model", tmp_path, *npz)
    assert "class dog" in told(tmp_path / "model", tmp_path, *npz, "label=dog")
    in_turn, dogs = (np.load(tmp_path / f"T0.70_seed0{name}.npz") for name in ("", "_class1"))
    with in_turn, dogs:
        assert in_turn["arr_1"].tolist() == [1, 0, 1, 0, 1]
        assert dogs["arr_1"].tolist() == [1] * 5
        same = (in_turn["arr_0"] == dogs["arr_0"]).all((1, 2, 3))
        assert same.tolist() == [True, False, True, False, True]
        assert not (dogs["arr_0"] % 8).any()  # 5 bits
    with pytest.raises(UserError, match="label=dgo is not one of cat, dog: did you mean dog"):
        told(tmp_path / "model", tmp_path, *npz, "label=dgo")


def test_png_files_of_several_temperatures(run: Path, tmp_path: Path) -> None:
    arguments = ("temperature=[0,0.7]", "n=5", "format=png")
    told(run, tmp_path, *arguments)
    names = [*(f"{number:06d}.png" for number in range(5)), "samples.json"]
    assert files(tmp_path) == [f"{folder}/{name}" for folder in ("T0.00_seed0", "T0.70_seed0") for name in names]
    lost = tmp_path / "T0.70_seed0" / "000003.png"
    content = lost.read_bytes()
    lost.unlink()
    text = told(run, tmp_path, *arguments, "batch_size=1")
    assert f"5 of 5 images of {tmp_path / 'T0.00_seed0'} are there already" in text
    assert f"4 of 5 images of {tmp_path / 'T0.70_seed0'} are there already" in text
    assert lost.read_bytes() == content


def test_other_samples_in_the_folder(run: Path, tmp_path: Path) -> None:
    for form in ("png", "npz"):
        told(run, tmp_path, "n=2", f"format={form}")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for form, arguments in [("png", "temperature=[0.701]"), ("npz", "n=3")]:
        with pytest.raises(UserError, match=r"T0\.70_seed0.* holds samples with .*: choose output="):
            told(run, tmp_path, "n=2", f"format={form}", arguments)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def another_model(run: Path, folder: Path) -> Path:
    """The run after it went on: the same but for its weights."""
    model = load(run)
    with torch.no_grad():
        for parameter in model.flow.parameters():
            parameter += 0.01
    export(model.flow, model.card, folder)
    return folder


def test_a_picture_of_another_model_is_overwritten(run: Path, tmp_path: Path) -> None:
    other, folder, alone = another_model(run, tmp_path / "other"), tmp_path / "both", tmp_path / "alone"
    for form in ("png", "npz"):
        told(run, folder, "n=2", f"format={form}")
        with pytest.raises(UserError, match="holds samples of another model: choose output="):
            told(other, folder, "n=2", f"format={form}")
    told(run, folder, "n=2", "neighbours=true")
    told(other, alone, "n=2", "neighbours=true")
    names = ["T0.70_seed0.png", "T0.70_seed0.png.json", "T0.70_seed0_neighbours.png"]
    assert files(alone) == names
    assert all((folder / name).read_bytes() != (alone / name).read_bytes() for name in names)
    told(other, folder, "n=2", "neighbours=true")
    assert all((folder / name).read_bytes() == (alone / name).read_bytes() for name in names)


def test_a_picture_with_other_options_is_overwritten(run: Path, tmp_path: Path) -> None:
    told(run, tmp_path, "n=2", "neighbours=true")
    told(run, tmp_path, "n=3")
    assert (tmp_path / "T0.70_seed0_neighbours.png").exists()  # of the same samples
    told(run, tmp_path, "n=2", "temperature=[0.701]")
    assert files(tmp_path) == ["T0.70_seed0.png", "T0.70_seed0.png.json"]
    assert json.loads((tmp_path / "T0.70_seed0.png.json").read_text())["temperature"] == [0.701]


def test_a_picture_is_kept_if_there_is_none_to_replace_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(run, tmp_path, "n=2", "neighbours=true")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    break_every(monkeypatch, 1)
    with pytest.raises(UserError, match="none of 2 images is finite"):
        told(run, tmp_path, "n=2", "temperature=[0.701]")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("form", "name"), [("grid", "T0.70_seed0.png"), ("png", "T0.70_seed0"), ("npz", "T0.70_seed0.npz")]
)
def test_another_process_writes_there(run: Path, tmp_path: Path, form: str, name: str) -> None:
    with written_elsewhere(tmp_path / name):
        with pytest.raises(UserError, match=rf"another glow-sample is writing {tmp_path / name}: wait for it, or cho"):
            told(run, tmp_path, "n=2", f"format={form}")
        assert files(tmp_path) == [f".{name}.lock"]
        told(run, tmp_path, "n=2", f"format={form}", "seed=1")
    told(run, tmp_path, "n=2", f"format={form}")
    assert not list(tmp_path.glob(".*"))


def test_nothing_is_drawn_before_all_folders_are_looked_at(run: Path, tmp_path: Path) -> None:
    told(run, tmp_path, "n=2", "format=png", "temperature=[0.7]")
    with pytest.raises(UserError, match="first=0, not 1"):
        told(run, tmp_path, "n=2", "format=png", "temperature=[0.5,0.7]", "first=1")
    assert not (tmp_path / "T0.50_seed0").exists()


def test_images_that_are_not_finite_are_told(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_every(monkeypatch, 8)
    said = "2 of 16 images, number 0, 8; choose a lower temperature"
    text = told(run, tmp_path, "n=16", "format=png")
    assert f"not finite and left out: {said}" in text
    assert len(list(tmp_path.glob("*/*.png"))) == 14
    assert said in told(run, tmp_path, "n=16", "format=png")
    assert f"not finite and left out: {said}" in told(run, tmp_path, "n=16", "format=npz")
    assert f"not finite and crossed out: {said}" in told(run, tmp_path, "n=16")
    assert json.loads((tmp_path / "T0.70_seed0.png.json").read_text())["not_finite"] == [0, 8]
    crossed = pixels(tmp_path / "T0.70_seed0.png")[2:98:6, 2:98:6, 0]
    assert (crossed.diagonal() == 0).all()
    assert (crossed.flip(1).diagonal() == 0).all()
    assert (crossed == 160).sum() == 16 * 16 - 32
    text = told(run, tmp_path, "n=4", "temperature=[0.5,0.7]")
    assert "2 of 8 images, number 0 (T = 0.50), 0 (T = 0.70)" in text


def test_many_images_that_are_not_finite(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_every(monkeypatch, 2)
    text = told(run, tmp_path, "n=32", "format=npz")
    assert f"12, 14, 16, 18 and 6 more (all in {tmp_path / 'T0.70_seed0.npz.json'})" in text


@pytest.mark.parametrize("form", ["png", "npz", "grid"])
def test_no_image_is_finite(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    break_every(monkeypatch, 1)
    with pytest.raises(UserError, match="none of 4 images is finite: choose a lower temperature"):
        told(run, tmp_path, "n=4", f"format={form}")
    assert not [name for name in files(tmp_path) if not name.endswith(".json")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["n=257"], "n=257: one picture shows up to 256 images; choose format=png or format=npz"),
        (["temperature=[]"], "temperature has no value"),
        (["temperature=[0.7,0.701]"], "two are the same to two digits"),
        (["temperature=[-1]"], r"temperature=-1.0 is too small"),
        (["temperature=[0.7,1e300]"], r"temperature=1e\+300 is too large: it must be at most 100"),
        (["temperature=[nan]"], "temperature=nan is not a finite number"),
        ([f"temperature={[i / 10 for i in range(25)]}"], "temperature has 25 values: a picture shows up to 24"),
        (["level_temperatures=[1.0]"], r"level_temperatures=\[1.0\]: this model has 2 levels"),
        (["level_temperatures=[]"], "this model has 2 levels"),
        (["level_temperatures=[1.0,-1.0]"], "level_temperatures=-1.0 is too small"),
        (["level_temperatures=[1.0,100.5]"], "level_temperatures=100.5 is too large: it must be at most 100"),
        (["label=3"], "label=3: this model is not class-conditional"),
        (["neighbours=true", "n=65"], "neighbours=true takes format=grid, one temperature and n of at most 64"),
        (["neighbours=true", "format=png"], "neighbours=true takes format=grid"),
        (["neighbours=true", "temperature=[0.1,1.0]"], "neighbours=true takes format=grid"),
        (["format=gif"], "format=gif is not one of grid, png, npz"),
    ],
)
def test_mistakes(run: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        told(run, tmp_path, *arguments)
    assert not files(tmp_path)


def test_neighbours(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = neighbours.open_split_of(
        load(run), configure("sample", SampleConfig, f"checkpoint={run}").data, "train", Console(quiet=True)
    )
    copies = torch.stack([train[5], train[40].flip(2), *(train[i] for i in range(18))])

    def copying(self: Sampler, numbers: list[int]) -> Samples:
        return Samples(list(numbers), copies[list(numbers)], torch.ones(len(numbers), dtype=torch.bool))

    monkeypatch.setattr(Sampler, "draw", copying)
    text = told(run, tmp_path, "n=20", "neighbours=true")
    assert "nearest of 64 training images: 0.0 grey levels (RMS, median of 20 samples)" in text
    assert "the same for new images: " in text
    assert "(median of 20 images of test)" in text
    assert text.splitlines()[-1].strip() == str(tmp_path / "T0.70_seed0_neighbours.png")
    picture = pixels(tmp_path / "T0.70_seed0_neighbours.png")
    left, top = picture.shape[1] - 4 * 98, picture.shape[0] - 16 * 98
    cells = picture[top:, left:].unfold(0, 96, 98).unfold(1, 96, 98)[..., ::6, ::6]
    assert cells.shape[:2] == (16, 4)
    assert torch.equal(cells[:, 0], copies[:16])
    assert torch.equal(cells[:, 1], copies[:16])  # also the mirrored one, shown as it was matched
    assert not torch.equal(cells[:, 2], copies[:16])


def test_neighbours_without_new_images(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = neighbours.open_split_of

    def only(*splits: str) -> Callable[..., ImageSource]:
        def open_split_of(model: Model, data: DataConfig, split: str, console: Console) -> ImageSource:
            if split not in splits:
                raise EmptySplit("none")
            return opened(model, data, split, console)

        return open_split_of

    monkeypatch.setattr(neighbours, "open_split_of", only("train", "val"))
    assert "(median of 3 images of val)" in told(run, tmp_path, "n=3", "neighbours=true")
    monkeypatch.setattr(neighbours, "open_split_of", only("train"))
    text = told(run, tmp_path, "n=3", "neighbours=true")
    assert "no new images to compare with: data=drawn_faces has neither a test nor a val split" in text


def test_interrupted_it_says_how_to_go_on(run: Path, tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "sample.py"
    command = [sys.executable, str(script), f"checkpoint={run}", "output=.", "n=1000000", "format=npz"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    partial = tmp_path / "T0.70_seed0.npz.partial"
    deadline = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size > 500_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(UserError, match="another glow-sample is writing"):
        told(run, tmp_path, "n=1000000", "format=npz")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == ""
    drawn = json.loads((tmp_path / "T0.70_seed0.npz.json").read_text())["drawn"]
    assert 0 < drawn < 1_000_000
    assert f"interrupted after {drawn:,} of 1,000,000 images; the same command resumes from there" in output
    assert partial.stat().st_size >= drawn * 3 * 16 * 16
    assert files(tmp_path) == ["T0.70_seed0.npz.json", "T0.70_seed0.npz.partial"]
