"""The benchmarks' own arithmetic and adaptors. No time is asserted: machines differ."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import breakdown, compiled, contest, models, peers, processor, report, timing, train_step, whole_run
from benchmarks.allocations import Allocation, activation_bytes, peak
from benchmarks.shapes import PUBLISHED_CIFAR, PUBLISHED_FACES, Shape, faces
from benchmarks.timing import Quartiles, Requirement, Timing
from glow_app.training.module import GlowModule

CPU = torch.device("cpu")
TINY = Shape(16, 2, 2, width=8, batch=4)


def timings(*costs: float) -> list[Timing]:
    return [Timing(cpu=cost, wall=2 * cost) for cost in costs]


def test_ratios_are_taken_repetition_by_repetition() -> None:
    # A moment in which everything takes ten times as long changes no ratio.
    found = {"ours": timings(1, 10, 1), "peer": timings(2, 20, 2), "slow": timings(9, 90, 9)}
    assert timing.fastest(found, ["peer", "slow", "not installed"]) == "peer"
    assert timing.ratio(found, "ours", "peer") == Quartiles(0.5, 0.5, 0.5)


def test_quartiles() -> None:
    assert Quartiles.of([4, 1, 3, 2, 5]) == Quartiles(2, 3, 4)
    assert Quartiles.of([0.5]) == Quartiles(0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.6, 0.7, "aim"), (0.7, 0.8, "must"), (0.85, 0.95, "noise forbids a verdict"), (0.92, 0.95, "missed")],
)
def test_a_verdict_needs_the_quartiles_on_one_side(low: float, high: float, verdict: str) -> None:
    assert Requirement("step", must=0.9, aim=0.75).verdict(Quartiles(low, (low + high) / 2, high)) == verdict


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("aten::mkldnn_convolution", "products"),
        ("aten::_slow_conv2d_backward", "products"),
        ("aten::addmm", "products"),
        ("aten::copy_", "copies and layouts"),
        ("aten::sum", "sums"),
        ("aten::_fused_adam_", "Adam"),
        ("aten::as_strided", "views and allocation"),
        ("aten::threshold_backward", "element by element"),
        ("aten::mul", "element by element"),
    ],
)
def test_operations_have_their_kind(operation: str, kind: str) -> None:
    assert breakdown.kind_of(operation) == kind


def test_the_time_of_a_step_is_divided_among_kinds() -> None:
    a = torch.randn(64, 64)
    found = breakdown.breakdown(lambda: torch.mm(a, a).relu_(), CPU)
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["products"] > 0.5
    assert found.operations >= 2


def test_repetitions_alternate() -> None:
    order: list[str] = []
    found = timing.alternate({name: lambda name=name: order.append(name) for name in "ab"}, 2, CPU, seconds=0)
    assert {name: len(times) for name, times in found.items()} == {"a": 2, "b": 2}
    assert "".join(order[-4:]) == "abab"


def test_cost_is_that_of_the_gpu_where_there_is_one() -> None:
    assert Timing(cpu=1, wall=2).cost == 1
    assert Timing(cpu=1, wall=2, gpu=3).cost == 3


def test_operations_are_those_of_the_published_table() -> None:
    # The table has 8.13 and 488 GFLOP with the border channel, which is a channel like any other there and free here.
    assert PUBLISHED_CIFAR.forward_flops() == pytest.approx(8.13e9, rel=0.015)
    assert PUBLISHED_FACES.forward_flops() == pytest.approx(488e9, rel=0.015)


def test_peak_counts_neither_gradients_nor_what_stood_before() -> None:
    events = [
        Allocation(0, address=1, size=100),
        Allocation(1, address=2, size=40),  # ends as a gradient
        Allocation(2, address=9, size=-1000),  # stood before
        Allocation(3, address=1, size=-100),
        Allocation(4, address=1, size=70),
    ]
    assert peak(events, gradients=[2]) == 100
    assert peak(events, gradients=[1]) == 140, "only the last use of an address is the gradient"


def test_activations_of_a_known_function() -> None:
    model = nn.Linear(256, 256, bias=False)
    x = torch.randn(1024, 256)
    mebibyte = 4 * x.numel()

    def task() -> None:
        # Kept for the gradient: the product and its exponential, 1 MiB each; then the two gradients beside them.
        model(x).exp().sum().backward()

    assert 2 * mebibyte <= activation_bytes(task, model) <= 4.1 * mebibyte


@pytest.mark.parametrize("implementation", peers.OURS, ids=lambda one: one.name)
def test_ours(implementation: peers.Implementation) -> None:
    images = faces(32, TINY.size, CPU)
    model = peers.built(implementation, TINY, images)
    found = peers.check(model, images)
    assert found.share == 1
    assert 4 < found.bits < 9
    before = model.loss(images[:4]).item()
    train_step.training_step(model, images[:4])()
    assert model.loss(images[:4]).item() != before
    with torch.no_grad():
        assert model.eval().sample(2).shape == (2, *TINY.image_shape)


@pytest.mark.filterwarnings("default")  # what the libraries warn of is theirs
@pytest.mark.parametrize("coupling", ["affine", "additive"])
@pytest.mark.parametrize("implementation", peers.LIBRARIES, ids=lambda one: one.name)
def test_peers_are_glows(implementation: peers.Implementation, coupling: str) -> None:
    pytest.importorskip(implementation.package or "glow_app")
    # Wide enough for the conditioners to dominate the parameters, as they do in the shapes that are measured.
    shape = Shape(16, 2, 2, width=64, batch=4, coupling=coupling)
    if not implementation.offers(shape):
        pytest.skip(f"{implementation.name} has no {coupling} coupling")
    images = faces(32, shape.size, CPU)
    model = peers.built(implementation, shape, images)
    found = peers.check(model, images)
    assert abs(found.share - 1) < peers.SAME_CLASS
    assert math.isfinite(found.bits)
    train_step.training_step(model, images[:4])()
    with torch.no_grad():
        assert model.eval().sample(2).shape == (2, *shape.image_shape)


def test_a_run_is_timed_between_two_of_its_steps(tmp_path: Path) -> None:
    config = whole_run.configuration(TINY, CPU, whole_run.WARM_UP + 3, tmp_path / "cache")
    before = GlowModule.training_step
    timing = whole_run.time_run(config, tmp_path / "run", CPU)
    assert timing.cpu > 0
    assert timing.wall > 0
    assert GlowModule.training_step is before
    assert (tmp_path / "run" / "model").is_dir()


def test_a_shape_from_models_to_files(tmp_path: Path) -> None:
    contenders, found = train_step.time_shape(TINY, repeats=2, seconds=0, device=CPU, others=())
    rows = report.rows(contenders, found, {}, TINY.batch)
    report.show("tiny", rows, CPU)
    report.plot_ratios(report.file(tmp_path, "train_step", CPU, ".png"), {"tiny": rows}, "time")
    path = report.timed_file(tmp_path, "train_step", CPU, ".json")
    assert path.name == f"train_step_{processor.kind()}.json"
    report.write(path, {"machine": report.machine(CPU), "rows": [row.facts() for row in rows]})
    assert [row["name"] for row in json.loads(path.read_text())["rows"]] == [one.name for one in peers.OURS]
    assert (tmp_path / "train_step.png").stat().st_size > 0
    assert all(requirement.must > 1 for requirement, _ in train_step.required(TINY, found, {}))


class Small(models.Model):
    """A peer whose time and layouts a test decides."""

    def __init__(self, shape: Shape, fails_in: torch.memory_format | None = None) -> None:
        super().__init__(shape)
        self.convolution, self.fails_in = nn.Conv2d(3, 3, 1), fails_in

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        if self.fails_in is not None and x.is_contiguous(memory_format=self.fails_in):
            raise RuntimeError("view size is not compatible\nand more")
        return -self.convolution(x).square().flatten(1).sum(1)


def peer(name: str, **options: Any) -> peers.Implementation:
    return peers.Implementation(name, "", lambda shape: Small(shape, **options), layouts=peers.BOTH)


def test_a_peer_runs_in_the_layout_in_which_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {"contiguous": timings(2), "channels_last": timings(1)}
    monkeypatch.setattr(contest, "alternate", lambda tasks, *rest: costs)
    images, told = faces(4, TINY.size, CPU), []
    (found,) = contest.entered([peer("a")], TINY, images, train_step.training_step, told.append)
    assert (found.layout, told) == ("channels_last", [])
    (found,) = contest.entered(
        [peer("b", fails_in=torch.channels_last)], TINY, images, train_step.training_step, told.append
    )
    assert (found.layout, told) == ("contiguous", [])


def test_who_does_not_run_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(Small, "log_prob", lambda self, x: x.view(-1, 7))
    assert not contest.entered([peer("a")], TINY, faces(4, TINY.size, CPU), train_step.training_step, told.append)
    assert len(told) == 1 and told[0].startswith("a is left out: shape ")


def test_a_peer_that_diverges_is_left_out_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def racing(tasks: dict[str, Any], *rest: Any) -> dict[str, list[Timing]]:
        monkeypatch.setattr(Small, "log_prob", lambda self, x: x.flatten(1).sum(1) * math.nan)
        return dict.fromkeys(tasks, timings(1))

    monkeypatch.setattr(train_step, "alternate", racing)
    found, _ = train_step.time_shape(TINY, 1, 0, CPU, [peer("a")])
    assert [one.implementation.name for one in found] == [one.name for one in peers.OURS]


def test_peers_are_compared_with_those_of_their_precision() -> None:
    one = peer("a")
    half = peers.under_autocast(one)
    assert (half.name, half.precision) == ("a bf16", "bf16")
    images = faces(4, TINY.size, CPU)
    model = peers.built(half, TINY, images)
    assert model.log_prob(images).dtype == torch.float32
    assert not torch.equal(model.log_prob(images), peers.built(one, TINY, images).log_prob(images))
    found = [
        contest.Contender(which, peers.Check(1, 1.0, 7.0), "contiguous", model, lambda: None)
        for which in (*peers.OURS[:2], one, half, peer("b"))
    ]
    times = {
        contender.implementation.name: timings(cost) for contender, cost in zip(found, (1, 2, 5, 4, 3), strict=True)
    }
    assert contest.fastest_peers(found, times) == {"fp32": "b", "bf16": "a bf16"}
    rows = report.rows(found, times, {"fp32": "b", "bf16": "a bf16"}, 4)
    assert [row.against.middle for row in rows] == pytest.approx([1 / 3, 0.5, 5 / 3, 1, 1])


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ("vendor_id : AuthenticAMD\ncpu family : 25\nflags : avx2 avx512f avx512_bf16\n", "amd_25_avx512_bf16"),
        ("vendor_id : GenuineIntel\ncpu family : 6\nflags : avx512f amx_tile\n", "intel_6_amx"),
        ("vendor_id : GenuineIntel\ncpu family : 6\nflags : sse avx512f\n", "intel_6_avx512"),
    ],
)
def test_kinds_of_processors(lines: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_cpuinfo", lambda: 2 * lines)
    assert processor.kind() == kind


def test_what_is_compiled_is_a_training_step(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(compiled, "compile_flow", lambda flow, how: told.append(how))
    step, seconds = compiled.first_step(peers.PLAIN, "steps", TINY, faces(32, TINY.size, CPU))
    first, second = step(), step()
    assert isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor) and second < first
    assert told == ["steps"] and seconds > 0
