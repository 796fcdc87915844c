"""The search that inverts triangular maps: Newton's trap, what is not found, and samples one by one."""

import pytest
import torch
from torch import Tensor

from glow_app.flows import search as searching
from glow_app.flows.search import SearchFailed, search


def steep(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each number by itself: from afar, Newton's steps jump over the steep middle, and further each time."""
    return torch.atan(3 * x) + 0.01 * x, 3 / (1 + 9 * x.square()) + 0.01


def images(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None, None, None]


def test_a_smaller_step_reaches_what_newtons_does_not() -> None:
    z = images(0.5, 0.1, -1.2)
    close, few = search(steep, z, 0.1 * z)
    assert few < 10
    far, many = search(steep, z, 30 * z)
    assert 200 < many < 300  # the second, damped search
    assert (steep(far)[0] - z).abs().max() < 1e-12
    assert (far - close).abs().max() < 1e-12


def test_a_sample_is_found_the_same_alone() -> None:
    z = images(0.5, 0.1, -1.2)
    together, _ = search(steep, z, 10 * z)
    for one, alone in zip(z, together, strict=True):
        assert torch.equal(search(steep, one[None], 10 * one[None])[0][0], alone)


def test_what_is_not_found_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MOST_STEPS", (3, 2))
    with pytest.raises(SearchFailed, match=r"not found for 1 of 2 samples within 5 steps .* choose a lower"):
        search(steep, images(0.0, 1.4), images(0.0, 1e4))


def test_what_is_not_finite_stays_so_and_hinders_no_other() -> None:
    z = images(torch.nan, 0.2)
    found, _ = search(steep, z, z)
    assert torch.isnan(found[0]).all()
    assert (steep(found[1:])[0] - z[1:]).abs().max() < 1e-12
