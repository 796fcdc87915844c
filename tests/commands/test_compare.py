"""``glow-compare``: the table, the figure and the account, from made-up runs."""

import json
from pathlib import Path

import pytest
from PIL import Image

from glow_app.commands.compare import bands, compare
from glow_app.comparison.runs import read_run
from glow_app.comparison.variants import variants
from glow_app.config.commands import CompareConfig
from glow_app.errors import UserError
from glow_app.figures import band_plot
from tests.commands.using import use
from tests.comparison.made_runs import made

ENDS = {"lu": (3.9, 4.0, 4.1), "reverse": (4.5, 4.6, 4.7)}


def asked(*runs: Path, output: Path | None = None) -> CompareConfig:
    return CompareConfig(runs=[str(run) for run in runs], output=None if output is None else str(output), debug=False)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for number, (way, seed) in enumerate([(way, seed) for seed in range(3) for way in ENDS]):
        options = (f"model.permutation={way}", f"seed={seed}")
        reached = ENDS[way][seed]
        made(tmp_path / "sweep" / str(number), *options, validation=[(2, 5.0), (4, reached)], test=reached + 1, speed=8)
    return tmp_path / "sweep"


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(band_plot, "draw", lambda *args: None)


@pytest.mark.usefixtures("undrawn")
def test_the_table_has_the_known_figures(sweep: Path) -> None:
    said = use(compare, asked(sweep)).splitlines()
    assert said[0] == "data       drawn_faces 4x4, 8 bits; mean of 3 seeds, from lowest to highest"
    assert said[1] == "differ in  model.permutation"
    head = next(number for number, line in enumerate(said) if line.startswith("permutation"))
    assert said[head].split("  ")[0] == "permutation"
    best, other = said[head + 1].split(), said[head + 2].split()
    assert best[:8] == ["lu", "3", "4.0000", "±", "0.1000", "5.0000", "±", "0.1000"]
    assert best[9:] == ["32", "4", "s"]
    assert other[:5] == ["reverse", "3", "4.6000", "±", "0.1000"]
    assert int(best[8].replace(",", "")) > int(other[8].replace(",", "")) > 100  # L and U are learned
    assert any(line.split() == ["lu", "reverse", "+0.6000", "±", "0.0816", "beyond", "the", "spread"] for line in said)


def test_what_it_leaves(sweep: Path) -> None:
    said = use(compare, asked(sweep))
    folder = sweep / "compare"
    for name in ("variants.png", "variants.md", "variants.json"):
        assert f"  {folder / name}\n" in said
    with Image.open(folder / "variants.png") as picture:
        assert picture.size == (760, 440)
        colours = {pixel for _, pixel in picture.convert("RGB").getcolors(1 << 20) or []}
        assert {(0, 0x72, 0xB2), (0xD5, 0x5E, 0)} <= colours  # a line for each variant
    table = (folder / "variants.md").read_text()
    assert "| permutation | seeds | validation | test | parameters | images seen | training |\n| --- |" in table
    assert "| lu | 3 | 4.0000 ± 0.1000 | 5.0000 ± 0.1000 |" in table
    assert "| lu | reverse | +0.6000 ± 0.0816 | beyond the spread |" in table
    account = json.loads((folder / "variants.json").read_text())
    assert account["differ_in"] == ["model.permutation"]
    lu = next(one for one in account["variants"] if one["label"] == "lu")
    assert lu["seeds"] == [0, 1, 2]
    assert lu["validation"]["values"] == [3.9, 4.0, 4.1]
    assert lu["curve"] == {"images": [16, 32], "mean": [5.0, 4.0], "low": [5.0, 3.9], "high": [5.0, 4.1]}
    assert account["differences"][0]["beyond_the_spread"] is True


@pytest.mark.usefixtures("undrawn")
def test_unfinished_runs_are_marked(sweep: Path, tmp_path: Path) -> None:
    stopped = made(tmp_path / "stopped", "model.permutation=shuffle", validation=[(2, 5.0)])
    said = use(compare, asked(sweep, stopped, output=tmp_path / "out"))
    assert f"unfinished, in no mean: {stopped}, last validated at step 2 of 4\n" in said
    assert any(line.split()[:4] == ["shuffle", "0", "of", "1"] for line in said.splitlines())
    runs = [read_run(folder) for folder in (sweep / "0", stopped)]
    assert [band.label for band in bands(variants(runs))] == ["lu", "shuffle (unfinished)"]


@pytest.mark.usefixtures("undrawn")
def test_a_run_without_validation_is_left_out_of_a_sweep_and_refused_by_name(sweep: Path) -> None:
    begun = made(sweep / "6", "seed=9", validation=[])
    assert f"left out: {begun} has no validation in its metrics.csv" in use(compare, asked(sweep))
    with pytest.raises(UserError, match=f"{begun} has no validation in its metrics.csv: train it for longer"):
        use(compare, asked(sweep / "0", begun))


@pytest.mark.usefixtures("undrawn")
def test_runs_that_are_there_twice_count_once(sweep: Path, tmp_path: Path) -> None:
    assert "lu               3  4.0000" in use(compare, asked(sweep, sweep / "0"))
    again = made(tmp_path / "again", "model.permutation=lu", validation=[(4, 9.0)])
    said = use(compare, asked(sweep, again, output=tmp_path / "out"))
    assert "lu               3  4.0000" in said
    assert f"counted once: {again} repeats another run of its seed\n" in said


def test_nothing_to_compare_is_told(sweep: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"there is one run only, {sweep / '0'}: a comparison needs two or more"):
        use(compare, asked(sweep / "0"))
    with pytest.raises(UserError, match=f"no run at {tmp_path / 'empty'}: give the folder of a run"):
        use(compare, asked(tmp_path / "empty"))
    made(tmp_path / "begun" / "0", validation=[])
    with pytest.raises(UserError, match="has validated yet: wait"):
        use(compare, asked(tmp_path / "begun"))


def test_two_options_are_colour_and_style(tmp_path: Path) -> None:
    options = [
        (f"model.coupling={c}", f"model.permutation={p}") for c in ("affine", "additive") for p in ("a", "b", "c")
    ]
    runs = [read_run(made(tmp_path / str(number), *some)) for number, some in enumerate(options)]
    marks = {band.label: (band.colour, band.style) for band in bands(variants(runs))}
    assert marks == {
        "affine, a": (0, 0), "affine, b": (1, 0), "affine, c": (2, 0),
        "additive, a": (0, 1), "additive, b": (1, 1), "additive, c": (2, 1),
    }  # fmt: skip
