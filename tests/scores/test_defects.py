"""Defects that pixels show, counted by hand."""

import torch

from glow_app.scores.defects import TOLERANCE, border, contrast


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_contrast_is_the_largest_range_of_a_channel() -> None:
    images = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    images[0] = torch.tensor([10, 200, 30], dtype=torch.uint8)[:, None, None]  # a colour
    images[1, 1, 2, 3] = 17
    images[2, 0, 0, 0], images[2, 2, 0, 0] = 255, 254
    assert contrast(images).tolist() == [0, 17, 255]


def test_a_border_is_told_on_every_side_and_in_its_own_colour() -> None:
    for side, turn in enumerate((0, 1, 2, 3)):
        image = noise(1, 3, 16, 16)
        image[:, :, :3] = torch.tensor([10, 200, 30], dtype=torch.uint8)[:, None, None]
        image[:, :, 1, 5] += TOLERANCE
        assert border(image.rot90(turn, (2, 3))).item() == 3 / 16, side
    plain = noise(2, 1, 16, 16)
    assert border(plain).tolist() == [0, 0]
    plain[0, :, 15] = torch.arange(16, dtype=torch.uint8)  # a gradient is no border
    plain[1, :, 2:4] = 9  # nor is a line inside
    assert border(plain).tolist() == [0, 0]


def test_of_a_rectangle_the_sides_are_counted_by_themselves() -> None:
    image = noise(1, 3, 8, 32)
    image[..., :8] = 0
    image[..., -3:] = 255
    assert border(image).item() == 8 / 32
    assert border(torch.full((1, 3, 8, 32), 7, dtype=torch.uint8)).item() == 1
