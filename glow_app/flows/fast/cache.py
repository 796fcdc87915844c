"""Values that evaluation computes from parameters once and reuses for every batch."""

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


def parameters_of(*modules: nn.Module) -> list[Tensor]:
    """Returns the modules' own parameters, without submodules; ``parameters()`` is too slow for every step."""
    return [parameter for module in modules for parameter in module._parameters.values() if parameter is not None]


class WhileUnchanged(Generic[T]):
    """Caches one value, computed from tensors, until one of them changes or is replaced."""

    def __init__(self) -> None:
        self._cached: tuple[object, T] | None = None

    def __call__(self, tensors: Sequence[Tensor], key: Hashable, compute: Callable[[], T]) -> T:
        """Returns the value cached for ``key`` and unchanged ``tensors``, or else computes and caches it."""
        if torch.compiler.is_compiling():
            return compute()  # traced and exported tensors have no data pointer
        state = key, [(tensor.data_ptr(), tensor._version) for tensor in tensors]
        if self._cached is None or self._cached[0] != state:
            self._cached = (state, compute())
        return self._cached[1]

    def drop(self) -> None:
        """Frees the cached value."""
        self._cached = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Makes copies and pickles start with an empty cache."""
        return WhileUnchanged, ()
