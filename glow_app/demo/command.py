"""``glow-demo``: the model as a web page on this machine."""

import os
import signal
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from glow_app.commands.common import directions_folder, open_model, require_classes
from glow_app.commands.edit import open_directions
from glow_app.config.commands import DemoConfig
from glow_app.data.source import ImageSource
from glow_app.demo.studio import Studio
from glow_app.errors import UserError
from glow_app.latents.directions import METADATA, Directions
from glow_app.model import Model
from glow_app.runtime.console import say


def demo(config: DemoConfig, console: Console) -> None:
    """Serves the page on the loopback interface until Ctrl-C or SIGTERM.

    Raises:
        UserError: gradio is not installed, or the model, its directions or the port is not available.
    """
    # Set before gradio is imported: it sends no statistics, and stores uploads in a folder that is removed at the end.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    signal.signal(signal.SIGTERM, _end)  # by default, it would end the process before the folder is removed
    with _temporary_folder() as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            with _without_proxy():
                from glow_app.demo import page, server
        except ModuleNotFoundError as error:
            raise UserError(f"glow-demo needs {error.name}: install it with pip install 'glow_app[demo]'") from error
        studio = open_studio(config, console)
        blocks = page.build(studio, config.pictures)
        with _without_proxy():
            address = server.launch(blocks, config.port, config.upload_mb)
        say(console, f"look at {address}")
        say(console, "only this machine can see it; Ctrl-C ends it")
        if config.browser:
            webbrowser.open(address)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass
        finally:
            blocks.close(verbose=False)


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="glow_demo_")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"no temporary folder can be written ({reason}): set TMPDIR to one that can") from error


@contextmanager
def _without_proxy() -> Iterator[None]:
    """Inside, no proxy is asked: gradio asks its own page, on this machine, and makes clients when it is imported.

    Outside, a model is still downloaded by way of the proxy, and the browser keeps it.
    """
    before = {name: os.environ.get(name) for name in ("no_proxy", "NO_PROXY")}
    os.environ.update(dict.fromkeys(before, "*"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def open_studio(config: DemoConfig, console: Console) -> Studio:
    """Opens the model with its directions and its data set; reports if one of the latter two is missing.

    Raises:
        UserError: the model is missing, or directions or data that were asked for do not fit it.
    """
    model = open_model(config)
    directions, source = _directions(config, model, console), _source(config, model, console)
    return Studio(model, directions, source, config.seed, getattr(config.data, "eyes", None))


def _directions(config: DemoConfig, model: Model, console: Console) -> Directions | None:
    if config.directions is None and not (directions_folder(None, model) / METADATA).is_file():
        say(console, f"no attribute sliders: glow-directions checkpoint={config.checkpoint} finds directions for them")
        return None
    return open_directions(config.directions, config.method, model)


def _source(config: DemoConfig, model: Model, console: Console) -> ImageSource | None:
    """Opens the data set without the cache, which is slow to build for a few images."""
    try:
        source = config.data.open(config.split)
        if model.flow.n_classes:
            source.find_classes()
    except UserError as error:
        say(console, f"no images of the data set to choose by their numbers: {error}")
        return None
    if source.image_shape != model.image_shape:
        raise UserError(f"images of data={config.data.name} have another shape than the model's: choose other data")
    require_classes(model, source)
    return source
