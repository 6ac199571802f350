"""The house stands as docs/architecture.md draws it.

Computed from every import in the sources, those in functions and for types too.
"""

import ast
import functools
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

Arrows = dict[str, set[str]]
"""What each module, or room, imports."""


@functools.cache
def sources() -> dict[str, ast.Module]:
    """Returns the parsed modules of both packages by their names."""
    found = {}
    for package in ("keras_resnet", "pipelines"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = ast.parse(path.read_text("utf-8"))
    return found


@functools.cache
def imports() -> Arrows:
    """Returns what every module imports, ours and others."""
    arrows: Arrows = {name: set() for name in sources()}
    for name, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                arrows[name] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{name} imports relatively"
                for alias in node.names:
                    module = f"{node.module}.{alias.name}"
                    arrows[name].add(module if module in arrows else node.module)
    return arrows


def room_in_house(module: str) -> str:
    """Returns the room of the whole house in which `module` is."""
    package, *inside = module.split(".")
    if package == "keras_resnet" or not inside:
        return package
    is_command = len(inside) == 1 and any(
        isinstance(node, ast.FunctionDef) and node.name == "main"
        for node in sources()[module].body
    )
    return "commands" if is_command else inside[0]


def room_in_library(module: str) -> str:
    """Returns the room of `keras_resnet`, or the package for what has none there."""
    package, *inside = module.split(".")
    return inside[0] if package == "keras_resnet" and inside else package


def arrows_between(room_of) -> Arrows:
    """Returns which rooms each room imports; packages' own files are no rooms."""
    arrows: Arrows = {}
    for module, imported in imports().items():
        room = room_of(module)
        arrows.setdefault(room, set()).update(
            room_of(other) for other in imported if other in sources()
        )
        arrows[room].discard(room)
    return arrows


def house() -> Arrows:
    arrows = arrows_between(room_in_house)
    del arrows["pipelines"]
    return arrows


def library() -> Arrows:
    arrows = arrows_between(room_in_library)
    # The door leads to every room; the pipelines stand above it.
    del arrows["keras_resnet"], arrows["pipelines"]
    return arrows


def drawings() -> list[list[list[str]]]:
    """Returns the rooms on each floor of each drawing, the highest first."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    return [
        [line.split()[1:] for line in drawing.splitlines()]
        for drawing in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.parametrize(("number", "built"), [(0, house), (1, library)])
def test_rooms_and_floors_are_as_drawn(number, built):
    drawing = drawings()[number]
    assert sorted(sum(drawing, [])) == sorted(built())
    depth = {room: depth for depth, rooms in enumerate(drawing) for room in rooms}
    upwards = {
        (room, other)
        for room, imported in built().items()
        for other in imported
        if depth[other] <= depth[room]
    }
    assert not upwards


def test_rooms_are_few():
    drawing = drawings()[0]
    assert len(drawing) <= 7
    assert len(sum(drawing[1:], [])) <= 14


def test_files_do_not_import_each_other_in_a_circle():
    ours = {name: imports()[name] & sources().keys() for name in sources()}
    # Names the circle that it finds.
    TopologicalSorter(ours).prepare()


def test_commands_do_not_import_each_other():
    commands = {name for name in sources() if room_in_house(name) == "commands"}
    assert commands
    for command in commands:
        assert not imports()[command] & commands


def test_library_knows_neither_tensorflow_nor_the_pipelines():
    for name, imported in imports().items():
        if name.split(".")[0] == "keras_resnet":
            packages = {module.split(".")[0] for module in imported}
            assert not packages & {"tensorflow", "pipelines"}, name
