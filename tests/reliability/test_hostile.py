"""Checkpoints and configuration files made to run code, to fill the memory or to write elsewhere: 12 clear errors."""

import hashlib
import io
import os
import pickle
import shutil
import sys
import traceback
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from glow_app.cli.foreign import check_foreign_files
from glow_app.errors import UserError
from glow_app.training.checkpoints.format import checkpoints_of
from tests.reliability import jobs
from tests.reliability.conftest import Figures

CANARY = "canary"


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.folder / CANARY),)


def seal(path: Path, content: bytes) -> None:
    """With the right digest: who makes a hostile file can compute it."""
    path.write_bytes(content + f"\nsha256:{hashlib.sha256(content).hexdigest()}\n".encode())


def saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def checkpoint_with(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = checkpoints_of(run)[-1]
    content = torch.load(path, weights_only=True)
    change(content)
    seal(path, saved(content))


def compressed(run: Path) -> None:
    path = checkpoints_of(run)[-1]
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    seal(path, packed.getvalue())


def config_with(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = yaml.safe_load((run / "config.yaml").read_text())
    change(content)
    (run / "config.yaml").write_text(yaml.safe_dump(content))


def bomb(run: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join(9 * [f'*a{n - 1}'])}]" for n in range(1, 12)]
    (run / "config.yaml").write_text("\n".join(lines))


def experiment(run: Path) -> None:
    (run / "experiment").mkdir()
    hydra = {"callbacks": {"c": {"_target_": "os.mkdir", "path": str(run / CANARY)}}}
    (run / "experiment" / "evil.yaml").write_text("# @package _global_\n" + yaml.safe_dump({"hydra": hydra}))


def huge_average(content: dict[str, Any]) -> None:
    (average,) = (state for state in content["callbacks"].values() if "average" in state)
    average["average"][0] = torch.zeros(1).expand(10**12)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "code in a pickle": (
        lambda run: checkpoints_of(run)[-1].write_bytes(pickle.dumps(Payload(run))), "its digest is missing",
    ),
    "code in a sealed archive": (
        lambda run: seal(checkpoints_of(run)[-1], saved(Payload(run))), "is not a checkpoint of glow-train",
    ),
    "code in a state": (
        lambda run: checkpoint_with(run, lambda content: content["callbacks"].update(x=Payload(run))),
        "is not a checkpoint of glow-train",
    ),
    "an archive that unfolds": (compressed, "its archive is compressed"),
    "a step that is no number": (
        lambda run: checkpoint_with(run, lambda content: content.update(global_step="8")), "its global_step is no int",
    ),
    "an array of terabytes": (
        lambda run: checkpoint_with(run, huge_average), "an array that is larger than the file",
    ),
    "an optimizer that is none": (
        lambda run: checkpoint_with(run, lambda content: content.update(optimizer_states=[7])), "cannot be restored",
    ),
    "a tag of yaml": (
        lambda run: (run / "config.yaml").write_text(f"x: !!python/object/apply:os.mkdir ['{run}/{CANARY}']\n"),
        "has aliases or tags",
    ),
    "a _target_": (
        lambda run: config_with(
            run, lambda config: config["model"].update(_target_="os.mkdir", path=str(run / CANARY))
        ),
        "unknown key model._target_",
    ),
    "a path that leaves the root": (
        lambda run: config_with(run, lambda config: config.update(name=f"../{CANARY}")), "cannot name a folder",
    ),
    "aliases that unfold": (bomb, "has aliases or tags"),
    "code in an experiment": (experiment, "can run code; take it out"),
}  # fmt: skip


def try_all(folder: Path, run: Path, report: Path) -> None:
    """Calls the command with each of them, and writes down how it ended."""
    from glow_app.cli import train

    results = {}
    for name, (make, _) in HOSTILE.items():
        copy = folder / name.replace(" ", "_")
        shutil.copytree(run, copy)
        make(copy)
        chosen = ["--config-dir", str(copy), "experiment=evil"] if (copy / "experiment").exists() else []
        sys.argv = ["glow-train", *(chosen or [f"resume={copy}", "max_steps=16"])]
        if not chosen and name not in ("a tag of yaml", "aliases that unfold"):
            sys.argv[1] = f"resume={checkpoints_of(copy)[-1]}"
        said, status = io.StringIO(), None
        with redirect_stderr(said), redirect_stdout(io.StringIO()):
            try:
                train()
            except SystemExit as end:
                status = end.code
            except BaseException:
                traceback.print_exc()
        results[name] = {"status": status, "said": said.getvalue(), "executed": (copy / CANARY).exists()}
    report.write_text(yaml.safe_dump(results))
    sys.exit(0)


def test_hostile_files(tmp_path: Path, run: Path, figures: Figures) -> None:
    report = tmp_path / "report.yaml"
    place = jobs.Place("glow_app.cli", "train")
    assert jobs.run(tmp_path, [], place, partial(try_all, tmp_path, run, report)) == 0
    results = yaml.safe_load(report.read_text())
    executed = [name for name, result in results.items() if result["executed"]]
    unclear = {
        name: result
        for name, result in results.items()
        if result["status"] != 2
        or HOSTILE[name][1] not in result["said"]
        or not result["said"].startswith("error: ")
        or result["said"].count("\n") != 1
    }
    figures.add(
        "hostile checkpoints and configuration files: executed, told in one clear line",
        f"{len(executed)}, {len(results) - len(unclear)} of {len(HOSTILE)}",
    )
    assert not executed
    assert not unclear
    assert len(results) == 12


def test_another_way_to_bring_in_files() -> None:
    with pytest.raises(UserError, match=r"hydra\.searchpath: give the folder with --config-dir"):
        check_foreign_files(["+hydra.searchpath=[file:///tmp]"])


def test_a_folder_of_plain_experiments_is_welcome(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("# @package _global_\nmax_steps: 5\n")
    check_foreign_files(["--config-dir", str(tmp_path), "experiment=mine"])
