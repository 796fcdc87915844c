"""The variational autoencoder: a decoder of latents, and a posterior that bounds the likelihood of images."""

from collections.abc import Sequence
from typing import NamedTuple, NoReturn, cast

from torch import Tensor, nn

from glow_app.errors import UserError
from glow_app.flows.flow import Flow
from glow_app.flows.variational.network import decode_each
from glow_app.flows.variational.observation import Observation
from glow_app.flows.variational.posterior import Posterior


class Bound(NamedTuple):
    """The terms of the evidence lower bound for samples z of the posterior, in nats, (..., B) each.

    Attributes:
        reconstruction: ``log p(x | z)``.
        prior: ``log p(z)``.
        posterior: ``log q(z | x)``.
    """

    reconstruction: Tensor
    prior: Tensor
    posterior: Tensor

    @property
    def kl(self) -> Tensor:
        """``log q(z | x) - log p(z)``, whose mean over z is the divergence of the posterior from the prior."""
        return self.posterior - self.prior

    @property
    def log_weight(self) -> Tensor:
        """``log p(x, z) - log q(z | x)``, whose mean over z is the ELBO and whose exponential's mean is p(x)."""
        return self.reconstruction - self.kl

    def free_energy(self, beta: float = 1.0) -> Tensor:
        """``log q(z | x) - beta log p(x, z)``: the loss, annealed by beta. Rezende & Mohamed 2015, eq. 15 and 20."""
        return self.posterior - beta * (self.reconstruction + self.prior)


class VAE(Flow):
    """A variational autoencoder: z ~ N(0, I), pixels by a decoder of z, and a posterior q(z | x) by an encoder.

    ``log p(x) >= E_q[log p(x | z) + log p(z) - log q(z | x)]``, whose right side is the ELBO. Kingma & Welling 2014;
    Rezende, Mohamed & Wierstra 2014; with layers of flow in the posterior, Rezende & Mohamed 2015. As one stochastic
    level it is a flow of Nielsen et al. 2020 (SurVAE, sec. 2): it is built, trained, saved and sampled like one. It is
    no bijection: images have no exact density, :meth:`inverse` returns the mean image of its latents, and ``forward``
    and what needs it raise. Images are integers here, of ``n_bins`` grey levels.

    >>> import torch
    >>> from glow_app.flows import VAE
    >>> from glow_app.flows.variational.network import make_networks
    >>> from glow_app.flows.variational.observation import Bernoulli
    >>> from glow_app.flows.variational.posterior import make_posterior
    >>> encoder, decoder = make_networks("mlp", (1, 8, 8), n_dims=4, n_out=1, width=32, n_hidden=1, n_levels=0)
    >>> vae = VAE((1, 8, 8), encoder, make_posterior("planar", 32, 4, n_layers=2), decoder, Bernoulli(1))
    >>> bins = torch.randint(2, (5, 1, 8, 8))
    >>> tuple(vae.bound(bins, 2, noise=torch.randn(10, 5, 4)).log_weight.shape)
    (10, 5)

    Args:
        image_shape: (C, H, W).
        encoder: (B, C, H, W), in [-1, 1] -> (B, n_features).
        posterior: q(z | x), given the features.
        decoder: (B, d) -> (B, n_parameters, H, W).
        observation: p(x | z), given the decoder's output.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        encoder: nn.Module,
        posterior: Posterior,
        decoder: nn.Module,
        observation: Observation,
    ) -> None:
        super().__init__(image_shape, [], [(posterior.n_dims, 1, 1)])
        self.encoder, self.posterior, self.decoder, self.observation = encoder, posterior, decoder, observation
        self.initialized.fill_(1)  # nothing is set from data

    @property
    def n_latents(self) -> int:
        """d, the number of latents of an image."""
        return self.posterior.n_dims

    def features(self, bins: Tensor, n_bins: int) -> Tensor:
        """Returns what the encoder computes of images: (B, n_features).

        Args:
            bins: int64 (B, C, H, W), grey levels 0 ... n_bins - 1.
            n_bins: number of grey levels.

        Raises:
            ValueError: the images have another shape.
        """
        self._check_shape(bins)
        dtype = next(self.parameters()).dtype
        return self.encoder((2 * bins.to(dtype) + 1) / n_bins - 1)

    def bound(self, bins: Tensor, n_bins: int, noise: Tensor, features: Tensor | None = None) -> Bound:
        """Computes the terms of the ELBO of images.

        Args:
            bins: int64 (B, C, H, W), grey levels 0 ... n_bins - 1.
            n_bins: number of grey levels.
            noise: standard normal numbers (..., B, d), one set for each sample of the posterior.
            features: :meth:`features` of the images, if they are known.

        Raises:
            ValueError: the images have another shape, or as many grey levels as ``observation`` cannot have.
        """
        features = self.features(bins, n_bins) if features is None else features
        z, log_q = self.posterior(features, noise)
        log_p = self.observation.log_prob(decode_each(self.decoder, z), bins, n_bins)
        log_prior = self.base.log_prob_of(z.reshape(-1, self.n_latents)).view(log_q.shape)
        return Bound(log_p, log_prior, log_q)

    def encode(self, bins: Tensor, n_bins: int) -> list[Tensor]:
        """Returns one list of latents (B, d, 1, 1): the flow of the posterior applied to the mean of ``z_0``."""
        features = self.features(bins, n_bins)
        z, _ = self.posterior(features, features.new_zeros(len(bins), self.n_latents))
        return [z[:, :, None, None]]

    def inverse(self, latents: Sequence[Tensor], cond: Tensor | None = None) -> Tensor:
        """Returns the mean image of latents, in [-1/2, 1/2]: (B, C, H, W)."""
        [z] = latents
        return self.observation.mean(self.decoder(z.flatten(1)))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> NoReturn:
        raise _no_bijection()

    def decompose(self, x: Tensor, cond: Tensor | None = None) -> NoReturn:
        raise _no_bijection()

    def inverse_with_logdet(self, latents: Sequence[Tensor], cond: Tensor | None = None) -> NoReturn:
        raise _no_bijection()


def _no_bijection() -> UserError:
    return UserError(
        "a VAE has no exact density and no exact latents: glow-evaluate reports its bound and an estimate; choose a "
        "flow, such as model=glow, for the rest"
    )


def grey_levels(images: Tensor, n_bits: int) -> Tensor:
    """Returns the bins, int64 0 ... 2**n_bits - 1, of images, uint8 (B, C, H, W)."""
    return cast(Tensor, images >> (8 - n_bits)).long()
