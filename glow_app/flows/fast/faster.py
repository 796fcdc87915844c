"""What the faster classes have in common."""

from typing import ClassVar, Self

from torch import nn

from glow_app.flows.fast.cache import WhileUnchanged


class Faster(nn.Module):
    """A layer that computes what its other base class states, with the same parameters under the same names.

    Attributes:
        kept: names of its caches, of which :func:`glow_app.flows.fast.accelerate` makes empty ones.
    """

    kept: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def plain(cls) -> type[nn.Module]:
        """The class that states what is computed."""
        return cls.__bases__[-1]

    @property
    def kind(self) -> str:
        """The name of the plain class: to what is measured of a layer, it does not matter how it runs."""
        return self.plain().__name__

    def begin(self) -> None:
        """Adds the caches."""
        for name in self.kept:
            setattr(self, name, WhileUnchanged())

    def end(self) -> None:
        """Takes them away."""
        for name in self.kept:
            delattr(self, name)

    def train(self, mode: bool = True) -> Self:
        for name in self.kept:
            getattr(self, name).drop()
        return super().train(mode)
