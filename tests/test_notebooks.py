"""Every notebook runs from top to bottom, and its kept outputs are those of today."""

import pathlib
import re

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


USUAL, FEWER = "drawings:2000", "drawings:200"
"""The images of the outputs that are kept, and fewer that show the same."""


def told(notebook):
    """Returns what its cells print, whatever the numbers."""
    printed = "".join(
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "display_data" or output.get("name") == "stdout"
    )
    return re.sub(r"[\d.,]+", "0", " ".join(printed.split()))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_runs(path):
    text = path.read_text(encoding="utf-8")
    assert USUAL in text
    notebook = nbformat.reads(text.replace(USUAL, FEWER), as_version=4)
    kept = told(notebook)
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute(cwd=ROOT)
    assert "top-0 error" in told(notebook)
    assert told(notebook) == kept
