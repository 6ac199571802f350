"""Looks for the depth, shortcut option and learning rate that suit the data.

python -m pipelines.tune --data=photos/ --model=resnet18 --recipe=he2015 --epochs=5
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from rich.console import Console

from pipelines.command import cli, data_flags, run_flags
from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.runs.request import RunConfig

_TRIALS = flags.DEFINE_integer(
    "trials", 8, "Trials; a larger number than before goes on with a search.", 1
)
flags.set_default(data_flags.DATA, "drawings:2000")
flags.set_default(run_flags.EPOCHS, 4)
flags.set_default(run_flags.OUTPUT_DIR, "runs/tune")


def main(arguments: list[str]) -> None:
    """Searches, prints the trials, and says how to train from the best."""
    cli.refuse(arguments)
    from pipelines.command.prepared_run import prepared_run
    from pipelines.components.tuner import DEFAULT_SPACE, LEARNING_RATE_ONLY, tuner
    from pipelines.reports.summary import print_trials
    from pipelines.training.strategies import make_strategy

    if run_flags.ALLOW_CHANGED.value:
        raise UserError(
            "--allow_changed is for a single run, since trials that were asked for "
            "different things cannot be compared; leave it out, or give --overwrite or "
            "another --output_dir"
        )
    console = Console()
    options = run_flags.loop_options()
    strategy = make_strategy(run_flags.STRATEGY.value, run_flags.REPLICAS.value)
    with prepared_run(strategy, console) as (run, config, examples):
        best = tuner(
            examples,
            run.directory,
            base=config,
            space=LEARNING_RATE_ONLY if config.weights else DEFAULT_SPACE,
            trials=_TRIALS.value,
            strategy=strategy,
            options=options,
            console=console,
        )
    print_trials(best.trials, console)
    console.print(
        f"errors on {examples.counts['validation']:,} validation images after "
        f"{config.recipe.epochs} epochs\n"
        f"the best is in {best.path}; train from it with\n"
        f"  {training_command(config, best.path)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def training_command(config: "RunConfig", hyperparameters: Path) -> str:
    """Returns the command that trains on the search's data from what it found."""
    values = {
        "data": config.data,
        "validation_share": config.validation_share,
        "max_bad_share": config.max_bad_share,
        "examples_dir": hyperparameters.parent / "examples",
        "seed": config.seed,
        **({"weights": config.weights} if config.weights else {}),
        "hyperparameters": hyperparameters,
        "output_dir": f"{hyperparameters.parent}-best",
    }
    return shlex.join(
        ["python", "-m", "pipelines.train_imagenet"]
        + [f"--{name}={value}" for name, value in values.items()]
    )


if __name__ == "__main__":
    cli.run(main, when_interrupted=run_flags.GOES_ON)
