"""Drives Chromium, without a screen, as a hand would."""

import base64
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from glow_app.data.image import decode_image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

# As a hand does it: the element's own setter, which the page cannot tell from a drag, and the event of a drag.
DRAG = """
const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set;
set.call(arguments[0], arguments[1]);
arguments[0].dispatchEvent(new Event('input', {bubbles: true}));
"""


def start() -> Any:
    """Chromium, or the test is skipped."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install -e '.[dev]'")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium and chromedriver on this machine: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    # No sandbox: as root, in a container, Chromium has none, and the page is ours.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1500,1100"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


def wait(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if isinstance(found, Tensor) or found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


def one(browser: Any, selector: str) -> Any:
    return wait(lambda: browser.find_elements("css selector", selector), selector)[0]


def shown(browser: Any, selector: str = ".stage .after") -> Tensor:
    """The pixels of an image on the page, which it holds as they are."""
    address = browser.execute_script("return document.querySelector(arguments[0])?.src", selector)
    return decode_image(base64.b64decode(address.partition(",")[2]))


def until_changed(browser: Any, before: Tensor) -> Tensor:
    one(browser, ".stage .after")
    return wait(lambda: None if torch.equal(now := shown(browser), before) else now, "another picture")


def drag(browser: Any, selector: str, value: float) -> None:
    browser.execute_script(DRAG, one(browser, f"{selector} input[type=range]"), value)


def tab(browser: Any, name: str) -> None:
    next(one for one in browser.find_elements("css selector", "button[role=tab]") if one.text == name).click()


def open_file(browser: Any, path: Path) -> None:
    browser.find_element("css selector", "#choose input[type=file]").send_keys(str(path))


def choose(browser: Any, number: int) -> None:
    """Types the number of an image of the data set."""
    field = one(browser, "#subject-number input")
    browser.execute_script("arguments[0].select()", field)
    field.send_keys(f"{number}\ue007")


def actions(browser: Any) -> Any:
    """Keys and the mouse, wherever the focus is."""
    return pytest.importorskip("selenium.webdriver").ActionChains(browser)


def message(browser: Any) -> str:
    """What the page says that it cannot do; it is closed."""
    text = wait(lambda: one(browser, ".toast-body, [data-testid=toast-body]").text, "a message")
    browser.execute_script("document.querySelectorAll('.toast-close').forEach(one => one.click())")
    wait(lambda: not browser.find_elements("css selector", ".toast-body, [data-testid=toast-body]"), "no message")
    return text
