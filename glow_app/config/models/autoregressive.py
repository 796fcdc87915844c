"""The options of MAF and IAF; see :mod:`glow_app.config.model`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from glow_app.config.architecture import ModelConfig
from glow_app.config.option import option

if TYPE_CHECKING:
    from glow_app.flows import Flow


@dataclass
class MAFConfig(ModelConfig):
    """The shape of a MAF; see :class:`glow_app.flows.MAF`."""

    memory: str = option("what training saves for backward", choices=("plain", "checkpoint"))
    n_layers: int = option("autoregressive layers, each with a masked network", at_least=1, at_most=1024)
    n_hidden: int = option("hidden layers of each network", at_least=1, at_most=64)
    width: int = option("width of the hidden layers", at_least=1, at_most=65536)
    activation: str = option("activation of the hidden layers", choices=("relu", "tanh"))
    normalisation: str = option("normalisation after each layer", choices=("batchnorm", "actnorm"))
    momentum: float = option(
        "batchnorm: weight of the running averages in the statistics that normalise a training batch",
        at_least=0,
        at_most=0.9999,
    )
    order_seed: int | None = option("seed of random orders of the dimensions; null: each layer reverses the last one's")
    logit: float | None = option(
        "alpha of the logit transform of pixels, which comes first; null: none; points have none", above=0, at_most=0.4
    )

    # Without the choice reversible: not an option.
    anchor_every: ClassVar[int] = 1  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def paper(self) -> str:
        return "A MAF (Papamakarios, Pavlakou & Murray 2017)"

    @property
    def shape(self) -> str:
        return f"MAF, {self._sizes}; a density takes 1 pass, a sample one for each dimension"

    @property
    def _sizes(self) -> str:
        return f"{self.n_layers} layers of {self.n_hidden} x {self.width} hidden units, {self.normalisation}"

    @property
    def takes_points(self) -> bool:
        return True

    @property
    def normalises_batches(self) -> bool:
        return self.normalisation == "batchnorm"

    def plain_flow(self, image_shape: tuple[int, int, int], n_classes: int) -> "Flow":
        from glow_app.flows import MAF

        return MAF(image_shape, **self._arguments(image_shape, n_classes))

    def _arguments(self, image_shape: tuple[int, int, int], n_classes: int) -> dict[str, Any]:
        from glow_app.flows.family.plane import SHAPE

        return {
            "n_layers": self.n_layers,
            "n_hidden": self.n_hidden,
            "width": self.width,
            "activation": self.activation,
            "normalisation": self.normalisation,
            "momentum": self.momentum,
            "order_seed": self.order_seed,
            "logit": None if image_shape == SHAPE else self.logit,  # points lie in no box
            "n_classes": self._classes(n_classes),
            "memory": self.memory,
        }


@dataclass
class IAFConfig(MAFConfig):
    """The shape of an IAF; see :class:`glow_app.flows.IAF`."""

    @property
    def paper(self) -> str:
        return "An IAF (Kingma et al. 2016)"

    @property
    def shape(self) -> str:
        return f"IAF, {self._sizes}; a density takes one pass for each dimension, a sample 1"

    def plain_flow(self, image_shape: tuple[int, int, int], n_classes: int) -> "Flow":
        from glow_app.flows import IAF

        return IAF(image_shape, **self._arguments(image_shape, n_classes))
