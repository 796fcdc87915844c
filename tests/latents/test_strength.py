"""Which attributes are shown."""

import pytest
import torch

from glow_app.latents.direction_methods import from_moments
from glow_app.latents.moments import Moments
from glow_app.latents.strength import shown_first, strengths


def test_the_known_come_first_and_others_where_there_are_none() -> None:
    assert shown_first(["5_o_Clock_Shadow", "Male", "Smiling"]) == ["Smiling", "Male"]
    assert shown_first(["a", "b", "c", "d", "e"]) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("deviation", [1.0, 0.5])
def test_chance_is_subtracted_whatever_the_variance_of_the_latents(deviation: float) -> None:
    """Two attributes of 500 images in 3,000 dimensions: one is 3 apart, the other by chance alone."""
    generator = torch.Generator().manual_seed(0)
    attributes = torch.stack([torch.arange(500) % 2, torch.arange(500) // 2 % 10 == 0], 1)
    z = deviation * torch.randn(500, 3, 25, 40, generator=generator)
    z[:, 0, 0, 0] += 3 * attributes[:, 0]
    moments = Moments([(3, 25, 40)], 2, covariance=False)
    moments.update([z], attributes)
    assert moments.variance() == pytest.approx(z.flatten(1).var(0, correction=0).mean().item(), rel=1e-5)
    found = strengths(from_moments(moments, ["Strong", "Chance"], [(3, 25, 40)], "", {}, None)[0][0])
    assert found[0].item() == pytest.approx(3, abs=0.4)
    assert found[1].item() < 2
    by_chance = deviation * (3000 * (1 / 50 + 1 / 450)) ** 0.5
    assert by_chance > 4  # what would be found without
