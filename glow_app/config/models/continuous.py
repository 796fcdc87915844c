"""The options of continuous flows; see :mod:`glow_app.config.model`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from glow_app.config.architecture import ModelConfig
from glow_app.config.option import option
from glow_app.errors import UserError

if TYPE_CHECKING:
    from glow_app.flows import Flow
    from glow_app.flows.continuous.field import VectorField

ADAPTIVE, FIXED = ("dopri5", "dopri8", "bosh3"), ("euler", "midpoint", "rk4")
"""Methods of :class:`glow_app.flows.continuous.solver.Solver`."""

MOST_STEPS = 10000

GROUPS = 8
"""Groups in which a U-Net normalises its channels: a divisor of their number."""

LEAST_TOLERANCE = 1e-6
"""Smallest tolerance: models compute in float32."""


def method_and_number(text: str) -> tuple[str, float]:
    """Parses ``euler:20`` or ``dopri5:1e-4``: a method, and its steps or its tolerance.

    Raises:
        UserError: it is neither.
    """
    method, _, number = text.partition(":")
    wanted = f"solver={text}: give a method and its steps ({', '.join(FIXED)}), such as midpoint:20, or a method and "
    wanted += f"its tolerance ({', '.join(ADAPTIVE)}), from {LEAST_TOLERANCE:g} to 1, such as dopri5:1e-4"
    try:
        value = float(number)
    except ValueError:
        raise UserError(wanted) from None
    steps = method in FIXED and value.is_integer() and 1 <= value <= MOST_STEPS
    if not steps and not (method in ADAPTIVE and LEAST_TOLERANCE <= value <= 1):
        raise UserError(wanted)
    return method, value


@dataclass
class CNFConfig(ModelConfig):
    """The shape, the solver and the training of a continuous flow; see :class:`glow_app.flows.CNF`."""

    free: ClassVar[tuple[str, ...]] = (
        "memory", "training", "solver", "rtol", "atol", "n_steps", "adjoint", "trace", "n_probes", "kinetic",
        "jacobian",
    )  # fmt: skip

    training: str = option(
        "likelihood: solves the equation in each update; flow_matching: regression on velocities, without a solver",
        choices=("likelihood", "flow_matching"),
    )
    width: int = option("units of the hidden layers; images: channels of the first level", at_least=1, at_most=16384)
    n_hidden: int = option("points: hidden layers of the network", at_least=1, at_most=64)
    n_levels: int = option("images: levels of the U-Net; all but the last halve the image", at_least=1, at_most=8)
    n_blocks: int = option("images: residual blocks of each level; one more on the way up", at_least=1, at_most=64)
    patch: int = option("images: side of the patches that become one pixel of the U-Net", at_least=1, at_most=16)
    solver: str = option(
        "method: dopri5, dopri8 and bosh3 choose their steps, the others take model.n_steps",
        choices=(*ADAPTIVE, *FIXED),
    )
    rtol: float = option("relative tolerance of methods that choose their steps", at_least=LEAST_TOLERANCE, at_most=1)
    atol: float = option("absolute tolerance, in standard deviations", at_least=LEAST_TOLERANCE, at_most=1)
    n_steps: int = option("steps of euler, midpoint and rk4", at_least=1, at_most=MOST_STEPS)
    adjoint: bool = option("gradients by the adjoint equation, in constant memory, instead of through all steps")
    trace: str | None = option(
        "trace of the Jacobian: exact, or Hutchinson's estimate; null: exact for points, estimated for images",
        choices=("exact", "hutchinson"),
    )
    n_probes: int = option("random vectors of Hutchinson's estimate", at_least=1, at_most=1024)
    kinetic: float = option("training=likelihood: weight of the kinetic energy in the loss", at_least=0)
    jacobian: float = option("training=likelihood: weight of the Jacobian's squared norm in the loss", at_least=0)

    # The adjoint equation is what saves memory here: not options.
    memory: ClassVar[str] = "plain"  # pyright: ignore[reportIncompatibleVariableOverride]
    anchor_every: ClassVar[int] = 1  # pyright: ignore[reportIncompatibleVariableOverride]

    def check(self) -> None:
        if self.training == "flow_matching" and (self.kinetic or self.jacobian):
            raise UserError(
                f"model.kinetic={self.kinetic:g} model.jacobian={self.jacobian:g}: flow matching follows straight "
                "paths and computes no energies; set both to 0, or model.training=likelihood"
            )

    def check_images(self, n_bits: int) -> None:
        if self.width % GROUPS:
            less = max(GROUPS, self.width // GROUPS * GROUPS)
            raise UserError(
                f"model.width={self.width}: channels are normalised in groups of {GROUPS}; choose {less} or "
                f"{self.width // GROUPS * GROUPS + GROUPS}"
            )

    @property
    def paper(self) -> str:
        if self.training == "flow_matching":
            return "A continuous flow (Chen et al. 2018) trained by flow matching (Lipman et al. 2023)"
        return "A continuous flow (Chen et al. 2018; Grathwohl et al. 2019)"

    @property
    def shape(self) -> str:
        how = f"{self.n_steps} steps" if self.solver in FIXED else f"rtol {self.rtol:g}, atol {self.atol:g}"
        trained = self.training.replace("_", " ")
        return f"CNF, width={self.width}, by {trained}; solved by {self.solver}, {how}"

    @property
    def divisor(self) -> int:
        return self.patch * 2 ** (self.n_levels - 1)

    @property
    def divisor_of_points(self) -> int:
        return 1  # they have no U-Net

    @property
    def takes_points(self) -> bool:
        return True

    @property
    def not_captured(self) -> str | None:
        return "a solver's steps are not all alike, and not captured"  # an adaptive one takes as many as it needs

    @property
    def not_compiled(self) -> str | None:
        return "a solver differentiates its field while it runs, which is not compiled"

    def plain_flow(self, image_shape: tuple[int, int, int], n_classes: int) -> "Flow":
        from glow_app.flows import CNF
        from glow_app.flows.continuous.solver import Solver, require_torchdiffeq

        require_torchdiffeq()
        trace = self.trace or ("exact" if image_shape[1:] == (1, 1) else "hutchinson")
        solver = Solver(self.solver, self.rtol, self.atol, self.n_steps, self.adjoint)
        n_classes = self._classes(n_classes)
        return CNF(image_shape, self._field(image_shape, n_classes), solver, trace, self.n_probes, n_classes)

    def _field(self, image_shape: tuple[int, int, int], n_classes: int) -> "VectorField":
        from glow_app.flows import MLPField, UNet

        n_channels, height, width = image_shape
        if (height, width) == (1, 1):
            return MLPField(n_channels, self.width, self.n_hidden, n_classes)
        return UNet(n_channels, self.width, self.n_levels, self.n_blocks, self.patch, n_classes)
