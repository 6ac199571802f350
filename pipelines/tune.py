"""Looks for the depth, shortcut option and learning rate that suit the data.

python -m pipelines.tune --data=photos/ --model=resnet18 --recipe=he2015 --epochs=5
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from rich.console import Console

from pipelines import cli, environment
from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.runs import RunConfig

_DATA = flags.DEFINE_string(
    "data",
    "drawings:2000",
    "A folder with one folder of images per class, a .tar, .tar.gz or .zip of one, "
    "TFRecord files in the ImageNet layout, tfds:NAME[/CONFIG], or so many embedded "
    "drawings.",
)
_MODEL = flags.DEFINE_string(
    "model", "resnet20", "The network whose blocks per stage and shortcut are varied."
)
_RECIPE = flags.DEFINE_string(
    "recipe", "onecycle", "How to train; its learning rate is the middle of the search."
)
_SET = flags.DEFINE_multi_string(
    "set",
    [],
    "KEY=VALUE changes a value of the recipe (batch_size=64) or, as model.KEY=VALUE, "
    "of the network (model.stem=cifar); may be repeated.",
)
_TRIALS = flags.DEFINE_integer(
    "trials", 8, "Trials; a larger number than before goes on with a search.", 1
)
_EPOCHS = flags.DEFINE_integer("epochs", 4, "Epochs of a trial.", 1)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Decides the trials, initial weights, order, augmentation.", 0
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "runs/tune", "The search's folder.")
_VALIDATION_SHARE = flags.DEFINE_float(
    "validation_share",
    0.1,
    "Held out where the data has no validation split.",
    0.0,
    0.9,
)
_MAX_BAD_SHARE = flags.DEFINE_float(
    "max_bad_share", 0.01, "Stop above this share of unreadable images.", 0.0, 1.0
)
_REPLICAS = flags.DEFINE_integer(
    "replicas", 0, "GPUs, or logical CPU devices, to train on; 0 takes all GPUs.", 0
)
_RESUME = flags.DEFINE_bool(
    "resume", False, "Go on with the search in --output_dir as it was started."
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "Replace the search in --output_dir."
)
_CPU_SETTINGS = flags.DEFINE_enum(
    "cpu_settings",
    "fast",
    ["fast", "leave"],
    "Environment variables for TensorFlow on CPUs: measured ones, or leave them alone.",
)


def main(arguments: list[str]) -> None:
    """Searches, prints the trials, and says how to train from the best."""
    if arguments:
        raise UserError(f"{arguments[0]!r} is not a flag; write --data={arguments[0]}")
    # TensorFlow reads the environment once, when it is imported.
    environment.prepare(_CPU_SETTINGS.value)
    from pipelines.components.example_gen import example_gen
    from pipelines.components.tuner import tuner
    from pipelines.runs import Run, open_run
    from pipelines.summary import print_skipped
    from pipelines.training.strategies import make_strategy
    from pipelines.tuning.table import print_trials

    console = Console()
    strategy = make_strategy(_REPLICAS.value)
    output_dir = Path(_OUTPUT_DIR.value)
    if _RESUME.value:
        run = Run(output_dir)
        config = run.read_config()
    else:
        config = requested_config()
        run = open_run(output_dir, config, overwrite=_OVERWRITE.value)

    examples = example_gen(
        config.data,
        run.examples_dir,
        validation_share=config.validation_share,
        max_bad_share=_MAX_BAD_SHARE.value,
    )
    run.write_config(config)
    print_skipped(examples, console)
    best = tuner(
        examples,
        output_dir,
        base=config,
        trials=_TRIALS.value,
        strategy=strategy,
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


def requested_config() -> "RunConfig":
    """Returns what the flags ask every trial to start from."""
    from pipelines.runs import request

    return request(
        data=_DATA.value,
        model=_MODEL.value,
        recipe=_RECIPE.value,
        settings=_SET.value,
        epochs=_EPOCHS.value,
        seed=_SEED.value,
        validation_share=_VALIDATION_SHARE.value,
    )


def training_command(config: "RunConfig", hyperparameters: Path) -> str:
    """Returns the command that trains on the search's data from what it found."""
    values = {
        "data": config.data,
        "validation_share": config.validation_share,
        "seed": config.seed,
        "hyperparameters": hyperparameters,
        "output_dir": f"{hyperparameters.parent}-best",
    }
    return shlex.join(
        ["python", "-m", "pipelines.train_imagenet"]
        + [f"--{name}={value}" for name, value in values.items()]
    )


if __name__ == "__main__":
    cli.run(main)
