"""What is printed where there is no terminal, or one that knows few characters."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from glow_app.runtime.console import counting, encode_everything
from tests.forked import call


def _ascii() -> None:
    """The output of a process in the locale C, or with PYTHONIOENCODING=ascii."""
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="ascii")


@pytest.mark.parametrize(
    ("encoding", "text", "printed"),
    [
        ("ascii", "3.37 ± 0.01 …", b"3.37 +- 0.01 ..."),
        ("ascii", "Jürgen 李 \udcff", b"J\\xfcrgen \\u674e \\udcff"),
        ("latin-1", "ü ± 0.01 — …", b"\xfc \xb1 0.01 - ..."),
        ("utf-8", "ü ± — \udcff", "ü ± — \\udcff".encode()),
    ],
)
def test_any_text_is_printed(encoding: str, text: str, printed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    encode_everything()
    for stream in (sys.stdout, sys.stderr):
        print(text, end="", file=stream, flush=True)
        assert isinstance(stream, io.TextIOWrapper)
        assert isinstance(stream.buffer, io.BytesIO)
        assert stream.buffer.getvalue() == printed


def test_a_command_speaks_ascii(run: Path, tmp_path: Path) -> None:
    result = call(tmp_path, "evaluate", f"checkpoint={run}", "n_images=4", "gap_images=0", before=_ascii)
    assert (result.returncode, result.stderr) == (0, "")
    assert " +- 0." in result.stdout
    assert result.stdout.isascii()


def test_a_long_job_without_a_terminal_says_where_it_is() -> None:
    output = io.StringIO()
    for log_every in (0, 60):
        with counting(Console(file=output), "test", log_every) as progress:
            progress(1_000, 2_000)
    assert output.getvalue() == "test: 1,000 of 2,000\n"
