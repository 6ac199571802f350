"""The flags that every command which reads a collection of images has."""

from absl import flags

from pipelines.command import cli

DATA = flags.DEFINE(
    cli.Path(),
    "data",
    "drawings",
    "What `python -m pipelines.prepare_data` made, or: a folder with one folder of "
    "images per class; a .tar, .tar.gz, .tar.bz2, .tar.xz or .zip of one; a .csv, .tsv "
    "or .jsonl of paths and labels; TFRecord files in the ImageNet layout; "
    "ilsvrc:FOLDER, ImageNet as published (ilsvrc-devkit:FOLDER for that label order); "
    "tfds:NAME[/CONFIG]; or drawings[:COUNT], the embedded set.",
)
VALIDATION_SHARE = flags.DEFINE_float(
    "validation_share",
    0.1,
    "Held out where the data has no validation split.",
    0.0,
    0.9,
)
MAX_BAD_SHARE = flags.DEFINE_float(
    "max_bad_share",
    0.01,
    "Stop above this share of unreadable images, or of damaged records.",
    0.0,
    1.0,
)
ON_ANOMALIES = flags.DEFINE_enum(
    "on_anomalies",
    "stop",
    ["stop", "warn"],
    "What to do about errors in the data, such as validation images that are also "
    "training images.",
)
