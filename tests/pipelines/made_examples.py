"""Examples made without ingest, so that anything can be in their records."""

import io

import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines.data import records
from pipelines.data.examples import Examples


def encode(pixels, kind="PNG"):
    """Returns an image file of uint8 `(height, width, 3)`."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def random_image(generator, height=6, width=5, kind="PNG"):
    return encode(generator.integers(0, 256, (height, width, 3), np.uint8), kind)


def feature(value):
    """Returns a feature of a value, or of a list of them, by its type."""
    values = value if isinstance(value, list) else [value]
    values = [item.encode() if isinstance(item, str) else item for item in values]
    if values and isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if values and isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def record(image, label, class_name, height=6, width=5, kind="PNG", **changes):
    """Returns a serialized record; a change to None leaves a feature out."""
    values = {
        "image/encoded": image,
        "image/format": kind,
        "image/filename": f"{class_name}/{label}.png",
        "image/height": height,
        "image/width": width,
        "image/class/label": label,
        "image/class/text": class_name,
        **{f"image/{key}": value for key, value in changes.items()},
    }
    features = {
        key: feature(value) for key, value in values.items() if value is not None
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def write_examples(directory, splits, classes, shards=2, **manifest):
    """Writes `{"train": [record, ...], ...}` as examples.

    Args:
        directory: Where to; made.
        splits: The serialized records.
        classes: The class names.
        shards: Number of shards of each split.
        **manifest: Other values of `Examples`.
    """
    directory.mkdir(parents=True)
    written = []
    for split, serialized in splits.items():
        tables = []
        for shard in range(shards):
            path = directory / f"{split}-{shard:05}-of-{shards:05}.tfrecord"
            start, end = (
                len(serialized) * part // shards for part in (shard, shard + 1)
            )
            made, blocks = records.write_shard(path, serialized[start:end], directory)
            written.append(made)
            tables.append(blocks)
        records.write_blocks(directory, split, tables)
    counts = {split: len(records) for split, records in splits.items()}
    return Examples(directory, tuple(classes), counts, tuple(written), **manifest)


CLASSES = ("ant", "bee", "cow")


def random_records(seed, count, classes=CLASSES, kind="PNG"):
    """Returns records of random images of several sizes, classes in turn."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(count):
        height, width = generator.integers(4, 12, 2)
        image = random_image(generator, height, width, kind)
        label = number % len(classes)
        made.append(record(image, label, classes[label], int(height), int(width), kind))
    return made
