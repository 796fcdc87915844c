"""Triton's kernels, run by its interpreter: they are the formulas that other devices compute."""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from glow_app.flows import AffineCoupling
from glow_app.flows.fast import accelerate, coupling, device, im2col, matmul
from glow_app.flows.fast.coupling import SCALE_MAPS
from tests.flows.fast.test_matmul import assert_near, loss_and_gradients
from tests.flows.models import small_glow

SHAPES = [(3, 5, 6, 3), (2, 1, 1, 12), (1, 2, 1, 6)]


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """As used for all tensors."""
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    spec = importlib.util.find_spec("glow_app.flows.fast.triton_kernels")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for user in (im2col, coupling):
        monkeypatch.setattr(user, "kernels_for", lambda x: module)
    return module


def scattered(*shape: int) -> Tensor:
    """Numbers that do not lie in the order of their dimensions."""
    return torch.randn(*reversed(shape), 2, dtype=torch.float64)[..., 0].permute(*range(len(shape) - 1, -1, -1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("more", [0, 5])
@pytest.mark.parametrize("with_constant", [False, True])
def test_taps(kernels: ModuleType, shape: tuple[int, ...], more: int, with_constant: bool) -> None:
    x = scattered(*shape)
    _, height, width, n_channels = shape
    constant = torch.randn(1, height, width, more, dtype=torch.float64) if with_constant and more else None
    found = kernels.patches(x, 9 * n_channels + more, constant)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(im2col, "kernels_for", lambda x: None)
        assert torch.equal(found, im2col.patches(x, 9 * n_channels + more, constant))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", ["none", "one", "by pixel"])
def test_added_up(kernels: ModuleType, shape: tuple[int, ...], bias: str) -> None:
    n_images, height, width, n_channels = shape
    parts = torch.randn(n_images * height * width, 9 * n_channels + 4, dtype=torch.float64)
    rows = {"none": 0, "one": 1, "by pixel": height * width}[bias]
    added = torch.randn(rows, n_channels, dtype=torch.float64) if rows else None
    found = kernels.col2im(parts, shape, added)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(im2col, "kernels_for", lambda x: None)
        assert (found - im2col.col2im(parts, shape, added)).abs().max() < 1e-13


@pytest.mark.parametrize("scale", SCALE_MAPS)
@pytest.mark.parametrize("size", [(3, 5, 6), (2, 1, 1)])
def test_affine_couplings(kernels: ModuleType, scale: str, size: tuple[int, int, int]) -> None:
    n_images, height, width = size
    answer = scattered(n_images, 6, height, width).mul_(3)
    answer[:, 1] -= 9  # some at the floor of the sigmoid
    layer = accelerate(AffineCoupling(lambda x: answer.requires_grad_(), scale))  # type: ignore[arg-type]
    x = torch.randn(n_images, 6, height, width, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    of_z, of_logdet = scattered(*x.shape), torch.randn(n_images, dtype=torch.float64)

    def found() -> list[Tensor]:
        z, logdet = layer(x.requires_grad_())
        return [z, logdet, *torch.autograd.grad([z, logdet], [x, answer], [of_z, of_logdet])]

    ours = found()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coupling, "kernels_for", lambda x: None)
        for a, b in zip(ours, found(), strict=True):
            assert (a - b).abs().max() < 1e-12


@pytest.mark.parametrize("scale", SCALE_MAPS.values())
def test_what_is_no_number_stays_none(kernels: ModuleType, scale: coupling.ScaleMap) -> None:
    answer = torch.zeros(1, 1, 1, 2)
    answer[..., 1] = float("nan")
    z, log_scale = kernels.affine(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1), answer, scale.bounded, scale.limit)
    assert log_scale.isnan().all()
    assert z[..., 1].isnan().all()


@pytest.mark.parametrize("scale", SCALE_MAPS)
def test_a_glow_has_the_same_gradients(kernels: ModuleType, scale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    glow = small_glow(scale=scale).train()
    x = torch.rand(3, *glow.image_shape, dtype=torch.float64) - 0.5
    monkeypatch.setattr(matmul, "suit", lambda x: True)
    found = loss_and_gradients(glow, x)
    monkeypatch.undo()
    assert_near(found, loss_and_gradients(glow, x), 1e-10)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_cannot_be_built_is_done_without() -> None:
    assert device.kernels_for(torch.zeros(1)) is None
    with pytest.warns(RuntimeWarning, match=r"^Triton cannot build kernels here \(.+\): training takes longer"):
        assert device._kernels.__wrapped__() is None


NAMED = {"float32": "fp32", "float64": "fp64", "bfloat16": "bf16"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_they_compile_for_a_gpu(
    dtype: torch.dtype, kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without one: the interpreter takes what a compiler refuses. Each as a level of Glow calls it."""
    compiler = pytest.importorskip("triton.compiler")
    target = pytest.importorskip("triton.backends.compiler").GPUTarget("cuda", 90, 32)
    monkeypatch.delenv("TRITON_INTERPRET")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    calls: list[tuple[str, tuple[Any, ...]]] = []
    for name in ("_patches", "_col2im", "_affine", "_affine_gradients"):
        monkeypatch.setattr(kernels, name, _Calls(name, calls))
    x = torch.empty(2, 4, 4, 6, dtype=dtype)
    kernels.patches(x, 64, torch.empty(1, 4, 4, 10, dtype=dtype))
    kernels.patches(x.bfloat16(), 54, None)
    for bias in (None, torch.empty(1, 12, dtype=dtype), torch.empty(16, 12, dtype=dtype)):
        kernels.col2im(torch.empty(32, 112, dtype=dtype), (2, 4, 4, 12), bias)
    for scale in SCALE_MAPS.values():
        kernels.affine(x, x, torch.empty(2, 4, 4, 12, dtype=dtype), scale.bounded, scale.limit)
        kernels.affine_gradients(x, x, x, torch.empty(2, dtype=dtype), scale.bounded, scale.limit)
    assert len(calls) == 9
    compiled = importlib.import_module("glow_app.flows.fast.triton_kernels")
    for name, arguments in calls:
        function = getattr(compiled, name)
        signature, constants = {}, {}
        for position, (argument, value) in enumerate(zip(function.arg_names, arguments, strict=True)):
            if function.params[position].is_constexpr:
                signature[argument], constants[(position,)] = "constexpr", value
            else:
                signature[argument] = f"*{NAMED[str(value.dtype)[6:]]}" if isinstance(value, Tensor) else "i32"
        source = compiler.ASTSource(fn=function, signature=signature, constexprs=constants)
        assert compiler.compile(source, target=target).asm["ptx"]


class _Calls:
    """In place of a kernel: keeps what it is called with."""

    def __init__(self, name: str, calls: list[tuple[str, tuple[Any, ...]]]) -> None:
        self.name, self.calls = name, calls

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        return lambda *arguments: self.calls.append((self.name, arguments))
