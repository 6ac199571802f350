"""Folders of images, and the embedded set."""

import os

import pytest
from opened import found, pack, refusal, write

from pipelines.data.sources import open_source
from pipelines.data.sources.content import MAX_IMAGE_BYTES
from pipelines.errors import UserError


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
    assert all(image.content.read() == image.name.encode() for image in images)


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
        "dog/1.webp",
        "dog/1.tif",
        "dog/1.psd",
        "dog/noend",
        ".git/1.jpg",
        "__MACOSX/cat/1.jpg",
    )
    source = open_source(data)
    assert sorted(found(source)) == [
        "cat/1.jpg",
        "dog/1.bmp",
        "dog/1.gif",
        "dog/1.tif",
        "dog/1.webp",
    ]
    # Hidden ones are no one's.
    passed_over = {".csv": 1, ".md": 1, ".psd": 1, ".txt": 1, "without a suffix": 1}
    assert source.passed_over() == passed_over
    archive = open_source(pack(tmp_path.with_suffix(".zip"), data, "."))
    assert archive.passed_over() == passed_over


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


def test_folder_and_classes_that_are_not_utf8(tmp_path):
    write(tmp_path, "x/a/1.jpg", "x/b/2.jpg")
    os.rename(tmp_path / "x/a", os.fsencode(tmp_path / "x") + b"/caf\xe9")
    os.rename(tmp_path / "x", os.fsencode(tmp_path) + b"/gr\xfcn")
    source = open_source(os.fsdecode(os.fsencode(tmp_path) + b"/gr\xfcn"))
    assert source.name == "gr\\xfcn"
    assert found(source)["caf\\xe9/1.jpg"] == ("caf\\xe9", None)


@pytest.mark.parametrize("name", ["ca\nt", "cat\x1b[2J", "ca\u2028t", "cat\r"])
@pytest.mark.parametrize("kind", ["folder", "x.tar", "x.zip"])
def test_class_with_a_control_character(tmp_path, name, kind):
    """It would be two lines of labels.txt, and every class behind it another."""
    data = write(tmp_path / "data", f"{name}/1.jpg", "dog/1.jpg")
    if kind != "folder":
        data = pack(tmp_path / kind, data, "data")
    assert f"the class {name!r}, whose name holds a control" in refusal(data)


def test_pipe_named_as_an_image(tmp_path):
    write(tmp_path, "cat/1.jpg", "dog/1.jpg")
    os.mkfifo(tmp_path / "dog/2.jpg")
    assert "dog/2.jpg is a pipe or a device" in refusal(tmp_path)


def test_links_that_lead_back(tmp_path):
    """Two of them make paths without end."""
    write(tmp_path, "cat/1.jpg", "dog/1.jpg")
    for name in ("one", "two"):
        (tmp_path / name).symlink_to(".")
        (tmp_path / "dog" / name).symlink_to("..")
    assert "is a link to a folder around it" in refusal(tmp_path)


def test_folders_without_end(tmp_path):
    write(tmp_path, "cat/1.jpg", f"dog/{'x/' * 120}1.jpg")
    assert "lies in more than 100 folders" in refusal(tmp_path)


def test_name_that_is_too_long_for_one(tmp_path):
    assert "does not exist" in refusal(tmp_path / ("x" * 300))
    assert "does not exist" in refusal("a\0b")


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


def test_huge_image(tmp_path):
    write(tmp_path, "cat/1.jpg", "dog/1.jpg")
    images = list(open_source(str(tmp_path)))
    os.truncate(tmp_path / "dog/1.jpg", MAX_IMAGE_BYTES + 1)
    with pytest.raises(UserError, match=r"dog/1\.jpg is larger than 256 MiB"):
        open_source(str(tmp_path))
    # One that grew after it was listed.
    with pytest.raises(UserError, match=r"dog/1\.jpg is larger than 256 MiB"):
        images[1].content.read()


@pytest.mark.parametrize("name", ["data.xls", "model.h5", "noend"])
def test_unknown_kind_of_file(tmp_path, name):
    write(tmp_path, name)
    assert f"{name} is an unknown kind of file" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["1.jpg", "1.WEBP"])
def test_single_image(tmp_path, name):
    write(tmp_path, name)
    assert f"{name} is a single image" in refusal(tmp_path / name)


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
