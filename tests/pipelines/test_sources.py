"""What each kind of data gives, and the one sentence for each kind of bad data."""

import io
import os
import stat
import tarfile
import zipfile

import pytest
import tensorflow as tf

from pipelines.data.sources import open_source
from pipelines.data.sources.tfrecords import is_record_file
from pipelines.errors import UserError


def write(root, *names):
    """Writes files whose contents are their names: sources do not look into images."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return str(root)


def found(source):
    """Returns name -> (class, split), having checked that names tell images apart."""
    images = list(source)
    places = {image.name: (image.class_name, image.split) for image in images}
    assert len(places) == len(images)
    return places


# Folders


def test_folders_are_classes_and_what_lies_below_belongs_to_them(tmp_path):
    data = write(tmp_path, "cat/1.jpg", "cat/black/2.PNG", "dog/old/x/1.JPEG")
    assert found(open_source(data)) == {
        "cat/1.jpg": ("cat", None),
        "cat/black/2.PNG": ("cat", None),
        "dog/old/x/1.JPEG": ("dog", None),
    }


def test_images_come_in_sorted_order_with_their_bytes(tmp_path):
    data = write(tmp_path, "b/2.jpg", "a/10.jpg", "b/1.jpg", "a/9.jpg")
    images = list(open_source(data))
    assert [image.name for image in images] == [
        "a/10.jpg",
        "a/9.jpg",
        "b/1.jpg",
        "b/2.jpg",
    ]
    assert all(image.image == image.name.encode() for image in images)


def test_a_source_can_be_read_again(tmp_path):
    source = open_source(write(tmp_path, "a/1.jpg", "b/2.jpg"))
    assert list(source) == list(source)


def test_hidden_and_other_files_are_passed_over(tmp_path):
    data = write(
        tmp_path,
        "README.md",
        "labels.csv",
        "cat/1.jpg",
        "cat/notes.txt",
        "cat/._1.jpg",
        "cat/.thumbs/1.jpg",
        "dog/1.bmp",
        "dog/1.gif",
        ".git/1.jpg",
        "__MACOSX/cat/1.jpg",
    )
    assert sorted(found(open_source(data))) == ["cat/1.jpg", "dog/1.bmp", "dog/1.gif"]


@pytest.mark.parametrize(
    "name",
    ['it\'s "one".jpg', "two  spaces .jpg", "Grüße 猫 é.jpg", "a,b;c$d#e%20.jpg"],
)
@pytest.mark.parametrize("kind", ["folder", "x.tar.gz", "x.zip"])
def test_any_file_name_works(tmp_path, name, kind):
    data = write(tmp_path / "data", f"Katze für 'Oma'/{name}", "dog/1.jpg")
    if kind != "folder":
        data = pack(tmp_path / kind, data, "data")
    assert f"Katze für 'Oma'/{name}" in found(open_source(data))


def test_a_name_that_is_not_utf8_is_made_printable(tmp_path):
    write(tmp_path, "a/1.jpg", "b/2.jpg")
    os.rename(tmp_path / "a/1.jpg", os.fsencode(tmp_path / "a") + b"/caf\xe9.jpg")
    assert "a/caf\\xe9.jpg" in found(open_source(str(tmp_path)))


def test_links_to_folders_and_files_are_followed(tmp_path):
    write(tmp_path / "far", "many/1.jpg", "one.jpg")
    write(tmp_path / "data", "dog/1.jpg")
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "far" / "many")
    (tmp_path / "data" / "dog" / "2.jpg").symlink_to(tmp_path / "far" / "one.jpg")
    assert sorted(found(open_source(str(tmp_path / "data")))) == [
        "cat/1.jpg",
        "dog/1.jpg",
        "dog/2.jpg",
    ]


@pytest.mark.parametrize("word", ["val", "valid", "validation", "test", "Val"])
def test_split_folders_are_the_splits(tmp_path, word):
    data = write(tmp_path, "train/a/1.jpg", "train/b/x/1.jpg", f"{word}/a/1.jpg")
    assert found(open_source(data)) == {
        "train/a/1.jpg": ("a", "train"),
        "train/b/x/1.jpg": ("b", "train"),
        f"{word}/a/1.jpg": ("a", "validation"),
    }


def test_test_images_are_left_out_where_there_are_validation_images(tmp_path):
    data = write(
        tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "test/a/3.jpg"
    )
    assert "test/a/3.jpg" not in found(open_source(data))


@pytest.mark.parametrize("around", ["train", "photos", "photos/v2/train"])
def test_a_folder_around_everything_means_nothing(tmp_path, around):
    data = write(tmp_path, f"{around}/a/1.jpg", f"{around}/b/1.jpg")
    assert found(open_source(data)) == {"a/1.jpg": ("a", None), "b/1.jpg": ("b", None)}


def test_a_class_may_be_called_train(tmp_path):
    data = write(tmp_path, "train/1.jpg", "bus/1.jpg")
    assert {place for place, _ in found(open_source(data)).values()} == {"train", "bus"}


def test_fingerprint_changes_with_the_data(tmp_path):
    data = write(tmp_path, "a/1.jpg", "b/1.jpg")
    first = open_source(data).fingerprint
    assert open_source(data).fingerprint == first
    (tmp_path / "b/1.jpg").write_bytes(b"longer than before")
    second = open_source(data).fingerprint
    (tmp_path / "b/2.jpg").touch()
    third = open_source(data).fingerprint
    assert len({first, second, third}) == 3


def test_fingerprint_does_not_depend_on_where_the_data_lies(tmp_path):
    data = write(tmp_path / "here", "a/1.jpg", "b/1.jpg")
    first = open_source(data).fingerprint
    os.rename(data, tmp_path / "there")
    assert open_source(str(tmp_path / "there")).fingerprint == first


# Bad folders


def refusal(data):
    """Returns the sentence, having checked that it is one."""
    with pytest.raises(UserError) as caught:
        list(open_source(str(data)))
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_missing_path(tmp_path):
    assert f"{tmp_path}/nowhere does not exist" in refusal(tmp_path / "nowhere")


def test_empty_folder(tmp_path):
    assert f"{tmp_path} holds no images" in refusal(tmp_path)


def test_folder_with_one_class(tmp_path):
    assert "only one class (cat)" in refusal(write(tmp_path, "cat/1.jpg", "cat/2.jpg"))


def test_class_folder_without_images(tmp_path):
    write(tmp_path, "cat/1.jpg", "dog/1.jpg", "owl/readme.txt")
    assert "the class folder owl" in refusal(tmp_path)


def test_class_folder_without_images_in_a_split(tmp_path):
    write(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "val/cat/1.jpg")
    (tmp_path / "train" / "owl").mkdir()
    assert "the class folder train/owl" in refusal(tmp_path)


@pytest.mark.parametrize("classes", [[], ["cat/1.jpg", "dog/1.jpg"]])
def test_images_directly_in_the_root(tmp_path, classes):
    sentence = refusal(write(tmp_path, "stray.jpg", *classes))
    assert "outside of a class folder, such as stray.jpg" in sentence


def test_images_directly_in_a_split(tmp_path):
    sentence = refusal(write(tmp_path, "train/stray.jpg", "val/cat/1.jpg"))
    assert "outside of a class folder, such as train/stray.jpg" in sentence


def test_held_out_folders_without_training_folder(tmp_path):
    sentence = refusal(write(tmp_path, "val/a/1.jpg", "test/a/1.jpg", "val/b/1.jpg"))
    assert "no train" in sentence


def test_broken_link(tmp_path):
    write(tmp_path, "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "dog" / "2.jpg").symlink_to(tmp_path / "gone.jpg")
    assert "dog/2.jpg cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["data.csv", "model.h5", "noend"])
def test_unknown_kind_of_file(tmp_path, name):
    write(tmp_path, name)
    assert f"{name} is an unknown kind of file" in refusal(tmp_path / name)


def test_single_image(tmp_path):
    write(tmp_path, "1.jpg")
    assert "1.jpg is a single image" in refusal(tmp_path / "1.jpg")


# Archives

ARCHIVES = ["x.tar", "x.tar.gz", "x.tgz", "x.tar.bz2", "x.tar.xz", "x.zip", "X.ZIP"]


def pack(path, folder, root):
    """Packs a folder by the archive's suffix, with `root` as its name inside."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for top, _, names in os.walk(folder):
                for name in (".", *names):
                    member = os.path.join(root, os.path.relpath(top, folder), name)
                    archive.write(os.path.join(top, name), member)
    else:
        kind = {".tar": "", ".tgz": "gz"}.get(path.suffix, path.suffix[1:])
        with tarfile.open(path, f"w:{kind}") as archive:
            archive.add(folder, root)
    return str(path)


@pytest.mark.parametrize("root", [".", "photos", "a/b/c"])
@pytest.mark.parametrize("archive", ARCHIVES)
def test_an_archive_gives_what_its_folder_gives(tmp_path, archive, root):
    data = write(tmp_path / "data", "a/1.jpg", "a/x/2.jpg", "b/1.png", "readme.txt")
    packed = open_source(pack(tmp_path / archive, data, root))
    assert sorted(packed) == sorted(open_source(data))
    assert packed.name.lower() == "x"


@pytest.mark.parametrize("root", [".", "cifar10"])
def test_an_archive_may_hold_splits(tmp_path, root):
    data = write(tmp_path / "data", "train/a/1.jpg", "train/b/1.jpg", "test/a/2.jpg")
    packed = open_source(pack(tmp_path / "x.tar.gz", data, root))
    assert found(packed) == {
        "train/a/1.jpg": ("a", "train"),
        "train/b/1.jpg": ("b", "train"),
        "test/a/2.jpg": ("a", "validation"),
    }


def test_fingerprint_of_an_archive_changes_with_it(tmp_path):
    data = write(tmp_path / "data", "a/1.jpg", "b/1.jpg")
    first = open_source(pack(tmp_path / "x.tar", data, ".")).fingerprint
    assert open_source(str(tmp_path / "x.tar")).fingerprint == first
    write(tmp_path / "data", *(f"a/{number}.jpg" for number in range(30)))
    pack(tmp_path / "x.tar", data, ".")
    assert open_source(str(tmp_path / "x.tar")).fingerprint != first


def tar_with(path, **extra):
    """Writes a good archive with one more member at its end."""
    with tarfile.open(path, "w") as archive:
        for name in ("a/1.jpg", "b/1.jpg"):
            archive.addfile(tarfile.TarInfo(name))
        member = tarfile.TarInfo()
        for key, value in extra.items():
            setattr(member, key, value)
        archive.addfile(member)
    return path


@pytest.mark.parametrize(
    "extra, reason",
    [
        ({"name": "/etc/1.jpg"}, "has an absolute name"),
        ({"name": "C:/1.jpg"}, "has an absolute name"),
        ({"name": "../1.jpg"}, "leads out"),
        ({"name": "a/../../1.jpg"}, "leads out"),
        ({"name": "../readme.txt"}, "leads out"),
        ({"name": "a/2.jpg", "type": tarfile.SYMTYPE, "linkname": "1.jpg"}, "a link"),
        ({"name": "a/2.jpg", "type": tarfile.LNKTYPE, "linkname": "a/1.jpg"}, "a link"),
        ({"name": "null", "type": tarfile.CHRTYPE}, "a device"),
        ({"name": "pipe", "type": tarfile.FIFOTYPE}, "a device"),
    ],
)
def test_tar_with_an_unsafe_member_is_refused_before_its_first_image(
    tmp_path, extra, reason
):
    images = iter(open_source(str(tar_with(tmp_path / "x.tar", **extra))))
    with pytest.raises(UserError, match=r"x\.tar is refused") as caught:
        next(images)
    assert repr(extra["name"]) in str(caught.value)
    assert reason in str(caught.value)


def zip_with(path, name, mode=stat.S_IFREG):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.jpg", b"1")
        archive.writestr("b/1.jpg", b"1")
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        archive.writestr(member, b"1.jpg")
    return path


@pytest.mark.parametrize(
    "name, mode, reason",
    [
        ("/etc/1.jpg", stat.S_IFREG, "has an absolute name"),
        ("C:\\1.jpg", stat.S_IFREG, "has an absolute name"),
        ("../1.jpg", stat.S_IFREG, "leads out"),
        ("..\\1.jpg", stat.S_IFREG, "leads out"),
        ("a/2.jpg", stat.S_IFLNK, "a link"),
        ("a/2.jpg", stat.S_IFIFO, "a device"),
    ],
)
def test_zip_with_an_unsafe_member_is_refused_before_its_first_image(
    tmp_path, name, mode, reason
):
    images = iter(open_source(str(zip_with(tmp_path / "x.zip", name, mode))))
    with pytest.raises(UserError, match=r"x\.zip is refused") as caught:
        next(images)
    assert reason in str(caught.value)


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("archive", ARCHIVES)
def test_truncated_archive(tmp_path, archive, share):
    names = [f"{kind}/{number}.jpg" for kind in "ab" for number in range(20)]
    path = tmp_path / archive
    pack(path, write(tmp_path / "data", *names), ".")
    # The zeros with which a tar is padded may go.
    whole = path.read_bytes().rstrip(b"\0")
    path.write_bytes(whole[: int(len(whole) * share)])
    assert f"{archive} is damaged or not a whole archive" in refusal(path)


def test_tar_that_ends_between_two_members(tmp_path):
    path = tar_with(tmp_path / "x.tar", name="b/2.jpg")
    path.write_bytes(path.read_bytes()[: 2 * tarfile.BLOCKSIZE])
    assert "x.tar is damaged" in refusal(path)


def test_tar_with_a_damaged_header_in_its_middle(tmp_path):
    path = tar_with(tmp_path / "x.tar", name="c/1.jpg")
    content = bytearray(path.read_bytes())
    content[2 * tarfile.BLOCKSIZE + 150] ^= 1  # The last header's checksum.
    path.write_bytes(content)
    assert "x.tar is damaged" in refusal(path)


@pytest.mark.parametrize("archive", ["x.tar.gz", "x.zip"])
def test_archive_with_a_flipped_bit(tmp_path, archive):
    path = tmp_path / archive
    pack(path, write(tmp_path / "data", "a/1.jpg", "b/1.jpg"), ".")
    content = bytearray(path.read_bytes())
    # In the checksum at the end of gzip, or in the name at the start of the image.
    content[-8 if archive == "x.tar.gz" else content.index(b"a/1.jpga/1.jpg") + 9] ^= 1
    path.write_bytes(content)
    assert f"{archive} is damaged" in refusal(path)


@pytest.mark.parametrize("archive", ARCHIVES)
def test_text_that_is_named_as_an_archive(tmp_path, archive):
    (tmp_path / archive).write_text("<html>404 Not Found</html>")
    assert f"{archive} is damaged" in refusal(tmp_path / archive)


def test_archive_without_images(tmp_path):
    data = write(tmp_path / "data", "a/readme.txt")
    assert "holds no images" in refusal(pack(tmp_path / "x.zip", data, "."))


# TFRecord files


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
    assert [image.image for image in source] == images


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


def test_records_without_image_or_label(tmp_path):
    path = write_records(tmp_path / "a.tfrecord", record(0), record(1, image=None))
    assert "record 1" in refusal(path)
    assert "image/encoded" in refusal(path)
    path = write_records(tmp_path / "b.tfrecord", record(0), record(None))
    assert f"{path} has a record without" in refusal(path)


def test_record_file_without_records(tmp_path):
    path = write_records(tmp_path / "a.tfrecord")
    assert f"no records in {path}" in refusal(path)


def test_pattern_without_matches(tmp_path):
    assert "no TFRecord files match" in refusal(tmp_path / "train-*")


# TensorFlow Datasets


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """A folder with a prepared data set of six images."""
    import tensorflow_datasets as tfds

    class TinyShapes(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [  # noqa: RUF012
            tfds.core.BuilderConfig(name="tested"),
            tfds.core.BuilderConfig(name="plain"),
        ]

        def _info(self):
            features = tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.ClassLabel(names=["square", "disc"]),
                }
            )
            return tfds.core.DatasetInfo(
                builder=self, features=features, supervised_keys=("image", "label")
            )

        def _split_generators(self, dl_manager):
            splits = {"train": self._generate_examples(range(4))}
            if self.builder_config.name == "tested":
                splits["test"] = self._generate_examples(range(4, 6))
            return splits

        def _generate_examples(self, numbers):
            for number in numbers:
                yield number, {"image": image_file(number), "label": number % 2}

    class TinyTexts(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {}

        def _generate_examples(self):
            yield from ()

    directory = tmp_path_factory.mktemp("catalogue")
    for name in ("tested", "plain"):
        TinyShapes(data_dir=directory, config=name).download_and_prepare()
    tfds.core.add_data_dir(directory)


def image_file(number):
    """A JPEG in a file-like object, a different one for each number."""
    import numpy as np
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.full((8, 9, 3), 40 * number, np.uint8)).save(file, "JPEG")
    file.seek(0)
    return file


def test_data_set_of_the_catalogue(catalogue):
    source = open_source("tfds:tiny_shapes")
    images = list(source)
    assert {image.image for image in images} == {
        image_file(number).getvalue() for number in range(6)
    }
    assert [image.split for image in images] == ["train"] * 4 + ["validation"] * 2
    by_bytes = {image.image: image.class_name for image in images}
    assert by_bytes[image_file(3).getvalue()] == "disc"
    assert by_bytes[image_file(4).getvalue()] == "square"
    assert source.class_order() == ("square", "disc")
    assert len({image.name for image in images}) == 6
    assert source.name == "tiny_shapes"


def test_configuration_of_a_data_set(catalogue):
    source = open_source("tfds:tiny_shapes/plain")
    assert [image.split for image in source] == [None] * 4
    assert source.fingerprint != open_source("tfds:tiny_shapes").fingerprint


def test_unknown_data_set_suggests_the_nearest():
    assert "did you mean tfds:cifar10?" in refusal("tfds:ciffar10")


def test_unknown_configuration(catalogue):
    assert "tfds:tiny_shapes/nope cannot be opened" in refusal("tfds:tiny_shapes/nope")


def test_data_set_without_images(catalogue):
    assert "not a data set of images" in refusal("tfds:tiny_texts")


# The embedded set


@pytest.mark.parametrize("data, count", [("drawings:30", 30), ("drawings:7", 7)])
def test_embedded_drawings(data, count):
    images = list(open_source(data))
    assert len(images) == count
    assert all(image.split is None for image in images)
    assert len({image.name for image in images}) == count


def test_embedded_drawings_are_the_default():
    assert open_source("").fingerprint == open_source("drawings").fingerprint
    assert open_source("drawings:6000").fingerprint == open_source("").fingerprint
    assert open_source("drawings:700").fingerprint != open_source("").fingerprint


@pytest.mark.parametrize("count", ["", "0", "-3", "many", "1.5"])
def test_embedded_drawings_of_no_count(count):
    assert f"drawings:{count} does not say how many" in refusal(f"drawings:{count}")
