"""Ingest: what is in the shards, in which order, and how they are split."""

import hashlib
import json
import os
import random
import shutil
import tarfile

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import contents, encoded, image_file, ingest, made, make_folder, read, value
from PIL import Image

from pipelines.data import records
from pipelines.data.examples import Examples
from pipelines.data.ingest.ledger import shuffle_key
from pipelines.data.quality.anomalies import ERROR
from pipelines.data.quality.copies import find_copies
from pipelines.data.quality.likeness import NONE_ALIKE
from pipelines.data.quality.thresholds import DEFAULT_THRESHOLDS
from pipelines.errors import UserError

IN_ONE_PROCESS = "--direct_running_mode=in_memory"


# Records


def test_every_image_is_in_one_record_as_it_was_found(folder, tmp_path):
    examples = ingest(folder, tmp_path / "out")
    written = [*read(examples, "train"), *read(examples, "validation")]
    assert len(written) == 60
    for features in written:
        name = value(features, "image/filename").decode()
        image = (folder / name).read_bytes()
        assert value(features, "image/encoded") == image
        assert value(features, "image/sha256").decode() == (
            hashlib.sha256(image).hexdigest()
        )
        class_name = name.partition("/")[0]
        assert value(features, "image/class/text").decode() == class_name
        assert examples.classes[value(features, "image/class/label")] == class_name
        assert value(features, "image/format") == b"PNG"
        assert (value(features, "image/height"), value(features, "image/width")) == (
            4,
            5,
        )


def test_parsed_records_are_what_training_needs(folder, tmp_path):
    examples = ingest(folder, tmp_path / "out")
    dataset = tf.data.TFRecordDataset(examples.files("train")).map(records.parse)
    for record in dataset:
        name = record["image/filename"].numpy().decode()
        assert record["image/encoded"].numpy() == (folder / name).read_bytes()
        class_name = examples.classes[record["image/class/label"]]
        assert class_name == name.partition("/")[0]


def test_manifest_says_what_is_there(folder, tmp_path):
    examples = ingest(folder, tmp_path / "out")
    assert examples == Examples.load(tmp_path / "out")
    assert examples.classes == ("ant", "bee", "cow")
    assert examples.counts == {"train": 54, "validation": 6}
    assert examples.skipped == ()
    sizes = [len(image_file(number)) for number in range(60)]
    assert examples.mean_bytes == pytest.approx(np.mean(sizes), abs=1)
    for split, count in examples.counts.items():
        assert len(read(examples, split)) == count


@pytest.mark.parametrize("seed", [0, 7])
def test_records_are_in_the_order_of_the_seed(folder, tmp_path, seed):
    examples = ingest(folder, tmp_path / "out", shard_bytes=1000, shuffle_seed=seed)
    for split in examples.counts:
        images = encoded(examples, split)
        assert images == sorted(
            images, key=lambda image: shuffle_key(hashlib.sha256(image).digest(), seed)
        )


def test_records_are_shuffled(folder, tmp_path):
    labels = [
        value(features, "image/class/label")
        for features in read(ingest(folder, tmp_path / "out"), "train")
    ]
    changes = sum(a != b for a, b in zip(labels, labels[1:], strict=False))
    assert changes > 20  # Two if sorted; two thirds of 53 on average.


def test_shards_are_about_as_large_as_asked_for(folder, tmp_path):
    total = sum(len(image_file(number)) for number in range(60))
    examples = ingest(folder, tmp_path / "out", shard_bytes=total // 9)
    names = [os.path.basename(path) for path in examples.files("train")]
    count = len(names)
    assert count in (8, 9)
    assert names == [
        f"train-{number:05}-of-{count:05}.tfrecord" for number in range(count)
    ]
    sizes = [
        sum(1 for _ in tf.data.TFRecordDataset(path))
        for path in examples.files("train")
    ]
    assert sum(sizes) == 54
    assert max(sizes) - min(sizes) <= 1
    assert len(examples.files("validation")) == 1


def test_manifest_has_the_checksums_of_the_shards(folder, tmp_path):
    examples = ingest(folder, tmp_path / "out", shard_bytes=1000)
    paths = [*examples.files("train"), *examples.files("validation")]
    assert [shard.name for shard in examples.shards] == list(
        map(os.path.basename, paths)
    )
    for shard, path in zip(examples.shards, paths, strict=True):
        with open(path, "rb") as file:
            content = file.read()
        assert shard.bytes == len(content)
        assert shard.sha256 == hashlib.sha256(content).hexdigest()
        assert shard.records == sum(1 for _ in tf.data.TFRecordDataset(path))


def read_block(path, offset, count):
    """Reads records by the layout that TensorFlow documents, not by its reader."""
    with open(path, "rb") as file:
        file.seek(offset)
        for _ in range(count):
            length = int.from_bytes(file.read(8), "little")
            file.seek(4, os.SEEK_CUR)
            yield file.read(length)
            file.seek(4, os.SEEK_CUR)


@pytest.mark.parametrize("limits", [(256, 2**22), (5, 2**22), (256, 1200), (256, 1)])
def test_blocks_cover_the_records_in_order(folder, tmp_path, monkeypatch, limits):
    monkeypatch.setattr(records, "BLOCK_RECORDS", limits[0])
    monkeypatch.setattr(records, "BLOCK_BYTES", limits[1])
    examples = ingest(folder, tmp_path / "out", shard_bytes=1500)
    for split, count in examples.counts.items():
        files = examples.files(split)
        blocks = examples.blocks(split)
        assert blocks.dtype == np.int64
        assert blocks.shape[1:] == (4,)
        assert len(blocks) < count or limits[1] == 1
        found = []
        for shard, offset, records_in_block, first in blocks:
            assert first == len(found)
            block = list(read_block(files[shard], offset, records_in_block))
            size = sum(len(record) + 16 for record in block)
            assert len(block) == 1 or (len(block) <= limits[0] and size <= limits[1])
            found += block
        assert found == list(tf.data.TFRecordDataset(files).as_numpy_iterator())


# Determinism


def test_listing_order_does_not_matter(folder, tmp_path, monkeypatch):
    first = made(ingest(folder, tmp_path / "first", shard_bytes=1000))
    walk = os.walk

    def shuffled_walk(*arguments, **options):
        for top, folders, files in walk(*arguments, **options):
            random.Random(1).shuffle(files)
            yield top, folders, files

    monkeypatch.setattr(os, "walk", shuffled_walk)
    second = made(ingest(folder, tmp_path / "second", shard_bytes=1000))
    assert first == second
    assert len(first) > 2


@pytest.mark.parametrize("root", [".", "photos/train"])
def test_archive_gives_the_same_shards_as_its_folder(folder, tmp_path, root):
    with tarfile.open(tmp_path / "photos.tar.gz", "w:gz") as archive:
        # In another order, too.
        for path in sorted(folder.glob("*/*"), reverse=True):
            archive.add(path, os.path.join(root, path.relative_to(folder)))
    packed = ingest(tmp_path / "photos.tar.gz", tmp_path / "packed")
    assert made(packed) == made(ingest(folder, tmp_path / "plain"))


def test_shards_can_be_ingested_again(folder, tmp_path):
    first = ingest(folder, tmp_path / "first")
    again = ingest(tmp_path / "first", tmp_path / "again")
    assert again.classes == first.classes
    for split in ("train", "validation"):
        assert encoded(again, split) == encoded(first, split)


@pytest.mark.parametrize("base", [0, 1])
def test_labels_in_our_records_start_at_zero(tmp_path, base):
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(20):
            name = ("owl", "cat")[number % 2]
            writer.write(
                records.to_example(
                    image_file(number),
                    name=f"{number}",
                    label=base + number % 2,
                    class_name=name,
                    image_format="PNG",
                    height=4,
                    width=5,
                    sha256="",
                )
            )
    examples = ingest(path, tmp_path / "out")
    # The data's own order, not the alphabet's.
    assert examples.classes == ("owl", "cat")
    number_of = {image_file(number): number for number in range(20)}
    for features in read(examples, "train"):
        number = number_of[value(features, "image/encoded")]
        assert value(features, "image/class/label") == number % 2


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Seven hundred images in a stream, and what one thread makes of them."""
    root = tmp_path_factory.mktemp("many")
    make_folder(root / "photos", 700)
    with tarfile.open(root / "photos.tar.gz", "w:gz") as archive:
        archive.add(root / "photos", ".")
    ingest(root / "photos.tar.gz", root / "one", shard_bytes=5000, workers=1)
    return root


@pytest.mark.parametrize("how", [{"workers": 7}, {"beam_args": IN_ONE_PROCESS}])
def test_who_does_the_work_does_not_matter(many, tmp_path, how):
    if "beam_args" in how:
        pytest.importorskip("apache_beam")
    ingest(many / "photos.tar.gz", tmp_path / "out", shard_bytes=5000, **how)
    expected = contents(many / "one")
    assert contents(tmp_path / "out") == expected
    assert len(expected) > 10
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_processes_of_beam_make_the_same_files(many, tmp_path):
    pytest.importorskip("apache_beam")
    ingest(many / "photos.tar.gz", tmp_path / "out", shard_bytes=5000, beam_args="")
    assert contents(tmp_path / "out") == contents(many / "one")


def test_work_is_refused_in_beam_as_in_threads(folder, tmp_path):
    pytest.importorskip("apache_beam")
    for number in range(3):
        (folder / "ant" / f"bad-{number}.png").write_bytes(b"")
    sentences = []
    for beam_args in (None, IN_ONE_PROCESS):
        with pytest.raises(UserError) as caught:
            ingest(folder, tmp_path / "out", beam_args=beam_args)
        sentences.append(str(caught.value))
        assert not (tmp_path / "out").exists()
        shutil.rmtree(tmp_path / "out.partial")
    assert sentences[0] == sentences[1]


# Split


@settings(max_examples=8, deadline=None)
@given(
    numbers=st.sets(st.integers(0, 65535), min_size=6, max_size=80),
    share=st.floats(0.01, 0.5),
    seed=st.integers(0, 99),
)
def test_split_is_exact_and_depends_on_bytes_and_classes_only(
    tmp_path_factory, numbers, share, seed
):
    root = tmp_path_factory.mktemp("split")
    few = sorted(numbers)[:2]
    shuffler = random.Random(seed)
    splits = []
    for name in ("first", "second"):
        # Every image gets another name, and is found at another time.
        order = shuffler.sample(sorted(numbers), len(numbers))
        for position, number in enumerate(order):
            path = root / name / f"class {number in few}" / f"{position}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image_file(number))
        examples = ingest(root / name, root / f"{name}-out", validation_share=share)
        splits.append([encoded(examples, split) for split in ("train", "validation")])
    assert splits[0] == splits[1]
    train, validation = splits[0]
    assert not set(train) & set(validation)
    assert {*train, *validation} == {image_file(number) for number in numbers}
    by_hash = sorted(
        (hashlib.sha256(image_file(number)).digest(), number) for number in numbers
    )
    expected = {
        number for _, number in by_hash[: max(1, int(share * len(numbers) + 0.5))]
    }
    for is_few in (True, False):
        of_class = [number for _, number in by_hash if (number in few) == is_few]
        expected |= {of_class[0]}
        expected -= {of_class[-1]}
    assert set(validation) == {image_file(number) for number in expected}


def test_equal_images_fall_on_the_same_side(tmp_path):
    for number in range(40):
        for copy in range(3):
            path = tmp_path / "photos" / f"{number % 2}" / f"{number}-{copy}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image_file(number))
    # A tenth of 120 would be 12, which is whole triples; of these shares, one is not.
    for share in (0.1, 0.11, 0.12):
        examples = ingest(
            tmp_path / "photos", tmp_path / f"{share}", validation_share=share
        )
        train, validation = (encoded(examples, split) for split in examples.counts)
        assert not set(train) & set(validation)
        assert len(train) + len(validation) == 120
        assert len(validation) - 3 < share * 120 <= len(validation) + 0.5
        assert examples.counts["validation"] == len(validation)


def test_splits_that_the_data_has_are_kept(tmp_path):
    make_folder(tmp_path / "photos" / "train", 12)
    make_folder(tmp_path / "photos" / "val", 9)
    examples = ingest(tmp_path / "photos", tmp_path / "out")
    assert examples.counts == {"train": 12, "validation": 9}
    assert set(encoded(examples, "train")) == {image_file(n) for n in range(12)}
    assert set(encoded(examples, "validation")) == {image_file(n) for n in range(9)}


def test_at_least_one_image_is_held_out(tmp_path):
    make_folder(tmp_path / "photos", 4, ("a", "b", "c", "d"))
    examples = ingest(tmp_path / "photos", tmp_path / "out", validation_share=0.001)
    assert examples.counts == {"train": 3, "validation": 1}


@pytest.mark.parametrize("share", [0.05, 0.9])
def test_a_small_class_has_an_image_on_each_side(tmp_path, share):
    for number in range(60):
        name = "few" if number % 30 == 0 else f"many {number % 2}"
        path = tmp_path / "photos" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_file(number))
    examples = ingest(tmp_path / "photos", tmp_path / "out", validation_share=share)
    for split in examples.counts:
        names = {value(one, "image/class/text") for one in read(examples, split)}
        assert names == {b"few", b"many 0", b"many 1"}


def test_equal_images_of_two_classes_are_a_label_conflict(folder, tmp_path):
    (folder / "bee" / "again.png").write_bytes((folder / "ant/0.png").read_bytes())
    (folder / "ant" / "copy.png").write_bytes((folder / "ant/3.png").read_bytes())
    examples = ingest(folder, tmp_path / "out")
    assert examples.conflicts == 1
    assert examples.conflicting == (("ant/0.png", "bee/again.png"),)
    assert Examples.load(tmp_path / "out") == examples
    conflict, *_ = find_copies(examples, NONE_ALIKE, DEFAULT_THRESHOLDS)
    assert conflict.title == "Label conflicts"
    assert conflict.severity == ERROR
    assert "ant/0.png = bee/again.png" in conflict.sentence


def test_duplicates_within_the_splits_and_across_them(tmp_path):
    root = tmp_path / "photos"
    make_folder(root / "train", 12)
    make_folder(root / "val", 9, first=20)
    for copy, original in (
        ("train/ant/again.png", "train/ant/0.png"),
        ("train/bee/again.png", "train/ant/0.png"),
        ("val/cow/leaked.png", "train/cow/2.png"),
        ("val/ant/leaked 1.png", "train/bee/1.png"),
        ("val/ant/leaked 2.png", "train/bee/1.png"),
    ):
        (root / copy).write_bytes((root / original).read_bytes())
    examples = ingest(root, tmp_path / "out")
    assert examples.duplicates == {"train": 2, "validation": 1, "across": 3}
    assert set(examples.leaked) == {
        ("train/cow/2.png", "val/cow/leaked.png"),
        ("train/bee/1.png", "val/ant/leaked 1.png"),
        ("train/bee/1.png", "val/ant/leaked 2.png"),
    }
    assert Examples.load(tmp_path / "out") == examples


def test_images_that_are_all_equal(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(image_file(1))
    with pytest.raises(UserError, match="all 3 images would be held out"):
        ingest(tmp_path / "photos", tmp_path / "out")


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_validation_share_out_of_range(folder, tmp_path, share):
    with pytest.raises(UserError, match="--validation_share"):
        ingest(folder, tmp_path / "out", validation_share=share)


# Real images


def test_photographs(shared_data, tmp_path):
    data = shared_data / "imagenet_sample"
    examples = ingest(data, tmp_path / "out")
    assert examples.counts == {"train": 450, "validation": 50}
    assert examples.skipped == ()
    assert len(examples.classes) == 500
    manifest = json.loads((tmp_path / "out" / "examples.json").read_text())
    assert manifest["made_from"]["source"] == "imagenet_sample"
    features = read(examples, "validation")[7]
    name = value(features, "image/filename").decode()
    with Image.open(data / name) as image:
        size = (value(features, "image/width"), value(features, "image/height"))
        assert image.size == size
