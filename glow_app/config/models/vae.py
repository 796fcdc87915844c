"""The options of variational autoencoders; see :mod:`glow_app.config.model`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from glow_app.config.architecture import ModelConfig
from glow_app.config.option import option
from glow_app.errors import UserError

if TYPE_CHECKING:
    from glow_app.flows import Flow


@dataclass
class VAEConfig(ModelConfig):
    """The shape of a variational autoencoder; see :class:`glow_app.flows.VAE`."""

    free: ClassVar[tuple[str, ...]] = ()

    posterior: str = option(
        "q(z | x): independent normal numbers, and after them model.n_layers layers of flow, unless gaussian",
        choices=("gaussian", "planar", "radial", "iaf", "coupling"),
    )
    n_layers: int = option("K: layers of the posterior's flow; gaussian has none", at_least=1, at_most=1024)
    n_latents: int = option("d: numbers of the latent", at_least=1, at_most=65536)
    flow_width: int = option("posterior=iaf, coupling: width of the hidden layers of each layer", at_least=1)
    flow_hidden: int = option("posterior=iaf, coupling: hidden layers of each layer", at_least=1, at_most=64)
    network: str = option("encoder and decoder: mlp, fully connected; conv, convolutions", choices=("mlp", "conv"))
    width: int = option("mlp: units of the hidden layers; conv: channels at the image's size", at_least=1)
    n_hidden: int = option(
        "mlp: hidden layers; conv: convolutions of each level besides the one that changes the size",
        at_least=1,
        at_most=64,
    )
    n_levels: int = option("conv: times that the encoder halves the image", at_least=1, at_most=12)
    likelihood: str = option(
        "p(x | z): bernoulli, for data.n_bits=1; logistic_mixture, discretised, for all grey levels and colours",
        choices=("bernoulli", "logistic_mixture"),
    )
    n_components: int = option("logistic_mixture: components of each pixel", at_least=1, at_most=1024)

    # A VAE has no top prior, and no state that a flow's memory modes could save: not options.
    class_conditional: ClassVar[bool] = False  # pyright: ignore[reportIncompatibleVariableOverride]
    memory: ClassVar[str] = "plain"  # pyright: ignore[reportIncompatibleVariableOverride]
    anchor_every: ClassVar[int] = 1  # pyright: ignore[reportIncompatibleVariableOverride]

    def check(self) -> None:
        if self.posterior == "coupling" and self.n_latents < 2:
            raise UserError("model.n_latents=1: a coupling divides the numbers in two; choose 2 or another posterior")

    def check_images(self, n_bits: int) -> None:
        if self.likelihood == "bernoulli" and n_bits != 1:
            raise UserError(
                f"model.likelihood=bernoulli is for images of two grey levels: set data.n_bits=1, not {n_bits}, or "
                "model.likelihood=logistic_mixture"
            )

    @property
    def paper(self) -> str:
        if self.posterior == "gaussian":
            return "A variational autoencoder (Kingma & Welling 2014)"
        return "A variational autoencoder whose posterior is a flow (Rezende & Mohamed 2015)"

    @property
    def shape(self) -> str:
        posterior = self.posterior if self.posterior == "gaussian" else f"{self.posterior} K={self.n_layers}"
        return (
            f"VAE, {self.n_latents} latents, {posterior} posterior, {self.network} of width {self.width}, "
            f"{self.likelihood.replace('_', ' ')}"
        )

    @property
    def divisor(self) -> int:
        return 2**self.n_levels if self.network == "conv" else 1

    @property
    def is_annealed(self) -> bool:
        return True

    @property
    def not_captured(self) -> str | None:
        return "the loss of a VAE is annealed, and its steps are not all alike"

    @property
    def not_compiled(self) -> str | None:
        return "a VAE has no chain of steps, which is what is compiled"

    def plain_flow(self, image_shape: tuple[int, int, int], n_classes: int) -> "Flow":
        from glow_app.flows import VAE
        from glow_app.flows.variational.network import make_networks
        from glow_app.flows.variational.observation import make_observation
        from glow_app.flows.variational.posterior import make_posterior

        observation = make_observation(self.likelihood, image_shape[0], self.n_components)
        sizes = (self.n_latents, observation.n_parameters, self.width, self.n_hidden, self.n_levels)
        encoder, decoder = make_networks(self.network, image_shape, *sizes)
        flow = (self.n_layers, self.flow_width, self.flow_hidden)
        posterior = make_posterior(self.posterior, encoder.n_features, self.n_latents, *flow)
        return VAE(image_shape, encoder, posterior, decoder, observation)
