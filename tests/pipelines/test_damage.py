"""Promised: damaged records are named, replaced or left out, and bounded."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.preprocessing import Preprocessing
from pipelines.components.example_gen import example_gen
from pipelines.components.statistics_gen import checked, statistics_gen
from pipelines.data import reading
from pipelines.data.augmentation import Augmentation
from pipelines.data.examples import Examples
from pipelines.data.input_pipeline import evaluation_batches, training_batches
from pipelines.data.quality.statistics import summarize
from pipelines.data.records import frames
from pipelines.errors import UserError
from tests.pipelines.mutations import framed

SIZE = Preprocessing(crop=16, resize=16)
BATCH = 10


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole") / "examples"
    return example_gen(
        "drawings:150", directory, validation_share=0.2, shard_bytes=12_000
    )


@pytest.fixture
def examples(whole, tmp_path, monkeypatch):
    """A copy that a test may damage."""
    monkeypatch.setattr(reading, "WINDOW_BYTES", 30_000)
    shutil.copytree(whole.directory, tmp_path / "examples")
    return Examples.load(tmp_path / "examples")


def read(examples, max_bad_share=0.5, log=None, epochs=range(1)):
    batches = training_batches(
        examples,
        SIZE,
        Augmentation.parse("center"),
        BATCH,
        epochs,
        0,
        max_bad_share=max_bad_share,
        damage_log=log,
    )
    with batches.damage.told():
        rows = list(batches.dataset.as_numpy_iterator())
    return rows, batches.damage.records


def rewrite(path, change):
    """Writes a shard's records anew, changed by number."""
    serialized = [record.numpy() for record in tf.data.TFRecordDataset(path)]
    with tf.io.TFRecordWriter(path) as writer:
        for number, record in enumerate(serialized):
            writer.write(change(number, record))


def truncated_image(record):
    example = tf.train.Example.FromString(record)
    encoded = example.features.feature["image/encoded"].bytes_list
    encoded.value[0] = encoded.value[0][:100]
    return example.SerializeToString()


def test_whole_records_leave_no_log(examples, tmp_path):
    _, damaged = read(examples, log=tmp_path / "log.txt")
    assert damaged == []
    assert not (tmp_path / "log.txt").exists()


@pytest.mark.parametrize(
    "spoil", [truncated_image, lambda record: b"not an example", lambda record: b""]
)
def test_an_undecodable_record_is_replaced_and_the_others_stay(
    whole, examples, spoil, tmp_path
):
    expected, _ = read(whole)
    file = examples.files("train")[1]
    rewrite(file, lambda number, record: spoil(record) if number == 2 else record)
    # The offsets of later blocks in this file have moved; there is one block a file.
    rows, damaged = read(examples, log=tmp_path / "log.txt")
    assert damaged == [f"{file.rsplit('/', 1)[1]}:2"]
    assert (tmp_path / "log.txt").read_text().split() == damaged
    lost = 0
    for (before, labels), (after, new_labels) in zip(expected, rows, strict=True):
        assert len(after) == BATCH
        changed = (after != before).any(axis=(1, 2, 3))
        lost += changed.sum()
        # With its label, the next image is shown twice; the last one's is the first.
        for row in np.flatnonzero(changed):
            following = (row + 1) % BATCH
            np.testing.assert_array_equal(after[row], before[following])
            assert new_labels[row] == labels[following]
        np.testing.assert_array_equal(new_labels[~changed], labels[~changed])
    assert lost == 1


def test_flipped_bits_cost_no_more_than_a_block(examples):
    file = examples.files("train")[0]
    with open(file, "r+b") as stream:
        stream.seek(300)
        byte = stream.read(1)
        stream.seek(300)
        stream.write(bytes([byte[0] ^ 0xFF]))
    rows, damaged = read(examples)
    assert len(rows) == examples.counts["train"] // BATCH
    name = file.rsplit("/", 1)[1]
    assert damaged == sorted(
        f"{name}:{number}" for number in range(int(examples.blocks("train")[0, 2]))
    )


@pytest.mark.parametrize("damage", ["empty", "missing", "garbage"])
def test_a_lost_shard_is_survived_if_allowed_and_named(examples, damage):
    file = examples.files("train")[0]
    if damage == "missing":
        tf.io.gfile.remove(file)
    else:
        with open(file, "wb") as stream:
            stream.write(b"" if damage == "empty" else b"\x07" * 5000)
    rows, damaged = read(examples)
    name = file.rsplit("/", 1)[1]
    assert len(rows) == examples.counts["train"] // BATCH
    assert len(damaged) == examples.shards[0].records
    assert all(where.startswith(f"{name}:") for where in damaged)
    with pytest.raises(UserError, match=f"of them in {name}.*max_bad_share=0.01"):
        read(examples, max_bad_share=0.01)


@pytest.mark.parametrize(
    ("length", "number"), [(2**40, 0), (2**40, 2), (2**64 - 32, 2), (20_000, 2), (3, 2)]
)
def test_a_length_that_leads_elsewhere_is_damage(examples, length, number):
    """With a right checksum: of 2^40, TensorFlow ends the process."""
    file = examples.files("train")[0]
    place, _ = list(frames(file))[number]
    with open(file, "r+b") as stream:
        stream.seek(place - 12)
        stream.write(framed(b"", length)[:12])
    rows, damaged = read(examples)
    name = file.rsplit("/", 1)[1]
    count = examples.shards[0].records
    assert len(rows) == examples.counts["train"] // BATCH
    assert damaged == sorted(f"{name}:{index}" for index in range(count))
    batches = evaluation_batches(examples, "train", SIZE, 8, max_bad_share=0.5)
    evaluated = sum(len(labels) for _, labels in batches.dataset)
    assert evaluated == examples.counts["train"] - count
    assert summarize(reading.Blocks.of(examples, "train"), 0, 0.5).unreadable == count
    with pytest.raises(UserError, match=f"of them in {name}.*max_bad_share=0.01"):
        read(examples, max_bad_share=0.01)


def test_lengths_are_looked_at_once(examples, tmp_path, monkeypatch):
    directory = tmp_path / "statistics"
    assert not checked(examples, directory).are_checked
    statistics_gen(examples, directory, max_decoded=1)
    known = checked(examples, directory)
    monkeypatch.setattr(reading, "frames", None)
    assert read(known)[1] == [] and Examples.load(examples.directory) == examples
    assert not checked(
        dataclasses.replace(known, skipped_count=1), directory
    ).are_checked
    manifest = examples.directory / "examples.json"
    claimed = json.loads(manifest.read_text()) | {"are_checked": True}
    manifest.write_text(json.dumps(claimed))
    with pytest.raises(UserError, match="examples.json is damaged"):
        Examples.load(examples.directory)


def test_evaluation_leaves_damaged_images_out(examples):
    file = examples.files("validation")[0]
    rewrite(
        file, lambda number, record: truncated_image(record) if number < 2 else record
    )
    batches = evaluation_batches(examples, "validation", SIZE, 8, max_bad_share=0.5)
    count = sum(len(labels) for _, labels in batches.dataset)
    assert count == examples.counts["validation"] - 2
    name = file.rsplit("/", 1)[1]
    assert batches.damage.records == [f"{name}:0", f"{name}:1"]


def test_too_many_damaged_records_stop_an_evaluation(examples):
    rewrite(examples.files("validation")[0], lambda _, record: truncated_image(record))
    batches = evaluation_batches(examples, "validation", SIZE, 8)
    with pytest.raises(UserError, match="validation records cannot"):  # noqa: SIM117
        with batches.damage.told():
            list(batches.dataset)


def test_a_length_in_the_list_of_blocks_is_told(examples):
    path = examples.directory / "train.blocks"
    rows = path.read_bytes()
    path.write_bytes(rows[:48] + framed(b"", 2**40)[:12] + rows[60:])
    with pytest.raises(UserError, match="train.blocks is missing or damaged"):
        read(examples)


@pytest.mark.parametrize("content", [None, b"", b"not an array"])
def test_a_lost_list_of_blocks_is_told(examples, content):
    path = examples.directory / "train.blocks"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="train.blocks is missing or damaged"):
        read(examples)
