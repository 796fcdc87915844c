"""Every file in conf/ fits the schema, and none of them can run code."""

import itertools
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from glow_app.cli import conf_folder
from glow_app.config.data import DATA_SCHEMAS, DataConfig, PointsConfig
from glow_app.config.model import MODEL_SCHEMAS, ModelConfig
from tests.training.runs import configure

FILES = sorted(conf_folder().rglob("*.yaml"))
REQUIRED = {"data": {path.stem: ["data.root=/somewhere"] for path in FILES if "root: ???" in path.read_text()}}
REQUIRED["experiment"] = {path.stem: ["data.root=/somewhere"] for path in FILES if path.parent.name == "experiment"}
for drawn in ("drawn_faces", "faces64", "ablation", "family", "plane", "energies", "flow_matching"):
    del REQUIRED["experiment"][drawn]
POINTS = [name for name, schema in DATA_SCHEMAS.items() if issubclass(schema, PointsConfig)]
REQUIRED["data"] |= {name: ["model=plane"] for name in POINTS}
REQUIRED["model"] = {"plane": ["data=two_moons"]}
SCHEMAS = list(dict.fromkeys([*DATA_SCHEMAS.values(), *MODEL_SCHEMAS.values()]))
GROUPS = sorted({path.parent.name for path in FILES if path.parent != conf_folder()})


def choices(group: str) -> list[str]:
    return [path.stem for path in FILES if path.parent.name == group]


@pytest.mark.parametrize(("group", "choice"), [(g, c) for g in GROUPS for c in choices(g)])
def test_every_choice_composes(group: str, choice: str) -> None:
    configure(f"{group}={choice}", *REQUIRED.get(group, {}).get(choice, []))


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.__name__)
def test_options_say_how_they_are_built(schema: type) -> None:
    """Nothing else chooses constructors: a data set is its file, its options, its YAML, and a test."""
    if issubclass(schema, DataConfig):
        assert schema.open is not DataConfig.open
    else:
        assert schema.plain_flow is not ModelConfig.plain_flow


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(conf_folder()).as_posix())
def test_no_file_names_code(path: Path) -> None:
    assert "_target_" not in path.read_text()
    OmegaConf.load(path)


def test_defaults_need_nothing_from_outside() -> None:
    config = configure()
    assert (config.data.name, config.trainer.accelerator, config.logger.name) == ("drawn_faces", "cpu", "csv")


def test_a_model_brings_a_rate_that_it_bears() -> None:
    def rates(*options: str) -> tuple[float, float | None]:
        optim = configure(*options).optim
        return optim.lr, optim.clip_norm

    assert rates() == rates("model=glow") == (4e-3, 100)
    assert rates("model=flow_matching") == rates("experiment=flow_matching", "optim=muon") == (1.5e-3, 1)
    assert rates("model=cnf") == rates("experiment=flow_matching", "model=cnf") == (1.5e-3, 1)
    assert rates("experiment=plane", "optim=adamax") == (1e-3, None)
    assert rates("model=vae") == (1e-3, 100)
    assert rates("model=vae", "optim.lr=2e-3") == (2e-3, 100)


def test_groups_combine() -> None:
    for model, optim in itertools.product(choices("model"), choices("optim")):
        configure(f"model={model}", f"optim={optim}", *REQUIRED["model"].get(model, []))
