"""The picture of the demo page in the README: Chromium and chromedriver look at a page that runs.

glow-demo checkpoint=runs/... browser=false port=7900
python -m benchmarks.demo_picture http://127.0.0.1:7900 docs/demo.png
"""

import argparse
import io
import shutil
import time

from PIL import Image
from selenium import webdriver

PICTURE, AMOUNTS = 3, {"Blond_Hair": 0.5, "Smiling": 0.7}
"""Which of the page's pictures, and what is done to it."""

DRAG = """
const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set;
set.call(arguments[0], arguments[1]);
arguments[0].dispatchEvent(new Event('input', {bubbles: true}));
"""


def chromium(width: int, height: int) -> webdriver.Chrome:
    """Starts Chromium without a screen, with a window of that size in pixels."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--window-size={width},{height}"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def screenshot(address: str) -> Image.Image:
    """The page after some moves of its sliders."""
    driver = chromium(1440, 1010)
    try:
        driver.get(address)
        driver.implicitly_wait(20)
        driver.find_element("css selector", "#subject-gallery button")
        time.sleep(3)
        driver.find_elements("css selector", "#subject-gallery button")[PICTURE].click()
        time.sleep(3)
        for name, amount in AMOUNTS.items():
            slider = driver.find_element("css selector", f"#attribute-{name} input[type=range]")
            driver.execute_script(DRAG, slider, amount)
        time.sleep(3)
        return Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    finally:
        driver.quit()


def main() -> None:
    """Takes the picture, with 256 colours, which is small enough for a repository."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("address", help="what glow-demo tells to look at")
    options.add_argument("output", help="PNG")
    arguments = options.parse_args()
    picture = screenshot(arguments.address)
    picture.quantize(256, kmeans=2).save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
