"""Distance of bits per dimension from their mean."""

import torch

from glow_app.scores.typicality import group_typicality, typicality


def test_far_fewer_bits_are_as_untypical_as_far_more() -> None:
    assert typicality(torch.tensor([1.0, 4.0, 7.0]), 4.0).tolist() == [3, 0, 3]


def test_of_a_group_it_is_that_of_its_mean() -> None:
    bits = torch.tensor([1.0, 2.0, 7.0, 5.0, 100.0])  # groups 1, 7 and 2, 5: the last image is left out
    assert group_typicality(bits, 4.0, 2).tolist() == [0, 0.5]
    assert group_typicality(bits, 4.0, 1).tolist() == [3, 2, 3, 1, 96]
    assert len(group_typicality(bits, 4.0, 6)) == 0
