"""The experiments: known keys, the published table's values, the right resolution, and that each of them trains."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from glow_app.cli import conf_folder
from glow_app.config.published import PUBLISHED, departures
from glow_app.config.train import TrainConfig
from tests.training.runs import configure, train

NAMES = sorted(path.stem for path in (conf_folder() / "experiment").glob("*.yaml"))
PAPER = [name for name in NAMES if name.startswith("paper_")]
OWN = ["drawn_faces", "celeba64", "celeba64_80gb", "celeba_hq256", "celeba_hq256_80gb", "lsun_bedroom64"]
OWN += ["lsun_bedroom64_80gb", "faces64", "ablation", "family", "plane", "energies", "vae", "flow_matching"]
DRAWN = ["drawn_faces", "faces64", "ablation", "family", "plane", "energies", "flow_matching"]
"""Without files."""

TABLE = {
    # name: data, size, bits, L, K, coupling, images per update, warm-up images
    "paper_cifar10": ("cifar10", 32, 8, 3, 32, "affine", 512, 500_000),
    "paper_imagenet32": ("imagenet32", 32, 8, 3, 48, "affine", 512, 500_000),
    "paper_imagenet64": ("imagenet64", 64, 8, 4, 48, "affine", 128, 125_000),
    "paper_lsun_bedroom": ("lsun", 64, 8, 4, 48, "affine", 128, 125_000),
    "paper_lsun_tower": ("lsun", 64, 8, 4, 48, "affine", 128, 125_000),
    "paper_lsun_church_outdoor": ("lsun", 64, 8, 4, 48, "affine", 128, 125_000),
    "paper_lsun_bedroom96": ("lsun", 96, 5, 5, 64, "additive", 280, 54_687),
    "paper_lsun_bedroom128": ("lsun", 128, 5, 5, 64, "additive", 160, 31_250),
    "paper_celebahq256": ("celeba_hq", 256, 5, 6, 32, "additive", 40, 7_812),
}
PARAMETERS = {"paper_cifar10": 44.62, "paper_celebahq256": 176.11, "celeba64": 75.0, "paper_imagenet64": 112.4}
"""Millions."""


def compose(name: str, *overrides: str) -> TrainConfig:
    root = [] if name in DRAWN else ["data.root=/nowhere"]
    return configure(f"experiment={name}", *root, *overrides)


def test_there_is_an_experiment_for_each_published_run() -> None:
    assert set(TABLE) == set(PAPER)
    assert {compose(name).published for name in PAPER} == set(PUBLISHED)
    assert set(NAMES) == set(PAPER) | set(OWN)


@pytest.mark.parametrize("name", NAMES)
def test_it_composes_under_its_own_name(name: str) -> None:
    config = compose(name)
    assert config.name == {"drawn_faces": "drawn_faces_small", "plane": "two_moons"}.get(name, name)
    assert config.max_steps % config.validate_every == 0  # the last step is validated


@pytest.mark.parametrize("name", NAMES)
def test_it_sets_known_keys_only(name: str) -> None:
    content = OmegaConf.to_container(OmegaConf.load(conf_folder() / "experiment" / f"{name}.yaml"))
    assert isinstance(content, dict)
    known = dataclasses.asdict(compose(name))
    for key, value in content.items():
        if key not in ("defaults", "hydra"):
            assert key in known
            assert not isinstance(value, dict) or set(value) <= set(known[key])


@pytest.mark.parametrize("name", PAPER)
def test_it_is_the_published_table(name: str) -> None:
    config = compose(name)
    model, optim, data = config.model, config.optim, config.data
    images = config.trainer.batch_size * config.trainer.accumulate
    found = (data.name, data.side, data.n_bits, model.n_levels, model.n_steps, model.coupling, images)
    assert (*found, optim.warmup_images) == TABLE[name]
    assert (model.width, model.permutation, model.scale, model.border) == (512, "lu", "sigmoid", True)
    assert (optim.name, optim.lr, optim.beta1, optim.decay, optim.clip_norm) == ("adamax", 1e-3, 0.9, "constant", None)
    # train.py of the released code: its batch per GPU, its steps per epoch, and its warm-up of ten epochs.
    gpus = 40 if model.coupling == "additive" else 8
    assert images == gpus * (64 * 32 * 32 // (data.side * data.side))
    steps = math.ceil(50_000 / (64 * gpus))
    assert optim.beta2 == pytest.approx(1 - 1 / steps, abs=5e-5)
    assert optim.warmup_images == int(500_000 / (64 * gpus) * images)
    assert (data.flip, data.shift) == (False, 0.1 if name == "paper_cifar10" else 0.0)
    assert config.trainer.precision == "fp32"
    # The factors of the 1x1 convolution and images for validation are all that these runs do otherwise.
    told = departures(config)
    assert [line.split("=")[0] for line in told] == ["model.permutation", "data.validation"]
    assert told[0] == "model.permutation=lu (published: full)"


def test_what_the_command_line_changes_is_a_departure() -> None:
    config = compose("paper_cifar10", "data.validation=0", "model.permutation=full")
    assert departures(config) == []
    config = compose("paper_cifar10", "data.validation=0", "model.scale=bounded", "trainer.accumulate=1", "optim=adam")
    told = departures(config)
    assert "model.scale=bounded (published: sigmoid)" in told
    assert "images per update=256 (published: 512)" in told
    assert "optim.name=adam (published: adamax)" in told
    assert departures(configure()) == []


def test_the_ablation_is_the_figure_of_the_paper() -> None:
    """Three ways to mix channels, two couplings, three seeds, and nothing else but what these imply."""
    content = OmegaConf.to_container(OmegaConf.load(conf_folder() / "experiment" / "ablation.yaml"))
    assert isinstance(content, dict)
    assert content["hydra"] == {
        "sweeper": {
            "params": {
                "seed": "0,1,2",
                "model.coupling": "additive,affine",
                "model.permutation": "reverse,shuffle,lu",
            }
        }
    }
    assert not {"seed", "coupling", "permutation"} & {*content, *content["model"]}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_number_of_parameters(name: str) -> None:
    config = compose(name)
    with torch.device("meta"):
        flow = config.model.build((3, *config.data.size), 0)
    assert sum(p.numel() for p in flow.parameters()) / 1e6 == pytest.approx(PARAMETERS[name], rel=0.006)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("plane", "energies")])  # without a resolution
def test_it_trains_at_its_resolution(name: str, tmp_path: Path) -> None:
    layers = "model.n_layers=1" if name == "vae" else "model.n_steps=1"
    cut = ["model.width=8", layers, "trainer=cpu", "trainer.batch_size=2", "trainer.accumulate=2"]
    steps = ["max_steps=2", "validate_every=2", "samples_every=2", "checkpoint_every=2", "temperatures=[0.7]"]
    config = compose(name, *cut, *steps)
    height, width = config.data.size
    for number in range(30):
        picture = Image.effect_noise((width, height), 100).convert("RGB")
        (tmp_path / "pictures").mkdir(exist_ok=True)
        picture.save(tmp_path / "pictures" / f"{number}.png")
    size, bits = f"data.image_size={config.data.side}", f"data.n_bits={config.data.n_bits}"
    places = [f"data.root={tmp_path / 'pictures'}", f"data.cache_folder={tmp_path / 'cache'}"]
    config.data = configure("data=folder", "model.n_levels=1", size, bits, *places).data
    output = train(config, tmp_path / "run")
    assert f"3x{height}x{width}, {config.data.n_bits} bits" in output
    assert (tmp_path / "run" / "samples" / "step_00000002_T0.70.png").exists()
    if config.published is not None:
        assert f"follows   the paper's {config.published}: " in output
        assert "departs   " in output
