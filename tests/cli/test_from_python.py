"""``import glow_app``: training and directions without a command line."""

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from torch import Tensor, nn
from torch.utils.data import Dataset

import glow_app
from glow_app import ImageSource, Model
from glow_app.cli import conf_folder
from glow_app.errors import UserError
from glow_app.flows import ActNorm, AffineCoupling, Bijection, Chain, ConvNet, Flow, Glow, InvConv1x1, Squeeze
from glow_app.training.checkpoints.format import checkpoints_of
from glow_app.training.loggers import metrics
from tests.conftest import Whole
from tests.training.runs import computed

TINY = {"name": "tiny", "n_levels": 2, "n_steps": 2, "width": 8}
SHORT: dict[str, Any] = {
    "trainer": {"batch_size": 8},
    "optim": {"warmup_images": 16},
    "max_steps": 4,
    "validate_every": 2,
    "samples_every": 4,
    "checkpoint_every": 2,
    "temperatures": (0.7,),
    "init_images": 32,
    "quiet": True,
}


def pixels(index: int) -> Tensor:
    """A square whose brightness and place depend on the index."""
    image = torch.randint(0, 60, (3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(index))
    image[:, 4 : 8 + index % 4, 4:12] += torch.tensor(60 + 60 * (index % 3), dtype=torch.uint8)
    return image


class Squares(Dataset[tuple[Tensor, int]]):
    """Pairs of an image and a class."""

    def __init__(self, n: int = 40) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return pixels(index), index % 3


class MyImages(ImageSource):
    """A source with an attribute, written as the guide says."""

    name = "squares"
    image_shape = (3, 16, 16)
    preprocessing = "none"
    attribute_names = ("Bright",)

    def __init__(self, split: str, n: int) -> None:
        self.split = split
        self.n = n
        self.attributes = torch.tensor([[index % 3 == 2] for index in range(n)], dtype=torch.uint8)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Tensor:
        return pixels(index)

    def item_name(self, index: int) -> str:
        return f"square {index}"

    def content(self) -> dict[str, object]:
        return {"n": self.n}


class MyFlow(Flow):
    """A flow of a class of one's own: one level."""

    def __init__(self, width: int = 8) -> None:
        super().__init__((3, 16, 16), [stack(width)], [(12, 8, 8)])


def stack(width: int = 8) -> Bijection:
    coupling = AffineCoupling(ConvNet(6, 12, width, border=True, compute_dtype=None), "bounded")
    return Chain([Squeeze(), ActNorm(12), InvConv1x1(12), coupling])


def splits() -> dict[str, Squares]:
    return {"train": Squares(), "val": Squares(12), "test": Squares(10)}


def flat(model: Model) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.flow.parameters()])


def test_it_is_the_run_of_the_command(whole: Whole, tmp_path: Path) -> None:
    options = SHORT | {"max_steps": 8, "validate_every": 4, "checkpoint_every": 4}
    faces = {"name": "drawn_faces", "image_size": 16, "n_images": 32, "cache_folder": tmp_path.parent / "cache"}
    model = glow_app.train(faces, TINY, output=tmp_path / "run", **options)
    assert computed(tmp_path / "run") == computed(whole.folder)
    assert model.digest == glow_app.load(whole.folder).digest
    assert (model.folder, model.device.type, model.card.step) == (tmp_path / "run" / "model", "cpu", 8)


def test_by_default_it_goes_where_the_command_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = glow_app.train(Squares(8), TINY, **SHORT, name="mine")
    assert model.folder.parent.parent == Path("runs") / "mine"


def test_a_tilde_in_output_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    model = glow_app.train(Squares(), TINY, output="~/run", **SHORT)
    assert model.folder == tmp_path / "home" / "run" / "model"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_data_set_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {**splits(), "flip": True, "n_bits": 5}
    model = glow_app.train(data, TINY, output=tmp_path, **SHORT | {"quiet": False})
    assert (model.card.image_shape, model.card.n_bits, model.card.weights) == ((3, 16, 16), 5, "averaged")
    assert len(checkpoints_of(tmp_path)) == 2
    rows = metrics.read(tmp_path / "metrics.csv")
    assert [row["step"] for row in rows if "val/bits_per_dim" in row] == [2, 4]
    assert model.card.metrics["test/bits_per_dim"] < 5
    output = capsys.readouterr().out
    assert "data      Squares: 40 training and 12 validation images, 3x16x16, 5 bits" in output
    assert "bits/dim on 10 images of Squares" in output
    assert f'model = glow_app.load("{tmp_path}")' in output
    again = glow_app.load(tmp_path)
    assert torch.equal(again.bits_per_dim(pixels(0)), model.bits_per_dim(pixels(0)))


def test_an_experiment_chooses_what_is_not_given(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root has no value"):
        glow_app.train(experiment="celeba64", output=tmp_path)


class Interrupted(Squares):
    """Images of which one, in the second step of training, arrives together with Ctrl-C."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.targets = [index % 3 for index in range(len(self))]
        self.calls_left = at

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.calls_left -= 1
        if self.calls_left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return super().__getitem__(index)


def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = SHORT | {"checkpoint_every": 100, "init_images": 2, "output": tmp_path / "run"}
    with pytest.raises(KeyboardInterrupt):
        glow_app.train(Interrupted(31), TINY, **options | {"quiet": False})
    assert f'glow_app.train(..., output="{tmp_path / "run"}", resume=True)' in capsys.readouterr().out
    assert len(checkpoints_of(tmp_path / "run")) == 1
    model = glow_app.train(Interrupted(0), TINY, **options, resume=True)
    whole = glow_app.train(Interrupted(0), TINY, **options | {"output": tmp_path / "whole"})
    assert model.digest == whole.digest


def test_pairs_condition_a_conditional_model(tmp_path: Path) -> None:
    model = glow_app.train(Squares(), {**TINY, "class_conditional": True}, output=tmp_path, **SHORT)
    assert model.card.class_names == ("0", "1", "2")
    assert model.sample(3).shape == (3, 3, 16, 16)


def test_directions_of_attributes_of_ones_own(tmp_path: Path) -> None:
    sources = {split: MyImages(split, 40) for split in ("train", "val", "test")}
    model = glow_app.train(sources, TINY, output=tmp_path, **SHORT)
    found = glow_app.find_directions(model, sources["train"], calibration=0, quiet=True)
    assert found.names == ("Bright",)
    assert torch.equal(glow_app.load_directions(tmp_path).units, found.units)
    assert model.edit(pixels(0), found, {"Bright": 0.5}).shape == (1, 3, 16, 16)
    with pytest.raises(UserError, match="data=Squares has no attributes to find directions for"):
        glow_app.find_directions(model, Squares(), quiet=True)
    with pytest.raises(UserError, match=r"the images are \(3, 8, 8\), and the model takes \(3, 16, 16\)"):
        glow_app.find_directions(model, torch.zeros(9, 3, 8, 8, dtype=torch.uint8), quiet=True)


def test_directions_leave_out_images_of_unknown_attributes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = MyImages("train", 40)
    model = glow_app.train(source, TINY, output=tmp_path, **SHORT)
    assert source.attributes is not None
    source.labelled = torch.arange(40) < 24
    known = source.attributes[:24]
    found = glow_app.find_directions(model, source, calibration=0)
    with_it = int(known.sum())
    assert found.metadata["counts"] == {"Bright": {"with": with_it, "without": 24 - with_it}}
    assert "no row for 16 of the 40 images, which are left out" in capsys.readouterr().out


def test_directions_of_a_conditional_model_need_its_classes(tmp_path: Path) -> None:
    model = glow_app.train(Squares(), {**TINY, "class_conditional": True}, output=tmp_path, **SHORT)
    with pytest.raises(UserError, match="the model knows 3 classes, and data=squares has 0"):
        glow_app.find_directions(model, MyImages("train", 40), quiet=True)


@pytest.mark.parametrize("make", [MyFlow, stack], ids=["flow", "bijections"])
def test_a_flow_of_ones_own(make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = glow_app.train(splits(), make(), output=tmp_path, **SHORT | {"quiet": False})
    name = make().kind
    assert f"Model({name}, a flow of one's own, " in repr(model)
    assert f'model = glow_app.load("{tmp_path}", flow=...)' in capsys.readouterr().out
    assert len(checkpoints_of(tmp_path)) == 2
    again = glow_app.load(tmp_path, flow=make())
    assert torch.equal(again.bits_per_dim(pixels(0)), model.bits_per_dim(pixels(0)))
    model.save(tmp_path / "copy")
    assert torch.equal(flat(glow_app.load(tmp_path / "copy", flow=make())), flat(model))
    with pytest.raises(UserError, match=rf"a flow of one's own \({name}\), .* no code: give a new one, .*flow={name}"):
        glow_app.load(tmp_path)
    with pytest.raises(UserError, match=r"model is another Flow|model is another MyFlow"):
        glow_app.load(tmp_path, flow=make(16))


def test_a_flow_that_is_not_one_of_ones_own_needs_no_other(whole: Whole) -> None:
    with pytest.raises(UserError, match="is a glow, which is built from its files: leave flow out"):
        glow_app.load(whole.folder, flow=MyFlow())


def test_a_trained_flow_is_trained_further(whole: Whole, tmp_path: Path) -> None:
    flow = glow_app.load(whole.folder).flow
    first = glow_app.load(whole.folder)
    model = glow_app.train(Squares(), flow, output=tmp_path, **SHORT | {"max_steps": 1, "optim": {"lr": 1e-7}})
    assert model.flow is flow
    assert torch.allclose(flat(model), flat(first), atol=1e-5)
    assert not torch.equal(flat(model), flat(first))


def test_it_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = glow_app.train(splits(), TINY, output=tmp_path / "whole", **SHORT)
    half = {**SHORT, "resume": True}
    glow_app.train(splits(), TINY, output=tmp_path / "half", **half | {"max_steps": 2})
    assert glow_app.train(splits(), TINY, output=tmp_path / "half", **half).digest == whole.digest
    assert glow_app.train(splits(), TINY, output=tmp_path / "half", **half).digest == whole.digest
    with pytest.raises(UserError, match="half is another run, with seed=0, not 1: choose another output"):
        glow_app.train(splits(), TINY, output=tmp_path / "half", **half, seed=1)
    with pytest.raises(UserError, match="half is the folder of a run: resume=True resumes it"):
        glow_app.train(splits(), TINY, output=tmp_path / "half", **SHORT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "foldr"}, "data=foldr is not one of .*: did you mean folder"),
        ({"data": {"name": "folder", "rot": "a"}}, "unknown key data.rot: did you mean data.root"),
        ({"data": "/a/b"}, "data=/a/b is not one of .*: pictures in a folder are data=folder data.root=/a/b"),
        ({"data": 3}, "the train data is a int: give the name of a data set, or an object with"),
        ({"data": {"val": Squares()}}, "data has val images, and none to train on: add 'train'"),
        ({"data": {"train": Squares(), "val": [pixels(0)[:, :8]]}}, r"the val images are \(3, 8, 16\), and the train"),
        ({"data": {"train": [(pixels(0), 0)], "val": [(pixels(0), 2)]}}, "the val images have a class 2, and"),
        ({"data": "own"}, "data=own is a data set object of a program"),
        ({"model": "own"}, "model=own is a flow object of a program"),
        ({"model": nn.Linear(1, 1)}, "model is a Linear: give a Flow, a Bijection, or the name"),
        ({"model": Glow((3, 8, 8), 1, 1, 4), "data": Squares()}, r"\(3, 16, 16\) .* Glow is a flow of \(3, 8, 8\)"),
        ({"max_step": 3}, "unknown key max_step: did you mean max_steps"),
        ({"batch_size": 8}, r"unknown key batch_size: did you mean trainer.batch_size \("),
        ({"lr": 1e-3}, r"unknown key lr: did you mean optim.lr \("),
        ({"max_steps": "many"}, "max_steps=many is not a whole number"),
        ({"optim": {"lr": -1}}, "optim.lr=-1.0 is too small"),
        ({"trainer": {"devices": 2}}, "trainer.devices=2: several processes are for glow-train"),
        ({"estimate": True}, "estimate is an option of the command glow-train alone"),
        ({"resume": True}, "resume=True resumes the run in output: name its folder"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_a_line(
    arguments: Mapping[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        glow_app.train(**{"quiet": True, **arguments})
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_program_may_use_hydra_itself(tmp_path: Path) -> None:
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        own = GlobalHydra.instance().hydra
        with pytest.raises(UserError, match="unknown key"):
            glow_app.train(max_step=3)
        assert GlobalHydra.instance().hydra is own


def test_it_trains_in_a_thread_too(tmp_path: Path) -> None:
    found: list[glow_app.Model] = []
    thread = threading.Thread(
        target=lambda: found.append(glow_app.train(Squares(), TINY, output=tmp_path / "run", **SHORT))
    )
    thread.start()
    thread.join()
    assert found[0].folder == tmp_path / "run" / "model"
