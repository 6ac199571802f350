"""The flags that every command which trains has, and what they ask for."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

if TYPE_CHECKING:
    from pipelines.runs import Run, RunConfig

DATA = flags.DEFINE_string(
    "data",
    "drawings",
    "A folder with one folder of images per class, a .tar, .tar.gz or .zip of one, "
    "TFRecord files in the ImageNet layout, tfds:NAME[/CONFIG], or drawings[:COUNT], "
    "the embedded set.",
)
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
OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "runs/demo", "Gets everything that is made."
)
VALIDATION_SHARE = flags.DEFINE_float(
    "validation_share",
    0.1,
    "Held out where the data has no validation split.",
    0.0,
    0.9,
)
MAX_BAD_SHARE = flags.DEFINE_float(
    "max_bad_share", 0.01, "Stop above this share of unreadable images.", 0.0, 1.0
)
REPLICAS = flags.DEFINE_integer(
    "replicas", 0, "GPUs, or logical CPU devices, to train on; 0 takes all GPUs.", 0
)
RESUME = flags.DEFINE_bool(
    "resume",
    False,
    "Go on with what is in --output_dir as it was started, whatever the other flags.",
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what is in --output_dir.")

GOES_ON = (
    "; the same command, without --overwrite, goes on from the last finished epoch"
)
"""What an interrupted command tells."""


def open_requested_run(**others: Any) -> "tuple[Run, RunConfig]":
    """Returns the run that the flags ask for, new, unfinished or finished.

    Args:
        **others: Values for `pipelines.runs.request` beside those of the flags here.

    Raises:
        UserError: If a value is wrong, or the folder is not free for this run.
    """
    from pipelines.data.sources import open_source
    from pipelines.runs import Run, open_run, request

    output_dir = Path(OUTPUT_DIR.value)
    if RESUME.value:
        run = Run(output_dir)
        return run, run.read_config()
    config = request(
        data=DATA.value,
        model=MODEL.value,
        recipe=RECIPE.value,
        settings=SET.value,
        epochs=EPOCHS.value,
        seed=SEED.value,
        validation_share=VALIDATION_SHARE.value,
        max_bad_share=MAX_BAD_SHARE.value,
        **others,
    )
    run = open_run(output_dir, config, overwrite=OVERWRITE.value)
    if OVERWRITE.value:
        # What is there goes only for data that can be read.
        open_source(config.data)
        run.remove()
    return run, config
