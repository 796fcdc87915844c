"""The command line as a person uses it: in a process of its own, from an empty folder."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from glow_app.cli.mistakes import SYNONYMS
from tests.forked import SCRIPTS, call
from tests.training.runs import SMALLEST


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return call(folder, "train", *arguments)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("modle=tiny", "unknown key modle: did you mean model?"),
        (
            "model=tinny",
            "model=tinny is not one of cnf, flow_matching, gaussianization, glow, glow_plus, iaf, maf, mintnet, nice, "
            "own, planar, plane, radial, real_nvp, small, tiny, vae: did you mean tiny?",
        ),
        ("model.n_level=3", "unknown key model.n_level: did you mean model.n_levels?"),
        ("+model.depth=3", "unknown key model.depth"),
        ("model.n_levels=0", "model.n_levels=0 is too small: it must be at least 1"),
        ("model.width=wide", "model.width=wide is not a whole number"),
        ("model.coupling=afine", "model.coupling=afine is not one of affine, additive: did you mean affine?"),
        ("data.image_size=30", "data.image_size=30 is not divisible by 8, which model.n_levels=3 needs: choose 32"),
        ("data.image_size=big", "data.image_size=big is not a size"),
        ("model.n_steps=many", "model.n_steps=many: give one whole number, or one for each of model.n_levels=3"),
        ("model.n_steps=[4,2]", "model.n_steps=[4, 2]: give one whole number, or one for each of model.n_levels=3"),
        ("model.n_steps=[4,0,1]", "model.n_steps=0 is too small: it must be at least 1"),
        ("data=folder", "data.root has no value: add data.root=... to the command line"),
        ("data.n_bits=9", "data.n_bits=9 is too large: it must be at most 8"),
        ("trainer.devices=0", "trainer.devices=0 is too small: it must be at least 1"),
        ("trainer.devices=3", "trainer.batch_size=32 cannot be divided among 3 processes: choose 33"),
        ("optim.lr=0", "optim.lr=0.0 is too small: it must be above 0"),
        ("optim.lr=nan", "optim.lr=nan is not a finite number"),
        ("temperatures=[-1]", "temperatures=[-1.0]: give a list of numbers of at least 0"),
        ("name=../elsewhere", "name='../elsewhere' cannot name a folder"),
        ("seed=99999999999999999999", "seed"),
        ("temperatures=[0.7,0.701]", "temperatures=[0.7, 0.701]: two are the same"),
        ("resume=runs/nowhere", "resume=runs/nowhere: this run does not exist"),
        ("data=[", "data=[ cannot be read: put the value into quotes of its own"),
        ("max_steps=1e3", "max_steps=1000.0 is not a whole number: write max_steps=1000"),
        ("optim.lr=fast", "optim.lr=fast is not a number"),
        ("optim.lr=0.1,0.2", "optim.lr=0.1,0.2 has several values: give one, or optim.lr=[0.1,0.2] for a list, or -m"),
        ("lr=1e-3", "unknown key lr: did you mean optim.lr (learning rate"),
        (
            "epochs=3",
            "unknown key epochs: did you mean max_steps (updates of the parameters in the whole run)? An ",
        ),
        ("batch_size=8", "unknown key batch_size: did you mean trainer.batch_size (images per"),
        ("gpus=2", "unknown key gpus: did you mean trainer.devices (processes"),
        ("device=cuda", "unknown key device: did you mean trainer.accelerator (device"),
        ("steps=10", "unknown key steps: did you mean max_steps (updates"),
        ("n_train=10", "unknown key n_train: did you mean data.n_images ("),
        ("width=64", "unknown key width: did you mean model.width ("),
        ("K=8", "unknown key K: did you mean model.n_steps (K: steps of flow per level"),
        ("L=3", "unknown key L: did you mean model.n_levels (L: levels"),
        ("data.root=x", "unknown key data.root: it is a key of data=folder, "),
        ("checkpoint=x", "unknown key checkpoint: did you mean resume ("),
        ("split=val", "unknown key split: it is a key of glow-"),
        ("model._target_=os.system", "unknown key model._target_"),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path: Path, mistake: str, message: str) -> None:
    result = run(tmp_path, mistake)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_synonyms_of_synonyms_come_to_an_end() -> None:
    ends = list(SYNONYMS)
    for _ in SYNONYMS:
        ends = [SYNONYMS.get(end, end) for end in ends]
    assert not SYNONYMS.keys() & set(ends)


@pytest.mark.parametrize("value", ["-1", "auto", "[0,1]"])
def test_who_chooses_gpus_is_told_how(tmp_path: Path, value: str) -> None:
    result = run(tmp_path, f"trainer.devices={value}")
    assert "CUDA_VISIBLE_DEVICES=0,1 says which" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_run_of_a_sweep_starts_no_processes(tmp_path: Path) -> None:
    result = run(tmp_path, "-m", "trainer.devices=2", "seed=0")
    assert result.returncode == 2
    assert result.stderr.startswith(
        "error: trainer.devices=2 in a sweep (-m): a run of a sweep does not start processes"
    )
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_mistake_is_told_before_torch_is_loaded() -> None:
    code = "import sys; sys.argv = ['x', 'model.n_levels=0']\nfrom glow_app import cli\n"
    code += "try: cli.train()\nexcept SystemExit: print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout == "False\n"


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = run(tmp_path, "model.n_levels=0", "debug=true")
    assert result.returncode != 0
    assert "Traceback" in result.stderr


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "folder {root} does not exist"),
        (["notes.txt"], "no images in {root}"),
        (["broken.png"], "image"),
    ],
)
def test_a_folder_without_use(tmp_path: Path, files: list[str], message: str) -> None:
    root = tmp_path / "pictures"
    for name in files:
        for split in ("train", "val"):
            (root / split).mkdir(parents=True, exist_ok=True)
            (root / split / name).write_text("not an image")
    arguments = ["data=folder", f"data.root={root}", f"data.cache_folder={tmp_path / 'cache'}"]
    result = run(tmp_path, *SMALLEST[2:], "data.image_size=16", *arguments)
    assert result.returncode == 2
    assert message.format(root=root) in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_trains_on_a_folder_of_mixed_images(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    for number in range(40):
        mode = ("RGB", "L", "RGBA", "P")[number % 4]
        picture = Image.linear_gradient("L").rotate(9 * number).resize((40, 30)).convert("RGB").convert(mode)
        picture.save(root / f"{number}.png")
    settings = [s for s in SMALLEST if "n_images" not in s]
    cache = f"data.cache_folder={tmp_path / 'cache'}"
    result = run(tmp_path, *settings, "data=folder", f"data.root={root}", cache, "init_images=8")
    assert result.returncode == 0, result.stderr
    assert "bits/dim" in result.stdout
    assert list(tmp_path.glob("runs/folder/*/samples/step_00000008_T0.70.png"))


def test_ctrl_c_then_resume(tmp_path: Path) -> None:
    settings = [*SMALLEST, f"data.cache_folder={tmp_path / 'cache'}", "max_steps=100000", "validate_every=50"]
    command = [sys.executable, str(SCRIPTS / "train.py"), *settings]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    while not list(tmp_path.glob("runs/drawn_faces/*/checkpoints/*.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors == ""
    (folder,) = tmp_path.glob("runs/drawn_faces/*")
    assert f"Resume with\n  glow-train resume={folder.relative_to(tmp_path)}\n" in output
    stopped = int(output.split("everything up to step ")[1].split(" of ")[0].replace(",", ""))

    resume = f"resume={folder.relative_to(tmp_path)}"
    result = run(tmp_path, resume, f"max_steps={stopped + 4}")
    assert result.returncode == 0, result.stderr
    assert f"resumed   at step {stopped:,}" in result.stdout
    assert [path.name for path in tmp_path.glob("runs/drawn_faces/*")] == [folder.name]  # no second folder

    for change, message in [
        ("model.width=16", "model.width cannot change"),
        ("trainer.batch_size=4", "trainer.batch_size cannot change"),
        ("model=small", "cannot be chosen again"),
    ]:
        result = run(tmp_path, resume, change)
        assert result.returncode == 2
        assert message in result.stderr
    (folder / "config.yaml").write_text("a: [")
    result = run(tmp_path, resume)
    assert result.returncode == 2
    assert "config.yaml cannot be read" in result.stderr


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    result = run(tmp_path, *SMALLEST, f"data.cache_folder={tmp_path / 'cache'}")
    assert result.returncode == 2
    assert result.stderr.startswith("error: cannot write runs/drawn_faces/")
    assert result.stderr.count("\n") == 1
