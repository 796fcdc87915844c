"""What somebody who uses the page counts on, in a real browser: Chromium, without a screen."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from glow_app.data.image import decode_image
from tests.demo.browsers import actions, choose, drag, message, one, open_file, shown, start, tab, until_changed, wait

pytestmark = pytest.mark.slow

TABS = ("Attributes", "Interpolate", "Levels")
TAB, RIGHT, END = "\ue004", "\ue014", "\ue007"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = start()
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, difficult: str) -> Any:
    """The page, with image 0 of the data set and then image 1."""
    browser.get(difficult)
    browser.execute_script("sessionStorage.clear()")
    browser.get(difficult)
    one(browser, "#subject-gallery button")
    for number in (0, 1):
        choose(browser, number)
        wait(lambda number=number: f"test image {number}" in one(browser, ".stage figcaption").text, "an image")
    return browser


def resize(browser: Any, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def values(browser: Any, name: str) -> tuple[float, float]:
    """What a slider and its number say."""
    fields = (one(browser, f"#attribute-{name} input[type={kind}]") for kind in ("range", "number"))
    first, second = (float(field.get_property("value") or "nan") for field in fields)
    return first, second


IN_SIGHT = """
arguments[0].scrollIntoView({block: arguments[1]});
const seen = (element) => {
  const {left, right, top, bottom} = element.getBoundingClientRect();
  const covered = [0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95].filter(part =>
    !element.contains(document.elementFromPoint(left + part * (right - left) , (top + bottom) / 2)) ||
    !element.contains(document.elementFromPoint((left + 0.2 * (right - left)), top + part * (bottom - top))));
  return left >= 0 && right <= innerWidth && top >= 0 && bottom <= innerHeight && !covered.length;
};
const frame = document.querySelector('.stage .frame');
return [seen(arguments[0]), seen(frame), frame.clientWidth, document.documentElement.scrollWidth <= innerWidth];
"""


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (390, 844)])
def test_the_picture_is_in_sight_of_every_slider(page: Any, width: int, height: int) -> None:
    resize(page, width, height)
    page.execute_script("document.querySelector('#change').style.minHeight = '1500px'")  # as if there were forty
    for name in ("#attribute-Strong", "#attribute-Rare", "#temperature"):
        for block in ("start", "end", "nearest"):
            slider = one(page, f"{name} input[type=range]")

            def seen(slider: Any = slider, block: str = block) -> Any:
                both = page.execute_script(IN_SIGHT, slider, block)
                return both[:2] == [True, True] and both

            found = wait(seen, f"{name} and the picture in sight, {block}")  # the page may still be moving
            assert found[2] >= 256
            assert found[3]
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_what_is_refused_moves_neither_the_picture_nor_the_sliders(page: Any) -> None:
    before = shown(page)
    drag(page, "#attribute-Weak", 0.5)
    moved = until_changed(page, before)
    drag(page, "#attribute-Strong", 2)
    assert "<its latents> are too far" in message(page)
    wait(lambda: values(page, "Strong") == (0, 0), "the slider where it was")
    assert values(page, "Weak") == (0.5, 0.5)
    assert torch.equal(shown(page), moved)
    for typed in ("1.7", "9"):  # the former begins with 1, which is not refused if it is seen
        field = one(page, "#attribute-Strong input[type=number]")
        page.execute_script("arguments[0].select()", field)
        field.send_keys(typed)
        assert ("<its latents>" if typed == "1.7" else "Strong 9: choose -2 to 2") in message(page)
        wait(lambda: values(page, "Strong") in ((0, 0), (1, 1)), "the slider where it was")
        assert ("Strong +1.00" in one(page, ".stage figcaption").text) == (values(page, "Strong") == (1, 1))
    drag(page, "#attribute-Strong", 0.5)
    wait(lambda: "Strong +0.50, Weak +0.50" in one(page, ".stage figcaption").text, "another edit")


def test_a_tab_that_is_not_shown_hinders_nobody(page: Any) -> None:
    tab(page, "Levels")
    wait(lambda: one(page, "#levels .note").text == "image 2 of 4 is not finite", "what is the matter")
    choose(page, 3)
    wait(lambda: "test image 3" in one(page, ".stage figcaption").text, "another picture")
    assert page.find_elements("css selector", ".toast-body") == []


CONTRASTS = """
const pen = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d',
  {willReadFrequently: true});
const over = (colours) => {
  pen.globalCompositeOperation = 'source-over';
  pen.clearRect(0, 0, 1, 1);
  for (const colour of ['white', ...colours]) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); }
  return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
};
const luminance = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
const found = [];
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join('');
  const text = own || (element.matches('input[type=number]') ? element.value : '');
  if (!text || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
  if (element.matches('style, script, option') || !element.getClientRects().length) continue;
  const behind = [];
  let opacity = 1;
  for (let e = element; e; e = e.parentElement) {
    behind.unshift(getComputedStyle(e).backgroundColor);
    opacity *= getComputedStyle(e).opacity;
  }
  const back = luminance(over(behind)), front = luminance(over([...behind, getComputedStyle(element).color]));
  const contrast = (Math.max(back, front) + 0.05) / (Math.min(back, front) + 0.05);
  found.push([contrast * (opacity < 1 ? 0.5 : 1), text.slice(0, 40)]);
}
return found;
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_can_be_read(browser: Any, difficult: str, tmp_path: Path, theme: str) -> None:
    browser.get(f"{difficult}?__theme={theme}")
    one(browser, "#subject-gallery button")
    Image.effect_noise((64, 64), 90).save(tmp_path / "noise.png")
    open_file(browser, tmp_path / "noise.png")
    one(browser, ".stage .note")
    one(browser, "#pair").click()
    one(browser, "#made .save")
    for name in TABS:
        tab(browser, name)
        found = browser.execute_script(CONTRASTS)
        assert len(found) > 20
        assert [pair for pair in found if pair[0] < 4.5] == []
    dark = browser.execute_script("return document.body.classList.contains('dark')")
    assert dark == (theme == "dark")


FOCUSED = """
const e = document.activeElement, s = getComputedStyle(e);
if (e === document.body) return null;
e.dataset.reached = 'yes';
return [e.outerHTML.slice(0, 120), s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2];
"""
NOT_REACHED = """
return [...document.querySelectorAll('a[href], button, input, summary')].filter(e =>
  e.checkVisibility({visibilityProperty: true}) && e.getClientRects().length && !e.disabled && e.type !== 'file' &&
  !(e.type === 'radio' && !e.checked) && !e.dataset.reached && e.tabIndex >= 0 && e.getBoundingClientRect().width > 1)
  .map(e => e.outerHTML.slice(0, 120));
"""


def test_everything_is_reached_by_the_keyboard(page: Any) -> None:
    for name in TABS[:2]:
        tab(page, name)
        for _ in range(60):
            actions(page).send_keys(TAB).perform()
            focused = page.execute_script(FOCUSED)
            assert focused is None or focused[1], focused[0]
        assert page.execute_script(NOT_REACHED) == []
    tab(page, "Attributes")
    before = shown(page)
    one(page, "#attribute-Strong input[type=range]").send_keys(RIGHT * 4)
    until_changed(page, before)
    wait(lambda: "Strong +0.20" in one(page, ".stage figcaption").text, "four steps")


def test_pixels_are_smooth_unless_they_should_not_be(page: Any) -> None:
    smooth, pixels = (one(page, f".stage {name}") for name in (".after.smooth", ".after:not(.smooth)"))
    assert (smooth.is_displayed(), pixels.is_displayed()) == (True, False)
    assert page.execute_script("return arguments[0].naturalWidth", smooth) == 256
    one(page, "#smooth").click()
    assert (smooth.is_displayed(), pixels.is_displayed()) == (False, True)


def test_a_reload_keeps_the_picture_and_its_sliders_in_this_browser_alone(page: Any, difficult: str) -> None:
    before = shown(page)
    drag(page, "#attribute-Strong", 0.75)
    edited = until_changed(page, before)
    page.refresh()
    wait(lambda: "test image 1" in one(page, ".stage figcaption").text, "the picture that was edited last")
    wait(lambda: values(page, "Strong") == (0.75, 0.75), "its slider")
    assert torch.equal(shown(page), edited)
    first = page.current_window_handle
    page.switch_to.new_window("window")
    try:
        page.get(difficult)
        one(page, "#subject-gallery button")
        assert "sample 0" in one(page, ".stage figcaption").text
        assert values(page, "Strong") == (0, 0)
    finally:
        page.close()
        page.switch_to.window(first)


def test_a_face_is_found_edited_and_pasted_back(page: Any, tmp_path: Path) -> None:
    photo = Image.effect_noise((90, 60), 90).convert("RGB")
    photo.save(tmp_path / "me too.png")
    assert page.find_elements("css selector", "#find, #paste") == []
    open_file(page, tmp_path / "me too.png")
    text = "me too.png: "
    wait(lambda: one(page, ".stage .note").text.startswith(text), "that it is unlike the training images")
    assert "unlike the training images; press “Find the face”" in one(page, ".stage .note").text
    whole = shown(page)
    one(page, "#find").click()
    wait(lambda: len(page.find_elements("css selector", "#faces button img")) == 2, "two faces")
    page.find_elements("css selector", "#faces button")[1].click()
    face = until_changed(page, whole)
    drag(page, "#attribute-Strong", 1.5)
    until_changed(page, face)
    one(page, "#paste").click()
    address = one(page, "#made a[download='me_too_Strong+1.5_pasted.png']").get_attribute("href")
    pasted = decode_image(base64.b64decode(address.partition(",")[2]))
    assert pasted.shape == (3, 60, 90)
    changed = (pasted.int() != decode_image(tmp_path / "me too.png").int()).any(0)
    assert changed[:, 50:].any()
    assert not changed[:, :45].any()
