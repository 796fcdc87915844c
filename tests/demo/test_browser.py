"""The page in a real browser: Chromium, without a screen."""

import base64
import io
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import glow_app
from glow_app.data.sets.drawn_faces import DrawnFaces
from tests.demo.browsers import choose, drag, message, one, open_file, shown, start, tab, until_changed, wait

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator[Any]:
    driver = start()
    driver.get(address)
    yield driver
    driver.quit()


@pytest.fixture
def fresh(browser: Any) -> Tensor:
    """The picture before anything is done to it."""
    faces = DrawnFaces("test", image_size=16, n_images=64)
    one(browser, ".stage .after")
    for number in (1, 0):  # another one first: the page begins with 0, and one could not see that it has been chosen
        choose(browser, number)
        wait(lambda number=number: torch.equal(shown(browser), faces[number]), f"picture {number}")
    return faces[0]


def test_a_slider_moves_the_picture_in_the_right_direction(browser: Any, fresh: Tensor, run: Path, found: Path) -> None:
    model, directions = glow_app.load(run), glow_app.load_directions(found)

    def smile(image: Tensor) -> float:
        return directions.measure(model.encode(image))[0, directions.column("Smiling")].item()

    drag(browser, "#attribute-Smiling", 1.5)
    more = until_changed(browser, fresh)
    assert torch.equal(more, model.edit(fresh, directions, {"Smiling": 1.5})[0])
    drag(browser, "#attribute-Smiling", -1.5)
    less = until_changed(browser, more)
    assert smile(less) < smile(fresh) < smile(more)
    assert torch.equal(shown(browser, ".stage .before"), fresh)
    assert "Smiling -1.50" in one(browser, ".stage figcaption").text


def test_a_hand_on_the_keyboard_moves_it_too(browser: Any, fresh: Tensor) -> None:
    one(browser, "#attribute-Smiling input[type=range]").send_keys("\ue014" * 12)  # arrow right
    until_changed(browser, fresh)
    one(browser, "#attribute-Smiling .reset-button").click()
    wait(lambda: torch.equal(shown(browser), fresh), "the picture as it was")


def test_every_step_of_a_drag_ends_where_the_hand_ends(browser: Any, fresh: Tensor, run: Path, found: Path) -> None:
    for step in range(1, 31):
        drag(browser, "#attribute-Young", round(0.05 * step, 2))
    expected = glow_app.load(run).edit(fresh, glow_app.load_directions(found), {"Young": 1.5})[0]
    wait(lambda: torch.equal(shown(browser), expected), "the last of 30 moves")


def test_how_long_a_move_takes(browser: Any, fresh: Tensor, record_property: Callable[[str, object], None]) -> None:
    times: list[float] = []
    picture = fresh
    for step in range(1, 11):
        start = time.perf_counter()
        drag(browser, "#attribute-Smiling", 2 * (-1) ** step)
        picture = until_changed(browser, picture)
        times.append(1000 * (time.perf_counter() - start))
    record_property("milliseconds of a move, end to end", statistics.median(times))
    print(f"a slider's move, end to end: median {statistics.median(times):.0f} ms, longest {max(times):.0f} ms")


def test_surprise_temperature_and_reset(browser: Any, fresh: Tensor) -> None:
    one(browser, "#subject-surprise").click()
    sample = until_changed(browser, fresh)
    wait(lambda: "sample" in one(browser, ".stage figcaption").text, "a sample")
    drag(browser, "#temperature", 0.2)
    until_changed(browser, sample)
    one(browser, "#reset").click()
    wait(lambda: torch.equal(shown(browser), sample), "the sample as it was")


def test_interpolation(browser: Any, fresh: Tensor) -> None:
    tab(browser, "Interpolate")
    wait(lambda: len(browser.find_elements("css selector", "#other-gallery button")) >= 4, "pictures to choose from")
    browser.find_elements("css selector", "#other-gallery button")[3].click()
    until_changed(browser, fresh)
    drag(browser, "#position", 1)
    other = shown(browser, ".towards .other")
    wait(lambda: torch.equal(shown(browser), other), "the other picture")
    assert "100% of the way to sample 3" in one(browser, ".stage figcaption").text
    tab(browser, "Attributes")


def test_levels_before_and_after_and_a_film(browser: Any, fresh: Tensor) -> None:
    tab(browser, "Levels")
    wait(lambda: len(browser.find_elements("css selector", ".levels img.smooth")) == 2, "two levels")
    assert torch.equal(shown(browser, ".levels figure:last-child img"), fresh)
    tab(browser, "Attributes")
    drag(browser, "#attribute-Smiling", 2)
    after = until_changed(browser, fresh)
    one(browser, "#pair").click()
    one(browser, "#made a[download='test_0_Smiling+2_before_after.png']")
    assert torch.equal(shown(browser, "#made .new"), after)
    one(browser, "#film").click()
    address = one(browser, "#made a[download='test_0_Smiling+2.gif']").get_attribute("href")
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as film:
        assert film.format == "GIF"
        assert film.n_frames > 10  # type: ignore[attr-defined]


def test_files_good_and_bad(browser: Any, fresh: Tensor, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("this is not a picture")
    open_file(browser, tmp_path / "bad.png")
    text = message(browser)
    assert "bad.png: not a sound image of a known format" in text
    assert "/tmp" not in text
    assert torch.equal(shown(browser), fresh)
    Image.new("RGB", (40, 30), (200, 30, 60)).save(tmp_path / "good.png")
    open_file(browser, tmp_path / "good.png")
    picture = until_changed(browser, fresh)
    assert torch.equal(picture, torch.tensor([200, 30, 60], dtype=torch.uint8)[:, None, None].expand(3, 16, 16))


def test_two_people_do_not_disturb_each_other(browser: Any, fresh: Tensor, address: str) -> None:
    first = browser.current_window_handle
    browser.switch_to.new_window("window")
    try:
        browser.get(address)
        one(browser, "#subject-surprise").click()
        until_changed(browser, fresh)
    finally:
        browser.close()
        browser.switch_to.window(first)
    assert torch.equal(shown(browser), fresh)
    drag(browser, "#attribute-Smiling", 0.0)
    time.sleep(0.5)
    assert torch.equal(shown(browser), fresh)


def test_a_screenshot_and_nothing_from_elsewhere(browser: Any, fresh: Tensor, address: str, tmp_path: Path) -> None:
    assert browser.save_screenshot(str(tmp_path / "page.png"))
    with Image.open(tmp_path / "page.png") as picture:
        assert len(picture.convert("RGB").getcolors(maxcolors=10**7) or []) > 100
    requests = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {r["params"]["request"]["url"] for r in requests if r["method"] == "Network.requestWillBeSent"}
    assert {url for url in urls if not url.startswith((address, "data:", "blob:"))} == set()
    # The browser's own start page is not the page's affair.
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
