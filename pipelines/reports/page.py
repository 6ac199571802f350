"""A page is one HTML file that needs no network and runs no script."""

import string
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from pipelines import files
from pipelines.reports.markup import Section, text


def write_page(
    path: Path,
    title: str,
    header: str,
    sections: Iterable[Section | None],
    *,
    refresh: int | None = None,
) -> None:
    """Writes a page in the style that all have, its contents after its header.

    Args:
        path: The HTML file.
        title: Plain text.
        header: HTML.
        sections: One after the other; None is left out.
        refresh: Seconds after which a browser reads the file again; None for never.

    Example:

    >>> write_page(Path("note.html"), "A note", "", [Section("One", "<p>...</p>")])
    """
    shown = [section for section in sections if section]
    contents = "".join(
        f'<a href="#{section.anchor}">{text(section.title)}</a>' for section in shown
    )
    body = [
        f"<header>{header}</header>",
        f'<nav aria-label="Contents">{contents}</nav>',
        *(
            f'<section id="{section.anchor}"><h2>{text(section.title)}</h2>'
            f"{section.body}</section>"
            for section in shown
        ),
    ]
    again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    template = resources.files(__package__).joinpath("page.html")
    page = string.Template(template.read_text(encoding="utf-8")).substitute(
        title=text(title), refresh=again, body="\n".join(body)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, page)
