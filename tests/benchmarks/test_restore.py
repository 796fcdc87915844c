"""``benchmarks.restore``: PSNR of completions, beside baselines."""

import pytest
import torch

import glow_app
from benchmarks import restore


def test_psnr_is_of_hidden_pixels_only() -> None:
    truth = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    hidden = torch.zeros(4, 4, dtype=torch.bool)
    hidden[1, 2] = True
    images = torch.full(truth.shape, 255.0)
    images[..., hidden] = 25.5
    assert restore.psnr(images, truth, hidden) == pytest.approx(20)


def test_all_ways_are_measured() -> None:
    pytest.importorskip("skimage", reason="scikit-image is part of the extra dev")
    model = glow_app.load("faces64")
    truth = restore.first_faces("test", 64, 1)
    row = restore.measure(model, truth, restore.first_faces("train", 64, 3).double().mean(0), "random:0.3", 2, 2, 1.0)
    assert 5 < row["answers"] < row["mean_of_answers"]
    assert row["mean_training_image"] < 20 < row["biharmonic"]
