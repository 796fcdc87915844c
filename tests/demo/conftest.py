"""One page for all tests, served as a person serves it: by the command, in a process of its own."""

import dataclasses
import importlib.util
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from glow_app.commands.directions import directions
from glow_app.config.commands import DirectionsConfig
from glow_app.data.landmarks import Face
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.demo.studio import Moves, Studio, Subject
from glow_app.errors import UserError
from tests.commands.using import configure, use
from tests.demo.studios import EYES, small_model, some_directions

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo.py"


@pytest.fixture(scope="session")
def found(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directions of the model of :func:`tests.conftest.run`."""
    folder = tmp_path_factory.mktemp("directions")
    arguments = [f"checkpoint={run}", f"output={folder}", "calibration=0"]
    use(directions, configure("directions", DirectionsConfig, *arguments))
    return folder


class Difficult(Studio):
    """Refuses whatever the inverse of some other model could not follow; and finds two faces in any photo."""

    def after(self, subject: Subject, moves: Moves) -> Tensor:
        if moves.amounts.get("Strong", 0) > 1.5:
            raise UserError("image 1 of 1 is not finite: <its latents> are too far from what the model knows")
        return super().after(subject, moves)

    def built_up(self, subject: Subject, moves: Moves) -> Tensor:
        raise UserError("image 2 of 4 is not finite")

    def faces(self, subject: Subject) -> list[tuple[Face, Image.Image]]:
        eyes = np.array(EYES).reshape(2, 2) * 32
        colours = {5: "red", 50: "green"}
        return [
            (Face((left, 10, left + 32, 42), eyes + np.array([left, 10])), Image.new("RGB", (32, 32), colour))
            for left, colour in colours.items()
        ]


@pytest.fixture(scope="session")
def difficult(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page of :class:`Difficult` is, which has everything that a page can have; served by this process."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("gradio is not installed: pip install 'glow_app[demo]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("temporary")))
        from glow_app.demo import page, server

        patch.setattr(page, "is_installed", lambda: True)
        model = small_model(tmp_path_factory.mktemp("model"))
        model.card = dataclasses.replace(model.card, metrics={"val/bits_per_dim": 1.0}, eyes=EYES)
        source = DrawnFaces("test", image_size=16, n_images=8)
        blocks = page.build(Difficult(model, some_directions(model), source, seed=0), 4)
        yield server.launch(blocks, None, 1)
        blocks.close(verbose=False)


@pytest.fixture(scope="session")
def address(run: Path, found: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page of that model is."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("gradio is not installed: pip install 'glow_app[demo]'")
    folder = tmp_path_factory.mktemp("served")
    command = [sys.executable, str(SCRIPT), f"checkpoint={run}", f"directions={found}", "browser=false", "upload_mb=1"]
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            line = next((line for line in process.stdout if line.startswith("look at ")), "")
            assert line, (folder / "errors").read_text()
            yield line.removeprefix("look at ").strip()
            process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + 30
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            assert process.returncode == 0
            assert (folder / "errors").read_text() == ""
        finally:
            process.kill()
            process.communicate()
    assert [path.name for path in folder.iterdir()] == ["errors"]
