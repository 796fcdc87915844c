"""Controls of the page: sliders, and whatever chooses a picture."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from glow_app.data.image import SUFFIXES
from glow_app.demo import show
from glow_app.demo.studio import Studio, Subject
from glow_app.errors import UserError

LARGEST_AMOUNT = 2.0

IN_VIEW = 16
"""Sliders that are visible from the start."""


def attribute_sliders(studio: Studio) -> list[gr.Slider]:
    """Adds a slider for each attribute of a studio, the first of them in sight."""
    names = studio.attributes
    if not names:
        gr.HTML(f"<p class='hint'>{show.HOW_TO_GET_DIRECTIONS}</p>")
        return []
    gr.HTML(
        "<p class='hint'>0 leaves the picture as it is; 1 is the typical difference between images with and "
        "without the attribute. The strongest first.</p>"
    )
    with gr.Group(elem_classes="sliders"):
        sliders = [_slider(name) for name in names[:IN_VIEW]]
    if names[IN_VIEW:]:
        with (
            gr.Accordion(f"{len(names) - IN_VIEW} more attributes", open=False),
            gr.Group(elem_classes="sliders"),
        ):
            sliders += [_slider(name) for name in names[IN_VIEW:]]
    return sliders


def _slider(name: str) -> gr.Slider:
    return gr.Slider(
        -LARGEST_AMOUNT, LARGEST_AMOUNT, 0, step=0.05, label=show.label_of(name), buttons=["reset"],
        elem_id=f"attribute-{name}", elem_classes="attribute", min_width=150,
    )  # fmt: skip


def gallery(name: str, visible: bool = True) -> gr.Gallery:
    """Adds small pictures to click on, none at first."""
    return gr.Gallery(
        [], columns=4, allow_preview=False, format="png", show_label=False, object_fit="cover", elem_id=name,
        elem_classes="gallery", height="auto", buttons=[], interactive=False, visible=visible,
    )  # fmt: skip


class Chooser:
    """Controls to choose a picture.

    Args:
        studio: what opens and draws pictures.
        title: heading.
        key: beginning of the names of the controls.

    Attributes:
        gallery: samples.
        ways: triggers, with their inputs and the function that chooses.
    """

    def __init__(self, studio: Studio, title: str, key: str) -> None:
        self.studio = studio
        gr.HTML(f"<h2>{title}</h2>")
        self.gallery = gallery(f"{key}-gallery")
        with gr.Row():
            surprise = gr.Button("Surprise me", variant="primary", min_width=100, elem_id=f"{key}-surprise")
            upload = gr.UploadButton(
                "Open ...", file_types=list(SUFFIXES), type="filepath", min_width=100, elem_id=f"{key}-upload"
            )
        label: list[Any] = []
        if names := studio.model.card.class_names:
            choices = [(name, number) for number, name in enumerate(names)]
            label = [gr.Dropdown(choices, value=0, label="Class of what is drawn or opened")]
        self.ways: list[tuple[Callable[..., Any], list[Any], Callable[..., Subject]]] = [
            (surprise.click, label, self.surprise),
            (upload.upload, [upload, *label], self.open),
        ]
        if studio.source is not None:
            last = len(studio.source) - 1
            number = gr.Number(
                0, label=f"{studio.source.split.capitalize()} image, 0 to {last} (Enter)", precision=0,
                elem_id=f"{key}-number", elem_classes="bare",
            )  # fmt: skip
            self.ways.append((number.submit, [number], self.numbered))

    def surprise(self, label: int | None = None) -> Subject:
        """Draws any sample."""
        return self.studio.sampled(secrets.randbelow(10**6), label)

    def open(self, path: str, label: int | None = None) -> Subject:
        """Opens an upload, and deletes its file.

        Raises:
            UserError: it is no picture.
        """
        file = Path(path)
        try:
            return self.studio.opened(file.read_bytes(), file.name, label)
        finally:
            file.unlink(missing_ok=True)

    def numbered(self, index: int | None) -> Subject:
        """Takes an image of the data set.

        Raises:
            UserError: there is none of this number.
        """
        if index is None:
            raise UserError("type the number of an image of the data set")
        return self.studio.of_data_set(index)
