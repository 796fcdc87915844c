"""Photos that somebody brings to a command: aligned, compared with the training images, pasted back."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glow_app.artifacts.card import read_card
from glow_app.commands import photos
from glow_app.commands.directions import directions
from glow_app.commands.edit import edit
from glow_app.commands.interpolate import interpolate
from glow_app.commands.photos import Photo, unlike
from glow_app.config.editing import DirectionsConfig, EditConfig, InterpolateConfig
from glow_app.data.alignment import of_box
from glow_app.data.image import decode_image
from glow_app.data.landmarks import Face
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.errors import UserError
from glow_app.figures import to_picture
from tests.commands.using import configure, use
from tests.demo.studios import small_model

EYES = (0.368, 0.49, 0.632, 0.49)
"""Of drawn faces."""


@pytest.fixture(scope="module")
def found(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("directions")
    use(directions, configure("directions", DirectionsConfig, f"checkpoint={run}", f"output={folder}"))
    return folder


def told(run: Path, found: Path, folder: Path, *arguments: str) -> str:
    shared = (f"checkpoint={run}", f"directions={found}", f"output={folder}", "zoom=1", "edit={Smiling: 1}")
    return use(edit, configure("edit", EditConfig, *shared, *arguments))


def portrait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, torch.Tensor]:
    """A photo of 300 x 200 pixels with a drawn face of 96 in it, whose eyes are known; and the face at 16 pixels."""
    face = DrawnFaces("test", image_size=16, n_images=8)[2]
    photo = Image.new("RGB", (300, 200), (90, 120, 150))
    photo.paste(to_picture(face).resize((96, 96), Image.Resampling.BICUBIC), (180, 40))
    photo.save(folder / "me.png")
    eyes = np.array(EYES).reshape(2, 2) * 96 + [180, 40]
    monkeypatch.setattr(photos, "one_face", lambda image, name, number: Face((0, 0, 1, 1), eyes))
    return folder / "me.png", face


def test_an_aligned_photo_is_a_picture_like_the_training_images(
    run: Path, found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, face = portrait(tmp_path, monkeypatch)
    told(run, found, tmp_path / "out", f"images=[{path}]", "edit={Smiling: 0}", "align=true")
    aligned = decode_image(tmp_path / "out" / "me_Smiling+0.png")
    assert (aligned.int() - face.int())[:, 1:-1, 1:-1].abs().float().mean() < 12
    told(run, found, tmp_path / "plain", f"images=[{path}]", "edit={Smiling: 0}")
    plain = decode_image(tmp_path / "plain" / "me_Smiling+0.png")
    assert (plain.int() - face.int())[:, 1:-1, 1:-1].abs().float().mean() > 20
    shared = (f"checkpoint={run}", f"output={tmp_path / 'out'}", "zoom=1", "steps=2")
    use(interpolate, configure("interpolate", InterpolateConfig, *shared, f"images=[{path},2]", "align=true"))
    strip = decode_image(tmp_path / "out" / "me-test_2_linear2.png")
    assert torch.equal(strip[:, 2:98:6, 2:98:6], aligned)


@pytest.mark.parametrize("align", [True, False])
def test_an_edit_is_pasted_into_the_photo(
    run: Path, found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, align: bool
) -> None:
    path, _ = portrait(tmp_path, monkeypatch)
    arguments = [f"images=[{path}]", "sweep=[Male]", "amounts=[-1,0,1]", "paste=true", f"align={str(align).lower()}"]
    told(run, found, tmp_path / "out", *arguments)
    made = {file.name for file in (tmp_path / "out").glob("*_pasted.png")}
    assert made == {f"me_{what}_pasted.png" for what in ("Smiling+1", "Male-1", "Male+0", "Male+1")}
    photo = decode_image(path).int()
    for name in made - {"me_Male+0_pasted.png"}:
        changed = (decode_image(tmp_path / "out" / name).int() != photo).any(0)
        left, right, top, bottom = (180, 276, 40, 136) if align else (50, 250, 0, 200)
        assert changed[top:bottom, left:right].any()
        changed[top:bottom, left:right] = False
        assert not changed.any()
    assert torch.equal(decode_image(tmp_path / "out" / "me_Male+0_pasted.png").int(), photo)


def test_mistakes(run: Path, found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = portrait(tmp_path, monkeypatch)
    with pytest.raises(UserError, match=r"face=2 chooses the face that is aligned: add align=true"):
        told(run, found, tmp_path, f"images=[{path}]", "face=2")
    with pytest.raises(UserError, match=r"paste=true changes photos, and images= names numbers of a data set"):
        told(run, found, tmp_path, f"images=[{path},3]", "paste=true")


def test_a_model_without_eyes_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = portrait(tmp_path, monkeypatch)
    small_model(tmp_path / "model")
    data = ["data=folder", f"data.root={tmp_path}", "align=true"]
    arguments = [f"checkpoint={tmp_path / 'model'}", f"images=[{path},{path}]", f"output={tmp_path / 'out'}", *data]
    with pytest.raises(UserError, match=r"align=true: this model does not know .* add data\.eyes=\[x1,y1,x2,y2\]"):
        use(interpolate, configure("interpolate", InterpolateConfig, *arguments))
    eyes = f"data.eyes=[{','.join(map(str, EYES))}]"
    use(interpolate, configure("interpolate", InterpolateConfig, *arguments, eyes, "steps=2"))
    assert (tmp_path / "out" / "me-me_2_linear2.png").exists()
    with pytest.raises(UserError, match=r"data\.eyes=\[0\.6,0\.4,0\.4,0\.4\]: give \[x1,y1,x2,y2\], fractions"):
        configure("interpolate", InterpolateConfig, *arguments, "data.eyes=[0.6,0.4,0.4,0.4]")
    with pytest.raises(UserError, match=r"data\.eyes=30.* is too large: it must be at most 1"):
        configure("interpolate", InterpolateConfig, *arguments, "data.eyes=[30,30,60,30]")


def test_a_picture_unlike_the_training_images_is_told(tmp_path: Path) -> None:
    model = small_model(tmp_path)
    pixels = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    own = model.bits_per_dim(pixels).tolist()
    photo = Photo(Path("a b.jpg"), of_box(0, 0, 1, 1, 16, 16), aligned=False)

    def lines(eyes: tuple[float, float, float, float] | None = EYES, photo: Photo = photo, **val: float) -> list[str]:
        metrics = {f"val/{key}": value for key, value in val.items()}
        model.card = dataclasses.replace(model.card, metrics=metrics, eyes=eyes)
        return unlike(model, [None, photo], pixels, None, 0)

    mean = own[1] - 1.5
    text = f"a b.jpg: {own[1]:.1f} bits/dim, where the model's validation images have {mean:.1f}: "
    text += "unlike the training images"
    assert lines(bits_per_dim=mean) == [f"{text}; try align=true"]
    assert lines(bits_per_dim=mean, eyes=None) == lines(bits_per_dim=mean, photo=photo._replace(aligned=True)) == [text]
    assert lines(bits_per_dim=own[1] - 0.5) == lines() == []
    # 3 deviations of 0.4 are less than 1.5, of 0.6 more.
    assert len(lines(bits_per_dim=mean, standard_error=0.04, images=100)) == 1
    assert lines(bits_per_dim=mean, standard_error=0.06, images=100) == []


def test_the_training_run_tells_its_model(run: Path) -> None:
    card, _ = read_card(run / "model")
    assert card.eyes == EYES
    assert card.metrics["val/images"] == card.metrics["test/images"] == 64


def test_a_card_with_other_eyes_is_damaged(tmp_path: Path) -> None:
    small_model(tmp_path)
    text = (tmp_path / "model.json").read_text()
    (tmp_path / "model.json").write_text(re.sub('"eyes": null', '"eyes": [0.1, 0.2]', text))
    with pytest.raises(UserError, match="is damaged or not a model card"):
        read_card(tmp_path)
