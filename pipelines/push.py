"""Makes a model the one that a server answers with, lists its versions, goes back.

python -m pipelines.push --model=runs/demo --to=/models/demo
python -m pipelines.push --list --to=/models/demo
python -m pipelines.push --rollback --to=/models/demo
"""

from pathlib import Path

from absl import flags

from pipelines.command import cli
from pipelines.errors import UserError, printable

_MODEL = flags.DEFINE(
    cli.Path(),
    "model",
    "runs/demo",
    "A finished run's folder, whose newest SavedModel is pushed, or the folder of an "
    "export or of one version.",
)
_TO = flags.DEFINE(
    cli.Path(),
    "to",
    None,
    "The folder of the server's versions, its --model_base_path.",
)
_LIST = flags.DEFINE_bool("list", False, "Only tell which versions there are.")
_ROLLBACK = flags.DEFINE_bool(
    "rollback", False, "Make the version before the live one live again."
)


def main(arguments: list[str]) -> None:
    """Pushes, lists or rolls back, and tells which version is live."""
    cli.refuse(arguments, "model")
    if not _TO.value:
        raise UserError("no --to given; write --to=/models/demo, a server's folder")
    if [_LIST.value, _ROLLBACK.value, flags.FLAGS["model"].present].count(True) > 1:
        raise UserError("--list, --rollback and --model are three wishes; give one")
    from pipelines.components import pushed
    from pipelines.reports.version_table import version_table

    served = Path(_TO.value)
    if _LIST.value:
        print(version_table(pushed.listed(served)))
        return
    if _ROLLBACK.value:
        version, number = pushed.rollback(served)
        told = f"is live: version {number} again"
    else:
        source = pushed.find_source(Path(_MODEL.value))
        version, is_new = pushed.push(source, served)
        told = f"is live: {source}" if is_new else "is that already: nothing is pushed"
    print(printable(f"version {version.name} of {served} {told}"))


if __name__ == "__main__":
    cli.run(main)
