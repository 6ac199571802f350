"""The flags that every command which trains has, and what they ask for."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from pipelines.command import cli, data_flags
from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.runs.folder import Run
    from pipelines.runs.request import RunConfig
    from pipelines.training.loop import LoopOptions

MODEL = flags.DEFINE_string("model", "resnet20", "A network, for example resnet50.")
RECIPE = flags.DEFINE_string("recipe", "onecycle", "How to train, for example he2015.")
SET = flags.DEFINE_multi_string(
    "set",
    [],
    "KEY=VALUE changes a value of the recipe (learning_rate=0.1) or, as "
    "model.KEY=VALUE, of the network (model.shortcut=C); may be repeated.",
)
EPOCHS = flags.DEFINE_integer("epochs", None, "Epochs; the recipe's by default.", 1)
SEED = flags.DEFINE_integer(
    "seed", 0, "Decides initial weights, order and augmentation.", 0
)
OUTPUT_DIR = flags.DEFINE(
    cli.Path(), "output_dir", "runs/demo", "Gets everything that is made."
)
WEIGHTS = flags.DEFINE(
    cli.Path(optional=True, or_url=True),
    "weights",
    "",
    "Start from a run's folder, or what keras_resnet.load_weights takes: a file, "
    "a preset, imagenet, hf://OWNER/REPOSITORY, PRESET=FILE for a file like a preset.",
)
STRATEGY = flags.DEFINE_enum(
    "strategy",
    "auto",
    ["auto", "one", "mirrored", "multi_worker"],
    "Where steps run: on one device, on several of this host, or on several hosts "
    "(docs/scaling.md); auto looks for TF_CONFIG and for GPUs.",
)
REPLICAS = flags.DEFINE_integer(
    "replicas", 0, "GPUs, or logical CPU devices, to train on; 0 takes all GPUs.", 0
)
DATA_SERVICE = flags.DEFINE_string(
    "data_service",
    "",
    "Address of a tf.data service that makes the training batches, such as "
    "grpc://10.0.0.2:5000; they then come in no fixed order.",
)
RESUME = flags.DEFINE_bool(
    "resume",
    False,
    "Go on with what is in --output_dir as it was started, whatever the other flags.",
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what is in --output_dir.")
ALLOW_CHANGED = flags.DEFINE_list(
    "allow_changed",
    [],
    "Names in which the run in --output_dir may differ from what is asked for, such as "
    "recipe.batch_size,replicas; it goes on, but does not end as it would have.",
)
CHECKPOINT_EVERY = flags.DEFINE_string(
    "checkpoint_every",
    "10 minutes",
    "Time, or a span such as '500 steps', between checkpoints within an epoch.",
)
KEEP_LAST = flags.DEFINE_integer(
    "keep_last", 2, "How many of the newest checkpoints to keep.", 1
)
KEEP_BEST = flags.DEFINE_integer(
    "keep_best",
    1,
    "How many of the checkpoints with the best validation top-1 to keep besides.",
    0,
)
ON_NAN = flags.DEFINE_enum(
    "on_nan",
    "stop",
    ["stop", "skip", "rollback"],
    "What to do when a loss or gradient is not a number: stop before that step, skip "
    "it, or go back to the last checkpoint's weights and on with the next images.",
)
EXPORT = flags.DEFINE_enum(
    "export",
    "last",
    ["last", "best"],
    "Make the model of the last weights, or of the best checkpoint's.",
)

VERBOSE = flags.DEFINE_bool(
    "verbose", False, "Tell every value of the recipe, and what it means."
)

GOES_ON = "; the same command, without --overwrite, goes on from the last checkpoint"
"""What an interrupted command tells."""


def requested(**others: Any) -> "tuple[Run, RunConfig]":
    """Returns the run that the flags ask for; nothing is written or looked at.

    Args:
        **others: Values for `pipelines.runs.request` beside those of the flags here.

    Raises:
        UserError: If a value is wrong, or there is no run to `--resume`.
    """
    from pipelines.runs.folder import Run
    from pipelines.runs.request import request

    run = Run(Path(OUTPUT_DIR.value))
    if RESUME.value:
        return run, run.read_config()
    config = request(
        data=data_flags.DATA.value,
        model=MODEL.value,
        recipe=RECIPE.value,
        settings=SET.value,
        epochs=EPOCHS.value,
        seed=SEED.value,
        weights=WEIGHTS.value,
        validation_share=data_flags.VALIDATION_SHARE.value,
        max_bad_share=data_flags.MAX_BAD_SHARE.value,
        **others,
    )
    return run, config


def loop_options() -> "LoopOptions":
    """Returns how the flags ask to feed and keep a run.

    Raises:
        UserError: If `--checkpoint_every` is no time.
    """
    from pipelines.training.loop import LoopOptions

    try:
        return LoopOptions(
            checkpoint_every=CHECKPOINT_EVERY.value,
            keep_last=KEEP_LAST.value,
            keep_best=KEEP_BEST.value,
            on_nan=ON_NAN.value,
            export=EXPORT.value,
            allow_changed=ALLOW_CHANGED.value,
            data_service=DATA_SERVICE.value,
        )
    except ValueError as error:
        raise UserError(f"--checkpoint_every: {error}") from error
