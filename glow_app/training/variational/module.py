"""The loss of a variational autoencoder, annealed at first, and its validation."""

import math
from typing import Any, cast

import torch
from torch import Tensor

from glow_app.data.stream import Batch
from glow_app.evaluation.likelihood import Likelihood
from glow_app.flows import VAE
from glow_app.flows.variational.vae import Bound
from glow_app.likelihood import bits_per_dim, bound_of
from glow_app.runtime import distributed
from glow_app.training.module import GlowModule
from glow_app.training.optim import annealed_weight


class VAEModule(GlowModule):
    """Trains a VAE on its free energy, the negative ELBO, in bits per dimension.

    In update t of the first ``anneal_steps`` the loss is ``log q(z | x) - beta log p(x, z)`` with ``beta = min(1, 0.01
    + t / anneal_steps)``: the posterior is wide at first. Rezende & Mohamed 2015, eq. 20 (10,000 updates). One sample
    of the posterior for each image, a function of (seed, position). Validation is the ELBO, without annealing.

    Args:
        flow: the model.
        anneal_steps: updates over which beta rises; 0: it is 1.
        options: those of :class:`glow_app.training.module.GlowModule`.
    """

    def __init__(self, flow: VAE, anneal_steps: int, **options: Any) -> None:
        super().__init__(flow, **options)
        self.anneal_steps = anneal_steps
        if anneal_steps:
            self.LOSS, self.LOSS_WORD = "train/annealed_bits_per_dim", "free energy "
        self._terms: list[Tensor] = []

    @property
    def beta(self) -> float:
        """The weight of log p(x, z) in the next update."""
        return annealed_weight(self.global_step, self.anneal_steps)

    def bits_per_dim(self, batch: Batch) -> Tensor:
        """In training the annealed free energy of each image, (B,); in validation its bound."""
        beta = self.beta if self.flow.training else 1.0
        return bits_per_dim(-self._bound(batch).free_energy(beta), self.flow.n_dims)

    def on_validation_start(self) -> None:
        super().on_validation_start()
        self._terms = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        bound = self._bound(batch)
        terms = torch.stack([bound.log_weight, -bound.reconstruction, bound.kl], 1)
        self._terms.append(terms.double().cpu())

    def on_validation_epoch_end(self) -> None:
        bound, reconstruction, kl = distributed.gather_shards(torch.cat(self._terms)).unbind(1)
        reached = Likelihood(bits_per_dim(bound, self.flow.n_dims))
        metrics = {
            "step": float(self.global_step),
            "val/bits_per_dim": reached.mean,
            "val/standard_error": reached.standard_error,
            "val/reconstruction_nats": reconstruction.mean(),
            "val/kl_nats": kl.mean(),
        }
        self.log_dict(metrics, reduce_fx="max", sync_dist=True)

    def validated_text(self, metrics: dict[str, Tensor]) -> str:
        reconstruction, kl = (metrics[f"val/{key}_nats"].item() for key in ("reconstruction", "kl"))
        return f"free energy {reconstruction + kl:.2f} nats: reconstruction {reconstruction:.2f}, KL {kl:.2f}"

    def loss_text(self, loss: float) -> str:
        return f"{self.LOSS_WORD}{loss * self.flow.n_dims * math.log(2):.2f} nats"

    def _bound(self, batch: Batch) -> Bound:
        assert self.n_bits is not None
        vae = cast(VAE, self.flow)
        bound = bound_of(vae, batch.images, batch.positions, self.n_bits, self.seed, 0, 1)
        return Bound(*(term[0] for term in bound))
