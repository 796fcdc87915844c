"""Methods that compute the directions of attributes from moments of the latents.

Three methods, all from the same :class:`~glow_app.latents.moments.Moments`, with D the difference between the mean
latents of images with and without the attribute:

``mean_difference``
    D itself. Kingma & Dhariwal 2018, sec. 6.3.
``balanced``
    Along the attribute's coefficient in the least-squares regression of the latents on all attributes together. That
    is a difference of weighted means whose weights are balanced in every other attribute (Frisch & Waugh 1933), so that
    correlated attributes do not leak into the direction. Attributes that (nearly) exclude it, such as another hair
    colour, are not held fixed: nothing would be left to change.
``discriminant``
    Along ``S^-1 D`` with S the covariance of the latents in the subspace of the coarsest levels, shrunk towards a
    multiple of I (OAS: Chen et al. 2010, "Shrinkage algorithms for MMSE covariance estimation"): Fisher's discriminant.
    The total covariance is used; the one within the classes yields the same direction.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from glow_app.errors import UserError
from glow_app.latents.directions import Directions
from glow_app.latents.moments import Moments

FEWEST = 5
"""Fewest images with, and fewest images without, an attribute for which a direction is computed."""

RIDGE = 1e-4
"""Added to the attributes' covariance, relative to its mean diagonal: others nearly determine some attributes."""

EXCLUSIVE = 0.05
"""Two attributes exclude each other if they co-occur in less than this fraction of the images expected by chance."""


def from_moments(
    moments: Moments,
    names: Sequence[str],
    latent_shapes: Sequence[tuple[int, int, int]],
    model: str,
    metadata: dict[str, Any],
    shrinkage: float | None,
) -> tuple[list[Directions], list[str]]:
    """Computes the directions of all attributes by all methods.

    Args:
        moments: moments of labelled images.
        names: names of the attributes, in the order of ``moments``.
        latent_shapes: (C, H, W) of each level, finest first.
        model: digest of the model.
        metadata: origin of the moments.
        shrinkage: shrinkage of the discriminant's covariance towards a multiple of I, in [0, 1]; None: estimated (OAS).

    Returns:
        one set of directions per method, and the attributes left out because fewer than ``FEWEST`` images have them or
        lack them.

    Raises:
        UserError: nothing is left.
    """
    n, total = moments.count, moments.sums["a"].cpu()
    kept = [i for i in range(len(names)) if min(total[i], n - total[i]) >= FEWEST]
    left_out = [names[i] for i in range(len(names)) if i not in kept]
    if not kept:
        raise UserError(f"none of the attributes has at least {FEWEST} images with it and {FEWEST} without, of {n}")
    z, az = moments.sums["z"].cpu(), moments.sums["az"].cpu()[kept]
    positive = total[kept][:, None]
    with_it, without = az / positive, (z - az) / (n - positive)
    difference = with_it - without

    details: dict[str, dict[str, Any]] = {"mean_difference": {}, "balanced": {"ridge": RIDGE, "exclusive": EXCLUSIVE}}
    vectors = {
        "mean_difference": difference,
        "balanced": balanced(total[kept] / n, moments.sums["aa"].cpu()[kept][:, kept] / n, z / n, az / n),
    }
    if moments.n_subspace:
        first = moments.n_dims - moments.n_subspace
        mean = z[first:] / n
        cov = moments.sums["zz"].cpu() / n - mean[:, None] * mean
        amount = oracle_shrinkage(cov, n) if shrinkage is None else shrinkage
        shrunk = (1 - amount) * cov
        shrunk.diagonal().add_(amount * cov.diagonal().mean())
        vectors["discriminant"] = torch.zeros_like(difference)
        vectors["discriminant"][:, first:] = torch.linalg.solve(shrunk, difference[:, first:].T).T
        details["discriminant"] = {"shrinkage": amount, "levels": moments.subspace_levels}

    counts = {names[i]: {"with": int(total[i]), "without": int(n - total[i])} for i in kept}
    found = [
        Directions(
            names=tuple(names[i] for i in kept),
            units=(vector / vector.norm(dim=1, keepdim=True)).float(),
            without=without.float(),
            with_it=with_it.float(),
            gains=torch.ones(len(kept), dtype=torch.float64),
            latent_shapes=tuple(latent_shapes),
            method=method,
            model=model,
            metadata={
                **metadata,
                "images": n,
                "counts": counts,
                "variance": moments.variance(),
                "methods": details,
            },
        )
        for method, vector in vectors.items()
    ]
    return found, left_out


def balanced(a: Tensor, aa: Tensor, z: Tensor, az: Tensor) -> Tensor:
    """Computes each attribute's coefficient in the regression of the latents on it and those that do not exclude it.

    Args:
        a: float64 (A,), mean of each attribute.
        aa: float64 (A, A), how often two co-occur.
        z: float64 (D,), mean latents.
        az: float64 (A, D), mean of the products of attributes and latents.

    Returns:
        float64 (A, D).
    """
    a_cov, cross = aa - a[:, None] * a, az - a[:, None] * z
    ridge = RIDGE * a_cov.diagonal().mean()
    rows: list[Tensor] = []
    for i in range(len(a)):
        held = [j for j in range(len(a)) if j != i and aa[i, j] >= EXCLUSIVE * a[i] * a[j]]
        inside = [i, *held]
        first = torch.zeros(len(inside), dtype=torch.float64)
        first[0] = 1
        system = a_cov[inside][:, inside] + ridge * torch.eye(len(inside), dtype=torch.float64)
        rows.append(torch.linalg.solve(system, first) @ cross[inside])
    return torch.stack(rows)


def oracle_shrinkage(cov: Tensor, n: int) -> float:
    """The shrinkage of a covariance of ``n`` samples towards a multiple of I: OAS, Chen et al. 2010, eq. 23."""
    d = len(cov)
    trace, square = cov.trace().item(), cov.square().sum().item()
    above = (1 - 2 / d) * square + trace**2
    below = (n + 1 - 2 / d) * (square - trace**2 / d)
    return 1.0 if below <= 0 else min(1.0, above / below)
