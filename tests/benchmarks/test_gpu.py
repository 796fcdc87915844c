"""The prepared plans for a GPU, rehearsed: tiny, on a CPU, cut short and gone on with."""

import io
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import check, kernels
from benchmarks.gpu.data import pack_cifar10, pack_faces, unpack_cifar10, unpack_faces
from benchmarks.gpu.work import CutShort, Stage, Stopped, Work, account, run
from tests.data.layouts import picture, real_data, write_celeba

ROOT = Path(__file__).parents[2]
N_TRAIN, N_TEST, N_FACES = 100, 16, 40


def write_cifar10(folder: Path) -> np.ndarray:
    """Both files as :mod:`benchmarks.gpu.data` reads them; gives the pixels, uint8 (N, 32, 32, 3)."""
    pixels, webp = [], []
    for number in range(N_TRAIN + N_TEST):
        image, file = picture(number, 32, 32), io.BytesIO()
        image.save(file, "WEBP", lossless=True)
        pixels.append(np.asarray(image))
        webp.append(file.getvalue())
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", range(N_TRAIN)), ("test", range(N_TRAIN, N_TRAIN + N_TEST))):
        files = [webp[row] for row in rows]
        np.savez(
            folder / f"cifar10_{name}.npz",
            webp=np.frombuffer(b"".join(files), np.uint8),
            offsets=np.array([0, *itertools.accumulate(map(len, files))]),
            labels=np.array([row % 10 for row in rows]),
            names=np.array([f"{row}.png".encode() for row in rows]),
        )
    return np.stack(pixels)


def write_faces(folder: Path) -> Path:
    """Those of the plan, of people with consecutive numbers: every tenth validates."""
    write_celeba(folder, [0] * N_FACES, (64, 64))
    table = folder / "list_attr_celeba.txt"
    table.write_text(table.read_text().replace("Young", "Eyeglasses"))
    return folder


def test_cifar10_travels_in_parts(tmp_path: Path) -> None:
    pixels = write_cifar10(tmp_path)
    parts = pack_cifar10(tmp_path, tmp_path / "packed")
    assert len(parts) == 2
    sizes = [path.stat().st_size for path in parts]
    assert max(sizes) < 1.1 * min(sizes)
    root = unpack_cifar10(parts[::-1], tmp_path / "unpacked")
    batches = {}
    for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]:
        with open(root / "cifar-10-batches-py" / name, "rb") as file:
            batches[name] = pickle.load(file)
    rows = np.concatenate([batch[b"data"] for batch in batches.values()])
    assert np.array_equal(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), pixels)
    labels = [label for batch in batches.values() for label in batch[b"labels"]]
    assert labels == [row % 10 for row in range(N_TRAIN + N_TEST)]
    assert batches["test_batch"][b"filenames"][0] == f"{N_TRAIN}.png".encode()
    assert len(batches["data_batch_1"][b"data"]) == N_TRAIN / 5


def test_the_whole_of_cifar10_fits_into_two_uploads(tmp_path: Path) -> None:
    source = real_data("cifar10_train.npz").parent
    parts = pack_cifar10(source, tmp_path)
    assert all(path.stat().st_size < 56 * 2**20 for path in parts)  # of 64 MiB, which the checkout shares
    packed = b"".join(np.load(path)["webp"].tobytes() for path in parts)
    assert packed == b"".join(np.load(source / f"cifar10_{name}.npz")["webp"].tobytes() for name in ("train", "test"))
    assert [np.load(path)["offsets"][-1] for path in parts] == [len(np.load(path)["webp"]) for path in parts]


def test_faces_travel(tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces")
    unpacked = unpack_faces(pack_faces(faces, tmp_path / "packed"), tmp_path / "unpacked")
    names = sorted(path.relative_to(faces) for path in faces.rglob("*") if path.is_file())
    assert [(unpacked / name).read_bytes() for name in names] == [(faces / name).read_bytes() for name in names]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("travels")
    write_cifar10(folder)
    pack_cifar10(folder, folder / "packed")
    pack_faces(write_faces(folder / "faces"), folder / "packed")
    return folder / "packed"


class Plan:
    """A rehearsal in a process of its own, with some seconds of training."""

    def __init__(self, name: str, tmp_path: Path, packed: Path, training: int = 3) -> None:
        self.folder, self.out = tmp_path / "work", tmp_path / "out"
        self.command = [
            sys.executable, "-m", "benchmarks.gpu", name, "--rehearsal", "--seconds", "240",
            "--training", f"{training}", "--out", str(self.out), "--folder", str(self.folder), "--packed", str(packed),
        ]  # fmt: skip

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def finish(self) -> tuple[int, str]:
        process = self.start()
        printed, _ = process.communicate(timeout=240)
        return process.returncode, printed

    @property
    def results(self) -> dict[str, Any]:
        assert (self.out / "results.json").read_bytes() == (self.folder / "results.json").read_bytes()
        return json.loads((self.out / "results.json").read_text())

    def status(self) -> dict[str, str]:
        return {name: found["status"] for name, found in self.results["stages"].items()}


@pytest.mark.slow
def test_cifar10_is_cut_short_and_gone_on_with(tmp_path: Path, packed: Path) -> None:
    """``cifar10-plus`` is ``cifar10`` with one option more."""
    # So long that the model depends on its noise, as the bound needs.
    plan = Plan("cifar10-plus", tmp_path, packed, training=8)
    process = plan.start()
    wait_for(plan.folder, "runs/cifar10/*/metrics.csv")
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "stopped by a signal" in printed
    assert plan.status() == {"data": "done", "training": "cut short"}
    assert "everything up to step" in (plan.out / "log.txt").read_text()

    status, printed = plan.finish()
    assert status == 0, printed
    assert set(plan.status().values()) == {"done"}
    training, bound = plan.results["stages"]["training"], plan.results["stages"]["bound"]
    assert 0 < training["test/bits_per_dim"] < 12
    assert training["validation"][-1][0] == training["steps"]
    assert training["images_seen"] == 8 * training["steps"]
    assert len(list((plan.folder / "runs" / "cifar10").iterdir())) == 1  # the run that was cut short
    assert bound["images"] == N_TEST and bound["importance_bound"] < bound["bits_per_dim"]
    assert sorted(path.name for path in plan.out.iterdir()) == [
        "cifar10_bf16.tar.01-of-01", "log.txt", "results.json", "samples.png",
    ]  # fmt: skip
    told = printed.splitlines()
    assert len(told) <= 30 + len(plan.status())
    assert any("test/bits_per_dim" in line for line in told)
    assert plan.finish()[0] == 0  # nothing is left to do


@pytest.mark.slow
def test_faces64_ends_with_a_model_and_pictures(tmp_path: Path, packed: Path) -> None:
    plan = Plan("faces64", tmp_path, packed)
    status, printed = plan.finish()
    assert status == 0, printed
    stages = plan.results["stages"]
    assert stages["best"]["val/bits_per_dim"] == min(bits for _, bits in stages["training"]["validation"])
    assert stages["export"]["bytes"] < 16_000_000
    assert sorted(path.name for path in plan.out.iterdir()) == [
        "faces64_bf16.tar.01-of-01", "log.txt", "results.json", "samples.png", "strips.png",
    ]  # fmt: skip
    made = tmp_path / "made"
    made.mkdir()
    subprocess.run(f"cat {plan.out}/faces64_bf16.tar.* | tar x -C {made}", shell=True, check=True)
    assert (made / "faces64_bf16" / "model.safetensors").stat().st_size == stages["export"]["bytes"]


@pytest.mark.slow
def test_check_measures_what_is_stale(tmp_path: Path, packed: Path) -> None:
    plan = Plan("check", tmp_path, packed)
    status, printed = plan.finish()
    assert status == 0, printed
    assert set(plan.status()) == {"tests", "train_step"}
    (content,) = plan.results["written"]["train_step"].values()  # on a CPU its name tells the processor
    assert content["shapes"]


@pytest.mark.slow
def test_profile256_tells_kernels_apart(tmp_path: Path, packed: Path) -> None:
    plan = Plan("profile256", tmp_path, packed)
    status, printed = plan.finish()
    assert status == 0, printed
    plain = plan.results["stages"]["plain_1"]
    assert plain["products_ms"] > 0 and plain["between_ms"] > 0 and plain["kernels"] > 100
    assert plain["most"][0][1] >= plain["most"][1][1]


def wait_for(folder: Path, pattern: str) -> None:
    for _ in range(600):
        if any(folder.glob(pattern)):
            return
        time.sleep(0.1)
    raise AssertionError(f"{pattern} did not come")


@pytest.mark.slow
def test_the_wheels_make_a_program_without_an_index(tmp_path: Path) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    environment = os.environ | {"PACKED": str(tmp_path / "packed"), "PYTHON": sys.executable, "VERSION": version}
    subprocess.run([ROOT / "benchmarks/gpu/pack.sh", "wheels"], env=environment, check=True)
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(site)]
    subprocess.run([*install, *(tmp_path / "packed" / "wheels").glob("*.whl")], check=True)
    found = subprocess.run(
        [sys.executable, "-c", "import hydra, omegaconf, lmdb, beartype; print(hydra, omegaconf, lmdb, beartype)"],
        env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert found.count(str(site)) == 4
    help_page = subprocess.run(
        [sys.executable, ROOT / "scripts" / "train.py", "--help"], cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}, capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    assert "max_seconds" in help_page


# How stages are kept, without processes.


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return a_work(tmp_path)


def a_work(tmp_path: Path, seconds: float = 1000.0) -> Work:
    return Work("plan", tmp_path / "out", tmp_path / "work", tmp_path, time.monotonic() + seconds, 9.0, True)


def failing(work: Work) -> dict[str, Any]:
    raise ValueError("one line\nof two")


def stopped(work: Work) -> dict[str, Any]:
    raise Stopped(signal.SIGTERM)


def test_a_stage_that_fails_ends_itself_and_what_needs_it(work: Work) -> None:
    begun = []
    stages = [
        Stage("first", 0, failing),
        Stage("second", 0, lambda work: begun.append(2) or {}, after="first"),
        Stage("third", 0, lambda work: {"figure": 1.5}),
    ]
    assert run(work, stages) == 1
    told = json.loads((work.out / "results.json").read_text())["stages"]
    assert (told["first"]["status"], told["first"]["why"]) == ("failed", "ValueError: one line")
    assert (told["second"]["status"], told["second"]["why"]) == ("not begun", "first is not done")
    assert told["third"]["figure"] == 1.5
    assert not begun
    assert any("figure 1.5" in line for line in account(work.results))


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    begun = []
    stages = [
        Stage("first", 0, lambda work: begun.append(1) or {}),
        Stage("second", 0, stopped),
        Stage("third", 0, failing),
    ]
    assert run(a_work(tmp_path), stages) == 1
    stages[1:] = [Stage("second", 0, lambda work: begun.append(2) or {})]
    again = a_work(tmp_path)
    again.training = 1.0
    assert run(again, stages) == 0
    assert begun == [1, 2]


def test_a_stage_without_time_is_not_begun(tmp_path: Path) -> None:
    work = a_work(tmp_path, seconds=10)
    assert run(work, [Stage("long", 20, failing)]) == 1
    assert work.results["stages"]["long"]["status"] == "not begun"
    with pytest.raises(CutShort):
        a_work(tmp_path, seconds=0).command("benchmarks.gpu.data", "--help")


def test_commands_say_why_they_failed(work: Work) -> None:
    assert "cifar10" in work.command("benchmarks.gpu.data", "--help")
    with pytest.raises(RuntimeError, match=r"benchmarks\.gpu\.data failed: .*invalid choice: 'lsun'"):
        work.command("benchmarks.gpu.data", "lsun", "a", "b")


def test_large_folders_come_back_in_several_calls(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.gpu.work.PART_BYTES", 40_000)
    monkeypatch.setattr("benchmarks.gpu.work.MOST_BYTES", 110_000)
    model = work.folder / "model"
    model.mkdir()
    (model / "weights").write_bytes(os.urandom(190_000))
    work.save()
    with pytest.raises(CutShort, match="2 of 5 parts are out"):
        work.bring_folder(model)
    first = {path.name: path.read_bytes() for path in work.out.glob("model.tar.*")}
    for path in work.out.iterdir():  # between two calls it is emptied
        path.unlink()
    with pytest.raises(CutShort, match="4 of 5"):
        work.bring_folder(model)
    for path in work.out.glob("model.tar.*"):
        first[path.name] = path.read_bytes()
        path.unlink()
    assert work.bring_folder(model)["parts"] == 5
    first |= {path.name: path.read_bytes() for path in work.out.glob("model.tar.*")}
    whole = b"".join(first[name] for name in sorted(first))
    assert whole == (work.folder / "model.tar").read_bytes()


def test_figures_are_stale_without_a_file_on_another_card_or_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "RESULTS", tmp_path)
    benchmark = check.Benchmark("sample", "sample", 10)
    assert check.stale(benchmark, "cuda", "H100")
    path = tmp_path / "sample_cuda.json"
    path.write_text(json.dumps({"machine": {"gpu": "H100"}}))
    assert not check.stale(benchmark, "cuda", "H100") and check.stale(benchmark, "cuda", "H200")
    path.write_text(json.dumps({"machine": {"gpu": "H100"}, "note": "measured before"}))
    assert check.stale(benchmark, "cuda", "H100")


def test_kernels_are_told_apart_by_their_names() -> None:
    names = {
        "sm90_xmma_gemm_bf16bf16": "products",
        "nvjet_hsh_256x128": "products",
        "Memcpy DtoD (Device -> Device)": "copies",
        "triton_relu_and_mask": "triton",
        "void at::native::vectorized_elementwise_kernel<4, ...>": "between",
    }
    assert {name: kernels.kind(name) for name in names} == names
    found = kernels.table([("a gemm", 3000.0, 6), ("add", 1500.0, 3)], steps=3)
    assert (found["products_ms"], found["between_ms"], found["kernels_ms"], found["kernels"]) == (1.0, 0.5, 1.5, 3)
    assert found["most"] == [["a gemm", 1.0, 2], ["add", 0.5, 1]]
