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
from glow_app.demo.studio import Studio
from glow_app.figures import grid, to_picture
from glow_app.figures.animation import save_gif
from glow_app.units import with_error

FRAME_MS = 70

HOW_TO_GET_DIRECTIONS = "No directions: <code>glow-directions checkpoint=...</code> finds them for this page."


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


def stage(name: str, before: Tensor, after: Tensor, done: str) -> str:
    """Returns the large picture; it shows the original while the mouse is held down on it."""
    old, new, what = png(before), png(after), escape(name)
    return f"""<figure class="stage">
<div class="frame" title="Hold to see the original">
<img class="after" alt="{what}, changed" src="{new}" decoding="sync" draggable="false">
<img class="before" alt="{what}" src="{old}" decoding="sync" draggable="false">
</div>
<figcaption><img class="small" alt="{what}" src="{old}" decoding="sync">
<span><b>{what}</b><br>{escape(done)}</span>
<a class="save" download="glow.png" href="{new}">Save PNG</a></figcaption>
</figure>"""


def film(frames: Tensor) -> str:
    """Returns an animation with a link to save it."""
    url = gif(frames)
    return f"""<figure class="film"><img alt="from before to after" src="{url}">
<figcaption><a class="save" download="glow.gif" href="{url}">Save GIF</a></figcaption></figure>"""


def side_by_side(before: Tensor, after: Tensor) -> str:
    """Returns before and after, with a link to save both in one file."""
    picture = png(grid(torch.stack([before, after]), 2, column_labels=["before", "after"]))
    return f"""<figure class="film"><img alt="before" src="{png(before)}"><img alt="after" src="{png(after)}">
<figcaption><a class="save" download="glow_before_after.png" href="{picture}">Save PNG</a></figcaption></figure>"""


def thumbnail(name: str, image: Tensor) -> str:
    """Returns a small picture with its name."""
    what = escape(name)
    return f'<figure class="towards"><img alt="{what}" src="{png(image)}"><figcaption>{what}</figcaption></figure>'


def levels(images: Tensor, shapes: list[tuple[int, int, int]]) -> str:
    """Returns the picture after each level, coarsest first; ``shapes`` are those of the latents, finest first."""
    cells = []
    for number, image in enumerate(images):
        level = len(images) - number
        c, h, w = shapes[level - 1]
        plus = "level" if number == 0 else "+ level"
        cells.append(
            f'<figure><img alt="down to level {level}" src="{png(image)}">'
            f"<figcaption><b>{plus} {level}</b><br>{c}&thinsp;×&thinsp;{h}&thinsp;×&thinsp;{w} numbers</figcaption>"
            "</figure>"
        )
    return f'<div class="levels">{"".join(cells)}</div>'


def head(card: Card, n_parameters: int) -> str:
    """Returns a line with the model and its metrics, and the switch for smooth pixels."""
    _, height, width = card.image_shape
    parts = [
        f"<b>{escape(str(card.data['name']))}</b> {height}×{width}, {card.n_bits} bits",
        escape(card.model.shape),
        f"{n_parameters / 1e6:.2f}M parameters",
        f"step {card.step:,}",
    ]
    for split, words in (("test", "test"), ("val", "validation")):
        bits = card.metrics.get(f"{split}/bits_per_dim")
        if bits is not None:
            error = card.metrics.get(f"{split}/standard_error", math.nan)
            parts.append(f"<b>{with_error(bits, error, 3)}</b> bits/dim ({words})")
            break
    smooth = '<label><input type="checkbox" id="smooth"> smooth pixels</label>'
    return f'<h1>Glow</h1><p class="facts">{" <i>·</i> ".join(parts)}{smooth}</p>'


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
