"""Promised: a batch is a function of seed, epoch and step, and nothing is lost."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_resnet.preprocessing import Preprocessing
from pipelines.components.example_gen import example_gen
from pipelines.data import decoding, images, reading, records
from pipelines.data.augmentation import Augmentation
from pipelines.data.examples import Examples
from pipelines.data.input_pipeline import evaluation_batches, training_batches
from pipelines.data.preprocessing import prepare
from pipelines.data.randomness import permuted
from pipelines.data.reading import Blocks, Worker
from pipelines.errors import UserError

SIZE = Preprocessing(crop=16, resize=16)
BATCH = 12


@dataclasses.dataclass(frozen=True)
class Spy:
    """Instead of images, tells which record was seen with which seed."""

    repeats: int = 1
    mixes_labels: bool = False

    def view(self, encoded, preprocessing, seed):
        decoded = tf.cast(tf.shape(images.decode(encoded))[0], tf.uint8)
        return tf.fill([2, 2, 3], decoded)

    def jpeg_view(self, encoded, preprocessing, seed):
        return self.view(encoded, preprocessing, seed)

    def on_chunk(self, images, seeds, preprocessing):
        return images

    def on_batch(self, images, labels, seeds, preprocessing, classes):
        return seeds, labels


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """120 training and 30 validation drawings in a dozen shards."""
    directory = tmp_path_factory.mktemp("shards") / "examples"
    return example_gen(
        "drawings:150", directory, validation_share=0.2, shard_bytes=12_000
    )


@pytest.fixture(scope="module", autouse=True)
def small_windows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "WINDOW_BYTES", 30_000)
        yield


@pytest.fixture(scope="module")
def epochs(shards):
    """The batches of three epochs."""
    return views(shards, range(3))


def views(examples, epochs=range(1), seed=0, augmentation=Spy(), **options):  # noqa: B008
    """The batches of `(epoch, record, repeat)` that are given."""
    batches = training_batches(
        examples, SIZE, augmentation, BATCH, epochs, seed, **options
    )
    rows = [seeds[:, 1] for seeds, _ in batches.dataset.as_numpy_iterator()]
    return [
        np.stack(
            [
                row // 2**40,
                row % 2**40 // augmentation.repeats,
                row % 2**40 % augmentation.repeats,
            ],
            axis=1,
        )
        for row in rows
    ]


def equal(first, second):
    return len(first) == len(second) and all(
        np.array_equal(a, b) for a, b in zip(first, second, strict=True)
    )


def test_the_fixture_has_what_makes_it_hard(shards):
    blocks = Blocks.of(shards, "train")
    assert len(blocks.files) > 5
    assert 2 < blocks.windows < len(blocks.table)
    assert blocks.records == shards.counts["train"]


def test_an_epoch_gives_every_record_once_but_for_the_rest_of_a_batch(shards, epochs):
    steps = shards.counts["train"] // BATCH
    assert len(epochs) == 3 * steps
    for epoch in range(3):
        rows = np.concatenate(epochs[epoch * steps : (epoch + 1) * steps])
        assert (rows[:, 0] == epoch).all()
        assert len(set(rows[:, 1])) == len(rows)


def test_epochs_and_seeds_shuffle_differently(shards, epochs):
    steps = shards.counts["train"] // BATCH
    orders = [
        np.concatenate(rows)[:, 1]
        for rows in (epochs[:steps], epochs[steps : 2 * steps], views(shards, seed=1))
    ]
    for i in range(3):
        for j in range(i):
            # Two random orders agree in one place on average.
            assert (orders[i] == orders[j]).sum() < 8


def test_shuffling_leaves_no_trace_of_the_records_order(epochs):
    neighbours = np.mean(np.diff(np.concatenate(epochs)[:, 1]) == 1)
    # Of a window of 15 records in random order, 13 neighbours in 15 * 15.
    assert neighbours < 0.1


@settings(max_examples=4, deadline=None)
@given(epoch=st.integers(0, 2), step=st.integers(0, 9))
def test_any_place_of_any_epoch_can_be_started_at(shards, epochs, epoch, step):
    rest = views(shards, range(epoch, 3), first_step=step)
    steps = shards.counts["train"] // BATCH
    assert equal(rest, epochs[epoch * steps + step :])


def test_starting_late_reads_only_the_shards_it_needs(shards, epochs, tmp_path):
    steps = shards.counts["train"] // BATCH
    blocks = Blocks.of(shards, "train")
    window, _ = reading.window_of(blocks, (steps - 1) * BATCH, 0, 0)
    places = tf.range(window * blocks.window, len(blocks.table), dtype=tf.int64)
    seed = tf.constant([0, 0], tf.int64)
    order = permuted(places, len(blocks.table), seed).numpy()
    needed = set(blocks.table[order, 0])
    assert len(needed) < len(blocks.files) / 2
    shutil.copytree(shards.directory, tmp_path / "examples")
    fewer = Examples.load(tmp_path / "examples")
    for number, file in enumerate(fewer.files("train")):
        if number not in needed:
            tf.io.gfile.remove(file)
    last = views(fewer, first_step=steps - 1)
    assert equal(last, epochs[steps - 1 : steps])


def test_the_graph_does_not_grow_with_the_number_of_blocks(tmp_path):
    sizes = []
    for blocks in (100, 10_000):
        directory = tmp_path / str(blocks)
        directory.mkdir()
        table = np.stack([np.arange(blocks) * 100, np.ones(blocks, int)], axis=1)
        records.write_blocks(directory, "train", [table])
        shard = records.Shard("train-00000-of-00001.tfrecord", blocks, 1, "")
        examples = Examples(directory, ("a", "b"), {"train": blocks}, (shard,))
        batches = training_batches(examples, SIZE, Spy(), BATCH, range(9), 0)
        graph = batches.dataset._as_serialized_graph().numpy()
        sizes.append(len(graph))
    assert sizes[1] < 1.1 * sizes[0]


@pytest.mark.parametrize("places_at_once", [1, 100_000])
def test_the_window_of_a_position_is_found_by_its_blocks(
    shards, monkeypatch, places_at_once
):
    monkeypatch.setattr(reading, "_PLACES_AT_ONCE", places_at_once)
    blocks = Blocks.of(shards, "train")
    places = tf.range(len(blocks.table), dtype=tf.int64)
    seed = tf.constant([5, 3 * 2**32], tf.int64)
    counts = blocks.table[permuted(places, len(places), seed).numpy(), 2]
    windows = np.repeat(np.arange(len(counts)) // blocks.window, counts)
    for position in range(0, blocks.records, 7):
        window, start = reading.window_of(blocks, position, 5, 3)
        assert (window, start) == (
            windows[position],
            np.searchsorted(windows, windows[position]),
        )


@pytest.mark.parametrize("chunks_at_once", [1, 7])
def test_the_number_of_threads_changes_nothing(
    shards, epochs, monkeypatch, chunks_at_once
):
    monkeypatch.setattr(decoding, "_CHUNKS_AT_ONCE", chunks_at_once)
    assert equal(views(shards), epochs[: shards.counts["train"] // BATCH])


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_that_share_elements_share_the_same_batches(shards, epochs, workers):
    parts = [views(shards, worker=Worker(i, workers)) for i in range(workers)]
    joined = [np.concatenate(rows) for rows in zip(*parts, strict=True)]
    assert equal(joined, epochs[: shards.counts["train"] // BATCH])


@pytest.mark.parametrize(("workers", "repeats"), [(2, 1), (3, 3)])
def test_mixing_does_not_depend_on_the_number_of_workers(shards, workers, repeats):
    augmentation = Augmentation.parse(
        f"pad_crop(4)|flip|mixup_or_cutmix(1,1)|flip|repeat({repeats})"
    )

    def batches(worker, first_step=0):
        made = training_batches(
            shards,
            SIZE,
            augmentation,
            BATCH,
            range(1),
            0,
            first_step=first_step,
            worker=worker,
        )
        return list(made.dataset.as_numpy_iterator())

    parts = [batches(Worker(index, workers), 6) for index in range(workers)]
    whole = batches(reading.ALONE)[6:]
    assert len(whole) == len(parts[0]) > 2
    for step, (pixels, labels) in enumerate(whole):
        joined, joined_labels = (
            np.concatenate([part[step][n] for part in parts]) for n in (0, 1)
        )
        # What is left of a batch after whole vectors is rounded otherwise in float32.
        np.testing.assert_allclose(joined_labels, labels, atol=1e-6)
        difference = np.abs(joined.astype(int) - pixels)
        assert difference.max() <= 1
        assert difference.mean() < 1e-3


def test_a_batch_that_workers_cannot_share_is_refused(shards):
    with pytest.raises(UserError, match="12 cannot be shared equally by 5 workers"):
        views(shards, worker=Worker(0, 5))


def test_repeated_views_follow_each_other_and_differ(shards):
    batches = views(shards, augmentation=Spy(repeats=3))
    assert len(batches) == shards.counts["train"] // BATCH
    for batch in batches:
        groups = batch.reshape(-1, 3, 3)
        assert (groups[:, :, 1] == groups[:, :1, 1]).all()
        assert (groups[:, :, 2] == [0, 1, 2]).all()


def test_views_and_labels_are_those_of_the_records(shards):
    batches = training_batches(
        shards, SIZE, Augmentation.parse("center"), BATCH, range(1), 3
    )
    pictures = {}
    for serialized in tf.data.TFRecordDataset(shards.files("train")):
        record = records.parse(serialized)
        picture = prepare(record["image/encoded"], SIZE).numpy().tobytes()
        pictures[picture] = int(record["image/class/label"])
    for batch, labels in batches.dataset.as_numpy_iterator():
        assert batch.dtype == np.uint8 and batch.shape == (BATCH, 16, 16, 3)
        for image, label in zip(batch, labels, strict=True):
            assert pictures[image.tobytes()] == label


def test_random_views_depend_on_epoch_and_record_alone(shards):
    augmentation = Augmentation.parse("pad_crop(4)|flip|mixup(0.2)")
    whole = training_batches(shards, SIZE, augmentation, BATCH, range(2), 0)
    late = training_batches(
        shards, SIZE, augmentation, BATCH, range(1, 2), 0, first_step=4
    )
    steps = shards.counts["train"] // BATCH
    expected = list(whole.dataset.as_numpy_iterator())[steps + 4 :]
    for (a, b), (c, d) in zip(expected, late.dataset.as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)
        np.testing.assert_allclose(b.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("workers", "batch_size"), [(1, 7), (1, 64), (3, 4), (2, 16)])
def test_evaluation_counts_every_image_once(shards, workers, batch_size):
    labels = []
    for index in range(workers):
        worker = Worker(index, workers)
        batches = evaluation_batches(
            shards, "validation", SIZE, batch_size, worker=worker
        )
        labels += [row for _, row in batches.dataset.as_numpy_iterator()]
    expected = [
        int(records.parse(serialized)["image/class/label"])
        for serialized in tf.data.TFRecordDataset(shards.files("validation"))
    ]
    assert sorted(np.concatenate(labels)) == sorted(expected)
    if workers == 1:
        assert np.concatenate(labels).tolist() == expected


def test_a_service_makes_every_view_once(shards):
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    address = dispatcher.target
    workers = [
        service.WorkerServer(
            service.WorkerConfig(dispatcher_address=address.partition("://")[2])
        )
        for _ in range(2)
    ]
    batches = views(shards, range(2), service=address)
    rows = np.concatenate(batches)
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert len(batches) == 2 * (shards.counts["train"] // BATCH)
    assert rows[:, 0].max() <= 3
    del workers


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("localhost:1", "no tf.data service answers at --data_service=localhost:1"),
        ("grpc://localhost:1", "no tf.data service answers"),
        ("localhost", "names no host and port; give .* grpc://"),
        ("grpc://localhost:many", "names no host and port"),
    ],
)
def test_a_wrong_address_of_a_service_is_told(shards, address, sentence):
    with pytest.raises(UserError, match=sentence):
        views(shards, service=address)
