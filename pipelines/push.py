"""Makes a model the one that a server answers with, lists its versions, goes back.

python -m pipelines.push --model=runs/demo --to=/models/demo
python -m pipelines.push --blessing=runs/evaluation --to=/models/demo
python -m pipelines.push --list --to=/models/demo
python -m pipelines.push --rollback --to=/models/demo
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from pipelines.command import cli
from pipelines.errors import UserError, printable

if TYPE_CHECKING:
    from pipelines.evaluation.judgement import Check

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
_BLESSING = flags.DEFINE(
    cli.Path(),
    "blessing",
    None,
    "Push only what this blessing.json says yes to, or the one in this folder, as "
    "`python -m pipelines.evaluate --bless=...` writes it.",
)
_BLESS = flags.DEFINE_multi_string(
    "bless",
    [],
    "Push only if this holds in the run's own evaluation, such as top1_error<=0.25; "
    "may be repeated.",
)
_INFRA_VALIDATION = flags.DEFINE_bool(
    "infra_validation",
    True,
    "Have a fresh server answer with the version before it is live, and compare with "
    "the run's network: tensorflow_model_server where there is one, else ours.",
)
_WITHIN_SECONDS = flags.DEFINE_float(
    "validate_within_seconds", 120, "In which that server must have answered.", 0
)
_LIST = flags.DEFINE_bool("list", False, "Only tell which versions there are.")
_ROLLBACK = flags.DEFINE_bool(
    "rollback", False, "Make the version before the live one live again."
)


def main(arguments: list[str]) -> None:
    """Pushes, lists or rolls back; exits with 1 if the blessing is refused."""
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
        checks = _checks(source, served)
        for check in checks:
            if not check.passed:
                print(f"not blessed: {printable(check.sentence)}", file=sys.stderr)
        if not all(check.passed for check in checks):
            sys.exit(1)
        found = [check.sentence for check in checks]
        version, is_new = pushed.push(source, served, found, _check_of(source))
        told = f"is live: {source}" if is_new else "is that already: nothing is pushed"
    print(printable(f"version {version.name} of {served} {told}"))


def _checks(source: Path, served: Path) -> "list[Check]":
    """Returns what the flags ask a model to be."""
    if not _BLESSING.value and not _BLESS.value:
        return []
    from pipelines.components.blessed import blessing_of, own_checks
    from pipelines.evaluation.judgement import Threshold

    checks = own_checks(source, [Threshold.parse(text) for text in _BLESS.value])
    if _BLESSING.value:
        checks += blessing_of(source, Path(_BLESSING.value), served)
    return checks


def _check_of(source: Path) -> Callable[[Path], None]:
    """Returns what has a server answer with a copy of a version."""

    def check(version: Path) -> None:
        if _INFRA_VALIDATION.value:
            from pipelines.components.infra_validator import infra_validator
            from pipelines.runs.folder import run_of

            infra_validator(version, run_of(source), seconds=_WITHIN_SECONDS.value)

    return check


if __name__ == "__main__":
    cli.run(main)
