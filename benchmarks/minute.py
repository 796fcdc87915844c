"""From ``glow-demo`` typed to one's own photo smiling, in a browser: seconds, without those of a hand.

    python -m benchmarks.minute /data/portraits/portrait_00.jpg

Starts the program as a user does, waits until it says where to look, opens that in Chromium, opens the photo, finds
its face, moves the slider of Smiling to 1 and waits for the picture. Takes Chromium, chromedriver, and the extras
[demo] and [align].
"""

import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from benchmarks import report
from benchmarks.demo_picture import DRAG, chromium

MOST = 120.0
"""Seconds after which it is given up."""


def wait(condition: Callable[[], Any], what: str) -> Any:
    """Returns what ``condition`` does, once that is something.

    Raises:
        TimeoutError: it was nothing for ``MOST`` seconds.
    """
    deadline = time.perf_counter() + MOST
    while time.perf_counter() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise TimeoutError(f"not within {MOST:.0f} s: {what}")


def address_of(output: IO[str]) -> str:
    """Waits for the line in which ``glow-demo`` says where to look."""
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in output], daemon=True).start()
    while True:
        line = lines.get(timeout=MOST)
        if found := re.search(r"http://\S+", line):
            return found[0]


def smiling(address: str, photo: Path, moments: dict[str, float], start: float) -> None:
    """Goes the user's way through the page, and notes the seconds since ``start`` at each station."""

    def reached(station: str) -> None:
        moments[station] = time.perf_counter() - start

    browser = chromium(1440, 1010)
    try:
        browser.get(address)

        def element(selector: str) -> Any:
            return wait(lambda: next(iter(browser.find_elements("css selector", selector)), None), selector)

        def picture() -> Any:
            return browser.execute_script("return document.querySelector('.stage .after')?.src")

        def another(before: Any) -> Any:
            return wait(lambda: now if (now := picture()) != before else None, "another picture")

        first = wait(picture, "a picture")
        reached("a face on the page")
        element("#choose input[type=file]").send_keys(str(photo.resolve()))
        opened = another(first)
        reached("the photo opened")
        wait(lambda: browser.find_element("css selector", "#find").is_displayed(), "Find the face")
        element("#find").click()
        aligned = another(opened)
        reached("its face found")
        browser.execute_script(DRAG, element("#attribute-Smiling input[type=range]"), 1)
        another(aligned)
        reached("smiling")
    finally:
        browser.quit()


def main() -> None:
    """Measures, prints the stations, and writes minute.json."""
    options = report.parser(__doc__)
    options.add_argument("photo", type=Path, help="a photo of one person")
    options.add_argument("--port", type=int, default=7871, help="of the page")
    options.add_argument("arguments", nargs="*", help="of glow-demo, such as checkpoint=...")
    arguments = options.parse_args()
    facts = report.start(arguments)
    moments: dict[str, float] = {}
    start = time.perf_counter()
    command = [str(Path(sys.executable).with_name("glow-demo")), "browser=false", f"port={arguments.port}"]
    program = subprocess.Popen(
        [*command, *arguments.arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert program.stdout is not None
        address = address_of(program.stdout)
        moments["where to look"] = time.perf_counter() - start
        smiling(address, arguments.photo, moments, start)
    finally:
        program.terminate()
        program.wait()
    for station, seconds in moments.items():
        report.CONSOLE.print(f"{seconds:6.1f} s  {station}")
    report.write(
        report.timed_file(arguments.output, "minute", arguments.device, ".json"), {"machine": facts, "seconds": moments}
    )


if __name__ == "__main__":
    main()
