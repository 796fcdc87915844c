"""The page and what its controls do.

For each session, the server stores one :class:`~glow_app.demo.view.View`: what is shown. The browser stores the
positions of the sliders and sends all of them each time; those that cannot be followed go back to those of the view.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from html import escape
from typing import Any

import gradio as gr
import torch

from glow_app.data.landmarks import is_installed
from glow_app.demo import show
from glow_app.demo.server import SESSIONS
from glow_app.demo.studio import BLEND_STEPS, FIND_THE_FACE, SAMPLED_AT, Moves, Studio, Subject
from glow_app.demo.view import Kept, View
from glow_app.demo.widgets import Chooser, attribute_sliders, gallery
from glow_app.errors import UserError
from glow_app.figures import to_picture

FORGET_AFTER = 3600
"""Seconds for which the picture of a session is stored after its end."""

ATTRIBUTES, INTERPOLATE, LEVELS = "Attributes", "Interpolate", "Levels"

NAME_OF_TAB = """() => {
  const name = sessionStorage.getItem('glow-demo') || crypto.randomUUID();
  sessionStorage.setItem('glow-demo', name);
  return name;
}"""
"""A secret name that a tab of a browser keeps when it is reloaded, and no other has."""

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

Outputs = dict[Any, Any]
"""New values of components; the others stay as they are."""


def build(studio: Studio, n_pictures: int) -> gr.Blocks:
    """Builds the page of a studio, with ``n_pictures`` samples to choose from."""
    return _Page(studio, n_pictures).blocks


class _Page:
    def __init__(self, studio: Studio, n_pictures: int) -> None:
        self.studio = studio
        self.n_pictures = n_pictures
        self.pictures: list[Subject] = []
        self.kept = Kept(SESSIONS)
        self.find: gr.Button | None = None
        first, other = studio.gallery(2)
        self.start = View(first, Moves(first.temperature, {}, other))
        with gr.Blocks(title="glow-demo", analytics_enabled=False) as self.blocks:
            self._build()

    def _build(self) -> None:
        card = self.studio.model.card
        n_parameters = sum(p.numel() for p in self.studio.model.flow.parameters())
        gr.HTML(show.head(card, n_parameters), elem_id="head")
        self.view = gr.State(self.start, time_to_live=FORGET_AFTER)
        self.tab = gr.State(ATTRIBUTES)
        self.token = gr.Textbox(visible=False)
        subject, moves = self.start
        with gr.Row(equal_height=False, elem_id="body"):
            with gr.Column(elem_id="choose"):
                self.chooser = Chooser(self.studio, "Choose a picture", "subject")
                self._face_finder()
            with gr.Column(elem_id="look"):
                self.stage = gr.HTML(self._stage(self.start), elem_id="stage")
                self.temperature = gr.Slider(
                    0, 1, subject.temperature, step=0.05, label="Temperature", buttons=[], elem_id="temperature",
                    elem_classes="bare", info="1: all of its latents; 0: the model's most typical picture",
                )  # fmt: skip
                with gr.Row(elem_id="do"):
                    reset = gr.Button("Reset", size="md", min_width=80, elem_id="reset")
                    pair = gr.Button("Before / after", size="md", min_width=80, elem_id="pair")
                    film = gr.Button("Animate", size="md", min_width=80, elem_id="film")
                    self.paste = gr.Button("Paste back", size="md", min_width=80, elem_id="paste", visible=False)
                self.made = gr.HTML(elem_id="made")
            with gr.Column(elem_id="change"), gr.Tabs() as tabs:
                with gr.Tab(ATTRIBUTES):
                    self.sliders = attribute_sliders(self.studio)
                with gr.Tab(INTERPOLATE):
                    assert moves.other is not None
                    self.towards = gr.HTML(show.thumbnail(moves.other.name, moves.other.pixels))
                    self.position = gr.Slider(
                        0, 1, 0, step=1 / (BLEND_STEPS - 1), label="Position", buttons=[], elem_id="position",
                        elem_classes="bare", info="0: your picture, with all its changes; 1: the other one",
                    )  # fmt: skip
                    self.path = gr.Radio(
                        [("straight, as published", "linear"), ("along the sphere, keeps texture", "spherical")],
                        value="linear", label="Path through the latents", elem_id="path",
                        elem_classes="bare",
                    )  # fmt: skip
                    self.other_chooser = Chooser(self.studio, "The other picture", "other")
                with gr.Tab(LEVELS):
                    gr.HTML(
                        "<p class='hint'>The same picture from its coarsest latents alone, then with one finer level "
                        "after the other; what is missing is filled in by what the model thinks most typical.</p>"
                    )
                    self.levels = gr.HTML(elem_id="levels")
        gr.HTML(show.limits(self.studio), elem_id="foot")
        self.controls: list[Any] = [self.temperature, self.position, self.path, *self.sliders]
        self._connect_pictures()
        self._connect(tabs, reset, pair, film)

    def _face_finder(self) -> None:
        """Adds the control that aligns a photo, if the model knows where the eyes belong."""
        self.faces = gallery("faces", visible=False)
        if self.studio.eyes is None:
            return
        if is_installed():
            self.find = gr.Button(FIND_THE_FACE, size="md", elem_id="find", visible=False)
        else:
            gr.HTML(f"<p class='hint' id='find'>{show.HOW_TO_FIND_FACES}</p>")

    def _drawn(self) -> list[Subject]:
        """The samples to choose from, drawn when they are first needed: after the page is up."""
        self.pictures = self.pictures or self.studio.gallery(self.n_pictures)
        return self.pictures

    def _thumbnails(self) -> Outputs:
        images = show.large(torch.stack([picture.pixels for picture in self._drawn()]))
        thumbnails = [to_picture(image) for image in images]
        return {self.chooser.gallery: thumbnails, self.other_chooser.gallery: thumbnails}

    def _connect_pictures(self) -> None:
        self.now = [self.view, self.tab, self.token]
        self.every = [
            self.view, self.token, self.stage, self.levels, self.made, self.towards, self.faces, self.paste,
            *self.controls, *([self.find] if self.find else []),
        ]  # fmt: skip
        for one, then in ((self.chooser, self._opened), (self.other_chooser, self._opened_other)):
            one.gallery.select(self._picking(then), self.now, self.every, **_QUIET)
            for trigger, inputs, choose in one.ways:
                trigger(self._choosing(choose, then), [*self.now, *inputs], self.every, **_QUIET)
        if self.find is not None:
            self.find.click(self._refusing(self._find), self.now, self.every, **_QUIET)
        self.faces.select(self._refusing(self._align), self.now, self.every, **_QUIET)

    def _connect(self, tabs: gr.Tabs, reset: gr.Button, pair: gr.Button, film: gr.Button) -> None:
        moved = [control.input for control in self.controls] + [slider.release for slider in self.sliders]
        inputs = [*self.now, *self.controls]
        # Not preprocessed: that refuses a typed number out of range, and leaves the slider at it.
        as_typed: dict[str, Any] = {"trigger_mode": "always_last", "preprocess": False} | _QUIET
        gr.on(moved, self._refusing(self._moved), inputs, self.every, **as_typed)
        reset.click(self._refusing(self._reset), self.now, self.every, **_QUIET)
        for button, make in ((pair, self._pair), (film, self._film), (self.paste, self._pasted)):
            button.click(self._refusing(make), self.view, [self.made, *self.controls], **_QUIET)
        tabs.select(self._turned_to, self.view, [self.tab, self.levels], **_QUIET)
        self.blocks.load(self._restored, self.token, self.every, js=NAME_OF_TAB, **_QUIET)
        self.blocks.load(self._thumbnails, None, [self.chooser.gallery, self.other_chooser.gallery], **_QUIET)

    def _refusing(self, function: Callable[..., Outputs]) -> Callable[..., Outputs]:
        """Whatever a function of a view cannot do is told, and the sliders go back to what is shown."""

        @wraps(function)
        def wrapped(view: View, *arguments: Any) -> Outputs:
            try:
                return function(view, *arguments)
            except UserError as error:
                message = str(error)
            except Exception:
                traceback.print_exc()
                message = "this is a fault of the program: the terminal in which glow-demo runs says which"
            gr.Warning(escape(message), duration=12)
            return self._positions(view.moves)

        return wrapped

    def _choosing(self, choose: Callable[..., Subject], then: Callable[..., Outputs]) -> Callable[..., Outputs]:
        def chosen(view: View, tab: str, token: str, *arguments: Any) -> Outputs:
            return then(choose(*arguments), view, tab, token)

        return self._refusing(chosen)

    def _picking(self, then: Callable[..., Outputs]) -> Callable[..., Outputs]:
        def picked(view: View, tab: str, token: str, event: gr.SelectData) -> Outputs:
            return then(self._drawn()[int(event.index)], view, tab, token)

        return self._refusing(picked)

    def _opened(self, subject: Subject, view: View, tab: str, token: str) -> Outputs:
        new = View(subject, Moves(subject.temperature, {}, view.moves.other))
        return self._shown(new, tab, token) | self._around(new) | {self.made: ""}

    def _opened_other(self, other: Subject, view: View, tab: str, token: str) -> Outputs:
        new = view._replace(moves=replace(view.moves, other=other, position=0.5))
        return self._shown(new, tab, token) | self._around(new)

    def _reset(self, view: View, tab: str, token: str) -> Outputs:
        return self._opened(view.subject, view, tab, token)

    def _restored(self, token: str) -> Outputs:
        view = self.kept.get(token)
        if view is None:
            return {self.token: token}
        return {self.token: token} | self._shown(view, ATTRIBUTES, token) | self._around(view)

    def _find(self, view: View, tab: str, token: str) -> Outputs:
        faces = self.studio.faces(view.subject)
        if len(faces) == 1:
            return self._opened(self.studio.aligned(view.subject, faces[0][0]), view, tab, token)
        cut = [(picture, str(number)) for number, (_, picture) in enumerate(faces, 1)]
        return {self.faces: gr.Gallery(cut, visible=True)}

    def _align(self, view: View, tab: str, token: str, event: gr.SelectData) -> Outputs:
        face, _ = self.studio.faces(view.subject)[int(event.index)]
        return self._opened(self.studio.aligned(view.subject, face), view, tab, token)

    def _moved(self, view: View, tab: str, token: str, *settings: Any) -> Outputs:
        if None in settings:  # a number that is being typed
            return gr.skip()
        for control, value in zip(self.controls, settings, strict=True):
            if isinstance(control, gr.Slider) and not control.minimum <= value <= control.maximum:
                raise UserError(f"{control.label} {value:g}: choose {control.minimum:g} to {control.maximum:g}")
        temperature, position, path, *amounts = settings
        position = round(position * (BLEND_STEPS - 1)) / (BLEND_STEPS - 1)
        named = dict(zip(self.studio.attributes, amounts, strict=True))
        asked = Moves(temperature, named, view.moves.other, position, path)
        moves = self.studio.limited(view.subject, asked, view.moves)
        ended = [name for name, amount in named.items() if moves.amounts[name] != amount]
        shown, positions = self._shown(View(view.subject, moves), tab, token, ended), self._positions(moves)
        return shown if [*positions.values()] == [*settings] else shown | positions

    def _turned_to(self, view: View, event: gr.SelectData) -> Outputs:
        return {self.tab: event.value, self.levels: self._levels(view, event.value)}

    def _pair(self, view: View) -> Outputs:
        return {self.made: show.side_by_side(view, self.studio.after(*view))}

    def _film(self, view: View) -> Outputs:
        return {self.made: show.film(view, self.studio.film(*view))}

    def _pasted(self, view: View) -> Outputs:
        return {self.made: show.pasted(view, self.studio.pasted(*view))}

    def _shown(self, view: View, tab: str, token: str, ended: Sequence[str] = ()) -> Outputs:
        """Shows a view, and keeps it for a reload; what it refuses changes nothing.

        Args:
            view: picture and edits.
            tab: the tab in sight.
            token: secret name of the browser's tab.
            ended: attributes that were asked to go further.
        """
        outputs = {self.view: view, self.stage: self._stage(view, ended), self.levels: self._levels(view, tab)}
        if token:
            self.kept.put(token, view)
        return outputs

    def _around(self, view: View) -> Outputs:
        """Returns what goes with a view beside its picture."""
        subject, moves = view
        assert moves.other is not None
        from_photo = gr.update(visible=subject.upload is not None)
        outputs = self._positions(moves) | {
            self.towards: show.thumbnail(moves.other.name, moves.other.pixels),
            self.faces: gr.update(visible=False),
            self.paste: from_photo,
        }
        return outputs | ({self.find: from_photo} if self.find else {})

    def _positions(self, moves: Moves) -> Outputs:
        amounts = [moves.amounts.get(name, 0) for name in self.studio.attributes]
        return dict(zip(self.controls, [moves.temperature, moves.position, moves.path, *amounts], strict=True))

    def _stage(self, view: View, ended: Sequence[str] = ()) -> str:
        subject, moves = view
        done = [f"{show.label_of(name)} {amount:+.2f}" for name, amount in moves.amounts.items() if amount]
        done += [f"{show.label_of(name)} ends here: further on, pictures break down" for name in ended]
        if moves.other is not None and moves.position:
            done.append(f"{moves.position:.0%} of the way to {moves.other.name}")
        if moves.temperature != subject.temperature or subject.temperature == SAMPLED_AT:
            done.append(f"temperature {moves.temperature:.2f}")
        return show.stage(view, self.studio.after(subject, moves), ", ".join(done) or "as it was opened")

    def _levels(self, view: View, tab: str) -> str:
        """The levels of a view if they are in sight; that they cannot be shown is no reason to refuse the view."""
        if tab != LEVELS:
            return ""
        try:
            return show.levels(self.studio.built_up(*view), self.studio.model.flow.latent_shapes)
        except UserError as error:
            return show.refused(str(error))
