"""Distillation as a run: it learns, resumes, needs no data, and the commands take what it makes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from glow_app.artifacts.card import read_card
from glow_app.artifacts.weights import load
from glow_app.commands.evaluate import evaluate
from glow_app.commands.plot2d import plot2d
from glow_app.commands.sample import sample
from glow_app.config.commands import EvaluateConfig, Plot2dConfig, SampleConfig
from glow_app.errors import UserError
from glow_app.training.checkpoints.format import checkpoints_of
from glow_app.training.loggers import metrics
from tests.commands.using import configure as configure_use
from tests.commands.using import use
from tests.forked import call
from tests.training.runs import FAMILY, SHORTEST, computed, configure, find, train

POINTS = [
    "experiment=plane", "data.n_points=400", "trainer.batch_size=64", "max_steps=8", "validate_every=4",
    "samples_every=8", "checkpoint_every=4", "optim.warmup_images=128",
]  # fmt: skip

MAF = ["model=maf", "model.n_layers=2", "model.width=8", "model.normalisation=actnorm"]
IAF = ["model=iaf", "model.n_layers=2", "model.width=8", "model.normalisation=actnorm"]


WITHOUT_FACES = [one for one in SHORTEST if not one.startswith("data.n_images")] + ["max_steps=4"]


def draw(folder: Path, n: int) -> None:
    """Pictures of noise."""
    folder.mkdir(parents=True)
    for number in range(n):
        Image.effect_noise((16, 16), 20 + number).convert("RGB").save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MAF of points."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    train(configure(*POINTS, *MAF), folder)
    return folder


@pytest.fixture(scope="module")
def student(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An IAF distilled from it, and what was printed."""
    folder = tmp_path_factory.mktemp("student") / "run"
    return folder, train(configure(*POINTS, *IAF, f"teacher={teacher}", "max_steps=40", "optim.lr=0.01"), folder)


def test_the_divergence_falls_and_is_told(student: tuple[Path, str]) -> None:
    run, told = student
    losses = [
        row["train/kl_bits_per_dim"] for row in metrics.read(run / "metrics.csv") if "train/kl_bits_per_dim" in row
    ]
    assert losses
    card, _ = read_card(run / "model")
    assert 0 < card.metrics["distillation/kl_nats"] < 2
    assert card.metrics["distillation/student_per_second"] > 0
    assert "KL(student || teacher): " in told
    assert "times as fast" in told
    assert (run / "distilled.png").stat().st_size > 10_000


def test_the_run_names_its_teacher(student: tuple[Path, str], teacher: Path) -> None:
    run, told = student
    assert f"teacher   {teacher}: " in told
    assert read_card(run / "model")[0].teacher == teacher.name
    assert f"teacher: {teacher}" in (run / "config.yaml").read_text()


def test_commands_take_it(student: tuple[Path, str], tmp_path: Path) -> None:
    of = [f"checkpoint={student[0]}", f"output={tmp_path}"]
    assert "nats/point" in use(evaluate, configure_use("evaluate", EvaluateConfig, *of, "n_images=20", "gap_images=0"))
    told = use(plot2d, configure_use("plot2d", Plot2dConfig, *of, "n=100", "cells=50"))
    assert "entropy of the data" in told


def test_a_resumed_run_ends_at_the_same_bits(teacher: Path, tmp_path: Path) -> None:
    config = configure(*POINTS, *IAF, f"teacher={teacher}")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config, whole)
    shutil.copytree(whole, cut)
    checkpoints_of(cut)[-1].unlink()
    shutil.rmtree(cut / "model")
    train(config, *find(cut))
    assert computed(cut)[:-1] == computed(whole)[:-1]  # the last has speeds
    for a, b in zip(load(cut).flow.state_dict().values(), load(whole).flow.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.fixture(scope="module")
def of_images(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Options of images that are gone, and a MAF that was trained on them."""
    folder = tmp_path_factory.mktemp("of_images")
    draw(folder / "images", 50)
    options = [*WITHOUT_FACES, "data=folder", f"data.root={folder / 'images'}", "data.cache=false"]
    train(configure(*options, *FAMILY["maf"]), folder / "run")
    shutil.rmtree(folder / "images")
    return options, folder / "run"


@pytest.mark.parametrize("name", ["iaf", "nice", "real_nvp"])
def test_images_need_no_data(name: str, of_images: tuple[list[str], Path], tmp_path: Path) -> None:
    options, teacher = of_images
    config = configure(*options, *FAMILY[name], "model.logit=0.05", f"teacher={teacher}")
    told = train(config, tmp_path / "run")
    assert f"no data in {config.data.missing}: samples of the teacher initialise the model" in told
    assert "nats/image" in told
    assert (tmp_path / "run" / "distilled.png").exists()
    use(sample, configure_use("sample", SampleConfig, f"checkpoint={tmp_path / 'run'}", f"output={tmp_path}", "n=4"))


def test_a_glow_learns_from_a_glow_of_classes(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        draw(tmp_path / "images" / name, 40)
    options = [*WITHOUT_FACES, "data=folder", f"data.root={tmp_path / 'images'}", "data.cache=false"]
    options += ["model.n_levels=2", "model.width=8", "model.class_conditional=true", "max_steps=4"]
    train(configure(*options, "model.n_steps=2"), tmp_path / "teacher")
    config = configure(*options, "model.n_steps=1", f"teacher={tmp_path / 'teacher'}")
    assert "KL(student || teacher): " in train(config, tmp_path / "student")
    shutil.rmtree(tmp_path / "images")
    assert "samples of the teacher initialise" in train(config, tmp_path / "again")
    assert read_card(tmp_path / "again" / "model")[0].class_names == ("cats", "dogs")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            [*FAMILY["maf"], "model.logit=0.05"],
            "model=maf samples one number after the other, which is what distillation",
        ),
        ([*FAMILY["gaussianization"], "model.logit=0.05"], "model=gaussianization samples by a search, which is what"),
        (["model.n_levels=2"], r"teacher=.* has no density outside of the pixels' range \(model.logit=0.05\), and"),
        ([*FAMILY["iaf"], "model.logit=0.1"], "has no density outside"),
        (
            [*FAMILY["iaf"], "data.image_size=8"],
            "is a model of 16x16 images of 8 bits, and this student one of 8x8 images",
        ),
        ([*FAMILY["iaf"], "data.n_bits=5"], "and this student one of 16x16 images of 5 bits: leave data out"),
        ([*FAMILY["iaf"], "model.class_conditional=true"], "not class-conditional: give the student model.class_cond"),
    ],
)
def test_what_cannot_be_distilled_is_refused(
    options: list[str], says: str, of_images: tuple[list[str], Path], tmp_path: Path
) -> None:
    given, teacher = of_images
    with pytest.raises(UserError, match=says):
        train(configure(*given, *options, f"teacher={teacher}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_points_do_not_learn_from_images(of_images: tuple[list[str], Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a model of 16x16 images of 8 bits, and this student one of points in the"):
        train(configure(*POINTS, *IAF, f"teacher={of_images[1]}"), tmp_path / "run")


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("estimate=true", "estimate=true measures training on images, not distillation: leave it out"),
        ("model.memory=reversible", "model.memory=reversible is for training on data"),
        ("trainer.cuda_graph=true", "steps of a distillation are not captured"),
    ],
)
def test_options_for_training_on_data_are_refused(option: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        configure("trainer=gpu", "teacher=runs/a", option)


def test_the_command_takes_data_and_model_from_its_defaults(teacher: Path, tmp_path: Path) -> None:
    few = ["max_steps=2", "model.width=8", "trainer.batch_size=8", "val_images=10", "test_images=10"]
    done = call(tmp_path, "distill", f"teacher={teacher}", *few)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs" / "two_moons").iterdir()
    assert read_card(run / "model")[0].model.name == "iaf"
    assert (run / "command.txt").read_text().startswith("glow-distill teacher=")
    assert json.loads((run / "images.json").read_text())["train"]["images"] == 400
    assert call(tmp_path, "train", f"resume={run}", "max_steps=3").returncode == 0


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("seed=1", "error: teacher has no value: name the run"),
        ("teacher=nowhere", "error: no model at nowhere: give the"),
        (
            "teacher=u5",
            "or a density that is known: two_moons, rings, spiral, eight_gaussians, checkerboard, u1, u2, u3,",
        ),
    ],
)
def test_a_command_without_a_teacher_is_told(argument: str, says: str, tmp_path: Path) -> None:
    done = call(tmp_path, "distill", argument)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert says in done.stderr
    assert not any(tmp_path.iterdir())
