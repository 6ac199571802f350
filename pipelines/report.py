"""Makes a page of a run: curves, confusions, mistakes, and how to repeat it.

python -m pipelines.report --run=runs/demo
"""

from pathlib import Path

from absl import flags

from pipelines.command import cli

_RUN = flags.DEFINE(
    cli.Path(), "run", "runs/demo", "A run's folder; training may be going on in it."
)


def main(arguments: list[str]) -> None:
    """Writes the page and says where it is."""
    cli.refuse(arguments, "run")
    from pipelines.reports.run_page import make_report
    from pipelines.runs.folder import Run

    print(make_report(Run(Path(_RUN.value))))


if __name__ == "__main__":
    cli.run(main)
