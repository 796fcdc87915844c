"""What a run can be resumed from."""

from pathlib import Path

import pytest

from glow_app.errors import UserError
from tests.training.runs import find


def test_find_run_explains_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this run does not exist"):
        find(tmp_path / "nowhere")
    with pytest.raises(UserError, match="this run has no checkpoint yet"):
        find(tmp_path)
