"""Pictures and facts as HTML. Names from users and files are escaped."""

import base64
import io
import math
import tempfile
from html import escape
from pathlib import Path

import torch
from PIL.Image import Image as Picture
from torch import Tensor

from glow_app.artifacts.card import Card
from glow_app.demo.studio import FIND_THE_FACE, Studio
from glow_app.demo.view import View
from glow_app.figures import grid, to_picture, zoomed
from glow_app.figures.animation import save_gif
from glow_app.units import with_error

FRAME_MS = 70

LARGE = 256
"""Pixels of the shorter side of a picture that is shown or saved, at least."""

HOW_TO_GET_DIRECTIONS = "No directions: <code>glow-directions checkpoint=...</code> finds them for this page."

HOW_TO_FIND_FACES = f"“{FIND_THE_FACE}” in a photo needs <code>pip install 'glow_app[align]'</code>"


def png(image: Tensor | Picture) -> str:
    """Returns a PNG of a picture or of an image, uint8 (C, H, W), as a data URL."""
    file = io.BytesIO()
    picture = to_picture(image) if isinstance(image, Tensor) else image
    picture.save(file, format="PNG", compress_level=1)
    return _data_url("image/png", file.getvalue())


def gif(frames: Tensor) -> str:
    """Returns an animation of uint8 (N, C, H, W), there and back, as a data URL."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "film.gif")
        save_gif(frames, path, FRAME_MS)
        return _data_url("image/gif", path.read_bytes())


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def large(images: Tensor) -> Tensor:
    """Enlarges images as ``glow-edit`` does, by interpolation, to at least ``LARGE`` pixels: uint8 (N, C, H, W)."""
    return zoomed(images, -(-LARGE // min(images.shape[2:])))


def _both(image: Tensor, kind: str, alternative: str) -> tuple[str, str]:
    """Returns an image twice, of which the page shows one: its pixels, and enlarged; and the latter's address."""
    smooth = png(large(image[None])[0])
    addresses = {kind: png(image), f"{kind} smooth": smooth}
    tags = [
        f'<img class="{classes}" alt="{escape(alternative)}" src="{address}" decoding="sync" draggable="false">'
        for classes, address in addresses.items()
    ]
    return "".join(tags), smooth


def stage(view: View, after: Tensor, done: str) -> str:
    """Returns the large picture; it shows the original while the mouse, or a key, is held down on it."""
    subject = view.subject
    what = escape(subject.name)
    new, address = _both(after, "after", f"{subject.name}, changed")
    old, _ = _both(subject.pixels, "before", subject.name)
    notes = "".join(f'<p class="note" role="status">{escape(note)}</p>' for note in subject.notes)
    return f"""<figure class="stage">
<button type="button" class="frame" title="Hold to see the original" aria-label="Hold to see the original">
{new}{old}</button>
<figcaption><img class="small" alt="{what}" src="{png(subject.pixels)}" decoding="sync">
<span><b>{what}</b><br>{escape(done)}</span>{_save(address, f"{view.file_name}.png", "Save PNG")}</figcaption>
{notes}</figure>"""


def _save(address: str, name: str, words: str) -> str:
    return f'<a class="save" download="{escape(name)}" href="{address}">{words}</a>'


def film(view: View, frames: Tensor) -> str:
    """Returns an animation with a link to save it."""
    url = gif(large(frames))
    return f"""<figure class="film"><img alt="from before to after" src="{url}">
<figcaption>{_save(url, f"{view.file_name}.gif", "Save GIF")}</figcaption></figure>"""


def side_by_side(view: View, after: Tensor) -> str:
    """Returns before and after, with a link to save both in one file."""
    before = view.subject.pixels
    picture = png(grid(large(torch.stack([before, after])), 2, column_labels=["before", "after"]))
    name = f"{view.file_name}_before_after.png"
    return f"""<figure class="film">{_both(before, "old", "before")[0]}{_both(after, "new", "after")[0]}
<figcaption>{_save(picture, name, "Save PNG")}</figcaption></figure>"""


def pasted(view: View, photo: Picture) -> str:
    """Returns a photo with the change in it, with a link to save it."""
    url = png(photo)
    name = f"{view.file_name}_pasted.png"
    return f"""<figure class="film"><img alt="the photo with the change in it" src="{url}">
<figcaption>{photo.width} × {photo.height} pixels<br>{_save(url, name, "Save PNG")}</figcaption></figure>"""


def thumbnail(name: str, image: Tensor) -> str:
    """Returns a small picture with its name."""
    return f'<figure class="towards">{_both(image, "other", name)[0]}<figcaption>{escape(name)}</figcaption></figure>'


def refused(message: str) -> str:
    """Returns a line in place of pictures that cannot be shown."""
    return f'<p class="note" role="status">{escape(message)}</p>'


def levels(images: Tensor, shapes: list[tuple[int, int, int]]) -> str:
    """Returns the picture after each level, coarsest first; ``shapes`` are those of the latents, finest first."""
    cells = []
    for number, image in enumerate(images):
        level = len(images) - number
        c, h, w = shapes[level - 1]
        plus = "level" if number == 0 else "+ level"
        cells.append(
            f"<figure>{_both(image, 'level', f'down to level {level}')[0]}"
            f"<figcaption><b>{plus} {level}</b><br>{c}&thinsp;×&thinsp;{h}&thinsp;×&thinsp;{w} numbers</figcaption>"
            "</figure>"
        )
    return f'<div class="levels">{"".join(cells)}</div>'


def head(card: Card, n_parameters: int) -> str:
    """Returns a line with the model and its metrics, and the switch for smooth pixels."""
    _, height, width = card.image_shape
    first = f"<b>{escape(str(card.data['name']))}</b> {height}×{width}, {card.n_bits} bits"
    parts = [escape(card.model.shape), f"{n_parameters / 1e6:.2f}M parameters", f"step {card.step:,}"]
    for split, words in (("test", "test"), ("val", "validation")):
        bits = card.metrics.get(f"{split}/bits_per_dim")
        if bits is not None:
            error = card.metrics.get(f"{split}/standard_error", math.nan)
            parts.append(f"<b>{with_error(bits, error, 3)}</b> bits/dim ({words})")
            break
    more = "".join(f" <i>·</i> {part}" for part in parts)
    smooth = '<label><input type="checkbox" id="smooth" checked> smooth pixels</label>'
    return f'<h1>Glow</h1><p class="facts">{smooth}{first}<span class="more">{more}</span></p>'


def limits(studio: Studio) -> str:
    """Returns the notes on the limits of the pictures."""
    lines = [
        "The model knows nothing but its training images. A picture that is not reconstructed exactly as it was "
        "opened (at the model's size) is marked; how well it can be edited depends on how much it looks like them.",
    ]
    if studio.directions is None:
        lines.append(HOW_TO_GET_DIRECTIONS)
    else:
        images = studio.directions.metadata.get("images")
        known = f" of {images:,} labelled images" if isinstance(images, int) else ""
        lines.append(
            f"Directions are means{known}: what often occurs together moves together, and rare attributes rest on few "
            "images. Beyond 1 an edit exaggerates."
        )
    return f'<p class="limits">{" ".join(lines)}</p>'


def label_of(attribute: str) -> str:
    """Returns the name of an attribute for display: ``Mouth_Slightly_Open`` -> ``Mouth slightly open``."""
    return attribute.replace("_", " ").capitalize()
