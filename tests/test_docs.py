"""The Python examples of the documentation run, in order."""

import re

import keras
import numpy as np
import pytest

PAGES = ["docs/networks.md", "docs/surgery.md"]


@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page, pytestconfig):
    text = (pytestconfig.rootpath / page).read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert examples
    names = {"images": np.zeros((1, 64, 64, 3), "float32")}
    for example in examples:
        exec(compile(example, page, "exec"), names)
        keras.backend.clear_session()
