"""HTML of tables, pictures and lists of facts, and of the page that holds them; whatever is text is escaped."""

import base64
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rich.table import Table
from rich.text import Text

STYLE = Path(__file__).with_name("page.css")

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Content security policy: a browser loads nothing for the page but what the file holds itself."""

NUMBER = re.compile(r"[+-]?[\d.,]+(e[+-]?\d+)?%?(( ± |-)[\d.,e+-]+)?|[+-]?(inf|nan)|-?")
"""A figure, with its error, or an interval; or that there is none."""


@dataclass(frozen=True)
class Section:
    """One section of a page.

    Attributes:
        name: its anchor, one word.
        title: its heading.
        body: HTML; None for a section that is left out.
        reason: why it is left out.
    """

    name: str
    title: str
    body: str | None
    reason: str = ""


def paragraph(text: str) -> str:
    """A paragraph of text."""
    return f"<p>{escape(text)}</p>"


def facts(named: Iterable[tuple[str, str]]) -> str:
    """A list of names, each with what there is to say; what has an empty name belongs to the one before."""
    rows = "".join(f"{f'<dt>{escape(name)}</dt>' if name else ''}<dd>{escape(text)}</dd>" for name, text in named)
    return f"<dl>{rows}</dl>"


def rows(heading: Sequence[str], cells: Iterable[Sequence[str]], caption: str = "") -> str:
    """A table whose rows begin with a name; numbers are aligned to the right."""
    head = "".join(f'<th scope="col"{_side(number > 0)}>{escape(text)}</th>' for number, text in enumerate(heading))
    lines = [f'<tr><th scope="row">{escape(name)}</th>{"".join(map(_cell, others))}</tr>' for name, *others in cells]
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide"><table>{above}<thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def table(shown: Table) -> str:
    """A table as it is shown in a terminal."""
    columns = [[_plain(cell) for cell in column.cells] for column in shown.columns]
    title = "" if shown.title is None else _plain(shown.title)
    return rows([_plain(column.header) for column in shown.columns], list(zip(*columns, strict=True)), title)


def folded(summary: str, body: str) -> str:
    """HTML that is shown when its summary is clicked."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def picture(path: Path, caption: str) -> str:
    """A PNG, whose bytes are in the page, with a caption."""
    content = base64.b64encode(path.read_bytes()).decode()
    text = escape(caption)
    return f'<figure><img src="data:image/png;base64,{content}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def gallery(pictures: Iterable[str]) -> str:
    """Several pictures, side by side where there is room."""
    return f'<div class="gallery">{"".join(pictures)}</div>'


def page(title: str, lead: str, tiles: Mapping[str, str], sections: Sequence[Section], foot: str) -> str:
    """The whole page.

    Args:
        title: title of the page.
        lead: line below it.
        tiles: what is most important: name -> figure.
        sections: all sections; those left out are listed at the end.
        foot: last line.
    """
    there = [one for one in sections if one.body is not None]
    contents = "".join(f'<a href="#{one.name}">{escape(one.title)}</a>' for one in there)
    boxes = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in tiles.items())
    bodies = "".join(f'<section id="{one.name}"><h2>{escape(one.title)}</h2>{one.body}</section>' for one in there)
    out = [(one.title, one.reason) for one in sections if one.body is None]
    left = f'<section id="left_out"><h2>Left out</h2>{facts(out)}</section>' if out else ""
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{_style()}</style>"
    )
    body = (
        f"<header><h1>{escape(title)}</h1><p>{escape(lead)}</p></header>"
        f'<dl class="tiles">{boxes}</dl><nav aria-label="Sections">{contents}</nav>'
        f"<main>{bodies}{left}</main><footer>{escape(foot)}</footer>"
    )
    return f'<!DOCTYPE html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


@functools.cache
def _style() -> str:
    return STYLE.read_text()


def _plain(cell: object) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)


def _cell(text: str) -> str:
    return f"<td{_side(NUMBER.fullmatch(text) is not None)}>{escape(text)}</td>"


def _side(right: bool) -> str:
    return ' class="number"' if right else ""
