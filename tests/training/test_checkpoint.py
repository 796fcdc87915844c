"""What a run can be resumed from."""

from pathlib import Path

import pytest

from glow_app.errors import UserError
from glow_app.training.checkpoint import find_run


def test_find_run_explains_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this run does not exist"):
        find_run(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="this run has no checkpoint yet"):
        find_run(str(tmp_path))
