"""What the demo page does, without the page."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glow_app.data.image import to_tensor
from glow_app.data.landmarks import Face
from glow_app.demo.studio import BLEND_STEPS, FILM_STEPS, SAMPLED_AT, Moves, Studio, Subject
from glow_app.errors import UserError
from glow_app.evaluation.limits import Limits
from glow_app.figures import to_picture
from glow_app.latents.strength import strengths
from glow_app.latents.tempering import built_up
from tests.demo.studios import EYES, small_model, small_studio, some_directions


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return small_studio(tmp_path)


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    picture.save(file, format=kind)
    return file.getvalue()


def test_the_strongest_come_first_and_chance_does_not_count(studio: Studio) -> None:
    assert studio.attributes == ("Strong", "Weak", "Rare")
    assert studio.directions is not None
    # In 768 dimensions, means of 2 and of 1,000 images are 19.6 apart by chance, and 10 is nothing.
    expected = [0, (1 - 768 * 2 / 5000) ** 0.5, (9 - 768 * 2 / 5000) ** 0.5]
    assert strengths(studio.directions).tolist() == pytest.approx(expected, rel=1e-4)


def test_a_picture_comes_back_exactly(studio: Studio) -> None:
    face = studio.of_data_set(3)
    assert studio.source is not None
    assert torch.equal(face.pixels, studio.source[3])
    assert torch.equal(studio.after(face, Moves(1.0)), studio.source[3])
    assert torch.equal(studio.after(face, Moves(1.0, {"Strong": 0.0})), studio.source[3])
    picture = Image.fromarray(studio.source[3].permute(1, 2, 0).numpy())
    assert torch.equal(studio.opened(encoded(picture), "me.png").pixels, studio.source[3])


def test_a_picture_that_does_not_is_marked(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "exactly" not in studio.of_data_set(3).name
    decode = studio.model.decode
    monkeypatch.setattr(studio.model, "decode", lambda *arguments: decode(*arguments) ^ 1)
    assert studio.of_data_set(3).name.endswith("image 3 (not reconstructed exactly)")


def test_a_sample_is_that_of_the_model(studio: Studio) -> None:
    expected = studio.model.sample(1, SAMPLED_AT, seed=0, first=5)[0]
    assert (studio.sampled(5).pixels.int() - expected.int()).abs().max() <= 1
    assert torch.equal(studio.sampled(5).pixels, studio.sampled(5).pixels)
    assert not torch.equal(studio.sampled(5).pixels, studio.sampled(6).pixels)


def test_an_edit_is_that_of_the_model(studio: Studio) -> None:
    face = studio.of_data_set(0)
    assert studio.directions is not None
    assert studio.source is not None
    amounts = {"Strong": 1.5, "Weak": -0.5}
    latents = studio.model.encode(studio.source[0])
    expected = studio.model.decode(studio.directions.edit(latents, amounts))[0]
    assert torch.equal(studio.after(face, Moves(1.0, amounts)), expected)


def test_a_slider_ends_where_pictures_stop_being_natural(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, object]] = []

    def interval(self: Limits, name: str, others: object) -> tuple[float, float]:
        asked.append((name, others))
        return -0.4, 1.15

    monkeypatch.setattr(Limits, "interval", interval)
    face, before = studio.of_data_set(2), Moves(1.0, {"Strong": 0.0, "Weak": 0.5})
    for amount, expected in ((0.7, 0.7), (2.0, 1.15), (1.5, 1.15), (-1.0, -0.4)):
        found = studio.limited(face, Moves(1.0, {"Strong": amount, "Weak": 0.5}), before)
        assert found.amounts == {"Strong": expected, "Weak": 0.5}
    assert asked == [("Strong", {"Weak": 0.5})]  # once, though asked for four times
    assert studio.limited(face, Moves(1.0, {"Strong": 0.0, "Weak": -2.0}), before).amounts["Weak"] == -0.4
    far = Moves(1.0, {"Strong": 1.9, "Weak": 0.5})
    assert (
        studio.limited(face, Moves(1.0, {"Strong": 1.8, "Weak": 0.5}), far).amounts["Strong"] == 1.8
    )  # on its way to 0
    other = Moves(0.5, {"Strong": 0.0, "Weak": 0.5})
    assert studio.limited(face, other, before) == other and len(asked) == 2


def test_temperature(studio: Studio) -> None:
    typical = studio.model.sample(1, temperature=0.0)[0]
    for subject in (studio.of_data_set(0), studio.sampled(0)):
        assert torch.equal(studio.after(subject, Moves(0.0)), typical)
        assert not torch.equal(studio.after(subject, Moves(0.5)), typical)


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_between_two_pictures(studio: Studio, path: str) -> None:
    one, two = studio.of_data_set(0), studio.of_data_set(1)
    at = [studio.after(one, Moves(1.0, {}, two, position, path)) for position in (0.0, 0.5, 1.0)]
    assert torch.equal(at[0], one.pixels)
    assert torch.equal(at[2], two.pixels)
    expected = studio.model.interpolate(one.pixels, two.pixels, BLEND_STEPS, path)[BLEND_STEPS // 2]
    assert (at[1].int() - expected.int()).abs().float().mean() < 1  # another draw of the dequantization noise


def test_a_film_goes_from_before_to_after(studio: Studio) -> None:
    subject, moves = studio.sampled(1), Moves(0.4, {"Strong": 1.0})
    frames = studio.film(subject, moves)
    assert frames.shape == (FILM_STEPS, 3, 16, 16)
    assert torch.equal(frames[0], subject.pixels)
    # A film is computed in one batch, which rounds differently than one image alone.
    assert (frames[-1].int() - studio.after(subject, moves).int()).abs().max() <= 1


def test_built_up_level_by_level(studio: Studio) -> None:
    subject, moves = studio.of_data_set(2), Moves(1.0, {"Strong": 0.5})
    images = studio.built_up(subject, moves)
    assert torch.equal(images[-1], studio.after(subject, moves))
    fine, coarse = built_up(subject.latents)
    assert torch.equal(fine, torch.cat([torch.zeros_like(subject.latents[0]), subject.latents[0]]))
    assert torch.equal(coarse, torch.cat([subject.latents[1], subject.latents[1]]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "me.png: the file is empty"),
        (b"nothing of the kind", "me.png: not a sound image of a known format"),
        (b"<!doctype html><p>no", "me.png: a web page, not an image"),
        (encoded(Image.new("RGB", (64, 64), "red"))[:100], "me.png: truncated or damaged"),
    ],
)
def test_what_is_not_an_image(studio: Studio, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as told:
        studio.opened(content, "/secret/folder/me.png")
    assert "secret" not in str(told.value)


def test_what_is_not_there(studio: Studio) -> None:
    for index in (-1, 8):
        with pytest.raises(UserError, match="drawn_faces test has 0 to 7"):
            studio.of_data_set(index)
    alone = Studio(studio.model, None, None, 0)
    assert alone.attributes == ()
    with pytest.raises(UserError, match="the data set of this model is not on this machine"):
        alone.of_data_set(0)
    assert torch.equal(alone.after(alone.sampled(0), Moves(SAMPLED_AT)), studio.sampled(0).pixels)


def test_directions_of_another_model(studio: Studio, tmp_path: Path) -> None:
    other = small_model(tmp_path / "other", n_steps=1)
    with pytest.raises(UserError, match="belong to another model"):
        Studio(other, some_directions(studio.model), None, 0)


def test_class_conditional_models(tmp_path: Path) -> None:
    studio = Studio(small_model(tmp_path, n_classes=2), None, None, 0)
    one, two = studio.sampled(0), studio.sampled(1)
    assert (one.label, two.label, studio.sampled(0, label=1).label) == (0, 1, 1)
    with pytest.raises(UserError, match="of different classes"):
        studio.after(one, Moves(0.7, {}, two, 0.5))
    picture = encoded(Image.new("RGB", (20, 20), "red"))
    with pytest.raises(UserError, match="class-conditional: give a label"):
        studio.opened(picture, "me.png")
    assert studio.opened(picture, "me.png", label=1).label == 1


def test_a_photo_is_aligned_and_an_edit_pasted_into_it(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = Image.new("RGB", (90, 60), (90, 120, 150))
    assert studio.source is not None
    photo.paste(to_picture(studio.source[2]).resize((32, 32), Image.Resampling.BICUBIC), (50, 10))
    whole = studio.opened(encoded(photo), "a b.png")
    assert (whole.key, whole.notes) == ("a_b", ())
    with pytest.raises(UserError, match="only the face in a photo can be found, for a model that knows"):
        studio.aligned(whole, Face((50, 10, 82, 42), np.zeros((2, 2))))
    studio.eyes = EYES
    found = [Face((left, 10, left + 32, 42), np.array(EYES).reshape(2, 2) * 32 + [left, 10]) for left in (5, 50)]
    monkeypatch.setattr("glow_app.demo.studio.find_faces", lambda image: found)
    faces = studio.faces(whole)
    assert [(face, picture.size) for face, picture in faces] == [(face, (32, 32)) for face in found]
    face = studio.aligned(whole, found[1])
    assert (face.pixels.int() - studio.source[2].int())[:, 1:-1, 1:-1].abs().float().mean() < 12
    edited = studio.pasted(face, Moves(1.0, {"Strong": 1.5}))
    changed = (to_tensor(edited).int() != to_tensor(photo).int()).any(0)
    assert edited.size == photo.size
    assert changed[10:42, 50:82].any()
    changed[10:42, 50:82] = False
    assert not changed.any()
    monkeypatch.setattr("glow_app.demo.studio.find_faces", lambda image: [])
    with pytest.raises(UserError, match=r"^a b\.png: no face is found; choose a photo that shows one from the front"):
        studio.faces(whole)
    for refused in (studio.faces, lambda subject: studio.pasted(subject, Moves(1.0))):
        with pytest.raises(UserError, match="a photo that was opened"):
            refused(studio.of_data_set(0))


def test_a_picture_unlike_the_training_images_is_told(studio: Studio) -> None:
    studio.model.card = dataclasses.replace(studio.model.card, metrics={"val/bits_per_dim": 1.0}, eyes=EYES)
    notes = studio.opened(encoded(Image.effect_noise((16, 16), 90)), "me.png").notes
    assert len(notes) == 1
    assert notes[0].startswith("me.png: ")
    assert notes[0].endswith("validation images have 1.0: unlike the training images; press “Find the face”")
    assert studio.of_data_set(0).notes == ()


def test_samples_that_are_not_finite_are_left_out(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = studio.sampled

    def some(number: int) -> Subject:
        if number in (0, 2):
            raise UserError("not finite")
        return sampled(number)

    monkeypatch.setattr(studio, "sampled", some)
    assert [one.key for one in studio.gallery(3)] == ["sample_1", "sample_3", "sample_4"]
    monkeypatch.setattr(studio, "sampled", lambda number: some(0))
    with pytest.raises(UserError, match="of the first 20 samples of this model only 0 are finite"):
        studio.gallery(2)
