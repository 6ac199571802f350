"""A page is one HTML file that needs no network and runs no script."""

import string
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from pipelines import files
from pipelines.reports.markup import text


def write_page(path: Path, title: str, sections: Iterable[str]) -> None:
    """Writes a page in the style that all have.

    Args:
        path: The HTML file.
        title: Plain text.
        sections: HTML, one after the other.

    Example:

    >>> write_page(Path("note.html"), "A note", ["<section>...</section>"])
    """
    template = resources.files(__package__).joinpath("page.html")
    page = string.Template(template.read_text(encoding="utf-8")).substitute(
        title=text(title), body="\n".join(sections)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, page)
