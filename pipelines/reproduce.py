"""The papers, executed: lists their claims, or measures some and judges them.

python -m pipelines.reproduce
python -m pipelines.reproduce shattered_gradients --budget=miniature
python -m pipelines.reproduce --all --data=cifar10.tar.gz --checkpoints=weights/
"""

import dataclasses
import itertools
import json
import time
from pathlib import Path

from absl import flags
from rich.console import Console
from rich.table import Table

from pipelines.command import cli
from pipelines.errors import UserError, unknown

_LIST = flags.DEFINE_enum(
    "list", "", ["", "text", "json"], "Tell the claims, for people or for machines."
)
_BUDGET = flags.DEFINE_enum(
    "budget",
    "miniature",
    ["miniature", "hours", "paper"],
    "What measuring a claim may cost: minutes or hours on a CPU, or what the paper "
    "spent.",
)
_ALL = flags.DEFINE_bool("all", False, "Measure all claims that have the budget.")
_DATA = flags.DEFINE(
    cli.Path(),
    "data",
    "data/cifar10.tar.gz",
    "CIFAR-10's training images, as a folder or an archive of one folder per class.",
)
_CHECKPOINTS = flags.DEFINE(
    cli.Path(),
    "checkpoints",
    "data",
    "The folder that has the published networks: resnet20_cifar10/ and "
    "resnet56_cifar10/ of akamaster/pytorch_resnet_cifar10.",
)
_OUTPUT_DIR = flags.DEFINE(
    cli.Path(), "output_dir", "runs/claims", "Gets everything that is made."
)
_PUBLISH = flags.DEFINE(
    cli.Path(optional=True),
    "publish",
    "",
    "A folder of documentation that gets the results: data/claims.csv, figures/ and "
    "reproduction.md.",
)

_COMMANDS = flags.DEFINE_bool(
    "commands",
    False,
    "Only print the trainings that the claims need at this budget, to run elsewhere; "
    "the claims then find their runs.",
)

GOES_ON = "; the same command goes on with the seed that was interrupted"


def main(arguments: list[str]) -> None:
    """Lists the claims, or measures those that are named."""
    from keras_resnet.experiments import CLAIMS

    for name in arguments:
        if name not in CLAIMS:
            raise unknown("claim", name, CLAIMS)
    console = Console()
    if _LIST.value == "json":
        print(json.dumps([dataclasses.asdict(claim) for claim in CLAIMS.values()]))
        return
    if _LIST.value or not (arguments or _ALL.value):
        table = Table("claim", "what is claimed", "source", "budgets")
        for claim in CLAIMS.values():
            budgets = ", ".join(name for name, _ in claim.budgets)
            table.add_row(claim.name, claim.sentence, claim.source, budgets)
        console.print(table)
        return
    if _ALL.value and arguments:
        raise UserError("--all measures every claim; leave the names out, or --all")

    from pipelines.components.reproducer import commands, finished, reproduce
    from pipelines.data import folders
    from pipelines.reports.claims import publish, write_claims_page

    budget, directory = _BUDGET.value, Path(_OUTPUT_DIR.value)
    claims = [CLAIMS[name] for name in dict.fromkeys(arguments)] or [
        claim for claim in CLAIMS.values() if budget in dict(claim.budgets)
    ]
    if _COMMANDS.value:
        lines = [commands(claim, budget, directory, _DATA.value) for claim in claims]
        print("\n".join(dict.fromkeys(itertools.chain(*lines))))
        return
    start, results = time.monotonic(), []
    with folders.held(directory):
        for number, claim in enumerate(claims, 1):
            result = reproduce(
                claim,
                budget,
                directory,
                data=_DATA.value,
                checkpoints=Path(_CHECKPOINTS.value),
                console=console,
            )
            results.append(result)
            left = (time.monotonic() - start) / number * (len(claims) - number)
            console.print(
                f"{claim.name}: {result.verdict.verdict} ({number} of {len(claims)}, "
                f"about {left / 60:.0f} minutes left)",
                highlight=False,
            )
        page = directory / "claims.html"
        write_claims_page(page, finished(directory))
        if _PUBLISH.value:
            publish(results, directory, Path(_PUBLISH.value))
    console.print(f"page: {page}", highlight=False)


if __name__ == "__main__":
    cli.run(main, when_interrupted=GOES_ON)
