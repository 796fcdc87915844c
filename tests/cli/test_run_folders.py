"""Where a new run goes."""

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from glow_app.cli import run_folders
from glow_app.cli.run_folders import _new_run_folder, remove_if_empty
from glow_app.runtime.atomic import CannotWrite


def test_jobs_of_the_same_second_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_folders, "HydraConfig", SimpleNamespace(get=lambda: SimpleNamespace(mode=None)))
    monkeypatch.setattr(run_folders, "datetime", type("Noon", (), {"now": staticmethod(lambda: Noon())}))
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(_new_run_folder("x"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8
    assert all(folder.is_dir() for folder in found)
    for folder in found:
        remove_if_empty(folder)
    assert not list(tmp_path.iterdir())

    (tmp_path / "runs").touch()
    with pytest.raises(CannotWrite, match=r"^cannot write runs/x/noon: .*; choose another folder$"):
        _new_run_folder("x")


class Noon:
    def __format__(self, specification: str) -> str:
        return "noon"
