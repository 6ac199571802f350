"""Ingest: what is in the shards, how they are split, and what happens with bad data."""

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import tarfile

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.artifacts import Examples
from pipelines.components.example_gen import example_gen
from pipelines.data import records
from pipelines.data.images import decode
from pipelines.errors import UserError


def image_file(number, kind="PNG", size=(5, 4)):
    """A small image, a different one for each number."""
    colour = (number % 256, number // 256, 99)
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def make_folder(root, count=60, classes=("ant", "bee", "cow")):
    for number in range(count):
        path = root / classes[number % len(classes)] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_file(number))
    return root


@pytest.fixture
def folder(tmp_path):
    """Sixty different images of three classes."""
    return make_folder(tmp_path / "photos")


def ingest(data, directory, **parameters):
    return example_gen(str(data), directory, **parameters)


def read(examples, split):
    """Returns the features of every record of a split."""
    dataset = tf.data.TFRecordDataset(examples.files(split))
    return [
        tf.train.Example.FromString(serialized).features.feature
        for serialized in dataset.as_numpy_iterator()
    ]


def value(features, key):
    feature = features[key]
    (result,) = feature.bytes_list.value or feature.int64_list.value
    return result


def encoded(examples, split):
    return [value(features, "image/encoded") for features in read(examples, split)]


def contents(examples):
    """Returns the bytes of every file but the manifest."""
    return {
        path.name: path.read_bytes()
        for path in examples.directory.iterdir()
        if path.name != "examples.json"
    }


def refusal(directory, data, **parameters):
    """Returns the sentence, having checked that nothing is left behind."""
    with pytest.raises(UserError) as caught:
        ingest(data, directory, **parameters)
    assert not directory.exists()
    assert not list(directory.parent.glob(f"{directory.name}*"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


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


def test_records_are_in_the_order_of_their_hashes(folder, tmp_path):
    examples = ingest(folder, tmp_path / "out", shard_bytes=1000)
    for split in examples.counts:
        hashes = [value(features, "image/sha256") for features in read(examples, split)]
        assert hashes == sorted(hashes)


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


# Determinism


def test_same_data_gives_the_same_bytes_whatever_the_listing_order(
    folder, tmp_path, monkeypatch
):
    first = contents(ingest(folder, tmp_path / "first", shard_bytes=1000))
    walk = os.walk

    def shuffled_walk(*arguments, **options):
        for top, folders, files in walk(*arguments, **options):
            random.Random(1).shuffle(files)
            yield top, folders, files

    monkeypatch.setattr(os, "walk", shuffled_walk)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    second = contents(ingest(folder, tmp_path / "second", shard_bytes=1000))
    assert first == second
    assert len(first) > 2


@pytest.mark.parametrize("root", [".", "photos/train"])
def test_archive_gives_the_same_shards_as_its_folder(folder, tmp_path, root):
    with tarfile.open(tmp_path / "photos.tar.gz", "w:gz") as archive:
        # In another order, too.
        for path in sorted(folder.glob("*/*"), reverse=True):
            archive.add(path, os.path.join(root, path.relative_to(folder)))
    packed = ingest(tmp_path / "photos.tar.gz", tmp_path / "packed")
    assert contents(packed) == contents(ingest(folder, tmp_path / "plain"))


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


# Split


@settings(max_examples=8, deadline=None)
@given(
    numbers=st.sets(st.integers(0, 65535), min_size=6, max_size=80),
    share=st.floats(0.01, 0.5),
    seed=st.integers(0, 99),
)
def test_split_is_exact_and_depends_on_the_bytes_only(
    tmp_path_factory, numbers, share, seed
):
    root = tmp_path_factory.mktemp("split")
    shuffler = random.Random(seed)
    splits = []
    for name in ("first", "second"):
        # Every image gets another name and another class, and is found at another time.
        order = shuffler.sample(sorted(numbers), len(numbers))
        for position, number in enumerate(order):
            path = root / name / f"class {position % 2}" / f"{position}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image_file(number))
        examples = ingest(root / name, root / f"{name}-out", validation_share=share)
        splits.append([encoded(examples, split) for split in ("train", "validation")])
    assert splits[0] == splits[1]
    train, validation = splits[0]
    assert not set(train) & set(validation)
    assert {*train, *validation} == {image_file(number) for number in numbers}
    expected = max(1, int(share * len(numbers) + 0.5))
    assert len(validation) == expected
    hashes = [hashlib.sha256(image).digest() for image in (*validation, *train)]
    assert hashes == sorted(hashes)


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
    make_folder(tmp_path / "photos", 4, ("a", "b"))
    examples = ingest(tmp_path / "photos", tmp_path / "out", validation_share=0.001)
    assert examples.counts == {"train": 3, "validation": 1}


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_validation_share_out_of_range(folder, tmp_path, share):
    sentence = refusal(tmp_path / "out", folder, validation_share=share)
    assert "--validation_share" in sentence


# Images that cannot be used

BAD_FILES = {
    "ant/empty.png": (b"", "empty file"),
    "bee/text \"for\" 'you'.jpg": (b"hello", "not a JPEG, PNG, GIF or BMP image"),
    "cow/truncated.jpg": (image_file(1, "JPEG")[:-40], "damaged or unsupported JPEG"),
    "cow/truncated.png": (image_file(1)[:-20], "damaged or unsupported PNG"),
}


@pytest.fixture
def partly_bad(folder):
    """Sixty good images and four bad ones."""
    for name, (content, _) in BAD_FILES.items():
        (folder / name).write_bytes(content)
    return folder


def test_bad_images_are_left_out_with_name_and_reason(partly_bad, tmp_path, capfd):
    examples = ingest(partly_bad, tmp_path / "out", max_bad_share=0.0625)
    assert examples.skipped == tuple(
        (name, reason) for name, (_, reason) in sorted(BAD_FILES.items())
    )
    assert examples.counts == {"train": 54, "validation": 6}
    for split in examples.counts:
        for image in encoded(examples, split):
            decode(tf.constant(image))
    assert capfd.readouterr().out == ""


def test_too_many_bad_images(partly_bad, tmp_path):
    sentence = refusal(tmp_path / "out", partly_bad, max_bad_share=0.06)
    assert "4 of 64 images (6.25%)" in sentence
    assert "ant/empty.png (empty file)" in sentence
    assert "cow/truncated.png" not in sentence  # It is the fourth.
    assert "--max_bad_share" in sentence


def test_only_bad_images(tmp_path):
    for name in ("a/1.jpg", "b/2.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        (tmp_path / "photos" / name).write_bytes(b"text")
    sentence = refusal(tmp_path / "out", tmp_path / "photos", max_bad_share=1.0)
    assert "2 of 2 images" in sentence


def test_class_with_bad_images_only(folder, tmp_path):
    (folder / "dog").mkdir()
    (folder / "dog" / "1.jpg").write_bytes(b"text")
    sentence = refusal(tmp_path / "out", folder, max_bad_share=0.5)
    assert "the class dog has no image" in sentence


def test_class_in_validation_only(tmp_path):
    make_folder(tmp_path / "photos" / "train", 12)
    make_folder(tmp_path / "photos" / "val", 12, ("ant", "bee", "cow", "dog"))
    assert "the class dog" in refusal(tmp_path / "out", tmp_path / "photos")


def test_one_class(tmp_path):
    assert "only one class" in refusal(tmp_path / "out", "drawings:1")


def test_unusual_images_are_kept(folder, tmp_path):
    image = Image.open(io.BytesIO(image_file(7, size=(30, 20))))
    deep = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 99)
    unusual = {
        "ant/gray.jpg": (image.convert("L"), {}),
        "ant/cmyk.jpg": (image.convert("CMYK"), {}),
        "bee/deep.png": (deep, {}),
        "bee/animated.gif": (
            image,
            {"save_all": True, "append_images": [image.rotate(180)]},
        ),
        'cow/it\'s "a" Kätzchen 猫.BMP': (image, {}),
    }
    for name, (content, options) in unusual.items():
        content.save(folder / name, **options)
    examples = ingest(folder, tmp_path / "out")
    assert examples.skipped == ()
    written = {
        value(features, "image/filename").decode(): features
        for split in examples.counts
        for features in read(examples, split)
    }
    for name in unusual:
        features = written[name]
        assert value(features, "image/encoded") == (folder / name).read_bytes()
        assert value(features, "image/height") == 20
        assert value(features, "image/width") == 30


def test_bad_archive_leaves_nothing(folder, tmp_path):
    path = tmp_path / "photos.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, ".")
        member = tarfile.TarInfo("../../evil.jpg")
        archive.addfile(member)
    assert "is refused" in refusal(tmp_path / "out", path)
    path.write_bytes(path.read_bytes()[:-200])
    assert "is damaged" in refusal(tmp_path / "out", path)


# The folder that is written


def test_examples_are_made_once(folder, tmp_path):
    directory = tmp_path / "out"
    first = ingest(folder, directory)
    before = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    # An image that changes unseen shows that it is not looked at again.
    path = folder / "ant" / "0.png"
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ingest(folder, directory) == first
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_share_of_bad_images_is_watched_on_the_second_run_too(partly_bad, tmp_path):
    ingest(partly_bad, tmp_path / "out", max_bad_share=0.1)
    with pytest.raises(UserError, match="4 of 64 images"):
        ingest(partly_bad, tmp_path / "out", max_bad_share=0.01)


@pytest.mark.parametrize("change", ["data", "parameter", "source"])
def test_examples_of_something_else_are_kept(folder, tmp_path, change):
    directory = tmp_path / "out"
    before = contents(ingest(folder, directory))
    parameters = {}
    if change == "data":
        (folder / "ant" / "new.png").write_bytes(image_file(99))
    elif change == "source":
        folder = make_folder(tmp_path / "others")
    else:
        parameters = {"validation_share": 0.2}
    with pytest.raises(UserError, match="--examples_dir") as caught:
        ingest(folder, directory, **parameters)
    assert str(directory) in str(caught.value)
    assert contents(Examples.load(directory)) == before


def test_folder_with_other_files_is_refused(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="something else"):
        ingest(folder, tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "precious"


def test_file_in_place_of_the_folder_is_refused(folder, tmp_path):
    (tmp_path / "out").write_text("precious")
    with pytest.raises(UserError, match="something else"):
        ingest(folder, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "precious"


def test_damaged_manifest(folder, tmp_path):
    ingest(folder, tmp_path / "out")
    (tmp_path / "out" / "examples.json").write_text("{")
    with pytest.raises(UserError, match=r"examples\.json is damaged"):
        ingest(folder, tmp_path / "out")


def test_missing_manifest(tmp_path):
    with pytest.raises(UserError, match="holds no examples"):
        Examples.load(tmp_path)


def test_empty_folder_may_be_there_already(folder, tmp_path):
    (tmp_path / "out").mkdir()
    assert ingest(folder, tmp_path / "out").counts["train"] == 54


def test_what_a_killed_ingest_left_is_done_afresh(folder, tmp_path):
    expected = contents(ingest(folder, tmp_path / "first"))
    partial = tmp_path / "out.partial"
    partial.mkdir()
    (partial / "train-00000-of-00001.tfrecord").write_bytes(b"half")
    (partial / "train-00001-of-00002.tfrecord").write_bytes(b"older half")
    assert contents(ingest(folder, tmp_path / "out")) == expected
    assert not partial.exists()


@pytest.mark.parametrize("calls_before", [0, 30, 70])
def test_interruption_leaves_nothing(folder, tmp_path, monkeypatch, calls_before):
    # Ctrl-C while reading, between, and while writing.
    calls = 0

    def interrupt(function):
        def wrapper(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls > calls_before:
                raise KeyboardInterrupt
            return function(*arguments, **options)

        return wrapper

    from pipelines.data.hash_order import HashOrder

    monkeypatch.setattr(HashOrder, "add", interrupt(HashOrder.add))
    monkeypatch.setattr(records, "to_example", interrupt(records.to_example))
    with pytest.raises(KeyboardInterrupt):
        ingest(folder, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


@pytest.fixture
def small_disk(tmp_path, request):
    """A file system of as many kilobytes as the test asks for."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = shutil.which("mount")
    command = [mount, "-t", "tmpfs", "-o", f"size={request.param}k", "tmpfs", str(path)]
    if mount is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield path
    subprocess.run(["umount", str(path)], check=True)


# Six images of 152 kB: either not all fit, or all but no first shard beside them.
@pytest.mark.parametrize(
    "small_disk", [600, 1000], ids=["read", "write"], indirect=True
)
def test_full_disk(small_disk, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 220, 230, 3), np.uint8)
    for number, image in enumerate(pixels):
        path = tmp_path / "photos" / f"{number % 2}" / f"{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    sentence = refusal(small_disk / "out", tmp_path / "photos")
    assert str(small_disk / "out") in sentence
    assert "No space left on device" in sentence


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
