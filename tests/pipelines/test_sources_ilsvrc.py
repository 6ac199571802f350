"""ILSVRC-2012 in miniature: five classes, whose two orders differ."""

import io
import re
import struct
import tarfile
import zlib
from collections import Counter

import numpy as np
import pytest
from opened import found, read, refusal, write
from PIL import Image

from pipelines.data.sources import FileContent, open_source
from pipelines.data.sources.devkit import DevKit

DEVKIT = ("n02119789", "n02100735", "n02110185", "n02096294", "n02102040")
"""The first five of the development kit: kit fox, English setter, husky, ..."""

WORDNET = ("n02096294", "n02100735", "n02102040", "n02110185", "n02119789")

IDS = (4, 1, 5, 5, 2, 3, 1)
"""What the validation images show, as the development kit has it."""

SHOWN = tuple(DEVKIT[number - 1] for number in IDS)


def jpeg(*color):
    file = io.BytesIO()
    Image.new("RGB", (6, 5), color).save(file, "JPEG")
    return file.getvalue()


def training_image(synset, number):
    return jpeg(int(synset[-3:]) % 256, 40 * number, 0)


def validation_image(number):
    return jpeg(0, 30 * number, 255)


def tar_of(files):
    """Returns a tar of name -> bytes, or of ready `TarInfo`s."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in files.items():
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def class_tar(synset, **more):
    images = {f"{synset}_{i}.JPEG": training_image(synset, i) for i in (7, 2)}
    return tar_of({**images, **more})


def meta_mat():
    scipy_io = pytest.importorskip("scipy.io")
    rows = [(i, synset, "words", 0) for i, synset in enumerate(DEVKIT, start=1)]
    rows.append((6, "n02083346", "canine, canid", 5))  # Not of the challenge.
    kinds = [
        ("ILSVRC2012_ID", object),
        ("WNID", object),
        ("words", object),
        ("num_children", object),
    ]
    table = np.array(rows, dtype=kinds).reshape(-1, 1)
    file = io.BytesIO()
    scipy_io.savemat(file, {"synsets": table})
    return file.getvalue()


def meta_text():
    lines = [f"{synset} {i} Some_name" for i, synset in enumerate(DEVKIT, start=1)]
    return "\n".join(lines).encode()


GROUND_TRUTH = "".join(f"{number}\n" for number in IDS).encode()

KIT = "ILSVRC2012_devkit_t12/data"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
LABELS = "imagenet_2012_validation_synset_labels.txt"

KITS = {
    "packed": lambda: {
        "ILSVRC2012_devkit_t12.tar.gz": packed_kit(
            {f"{KIT}/{TRUTH}": GROUND_TRUTH, f"{KIT}/meta.mat": meta_mat()}
        )
    },
    "unpacked": lambda: {f"{KIT}/{TRUTH}": GROUND_TRUTH, f"{KIT}/meta.mat": meta_mat()},
    "text": lambda: {TRUTH: GROUND_TRUTH, "map_clsloc.txt": meta_text()},
    "labels": lambda: {LABELS: "\n".join(SHOWN).encode()},
    "none": dict,
}


def packed_kit(files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def train_tar():
    # In no order.
    return tar_of(
        {f"{s}.tar": class_tar(s) for s in (DEVKIT[1], *WORDNET[2:], DEVKIT[3])}
    )


def validation_tar(numbers=(3, 1, 2, 7, 6, 5, 4)):
    return tar_of({f"ILSVRC2012_val_{i:08}.JPEG": validation_image(i) for i in numbers})


def publish(folder, kit="text", **files):
    """Writes the data set; `files` replace or, if None, remove its archives."""
    archives = {"train": train_tar(), "val": validation_tar(), **files}
    contents = KITS[kit]() | {
        f"ILSVRC2012_img_{name}.tar": data
        for name, data in archives.items()
        if data is not None
    }
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return f"ilsvrc:{folder}"


EXPECTED = {
    f"train/{synset}/{synset}_{i}.JPEG": (synset, "train", training_image(synset, i))
    for synset in WORDNET
    for i in (7, 2)
} | {
    f"val/ILSVRC2012_val_{i:08}.JPEG": (synset, "validation", validation_image(i))
    for i, synset in enumerate(SHOWN, start=1)
}


@pytest.mark.parametrize("kit", ["packed", "unpacked", "text", "labels"])
def test_every_image_with_its_class(tmp_path, kit):
    images = read(open_source(publish(tmp_path, kit)))
    assert {
        image.name: (image.class_name, image.split, image.content) for image in images
    } == EXPECTED
    assert len(images) == len(EXPECTED)


@pytest.mark.parametrize("kit", ["packed", "unpacked", "text"])
@pytest.mark.parametrize(
    "kind, order", [("ilsvrc", WORDNET), ("ilsvrc-devkit", DEVKIT)]
)
def test_both_orders_of_the_labels(tmp_path, kit, kind, order):
    publish(tmp_path, kit)
    source = open_source(f"{kind}:{tmp_path}")
    shown = [i.class_name for i in source if i.split == "validation"]
    assert source.class_order() == order
    assert tuple(shown) == SHOWN
    if kind == "ilsvrc-devkit":
        assert tuple(order.index(name) + 1 for name in shown) == IDS


@pytest.mark.parametrize("kit", ["packed", "unpacked", "text"])
def test_ids_are_those_of_the_challenge(tmp_path, kit):
    publish(tmp_path, kit)
    assert DevKit(tmp_path).synsets() == dict(enumerate(DEVKIT, start=1))


def test_images_are_read_where_they_are(tmp_path):
    publish(tmp_path)
    kinds = {type(image.content) for image in open_source(str(tmp_path))}
    assert kinds == {FileContent}


def test_folder_that_holds_the_training_archive_is_recognised(tmp_path):
    data = publish(tmp_path)
    source = open_source(str(tmp_path))
    assert list(source) == list(open_source(data))
    assert source.fingerprint == open_source(data).fingerprint


@pytest.mark.parametrize("kit", ["text", "none"])
def test_training_archive_alone(tmp_path, kit):
    source = open_source(publish(tmp_path, kit, val=None))
    assert {split for _, split in found(source).values()} == {None}
    assert len(found(source)) == 10
    assert source.class_order() == WORDNET


def test_validation_images_in_class_folders(tmp_path):
    data = publish(tmp_path, "none", val=None)
    names = [
        f"val/{synset}/ILSVRC2012_val_{i:08}.JPEG" for i, synset in enumerate(SHOWN)
    ]
    write(tmp_path, *names)
    places = found(open_source(data))
    assert {n: places[n] for n in names} == {
        name: (synset, "validation") for name, synset in zip(names, SHOWN, strict=True)
    }
    assert len(places) == 17


def test_folder_of_class_folders_is_an_ordinary_one(tmp_path):
    write(
        tmp_path, *(f"{split}/{s}/1.JPEG" for split in ("train", "val") for s in DEVKIT)
    )
    places = found(open_source(str(tmp_path)))
    assert places["val/n02119789/1.JPEG"] == ("n02119789", "validation")


def test_subset_of_the_classes_keeps_the_order(tmp_path):
    few = {f"{synset}.tar": class_tar(synset) for synset in WORDNET[:3]}
    publish(tmp_path, train=tar_of(few), val=None)
    source = open_source(f"ilsvrc-devkit:{tmp_path}")
    list(source)
    assert source.class_order() == ("n02100735", "n02096294", "n02102040")


def test_fingerprint_tells_order_and_files(tmp_path):
    data = publish(tmp_path)
    prints = [open_source(data).fingerprint]
    prints.append(open_source(f"ilsvrc-devkit:{tmp_path}").fingerprint)
    (tmp_path / TRUTH).write_bytes(GROUND_TRUTH[::-1])
    prints.append(open_source(data).fingerprint)
    publish(tmp_path, val=None)
    (tmp_path / "ILSVRC2012_img_val.tar").unlink()
    prints.append(open_source(data).fingerprint)
    assert len(set(prints)) == 4


def test_published_list_knows_fifty_images_of_each_class(tmp_path):
    synsets = DevKit(tmp_path).validation_synsets(50_000)
    assert Counter(Counter(synsets).values()) == {50: 1000}
    assert synsets[0] == "n01751748"  # A sea snake, in the first validation image.


# What is wrong


def test_no_training_archive(tmp_path):
    assert f"{tmp_path} has no ILSVRC2012_img_train.tar" in refusal(
        f"ilsvrc:{tmp_path}"
    )


def test_no_kit(tmp_path):
    sentence = refusal(publish(tmp_path, "none"))
    assert "no file" in sentence and "ILSVRC2012_devkit_t12.tar.gz" in sentence


def test_sorted_synset_lists_do_not_tell_what_ids_mean(tmp_path):
    data = publish(tmp_path, "none")
    (tmp_path / TRUTH).write_bytes(GROUND_TRUTH)
    (tmp_path / "synset_words.txt").write_text("\n".join(f"{s} words" for s in WORDNET))
    assert "tells the order of the development kit" in refusal(data)


def test_devkit_order_without_kit(tmp_path):
    publish(tmp_path, "labels")
    assert "tells the order" in refusal(f"ilsvrc-devkit:{tmp_path}")


@pytest.mark.parametrize(
    "name, content, reason",
    [
        (TRUTH, b"4\n1\n5\n", "7 validation images but .* tells the classes of 3"),
        (TRUTH, GROUND_TRUTH.replace(b"3", b"6"), "'6' on line 6 is not an id from 1"),
        (TRUTH, GROUND_TRUTH.replace(b"3", b"0"), "'0' on line 6 is not an id"),
        (TRUTH, b"\xff\0kit fox", "on line 1 is not an id"),
        ("map_clsloc.txt", b"n02119789\n", "map_clsloc.txt in .* is damaged"),
        ("map_clsloc.txt", meta_text().replace(b" 5 ", b" 7 "), "once each"),
        ("map_clsloc.txt", meta_text().replace(b"n02100735", b"n02119789"), "once"),
    ],
)
def test_wrong_kit(tmp_path, name, content, reason):
    data = publish(tmp_path)
    (tmp_path / name).write_bytes(content)
    assert re.search(reason, refusal(data))


def test_damaged_meta(tmp_path):
    data = publish(tmp_path, "unpacked")
    (tmp_path / KIT / "meta.mat").write_bytes(meta_mat()[:300])
    assert "meta.mat" in refusal(data) and "is damaged" in refusal(data)


def test_meta_that_expands_without_bound(tmp_path):
    data = publish(tmp_path, "unpacked")
    meta = tmp_path / KIT / "meta.mat"
    bomb = zlib.compress(bytes(200 * 2**20), 9)
    element = struct.pack("<II", 15, len(bomb)) + bomb
    meta.write_bytes(meta_mat()[:128] + element)
    assert "more than 4 MiB when unpacked" in refusal(data)
    packed = meta_mat()[:128]
    content = zlib.compress(meta_mat()[128:])
    meta.write_bytes(packed + struct.pack("<II", 15, len(content)) + content)
    assert len(read(open_source(data))) > 1


@pytest.mark.parametrize("kit", ["packed", "unpacked"])
def test_file_of_the_kit_that_is_too_large(tmp_path, kit):
    publish(tmp_path, kit)
    huge = bytes(5 * 2**20)
    if kit == "packed":
        packed = packed_kit({f"{KIT}/{TRUTH}": GROUND_TRUTH, f"{KIT}/meta.mat": huge})
        (tmp_path / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(packed)
    else:
        (tmp_path / KIT / "meta.mat").write_bytes(huge)
    assert re.search(r"meta\.mat.* is larger than 4 MiB", refusal(tmp_path))


def test_damaged_packed_kit(tmp_path):
    data = publish(tmp_path, "packed")
    path = tmp_path / "ILSVRC2012_devkit_t12.tar.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert f"{path} is damaged" in refusal(data)


def test_missing_validation_image(tmp_path):
    data = publish(tmp_path, val=validation_tar((1, 2, 3, 5, 6, 7)))
    assert "img_val.tar has no ILSVRC2012_val_00000004.JPEG" in refusal(data)


LINK = tarfile.TarInfo("n02119789_9.JPEG")
LINK.type, LINK.linkname = tarfile.SYMTYPE, "/etc/passwd"


@pytest.mark.parametrize(
    "archives, reason",
    [
        ({"val": tar_of({"readme.txt": b"?"})}, "the foreign member 'readme.txt'"),
        ({"val": tar_of({"n1/ILSVRC2012_test_00000001.JPEG": b""})}, "foreign member"),
        ({"train": tar_of({"n02119789.tar.gz": b""})}, "member 'n02119789.tar.gz'"),
        ({"train": tar_of({"n02119789_1.JPEG": b""})}, "member 'n02119789_1.JPEG'"),
        (
            {"train": tar_of({"n02119789.tar": class_tar("n02100735")})},
            "foreign member 'n02100735_7.JPEG'",
        ),
        (
            {"train": tar_of({"n02119789.tar": class_tar("n02119789", x=b"")})},
            "foreign member 'x'",
        ),
        ({"train": tar_of({"n02119789.tar": tar_of({LINK: b""})})}, "is a link"),
        ({"train": tar_of({"../n02119789.tar": b""})}, "leads out"),
        ({"train": tar_of({"n02119789.tar": b"no tar" * 200})}, "is damaged"),
        (
            {"train": tar_of({"n02119789.tar": b"", "./n02119789.tar": b""})},
            "has n02119789.tar twice",
        ),
        (
            {"train": tar_of({"n00000001.tar": class_tar("n00000001")})},
            "shows n02096294, of which",
        ),
    ],
)
def test_wrong_archives(tmp_path, archives, reason):
    archives = {"val": None, **archives} if "shows" not in reason else archives
    assert reason in refusal(publish(tmp_path, **archives))


def test_class_that_the_kit_does_not_know(tmp_path):
    train = tar_of({"n00000001.tar": class_tar("n00000001")})
    publish(tmp_path, train=train, val=None)
    sentence = refusal(f"ilsvrc-devkit:{tmp_path}")
    assert "the development kit does not know n00000001" in sentence


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_training_archive(tmp_path, share):
    whole = train_tar().rstrip(b"\0")
    data = publish(tmp_path, train=whole[: int(len(whole) * share)])
    assert "img_train.tar is damaged or not a whole archive" in refusal(data)
