"""The table at the end of a search."""

import math
from collections.abc import Iterable
from typing import Literal

from rich.console import Console
from rich.table import Table

from pipelines.tuning.search import Trial

_COLUMNS: dict[str, Literal["left", "right"]] = {
    "trial": "right",
    "blocks\nper stage": "left",
    "depth": "right",
    "shortcut": "left",
    "learning\nrate": "right",
    "parameters": "right",
    "top-1\nerror": "right",
    "seconds": "right",
}


def print_trials(trials: Iterable[Trial], console: Console) -> None:
    """Prints a row for each trial, in the order given.

    Args:
        trials: The trials; their errors are those on the validation images.
        console: Where to print.
    """
    table = Table(box=None, header_style="bold")
    for name, justify in _COLUMNS.items():
        table.add_column(name, justify=justify, no_wrap=True)
    for trial in trials:
        network, error = trial.config.network, trial.top1_error
        table.add_row(
            str(trial.number),
            ", ".join(map(str, network.blocks_per_stage)),
            str(network.depth),
            network.shortcut,
            f"{trial.config.recipe.learning_rate:g}",
            f"{trial.parameters:,}",
            "diverged" if math.isinf(error) else f"{error:.2%}",
            f"{trial.seconds:.0f}",
        )
    console.print(table, highlight=False, soft_wrap=True)
