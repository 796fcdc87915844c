"""Flags, and configuration files from elsewhere: what is let through, and what is refused."""

from pathlib import Path

import pytest

from glow_app.cli import conf_folder
from glow_app.cli import help as help_
from glow_app.cli.foreign import check_flags, check_foreign_files
from glow_app.cli.mistakes import unknown_key
from glow_app.errors import UserError

LOGGING = "version: 1\nroot: {level: INFO, handlers: [x]}\nhandlers: {x: {(): os.system, command: echo}}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--resume=auto"], "unknown flag --resume; options are key=value: write resume=auto"),
        (["-x"], "unknown flag -x; options are key=value"),
        (["--config-di", "elsewhere"], "unknown flag --config-di; options are key=value: did you mean --config-dir?"),
        (["--config-d=elsewhere"], "unknown flag --config-d; "),
        (["--config-dir"], "--config-dir takes a folder"),
        (["--config-dir", "--help"], "--config-dir takes a folder"),
        (["--cfg", "jobs"], "--cfg takes one of job, hydra, all"),
        (["-c"], "-c takes one of job, hydra, all"),
        (["--experimental-rerun", "job.pickle"], "--experimental-rerun reads a pickle"),
        (["--config-name", "evaluate"], "--config-name: the command has its own configuration"),
        (["-cp=/tmp"], "-cp: the command has its own configuration"),
    ],
)
def test_flags_that_no_command_has(arguments: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        check_flags(["max_steps=5", *arguments])
    assert str(error.value).startswith(said)


def test_flags_of_hydra_are_let_through() -> None:
    check_flags(["--config-dir", "mine", "-m", "seed=1,2", "--cfg=job", "--resolve", "-h"])


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"experiment/e.yaml": f"# @package hydra.job_logging\n{LOGGING}"}, "@package hydra.job_logging can run code"),
        ({"hydra/job_logging/x.yaml": LOGGING}, "settings of hydra can run code"),
        (
            {"experiment/e.yaml": "# @package _global_\ndefaults:\n  - override /hydra/job_logging: x\n"},
            "override /hydra/job_logging can run code",
        ),
        ({"experiment/e.yaml": "defaults: [elsewhere@hydra.callbacks]\n"}, "elsewhere@hydra.callbacks can run code"),
        ({"experiment/e.yml": '"hydra": {run: {dir: /tmp}}\n'}, "hydra can run code"),
        ({"experiment/e.yaml": 'a: {"_targ\\x65t_": os.mkdir}\n'}, "_target_ can run code"),
    ],
)
def test_files_that_reach_into_hydra(tmp_path: Path, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said):
        check_foreign_files([f"--config-dir={tmp_path}"])


def test_links_are_followed_as_hydra_follows_them(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "e.yaml").write_text("hydra: {run: {dir: /tmp}}")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "experiment").symlink_to(tmp_path / "there")
    (tmp_path / "there" / "again").symlink_to(tmp_path / "there")
    with pytest.raises(UserError, match=r"experiment/e\.yaml: hydra can run code"):
        check_foreign_files(["--config-dir", str(tmp_path / "here")])


def test_values_may_say_hydra(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("# @package _global_\nname: hydra\ndata: {root: /mnt/hydra/data}\n")
    check_foreign_files(["-cd", str(tmp_path)])


def test_help_knows_the_files_that_are_brought_in(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nmax_steps: 77\n")
    page = help_.text("train", ["experiment=mine"], [conf_folder(), tmp_path])
    assert "max_steps=77" in page
    assert "experiment=mine" in page
    assert ", mine " in " ".join(page.split())


def test_a_key_that_belongs_elsewhere_is_not_offered_again() -> None:
    text = unknown_key("data.root", "train")
    assert text.startswith("unknown key data.root: it is a key of data=folder, data=hf, data=celeba, ")
    assert "drawn_faces" not in text
    assert unknown_key("optim", "evaluate") == "unknown key optim: it is a key of glow-distill, glow-train"
    assert unknown_key("upload_mb", "sample") == "unknown key upload_mb: it is a key of glow-demo"
    assert unknown_key("max_step", "train") == "unknown key max_step: did you mean max_steps?"
    assert unknown_key("checkpoint", "report").startswith("unknown key checkpoint: did you mean run (")
    assert unknown_key("ckpt", "train").startswith("unknown key ckpt: did you mean resume (")
