"""The options of planar and radial flows; see :mod:`glow_app.config.model`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from glow_app.config.architecture import ModelConfig
from glow_app.config.option import option

if TYPE_CHECKING:
    from glow_app.flows import Flow


@dataclass
class PlanarConfig(ModelConfig):
    """The shape of a planar flow; see :class:`glow_app.flows.PlanarFlow`."""

    memory: str = option("what training saves for backward", choices=("plain", "checkpoint"))
    n_layers: int = option("K: layers", at_least=1, at_most=1024)
    direction: str = option(
        "direction of the layers' formula. generating: latents to x, as published, for samples; normalising: x to "
        "latents, for densities",
        choices=("generating", "normalising"),
    )
    logit: float | None = option(
        "alpha of the logit transform of pixels, which comes first; null: none; points have none", above=0, at_most=0.4
    )

    # Without the choice reversible: not an option.
    anchor_every: ClassVar[int] = 1  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def paper(self) -> str:
        return "A planar flow (Rezende & Mohamed 2015)"

    @property
    def shape(self) -> str:
        return f"Planar, K={self.n_layers}, {self.direction}"

    @property
    def takes_points(self) -> bool:
        return True

    def plain_flow(self, image_shape: tuple[int, int, int], n_classes: int) -> "Flow":
        from glow_app.flows import PlanarFlow

        return PlanarFlow(image_shape, **self._arguments(image_shape, n_classes))

    def _arguments(self, image_shape: tuple[int, int, int], n_classes: int) -> dict[str, Any]:
        from glow_app.flows.family.plane import SHAPE

        return {
            "n_layers": self.n_layers,
            "direction": self.direction,
            "logit": None if image_shape == SHAPE else self.logit,  # points lie in no box
            "n_classes": self._classes(n_classes),
            "memory": self.memory,
        }


@dataclass
class RadialConfig(PlanarConfig):
    """The shape of a radial flow; see :class:`glow_app.flows.RadialFlow`."""

    @property
    def paper(self) -> str:
        return "A radial flow (Rezende & Mohamed 2015)"

    @property
    def shape(self) -> str:
        return f"Radial, K={self.n_layers}, {self.direction}"

    def plain_flow(self, image_shape: tuple[int, int, int], n_classes: int) -> "Flow":
        from glow_app.flows import RadialFlow

        return RadialFlow(image_shape, **self._arguments(image_shape, n_classes))
