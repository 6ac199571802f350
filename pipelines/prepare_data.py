"""Turns a collection of images into checked, sharded records, once for many runs.

python -m pipelines.prepare_data --data=ilsvrc:ILSVRC2012/ --output_dir=data/imagenet
python -m pipelines.train_imagenet --data=data/imagenet --model=resnet50 --recipe=he2015
"""

from pathlib import Path

from absl import flags
from rich.console import Console

from pipelines.command import cli, data_flags
from pipelines.errors import UserError

_OUTPUT_DIR = flags.DEFINE(
    cli.Path(),
    "output_dir",
    "data/demo",
    "Gets the records in examples/, their statistics/, schema.pbtxt, anomalies.pbtxt "
    "and data.html.",
)
_SHARD_MIB = flags.DEFINE_integer("shard_mib", 128, "Size of a shard, about.", 1)
_SHUFFLE_SEED = flags.DEFINE_integer(
    "shuffle_seed", 0, "Decides the order of the records.", 0
)
_PACK = flags.DEFINE_string(
    "pack",
    "",
    "Keeps smaller images that decode faster, such as short_side:256,quality:90.",
)
_ORIENTATION = flags.DEFINE_enum(
    "orientation",
    "auto",
    ["auto", "apply", "ignore"],
    "Whether photographs are turned as their EXIF data says; auto turns those of "
    "folders, archives and tables.",
)
_CHECK = flags.DEFINE_enum(
    "check",
    "full",
    ["full", "header"],
    "Decode every image, or believe what it says of itself: faster.",
)
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels", None, "Leave out larger images; 89 million by default.", 1
)
_WORKERS = flags.DEFINE_integer(
    "workers", 0, "Threads that do the work; 0 for as many as there are cores.", 0
)
_BEAM_ARGS = flags.DEFINE_string(
    "beam_args",
    None,
    "Have Apache Beam do the work, with these flags of its own, such as "
    "--runner=FlinkRunner; empty for its local runner.",
)
_PREVIOUS = flags.DEFINE(
    cli.Path(optional=True),
    "previous",
    "",
    "An earlier --output_dir, to compare the data with.",
)
_MAX_DECODED = flags.DEFINE_integer(
    "max_decoded",
    50_000,
    "Images of each split whose pixels the statistics are made of, at most.",
    1,
)


def main(arguments: list[str]) -> None:
    """Runs the components one after the other."""
    cli.refuse(arguments)
    from pipelines.command.data_validation import validate_data
    from pipelines.components.example_gen import example_gen
    from pipelines.data.images import MAX_PIXELS
    from pipelines.reports.summary import print_examples, print_skipped

    previous = Path(_PREVIOUS.value) if _PREVIOUS.value else None
    if previous and not (previous / "statistics").is_dir():
        raise UserError(
            f"--previous={previous} holds no statistics; give the --output_dir of an "
            "earlier `python -m pipelines.prepare_data`"
        )
    console = Console()
    directory = Path(_OUTPUT_DIR.value)
    examples = example_gen(
        data_flags.DATA.value,
        directory / "examples",
        validation_share=data_flags.VALIDATION_SHARE.value,
        max_bad_share=data_flags.MAX_BAD_SHARE.value,
        shard_bytes=_SHARD_MIB.value * 2**20,
        shuffle_seed=_SHUFFLE_SEED.value,
        pack=_PACK.value,
        orientation=_ORIENTATION.value,
        check=_CHECK.value,
        max_pixels=_MAX_PIXELS.value or MAX_PIXELS,
        workers=_WORKERS.value,
        beam_args=_BEAM_ARGS.value,
    )
    print_skipped(examples, console)
    validate_data(
        examples,
        directory,
        console,
        previous=previous,
        stop=data_flags.ON_ANOMALIES.value == "stop",
        max_decoded=_MAX_DECODED.value,
        max_bad_share=data_flags.MAX_BAD_SHARE.value,
    )
    print_examples(examples, directory, console)


if __name__ == "__main__":
    cli.run(main, when_interrupted="; the same command goes on from there")
