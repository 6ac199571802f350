"""Every notebook runs from top to bottom, and its kept outputs are those of today."""

import pathlib
import re

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def told(notebook):
    """Returns what its cells print, whatever the numbers."""
    printed = "".join(
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "display_data" or output.get("name") == "stdout"
    )
    return re.sub(r"[\d.,]+", "0", " ".join(printed.split()))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_runs(path):
    notebook = nbformat.read(path, as_version=4)
    kept = told(notebook)
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute(cwd=ROOT)
    assert "top-0 error" in told(notebook)
    assert told(notebook) == kept
