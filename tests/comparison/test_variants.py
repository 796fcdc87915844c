"""What belongs together, in what it differs, which runs do not compare, and figures that are known beforehand."""

import math
from pathlib import Path

import pytest

from glow_app.comparison.runs import read_run, runs_in
from glow_app.comparison.variants import Variant, differences, telling, unlike, variants
from glow_app.errors import UserError
from glow_app.figures.band_plot import Band, apart, limits
from tests.comparison.made_runs import made


def found(folder: Path, *runs: tuple[str, ...]) -> list[Variant]:
    """The variants of made runs, each with its options."""
    return variants([read_run(made(folder / str(number), *options)) for number, options in enumerate(runs)])


def spread(folder: Path, *bits: tuple[float, ...]) -> list[Variant]:
    """Variants by width, each with one run for each figure."""
    runs = [
        read_run(made(folder / f"{n}_{seed}", f"seed={seed}", f"model.width={n}", validation=[(2, 9.0), (4, reached)]))
        for n, of_one in enumerate(bits)
        for seed, reached in enumerate(of_one)
    ]
    return variants(runs)


def test_runs_that_differ_in_their_seed_are_one_variant(tmp_path: Path) -> None:
    names = ("model.permutation=lu", "model.permutation=reverse")
    lu, reverse = found(tmp_path, *[(name, f"seed={seed}") for seed in (1, 0) for name in names])
    assert [run.options["seed"] for run in lu.runs] == [0, 1]
    assert (lu.label, reverse.label) == ("lu", "reverse")
    assert reverse.values == {"model.permutation": "reverse"}


@pytest.mark.parametrize(
    ("runs", "labels"),
    [
        ([("model.width=8",), ("model.width=16",)], ["width=8", "width=16"]),
        ([("model.border=false",), ("model.border=true",)], ["border=false", "border=true"]),
        ([("optim.name=adam", "model.width=8"), ("optim.name=adamax", "model.width=4")],
         ["width=8, adam", "width=4, adamax"]),
        ([("model.lr=1", "optim.lr=2"), ("model.lr=3", "optim.lr=4")],
         ["model.lr=1, optim.lr=2", "model.lr=3, optim.lr=4"]),
        # Where something was written, and what is told how often, makes no other variant.
        ([("seed=0", "logger.name=wandb", "data.cache_folder=/a"), ("seed=1", "data.cache_folder=/b", "name=other")],
         ["made"]),
        # A run of before an option was there is not another variant for that.
        ([("seed=0",), ("seed=1", "model.newer=3")], ["made"]),
        # Families have options that others have not: only what differs between those that have it names them.
        ([("model.name=nice", "model.hidden=9"), ("model.name=glow", "model.k=4"), ("model.name=glow", "model.k=8")],
         ["nice", "glow, k=4", "glow, k=8"]),
    ],
)  # fmt: skip
def test_labels_are_what_differs(tmp_path: Path, runs: list[tuple[str, ...]], labels: list[str]) -> None:
    assert sorted(one.label for one in found(tmp_path, *runs)) == sorted(labels)


@pytest.mark.parametrize("option", ["data.n_bits=5", "data.name=cifar10", "data.image_size=8", "val_images=10"])
def test_other_images_are_refused(tmp_path: Path, option: str) -> None:
    key, _, value = option.partition("=")
    with pytest.raises(UserError, match=rf"cannot be compared: {key} is .* and {value} in {tmp_path / '1'}, so their"):
        found(tmp_path, (), (option,))


def test_what_was_not_treated_alike_is_told(tmp_path: Path) -> None:
    others = ("trainer.accumulate=2", "data.flip=false", "optim.ema_decay=0", "max_steps=3", "seed=5")
    told = unlike(found(tmp_path, (), others))
    assert told == [
        "images per update differ: 8, 16",
        "images seen differ: 32, 64",
        "data.flip differs: training images are not the same",
        "some runs are judged by averaged weights and some by raw ones (optim.ema_decay)",
        "the variants have different seeds, and so different noise in validation too",
    ]
    assert unlike(found(tmp_path / "alike", (), ("model.width=8",))) == []


def test_a_run_that_was_repeated_counts_once(tmp_path: Path) -> None:
    begun = made(tmp_path / "begun", validation=[(2, 5.0)])
    (one,) = variants([read_run(run) for run in (begun, made(tmp_path / "whole"), made(tmp_path / "again"))])
    assert [run.folder.name for run in one.runs] == ["whole"]
    assert [run.folder.name for run in one.repeated] == ["begun", "again"]


def test_one_run_is_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is one run only"):
        found(tmp_path / "one", ())


def test_the_difference_of_two_means_and_its_error(tmp_path: Path) -> None:
    (one,) = differences(spread(tmp_path, (4.0, 4.1, 4.2), (5.0, 5.1, 5.2)))
    assert (one.first, one.second) == ("width=0", "width=1")
    assert one.mean == pytest.approx(1.0)
    assert one.standard_error == pytest.approx(math.sqrt(2 * 0.01 / 3))
    assert one.limit == pytest.approx(2.776 * one.standard_error)  # four degrees of freedom
    assert one.beyond_the_spread
    # With all of the spread in one of them there are two degrees of freedom.
    (uneven,) = differences(spread(tmp_path / "uneven", (4.0, 4.2, 4.4), (4.0, 4.0, 4.0)))
    assert uneven.limit == pytest.approx(4.303 * uneven.standard_error)
    assert not uneven.beyond_the_spread
    assert differences(spread(tmp_path / "alone", (4.0, 4.1), (5.0,))) == []


def test_pairs_that_differ_in_one_option_are_told(tmp_path: Path) -> None:
    couplings, ways = ("additive", "affine"), ("reverse", "lu")
    four = found(tmp_path, *[(f"model.coupling={c}", f"model.permutation={p}") for c in couplings for p in ways])
    assert telling(four) == {
        ("additive, reverse", "additive, lu"),
        ("additive, reverse", "affine, reverse"),
        ("additive, lu", "affine, lu"),
        ("affine, reverse", "affine, lu"),
    }
    assert telling([four[0], four[3]]) == {("additive, reverse", "affine, lu")}


def test_an_unfinished_run_is_in_no_mean(tmp_path: Path) -> None:
    runs = [made(tmp_path / "0", "seed=0"), made(tmp_path / "1", "seed=1", validation=[(2, 1.0)])]
    diverged = made(tmp_path / "2", "seed=2", validation=[(2, 5.0), (4, math.nan)])
    (one,) = variants([read_run(run) for run in [*runs, diverged]])
    assert one.reached == [4.0]
    assert [run.folder.name for run in one.unfinished] == ["1", "2"]
    assert one.band() == ([16, 32], [5.0, 4.0], [5.0, 4.0], [5.0, 4.0])


def test_the_band_is_over_what_all_have_seen(tmp_path: Path) -> None:
    often = made(tmp_path / "0", "seed=0", validation=[(1, 6.0), (2, 5.0), (3, 4.5), (4, 4.0)])
    rarely = made(tmp_path / "1", "seed=1", validation=[(2, 6.0), (4, 4.0)])
    (one,) = variants([read_run(often), read_run(rarely)])
    assert one.band() == ([16, 24, 32], [5.5, 4.75, 4.0], [5.0, 4.5, 4.0], [6.0, 5.0, 4.0])


def test_the_time_is_that_of_the_speeds(tmp_path: Path) -> None:
    assert read_run(made(tmp_path / "0", speed=16.0)).seconds == pytest.approx(4 * 8 / 16)
    assert read_run(made(tmp_path / "1")).seconds is None


def test_runs_of_a_sweep_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 2):
        made(tmp_path / "sweep" / str(number))
    assert [folder.name for folder in runs_in(tmp_path / "sweep")] == ["2", "9", "10"]
    made(tmp_path / "another" / "0")
    assert [folder.name for folder in runs_in(tmp_path)] == ["0", "2", "9", "10"]
    assert runs_in(tmp_path / "sweep" / "2") == [tmp_path / "sweep" / "2"]
    with pytest.raises(UserError, match=rf"no run at {tmp_path / 'nowhere'}: give the folder of a run"):
        runs_in(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [("seed: 0\nmax_steps: many\n", "max_steps is not a whole number"), ("a: &b 1\nc: *b\n", "aliases or tags")],
)
def test_a_configuration_that_is_none_is_told(tmp_path: Path, text: str, message: str) -> None:
    folder = made(tmp_path / "run")
    (folder / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_run(folder)


def test_names_at_the_ends_of_curves_keep_apart() -> None:
    assert apart([0.5, 0.1, 0.9], 0.1) == [0.5, 0.1, 0.9]
    assert apart([0.52, 0.5], 0.1) == pytest.approx([0.56, 0.46])
    assert apart([0.5, 0.5, 0.62, 0.0], 0.1) == pytest.approx([0.44, 0.54, 0.64, 0.0])


def test_the_beginning_of_a_curve_may_be_above_the_picture() -> None:
    low, high = limits([Band("", [5, 50, 100], [9.0, 4.0, 3.0], [9.0, 3.9, 2.9], [9.0, 4.1, 3.0], 0, 0)], 100)
    assert 2.8 < low < 2.9
    assert 4.1 < high < 4.3
