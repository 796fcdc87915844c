"""The page and what its controls do. The only module that uses gradio.

For each session, the server stores only two :class:`~glow_app.demo.studio.Subject`. The browser stores the positions of
the sliders and sends all of them each time.
"""

import secrets
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes import Base

from glow_app import figures
from glow_app.data.image import SUFFIXES
from glow_app.demo import show
from glow_app.demo.studio import BLEND_STEPS, SAMPLED_AT, Moves, Studio, Subject
from glow_app.errors import UserError

LARGEST_AMOUNT = 2.0

IN_VIEW = 16
"""Sliders that are visible from the start."""

SESSIONS = 100
"""Sessions whose pictures are stored at the same time, and for how many seconds after they end."""
FORGET_AFTER = 3600

CSS = Path(__file__).with_name("page.css")

THEME = Base(
    primary_hue="indigo",
    neutral_hue="slate",
    radius_size="lg",
    # Fonts of the system: nothing is fetched from elsewhere.
    font=["system-ui", "Segoe UI", "Roboto", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)


def build(studio: Studio, n_pictures: int) -> gr.Blocks:
    """Builds the page of a studio, with ``n_pictures`` images to choose from."""
    return _Page(studio, n_pictures).blocks


def launch(blocks: gr.Blocks, port: int | None, upload_mb: int) -> str:
    """Serves the page to this machine only, in a thread; returns its address.

    Raises:
        UserError: the port is taken.
    """
    try:
        _, address, _ = blocks.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=False,
            inbrowser=False,
            prevent_thread_lock=True,
            quiet=True,
            max_file_size=f"{upload_mb}mb",
            state_session_capacity=SESSIONS,
            theme=THEME,
            css_paths=[CSS],
            footer_links=[],
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
        )
    except OSError as error:
        raise UserError(f"port={port} is taken, or none is free: choose another, port=7870, or leave it out") from error
    return address


def _shows_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Shows a UserError as a message on the page."""

    @wraps(function)
    def wrapped(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except UserError as error:
            raise gr.Error(str(error), duration=12, print_exception=False, title="That did not work") from error

    return wrapped


class _Page:
    def __init__(self, studio: Studio, n_pictures: int) -> None:
        self.studio = studio
        first = 0 if studio.source is None else min(n_pictures, len(studio.source))
        self.pictures = [self._numbered(i) for i in range(first or n_pictures)]
        self.sliders: list[gr.Slider] = []
        with gr.Blocks(title="glow-demo", analytics_enabled=False) as self.blocks:
            self._build()

    def _numbered(self, index: int) -> Subject:
        return self.studio.sampled(index) if self.studio.source is None else self.studio.of_data_set(index)

    def _build(self) -> None:
        card = self.studio.model.card
        n_parameters = sum(p.numel() for p in self.studio.model.flow.parameters())
        gr.HTML(show.head(card, n_parameters), elem_id="head")
        start = self.pictures[0]
        with gr.Row(equal_height=False, elem_id="body"):
            with gr.Column(scale=4, min_width=240, elem_id="choose"):
                self.subject = gr.State(start, time_to_live=FORGET_AFTER)
                chosen = self._chooser("Choose a picture", "subject")
            with gr.Column(scale=8, min_width=400, elem_id="look"):
                self.stage = gr.HTML(self._stage(start, Moves(start.temperature)), elem_id="stage")
                self.temperature = gr.Slider(
                    0, 1, start.temperature, step=0.05, label="Temperature", buttons=[], elem_id="temperature",
                    elem_classes="bare", info="1: all of its latents; 0: the model's most typical picture",
                )  # fmt: skip
                with gr.Row():
                    reset = gr.Button("Reset", size="md", min_width=80, elem_id="reset")
                    pair = gr.Button("Before / after", size="md", min_width=80, elem_id="pair")
                    film = gr.Button("Animate", size="md", min_width=80, elem_id="film")
                self.made = gr.HTML(elem_id="made")
            with gr.Column(scale=8, min_width=400, elem_id="change"), gr.Tabs():
                with gr.Tab("Attributes"):
                    self._attributes()
                with gr.Tab("Interpolate"):
                    self.other = gr.State(self.pictures[-1], time_to_live=FORGET_AFTER)
                    self.towards = gr.HTML(self._towards(self.pictures[-1]))
                    self.position = gr.Slider(
                        0, 1, 0, step=1 / (BLEND_STEPS - 1), label="Position", buttons=[], elem_id="position",
                        elem_classes="bare", info="0: your picture, with all its changes; 1: the other one",
                    )  # fmt: skip
                    self.path = gr.Radio(
                        [("straight, as published", "linear"), ("along the sphere, keeps texture", "spherical")],
                        value="linear", label="Path through the latents", elem_id="path",
                        elem_classes="bare",
                    )  # fmt: skip
                    other_chosen = self._chooser("The other picture", "other")
                with gr.Tab("Levels") as levels_tab:
                    gr.HTML(
                        "<p class='hint'>The same picture from its coarsest latents alone, then with one finer level "
                        "after the other; what is missing is filled in by what the model thinks most typical.</p>"
                    )
                    self.levels = gr.HTML(elem_id="levels")
        gr.HTML(show.limits(self.studio), elem_id="foot")
        self._connect(chosen, other_chosen, levels_tab, reset, pair, film)

    def _attributes(self) -> None:
        names = self.studio.attributes
        if not names:
            gr.HTML(f"<p class='hint'>{show.HOW_TO_GET_DIRECTIONS}</p>")
            return
        gr.HTML(
            "<p class='hint'>0 leaves the picture as it is; 1 is the typical difference between images with and "
            "without the attribute. The strongest first.</p>"
        )
        with gr.Group(elem_classes="sliders"):
            self.sliders += [self._slider(name) for name in names[:IN_VIEW]]
        if names[IN_VIEW:]:
            with (
                gr.Accordion(f"{len(names) - IN_VIEW} more attributes", open=False),
                gr.Group(elem_classes="sliders"),
            ):
                self.sliders += [self._slider(name) for name in names[IN_VIEW:]]

    def _slider(self, name: str) -> gr.Slider:
        return gr.Slider(
            -LARGEST_AMOUNT, LARGEST_AMOUNT, 0, step=0.05, label=show.label_of(name), buttons=["reset"],
            elem_id=f"attribute-{name}", elem_classes="attribute", min_width=150,
        )  # fmt: skip

    def _chooser(self, title: str, key: str) -> list[tuple[Callable[..., Any], list[Any], Callable[..., Subject]]]:
        """Adds controls to choose a picture; returns the trigger, inputs and function of each."""
        gr.HTML(f"<h2>{title}</h2>")
        thumbnails = [figures.to_picture(figures.enlarged(picture.pixels[None])[0]) for picture in self.pictures]
        with gr.Row():
            surprise = gr.Button("Surprise me", variant="primary", min_width=100, elem_id=f"{key}-surprise")
            upload = gr.UploadButton(
                "Open ...", file_types=list(SUFFIXES), type="filepath", min_width=100, elem_id=f"{key}-upload"
            )
        gallery = gr.Gallery(
            thumbnails, columns=4, allow_preview=False, format="png", show_label=False, object_fit="cover",
            elem_id=f"{key}-gallery", elem_classes="gallery", height="auto", buttons=[], interactive=False,
        )  # fmt: skip
        ways: list[tuple[Callable[..., Any], list[Any], Callable[..., Subject]]] = []
        label: list[Any] = []
        if names := self.studio.model.card.class_names:
            choices = [(name, number) for number, name in enumerate(names)]
            label = [gr.Dropdown(choices, value=0, label="Class of what is drawn or opened")]
        ways.append((surprise.click, label, self._surprise))
        ways.append((upload.upload, [upload, *label], self._open))
        ways.append((gallery.select, [], self._pick))
        if self.studio.source is not None:
            last = len(self.studio.source) - 1
            number = gr.Number(
                0, label=f"{self.studio.source.split.capitalize()} image, 0 to {last}", precision=0, minimum=0,
                maximum=last, elem_id=f"{key}-number", elem_classes="bare",
            )  # fmt: skip
            ways.append((number.submit, [number], self._numbered_by))
        return ways

    def _surprise(self, label: int | None = None) -> Subject:
        return self.studio.sampled(secrets.randbelow(10**6), label)

    def _open(self, path: str, label: int | None = None) -> Subject:
        file = Path(path)
        try:
            return self.studio.opened(file.read_bytes(), file.name, label)
        finally:
            file.unlink(missing_ok=True)  # uploads are not stored

    def _numbered_by(self, index: int | None) -> Subject:
        if index is None:
            raise UserError("type the number of an image of the data set")
        return self.studio.of_data_set(index)

    def _pick(self, event: gr.SelectData) -> Subject:
        return self.pictures[int(event.index)]

    def _connect(self, chosen: Any, other_chosen: Any, levels_tab: gr.Tab, reset: Any, pair: Any, film: Any) -> None:
        controls = [self.temperature, self.position, self.path, *self.sliders]
        everything = [self.subject, self.other, *controls]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        fresh = [self.stage, self.levels, self.made, *controls]
        for trigger, inputs, choose in chosen:
            trigger(self._choosing(choose), inputs, [self.subject, *fresh], **quiet)
        for trigger, inputs, choose in other_chosen:
            trigger(self._choosing_other(choose), inputs, [self.other, self.towards, self.position], **quiet).then(
                _shows_errors(self._move), everything, self.stage, **quiet
            )
        reset.click(_shows_errors(self._fresh), self.subject, fresh, **quiet)
        moved = [control.input for control in controls] + [slider.release for slider in self.sliders]
        gr.on(moved, _shows_errors(self._move), everything, self.stage, trigger_mode="always_last", **quiet)
        levels_tab.select(_shows_errors(self._levels), everything, self.levels, **quiet)
        pair.click(_shows_errors(self._pair), everything, self.made, **quiet)
        film.click(_shows_errors(self._film), everything, self.made, **quiet)

    def _choosing(self, choose: Callable[..., Subject]) -> Callable[..., Any]:
        @_shows_errors
        @wraps(choose)
        def chosen(*arguments: Any) -> list[Any]:
            subject = choose(*arguments)
            return [subject, *self._fresh(subject)]

        return chosen

    def _choosing_other(self, choose: Callable[..., Subject]) -> Callable[..., Any]:
        @_shows_errors
        @wraps(choose)
        def chosen(*arguments: Any) -> list[Any]:
            other = choose(*arguments)
            return [other, self._towards(other), 0.5]

        return chosen

    def _fresh(self, subject: Subject) -> list[Any]:
        """Returns the outputs ``fresh`` of :meth:`_connect` for an unedited subject."""
        moves = Moves(subject.temperature)
        settings = [subject.temperature, 0, "linear", *(0 for _ in self.sliders)]
        return [self._stage(subject, moves), self._level_row(subject, moves), "", *settings]

    def _moves(self, other: Subject, temperature: float, position: float, path: str, *amounts: float) -> Moves:
        named = dict(zip(self.studio.attributes, amounts, strict=True))
        return Moves(temperature, named, other, position, path)

    def _move(self, subject: Subject, *settings: Any) -> str:
        return self._stage(subject, self._moves(*settings))

    def _levels(self, subject: Subject, *settings: Any) -> str:
        return self._level_row(subject, self._moves(*settings))

    def _pair(self, subject: Subject, *settings: Any) -> str:
        after = self.studio.after(subject, self._moves(*settings))
        return show.side_by_side(subject.pixels, after)

    def _film(self, subject: Subject, *settings: Any) -> str:
        return show.film(self.studio.film(subject, self._moves(*settings)))

    def _stage(self, subject: Subject, moves: Moves) -> str:
        done = [f"{show.label_of(name)} {amount:+.2f}" for name, amount in moves.amounts.items() if amount]
        if moves.other is not None and moves.position:
            done.append(f"{moves.position:.0%} of the way to {moves.other.name}")
        if moves.temperature != subject.temperature or subject.temperature == SAMPLED_AT:
            done.append(f"temperature {moves.temperature:.2f}")
        after = self.studio.after(subject, moves)
        return show.stage(subject.name, subject.pixels, after, ", ".join(done) or "as it was opened")

    def _level_row(self, subject: Subject, moves: Moves) -> str:
        return show.levels(self.studio.built_up(subject, moves), self.studio.model.flow.latent_shapes)

    def _towards(self, other: Subject) -> str:
        return show.thumbnail(other.name, other.pixels)
