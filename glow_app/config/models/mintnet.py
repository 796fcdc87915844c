"""The options of MintNet; see :mod:`glow_app.config.model`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from glow_app.config.architecture import ModelConfig
from glow_app.config.option import option
from glow_app.errors import UserError

if TYPE_CHECKING:
    from glow_app.flows import Flow


@dataclass
class MintNetConfig(ModelConfig):
    """The shape of a MintNet; see :class:`glow_app.flows.MintNet`."""

    memory: str = option("what training saves for backward", choices=("plain", "checkpoint"))
    n_levels: int = option("levels; all but the last halve the image; 1 for points", at_least=1, at_most=12)
    n_layers: int = option("masked layers of each level, in opposite orders in turn", at_least=1, at_most=1024)
    width: int = option(
        "hidden channels of each layer: as many whole groups of the level's channels as fit, at least one",
        at_least=1,
        at_most=16384,
    )
    kernel_size: int = option("side of the masked kernels, odd", at_least=1, at_most=31)
    logit: float | None = option(
        "alpha of the logit transform of pixels, which comes first; null: none; points have none", above=0, at_most=0.4
    )

    # Without the choice reversible: not an option.
    anchor_every: ClassVar[int] = 1  # pyright: ignore[reportIncompatibleVariableOverride]

    def check(self) -> None:
        if self.kernel_size % 2 == 0:
            raise UserError(
                f"model.kernel_size={self.kernel_size}: a masked kernel has a pixel in its middle; choose "
                f"{self.kernel_size - 1} or {self.kernel_size + 1}"
            )

    @property
    def paper(self) -> str:
        return "A MintNet (Song, Meng & Ermon 2019)"

    @property
    def shape(self) -> str:
        return (
            f"MintNet, L={self.n_levels}, {self.n_layers} masked layers each, width={self.width}, "
            f"{self.kernel_size}x{self.kernel_size} kernels; samples take a search"
        )

    @property
    def divisor(self) -> int:
        return 2 ** (self.n_levels - 1)

    @property
    def takes_points(self) -> bool:
        return True

    def plain_flow(self, image_shape: tuple[int, int, int], n_classes: int) -> "Flow":
        from glow_app.flows import MintNet
        from glow_app.flows.family.plane import SHAPE

        return MintNet(
            image_shape,
            n_levels=self.n_levels,
            n_layers=self.n_layers,
            width=self.width,
            kernel_size=self.kernel_size,
            logit=None if image_shape == SHAPE else self.logit,  # points lie in no box
            n_classes=self._classes(n_classes),
            memory=self.memory,
        )
