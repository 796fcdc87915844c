"""The table of figures itself: what is printed is what was counted, and a figure that failed says so."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = (Path(__file__).parent / "conftest.py").read_text()


def test_figures_are_printed(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmarkers = reliability\naddopts = --strict-markers")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile("""
        def test_kills(figures):
            figures.add("kills", "25 of 25")

        def test_damage(figures):
            figures.add("damaged files found", "99 of 100")
            assert False
    """)
    result = pytester.runpytest_inprocess("-m", "reliability", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*= reliability =*", "99 of 100  damaged files found  FAILED", " 25 of 25  kills"])
