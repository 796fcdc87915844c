"""What processes decide together, without any: the store is a dictionary."""

import itertools

import pytest

from glow_app import processes
from glow_app.place import Place


class Store(dict[str, bytes]):
    def set(self, key: str, value: str) -> None:
        self[key] = value.encode()


def test_every_decision_is_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of a sweep are decided one after the other; who is late must not be given an earlier decision."""
    store = Store()
    monkeypatch.setattr(processes, "_store", lambda: store)
    monkeypatch.setattr(processes, "is_child", lambda: False)
    monkeypatch.setenv(processes.AGREED, "")  # put back at the end
    decisions = iter(["first", "second"])
    heard = []
    for rank in (0, 1):
        monkeypatch.setattr(processes, "_agreements", itertools.count())
        monkeypatch.setattr(processes, "place", lambda rank=rank: Place(rank, 2, rank, 2))
        heard.append([processes.agreed(lambda: next(decisions)) for _ in range(2)])
    assert heard == [["first", "second"]] * 2
