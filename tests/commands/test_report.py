"""``glow-report``: a page that has every section that applies, says why others are left out, and needs no network."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table

from glow_app.commands import report as command
from glow_app.commands.report import SECTIONS, report
from glow_app.commands.run_page import markup
from glow_app.commands.run_page.recorder import Recorder
from glow_app.config.commands import ReportConfig
from glow_app.errors import UserError
from glow_app.figures import monitors
from glow_app.runtime.console import counting, say, show
from glow_app.runtime.rank import environment_of_one
from tests.commands.using import configure, use
from tests.demo.browsers import start
from tests.forked import SCRIPTS

FEW = ["n_images=8", "examples=0", "temperatures=[0,0.7]"]


class Read(HTMLParser):
    """What is on a page: anchors of sections, addresses, and the text of what is left out."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(path.read_text())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "section":
            self.sections.append(values["id"] or "")
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "srcset", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def made(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The page of a run, and what was said."""
    folder = tmp_path_factory.mktemp("report")
    said = use(report, configure("report", ReportConfig, f"run={run}", f"output={folder}", *FEW))
    return folder / "report.html", said


def test_all_sections_are_there_but_what_was_not_asked_for(made: tuple[Path, str]) -> None:
    path, said = made
    page = Read(path)
    assert page.sections == [*(name for name in SECTIONS if name != "quality"), "left_out"]
    assert "quality         left out: examples=0 trains no classifier" in said
    assert f"{path}   (" in said
    for text in ("Glow, L=2 K=2 width=8", "bits/dim", "AffineCoupling", "Smiling", "model.width", "torch", "AUROC"):
        assert text in page.text


def test_it_fetches_nothing(made: tuple[Path, str]) -> None:
    page, text = Read(made[0]), made[0].read_text()
    assert {re.split("[:,#]", one)[0] for one in page.addresses} == {"data", ""}
    assert not re.search(r"https?://|@import|url\(|<script|<iframe", text)
    assert markup.POLICY in text


def test_it_names_no_folder_of_this_machine(made: tuple[Path, str], run: Path) -> None:
    text = made[0].read_text()
    assert str(run.parent) not in text
    assert str(made[0].parent) not in text


def test_a_section_that_fails_costs_only_itself(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(subject: object) -> str:
        raise ZeroDivisionError("one\nover <0>")

    some = {"curves": SECTIONS["curves"], "edits": ("Edits", fail), "machine": SECTIONS["machine"]}
    monkeypatch.setattr(command, "SECTIONS", some)
    said = use(report, configure("report", ReportConfig, f"run={run}", f"output={tmp_path}"))
    page = Read(tmp_path / "report.html")
    assert page.sections == ["curves", "machine", "left_out"]
    assert "failed, ZeroDivisionError: one over <0> (debug=true shows where)" in page.text
    assert "edits           left out: failed" in said
    with pytest.raises(ZeroDivisionError):
        use(report, configure("report", ReportConfig, f"run={run}", f"output={tmp_path}", "debug=true"))


def test_a_run_without_a_model_has_a_page(run: Path, tmp_path: Path) -> None:
    """Of a run that has begun, or whose flow is an object of a program."""
    options = configure("report", ReportConfig, f"run={run}", *FEW)
    for name in ("config.yaml", "metrics.csv"):
        shutil.copy(run / name, tmp_path)
    options.run = str(tmp_path)
    use(report, options)
    page = Read(tmp_path / "report" / "report.html")
    assert page.sections == ["curves", "configuration", "left_out"]
    assert "no model at" in page.text


def test_images_that_are_gone_leave_the_rest(run: Path, tmp_path: Path) -> None:
    options = ["data=folder", f"data.root={tmp_path / 'gone'}", f"output={tmp_path}"]
    use(report, configure("report", ReportConfig, f"run={run}", *FEW, *options))
    page = Read(tmp_path / "report.html")
    assert page.sections == ["curves", "samples", "temperatures", "configuration", "machine", "left_out"]


def test_text_is_escaped_and_numbers_are_to_the_right() -> None:
    text = markup.rows(("a<b", "n"), [("x&y", "+1.2 ± 0.1"), ("z", "<i>")])
    assert '<th scope="col">a&lt;b</th><th scope="col" class="number">n</th>' in text
    assert '<th scope="row">x&amp;y</th><td class="number">+1.2 ± 0.1</td>' in text
    assert "<td>&lt;i&gt;</td>" in text
    for number in ("0.994-1.000", "-12", "3e-07", "98.0%", "1,024", "inf", "-"):
        assert markup.rows("ab", [("", number)]).count('class="number"') == 2
    for word in ("LJ-1", "test - PNG", ""):
        assert markup.rows("ab", [("", word)]).count('class="number"') == (2 if word == "" else 1)


def test_a_recorder_keeps_what_is_said_and_shown() -> None:
    recorder, table = Recorder(), Table("a", title="t")
    table.add_row("[b]1")
    with counting(recorder, "work", log_every=0) as progress:
        progress(1, 2)
    say(recorder, "\none")
    show(recorder, table)
    say(recorder, "\nlook at")
    say(recorder, "  /tmp/a.png")
    say(recorder, "  /tmp/b.json")
    assert recorder.lines == ["one"]
    assert recorder.pictures == [Path("/tmp/a.png")]
    assert "<caption>t</caption>" in markup.table(recorder.tables[0])


def test_metrics_that_are_never_finite_have_no_plot(tmp_path: Path) -> None:
    rows = [{"step": 1.0, "train/lr": 0.1, "val/bits_per_dim": 3.0, "a": float("nan")}, {"step": 2.0, "a": 1.0}]
    assert not monitors.draw(rows, tmp_path / "monitors.png")
    assert monitors.draw([*rows, {"step": 3.0, "train/lr": 0.2}], tmp_path / "monitors.png")


def test_a_process_by_itself_knows_of_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "SLURM_STEP_ID", "KEPT"):
        monkeypatch.setenv(name, "2")
    assert environment_of_one().keys() & {"RANK", "WORLD_SIZE", "SLURM_STEP_ID", "KEPT"} == {"KEPT"}


def test_several_processes_are_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glow_app.runtime.distributed.rank_info", lambda: type("Here", (), {"world_size": 2}))
    with pytest.raises(UserError, match="glow-report runs in one process"):
        use(report, configure("report", ReportConfig, f"run={run}", f"output={tmp_path}"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "run has no value: name the folder of a run, run=runs/..."),
        (["run=."], "run=. is not the folder of a run: it has no config.yaml, which glow-train writes there"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    line = [sys.executable, str(SCRIPTS / "report.py"), *arguments]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (2, f"error: {message}\n")


@pytest.fixture
def browser() -> Iterator[Any]:
    driver = start()
    yield driver
    driver.quit()


@pytest.mark.slow
def test_a_browser_shows_it_and_asks_for_nothing(
    browser: Any, made: tuple[Path, str], record_property: Callable[[str, object], None]
) -> None:
    address = made[0].as_uri()
    browser.get(address)
    shown = [one.get_attribute("id") for one in browser.find_elements("css selector", "main > section")]
    assert shown == [*(name for name in SECTIONS if name != "quality"), "left_out"]
    assert browser.execute_script("return [...document.images].every(one => one.complete && one.naturalWidth > 0)")
    assert browser.find_element("css selector", "nav a").value_of_css_property("text-decoration-line") == "none"
    requests = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {one["params"]["request"]["url"] for one in requests if one["method"] == "Network.requestWillBeSent"}
    assert {url for url in urls if not url.startswith("data:")} == {address}
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    # On a phone nothing but tables, which scroll by themselves, is wider than the screen.
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_training_makes_it_at_its_end(tmp_path: Path) -> None:
    tiny = ["data.image_size=16", "data.n_images=32", "trainer.batch_size=8", "max_steps=4", "validate_every=4"]
    tiny += ["samples_every=4", "model.n_levels=2", "model.n_steps=2", "model.width=8", "temperatures=[0.7]"]
    line = [sys.executable, str(SCRIPTS / "train.py"), *tiny, "report=true"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    (page,) = tmp_path.glob("runs/drawn_faces/*/report/report.html")
    assert done.stdout.rstrip().endswith("needs no other file)")
    assert Read(page).sections[-1] == "left_out"  # quality: too few images
