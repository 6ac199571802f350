"""The documentation: its examples run, and what it names is there."""

import pathlib
import re

import keras
import numpy as np
import pytest
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [
    "docs/analysis.md",
    "docs/networks.md",
    "docs/surgery.md",
    "docs/evaluation.md",
]
ALL_PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    ROOT / "benchmarks" / "README.md",
]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page, pytestconfig):
    text = (pytestconfig.rootpath / page).read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert examples
    names = {"images": np.zeros((1, 64, 64, 3), "float32")}
    for example in examples:
        exec(compile(example, page, "exec"), names)
        keras.backend.clear_session()


@pytest.fixture(scope="module", params=ALL_PAGES, ids=lambda page: page.stem)
def page(request):
    return request.param


def _codes(page):
    """Returns what stands in backticks within the lines of `page`."""
    return re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))


def test_paths_exist(page):
    rooms = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"data", "runs"}
    for code in _codes(page):
        if not re.fullmatch(r"[\w./*{},-]+", code):
            continue
        is_path = "/" in code and code.split("/")[0] in rooms
        if is_path or re.fullmatch(r"[\w{},*]+\.py", code):
            head, choices, tail = re.fullmatch(
                r"([^{]*)\{?([^}]*)\}?(.*)", code
            ).groups()
            for choice in choices.split(","):
                path = f"{head}{choice}{tail}".rstrip("/")
                assert any(ROOT.glob(path if is_path else f"**/{path}")), code


def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"[\w`]\]\(([\w./#-]+)\)", text):
        file, _, section = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        if section:
            titles = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), re.M)
            names = {
                re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles
            }
            assert section in names, link


def test_modules_that_are_run_exist(page):
    text = page.read_text(encoding="utf-8")
    for module in re.findall(
        r"python -m ((?:pipelines|keras_resnet|benchmarks)\.[\w.]*\w)", text
    ):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), (
            module
        )


def _names(requirements):
    return {Requirement(text).name.replace("_", "-") for text in requirements}


def test_tables_of_dependencies_are_complete(distribution):
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]]
        for line in text.partition("## Dependencies")[2].splitlines()
        if line.startswith("| ") and "---" not in line
    ]
    packages = {row[0] for row in rows if len(row) == 2} - {"package"}
    assert _names(packages) == _names(distribution["install_requires"])
    extras = {row[0]: set(row[1].split(", ")) for row in rows if len(row) == 3}
    del extras["extra"]
    # The last is made of others.
    for extra in extras["dev"] & extras.keys():
        extras["dev"] = extras["dev"] - {extra} | extras[extra]
    assert {extra: _names(packages) for extra, packages in extras.items()} == {
        extra: _names(requirements)
        for extra, requirements in distribution["extras_require"].items()
    }


def test_tests_exist(page):
    for file, name in re.findall(
        r"`(test_\w+\.py)::(test_\w+)`", page.read_text("utf-8")
    ):
        (path,) = ROOT.glob(f"tests/**/{file}")
        assert f"def {name}(" in path.read_text(encoding="utf-8"), f"{file}::{name}"
