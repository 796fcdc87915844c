"""Wrong paths and devices are reported before torch is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
from glow_app import cli
try:
    getattr(cli, sys.argv.pop(1))()
except SystemExit:
    print('torch' in sys.modules)
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "data=folder", "data.root=nowhere"],
            "data=folder: folder {here}/nowhere does not exist; set",
        ),
        (["prepare", "data=celeba", "data.root=nowhere"], "data=celeba: folder {here}/nowhere does not exist"),
        (["edit", "checkpoint=faces64", "images=me.jpg", "edit=Young=1"], "image me.jpg does not exist"),
        (["edit", "checkpoint=faces64", "images=0", "directions=d", "edit=Young=1"], "no directions at d: make them"),
        (["compare", "runs=a,b"], "runs=a does not exist"),
        (["sample", "checkpoint=faces64", "device=cuda"], "device=cuda: this machine has none; choose device=cpu"),
        (["train", "trainer=gpu"], "trainer.accelerator=gpu: this machine has none"),
        (["train", "lr=1e-3"], "unknown key lr: did you mean optim.lr (learning rate after warm-up)?"),
    ],
)
def test_torch_is_not_loaded_for(tmp_path: Path, arguments: list[str], message: str) -> None:
    if "none" in message and any(Path("/dev").glob("nvidia*")):
        pytest.skip("this machine has a GPU")
    result = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert result.stderr.startswith("error: " + message.format(here=tmp_path)), result.stderr
    assert result.stdout == "False\n"
    assert not list(tmp_path.iterdir())
