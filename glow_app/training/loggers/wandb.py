"""Weights & Biases: the only file that uses wandb."""

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
"""Seconds that an unreachable server may delay the beginning of a run."""

FINISH_TIMEOUT = 60.0
"""Seconds that uploading may delay the end of a run; the rest stays in the run's folder."""

STATE = Path("wandb", "glow_app.json")
"""File in a run's folder with the id of its wandb run and the last step of each metric in it."""


class Wandb(Tracker):
    """Logs to one wandb run per run, in its folder, online or offline; a resumed run continues it.

    Every metric is drawn against ``step`` (or, optionally, ``images``). wandb cannot drop rows, so a resumed run, which
    repeats them to the bit, does not log them again. If the server is not reached, the run is stored offline; the user
    is not asked for a key.

    Args:
        config: all options.
        run_folder: folder of the run.
        resumed_step: step from which the run resumes; 0 for a new one.
        console: where to print the address of the run.
    """

    def __init__(self, config: TrainConfig, run_folder: Path, resumed_step: int, console: Console) -> None:
        import wandb  # slow to import, and rarely needed

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
                wandb.teardown()  # otherwise it holds on to the id
                self._online = False
        try:
            if not self._online:
                self._run = self._start("offline")
            self._id = self._run.id  # a sweep sets its own
            self._axes()
            self._save_state()
        except Exception:
            wandb.teardown()
            raise
        if self._online:
            say(console, f"wandb     {self._run.url}")
        latest = max(self._steps.values(), default=0)
        if latest > resumed_step:
            say(console, f"wandb already has metrics up to step {latest:,} and keeps them; later ones are added")

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
            self._wandb.teardown()  # ends its process now; ending with ours, it would complain
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
        self._save_state()

    def _save_state(self) -> None:
        path = self._folder / STATE
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps({"id": self._id, "steps": self._steps}))
        os.replace(temporary, path)


def _read(path: Path) -> dict | None:
    """Reads the saved state of the wandb run; None for a new run, or if the file is damaged."""
    try:
        content = json.loads(path.read_text())
        return {"id": str(content["id"]), "steps": {str(key): int(step) for key, step in content["steps"].items()}}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
