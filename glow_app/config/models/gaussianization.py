"""The options of Gaussianization flows; see :mod:`glow_app.config.model`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from glow_app.config.architecture import ModelConfig
from glow_app.config.option import option

if TYPE_CHECKING:
    from glow_app.flows import Flow


@dataclass
class GaussianizationConfig(ModelConfig):
    """The shape of a Gaussianization flow; see :class:`glow_app.flows.Gaussianization`."""

    memory: str = option("what training saves for backward", choices=("plain", "checkpoint"))
    n_layers: int = option("marginal layers, with a rotation between any two", at_least=1, at_most=1024)
    n_components: int = option("logistics in the mixture of each dimension", at_least=1, at_most=65536)
    n_reflections: int = option(
        "reflections of each rotation; there are never more than dimensions", at_least=1, at_most=65536
    )
    rotation: str = option("start of the rotations", choices=("random", "pca"))
    logit: float | None = option(
        "alpha of the logit transform of pixels, which comes first; null: none; points have none", above=0, at_most=0.4
    )

    # Without the choice reversible: not an option.
    anchor_every: ClassVar[int] = 1  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def paper(self) -> str:
        return "A Gaussianization flow (Meng, Song, Song & Ermon 2020)"

    @property
    def shape(self) -> str:
        return (
            f"Gaussianization, {self.n_layers} layers of {self.n_components} logistics for each dimension, "
            f"{self.rotation} rotations of {self.n_reflections} reflections at most; samples take a search"
        )

    @property
    def takes_points(self) -> bool:
        return True

    def n_initializing(self, height: int, width: int) -> int:
        """The number of images: more than for a mean and a deviation, since whole densities are estimated."""
        return 2048

    def plain_flow(self, image_shape: tuple[int, int, int], n_classes: int) -> "Flow":
        from glow_app.flows import Gaussianization
        from glow_app.flows.family.plane import SHAPE

        return Gaussianization(
            image_shape,
            n_layers=self.n_layers,
            n_components=self.n_components,
            n_reflections=self.n_reflections,
            rotation=self.rotation,
            logit=None if image_shape == SHAPE else self.logit,  # points lie in no box
            n_classes=self._classes(n_classes),
            memory=self.memory,
        )
