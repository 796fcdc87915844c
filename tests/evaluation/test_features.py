"""Networks of features, and images that are far from real ones."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.errors import UserError
from glow_app.evaluation import features
from glow_app.evaluation.features import (
    blurred,
    features_of,
    inception,
    labelled_by_classes,
    noise_images,
    save_classifier,
    saved_classifier,
    train_classifier,
)
from glow_app.evaluation.quality import figures
from tests.data.arrays import ArraySource

CPU = torch.device("cpu")


def edges(images: Tensor) -> Tensor:
    """A network: mean differences of neighbours and mean colours."""
    x = images.float() / 255
    return torch.cat([x.diff(dim=3).abs().mean((2, 3)), x.diff(dim=2).abs().mean((2, 3)), x.mean((2, 3))], 1)


def test_what_is_farther_off_measures_so() -> None:
    faces = DrawnFaces("test", 16, n_images=120).fetch(range(120))
    real, other = faces[::2], faces[1::2]
    sets = (other, blurred(other), noise_images((3, 16, 16), 0, torch.arange(60)))
    of_real, *found = (features_of(edges, part.split(16), CPU, len(part)) for part in (real, *sets))
    floor, blur, noise = (figures(of_real, one, seed=0) for one in found)
    assert floor.fid < blur.fid < noise.fid
    assert floor.kid < blur.kid < noise.kid
    assert floor.coverage > blur.coverage >= noise.coverage == 0
    assert floor.density > blur.density >= noise.density == 0


def test_features_do_not_depend_on_batches() -> None:
    images = noise_images((3, 8, 8), 0, torch.arange(10))
    told: list[tuple[int, int]] = []
    found = features_of(edges, images.split(3), CPU, 10, lambda done, total: told.append((done, total)))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, edges(images).double())
    assert told == [(3, 10), (6, 10), (9, 10), (10, 10)]


def test_noise_is_uniform_and_a_function_of_its_position() -> None:
    images = noise_images((3, 32, 32), 7, torch.arange(20))
    assert images.float().mean().item() == pytest.approx(127.5, abs=1)
    assert set(images.unique().tolist()) == set(range(256))
    assert torch.equal(noise_images((3, 32, 32), 7, torch.tensor([5]))[0], images[5])


def test_blurring_keeps_what_is_flat() -> None:
    flat = torch.full((1, 3, 64, 48), 90, dtype=torch.uint8)
    assert torch.equal(blurred(flat), flat)


def test_classes_stand_in_for_attributes() -> None:
    source = ArraySource(6)
    assert labelled_by_classes(source) is source
    source.attributes = None  # pyright: ignore[reportAttributeAccessIssue]
    labelled = labelled_by_classes(source)
    assert labelled.attribute_names == ("a", "b", "c")
    assert labelled.attributes is not None
    assert labelled.attributes.argmax(1).tolist() == [0, 1, 2, 0, 1, 2]
    assert source.attributes is None


def test_a_classifier_is_used_again_only_for_what_it_was_trained_on(tmp_path: Path) -> None:
    source, path = ArraySource(64), tmp_path / "classifier.safetensors"
    assert saved_classifier(path, source, 64, seed=0) is None
    trained = train_classifier(source, 64, 0, CPU, lambda done, total: None)
    save_classifier(trained, path, source, 64, seed=0)
    again = saved_classifier(path, source, 64, seed=0)
    images = source.fetch(range(8))
    assert again is not None
    assert torch.equal(again.embed(images), trained.embed(images))
    assert saved_classifier(path, source, 64, seed=1) is None
    assert saved_classifier(path, source, 128, seed=0) is None
    assert saved_classifier(path, ArraySource(64, seed=1), 64, seed=0) is None
    source.attributes = 1 - source.attributes
    assert saved_classifier(path, source, 64, seed=0) is None


def test_a_damaged_classifier_is_trained_again(tmp_path: Path) -> None:
    source, path = ArraySource(64), tmp_path / "classifier.safetensors"
    path.write_bytes(b"damaged")
    assert saved_classifier(path, source, 64, seed=0) is None
    trained = train_classifier(source, 64, 0, CPU, lambda done, total: None)
    save_classifier(trained, path, source, 64, seed=0)
    state = load_file(path)
    del state["decide.bias"]
    save_file(state, path, {"made_of": features._made_of(source, 64, 0)})
    assert saved_classifier(path, source, 64, seed=0) is None


def test_weights_that_are_missing_or_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(UserError, match=r"quality.weights=.*weights.pth does not exist: name the file pt_inception-"):
        inception(path, CPU)
    path.write_bytes(b"something else")
    monkeypatch.setattr(features, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs torch-fidelity: pip install torch-fidelity, or leave it out"):
        inception(path, CPU)
    monkeypatch.setattr(features, "find_spec", lambda name: object())
    with pytest.raises(UserError, match=r"weights.pth holds no weights of InceptionV3, or is damaged"):
        inception(path, CPU)


def test_weights_run_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "find_spec", lambda name: object())
    torch.save({"code": Runs(tmp_path / "ran")}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="holds no weights of InceptionV3"):
        inception(tmp_path / "weights.pth", CPU)
    assert not (tmp_path / "ran").exists()


class Runs:
    """Pickled, it creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)
