"""The marker of this folder, and its table of figures at the end of ``pytest -m reliability``."""

from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FIGURE = "reliability figure"


class Figures:
    """What a test counted, for the table at the end.

    Args:
        node: the test.
    """

    def __init__(self, node: pytest.Item) -> None:
        self._node = node

    def add(self, what: str, value: object) -> None:
        """One row: what was tried, and what came of it, such as ``"25 of 25"``. Add it before it is asserted."""
        # Properties of a test travel with its report, from other processes too.
        self._node.user_properties.append((FIGURE, (what, str(value))))


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    return Figures(request.node)


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their markers
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.reliability)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [
        (*row, report.outcome)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call"
        for name, row in report.user_properties
        if name == FIGURE
    ]
    if not rows:
        return
    terminalreporter.section("reliability")
    width = max(len(value) for _, value, _ in rows)
    for what, value, outcome in sorted(rows):
        terminalreporter.write_line(f"{value:>{width}}  {what}{'' if outcome == 'passed' else '  FAILED'}")
