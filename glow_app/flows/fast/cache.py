"""What evaluation computes from parameters once and uses for every batch."""

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


def parameters_of(*modules: nn.Module) -> list[Tensor]:
    """Those that the modules hold themselves. For what runs at every step ``parameters()`` takes too long."""
    return [parameter for module in modules for parameter in module._parameters.values() if parameter is not None]


class WhileUnchanged(Generic[T]):
    """Keeps one value, computed from tensors, until one of them changes or is replaced."""

    def __init__(self) -> None:
        self._kept: tuple[object, T] | None = None

    def __call__(self, tensors: Sequence[Tensor], key: Hashable, compute: Callable[[], T]) -> T:
        """The value kept for ``tensors`` as they are and for ``key``, or else what ``compute`` gives."""
        if torch.compiler.is_compiling():
            return compute()  # what is traced or exported has no memory to point to
        state = key, [(tensor.data_ptr(), tensor._version) for tensor in tensors]
        if self._kept is None or self._kept[0] != state:
            self._kept = (state, compute())
        return self._kept[1]

    def drop(self) -> None:
        """Frees what is kept."""
        self._kept = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Copies, and what is written to a file, begin with nothing kept."""
        return WhileUnchanged, ()
