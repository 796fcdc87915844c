"""The tables in the guide to speed and in the README of the benchmarks are those that the results give."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import summary


@pytest.mark.parametrize("file", [summary.GUIDE, summary.DETAILS], ids=["guide", "benchmarks"])
def test_the_tables_are_those_of_the_results(file: Path) -> None:
    tables = summary.summary() if file == summary.GUIDE else summary.details()
    text = file.read_text()
    assert summary.put_into(text, tables) == text, "run python -m benchmarks.summary --write"


def sentences() -> dict[str, list[str]]:
    """What pages say of results outside of the tables: page -> phrases."""
    heap = one_of("heap")["shapes"]["64-L4-K16-w256"]["kept"]["against_given_back"]["middle"]
    published = load("memory_published")["modes"]["reversible"]
    (alone, loaders) = load("data")["rows"]
    moves = {name: one["move_median"] for name, one in one_of("demo")["milliseconds"].items()}
    gpu, compiled = load("train_step_cuda")["shapes"], load("compiled_cuda")["shapes"]["32-L3-K32-w512"]["ways"]
    rows = {row["name"]: row["images_per_second"] for row in gpu["32-L3-K32-w512, affine, batch 64"]["rows"]}
    plain, steps = (compiled[f"glow_app bf16{how}"]["images_per_second"] for how in ("", ", compile=steps"))
    return {
        "speed.md": [
            f"our own step at 64x64 takes {1 / heap - 1:.0%} longer",
            f"ours takes {of_the_fastest('fp32', 'full')} of FrEIA's time at width 128, "
            f"{of_the_fastest('bf16', 'full')} with bf16; with `steps`, ready in half a minute, "
            f"{of_the_fastest('fp32', 'steps')}, with bf16 {of_the_fastest('bf16', 'steps')} (",
            f"{published['peak_bytes'] / 1e9:.2f} GB at most and {published['seconds']:.0f} s,",
            f"one core feeds {round(alone['cached_images_per_cpu_second'], -3):,.0f} images per second at 64x64, "
            f"against {round(alone['torchvision_images_per_cpu_second'], -2):,.0f} for",
            f": {alone['ratio_per_core_quartiles'][1]:.0f} times as many",
            f"does not need, {loaders['ratio_per_core_quartiles'][1]:.0f} times)",
            f"takes the server {moves['64x64-small fp32']:.0f} ms at 64x64 with L=4, K=8, width 128, "
            f"{moves['64x64-K16-w256 fp32']:.0f} ms with K=16, width 256, and {moves['64x64-glow fp32'] / 1000:.2f} s "
            f"with the published K=32, width 512 ({moves['64x64-glow bf16'] / 1000:.2f} s with",
        ],
        "training.md": [
            f"{rows['glow_app bf16, cuda_graph']:,.0f} images per second instead of {rows['glow_app bf16']:,.0f}, "
            "with bf16",
            f"{steps:,.0f} images per second for {plain:,.0f} on one that does not record",
        ],
    }


def load(name: str) -> dict[str, Any]:
    return json.loads((summary.RESULTS / f"{name}.json").read_text())


def one_of(name: str) -> dict[str, Any]:
    """The only result of a benchmark that was not repeated on another processor yet."""
    (found,) = summary.of_processors(name)
    return found


def of_the_fastest(precision: str, how: str) -> str:
    shapes = [one_of("compiled")["shapes"][f"32-L3-{depth}-w128"] for depth in ("K8", "K32")]
    assert {shape["fastest_peer"] for shape in shapes} == {"FrEIA"}
    ways = [shape["ways"][f"glow_app {precision}, compile={how}"]["against_fastest_peer"] for shape in shapes]
    return " and ".join(f"{way['middle']:.2f}" for way in ways)


@pytest.mark.parametrize("page", ["speed.md", "training.md"])
def test_figures_in_sentences_are_those_of_the_results(page: str) -> None:
    text = " ".join((summary.GUIDE.parent / page).read_text().split())
    for phrase in sentences()[page]:
        assert phrase in text, f"docs/{page} should say: {phrase}"


def test_a_changed_result_changes_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = summary.summary()
    for result in summary.RESULTS.glob("*.json"):
        (tmp_path / result.name).write_text(result.read_text())
    content = json.loads((tmp_path / "memory.json").read_text())
    content["points"]["glow_app reversible"]["64"]["activation_bytes"] = 123 * 2**20
    (tmp_path / "memory.json").write_text(json.dumps(content))
    monkeypatch.setattr(summary, "RESULTS", tmp_path)
    assert "| 123.0 |" in summary.summary() and "| 123.0 |" not in before
