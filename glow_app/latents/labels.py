"""Class labels of images, checked against what a model knows."""

from collections.abc import Sequence

import torch
from torch import Tensor

from glow_app.errors import UserError

Labels = Tensor | int | None
"""Classes of images, for a class-conditional model: int64 (B,), or one for all."""


def class_labels(labels: Labels, n: int, class_names: Sequence[str], device: torch.device) -> Tensor | None:
    """Returns the labels of ``n`` images, int64 (n,); None for a model without classes.

    Raises:
        UserError: a label is missing, not the number of a class, or given to a model without classes.
    """
    if not class_names:
        if labels is not None:
            raise UserError(f"label {labels}: this model is not class-conditional; leave it out")
        return None
    names = ", ".join(class_names)
    if labels is None:
        raise UserError(f"this model is class-conditional: give a label, one of {names}")
    numbers = torch.as_tensor(labels, dtype=torch.int64, device=device)
    if ((numbers < 0) | (numbers >= len(class_names))).any():
        raise UserError(f"label {int(numbers.max())} is not the number of a class: there are {names}")
    if tuple(numbers.shape) not in ((), (1,), (n,)):
        raise UserError(f"labels have shape {tuple(numbers.shape)}: give one, or one for each of {n} images")
    return numbers.expand(n)
