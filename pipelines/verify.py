"""Tells whether examples or a run are still what was written.

python -m pipelines.verify data/imagenet
python -m pipelines.verify runs/demo
"""

import sys
from pathlib import Path

from absl import flags

from pipelines.command import cli
from pipelines.errors import UserError

flags.adopt_module_key_flags(cli)


def main(arguments: list[str]) -> None:
    """Prints a line for each problem, and exits with 1 if there is one."""
    if not arguments:
        raise UserError("no folder given; name examples, or the folder of a run")
    from pipelines.components.verifier import verifier

    is_whole = True
    for directory in arguments:
        problems = list(verifier(Path(directory)))
        print("\n".join(problems) or f"{directory} is what was written")
        is_whole &= not problems
    if not is_whole:
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
