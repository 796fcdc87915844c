"""The options of each model, and how it is built; see :mod:`glow_app.config.train`.

Flows are imported when one is built, so that options are checked without waiting for torch.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from glow_app.config.architecture import ModelConfig
from glow_app.config.models.autoregressive import IAFConfig, MAFConfig
from glow_app.config.models.continuous import CNFConfig
from glow_app.config.models.gaussianization import GaussianizationConfig
from glow_app.config.models.mintnet import MintNetConfig
from glow_app.config.models.planar import PlanarConfig, RadialConfig
from glow_app.config.models.vae import VAEConfig
from glow_app.config.option import option
from glow_app.errors import UserError

if TYPE_CHECKING:
    from glow_app.flows import Bijection, Flow


@dataclass
class GlowConfig(ModelConfig):
    """The shape of a Glow; see :class:`glow_app.flows.Glow`."""

    n_levels: int = option("L: levels of scale; each halves the image", at_least=1, at_most=12)
    n_steps: Any = option(
        "K: steps of flow per level; a list: one number per level, finest first", at_least=1, at_most=1024
    )
    width: int = option("hidden channels of the coupling networks", at_least=1, at_most=16384)
    coupling: str = option("coupling layer", choices=("affine", "additive"))
    permutation: str = option(
        "what mixes the channels; emerging: a 1x1 convolution by its LU factors, then an invertible 3x3 convolution",
        choices=("lu", "full", "shuffle", "reverse", "emerging"),
    )
    scale: str = option("scale map of affine couplings; sigmoid is the published one", choices=("sigmoid", "bounded"))
    border: bool = option("border channel of the released code in every 3x3 convolution")

    def check(self) -> None:
        _ = self.steps  # raises

    @property
    def paper(self) -> str:
        return "A Glow (Kingma & Dhariwal 2018)"

    @property
    def steps(self) -> list[int]:
        """K of each level, finest first.

        Raises:
            UserError: there are more or fewer numbers than levels, or other things.
        """
        steps = self.n_steps if isinstance(self.n_steps, list) else [self.n_steps] * self.n_levels
        if len(steps) != self.n_levels or not all(isinstance(n, int) and not isinstance(n, bool) for n in steps):
            example = ",".join(str(max(2, 10 >> level)) for level in range(self.n_levels))
            raise UserError(
                f"model.n_steps={self.n_steps}: give one whole number, or one for each of model.n_levels="
                f"{self.n_levels}, finest first, such as [{example}]"
            )
        return steps

    @property
    def shape(self) -> str:
        steps = ",".join(map(str, self.n_steps if isinstance(self.n_steps, list) else [self.n_steps]))
        return (
            f"Glow, L={self.n_levels} K={steps} width={self.width}, {self.coupling} coupling, "
            f"{self.permutation} permutation"
        )

    @property
    def divisor(self) -> int:
        return 2**self.n_levels

    def plain_flow(self, image_shape: tuple[int, int, int], n_classes: int) -> "Flow":
        from glow_app.flows import EmergingGlow, Glow

        return (EmergingGlow if self.permutation == "emerging" else Glow)(
            image_shape,
            n_levels=self.n_levels,
            n_steps=self.steps,
            width=self.width,
            coupling=self.coupling,
            permutation="lu" if self.permutation == "emerging" else self.permutation,
            scale=self.scale,
            border=self.border,
            n_classes=self._classes(n_classes),
            memory=self.memory,
            anchor_every=self.anchor_every,
        )


@dataclass
class NiceConfig(ModelConfig):
    """The shape of a NICE; see :class:`glow_app.flows.Nice`."""

    n_couplings: int = option(
        "additive couplings, which change even and odd dimensions in turn", at_least=1, at_most=1024
    )
    n_hidden: int = option("hidden layers of each coupling's network", at_least=1, at_most=64)
    width: int = option("width of the hidden layers", at_least=1, at_most=65536)
    base: str = option("distribution of the latents; logistic is the published one", choices=("logistic", "normal"))
    logit: float | None = option(
        "alpha of a logit transform that comes first; null: none; points have none", above=0, at_most=0.4
    )

    @property
    def takes_points(self) -> bool:
        return True

    @property
    def paper(self) -> str:
        return "A NICE (Dinh, Krueger & Bengio 2014)"

    @property
    def shape(self) -> str:
        return f"NICE, {self.n_couplings} couplings of {self.n_hidden} x {self.width} hidden units, {self.base} base"

    def plain_flow(self, image_shape: tuple[int, int, int], n_classes: int) -> "Flow":
        from glow_app.flows import Nice
        from glow_app.flows.family.plane import SHAPE

        return Nice(
            image_shape,
            n_couplings=self.n_couplings,
            n_hidden=self.n_hidden,
            width=self.width,
            base=self.base,
            logit=None if image_shape == SHAPE else self.logit,  # points lie in no box
            n_classes=self._classes(n_classes),
            memory=self.memory,
            anchor_every=self.anchor_every,
        )


@dataclass
class PlaneConfig(ModelConfig):
    """The shape of a flow of points in the plane; see :class:`glow_app.flows.Plane`."""

    n_steps: int = option("K: steps of flow", at_least=1, at_most=1024)
    width: int = option("width of the hidden layers", at_least=1, at_most=16384)
    n_hidden: int = option("hidden layers of each coupling's network", at_least=1, at_most=64)
    coupling: str = option("coupling layer", choices=("affine", "additive"))
    permutation: str = option(
        "what mixes x and y; reverse: they take turns", choices=("lu", "full", "shuffle", "reverse")
    )
    scale: str = option("scale map of affine couplings", choices=("sigmoid", "bounded"))
    base: str = option("distribution of the latents", choices=("normal", "logistic"))

    # Points have no classes: not an option.
    class_conditional: ClassVar[bool] = False  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def takes_images(self) -> bool:
        return False

    @property
    def takes_points(self) -> bool:
        return True

    @property
    def paper(self) -> str:
        return "A flow of points in the plane, of Glow's steps (Kingma & Dhariwal 2018)"

    @property
    def shape(self) -> str:
        return (
            f"Plane, K={self.n_steps} width={self.width}, {self.coupling} coupling, {self.permutation} permutation, "
            f"{self.base} base"
        )

    def plain_flow(self, image_shape: tuple[int, int, int], n_classes: int) -> "Flow":
        from glow_app.flows import Plane

        return Plane(
            n_steps=self.n_steps,
            width=self.width,
            n_hidden=self.n_hidden,
            coupling=self.coupling,
            permutation=self.permutation,
            scale=self.scale,
            base=self.base,
            memory=self.memory,
            anchor_every=self.anchor_every,
        )


@dataclass
class RealNVPConfig(ModelConfig):
    """The shape of a Real NVP; see :class:`glow_app.flows.RealNVP`."""

    n_levels: int = option("scales; all but the last halve the image", at_least=1, at_most=12)
    n_blocks: int = option("residual blocks of each coupling's network", at_least=1, at_most=256)
    width: int = option("hidden channels of the networks at the first scale; they double with each", at_least=1)
    normalisation: str = option("normalisation in the flow and in the networks", choices=("batchnorm", "actnorm"))
    momentum: float = option(
        "batchnorm: weight of the running averages in the statistics that normalise a training batch",
        at_least=0,
        at_most=0.9999,
    )
    logit: float | None = option("alpha of the logit transform that comes first; null: none", above=0, at_most=0.4)

    @property
    def paper(self) -> str:
        return "A Real NVP (Dinh, Sohl-Dickstein & Bengio 2016)"

    @property
    def shape(self) -> str:
        return (
            f"Real NVP, L={self.n_levels}, {self.n_blocks} residual blocks, width={self.width}, {self.normalisation}, "
            + ("no logit" if self.logit is None else f"logit {self.logit:g}")
        )

    @property
    def divisor(self) -> int:
        return 2 ** (self.n_levels - 1)

    @property
    def normalises_batches(self) -> bool:
        return self.normalisation == "batchnorm"

    def plain_flow(self, image_shape: tuple[int, int, int], n_classes: int) -> "Flow":
        from glow_app.flows import RealNVP

        return RealNVP(
            image_shape,
            n_levels=self.n_levels,
            n_blocks=self.n_blocks,
            width=self.width,
            normalisation=self.normalisation,
            momentum=self.momentum,
            logit=self.logit,
            n_classes=self._classes(n_classes),
            memory=self.memory,
            anchor_every=self.anchor_every,
        )


@dataclass
class OwnModelConfig(ModelConfig):
    """A flow object of a program, given to :func:`glow_app.train` or :func:`glow_app.load`.

    Attributes:
        flow: the flow, or the bijection that is its only level; None in a command, which cannot have the object.
    """

    source: str | None = option("class of the flow")

    # The object decides: not options.
    memory: ClassVar[str] = "plain"  # pyright: ignore[reportIncompatibleVariableOverride]
    anchor_every: ClassVar[int] = 1  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        self.flow: Flow | Bijection | None = None

    @property
    def paper(self) -> str:
        return f"A flow of its author's own ({self.source})"

    @property
    def shape(self) -> str:
        return f"{self.source}, a flow of one's own"

    @property
    def normalises_batches(self) -> bool:
        return True  # for all that is known: its steps are not captured

    def plain_flow(self, image_shape: tuple[int, int, int], n_classes: int) -> "Flow":
        from glow_app.flows import Bijection, single_level

        flow = self.flow
        if flow is None and self.source is None:
            raise UserError(
                "model=own is a flow object of a program: give it to glow_app.train, or choose another model"
            )
        if flow is None:
            raise UserError(
                f"this model is a flow of one's own ({self.source}), and its files hold no code: give a new one, "
                f"glow_app.load(..., flow={self.source}(...))"
            )
        if isinstance(flow, Bijection):
            flow = single_level(flow, image_shape)
        if flow.image_shape != image_shape or flow.n_classes not in (0, n_classes):
            raise UserError(
                f"the images are {image_shape} of {n_classes} classes, and {self.source} is a flow of "
                f"{flow.image_shape} and {flow.n_classes} classes"
            )
        return flow.train()


MODEL_SCHEMAS: dict[str, type[ModelConfig]] = {
    "cnf": CNFConfig,
    "gaussianization": GaussianizationConfig,
    "glow": GlowConfig,
    "iaf": IAFConfig,
    "maf": MAFConfig,
    "mintnet": MintNetConfig,
    "nice": NiceConfig,
    "own": OwnModelConfig,
    "planar": PlanarConfig,
    "plane": PlaneConfig,
    "radial": RadialConfig,
    "real_nvp": RealNVPConfig,
    "vae": VAEConfig,
}
