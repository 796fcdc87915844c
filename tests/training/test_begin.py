"""Starting from another model's weights."""

import shutil
from pathlib import Path

import pytest
import torch

from glow_app.artifacts.weights import load
from glow_app.errors import UserError
from glow_app.training import begin
from tests.conftest import Whole
from tests.training.runs import FAMILY, SHORTEST, configure, find, smallest, train


def test_a_run_starts_from_the_weights_of_another(
    tmp_path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("initialised again")

    monkeypatch.setattr(begin, "initialize", fail)
    model = whole.copy(tmp_path / "old")
    before = load(model).flow.state_dict()
    for decay in ("0", "0.999"):
        run = tmp_path / f"run_{decay}"
        settings = [f"init_from={model}", f"optim.ema_decay={decay}", "optim.lr=1e-12", "optim.warmup_images=0"]
        assert f"started   from the weights of {model}" in train(smallest(tmp_path, *settings, "max_steps=4"), run)
        after = load(run).flow.state_dict()
        assert all(torch.allclose(before[key], after[key], atol=1e-8) for key in before)
        assert load(run).card.init_from == "old"
        assert f"init_from: {model}" in (run / "config.yaml").read_text()
    shutil.rmtree(model)
    train(smallest(tmp_path, *settings, "max_steps=5"), *find(run))  # needs it no more
    assert load(run).card.step == 5
    assert load(run).card.init_from == "old"


def test_another_image_size_is_fine_where_no_parameter_depends_on_it(tmp_path: Path, whole: Whole) -> None:
    config = smallest(tmp_path, f"init_from={whole.folder}", "data.image_size=24", "max_steps=1", "data.n_bits=5")
    train(config, tmp_path / "run")
    assert load(tmp_path / "run").card.image_shape == (3, 24, 24)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["model.width=16"], "model.width is 8 in that model and 16 in this run"),
        (["model.n_steps=3"], "model.n_steps is 2 in that model and 3 in this run"),
        (["model.scale=sigmoid"], "model.scale is bounded in that model and sigmoid in this run"),
        (FAMILY["nice"], "model.name is glow in that model and nice in this run"),
    ],
    ids=["width", "steps", "scale", "name"],
)
def test_a_model_with_other_options_is_refused_before_any_data_are_read(
    whole: Whole, tmp_path: Path, overrides: list[str], says: str
) -> None:
    shape = [] if "model=nice" in overrides else ["model.n_levels=2", "model.n_steps=2", "model.width=8"]
    cache = f"data.cache_folder={tmp_path / 'cache'}"
    with pytest.raises(UserError, match=f"^init_from={whole.folder}: {says}$"):
        train(configure(*SHORTEST, *shape, cache, f"init_from={whole.folder}", *overrides), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_model_whose_parameters_or_classes_differ_is_refused(tmp_path: Path, whole: Whole) -> None:
    config = smallest(tmp_path, f"init_from={whole.folder}")
    start = begin.open_start(config)
    assert start is not None

    class Source:
        image_shape = (1, 16, 16)
        class_names = ("cat", "dog")

    source: object = Source()
    flow = config.model.build((1, 16, 16), 0)
    with pytest.raises(UserError, match=r"init_from=.*: the shape of levels\..* is \(.*\) in that model and \("):
        begin.start_from(flow, start, config, source)  # type: ignore[arg-type]
    config.model.class_conditional = True
    with pytest.raises(UserError, match="class 0 is nothing in that model and cat in this run"):
        begin.start_from(flow, start, config, source)  # type: ignore[arg-type]
