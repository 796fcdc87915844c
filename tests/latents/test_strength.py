"""Which attributes are shown."""

from glow_app.latents.strength import shown_first


def test_the_known_come_first_and_others_where_there_are_none() -> None:
    assert shown_first(["5_o_Clock_Shadow", "Male", "Smiling"]) == ["Smiling", "Male"]
    assert shown_first(["a", "b", "c", "d", "e"]) == ["a", "b", "c", "d"]
