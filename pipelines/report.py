"""Makes a page of a run: curves, confusions, mistakes, and how to repeat it.

python -m pipelines.report --run=runs/demo
"""

from pathlib import Path

from absl import flags

from pipelines.command import cli
from pipelines.errors import UserError

_RUN = flags.DEFINE_string(
    "run", "runs/demo", "A run's folder; training may be going on in it."
)
flags.adopt_module_key_flags(cli)


def main(arguments: list[str]) -> None:
    """Writes the page and says where it is."""
    if arguments:
        raise UserError(f"{arguments[0]!r} is not a flag; write --run={arguments[0]}")
    from pipelines.reports.run_page import make_report
    from pipelines.runs.folder import Run

    print(make_report(Run(Path(_RUN.value))))


if __name__ == "__main__":
    cli.run(main)
