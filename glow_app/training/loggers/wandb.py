"""Weights & Biases: the one file that knows wandb."""

import dataclasses
import json
import os
import secrets
from pathlib import Path
from typing import Literal

from PIL.Image import Image as Picture
from rich.console import Console

from glow_app.artifacts.card import read_card
from glow_app.config.train import TrainConfig
from glow_app.runtime.console import say
from glow_app.training.loggers.tracker import Tracker, one_line

INIT_TIMEOUT = 30.0
"""Seconds that a server which does not answer may delay the beginning of a run."""

FINISH_TIMEOUT = 60.0
"""Seconds that uploading may delay the end of a run; what is left is kept in the run's folder."""

STATE = Path("wandb", "glow_app.json")
"""In a run's folder: the id of its wandb run, and up to which step it has which metric."""


class Wandb(Tracker):
    """One wandb run per run, in its folder, online or offline; a resumed run continues it.

    Every metric is drawn against ``step`` (or, at will, ``images``). wandb forgets no row, so those that it has already
    are not given to it again: a resumed run repeats them to the bit.
    If its server is not reached, the run is kept offline; nobody is asked for a key.

    Args:
        config: all options.
        run_folder: folder of the run.
        resumed_step: step from which the run goes on; 0 for a new one.
        console: where to say where the run is to be seen.
    """

    def __init__(self, config: TrainConfig, run_folder: Path, resumed_step: int, console: Console) -> None:
        import wandb  # slow to import, and seldom asked for

        self._wandb = wandb
        self._config = config
        self._folder = run_folder
        self._images_per_step = config.trainer.batch_size * config.trainer.accumulate
        state = _read(run_folder / STATE)
        self._id = state["id"] if state else secrets.token_hex(4)
        self._steps: dict[str, int] = state["steps"] if state else {}
        self._online = config.logger.mode == "online"
        if self._online:
            try:
                self._run = self._start("online")
            except Exception as error:  # of many kinds
                say(console, f"wandb is not reached: {one_line(error)}; it keeps the run offline")
                wandb.teardown()  # it would hold on to the id
                self._online = False
        try:
            if not self._online:
                self._run = self._start("offline")
            self._id = self._run.id  # a sweep gives its own
            self._axes()
            self._remember()
        except Exception:
            wandb.teardown()
            raise
        if self._online:
            say(console, f"wandb     {self._run.url}")
        latest = max(self._steps.values(), default=0)
        if latest > resumed_step:
            say(console, f"wandb has figures up to step {latest:,} already, and keeps them; new ones follow from there")

    def metrics(self, metrics: dict[str, float], step: int) -> None:
        new = {key: value for key, value in metrics.items() if step > self._steps.get(key, -1)}
        if new:
            self._log(new, step)

    def picture(self, name: str, picture: Picture, step: int, caption: str) -> None:
        if step > self._steps.get(name, -1):
            text = f"{caption}, step {step:,}" if caption else f"step {step:,}"
            self._log({name: self._wandb.Image(picture, caption=text)}, step)

    def model(self, folder: Path) -> None:
        if not self._config.logger.artifacts:
            return
        card, _ = read_card(folder)
        facts = {"step": card.step, "weights": card.weights, "preprocessing": card.preprocessing, **card.metrics}
        artifact = self._wandb.Artifact(f"{self._config.name}-{self._id}", type="model", metadata=facts)
        artifact.add_dir(str(folder))
        self._run.log_artifact(artifact)

    def close(self, completed: bool) -> str | None:
        late = False
        try:
            self._run.finish(exit_code=0 if completed else 1)
        except TimeoutError:
            late = True
        finally:
            self._wandb.teardown()  # its process ends here, and not with complaints when ours does
        if self._online and not late:
            return None
        if late:
            return (
                f"wandb did not take everything within {FINISH_TIMEOUT:g} s; upload the rest with\n"
                f"  wandb sync --include-online {self._folder}/wandb/run-*-{self._id}"
            )
        return f"upload to wandb with\n  wandb sync {self._folder}/wandb/offline-run-*-{self._id}"

    def _start(self, mode: Literal["online", "offline"]):
        wandb = self._wandb
        wandb.setup(settings=wandb.Settings(silent=True))
        if mode == "online" and not wandb.login(prompt=False, verify=False):
            raise ConnectionError("there is no key: run `wandb login` once, or set WANDB_API_KEY")
        settings = wandb.Settings(
            silent=True,
            console="off",
            init_timeout=INIT_TIMEOUT,
            finish_timeout=FINISH_TIMEOUT,
            finish_timeout_raises=True,
        )
        return wandb.init(
            project=self._config.logger.project,
            name="/".join(self._folder.parts[-2:]),
            id=self._id,
            dir=str(self._folder),
            config=dataclasses.asdict(self._config),
            allow_val_change=True,
            mode=mode,
            resume="allow",
            reinit="create_new",
            settings=settings,
        )

    def _axes(self) -> None:
        for axis in ("step", "images"):
            self._run.define_metric(axis, hidden=True)
        for panel in ("train", "val", "test", "speed", "samples", "interpolation", "edit"):
            self._run.define_metric(f"{panel}/*", step_metric="step")
        self._run.define_metric("val/bits_per_dim", step_metric="step", summary="min,last")

    def _log(self, values: dict, step: int) -> None:
        self._run.log({**values, "step": step, "images": step * self._images_per_step})
        self._steps |= dict.fromkeys(values, step)
        self._remember()

    def _remember(self) -> None:
        path = self._folder / STATE
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps({"id": self._id, "steps": self._steps}))
        os.replace(temporary, path)


def _read(path: Path) -> dict | None:
    """What is remembered of the wandb run; None for a new run, or if the file is damaged."""
    try:
        content = json.loads(path.read_text())
        return {"id": str(content["id"]), "steps": {str(key): int(step) for key, step in content["steps"].items()}}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
