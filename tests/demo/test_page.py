"""The page as it is served: to this machine alone, nothing but what it needs, and nobody's pictures but one's own."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported
pytest.importorskip("gradio", reason="gradio is not installed: pip install 'glow_app[demo]'")

from glow_app.demo import page, show
from glow_app.demo.studio import Moves, Studio, Subject
from glow_app.demo.view import Kept, View
from glow_app.errors import UserError
from tests.demo.conftest import SCRIPT
from tests.demo.studios import EYES, small_model, small_studio


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "temporary"))


def built(studio: Studio, n_pictures: int) -> page._Page:
    """Inside of an event loop: outside, gradio makes one itself and never closes it."""

    async def build() -> page._Page:
        return page._Page(studio, n_pictures)

    return asyncio.run(build())


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read()


def upload(address: str, content: bytes, name: str) -> list[str]:
    lines = [
        b"--x",
        f'Content-Disposition: form-data; name="files"; filename="{name}"'.encode(),
        b"",
        content,
        b"--x--",
    ]
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(f"{address}gradio_api/upload", b"\r\n".join([*lines, b""]), headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


@pytest.mark.slow
def test_only_this_machine_can_see_it(address: str) -> None:
    assert address.startswith("http://127.0.0.1:")
    port = int(address.rsplit(":", 1)[1].strip("/"))
    assert b"glow-demo" in get(address)
    with socket.socket() as other:  # an address that is this machine's own, but not the one that is listened to
        other.settimeout(5)
        assert other.connect_ex(("127.0.0.2", port)) != 0


@pytest.mark.slow
def test_no_script_font_or_picture_comes_from_elsewhere(address: str) -> None:
    config = json.loads(get(f"{address}config"))
    assert "fonts.googleapis" not in json.dumps(config)
    assert "cdn" not in get(f"{address}theme.css").decode().lower()


def test_attributes_are_sliders_the_strongest_first(tmp_path: Path) -> None:
    one = built(small_studio(tmp_path), 4)
    assert [slider.elem_id for slider in one.sliders] == ["attribute-Strong", "attribute-Weak", "attribute-Rare"]


@pytest.mark.slow
def test_nothing_can_be_called_but_what_the_page_calls(address: str) -> None:
    assert json.loads(get(f"{address}gradio_api/info"))["named_endpoints"] == {}


@pytest.mark.slow
def test_files_of_this_machine_are_not_served(address: str, run: Path) -> None:
    for path in ("/etc/passwd", str(run / "model" / "model.json"), str(Path(__file__))):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(f"{address}gradio_api/file={path}")


@pytest.mark.slow
def test_a_page_that_was_closed_prints_nothing(address: str) -> None:
    """What the fixture looks at when it ends: the terminal has no error."""
    with pytest.raises(http.client.IncompleteRead) as cut:
        get(f"{address}gradio_api/queue/data?session_hash=closed")
    assert b'"session_not_found":true' in cut.value.partial


@pytest.mark.slow
def test_large_files_are_refused(address: str) -> None:
    assert upload(address, bytes(900_000), "a.png")
    with pytest.raises(urllib.error.HTTPError, match="413"):
        upload(address, bytes(1_200_000), "a.png")


def test_what_is_opened_is_not_kept(tmp_path: Path) -> None:
    one = built(small_studio(tmp_path / "model"), 2)
    file = tmp_path / "me.png"
    file.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"me\.png: not a sound image"):
        one.chooser.open(str(file))
    assert not file.exists()


@pytest.mark.slow
def test_a_port_that_is_taken(address: str, run: Path, tmp_path: Path) -> None:
    taken = address.rsplit(":", 1)[1].strip("/")
    command = [sys.executable, str(SCRIPT), f"checkpoint={run}", f"port={taken}", "browser=false"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: port={taken} is taken")
    assert result.stderr.count("\n") == 1
    assert "no attribute sliders: glow-directions checkpoint=" in result.stdout


OVERTAKEN = """
import os, runpy, socket, sys, types

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
from gradio import http_server

others = []

class Overtaken(socket.socket):
    def close(self):
        where = self.getsockname()
        super().close()
        if not others:
            others.append(socket.create_server(where))

http_server.socket = types.SimpleNamespace(**vars(socket) | {"socket": Overtaken})
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""The command, whose first port is found free and taken by another before it can be listened to."""


@pytest.mark.slow
def test_of_two_that_find_the_same_port_free_one_takes_the_next(run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", OVERTAKEN, str(SCRIPT), f"checkpoint={run}", "browser=false"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = next((line for line in process.stdout if line.startswith("look at ")), "")
        page_there = b"glow-demo" in get(line.removeprefix("look at ").strip()) if line else False
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert page_there, errors
    assert process.returncode == 0


def test_without_directions_and_data(tmp_path: Path) -> None:
    one = built(Studio(small_model(tmp_path), None, None, 0), 3)
    assert [picture.name for picture in one._drawn()] == ["sample 0", "sample 1", "sample 2"]
    assert one.sliders == []


def test_a_conditional_model_asks_for_the_class(tmp_path: Path) -> None:
    one = built(Studio(small_model(tmp_path, n_classes=2), None, None, 0), 2)
    assert one.chooser.surprise(1).label == 1
    assert "class 1" in str(one.blocks.get_config_file())


def test_a_number_that_is_not_typed(tmp_path: Path) -> None:
    one = built(small_studio(tmp_path), 2)
    assert one.chooser.numbered(3).name == "test image 3"
    with pytest.raises(UserError, match="type the number of an image"):
        one.chooser.numbered(None)


def test_names_are_text() -> None:
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    subject = Subject("<script>alert(1)</script>", '"><i>', (), image, None, 1.0, notes=("<u>",))
    html = show.stage(View(subject, Moves(1.0)), image, "<b>")
    assert "<i>" not in html
    assert "<u>" not in html
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<script>" not in show.thumbnail("<script>", image)


def test_what_is_refused_leaves_the_sliders_where_the_picture_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = built(small_studio(tmp_path), 2)
    told: list[str] = []
    monkeypatch.setattr("gradio.Warning", lambda message, **options: told.append(message))
    move = one._refusing(one._moved)
    rest = (one.start.subject.temperature, 0, "linear")
    view = move(one.start, "Attributes", "tab", *rest, 0.5, 0, 0)[one.view]
    assert view.moves.amounts == {"Strong": 0.5, "Weak": 0, "Rare": 0}
    assert one.kept.get("tab") is view

    def fail(*arguments: object) -> None:
        raise errors.pop(0)

    positions = dict(zip(one.controls, [*rest, 0.5, 0, 0], strict=True))
    assert move(view, "Attributes", "tab", *rest, 0.5, 2.05, 0) == positions
    assert told.pop() == "Weak 2.05: choose -2 to 2"
    errors = [UserError("<not> finite"), ZeroDivisionError("a fault")]
    while errors:
        monkeypatch.setattr(one.studio, "after", fail)
        assert move(view, "Attributes", "tab", *rest, 0.5, 1, 0) == positions
    assert told == [
        "&lt;not&gt; finite",
        "this is a fault of the program: the terminal in which glow-demo runs says which",
    ]
    assert one.kept.get("tab") is view


def test_a_slider_goes_back_to_the_largest_natural_amount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = built(small_studio(tmp_path), 2)
    monkeypatch.setattr(one.studio, "_interval", lambda *arguments: (-0.4, 1.15))
    rest = (one.start.subject.temperature, 0, "linear")
    moved = one._moved(one.start, "Attributes", "tab", *rest, 1.0, 0, 0)
    assert not set(one.controls) & set(moved) and "ends here" not in moved[one.stage]  # none is moved under the hand
    moved = one._moved(one.start, "Attributes", "tab", *rest, 2.0, 0, 0)
    assert [moved[control] for control in one.controls] == [*rest, 1.15, 0, 0]
    assert moved[one.view].moves.amounts["Strong"] == 1.15 and "Strong ends here" in moved[one.stage]
    moved = one._moved(one.start, "Attributes", "tab", rest[0], 0.52, "linear", 0, 0, 0)
    assert moved[one.position] == moved[one.view].moves.position == 0.5  # one of the pictures on the way


def test_files_are_named_as_those_of_glow_edit(tmp_path: Path) -> None:
    studio = small_studio(tmp_path)
    face, other = studio.of_data_set(3), studio.sampled(5)
    assert View(face, Moves(1.0, {"Strong": 0.0}, other)).file_name == "test_3"
    assert View(face, Moves(1.0, {"Strong": 0.8, "Weak": -0.5}, other)).file_name == "test_3_Strong+0.8_Weak-0.5"
    assert View(other, Moves(0.5, {"Weak": 1}, face, 0.25)).file_name == "sample_5_Weak+1_temperature0.5_to_test_3_0.25"
    html = show.side_by_side(View(face, Moves(1.0, {"Strong": 0.8})), face.pixels)
    assert 'download="test_3_Strong+0.8_before_after.png"' in html


def test_views_are_kept_of_the_last_tabs_alone(tmp_path: Path) -> None:
    studio = small_studio(tmp_path)
    views = [View(studio.sampled(0), Moves(temperature)) for temperature in (0.1, 0.2, 0.3)]
    kept = Kept(2)
    kept.put("a", views[0])
    kept.put("b", views[1])
    kept.put("a", views[2])
    kept.put("c", views[1])
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (views[2], None, views[1])


def test_without_the_extra_align_it_is_said_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studio = small_studio(tmp_path)
    assert "glow_app[align]" not in str(built(studio, 2).blocks.get_config_file())  # it knows of no eyes
    studio.eyes = EYES
    monkeypatch.setattr(page, "is_installed", lambda: False)
    one = built(studio, 2)
    assert one.find is None
    assert "pip install 'glow_app[align]'" in str(one.blocks.get_config_file()).replace("\\'", "'")
    monkeypatch.setattr(page, "is_installed", lambda: True)
    assert built(studio, 2).find is not None
