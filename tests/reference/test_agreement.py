"""The package and the plain statement of the protocol, which share no code, agree on the likelihood."""

import numpy as np
import pytest
import torch

from glow_app.likelihood import bits_per_dim, dequantization_noise, dequantize, log_prob
from tests.flows.models import small_glow
from tests.reference.plain_glow import PlainGlow


@pytest.mark.parametrize("n_bits", [8, 5])
@pytest.mark.parametrize("border", [True, False], ids=["border", "no-border"])
@pytest.mark.parametrize("permutation", ["lu", "full", "shuffle", "reverse"])
@pytest.mark.parametrize(("coupling", "scale"), [("affine", "sigmoid"), ("affine", "bounded"), ("additive", "bounded")])
def test_same_likelihood_from_the_same_parameters(
    coupling: str, scale: str, permutation: str, border: bool, n_bits: int
) -> None:
    glow = small_glow((3, 8, 8), coupling=coupling, scale=scale, permutation=permutation, border=border)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (3, 3, 8, 8), generator=generator, dtype=torch.uint8)
    u = dequantization_noise(images, 0, torch.arange(3)).double()
    plain = PlainGlow(
        parameters={name: value.numpy() for name, value in glow.state_dict().items()},
        n_levels=2,
        n_steps=2,
        coupling=coupling,
        permutation=permutation,
        scale=scale,
        border=border,
        n_bits=n_bits,
    )
    with torch.no_grad():
        ours = bits_per_dim(log_prob(glow, images, u, n_bits), glow.n_dims).numpy()
        latents, _ = glow(dequantize(images, u, n_bits))
    np.testing.assert_allclose(ours, plain.bits_per_dim(images.numpy(), u.numpy()), rtol=0, atol=1e-6)
    for z, expected in zip(latents, plain.latents(images.numpy(), u.numpy()), strict=True):
        np.testing.assert_allclose(z.numpy(), expected, rtol=0, atol=1e-8)
