"""A view: a picture with its edits, its file name, and its storage beyond a reload of the page."""

from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

from glow_app.commands.edit import name_of_edit
from glow_app.demo.studio import Moves, Subject


class View(NamedTuple):
    """A picture and its edits, as shown."""

    subject: Subject
    moves: Moves

    @property
    def file_name(self) -> str:
        """Picture, attributes and amounts as ``glow-edit`` names its files, and whatever else was changed."""
        subject, moves = self
        parts = [subject.key, name_of_edit({name: amount for name, amount in moves.amounts.items() if amount})]
        if moves.temperature != subject.temperature:
            parts.append(f"temperature{moves.temperature:g}")
        if moves.other is not None and moves.position:
            parts.append(f"to_{moves.other.key}_{moves.position:g}")
        return "_".join(part for part in parts if part)


class Kept:
    """The last views of the ``most`` browser tabs that were used most recently, by their secret names."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._views: OrderedDict[str, View] = OrderedDict()
        self._lock = Lock()

    def put(self, tab: str, view: View) -> None:
        """Stores the view of a tab in place of its last one."""
        with self._lock:
            self._views[tab] = view
            self._views.move_to_end(tab)
            while len(self._views) > self._most:
                self._views.popitem(last=False)

    def get(self, tab: str) -> View | None:
        """Returns the last view of a tab, None if there is none."""
        with self._lock:
            return self._views.get(tab)
