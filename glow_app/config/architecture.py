"""The options of every model; see :mod:`glow_app.config.model`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from glow_app.config.option import option

if TYPE_CHECKING:
    from glow_app.flows import Flow


ARCHITECTURES = (
    "cnf", "gaussianization", "glow", "iaf", "maf", "mintnet", "nice", "planar", "plane", "radial", "real_nvp",
    "vae", "own",
)  # fmt: skip


@dataclass
class ModelConfig:
    """Options of every model.

    Attributes:
        free: names of the options that say how it is trained, and not what it computes.
    """

    free: ClassVar[tuple[str, ...]] = ("memory", "anchor_every", "momentum")
    name: str = option("architecture", choices=ARCHITECTURES)
    class_conditional: bool = option("one top prior per class, for data with class labels")
    memory: str = option("what training saves for backward", choices=("plain", "checkpoint", "reversible"))
    anchor_every: int = option("memory=reversible: steps between two saved states", at_least=1)

    def check(self) -> None:
        """Raises a UserError for a value that no range of one option can tell."""

    def check_images(self, n_bits: int) -> None:
        """Raises a UserError for a value that points allow, and images of ``n_bits`` do not."""

    @property
    def paper(self) -> str:
        """The architecture and its publication."""
        raise NotImplementedError

    @property
    def shape(self) -> str:
        """The architecture and its sizes, in one line."""
        raise NotImplementedError

    @property
    def divisor(self) -> int:
        """The number that must divide both sides of an image."""
        return 1

    @property
    def divisor_of_points(self) -> int:
        """The :attr:`divisor` of points, which have one pixel."""
        return self.divisor

    @property
    def takes_images(self) -> bool:
        """Returns whether the flow can be one of images."""
        return True

    @property
    def takes_points(self) -> bool:
        """Returns whether the flow can be one of points in the plane."""
        return False

    def n_initializing(self, height: int, width: int) -> int:
        """The number of images of this size that initialise a new model, if nothing else is asked for."""
        return min(256, max(4, round(256 * 32 * 32 / (height * width))))

    @property
    def normalises_batches(self) -> bool:
        """Returns whether training normalises by the statistics of a batch."""
        return False

    @property
    def not_captured(self) -> str | None:
        """The reason why a training step cannot be captured by a CUDA graph; None if it can."""
        return None

    @property
    def not_compiled(self) -> str | None:
        """The reason why a training step cannot be compiled; None if it can."""
        return None

    @property
    def is_annealed(self) -> bool:
        """Returns whether ``anneal_steps`` weigh the loss of training on data."""
        return False

    def build(self, image_shape: tuple[int, int, int], n_classes: int) -> "Flow":
        """Builds a new flow of images of ``image_shape``, with the faster layers.

        Args:
            image_shape: (C, H, W).
            n_classes: number of classes in the data; used only if the model is conditional.
        """
        from glow_app.flows.fast import accelerate

        return accelerate(self.plain_flow(image_shape, n_classes))

    def plain_flow(self, image_shape: tuple[int, int, int], n_classes: int) -> "Flow":
        """Builds the flow of :meth:`build` from plain layers."""
        raise NotImplementedError

    def _classes(self, n_classes: int) -> int:
        return n_classes if self.class_conditional else 0
