"""Training without a network and with a wandb that fails in every way that it can: none is a reason to stop."""

import gc
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glow_app.training.after_update import AfterUpdate
from tests.reliability.conftest import Figures
from tests.training.runs import computed, smallest, train

Patch = pytest.MonkeyPatch
SETTINGS = ("logger=wandb", "max_steps=6", "val_images=8", "test_images=8")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, float]]]:
    """The folder of a cache, and the metrics of a run without wandb."""
    folder = tmp_path_factory.mktemp("undisturbed")
    train(smallest(folder, *SETTINGS, "logger=csv"), folder / "run")
    return folder, computed(folder / "run")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: Patch) -> None:
    """Connections leave this machine neither from this process nor, through their proxy, from those that it starts."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(101, "Network is unreachable")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.fixture
def deaf() -> Iterator[str]:
    """A server that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def not_installed(patch: Patch) -> None:
    patch.setitem(sys.modules, "wandb", None)


def broken_package(patch: Patch) -> None:
    import wandb

    patch.delattr(wandb, "init")


def no_key(patch: Patch) -> None:
    """Nobody has logged in; the fixture of all tests sees to it."""


def unreachable(patch: Patch) -> None:
    patch.setenv("WANDB_API_KEY", "0" * 40)
    patch.setattr("glow_app.training.loggers.wandb.INIT_TIMEOUT", 1.0)


def killed(patch: Patch) -> None:
    """The process that wandb starts beside ours is gone after the third step."""
    after_update = AfterUpdate.on_train_batch_end

    def kill(self: AfterUpdate, trainer: Any, *arguments: Any) -> None:
        if trainer.global_step == 3:
            for child in wandb_processes():
                child.kill()
                child.wait()
        after_update(self, trainer, *arguments)

    patch.setattr(AfterUpdate, "on_train_batch_end", kill)


def wandb_processes() -> list[subprocess.Popen[bytes]]:
    """Those that this process has started and that have not ended."""
    started = [one for one in gc.get_objects() if issubclass(type(one), subprocess.Popen)]
    return [one for one in started if "wandb-core" in str(one.args) and one.poll() is None]


def fails_at(name: str) -> Callable[[Patch], None]:
    def patch_it(patch: Patch) -> None:
        import wandb

        def fail(*arguments: Any, **options: Any) -> None:
            raise BrokenPipeError("the pipe\nis broken")

        patch.setattr(wandb if name == "Image" else wandb.Run, name, fail)

    patch_it.__name__ = f"{name} raises"
    return patch_it


FAILURES: list[tuple[Callable[[Patch], None], str, list[str]]] = [
    (not_installed, "offline", ["wandb is not used: import of wandb halted", "continues with metrics.csv alone"]),
    (broken_package, "offline", ["wandb is not used: module 'wandb' has no attribute 'init'"]),
    (no_key, "online", ["wandb is not reached: there is no key: run `wandb login` once", "wandb sync"]),
    (unreachable, "online", ["wandb is not reached: ", "it keeps the run offline", "wandb sync"]),
    (killed, "offline", ["wandb failed: ", "wandb failed 3 times in a row and is not used any more"]),
    (fails_at("define_metric"), "offline", ["wandb is not used: the pipe is broken"]),
    (fails_at("log"), "offline", ["wandb failed: the pipe is broken; the run continues, and tries it again"]),
    (fails_at("Image"), "offline", ["wandb failed: the pipe is broken; the run continues", "wandb sync"]),
    (fails_at("finish"), "offline", ["wandb was not closed properly: the pipe is broken"]),
]


def test_three_failures_of_wandb_stop_nothing(
    undisturbed: tuple[Path, list[dict[str, float]]], tmp_path: Path, deaf: str
) -> None:
    for failure in FAILURES:
        if failure[0] in (not_installed, unreachable, killed):
            survive(*failure, undisturbed, tmp_path / failure[0].__name__, deaf)


@pytest.mark.slow
def test_no_failure_of_wandb_stops_anything(
    undisturbed: tuple[Path, list[dict[str, float]]],
    tmp_path: Path,
    figures: Figures,
    deaf: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    survived = 0
    try:
        for failure in FAILURES:
            survive(*failure, undisturbed, tmp_path / failure[0].__name__, deaf)
            survived += 1
    finally:
        what = "failures of wandb, without a network, that did not stop training"
        figures.add(what, f"{survived} of {len(FAILURES)}")
    assert "Traceback" not in capfd.readouterr().err
    assert wandb_processes() == []


def survive(
    break_it: Callable[[Patch], None],
    mode: str,
    told: list[str],
    undisturbed: tuple[Path, list[dict[str, float]]],
    run: Path,
    server: str,
) -> None:
    """A run with a broken wandb computes what it would have without wandb, and tells in a few lines what is wrong."""
    cache, expected = undisturbed
    with Patch.context() as patch:
        patch.setenv("WANDB_BASE_URL", server)
        break_it(patch)
        output = train(smallest(cache, *SETTINGS, f"logger.mode={mode}"), run)
    assert computed(run) == expected
    for words in told:
        assert words in output
    lines = [line for line in output.splitlines() if line.startswith("wandb")]
    assert len(lines) == len(set(lines)) <= 3
