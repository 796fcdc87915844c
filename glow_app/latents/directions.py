"""Attribute vectors: where to move the latents of an image for more of an attribute.

Three methods, all from the same :class:`~glow_app.latents.moments.Moments`, with D the difference between the mean
latents of images with and without the attribute:

``mean_difference``
    D itself. Kingma & Dhariwal 2018, sec. 6.3.
``balanced``
    Along the attribute's coefficient in the least-squares regression of the latents on all attributes together. That
    is a difference of weighted means whose weights are balanced in every other attribute (Frisch & Waugh 1933), so that
    what merely occurs together with the attribute does not leak into its direction. Attributes that (nearly) exclude
    it, such as another colour of the hair, are not held fixed: there would be nothing left to change.
``discriminant``
    Along ``S^-1 D`` with S the covariance of the latents in the subspace of the coarsest levels, shrunk towards a
    multiple of I (OAS: Chen et al. 2010, "Shrinkage algorithms for MMSE covariance estimation"): Fisher's discriminant.
    The covariance is the total one; that within the classes gives the same direction.

Amount 1 is the distance between the two class means: it adds ``gain v`` with ``v = u (u . D)``, u the unit vector. With
gain 1 that is the distance in the latents, along the direction; :mod:`glow_app.evaluation.calibration` measures the
gain with which it is the distance in what one sees.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from glow_app.artifacts.hub import local
from glow_app.data.formats.tables import attribute_column
from glow_app.errors import UserError
from glow_app.latents.moments import Moments, flat, unflat
from glow_app.runtime.atomic import write_durably

FORMAT = 1
VECTORS, ACCOUNT = "directions.safetensors", "directions.json"

FEWEST = 5
"""Images with, and images without, an attribute that it takes to say anything about it."""

RIDGE = 1e-4
"""Added to the attributes' covariance, relative to its mean diagonal: some attributes nearly follow from others."""

EXCLUSIVE = 0.05
"""Two attributes exclude each other if they meet in fewer images than this part of what chance would give."""


@dataclass(frozen=True)
class Directions:
    """The directions of several attributes in the latents of one model, by one method.

    Rows are attributes, columns the latents of all levels one after the other, finest first.

    Attributes:
        names: of the attributes.
        units: float32 (A, D), each of length 1: where to go.
        without: float32 (A, D): mean latents of the images without the attribute.
        with_it: float32 (A, D): mean latents of those with it.
        gains: float64 (A, 2): by how much the distance in the latents is multiplied, for adding and for removing.
        latent_shapes: (C, H, W) of each level, finest first.
        method: which of :data:`glow_app.config.commands.METHODS`.
        model: digest of the model.
        account: where they come from: data, counts, options; JSON-ready.
    """

    names: tuple[str, ...]
    units: Tensor
    without: Tensor
    with_it: Tensor
    gains: Tensor
    latent_shapes: tuple[tuple[int, int, int], ...]
    method: str
    model: str
    account: dict[str, Any]

    @property
    def vectors(self) -> Tensor:
        """float32 (A, D): ``v = u (u . (with_it - without))``, what amount 1 adds with gain 1."""
        return torch.stack([self.vector(row) for row in range(len(self.names))])

    def vector(self, row: int) -> Tensor:
        """float32 (D,): one row of ``vectors``."""
        unit, difference = self.units[row].double(), (self.with_it[row] - self.without[row]).double()
        return (unit * (unit @ difference)).float()

    def require(self, digest: str) -> None:
        """Raises a UserError unless these are directions of the model with this digest."""
        if self.model != digest:
            raise UserError(
                f"these directions belong to another model ({self.model[:12]}..., not {digest[:12]}...): "
                "make them with glow-directions from the model that you edit with"
            )

    def column(self, name: str) -> int:
        """The row of an attribute, upper or lower case; a UserError that names the nearest if there is none."""
        return attribute_column(self.names, name)

    def edit(self, latents: Sequence[Tensor], amounts: Mapping[str, float | Tensor]) -> list[Tensor]:
        """Latents moved by ``sum(amount * gain * v)``.

        Args:
            latents: finest first, each (B, C, H, W).
            amounts: attribute -> amount, one for all images or (B,); nothing changes where all are 0.
        """
        moved = list(latents)
        for name, amount in amounts.items():
            row = self.column(name)
            adding, removing = self.gains[row].tolist()
            each = torch.as_tensor(amount, dtype=torch.float64, device=latents[0].device).expand(len(latents[0]))
            each = torch.where(each >= 0, adding, removing) * each
            steps = unflat(self.vector(row)[None].to(latents[0]), self.latent_shapes)
            moved = [z + each.to(z.dtype)[:, None, None, None] * v for z, v in zip(moved, steps, strict=True)]
        return moved

    def measure(self, latents: Sequence[Tensor]) -> Tensor:
        """How much of each attribute images have, by projection: float64 (B, A).

        0 is the mean of the images without the attribute, 1 that of those with it; an edit by t adds t times the gain.
        """
        units = self.units.double()
        low, high = ((units * mean.double()).sum(1) for mean in (self.without, self.with_it))
        return (flat(latents).double().cpu() @ units.T - low) / (high - low)

    def refined(self, orthogonal_to: Sequence[str], levels: Sequence[int] | None) -> "Directions":
        """Directions that leave some attributes alone, or some levels. Their gains stay those of the whole directions.

        Args:
            orthogonal_to: attributes whose own directions are projected out of all others.
            levels: levels that may change, 1 being the finest; None for all.

        Raises:
            UserError: an attribute or a level does not exist, or nothing is left of a direction.
        """
        units = self.units.double()
        if levels is not None:
            units = units * self._inside(levels)
        if orthogonal_to:
            named = list(dict.fromkeys(self.column(name) for name in orthogonal_to))
            basis = torch.linalg.qr(units[named].T).Q
            others = [row for row in range(len(units)) if row not in named]
            units[others] = units[others] - units[others] @ basis @ basis.T
        length = units.norm(dim=1, keepdim=True)
        if (length < 1e-6).any():
            name = self.names[int(length.argmin())]
            raise UserError(f"nothing is left of the direction of {name}: choose other levels or attributes")
        return replace(self, units=(units / length).float())

    def _inside(self, levels: Sequence[int]) -> Tensor:
        require_levels(levels, len(self.latent_shapes))
        masks = [torch.full((1, *shape), float(level in levels)) for level, shape in enumerate(self.latent_shapes, 1)]
        return flat(masks).double()


def require_levels(levels: Sequence[int], n: int) -> None:
    """Raises a UserError unless these are some of the levels 1 ... n."""
    if not levels or not all(1 <= level <= n for level in levels):
        raise UserError(f"levels={list(levels)}: this model has the levels 1 (finest) to {n}")


def from_moments(
    moments: Moments,
    names: Sequence[str],
    latent_shapes: Sequence[tuple[int, int, int]],
    model: str,
    account: dict[str, Any],
    shrinkage: float | None,
) -> tuple[list[Directions], list[str]]:
    """The directions of all attributes by all methods.

    Args:
        moments: of labelled images.
        names: of the attributes, in the order of ``moments``.
        latent_shapes: (C, H, W) of each level, finest first.
        model: digest of the model.
        account: where the moments come from.
        shrinkage: of the discriminant's covariance towards a multiple of I, in [0, 1]; None: estimated (OAS).

    Returns:
        one set of directions per method, and the attributes that are left out because fewer than ``FEWEST`` images
        have them, or have them not.

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
    ways = {
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
        ways["discriminant"] = torch.zeros_like(difference)
        ways["discriminant"][:, first:] = torch.linalg.solve(shrunk, difference[:, first:].T).T
        details["discriminant"] = {"shrinkage": amount, "levels": moments.subspace_levels}

    counts = {names[i]: {"with": int(total[i]), "without": int(n - total[i])} for i in kept}
    made = [
        Directions(
            names=tuple(names[i] for i in kept),
            units=(way / way.norm(dim=1, keepdim=True)).float(),
            without=without.float(),
            with_it=with_it.float(),
            gains=torch.ones(len(kept), 2, dtype=torch.float64),
            latent_shapes=tuple(latent_shapes),
            method=method,
            model=model,
            account={**account, "images": n, "counts": counts, "methods": details},
        )
        for method, way in ways.items()
    ]
    return made, left_out


def balanced(a: Tensor, aa: Tensor, z: Tensor, az: Tensor) -> Tensor:
    """Each attribute's coefficient in the regression of the latents on it and all attributes that do not exclude it.

    Args:
        a: float64 (A,), mean of each attribute.
        aa: float64 (A, A), how often two meet.
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
    """How far to shrink a covariance of ``n`` samples towards a multiple of I: OAS, Chen et al. 2010, eq. 23."""
    d = len(cov)
    trace, square = cov.trace().item(), cov.square().sum().item()
    above = (1 - 2 / d) * square + trace**2
    below = (n + 1 - 2 / d) * (square - trace**2 / d)
    return 1.0 if below <= 0 else min(1.0, above / below)


def save(directions: Sequence[Directions], folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Writes ``directions.safetensors`` and ``directions.json``.

    Args:
        directions: of one model by several methods.
        folder: where to put them.
        dtype: of everything but the gains.
    """
    first = directions[0]
    vectors = {one.method: one.units for one in directions} | {"without": first.without, "with": first.with_it}
    gains = {f"gains of {one.method}": one.gains for one in directions}
    stored = {name: value.to(dtype).contiguous() for name, value in vectors.items()}
    content = safetensors.torch.save(stored | gains)
    write_durably(folder / VECTORS, lambda file: file.write(content))
    account = {
        "format": FORMAT,
        "sha256": sha256(content).hexdigest(),
        "model": first.model,
        "names": first.names,
        "latent_shapes": first.latent_shapes,
        "account": first.account,
    }
    write_durably(folder / ACCOUNT, lambda file: file.write(json.dumps(account, indent=1, allow_nan=False).encode()))


def load(path: str | Path, method: str = "mean_difference") -> Directions:
    """Directions that :func:`save` wrote.

    Args:
        path: the folder, or that of a run or model which contains it as ``directions/``; or a shipped model's name.
        method: which of them.

    Raises:
        UserError: they are not there, damaged, or not of this method.
    """
    folder = local(path)
    if (folder / "directions" / ACCOUNT).is_file():
        folder = folder / "directions"
    if not (folder / ACCOUNT).is_file():
        raise UserError(f"no directions at {path}: make them with glow-directions checkpoint=...")
    try:
        account = json.loads((folder / ACCOUNT).read_text())
        content = (folder / VECTORS).read_bytes()
        if account["format"] != FORMAT:
            raise UserError(f"{folder / ACCOUNT} has another format than {FORMAT}: make the directions again")
        if sha256(content).hexdigest() != account["sha256"]:
            raise UserError(f"{folder / VECTORS} is damaged, or not what {ACCOUNT} describes; make it again")
        tensors = safetensors.torch.load(content)
        if method not in tensors:
            there = ", ".join(
                sorted(name.removeprefix("gains of ") for name in tensors if name.startswith("gains of "))
            )
            raise UserError(f"method={method}: {folder} holds {there}")
        return Directions(
            names=tuple(account["names"]),
            units=_of_length_one(tensors[method]),
            without=tensors["without"].float(),
            with_it=tensors["with"].float(),
            gains=tensors[f"gains of {method}"],
            latent_shapes=tuple((c, h, w) for c, h, w in account["latent_shapes"]),
            method=method,
            model=account["model"],
            account=account["account"],
        )
    except (OSError, ValueError, TypeError, KeyError, safetensors.SafetensorError) as error:
        raise UserError(f"{folder} holds no sound directions ({error}); make them with glow-directions") from error


def _of_length_one(units: Tensor) -> Tensor:
    """float32; as they are, to the bit, unless they were rounded."""
    return units if units.dtype == torch.float32 else torch.nn.functional.normalize(units.float(), dim=1)
