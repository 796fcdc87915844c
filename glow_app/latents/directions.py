"""Attribute vectors: directions in the latents that add an attribute to an image.

Amount 1 is the distance between the two class means: it adds ``gain v`` with ``v = u (u . D)``, u the unit vector and D
the difference between the mean latents of images with and without the attribute. With gain 1 this is the distance in
the latents along the direction; :mod:`glow_app.evaluation.calibration` measures the gain at which it is the distance
in the images. Amounts are odd: -1 after 1 leads back to the same latents.
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
from glow_app.latents.moments import flat, unflat
from glow_app.runtime.atomic import write_atomically, write_text

FORMAT = 1
VECTORS, METADATA = "directions.safetensors", "directions.json"


@dataclass(frozen=True)
class Directions:
    """The directions of several attributes in the latents of one model, by one method.

    Rows are attributes, columns the latents of all levels one after the other, finest first.

    Attributes:
        names: names of the attributes.
        units: float32 (A, D), unit vectors.
        without: float32 (A, D): mean latents of the images without the attribute.
        with_it: float32 (A, D): mean latents of those with it.
        gains: float64 (A,): factors of the distance in the latents, for adding and for removing.
        latent_shapes: (C, H, W) of each level, finest first.
        method: one of :data:`glow_app.config.commands.METHODS`.
        model: digest of the model.
        metadata: their origin: data, counts, options; JSON-ready.
    """

    names: tuple[str, ...]
    units: Tensor
    without: Tensor
    with_it: Tensor
    gains: Tensor
    latent_shapes: tuple[tuple[int, int, int], ...]
    method: str
    model: str
    metadata: dict[str, Any]

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
        """The row of an attribute, ignoring case; an unknown name raises a UserError with the nearest one."""
        return attribute_column(self.names, name)

    def edit(self, latents: Sequence[Tensor], amounts: Mapping[str, float | Tensor]) -> list[Tensor]:
        """Moves latents by ``sum(amount * gain * v)``.

        Args:
            latents: finest first, each (B, C, H, W).
            amounts: attribute -> amount, one for all images or (B,); nothing changes if all are 0.
        """
        moved = list(latents)
        for name, amount in amounts.items():
            row = self.column(name)
            each = torch.as_tensor(amount, dtype=torch.float64, device=latents[0].device).expand(len(latents[0]))
            each = self.gains[row].item() * each
            steps = unflat(self.vector(row)[None].to(latents[0]), self.latent_shapes)
            moved = [z + each.to(z.dtype)[:, None, None, None] * v for z, v in zip(moved, steps, strict=True)]
        return moved

    def measure(self, latents: Sequence[Tensor]) -> Tensor:
        """Measures each attribute in images by projection: float64 (B, A).

        0 is the mean of the images without the attribute, 1 that of those with it; an edit by t adds t times the gain.
        """
        units = self.units.double()
        low, high = ((units * mean.double()).sum(1) for mean in (self.without, self.with_it))
        return (flat(latents).double().cpu() @ units.T - low) / (high - low)

    def refined(self, orthogonal_to: Sequence[str], levels: Sequence[int] | None) -> "Directions":
        """Returns directions that leave some attributes or levels unchanged. Their gains stay the same.

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


def save(directions: Sequence[Directions], folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Writes ``directions.safetensors`` and ``directions.json``.

    Args:
        directions: directions of one model by several methods.
        folder: output folder.
        dtype: dtype of everything but the gains.
    """
    first = directions[0]
    vectors = {one.method: one.units for one in directions} | {"without": first.without, "with": first.with_it}
    gains = {f"gains of {one.method}": one.gains for one in directions}
    stored = {name: value.to(dtype).contiguous() for name, value in vectors.items()}
    content = safetensors.torch.save(stored | gains)
    write_atomically(folder / VECTORS, lambda file: file.write(content))
    metadata = {
        "format": FORMAT,
        "sha256": sha256(content).hexdigest(),
        "model": first.model,
        "names": first.names,
        "latent_shapes": first.latent_shapes,
        "account": first.metadata,
    }
    write_text(folder / METADATA, json.dumps(metadata, indent=1, allow_nan=False))


def load(path: str | Path, method: str = "mean_difference") -> Directions:
    """Reads directions that :func:`save` wrote.

    Args:
        path: the folder, or that of a run or model which contains it as ``directions/``; or a shipped model's name.
        method: name of the method.

    Raises:
        UserError: they are not there, damaged, or not of this method.
    """
    folder = local(path)
    if (folder / "directions" / METADATA).is_file():
        folder = folder / "directions"
    if not (folder / METADATA).is_file():
        raise UserError(f"no directions at {path}: make them with glow-directions checkpoint=...")
    try:
        metadata = json.loads((folder / METADATA).read_text())
        content = (folder / VECTORS).read_bytes()
        if metadata["format"] != FORMAT:
            raise UserError(f"{folder / METADATA} has another format than {FORMAT}: make the directions again")
        if sha256(content).hexdigest() != metadata["sha256"]:
            raise UserError(f"{folder / VECTORS} is damaged, or not what {METADATA} describes; make it again")
        tensors = safetensors.torch.load(content)
        if method not in tensors:
            there = ", ".join(
                sorted(name.removeprefix("gains of ") for name in tensors if name.startswith("gains of "))
            )
            raise UserError(f"method={method}: {folder} holds {there}")
        return Directions(
            names=tuple(metadata["names"]),
            units=_unit_vectors(tensors[method]),
            without=tensors["without"].float(),
            with_it=tensors["with"].float(),
            gains=_one_gain_each(tensors[f"gains of {method}"]),
            latent_shapes=tuple((c, h, w) for c, h, w in metadata["latent_shapes"]),
            method=method,
            model=metadata["model"],
            metadata=metadata["account"],
        )
    except (OSError, ValueError, TypeError, KeyError, safetensors.SafetensorError) as error:
        raise UserError(f"{folder} holds no sound directions ({error}); make them with glow-directions") from error


def _one_gain_each(gains: Tensor) -> Tensor:
    """Float64 (A,); of gains of earlier files, (A, 2) for adding and for removing, the means."""
    return gains.mean(1) if gains.ndim == 2 else gains


def _unit_vectors(units: Tensor) -> Tensor:
    """Converts to float32; unit vectors that were rounded are normalised again, others keep every bit."""
    return units if units.dtype == torch.float32 else torch.nn.functional.normalize(units.float(), dim=1)
