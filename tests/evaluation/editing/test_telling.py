"""A network that tells edited images from real ones."""

import torch

from glow_app.evaluation.editing.telling import RealAndEdited, told_apart


def test_images_stand_beside_their_edits() -> None:
    real = torch.arange(3 * 12, dtype=torch.uint8).view(3, 3, 2, 2)
    source = RealAndEdited(real, 255 - real)
    assert len(source) == 6 and source.image_shape == (3, 2, 2)
    assert torch.equal(source[2], real[1]) and torch.equal(source[3], 255 - real[1])
    assert source.attributes is not None and source.attributes[:, 0].tolist() == [0, 1, 0, 1, 0, 1]


def test_what_differs_is_told_and_what_does_not_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.randint(256, (70, 3, 8, 8), generator=generator, dtype=torch.uint8)
    assert told_apart(real, real.clone(), 0, torch.device("cpu")) == 0.5
    assert told_apart(real, torch.zeros_like(real), 0, torch.device("cpu")) == 1.0
