"""TFRecord files."""

import hashlib
import os
from collections import Counter

import pytest
import tensorflow as tf
from mutations import framed
from opened import found, refusal

from pipelines.data.sources import open_source
from pipelines.data.sources.content import MAX_IMAGE_BYTES
from pipelines.data.sources.tfrecords import is_record_file


def record(label, image=b"image", text=None, synset=None):
    values = {
        "image/encoded": image,
        "image/class/label": label,
        "image/class/text": text,
        "image/class/synset": synset,
    }
    features = {}
    for key, value in values.items():
        if isinstance(value, int):
            features[key] = {"int64_list": {"value": [value]}}
        elif value is not None:
            features[key] = {"bytes_list": {"value": [value]}}
    example = tf.train.Example(features=tf.train.Features())
    for key, value in features.items():
        example.features.feature[key].MergeFrom(tf.train.Feature(**value))
    return example.SerializeToString()


def write_records(path, *records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for serialized in records:
            writer.write(serialized)
    return str(path)


@pytest.mark.parametrize("base", [0, 1])
def test_labels_count_from_zero_or_from_one(tmp_path, base):
    texts = [b"owl", b"cat", b"dog"]
    records = [record(base + i % 3, text=texts[i % 3]) for i in range(6)]
    source = open_source(write_records(tmp_path / "a.tfrecord", *records))
    assert [image.class_name for image in source] == ["owl", "cat", "dog"] * 2
    assert source.class_order() == ("owl", "cat", "dog")


def test_base_is_that_of_all_files_together(tmp_path):
    write_records(tmp_path / "x-00000-of-00002", record(1), record(2))
    write_records(tmp_path / "x-00001-of-00002", record(0))
    source = open_source(str(tmp_path))
    assert [image.class_name for image in source] == ["1", "2", "0"]
    assert source.class_order() == ("0", "1", "2")


def test_class_names_without_texts(tmp_path):
    path = write_records(
        tmp_path / "a.tfrecord",
        record(2),
        record(1, text=b"", synset=b"n01440764"),
        record(3, text=b"crane"),
        record(4, text=b"crane"),
    )
    source = open_source(path)
    assert len(list(source)) == 4
    assert source.class_order() == ("n01440764", "2", "crane (3)", "crane (4)")


@pytest.mark.parametrize("base", [0, 1])
def test_labels_file_names_the_classes(tmp_path, base):
    (tmp_path / "labels.txt").write_text("owl\nGrüße\ndog\n", encoding="utf-8")
    write_records(tmp_path / "a.tfrecord", record(base, text=b"x"), record(base + 2))
    source = open_source(str(tmp_path))
    assert [image.class_name for image in source] == ["owl", "dog"]
    assert source.class_order() == ("owl", "Grüße", "dog")


def test_images_are_kept_as_they_are(tmp_path):
    images = [b"\xff\xd8\xff\0", b"", b"\0" * 1000]
    records = [record(i % 2, image=image) for i, image in enumerate(images)]
    source = open_source(write_records(tmp_path / "a.tfrecord", *records))
    assert [image.content.read() for image in source] == images


@pytest.mark.parametrize("data", ["", "/*-of-00001", "/**/*-of-*"])
def test_splits_come_from_file_names(tmp_path, data):
    write_records(tmp_path / "train-00000-of-00001", record(0), record(1))
    write_records(tmp_path / "validation-00000-of-00001", record(0))
    write_records(tmp_path / "notes.txt")
    assert found(open_source(f"{tmp_path}{data}")) == {
        "train-00000-of-00001#0": ("0", "train"),
        "train-00000-of-00001#1": ("1", "train"),
        "validation-00000-of-00001#0": ("0", "validation"),
    }


def test_splits_come_from_folders(tmp_path):
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        write_records(tmp_path / split / "x.tfrecord", record(0), record(1))
    (tmp_path / "labels.txt").write_text("owl\ncat\n")
    assert found(open_source(str(tmp_path))) == {
        "train/x.tfrecord#0": ("owl", "train"),
        "train/x.tfrecord#1": ("cat", "train"),
        "validation/x.tfrecord#0": ("owl", "validation"),
        "validation/x.tfrecord#1": ("cat", "validation"),
    }


@pytest.mark.parametrize("base", [0, 1])
def test_texts_tell_the_base_where_class_0_has_no_record(tmp_path, base):
    names = ["owl", "cat", "dog", "ant"]
    (tmp_path / "labels.txt").write_text("\n".join(names))
    texts = names[1 - base :][:2]
    records = [record(i, text=text.encode()) for i, text in enumerate(texts, start=1)]
    write_records(tmp_path / "a.tfrecord", *records)
    assert [image.class_name for image in open_source(str(tmp_path))] == texts


def test_class_with_a_control_character(tmp_path):
    path = write_records(tmp_path / "a.tfrecord", record(0, text=b"a\nb"), record(1))
    assert "the class 'a\\nb', whose name holds a control" in refusal(path)


def test_records_of_our_own_are_read_as_what_they_were_made_of(drawings):
    source = open_source(str(drawings.directory))
    splits = Counter(image.split for image in source)
    assert splits == drawings.counts
    assert source.class_order() == drawings.classes
    digests = {hashlib.sha256(image.content.read()).hexdigest() for image in source}
    assert digests == {
        hashlib.sha256(image.content.read()).hexdigest()
        for image in open_source("drawings:200")
    }


@pytest.mark.parametrize(
    "names, splits",
    [
        (["train.tfrecord", "test.tfrecord"], ["validation", "train"]),
        (["train.tfrecord", "val.tfrecord", "test.tfrecord"], ["train", "validation"]),
        (["cifar10_train.tfrecord", "cifar10_val.tfrecord"], ["train", "validation"]),
        (["train.tfrecord"], [None]),
        (["interval.tfrecord", "latest.tfrecord"], [None, None]),
        (["val.tfrecord", "test.tfrecord"], [None, None]),
    ],
)
def test_words_in_file_names(tmp_path, names, splits):
    for name in names:
        write_records(tmp_path / name, record(0), record(1))
    found_splits = [image.split for image in open_source(str(tmp_path))][::2]
    assert sorted(map(str, found_splits)) == sorted(map(str, splits))


@pytest.mark.parametrize(
    "name, expected",
    [
        ("a.tfrecord", True),
        ("a.tfrecords", True),
        ("a.tfrecord-00000-of-00001", True),
        ("train-00000-of-01024", True),
        ("a.tfrecordings", False),
        ("labels.txt", False),
    ],
)
def test_record_files_are_told_by_their_names(tmp_path, name, expected):
    (tmp_path / name).touch()
    assert is_record_file(tmp_path / name) is expected


@pytest.mark.parametrize(
    "labels, label, number",
    [([0, 1, 3], 3, 2), ([1, 2, 5, 4], 4, 3), ([7, 8], 7, 0), ([0, 1, -1], -1, 2)],
)
def test_label_out_of_range(tmp_path, labels, label, number):
    path = write_records(tmp_path / "a.tfrecord", *map(record, labels))
    sentence = refusal(path)
    assert f"label {label} in record {number} of {path}" in sentence


def test_label_beyond_the_labels_file(tmp_path):
    (tmp_path / "labels.txt").write_text("owl\ncat\n")
    path = write_records(tmp_path / "a.tfrecord", record(0), record(1), record(2))
    assert f"label 2 in record 2 of {path} is out of range" in refusal(path)


def test_label_with_two_texts(tmp_path):
    path = write_records(
        tmp_path / "a.tfrecord", record(0, text=b"owl"), record(0, text=b"cat")
    )
    sentence = refusal(path)
    assert "'owl'" in sentence
    assert f"'cat' in record 1 of {path}" in sentence


@pytest.mark.parametrize("position", [0, 12, -1])
def test_damaged_record_file(tmp_path, position):
    path = tmp_path / "a.tfrecord"
    write_records(path, record(0), record(1))
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    assert f"{path} is damaged" in refusal(path)


@pytest.mark.parametrize("missing", [1, 20, 90])
def test_truncated_record_file(tmp_path, missing):
    path = tmp_path / "a.tfrecord"
    write_records(path, record(0), record(1))
    path.write_bytes(path.read_bytes()[:-missing])
    assert f"{path} is damaged" in refusal(path)


@pytest.mark.parametrize("length", [2**40, 2**64 - 32, 2**34, 160])
def test_length_that_leads_out_of_the_file(tmp_path, length):
    """TensorFlow takes so much memory if the checksum is right: 2^40 ends it."""
    path = tmp_path / "a.tfrecord"
    path.write_bytes(framed(record(0)) + framed(record(1), length))
    assert f"{path} is damaged" in refusal(path)


def test_record_larger_than_any_image(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(framed(record(0)) + framed(b"", MAX_IMAGE_BYTES + 1)[:12])
    os.truncate(path, path.stat().st_size + MAX_IMAGE_BYTES + 5)
    assert f"record 1 of {path} is larger than 256 MiB" in refusal(path)


def test_records_without_image_or_label(tmp_path):
    path = write_records(tmp_path / "a.tfrecord", record(0), record(1, image=None))
    assert "record 1" in refusal(path)
    assert "image/encoded" in refusal(path)
    path = write_records(tmp_path / "b.tfrecord", record(0), record(None))
    assert f"{path} has a record without" in refusal(path)


@pytest.mark.parametrize("key", [b"encoded", b"class/label", b"class/text"])
@pytest.mark.parametrize("values", [(0, 1), (b"x", b"y")], ids=str)
def test_names_of_features_that_are_no_text(tmp_path, key, values):
    """TensorFlow quotes them in messages, which it then cannot decode."""
    made = [record(label, text=b"t%d" % i) for i, label in enumerate(values)]
    broken = [serialized.replace(key, b"\xa2" + key[1:]) for serialized in made]
    path = write_records(tmp_path / "a.tfrecord", *made, *broken)
    assert str(path) in refusal(path)


def test_record_file_without_records(tmp_path):
    path = write_records(tmp_path / "a.tfrecord")
    assert f"no records in {path}" in refusal(path)


def test_pattern_without_matches(tmp_path):
    assert "no TFRecord files match" in refusal(tmp_path / "train-*")


def test_fingerprint_changes_with_the_records_and_the_labels_file(tmp_path):
    write_records(tmp_path / "a.tfrecord", record(0), record(1))
    prints = [open_source(str(tmp_path)).fingerprint for _ in range(2)]
    write_records(tmp_path / "a.tfrecord", record(0), record(1), record(1))
    prints.append(open_source(str(tmp_path)).fingerprint)
    (tmp_path / "labels.txt").write_text("owl\ncat\n")
    prints.append(open_source(str(tmp_path)).fingerprint)
    assert [prints.index(value) for value in prints] == [0, 0, 2, 3]
