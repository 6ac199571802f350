"""The versions of a served model, as TF Serving counts them."""

from pathlib import Path


def versions(served: Path) -> list[int]:
    """Returns the numbers of the versions in a served model's folder, ascending."""
    return sorted(int(path.name) for path in served.iterdir() if path.name.isdigit())
