"""What the plans share: stages within a time, commands, and a folder that holds all that is worth bringing home."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from PIL import Image

from benchmarks.gpu.machine import facts, query
from glow_app.figures import stacked
from glow_app.runtime.atomic import write_atomically

ROOT = Path(__file__).parents[2]

GRACE = 15.0
"""Seconds in which a command that is told to end writes its checkpoint."""

MARGIN = 5.0
"""Seconds that are left over at the end."""

MOST_FILES, MOST_BYTES, PART_BYTES, LOG_BYTES = 8, 60_000_000, 15_000_000, 1_000_000
"""What may come back at once: files, bytes of all of them, bytes of one, and of the log."""


class CutShort(Exception):
    """The time was over before a command was."""


class Stopped(BaseException):
    """A signal has asked the plan to end."""


class Stage(NamedTuple):
    """A part of a plan that is done once, and not begun again when it is done.

    Attributes:
        name: in the results.
        needs: seconds that must be left for it to begin.
        do: does it, and gives what it found, for the results.
        after: stage without which there is nothing to do it with.
    """

    name: str
    needs: float
    do: Callable[["Work"], dict[str, Any]]
    after: str | None = None


class Plan(NamedTuple):
    """What is to be done.

    Attributes:
        stages: in their order.
        tiny: those of a rehearsal.
        training: seconds of training, where there are 15 minutes in all.
        overhead: seconds that a call needs besides.
    """

    stages: Sequence[Stage]
    tiny: Sequence[Stage]
    training: float = 0.0
    overhead: float = 0.0


@dataclass
class Work:
    """A plan at work.

    Attributes:
        plan: its name.
        out: folder for what comes back.
        folder: where it works; kept from one call to the next, which goes on with what is not done.
        packed: folder with what has travelled.
        deadline: on the monotonic clock.
        training: seconds of training in the whole plan.
        rehearsal: whether all of it is tiny, and on a CPU.
        results: what was found so far.
    """

    plan: str
    out: Path
    folder: Path
    packed: Path
    deadline: float
    training: float
    rehearsal: bool
    results: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in (self.out, self.folder):
            folder.mkdir(parents=True, exist_ok=True)
        if self._file.exists():
            self.results = json.loads(self._file.read_text())
            self.training = self.results["training_seconds"]
        machine = facts()
        self.results = {"plan": self.plan, "training_seconds": self.training, "stages": {}} | self.results
        self.results["machine"] = machine
        self.save()

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    @property
    def log(self) -> Path:
        """What all commands have printed."""
        return self.folder / "log.txt"

    @property
    def _file(self) -> Path:
        return self.folder / "results.json"

    def stage(self, stage: Stage) -> None:
        """Does it, unless it is done or there is no time; what goes wrong ends this stage alone."""
        found = self.results["stages"].setdefault(stage.name, {"status": "not begun", "seconds": 0.0})
        if found["status"] == "done":
            return
        if stage.after is not None and self.results["stages"][stage.after]["status"] != "done":
            found["why"] = f"{stage.after} is not done"
        elif self.left < stage.needs:
            found["why"] = f"{self.left:.0f} s were left, {stage.needs:.0f} are needed"
        else:
            self._do(stage, found)
        self.save()

    def _do(self, stage: Stage, found: dict[str, Any]) -> None:
        print(f"{stage.name} ... ({self.left:.0f} s left)", flush=True)
        before, start = found["seconds"], time.monotonic()
        found.pop("why", None)
        try:
            found |= stage.do(self) | {"status": "done"}
        except CutShort as reason:
            found |= {"status": "cut short", "why": str(reason)}
        except Stopped:
            found |= {"status": "cut short", "why": "a signal"}
            raise
        except Exception as error:  # the other stages have their time all the same
            found |= {"status": "failed", "why": f"{type(error).__name__}: {error}".splitlines()[0]}
        finally:
            found["seconds"] = round(before + time.monotonic() - start, 1)

    def command(self, *command: str, seconds: float | None = None) -> str:
        """Runs ``scripts/NAME.py`` or a module, with options, in the plan's folder; gives what it printed.

        Args:
            command: ``train`` or ``benchmarks.sample``, and options.
            seconds: after which it is told to end; None: all that are left.

        Raises:
            CutShort: it was told to end.
            RuntimeError: it failed; the message is its last line.
        """
        name, *options = command
        program = ["-m", name] if "." in name or name == "pytest" else [str(ROOT / "scripts" / f"{name}.py")]
        end = min(self.deadline - GRACE, time.monotonic() + (seconds or 1e9))
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "XDG_CACHE_HOME": str(self.folder)}
        with open(self.log, "ab") as log:
            log.write(f"\n$ {' '.join(command)}\n".encode())
            log.flush()
            start = log.tell()
            process = subprocess.Popen(
                [sys.executable, *program, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                cwd=self.folder, env=environment, start_new_session=True,
            )  # fmt: skip
            try:
                cut = not self._waited_for(process, end)
            finally:
                end_group(process)
        printed = self.log.read_bytes()[start:].decode(errors="replace")
        if cut:
            raise CutShort(f"{name} was told to end")
        if process.returncode:
            raise RuntimeError(f"{name} failed: {(printed.strip() or 'it printed nothing').splitlines()[-1]}")
        return printed

    def _waited_for(self, process: subprocess.Popen, end: float) -> bool:
        """Whether it ended in time; notes how the card runs meanwhile."""
        asked = time.monotonic()
        while time.monotonic() < end:
            try:
                process.wait(timeout=min(1.0, max(0.0, end - time.monotonic())))
            except subprocess.TimeoutExpired:
                if time.monotonic() - asked > 30 and (found := query("clocks.sm", "power.draw", "temperature.gpu")):
                    asked = time.monotonic()
                    self.results.setdefault("at_work", []).append(found)
            else:
                return True
        return False

    def save(self) -> None:
        """Writes what was found so far, and the end of the log, both here and to what comes back."""
        text = json.dumps(self.results, indent=1).encode() + b"\n"
        for path in (self._file, self.out / "results.json"):
            write_atomically(path, lambda file: file.write(text))
        if self.log.exists():
            write_atomically(self.out / "log.txt", lambda file: file.write(self.log.read_bytes()[-LOG_BYTES:]))

    def bring_pictures(self, name: str, pictures: Sequence[Path]) -> None:
        """One picture of several, one below the other."""
        opened = [Image.open(path).convert("RGB") for path in pictures]
        write_atomically(self.folder / name, lambda file: stacked(opened).save(file, "PNG"))
        self._bring(self.folder / name)

    def bring_folder(self, folder: Path) -> dict[str, Any]:
        """An archive of a folder, in parts of which as many come back as may; the next call brings the next ones.

        ``cat NAME.tar.* | tar x`` makes the folder of them.
        """
        archive = self.folder / f"{folder.name}.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(folder, folder.name)
        content = archive.read_bytes()
        parts = [content[start : start + PART_BYTES] for start in range(0, len(content), PART_BYTES)]
        brought: list[str] = self.results.setdefault("brought", [])
        for number, part in enumerate(parts, start=1):
            path = self.folder / f"{folder.name}.tar.{number:02d}-of-{len(parts):02d}"
            path.write_bytes(part)
            if path.name not in brought and self._bring(path):
                brought.append(path.name)
        if len(brought) < len(parts):
            raise CutShort(f"{len(brought)} of {len(parts)} parts are out: call again for the others")
        return {"parts": len(parts), "bytes": len(content)}

    def _bring(self, path: Path) -> bool:
        there = [file for file in self.out.iterdir() if file.name != path.name]
        if len(there) >= MOST_FILES or path.stat().st_size + sum(f.stat().st_size for f in there) > MOST_BYTES:
            return False
        shutil.copyfile(path, self.out / path.name)
        return True


def run(work: Work, stages: Sequence[Stage]) -> int:
    """Does what is not done yet, and says what was found; a signal ends it with everything saved.

    Returns:
        exit status: 0 if everything is done.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for stage in stages:
            work.stage(stage)
    except Stopped:
        print("stopped by a signal", flush=True)
        work.save()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    for line in account(work.results):
        print(line, flush=True)
    return int(any(found["status"] != "done" for found in work.results["stages"].values()))


def account(results: dict[str, Any]) -> list[str]:
    """At most 30 lines."""
    lines = [f"{results['plan']}: {', '.join(f'{key} {value}' for key, value in results['machine'].items())}"]
    if results.get("at_work"):
        lines.append("at work: " + "; ".join(results["at_work"][:8]))
    for name, found in results["stages"].items():
        said = {key: value for key, value in found.items() if isinstance(value, str | int | float)}
        status, seconds = said.pop("status"), said.pop("seconds")
        texts = (f"{value:.6g}" if isinstance(value, float) else str(value) for value in said.values())
        figures = ", ".join(f"{key} {text}" for key, text in zip(said, texts, strict=True))
        lines.append(f"  {name:<12} {status}, {seconds:.0f} s{': ' if figures else ''}{figures:.300}")
    return lines[:30]


def end_group(process: subprocess.Popen) -> None:
    """Ends a command and all that it has started, first kindly."""
    for number, seconds in ((signal.SIGTERM, GRACE - 2), (signal.SIGKILL, 2.0)):
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                continue
