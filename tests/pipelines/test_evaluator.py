"""An evaluation on disk: made once, made again where it must be."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from made_examples import random_records, record

import keras_resnet
from keras_resnet.preprocessing import Preprocessing
from pipelines.components.evaluator import evaluator
from pipelines.data import records
from pipelines.data.examples import Examples
from pipelines.data.lookup import find_record
from pipelines.data.preprocessing import prepare
from pipelines.data.quality.samples import read_features
from pipelines.data.reading import Blocks
from pipelines.errors import UserError
from pipelines.evaluation.saved import Evaluation
from pipelines.training.model import TrainedModel
from pipelines.training.network import takes_pixels

CLASSES = ("ant", "bee", "cow")


def _write(directory, splits):
    """Writes records as examples of two shards for each split."""
    directory.mkdir()
    shards = []
    for split, serialized in splits.items():
        tables = []
        for index, part in enumerate((serialized[::2], serialized[1::2])):
            path = directory / f"{split}-{index:05}-of-00002.tfrecord"
            shard, blocks = records.write_shard(path, part, directory)
            shards.append(shard)
            tables.append(blocks)
        records.write_blocks(directory, split, tables)
    counts = {split: len(serialized) for split, serialized in splits.items()}
    return Examples(directory, CLASSES, counts, tuple(shards), mean_bytes=300)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network with random weights."""
    spec = dataclasses.replace(
        keras_resnet.NETWORKS["resnet20"], blocks_per_stage=(1, 1, 1), classes=3
    )
    model = TrainedModel(
        tmp_path_factory.mktemp("random"),
        spec,
        Preprocessing(crop=8, resize=8),
        CLASSES,
    )
    model.save(keras_resnet.build(spec, input_shape=(8, 8, 3)))
    return model


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """Random images, and two that cannot be decoded among the first of each shard."""
    serialized = random_records(1, 60)
    broken = [record(b"broken", 0, "ant") for _ in range(2)]
    splits = {"train": serialized[:9], "validation": broken + serialized}
    return _write(tmp_path_factory.mktemp("damaged") / "examples", splits)


@pytest.fixture(scope="module")
def evaluated(examples, model, tmp_path_factory):
    """The folder of an evaluation, and what it found."""
    directory = tmp_path_factory.mktemp("evaluated")
    path = directory / "evaluation.json"
    return directory, evaluator(examples, model, path, max_bad_share=0.1)


def test_mistakes_name_their_records(examples, model, evaluated):
    _, metrics = evaluated
    assert metrics.images == 60
    assert metrics.confusion.sum() == 60
    network = takes_pixels(model.load_keras(), model.preprocessing)
    blocks = Blocks.of(examples, "validation")
    assert metrics.hardest
    for mistake in metrics.hardest:
        features = read_features(blocks.files, find_record(blocks, mistake.index))
        assert features["image/class/label"].int64_list.value[0] == mistake.label
        encoded = features["image/encoded"].bytes_list.value[0]
        pixels = prepare(tf.constant(encoded), model.preprocessing)
        probabilities = network(pixels[None])[0]
        assert float(probabilities[mistake.label]) == pytest.approx(
            mistake.label_probability, abs=1e-4
        )


def test_is_made_once_for_each_model_split_and_way(
    examples, model, evaluated, tmp_path
):
    directory, first = evaluated
    path = shutil.copytree(directory, tmp_path / "copy") / "evaluation.json"

    def measure(**options):
        return evaluator(examples, model, path, max_bad_share=0.1, **options)

    written = path.stat().st_mtime_ns
    again = measure()
    assert again == first
    np.testing.assert_array_equal(again.confusion, first.confusion)
    assert path.stat().st_mtime_ns == written
    assert measure(test_flip=True).loss != first.loss
    assert measure(split="train").images == 9
    os.utime(path, (1, 1))
    assert measure(split="train").images == 9
    assert path.stat().st_mtime == 1


def test_other_examples_or_another_model_at_the_same_path_are_evaluated(
    examples, model, evaluated, tmp_path
):
    directory, first = evaluated
    path = shutil.copytree(directory, tmp_path / "copy") / "evaluation.json"
    os.utime(path, (2**31, 2**31))
    counts = {**examples.counts, "train": 8}
    others = dataclasses.replace(examples, counts=counts)
    evaluator(others, model, path, max_bad_share=0.1)
    assert path.stat().st_mtime < 2**31
    shutil.copytree(model.directory, tmp_path / "model")
    other = dataclasses.replace(model, directory=tmp_path / "model")
    network = other.load_keras()
    network.set_weights([weight + 0.1 for weight in network.get_weights()])
    network.save(other.keras_path)
    os.utime(other.keras_path, (1, 1))
    assert evaluator(examples, other, path, max_bad_share=0.1).loss != first.loss


def test_what_averaged_probabilities_is_measured_again(
    examples, model, evaluated, tmp_path
):
    directory, _ = evaluated
    path = shutil.copytree(directory, tmp_path / "copy") / "evaluation.json"
    now = evaluator(examples, model, path, max_bad_share=0.1, test_flip=True)
    values = json.loads(path.read_text())
    values["made_from"]["test_flip"], values["loss"] = True, 7.0
    path.write_text(json.dumps(values))
    fingerprint = {"model": values["made_from"]["model"]}
    assert Evaluation.load(path, fingerprint) is None, "the report would show it"
    again = evaluator(examples, model, path, max_bad_share=0.1, test_flip=True)
    assert again.loss == now.loss == Evaluation.load(path, fingerprint).metrics.loss


@pytest.mark.parametrize("change", ["older", "cut", "list", "matrix"])
def test_what_cannot_be_read_is_measured_again(
    change, examples, model, evaluated, tmp_path
):
    directory, metrics = evaluated
    path = shutil.copytree(directory, tmp_path / "copy") / "evaluation.json"
    values = json.loads(path.read_text())
    if change == "older":
        for name in ("hardest", "confusion", "split", "test_flip"):
            del values[name]
    elif change == "matrix":
        path.with_suffix(".npz").write_bytes(b"PK broken")
    text = "[]" if change == "list" else json.dumps({**values, "images": 1})
    path.write_text(text[:20] if change == "cut" else text)
    again = evaluator(examples, model, path, max_bad_share=0.1)
    assert again.images == json.loads(path.read_text())["images"] == 60
    assert again.confusion.sum() == 60
    assert again.loss == metrics.loss


def test_finds_every_record(tmp_path):
    serialized = random_records(0, 1100)
    examples = _write(tmp_path / "examples", {"train": serialized})
    blocks = Blocks.of(examples, "train")
    assert len(blocks.table) > 4
    in_order = tf.data.TFRecordDataset(examples.files("train")).as_numpy_iterator()
    for index, expected in enumerate(in_order):
        place = find_record(blocks, index)
        with open(blocks.files[place.shard], "rb") as file:
            file.seek(place.offset)
            assert file.read(place.size) == expected
    for wrong in (-1, 1100):
        with pytest.raises(UserError, match="no record"):
            find_record(blocks, wrong)
    with open(blocks.files[0], "r+b") as file:
        file.truncate(5_000)
    with pytest.raises(UserError, match="ends before record 549"):
        find_record(blocks, 549)
