"""``glow-evaluate`` and its comparison of two models."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from glow_app.commands.evaluate import compare, evaluate
from glow_app.config.commands import EvaluateConfig
from glow_app.errors import UserError
from tests.commands.using import configure, use


def told(run: Path, folder: Path, *arguments: str) -> str:
    return use(evaluate, configure("evaluate", EvaluateConfig, f"checkpoint={run}", f"output={folder}", *arguments))


def test_everything_that_it_promises(run: Path, tmp_path: Path) -> None:
    text = told(run, tmp_path, "n_images=30", "importance_samples=3", "worst=5", "check_images=10", "gap_images=20")
    account = json.loads((tmp_path / "evaluation.json").read_text())
    assert account["images"] == account["bits_per_dim"]["images"] == 30
    assert account["train"]["images"] == 20
    assert account["reconstruction"]["images"] == 10
    assert account["reconstruction"]["exact"] == 1.0
    drawn = account["reconstruction"]["exact_noise_as_drawn"]
    assert 0 < drawn <= 1
    assert f"1% of a bin away from its borders; with that of bits/dim, which does not, {drawn:.1%}" in text
    assert sum(account["parts"].values()) == pytest.approx(account["bits_per_dim"]["mean"], abs=1e-9)
    assert account["importance_bound"]["mean"] < account["bits_per_dim"]["mean"] + 0.01
    assert (account["n_bits"], account["seed"], account["precision"], account["weights"]) == (8, 0, "fp32", "averaged")
    assert account["data"]["image_size"] == 16
    assert len(account["convolutions"]) == 4
    assert account["codec_images"] == 30
    assert account["codec_settings"]["WebP"]["method"] == 4
    with (tmp_path / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows[:2]] == ["face_0_20000000", "face_0_20000001"]
    mean = sum(float(row["bits_per_dim"]) for row in rows) / len(rows)
    assert mean == pytest.approx(account["bits_per_dim"]["mean"], abs=1e-6)
    with Image.open(tmp_path / "worst.png") as picture:
        assert picture.size[0] > 5 * 96
    for word in ("bits/dim", "95%", "bound from 3 draws", "test minus 20 training", "PNG", "WebP",
                 "reconstructed exactly", "condition", "images/s", "where the bits are", "AffineCoupling",
                 "averaged"):  # fmt: skip
        assert word in text


def test_the_figure_is_that_of_the_training_run(run: Path, tmp_path: Path) -> None:
    told(run, tmp_path, "gap_images=0")
    reached = json.loads((tmp_path / "evaluation.json").read_text())
    card = json.loads((run / "model" / "model.json").read_text())
    assert reached["bits_per_dim"]["mean"] == pytest.approx(card["metrics"]["test/bits_per_dim"], abs=1e-6)
    assert reached["bits_per_dim"]["standard_error"] == pytest.approx(card["metrics"]["test/standard_error"], rel=1e-5)


def test_batches_and_workers_do_not_matter(run: Path, tmp_path: Path) -> None:
    for name, arguments in {"a": ["batch_size=64"], "b": ["batch_size=5", "data.workers=2"]}.items():
        told(run, tmp_path / name, *arguments)
    a, b = ((tmp_path / name / "per_image.csv").read_text().split() for name in ("a", "b"))
    assert len(a) == len(b) == 65
    for first, second in zip(a[1:], b[1:], strict=True):
        for one, other in zip(first.split(",")[2:], second.split(",")[2:], strict=True):
            assert float(one) == pytest.approx(float(other), abs=2e-6)


def test_results_lie_in_the_run_unless_they_are_wanted_elsewhere(run: Path) -> None:
    config = configure("evaluate", EvaluateConfig, f"checkpoint={run}", "n_images=4", "check_images=4")
    assert str(run / "evaluate" / "evaluation.json") in use(evaluate, config)
    shutil.rmtree(run / "evaluate")


def test_another_data_set_takes_the_shape_of_the_model(run: Path, tmp_path: Path) -> None:
    root = tmp_path / "pictures" / "test"
    root.mkdir(parents=True)
    for number in range(3):
        Image.new("L", (40 + number, 33), 50 * number).save(root / f"{number}.png")
    cache = f"data.cache_folder={tmp_path / 'cache'}"
    text = told(run, tmp_path, "data=folder", f"data.root={root.parent}", cache)
    assert "folder test, 3 images" in text
    assert "no train-test gap" in text


def test_comparison_of_two_models(run: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(run / "model", twin)
    config = configure("evaluate", EvaluateConfig, f"compare=[{run},{twin}]", f"output={tmp_path}", "n_images=20")
    text = use(compare, config)
    account = json.loads((tmp_path / "compare.json").read_text())
    assert account["difference"]["mean"] == 0
    assert account["difference"]["images"] == 20
    assert "+0.0000 ± 0.0000   second minus first" in text
    assert "no significant difference" in text


def test_of_one_image_nothing_can_be_said(run: Path, tmp_path: Path) -> None:
    config = configure("evaluate", EvaluateConfig, f"compare=[{run},{run}]", f"output={tmp_path}", "n_images=1")
    text = use(compare, config)
    assert "nothing can be said: too few images" in text
    assert "nan" not in text + told(run, tmp_path, "n_images=1", "gap_images=5")


def test_models_that_do_not_compare(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run / "model", other)
    card = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps(card | {"n_bits": 5}))
    config = configure("evaluate", EvaluateConfig, f"compare=[{run},{other}]", f"output={tmp_path}")
    with pytest.raises(UserError, match=r"of 8 bits, the other \(3, 16, 16\) of 5"):
        use(compare, config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.image_size=32"], "data.image_size=32: the model at .* takes data.image_size=16; leave it out"),
        (["data.n_bits=5"], "data.n_bits=5: the model at .* takes data.n_bits=8"),
        (["split=valid"], "split=valid is not one of train, val, test: did you mean val"),
        (["device=cuda"], "device=cuda: this machine has none"),
        (["data=cifar10", "data.root=/nowhere"], "data.image_size=16: images of data=cifar10 are 32x32"),
    ],
)
def test_mistakes(
    run: Path, tmp_path: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=message):
        told(run, tmp_path, *arguments)
