"""The base class of faster layers."""

from typing import ClassVar, Self

from torch import nn

from glow_app.flows.fast.cache import WhileUnchanged


class Faster(nn.Module):
    """A layer with the same computation as its other base class, and the same parameters under the same names.

    Attributes:
        kept: names of its caches, which :func:`glow_app.flows.fast.accelerate` creates empty.
    """

    kept: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def plain(cls) -> type[nn.Module]:
        """Returns the class that defines the computation."""
        return cls.__bases__[-1]

    @property
    def kind(self) -> str:
        """The name of the plain class, so that metrics have the same names for both."""
        return self.plain().__name__

    def begin(self) -> None:
        """Adds the caches."""
        for name in self.kept:
            setattr(self, name, WhileUnchanged())

    def end(self) -> None:
        """Removes the caches."""
        for name in self.kept:
            delattr(self, name)

    def train(self, mode: bool = True) -> Self:
        for name in self.kept:
            getattr(self, name).drop()
        return super().train(mode)
