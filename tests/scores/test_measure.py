"""Scores of many images: batches are always the same, whoever computes them."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.data.sets.files import Files
from glow_app.errors import UserError
from glow_app.scores.controls import Controls
from glow_app.scores.measure import Scorer, score
from tests.flows.models import small_glow
from tests.reliability.ranks import Ranks

FACES = DrawnFaces("test", 16, n_images=21)


def scorer(**options: object) -> Scorer:
    return Scorer(small_glow((3, 16, 16)).float(), 8, seed=1, **{"codecs": (), "mean": 4.0, **options})  # type: ignore[arg-type]


def rows(batch_size: int, first_batch: int = 0, workers: int = 0) -> Tensor:
    torch.set_num_threads(1)
    return torch.cat(list(score(scorer(), FACES, 21, batch_size, first_batch, workers)))


def test_it_begins_at_any_batch_with_the_same_bits() -> None:
    whole = rows(2)
    assert whole.shape == (21, 6)
    assert torch.equal(rows(2, first_batch=3).nan_to_num(), whole[6:].nan_to_num())
    assert not list(score(scorer(), FACES, 21, 2, 11))
    assert torch.allclose(rows(8), whole, atol=1e-4, equal_nan=True)


@pytest.mark.slow
def test_processes_share_the_work_and_give_the_same_bits() -> None:
    assert torch.equal(rows(2, workers=2).nan_to_num(), rows(2).nan_to_num())
    two = Ranks(2)
    try:
        first, *others = two.call(rows, 2)
        resumed, *_ = two.call(rows, 2, 3)
    finally:
        two.stop()
    assert torch.equal(first.nan_to_num(), rows(2).nan_to_num())
    assert torch.equal(resumed.nan_to_num(), rows(2)[6:].nan_to_num())
    assert all(len(part) == 0 for part in others)


def test_columns_have_names() -> None:
    flow = small_glow((3, 16, 16))
    assert Scorer(flow, 8, codecs=()).names == ("bits_per_dim", "error", "norm_1", "norm_2", "final_scale")
    added = Scorer(flow, 8, codecs=("WebP",), mean=1.0, background=flow).names[5:]
    assert added == ("typicality", "minus_webp", "minus_background")


def test_codecs_see_what_the_model_sees() -> None:
    images = FACES.fetch([0])
    coarse = Scorer(small_glow((3, 16, 16)), 3)
    assert torch.equal(coarse.complexity(images), scorer(codecs=("PNG", "WebP")).complexity(images & 0b11100000))


def test_files_that_cannot_be_read_have_no_scores(tmp_path: Path) -> None:
    Image.new("RGB", (20, 16), "red").save(tmp_path / "b.png")
    (tmp_path / "a.png").write_bytes(b"nothing")
    files = Files([tmp_path], (3, 16, 16), {})
    found = torch.cat(list(score(scorer(codecs=("PNG",)), files, 2, 2)))
    assert found[0].isnan().all()
    assert found[1, [0, 2, 3, 4, 5, 6]].isfinite().all()
    assert files.item_name(1) == str(tmp_path / "b.png")
    before = files.content()
    (tmp_path / "a.png").write_bytes(b"nothing more")
    assert files.content() != before
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no images in .*empty"):
        Files([tmp_path / "empty"], (3, 16, 16), {})


def test_controls() -> None:
    noise, constant = (Controls(kind, (3, 8, 8), seed=2) for kind in ("noise", "constant"))
    assert torch.equal(noise.fetch([5, 9])[1], noise[9])
    assert noise.fetch(range(200)).float().mean().item() == pytest.approx(127.5, abs=1)
    colours = constant.fetch(range(300))
    assert (colours == colours[:, :, :1, :1]).all()
    assert len(colours[:, :, 0, 0].unique(dim=0)) > 290
