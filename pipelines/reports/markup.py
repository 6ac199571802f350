"""Pieces of HTML."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipelines.evaluation.intervals import CONFIDENCE, wilson

NUMBER = ' class="number"'


class Section(NamedTuple):
    """A part of a page.

    Attributes:
        title: Plain text, that of no other part of the page.
        body: HTML.
    """

    title: str
    body: str

    @property
    def anchor(self) -> str:
        """What a link to it names."""
        return re.sub(r"\W+", "-", self.title.lower())


def text(value: object) -> str:
    """Returns a value as text that no browser takes for markup."""
    return html.escape(str(value))


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], caption: str = ""
) -> str:
    """Returns a table.

    Args:
        head: The columns' headings.
        rows: Their first value is the row's heading; the others stand at the right.
        caption: What the table is about.
    """
    top = "".join(
        f'<th scope="col"{NUMBER if column else ""}>{text(name)}</th>'
        for column, name in enumerate(head)
    )
    body = "".join(
        f'<tr><th scope="row">{text(first)}</th>'
        + "".join(f"<td{NUMBER}>{text(value)}</td>" for value in values)
        + "</tr>"
        for first, *values in rows
    )
    said = f"<caption>{text(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{said}<thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def legend(names: Iterable[str]) -> str:
    """Returns what the colours mean that the style sheet has for `names`."""
    items = "".join(
        f'<span><span class="swatch {text(name)}"></span>{text(name)}</span>'
        for name in names
    )
    return f'<div class="legend">{items}</div>'


def folded(summary: str, body: str) -> str:
    """Returns HTML that its reader opens.

    Args:
        summary: Plain text, which always shows.
        body: HTML.
    """
    return f"<details><summary>{text(summary)}</summary>{body}</details>"


def counted(count: int, total: int, of_what: str = "") -> str:
    """Returns the counts behind a share, and how far it may be from the true one.

    Example:

    >>> counted(8, 45, "images")
    '8 of 45 images, 95% interval 9.3% to 31.3%'
    """
    low, high = wilson(count, total)
    return f"{count:,} of {total:,} {of_what}".rstrip() + (
        f", {CONFIDENCE:.0%} interval {low:.1%} to {high:.1%}"
    )
