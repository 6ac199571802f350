"""The versions of a served model, as TF Serving counts them."""

import re
from pathlib import Path


def versions(served: Path) -> list[int]:
    """Returns the numbers of the versions in a served model's folder, ascending."""
    names = (path.name for path in served.iterdir())
    return sorted(int(name) for name in names if re.fullmatch("[0-9]+", name))
