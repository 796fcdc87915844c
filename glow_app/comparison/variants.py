"""Groups runs into variants, and checks whether the variants differ in their results.

Runs that differ only in their seed are one variant. Its results are over its finished runs.
"""

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from glow_app.comparison.runs import Run
from glow_app.errors import UserError

WITHOUT_EFFECT = (
    "seed", "name", "validate_every", "test_images", "samples_every", "temperatures", "checkpoint_every",
    "checkpoint_minutes", "log_every", "published", "estimate", "report", "resume", "debug", "trainer.accelerator",
    "trainer.devices", "data.root", "data.attributes", "data.workers", "data.cache", "data.cache_folder",
    "data.on_corrupt", "data.download",
)  # fmt: skip
"""Options that do not distinguish variants; those of the logger do not either."""

OF_TRAINING = ("data.flip", "data.shift")
"""Options of the data that only change training images."""

ABSENT = "-"
"""Value of an option that a variant does not have."""

T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""97.5% quantile of Student's t with 1, 2, ... degrees of freedom."""


@dataclass(frozen=True)
class Variant:
    """Runs that differ only in their seed.

    Attributes:
        values: values of the options in which the variants differ; ``ABSENT`` for a missing option.
        label: the same as text, unique to the variant.
        runs: one run for each seed, by seed.
        repeated: further runs of these seeds, which would have reached the same.
    """

    values: dict[str, Any]
    label: str
    runs: tuple[Run, ...]
    repeated: tuple[Run, ...]

    @cached_property
    def finished(self) -> tuple[Run, ...]:
        """The runs that have ended with a finite result."""
        return tuple(run for run in self.runs if run.finished and math.isfinite(run.curve[-1][1]))

    @property
    def unfinished(self) -> tuple[Run, ...]:
        """The other runs."""
        return tuple(run for run in self.runs if run not in self.finished)

    @property
    def reached(self) -> list[float]:
        """Bits/dim of the last validation of each finished run."""
        return [run.curve[-1][1] for run in self.finished]

    @property
    def tested(self) -> list[float]:
        """Bits/dim of the test images, of each finished run that has been tested."""
        return [run.test for run in self.finished if run.test is not None]

    def band(self) -> tuple[list[int], list[float], list[float], list[float]]:
        """Images seen, and the mean, lowest and highest bits/dim of the finished runs there.

        The unfinished runs are used if there are no others. If only some runs have validated at a number of images, the
        others' curves are interpolated; images that not all of them have seen are left out.
        """
        curves = [run.curve for run in self.finished or self.runs]
        first, last = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
        seen = sorted({images for curve in curves for images, _ in curve if first <= images <= last})
        bits = np.array([np.interp(seen, [n for n, _ in curve], [bits for _, bits in curve]) for curve in curves])
        return seen, bits.mean(0).tolist(), bits.min(0).tolist(), bits.max(0).tolist()


@dataclass(frozen=True)
class Difference:
    """The difference of two variants' means: the second's minus the first's.

    Attributes:
        first: label of the first variant.
        second: label of the second variant.
        mean: difference in bits/dim.
        standard_error: standard error of ``mean``, from the spread over seeds.
        limit: size of ``mean`` that seeds alone exceed in one of twenty pairs (Welch's t).
    """

    first: str
    second: str
    mean: float
    standard_error: float
    limit: float

    @property
    def beyond_the_spread(self) -> bool:
        """Returns whether the difference is larger than seeds alone explain."""
        return abs(self.mean) > self.limit


def variants(runs: Sequence[Run]) -> list[Variant]:
    """Groups the runs by variant, in the order in which these first occur.

    Of several runs with the same seed, the first one that has seen the most images counts.

    Raises:
        UserError: there is only one run, or the runs have different validation images.
    """
    if len(runs) < 2:
        raise UserError(f"there is one run only, {runs[0].folder}: a comparison needs two or more")
    _require_same_images(runs)
    keys = [key for key, values in _differing(runs) if key not in WITHOUT_EFFECT and not key.startswith("logger.")]
    grouped: dict[tuple, list[Run]] = {}
    for run in runs:
        grouped.setdefault(tuple(_text(run.options.get(key, ABSENT)) for key in keys), []).append(run)
    found = []
    for of_one in grouped.values():
        chosen: dict[int, Run] = {}
        for run in sorted(of_one, key=lambda run: -run.curve[-1][0]):
            chosen.setdefault(run.options["seed"], run)
        repeated = tuple(run for run in of_one if run is not chosen[run.options["seed"]])
        values = {key: of_one[0].options.get(key, ABSENT) for key in keys}
        label = _label(values, keys) or str(of_one[0].options.get("name", "all runs"))
        found.append(Variant(values, label, tuple(chosen[seed] for seed in sorted(chosen)), repeated))
    return found


def short(key: str, keys: Iterable[str]) -> str:
    """The last part of an option's path, or the whole path if another of ``keys`` ends with the same part."""
    last = key.rpartition(".")[2]
    return key if sum(other.rpartition(".")[2] == last for other in keys) > 1 else last


def unlike(found: Sequence[Variant]) -> list[str]:
    """A line for each way in which the runs were not treated alike, which also affects the comparison."""
    runs = [run for variant in found for run in variant.finished]
    lines = []
    of_updates = sorted({run.images_per_update for run in runs})
    if len(of_updates) > 1:
        lines.append(f"images per update differ: {', '.join(map(str, of_updates))}")
    seen = sorted({run.curve[-1][0] for run in runs})
    if len(seen) > 1:
        lines.append(f"images seen differ: {', '.join(f'{images:,}' for images in seen)}")
    lines += [
        f"{key} differs: training images are not the same" for key in OF_TRAINING if len(_first_with(key, runs)) > 1
    ]
    if len({run.options.get("optim.ema_decay", 0) == 0 for run in runs}) > 1:
        lines.append("some runs are judged by averaged weights and some by raw ones (optim.ema_decay)")
    if len({tuple(run.options["seed"] for run in variant.finished) for variant in found if variant.finished}) > 1:
        lines.append("the variants have different seeds, and so different noise in validation too")
    return lines


def differences(found: Sequence[Variant]) -> list[Difference]:
    """The differences of all pairs of variants with at least two finished runs each."""
    spread = [variant for variant in found if len(variant.finished) > 1]
    return [_difference(first, second) for first, second in itertools.combinations(spread, 2)]


def telling(found: Sequence[Variant]) -> set[tuple[str, str]]:
    """The pairs of labels of variants that differ in one option; all pairs if there are none."""
    pairs = list(itertools.combinations(found, 2))
    one = [(a, b) for a, b in pairs if sum(_text(a.values[key]) != _text(b.values[key]) for key in a.values) == 1]
    return {(a.label, b.label) for a, b in one or pairs}


def _difference(first: Variant, second: Variant) -> Difference:
    a, b = first.reached, second.reached
    parts = [statistics.variance(values) / len(values) for values in (a, b)]
    error = math.sqrt(sum(parts))
    freedom = 1.0 if error == 0 else error**4 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    t = T_95[min(max(1, int(freedom + 1e-9)), len(T_95)) - 1]
    mean = statistics.fmean(b) - statistics.fmean(a)
    return Difference(first.label, second.label, mean, error, t * error)


def _require_same_images(runs: Sequence[Run]) -> None:
    for key, values in _differing(runs):
        of_images = key == "val_images" or (key.startswith("data.") and key not in OF_TRAINING)
        if of_images and key not in WITHOUT_EFFECT:
            one, other = list(values.items())[:2]
            raise UserError(
                f"these runs cannot be compared: {key} is {one[0]} in {one[1].folder} and {other[0]} in "
                f"{other[1].folder}, so their bits/dim are of different images"
            )


def _differing(runs: Sequence[Run]) -> list[tuple[str, dict[str, Run]]]:
    """Options with different values, with the first run that has each value; ``data.name`` is first."""
    keys = dict.fromkeys(key for run in runs for key in run.options)
    found = [(key, _first_with(key, runs)) for key in sorted(keys, key=lambda key: key != "data.name")]
    return [(key, values) for key, values in found if len(values) > 1]


def _first_with(key: str, runs: Sequence[Run]) -> dict[str, Run]:
    found: dict[str, Run] = {}
    for run in runs:
        if key in run.options:
            found.setdefault(_text(run.options[key]), run)
    return found


def _label(values: dict[str, Any], keys: Sequence[str]) -> str:
    """Strings as they are, other values with the name of their option."""
    named = {key: value for key, value in values.items() if value != ABSENT}
    return ", ".join(v if isinstance(v, str) else f"{short(key, keys)}={_text(v)}" for key, v in named.items())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
