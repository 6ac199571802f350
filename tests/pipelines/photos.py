"""Small images, and what was made of them."""

import io

import pytest
import tensorflow as tf
from PIL import Image

from pipelines.components.example_gen import example_gen
from pipelines.errors import UserError


def image_file(number, kind="PNG", size=(5, 4)):
    """A small image, a different one for each number."""
    colour = (number % 256, number // 256, 99)
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def make_folder(root, count=60, classes=("ant", "bee", "cow"), first=0):
    """Writes that many different images, each class taking its turn."""
    for number in range(first, first + count):
        path = root / classes[number % len(classes)] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_file(number))
    return root


def read(examples, split):
    """Returns the features of every record of a split."""
    dataset = tf.data.TFRecordDataset(examples.files(split))
    return [
        tf.train.Example.FromString(serialized).features.feature
        for serialized in dataset.as_numpy_iterator()
    ]


def value(features, key):
    """Returns the only value of a feature."""
    feature = features[key]
    (result,) = feature.bytes_list.value or feature.int64_list.value
    return result


def encoded(examples, split):
    """Returns the encoded images of a split."""
    return [value(features, "image/encoded") for features in read(examples, split)]


def contents(directory, *, but=()):
    """Returns the bytes of every file."""
    return {
        path.name: path.read_bytes()
        for path in directory.iterdir()
        if path.name not in but
    }


def ingest(data, directory, **parameters):
    return example_gen(str(data), directory, **parameters)


def made(examples):
    """Returns the bytes of every file but the manifest."""
    return contents(examples.directory, but={"examples.json"})


def refusal(directory, data, **parameters):
    """Returns the sentence, having checked that nothing looks whole."""
    with pytest.raises(UserError) as caught:
        ingest(data, directory, **parameters)
    assert not directory.exists()
    left = {path.name for path in directory.parent.glob(f"{directory.name}*")}
    assert left <= {f"{directory.name}.partial"}
    assert "\n" not in str(caught.value)
    return str(caught.value)
