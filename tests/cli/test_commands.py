"""The commands that use a trained model, as a person uses them: in a process of their own, from an empty folder."""

from pathlib import Path

import pytest

from tests.forked import call


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("evaluate", ["checkpoint=null"], "checkpoint has no value: name the folder of a run, checkpoint=runs/..."),
        ("sample", ["checkpoint=nowhere"], "no model at nowhere: give the folder of a run"),
        ("evaluate", ["compare=a"], "compare takes two models and no checkpoint besides"),
        ("evaluate", ["checkpoint={run}", "splitt=val"], "unknown key splitt: did you mean split?"),
        ("sample", ["checkpoint={run}", "temperature=-1"], "temperature=-1.0 is too small: it must be at least 0"),
        ("interpolate", ["checkpoint={run}", "images=me.jpg,you.png"], "image me.jpg does not exist"),
        (
            "edit",
            ["checkpoint={run}", "images=0", "sweep=Smiling"],
            "no directions at {run}/directions: make them with",
        ),
        ("restore", ["checkpoint={run}", "images=0", "mask=nose.png"], "mask=nose.png is neither a file nor one of"),
        ("compare", [], "runs has no value: name folders of runs or of sweeps, runs=runs/a,runs/b"),
        ("judge", ["checkpoint={run}", "amount=0"], "amount=0.0 is too small: it must be above 0"),
        ("directions", ["checkpoint={run}/checkpoints/step_00000012.ckpt"], "is a file: give the folder of the run"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    run: Path, tmp_path: Path, command: str, arguments: list[str], message: str
) -> None:
    result = call(tmp_path, command, *(argument.format(run=run) for argument in arguments))
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert message.format(run=run) in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_lists_need_no_brackets_and_the_data_are_those_of_the_model(run: Path, tmp_path: Path) -> None:
    out = f"output={tmp_path / 'out'}"
    result = call(tmp_path, "interpolate", f"checkpoint={run}", "images=0,1", "steps=3", out)
    assert result.returncode == 0, result.stderr
    assert "end points: 2 of 2 reconstructed exactly" in result.stdout
    assert (tmp_path / "out" / "test_0-test_1_linear3.png").exists()
