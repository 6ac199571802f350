"""The versions of a served model as a table."""

from collections.abc import Mapping
from typing import Any

from pipelines.errors import printable

_COLUMNS = (
    *("version", "made (UTC)", "model", "data", "top-1 error", "licence", "blessed"),
    "from",
)
_DIGITS = 12


def version_table(versions: Mapping[int, dict[str, Any]]) -> str:
    """Returns a line for each version: when it was made, of what, and how good it is.

    Args:
        versions: What each notes, see `pipelines.serving.versions.read_made_from`, the
            live one last.

    Returns:
        Lines as long as they must be: paths are to be copied.

    Example:

    >>> print(version_table(listed(Path("/models/demo"))))
    """
    rows = [_COLUMNS]
    for number, values in versions.items():
        about, pushed = values.get("about", {}), values.get("pushed", {})
        error = about.get("top1_error")
        again = pushed.get("again")
        origin = f"version {again} again" if again else pushed.get("from", "")
        rows.append(
            (
                f"{number}{', live' if number == max(versions) else ''}",
                values.get("made", "")[:19].replace("T", " "),
                values.get("model", {}).get("model.keras", "")[:_DIGITS],
                about.get("examples", "")[:_DIGITS],
                "" if error is None else f"{error:.2%}",
                about.get("weights_licence") or "",
                "yes" if "blessing" in pushed else "",
                f"{origin}, by {pushed['by']}" if "by" in pushed else origin,
            )
        )
    shown = [[*map(printable, row)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in shown)
