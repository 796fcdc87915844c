"""Trains networks to tell edited images from real ones."""

import hashlib

import torch
from torch import Tensor

from glow_app.data.source import ImageSource
from glow_app.evaluation.judge import Lessons, train

PASSES = 20
"""Passes over the images in training."""


class RealAndEdited(ImageSource):
    """Real images and edited ones, with the attribute ``edited``; each image beside its edit.

    Args:
        real: uint8 (N, C, H, W).
        edited: uint8 (N, C, H, W).
    """

    name, split, preprocessing = "real_and_edited", "train", "none"
    attribute_names = ("edited",)

    def __init__(self, real: Tensor, edited: Tensor) -> None:
        self.images = torch.stack([real, edited], 1).flatten(0, 1)
        self.image_shape = (real.shape[1], real.shape[2], real.shape[3])
        self.attributes = (torch.arange(len(self.images)) % 2).to(torch.uint8)[:, None]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]

    def item_name(self, index: int) -> str:
        return str(index)

    def content(self) -> dict[str, object]:
        return {"sha256": hashlib.sha256(self.images.numpy().tobytes()).hexdigest()}


def told_apart(real: Tensor, edited: Tensor, seed: int, device: torch.device) -> float:
    """Trains a network on one half of the images and tests it on the other, both ways round: share told rightly.

    Real images are as many as edited ones, so that chance is 1/2. The network is a judge's of the one attribute.

    Args:
        real: uint8 (N, C, H, W), images before an edit.
        edited: uint8 (N, C, H, W), the same images after it.
        seed: seed of the network and of the order.
        device: device of the network.
    """
    source = RealAndEdited(real, edited)
    middle = len(real) // 2 * 2
    assert source.attributes is not None
    parts = [(0, middle), (middle, len(source))]
    right = torch.zeros(())
    for (first, end), others in zip(parts, reversed(parts), strict=True):
        lessons = Lessons(source, first, end - first, (), torch.empty(len(source), 0))
        network = train(lessons, PASSES * (end - first), seed, device)
        with torch.no_grad():
            logits = torch.cat(
                [network(some.to(device)).logits.cpu() for some in source.images[slice(*others)].split(64)]
            )
        right = right + ((logits > 0) == source.attributes[slice(*others)].bool()).sum()
    return (right / len(source)).item()
