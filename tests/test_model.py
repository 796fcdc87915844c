"""The Python interface: images in, images out."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import glow_app
from glow_app.artifacts.weights import export
from glow_app.artifacts.weights import load as load_exported
from glow_app.errors import UserError
from glow_app.latents.directions import Directions
from glow_app.likelihood import dequantization_noise, log_prob
from glow_app.model import Images, Model
from tests.artifacts.test_weights import card_of
from tests.flows.models import small_glow


def make(folder: Path, **options: object) -> Model:
    flow = small_glow((3, 16, 16), dtype=torch.float32, **options)
    export(flow, card_of(flow), folder)
    return Model(load_exported(folder))


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return make(tmp_path)


@pytest.fixture
def images() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)


def test_loads_by_its_folder(model: Model) -> None:
    loaded = glow_app.load(model.folder)
    assert loaded.digest == model.digest
    assert loaded.image_shape == (3, 16, 16)


def test_encoding_and_decoding_is_the_identity(model: Model, images: torch.Tensor) -> None:
    latents = model.encode(images)
    assert [tuple(z.shape[1:]) for z in latents] == model.flow.latent_shapes
    assert torch.equal(model.decode(latents), images)
    middle = (images.float() + 0.5) / 256 - 0.5  # so that what moves by less than half a grey level does not change
    assert torch.allclose(model.flow.inverse(latents), middle, atol=1e-4)


def test_what_float32_does_not_reconstruct_is_encoded_in_float64() -> None:
    """Uniform noise is unlike all that the shipped model knows: its latents reach 800 standard deviations."""
    shipped = glow_app.load("faces64")
    noise = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    face = shipped.sample(1)
    latents = shipped.encode(noise)
    assert {z.dtype for z in latents} == {torch.float64}
    assert torch.equal(shipped.decode(latents), noise)
    assert not torch.equal(shipped.decode([z.float() for z in latents]), noise)  # so this test can fail
    assert {z.dtype for z in shipped.encode(face)} == {torch.float32}
    strip = shipped.interpolate(noise[0], face, steps=3)
    assert torch.equal(strip[0], noise[0])
    assert torch.equal(strip[-1:], face)
    assert torch.equal(shipped.edit(noise, glow_app.load_directions("faces64"), {"Smiling": 0.0}), noise)


def test_images_are_encoded_in_float32_whatever_the_run_s_precision(tmp_path: Path, images: torch.Tensor) -> None:
    flow = small_glow((3, 16, 16), dtype=torch.float32)
    flow.set_conditioner_dtype(torch.bfloat16)
    export(flow, card_of(flow), tmp_path)
    loaded = Model(load_exported(tmp_path))
    assert loaded.flow.conditioner_dtype is None
    exact = loaded.encode(images)
    assert torch.equal(loaded.decode(exact), images)
    loaded.flow.set_conditioner_dtype(torch.bfloat16)
    latents = loaded.encode(images)
    assert {z.dtype for z in latents} == {torch.float32}  # what was asked for is not overruled
    assert not torch.allclose(latents[-1], exact[-1], atol=1e-4)


def test_an_image_has_the_same_latents_wherever_it_stands(model: Model, images: torch.Tensor) -> None:
    for together, alone in zip(model.encode(images), model.encode(images[2]), strict=True):
        assert torch.allclose(together[2:3], alone, atol=1e-5)


def test_log_prob_is_that_of_discrete_images(model: Model, images: torch.Tensor) -> None:
    u = dequantization_noise(images, 3, torch.arange(4))
    with torch.no_grad():
        assert torch.equal(model.log_prob(images, seed=3), log_prob(model.flow, images, u, 8))
    bits = -model.log_prob(images) / (768 * torch.log(torch.tensor(2.0)))
    assert torch.allclose(model.bits_per_dim(images), bits)


def test_scores_are_columns_by_name(model: Model, images: torch.Tensor) -> None:
    found = model.score(images, seed=3, background=model)
    assert torch.allclose(found["bits_per_dim"], model.bits_per_dim(images, seed=3).double(), atol=1e-5)
    assert found["minus_background"].tolist() == [0, 0, 0, 0]
    assert "typicality" not in found  # of this model no training images are known
    assert {"error", "norm_1", "norm_2", "final_scale", "minus_png", "minus_webp"} < set(found)
    assert (model.score(images[0], draws=2, codecs=[])["error"] > 0).all()
    assert not any(name.startswith("minus") for name in model.score(images[0], codecs=[]))


def test_samples_depend_on_their_number_alone(model: Model) -> None:
    together = model.sample(5, temperature=0.7, seed=1)
    assert together.dtype == torch.uint8
    assert torch.equal(model.sample(2, temperature=0.7, seed=1, first=3), together[3:])
    assert torch.equal(model.sample(3, temperature=0.0)[0], model.sample(1, temperature=0.0)[0])
    assert not torch.equal(model.sample(1, [1.0, 0.0]), model.sample(1, [0.0, 1.0]))


def test_a_device_that_is_not_there_is_refused_and_changes_nothing(model: Model) -> None:
    for device in ("xpu", "gpu"):
        with pytest.raises(UserError, match=rf"device={device} cannot be used here \(.*\): choose cpu") as error:
            model.to(device)
        assert "\n" not in str(error.value)
        assert repr(model).endswith("on cpu)")
        with pytest.raises(UserError, match=f"device={device} cannot be used here"):
            glow_app.load(model.folder, device)


def test_a_tilde_is_the_home_folder(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    model.save("~/mine")
    assert (tmp_path / "home" / "mine" / "model.json").exists()
    assert glow_app.load("~/mine").digest == model.digest


def test_interpolation_begins_and_ends_with_the_images(model: Model, images: torch.Tensor) -> None:
    for path in ("linear", "spherical"):
        strip = model.interpolate(images[0], images[1], steps=5, path=path)
        assert strip.shape == (5, 3, 16, 16)
        assert torch.equal(strip[0], images[0])
        assert torch.equal(strip[-1], images[1])


def directions_of(model: Model) -> Directions:
    torch.manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(2, model.flow.n_dims))
    return Directions(
        ("Smiling", "Young"), unit, torch.zeros_like(unit), 2 * unit, torch.ones(2), tuple(model.flow.latent_shapes),
        "balanced", model.digest, {},
    )  # fmt: skip


def test_editing(model: Model, images: torch.Tensor) -> None:
    directions = directions_of(model)
    assert torch.equal(model.edit(images, directions, {"Smiling": 0.0}), images)
    latents = model.encode(images)
    expected = model.decode(directions.edit(latents, {"Smiling": 1.0, "Young": -0.5}))
    assert torch.equal(model.edit(images, directions, {"Smiling": 1.0, "Young": -0.5}), expected)
    with pytest.raises(UserError, match="attribute Smilng is unknown: did you mean Smiling"):
        model.edit(images, directions, {"Smilng": 1.0})


def test_editing_with_the_directions_of_another_model(model: Model, images: torch.Tensor, tmp_path: Path) -> None:
    other = make(tmp_path / "other", n_steps=1)
    with pytest.raises(UserError, match="belong to another model"):
        other.edit(images, directions_of(model), {"Smiling": 1.0})


def test_one_image_or_several_of_any_kind(model: Model, images: torch.Tensor, tmp_path: Path) -> None:
    picture = Image.fromarray(images[0].permute(1, 2, 0).numpy())
    picture.save(tmp_path / "a.png")
    for one in (images[0], picture, tmp_path / "a.png", str(tmp_path / "a.png"), [images[0]]):
        assert torch.equal(model.batch(one), images[:1])
    assert model.batch([picture, images[1]]).shape == (2, 3, 16, 16)


def test_arrays_of_pixels(model: Model, images: torch.Tensor) -> None:
    last = images.permute(0, 2, 3, 1).numpy()  # (B, H, W, C)
    assert torch.equal(model.batch(last[0]), images[:1])
    assert torch.equal(model.batch(last), images)
    assert torch.equal(model.batch(list(last)), images)
    assert torch.equal(model.batch(images.numpy()), images)
    assert torch.equal(model.batch(list(images)), images)
    large = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    assert torch.equal(model.batch(large), model.batch(Image.fromarray(large)))
    grey = large[:, :, :1]
    assert torch.equal(model.batch(grey), model.batch(Image.fromarray(grey[:, :, 0])))


def test_floats_from_black_to_white_are_grey_levels(model: Model, images: torch.Tensor) -> None:
    floats = images / 255
    near = (images - 0.3).clamp(min=0) / 255
    for given in (floats, floats.double(), list(floats), floats.permute(0, 2, 3, 1).numpy(), near):
        assert torch.equal(model.batch(given), images)
    assert torch.equal(model.log_prob(floats), model.log_prob(images))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"shape \(1, 3, 8, 8\); this model takes \(B, 3, 16, 16\)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"shape \(3, 8, 8\); this model takes \(3, 16, 16\)"),
        ([torch.zeros(3, 8, 8, dtype=torch.uint8)], r"shape \(3, 8, 8\); this model takes \(3, 16, 16\)"),
        (torch.full((1, 3, 16, 16), -0.5), r"float32 \(1, 3, 16, 16\) from -0.5 to -0.5: give .*floats from 0 to 1"),
        (torch.full((3, 16, 16), 200.0), r"float32 \(3, 16, 16\) from 200 to 200: give uint8"),
        (torch.full((3, 16, 16), float("nan")), "from nan to nan: give uint8"),
        (torch.ones(3, 16, 16, dtype=torch.int64), r"int64 \(3, 16, 16\) from 1 to 1: give uint8"),
        (np.full((16, 16, 3), 300.0), r"float64 \(16, 16, 3\) from 300 to 300: give uint8"),
        (np.zeros((16, 16, 2), np.uint8), r"an array of shape \(16, 16, 2\) is no image"),
        ([], "there are no images"),
        (torch.zeros(0, 3, 16, 16), "there are no images"),
        (None, r"images are a NoneType: give a tensor \(C, H, W\), an array"),
        (b"GIF89a", "images are a bytes: give a tensor"),
        ([None], r"an image is a NoneType: give a tensor \(C, H, W\), an array"),
        ([[0, 0]], r"an image is a list: give a tensor"),
    ],
)  # fmt: skip
def test_what_is_no_image_of_this_model(model: Model, images: Images, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        model.batch(images)
    assert "\n" not in str(error.value)


def test_interpolation_is_between_two_images(model: Model, images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="from one image to one other in at least 2 steps"):
        model.interpolate(images[:2], images[2])


def test_it_is_saved_and_loaded_with_all_that_it_knows(model: Model, images: torch.Tensor, tmp_path: Path) -> None:
    model.save(tmp_path / "copy")
    again = glow_app.load(tmp_path / "copy")
    assert (again.digest, again.card) == (model.digest, model.card)
    assert torch.equal(again.log_prob(images), model.log_prob(images))
    model.save(tmp_path / "copy")
    with pytest.raises(UserError, match="copy holds another model: choose another folder"):
        make(tmp_path / "other", n_steps=1).save(tmp_path / "copy")


def test_it_moves_to_a_device(model: Model) -> None:
    assert model.to("meta") is model
    assert model.device == torch.device("meta")
    assert {parameter.device for parameter in model.flow.parameters()} == {model.device}


def test_it_says_in_a_line_what_it_is(model: Model) -> None:
    assert re.fullmatch(r"Model\(Glow, L=2 K=2 .*M parameters, 3x16x16, 8 bits, step 0, on cpu\)", repr(model))


def test_an_open_picture_is_treated_like_its_file(model: Model, tmp_path: Path) -> None:
    picture = Image.new("RGBA", (20, 30), (255, 0, 0, 0))
    picture.putpixel((3, 9), (0, 9, 200, 255))
    picture.save(tmp_path / "a.png")
    assert torch.equal(model.batch(picture), model.batch(tmp_path / "a.png"))


def test_images_that_are_not_finite_are_never_given(model: Model) -> None:
    latents = model.flow.sample_latents(3, 1.0, 0)
    latents[-1][1] = float("inf")
    with pytest.raises(UserError, match="image 1 of 3 is not finite"):
        model.decode(latents)


def test_class_conditional_models(tmp_path: Path, images: torch.Tensor) -> None:
    model = make(tmp_path, n_classes=2)
    labels = torch.tensor([0, 1, 0, 1])
    assert torch.equal(model.decode(model.encode(images, labels), labels), images)
    assert torch.equal(model.sample(4)[1::2], model.sample(4, label=1)[1::2])
    with pytest.raises(UserError, match="label 7 is not the number of a class"):
        model.sample(1, label=7)
    with pytest.raises(UserError, match=r"labels have shape \(2,\): give one, or one for each of 4 images"):
        model.encode(images, torch.tensor([0, 1]))
    assert torch.equal(model.encode(images, 1)[-1], model.encode(images, torch.ones(4, dtype=torch.int64))[-1])
    with pytest.raises(UserError, match="label 9 is not the number of a class"):
        model.encode(images, 9)
    with pytest.raises(UserError, match="this model is class-conditional: give a label, one of class 0, class 1"):
        model.encode(images)


def test_nothing_keeps_gradients(model: Model, images: torch.Tensor) -> None:
    assert not model.log_prob(images).requires_grad
    assert not any(z.requires_grad for z in model.encode(images))


def test_a_label_is_refused_by_a_model_without_classes(model: Model) -> None:
    with pytest.raises(UserError, match="label 3: this model is not class-conditional; leave it out"):
        model.sample(1, label=3)
