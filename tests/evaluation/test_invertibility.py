"""Whether and how well a flow is inverted."""

import pytest
import torch

from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.evaluation.invertibility import conditioning, reconstruct
from glow_app.flows import Glow
from glow_app.likelihood import dequantization_noise
from tests.flows.models import small_glow

FACES = DrawnFaces("test", image_size=16, n_images=9)


def test_images_come_back_exactly() -> None:
    back = reconstruct(small_glow((3, 16, 16)).float(), FACES, range(9), 8, seed=0, batch_size=4)
    assert back.exact.all()
    assert len(back.exact) == 9
    assert (back.mean <= back.largest).all()
    assert 0 < back.largest.max() < 0.01


def test_noise_as_drawn_comes_nearer_to_the_borders(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = small_glow((3, 16, 16)).float()
    inverse = flow.inverse
    monkeypatch.setattr(flow, "inverse", lambda *arguments: inverse(*arguments) + 0.005 / 256)
    kept = reconstruct(flow, FACES, range(9), 8, seed=0, batch_size=4)
    drawn = reconstruct(flow, FACES, range(9), 8, seed=0, batch_size=4, noise=dequantization_noise)
    assert (kept.exact.all(), drawn.exact.any()) == (True, False)
    assert drawn.largest.tolist() == pytest.approx(kept.largest.tolist(), abs=1e-3)


def test_what_does_not_come_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = small_glow((3, 16, 16)).float()
    inverse = flow.inverse

    def spoiled(*arguments: object) -> torch.Tensor:
        x = inverse(*arguments)  # type: ignore[arg-type]
        x[0] = float("nan")
        x[1, 0, 0, 0] += 2 / 256
        return x

    monkeypatch.setattr(flow, "inverse", spoiled)
    back = reconstruct(flow, FACES, range(4), 8, seed=0, batch_size=4)
    assert back.exact.tolist() == [False, False, True, True]
    assert not torch.isfinite(back.largest[0])
    assert back.largest[1].item() == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("permutation", ["lu", "full"])
def test_conditioning_of_known_matrices(permutation: str) -> None:
    flow = Glow((1, 4, 4), n_levels=1, n_steps=1, width=4, permutation=permutation)
    (rotation,) = conditioning(flow)
    assert rotation.name == "levels.0.steps.0.permutation"
    assert rotation.condition == pytest.approx(1, abs=1e-5)
    layer = flow.get_submodule(rotation.name)
    with torch.no_grad():
        if permutation == "full":
            layer.weight.copy_(torch.diag(torch.tensor([1.0, 2.0, 4.0, 100.0])))  # type: ignore[union-attr]
        else:
            for name in ("lower", "upper"):
                getattr(layer, name).zero_()
            layer.log_s.copy_(torch.tensor([1.0, 2.0, 4.0, 100.0]).log())  # type: ignore[union-attr]
    (stretched,) = conditioning(flow)
    assert stretched.condition == pytest.approx(100, rel=1e-5)
    assert stretched.round_trip < 1e-5


def test_permutations_have_no_conditioning() -> None:
    assert conditioning(Glow((1, 4, 4), n_levels=1, n_steps=1, width=4, permutation="shuffle")) == []
