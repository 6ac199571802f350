"""Runs a command: what `keras-resnet` and `python -m pipelines` are.

keras-resnet
keras-resnet train --data=photos/ --output_dir=runs/photos

A folder called pipelines where it is typed does not hide ours, as it does for
`python -m pipelines.train_imagenet`.
"""

import ast
import runpy
import sys
from collections.abc import Iterable
from pathlib import Path

from pipelines.errors import UserError, unknown


def main() -> None:
    """Runs the command that the first argument names, or lists all."""
    known = commands()
    if len(sys.argv) < 2:
        print("keras-resnet COMMAND --help tells more; the commands are")
        for name, summary in known.items():
            print(f"  {name:{max(map(len, known))}}  {summary}")
        return
    try:
        name = find(sys.argv.pop(1), known)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)
    runpy.run_module(f"pipelines.{name}", run_name="__main__", alter_sys=True)


def commands() -> dict[str, str]:
    """Returns what each command does in a line: of the files here that have a `main`.

    They are read, not imported: a command's flags are those of no other.
    """
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(
            isinstance(node, ast.FunctionDef) and node.name == "main"
            for node in tree.body
        ):
            found[path.stem] = (ast.get_docstring(tree) or "").split("\n")[0]
    return found


def find(name: str, known: Iterable[str]) -> str:
    """Returns the one command that is called `name`, or that alone begins so.

    Raises:
        UserError: If there is none, or more than one.

    Example:

    >>> find("prepare-data", ["predict", "prepare_data"])
    'prepare_data'
    """
    name = name.replace("-", "_")
    matches = (
        [name] if name in known else [one for one in known if one.startswith(name)]
    )
    if len(matches) != 1:
        raise unknown("command", name, matches or known)
    return matches[0]


if __name__ == "__main__":
    main()
