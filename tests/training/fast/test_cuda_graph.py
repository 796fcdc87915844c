"""Training steps that are captured and replayed: the wiring anywhere, CUDA graphs where there is a GPU."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from glow_app.data.stream import Batch
from glow_app.errors import UserError
from glow_app.training.clock import Clock
from glow_app.training.estimate import estimate
from glow_app.training.fast import cuda_graph
from glow_app.training.fast.cuda_graph import CapturedAdam, CapturedLoss
from glow_app.training.loggers import metrics
from glow_app.training.module import GlowModule
from glow_app.training.optim import make_optimizer
from glow_app.training.trainer import Layout, captures_steps, layout
from tests.flows.models import small_glow
from tests.training.runs import QUIET, capture_on_cpu, configure, find, smallest, train


@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer.accumulate=2", "optim.clip_norm=1", "model.permutation=full"],
        ["optim.name=adamax", "max_steps=2"],
        pytest.param(
            [
                "optim.clip_norm=1",
                "model.memory=checkpoint",
                "model.coupling=additive",
                "model.permutation=shuffle",
                "trainer.precision=bf16",
            ],
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda overrides: overrides[0],
)
def test_captured_steps_train_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]) -> None:
    # A captured update has its learning rate in float32: always 2^-10.
    rate = ["optim.lr=0.0009765625", "optim.warmup_images=0", "optim.decay=constant"]
    config = smallest(tmp_path, "max_steps=6", "validate_every=3", *rate, *overrides)
    train(config, tmp_path / "plain")
    monkeypatch.setattr(cuda_graph, "capture", capture_on_cpu)
    config.trainer.cuda_graph = True  # refused from outside: there is no graph on a CPU
    train(config, tmp_path / "captured")
    of_run = [
        [{k: v for k, v in row.items() if "speed" not in k} for row in metrics.read(tmp_path / name / "metrics.csv")]
        for name in ("plain", "captured")
    ]
    assert of_run[0] == of_run[1]
    plain, again = (torch.load(find(tmp_path / name)[1], weights_only=True) for name in ("plain", "captured"))
    assert all(torch.equal(plain["state_dict"][key], value) for key, value in again["state_dict"].items())


@pytest.mark.slow
def test_captured_steps_are_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graph, "capture", capture_on_cpu)
    config = smallest(tmp_path, "model.class_conditional=true")
    config.trainer.cuda_graph = True
    assert estimate(config, QUIET) > 0


def a_batch(seed: int, n: int = 4) -> Batch:
    images = torch.randint(256, (n, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return Batch(images, torch.arange(n) + n * seed, None)


def a_module(cuda_graph: bool) -> GlowModule:
    flow = small_glow(dtype=torch.float32).train()
    return GlowModule(
        flow, 8, configure().optim, 4, Clock(4, None), seed=0, conditioner_dtype=None, cuda_graph=cuda_graph
    )


def test_a_capture_is_made_once_and_belongs_to_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(cuda_graph, "capture", lambda *how: made.append(how) or capture_on_cpu(*how))
    module = a_module(cuda_graph=True)
    assert isinstance(module.training_loss, CapturedLoss)
    losses = [module.training_loss(a_batch(seed)).item() for seed in (0, 1)]
    assert losses == [module.mean_bits_per_dim(a_batch(seed)).item() for seed in (0, 1)]
    assert len(made) == 1
    with pytest.raises(AssertionError, match="batches of one size"):
        module.training_loss(a_batch(0, n=1))
    module.training_loss.drop()
    module.training_loss(a_batch(0, n=1))
    assert len(made) == 2


def weights(n: int) -> list[nn.Parameter]:
    torch.manual_seed(n)
    return [nn.Parameter(torch.randn(2, 3)), nn.Parameter(torch.randn(4))]


def test_accumulated_gradients_lie_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graph, "capture", capture_on_cpu)
    module = a_module(cuda_graph=True)
    parameter = next(module.flow.parameters())
    places = []
    for update in range(2):
        expected = torch.zeros_like(parameter)
        for number in range(3):
            batch = a_batch(3 * update + number)
            (module.training_loss(batch) / 3).backward()
            expected += torch.autograd.grad(module.mean_bits_per_dim(batch) / 3, parameter)[0]
        assert torch.allclose(cast(Tensor, parameter.grad), expected, atol=1e-6)
        places.append(parameter.grad)
        module.zero_grad()
    assert places[0] is places[1]


def test_captured_updates_are_those_of_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    made, replayed = [], []

    def capture(computes: list[Callable[[], None]], warm_up: int) -> list[tuple[Callable[[], None], None]]:
        made.append(warm_up)
        (compute,) = computes
        return [(lambda: (replayed.append(len(rates)), compute())[0], None)]

    monkeypatch.setattr(cuda_graph, "capture", capture)
    ours, theirs = weights(0), weights(0)
    options = {"lr": 0.5, "betas": (0.75, 0.875)}
    updates = CapturedAdam(ours, **options), torch.optim.Adam(theirs, fused=True, **options)
    place = [torch.empty_like(weight) for weight in ours]
    rates: list[float] = []
    for rate in (0.5, 0.25, 0.125, 1.0, 0.0625, 0.5):  # the same in float32
        rates.append(rate)
        left_out = rate == 1.0
        for update, parameters in zip(updates, (ours, theirs), strict=True):
            update.param_groups[0]["lr"] = rate
            for number, (parameter, mine) in enumerate(zip(parameters, place, strict=True)):
                mine.copy_(torch.randn(mine.shape, generator=torch.Generator().manual_seed(len(rates) + 9 * number)))
                parameter.grad = None if left_out else mine
            assert update.step(lambda: len(rates)) == len(rates)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert (made, replayed) == ([0], [5, 6])  # the averages begin at the first, the third finds gradients in place

    updates[0].load_state_dict(copy.deepcopy(updates[1].state_dict()))
    for update, parameters in zip(updates, (ours, theirs), strict=True):
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)  # elsewhere
        update.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert len(replayed) == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer=cpu"], r"^trainer\.cuda_graph=true needs trainer\.accelerator=gpu, not cpu; set it to false$"),
        (["trainer=gpu", "model.memory=reversible"], "drift, which a captured step cannot; choose model.memory=plain"),
    ],
)
def test_what_cannot_be_captured_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        configure("trainer.cuda_graph=true", *overrides)


def test_several_processes_are_refused() -> None:
    config = configure("trainer=ddp", "trainer.devices=2", "trainer.cuda_graph=true")
    with pytest.raises(UserError, match=r"cuda_graph=true is for one process, not 2; set it to false, or trainer\.dev"):
        layout(config.trainer)


@pytest.mark.parametrize(
    ("overrides", "captured"),
    [
        (["trainer=gpu"], True),
        (["trainer=gpu", "trainer.cuda_graph=false"], False),
        (["trainer=gpu", "model.memory=checkpoint"], True),
        (["trainer=gpu", "model.memory=reversible"], False),
        (["trainer=gpu", "model=real_nvp", "data.image_size=16"], False),
        (["trainer=ddp"], True),
        (["trainer=cpu"], False),
    ],
)
def test_steps_are_captured_wherever_they_can_be(overrides: list[str], captured: bool) -> None:
    config = configure(*overrides)
    assert captures_steps(config, Layout(devices=1, machines=1)) == captured
    assert not captures_steps(config, Layout(devices=2, machines=1))


def test_a_step_that_waits_for_a_value_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = SimpleNamespace(wait_stream=lambda other: None)
    stand_ins = {"Stream": lambda: stream, "current_stream": lambda: stream, "stream": nullcontext}
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", SimpleNamespace)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, pool, stream, capture_error_mode: nullcontext())
    runs = []

    def compute() -> None:
        runs.append(None)
        if len(runs) > cuda_graph.WARM_UP:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    with pytest.raises(UserError, match=r"cannot be captured \(operation not .* capturing\); set it to false$"):
        cuda_graph.capture([compute], cuda_graph.WARM_UP)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("memory", ["plain", "checkpoint"])
def test_cuda_graphs_train_the_same_to_rounding(memory: str) -> None:
    found: dict[bool, list[float]] = {}
    for captured in (False, True):
        module = a_module(captured).to("cuda")
        for level in module.flow.levels:
            level.steps.memory = memory  # type: ignore[union-attr]
        optimizer = make_optimizer(module.flow, configure("optim.lr=1e-3").optim, captured)
        found[captured] = []
        for seed in range(6):
            batch = Batch(*(None if part is None else part.to("cuda") for part in a_batch(seed)))  # type: ignore[arg-type]
            loss = module.training_loss(batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            found[captured].append(loss.item())
    assert found[True] == pytest.approx(found[False], abs=1e-4)
