"""The yardsticks: what lossless codecs need for the same images."""

import io

import pytest
from PIL import Image

from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.evaluation import codecs
from glow_app.evaluation.codecs import codec_bits_per_dim, measure_codecs


def test_the_size_is_that_of_the_files() -> None:
    faces = DrawnFaces("test", 16, n_images=4)
    for codec, kind in (("PNG", "png"), ("WebP", "webp")):
        sizes = []
        for image in faces.fetch(range(4)):
            file = io.BytesIO()
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, **codecs.CODECS[codec])
            sizes.append(len(file.getvalue()))
            with Image.open(file, formats=[kind]) as again:
                assert again.tobytes() == image.permute(1, 2, 0).numpy().tobytes()
        assert codec_bits_per_dim(faces.fetch(range(4)), codec) == pytest.approx(8 * sum(sizes) / (4 * 3 * 16 * 16))
        assert measure_codecs(faces, range(4), 8, 0).bits_per_dim[codec] == pytest.approx(2 * sum(sizes) / 768)


def test_of_many_images_a_sample_from_first_to_last_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "CODEC_IMAGES", 3)
    faces, told = DrawnFaces("test", 16, n_images=9), []
    found = measure_codecs(faces, range(9), 8, 0, lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert found.which == "3 of the same 9 images, evenly spaced"
    for codec, bits in found.bits_per_dim.items():
        assert bits == pytest.approx(codec_bits_per_dim(faces.fetch([0, 4, 8]), codec))
    assert measure_codecs(faces, range(3), 8, 0).which == "the same pixels"


def test_the_report_names_the_setting() -> None:
    found = measure_codecs(DrawnFaces("test", 16, n_images=1), range(1), 8, 0)
    assert codecs.CODECS["WebP"]["method"] == 4
    assert found.sizes.endswith(" (method 4)")
