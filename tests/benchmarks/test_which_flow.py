"""The table of a Glow beside a continuous flow, from files of runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import which_flow
from benchmarks.which_flow import DATA, DEEPER, GUIDE, MODELS, Bench, figures, table
from tests.training.runs import configure

KID = {"local KID": 1.0, "local KID spread": 0.25}


def write_run(run: Path, solver: bool, edits: bool) -> None:
    """The files that are read, with round figures."""
    bits = {
        "bits_per_dim": {"mean": 3.5, "standard_error": 0.02, "images": 64},
        "accuracy": {"largest_error": 2e-4} if solver else None,
        "reconstruction": {"exact": 0.75 if solver else 1.0},
    }
    sets = {"samples, temperature 1": KID, "real: other val images": KID, "real: 150 training images": KID}
    compared = {
        "curves": {
            way: {name: [[0.5, 0.8, 0.1, 0.02, 0.0], [1.0, 0.9, 0.2, -0.3, 0.0]] for name in ("Smiling", "Eyeglasses")}
            for way in ("mean_difference", "pixels")
        },
    }
    files: dict[str, Any] = {"bits/evaluation.json": bits, "quality/evaluation.json": {"quality": {"sets": sets}}}
    if edits:
        files["judge/judge.json"] = {"compared": compared}
    for name, content in files.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(json.dumps(content))
    rows = "".join(f"{bits}\n" for bits in [3.0, 4.0] * 32 + [9.0] * 4)
    (run / "bits" / "per_image.csv").write_text(f"bits_per_dim\n{rows}")
    (run / "metrics.csv").write_text("step,val/bits_per_dim\n50,\n100,3.5\n")


def test_the_table_is_made_from_the_files_of_runs(tmp_path: Path) -> None:
    results: dict[str, Any] = {}
    for data in DATA:
        results[data] = {}
        for name in MODELS:
            run = tmp_path / data / name
            write_run(run, solver=name == "flow_matching", edits=data == "celeba64")
            results[data][name] = figures(run) | {"seconds_a_sample": 0.1, "parameters": 2_000_000}
            results[data][name]["commands"] = {"train": {"cpu_seconds": 1800.4}}
    lines = table(results)
    assert {line.count("|") for line in lines} == {1 + 1 + len(DATA) * len(MODELS)}
    assert lines[0] == "| | glow, celeba64 | flow matching, celeba64 | glow, cifar10 | flow matching, cifar10 |"
    for line in (
        "| images seen in training | 3,200 | 3,200 | 3,200 | 3,200 |",
        "| bits/dim, validation |" + 4 * " 3.500 ± 0.020 (64 images) |",
        "| of the same images |" + 4 * " 3.500 ± 0.063 (64 images) |",
        "| CPU seconds of `glow-train` |" + 4 * " 1,800 |",
        "| error of the solver in it, at most | none | 0.0002 | none | 0.0002 |",
        "| images that come back exactly | 100% | 75% | 100% | 75% |",
        "| local KID of samples, temperature 1 |" + 4 * " 1.00 ± 0.25 |",
        "| edits, Smiling: success at most, drift and rise there | 90%, 0.200, -0.300 | 90%, 0.200, -0.300 |  |  |",
    ):
        assert line in lines


@pytest.mark.parametrize("data", DATA)
def test_both_have_as_many_parameters(data: str) -> None:
    def parameters(name: str) -> int:
        own = DEEPER[data] if name == "glow" else []
        config = configure(*MODELS[name], *own, *DATA[data], "data.root=/somewhere")
        return sum(p.numel() for p in config.model.plain_flow((3, *config.data.size), 0).parameters())

    assert parameters("glow") == pytest.approx(parameters("flow_matching"), rel=0.01)


def test_a_command_that_is_done_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(which_flow, "ROOT", tmp_path)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "sample.py").write_text("import sys; open(sys.argv[1], 'a').write('once')")
    results: dict[str, Any] = {}
    for _ in range(2):
        Bench("glow", tmp_path, results).command("sample", "sample", "said")
    assert (tmp_path / "said").read_text() == "once"
    assert results["commands"].keys() == {"sample"}


def test_the_guide_has_the_table_of_the_results() -> None:
    if not which_flow.FILE.exists():
        pytest.skip("not measured yet")
    lines = table(json.loads(which_flow.FILE.read_text()))
    assert "\n".join(lines) in GUIDE.read_text()


def test_samples_are_put_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(which_flow, "RESULTS", tmp_path)
    for name, colour in zip(MODELS, ("red", "blue"), strict=True):
        folder = tmp_path / "runs" / name / "2026-01-01_12-00-00" / "sample"
        folder.mkdir(parents=True)
        Image.new("RGB", (40, 20), colour).save(folder / "T1.00_seed0.png")
    which_flow.picture("cifar10", tmp_path)
    with Image.open(tmp_path / "which_flow_cifar10.png") as both:
        assert both.size == (80 + which_flow.GAP, 20)
        assert (both.getpixel((0, 0)), both.getpixel((both.width - 1, 0))) == ((255, 0, 0), (0, 0, 255))
