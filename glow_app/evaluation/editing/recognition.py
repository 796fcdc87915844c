"""Distances between faces, by a network that recognises persons (dlib's; extra ``align``)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from glow_app.data.alignment import Eyes, of_eyes, take
from glow_app.data.landmarks import recognition_network
from glow_app.figures.pictures import to_picture

SIDE, EYES = 150, (0.318, 0.314, 0.668, 0.314)
"""Pixels of the pictures that the network takes, and where the eyes are in them."""

PAIRS = 200
"""Most pairs of pictures for each of the two reference distances."""


def embed(images: Tensor, eyes: Eyes) -> Tensor:
    """Computes 128 numbers for each face: float64 (N, 128). Pictures of one person are usually less than 0.6 apart.

    Args:
        images: uint8 (N, C, H, W), faces.
        eyes: where the eyes are in all of them, as fractions of width and height.

    Raises:
        UserError: the packages of the extra ``align`` are missing.
    """
    network = recognition_network()
    height, width = images.shape[2:]
    places = np.array(eyes).reshape(2, 2) * (width, height)
    placement = of_eyes(places, EYES, SIDE, SIDE)
    rows = []
    for image in images.expand(-1, 3, -1, -1):
        chip = take(to_picture(image), placement, SIDE, SIDE)
        rows.append(np.array(network.compute_face_descriptor(np.ascontiguousarray(chip.permute(1, 2, 0).numpy()))))
    return torch.from_numpy(np.stack(rows))


def distance(first: Tensor, second: Tensor) -> float:
    """Mean Euclidean distance of rows, (N, 128) each."""
    return (first - second).norm(dim=1).mean().item()


def pairs_of(persons: Sequence[int]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Lists pairs of pictures of one person, and as many of two persons, at most ``PAIRS`` each, as their positions.

    Args:
        persons: number of the person in each picture.
    """
    before: dict[int, int] = {}
    same: list[tuple[int, int]] = []
    for position, person in enumerate(persons):
        if person in before:
            same.append((before[person], position))
        before[person] = position
    same = same[:PAIRS]
    half = len(persons) // 2
    two = [(i, i + half) for i in range(half) if persons[i] != persons[i + half]]
    return same, two[: len(same)]
