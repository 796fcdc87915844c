"""The losses of continuous flows."""

from typing import Any, cast

from torch import Tensor

from glow_app.config.models.continuous import CNFConfig
from glow_app.data.stream import Batch
from glow_app.flows import CNF
from glow_app.flows.continuous.cnf import flow_matching_loss
from glow_app.likelihood import bits_per_dim, dequantize
from glow_app.training.module import GlowModule
from glow_app.units import quantization_bits


class FlowMatching(GlowModule):
    """Trains a continuous flow on :func:`glow_app.flows.continuous.cnf.flow_matching_loss`, without a solver.

    Start and time of a path are functions of (seed, position in the stream). Validation is that of other training:
    bits per dimension of data, by the solver.
    """

    LOSS, LOSS_WORD = "train/flow_matching_loss", "flow matching loss "

    def bits_per_dim(self, batch: Batch) -> Tensor:
        """In training the loss of each image, (B,); in validation its bits per dimension."""
        if not self.flow.training:
            return super().bits_per_dim(batch)
        x = dequantize(batch.images, self.noise(batch), self.n_bits)
        return flow_matching_loss(cast(CNF, self.flow), x, self.seed, batch.positions, self.cond(batch.labels))

    def loss_text(self, loss: float) -> str:
        return f"{self.LOSS_WORD}{loss:.4f}"


class RegularisedLikelihood(GlowModule):
    """Trains a continuous flow on bits per dimension plus energies of its paths. Finlay et al. 2020.

    The loss is ``bits/dim + kinetic int |v|^2 / D dt + jacobian int |dv/dx|_F^2 / D dt``; metrics have it as
    ``train/regularised_bits_per_dim``.

    Args:
        flow: the model, initialised.
        kinetic: weight of the kinetic energy.
        jacobian: weight of the Jacobian's squared Frobenius norm.
        options: those of :class:`glow_app.training.module.GlowModule`.
    """

    LOSS, LOSS_WORD = "train/regularised_bits_per_dim", "with energies "

    def __init__(self, flow: CNF, kinetic: float, jacobian: float, **options: Any) -> None:
        super().__init__(flow, **options)
        self.kinetic, self.jacobian = kinetic, jacobian

    def bits_per_dim(self, batch: Batch) -> Tensor:
        """In training the loss of each image, (B,); in validation its bits per dimension."""
        if not self.flow.training:
            return super().bits_per_dim(batch)
        x = dequantize(batch.images, self.noise(batch), self.n_bits)
        nats, energies = cast(CNF, self.flow).log_prob_with_energies(x, self.cond(batch.labels))
        bits = bits_per_dim(nats, self.flow.n_dims) + quantization_bits(self.n_bits)
        return bits + self.kinetic * energies[:, 0] + self.jacobian * energies[:, 1]


def continuous_module(flow: CNF, config: CNFConfig, options: dict[str, Any]) -> GlowModule:
    """Creates the module that trains a continuous flow as its options say."""
    if config.training == "flow_matching":
        return FlowMatching(flow, **options)
    if config.kinetic or config.jacobian:
        return RegularisedLikelihood(flow, config.kinetic, config.jacobian, **options)
    return GlowModule(flow, **options)
