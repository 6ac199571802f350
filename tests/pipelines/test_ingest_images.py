"""Ingest: images that cannot be used, unusual ones, and what can be made of them."""

import io
import tarfile

import numpy as np
import pytest
import tensorflow as tf
from photos import encoded, image_file, ingest, make_folder, read, refusal, value
from PIL import Image
from rich.console import Console

from pipelines.data.examples import Examples
from pipelines.data.images import decode
from pipelines.errors import UserError
from pipelines.reports.summary import print_skipped

BAD_FILES = {
    "ant/empty.png": (b"", "empty file"),
    "bee/text \"for\" 'you'.jpg": (b"hello", "not a JPEG, PNG, GIF, BMP or WebP image"),
    "cow/truncated.jpg": (image_file(1, "JPEG")[:-40], "truncated JPEG"),
    "cow/truncated.png": (image_file(1)[:-20], "truncated PNG"),
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


def test_bad_archive_is_told(folder, tmp_path):
    path = tmp_path / "photos.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, ".")
        member = tarfile.TarInfo("../../evil.jpg")
        archive.addfile(member)
    assert "is refused" in refusal(tmp_path / "out", path)
    path.write_bytes(path.read_bytes()[:-200])
    assert "is damaged" in refusal(tmp_path / "out", path)


def test_long_list_of_bad_images_is_cut(folder, tmp_path):
    for number in range(1005):
        (folder / "ant" / f"bad {number:04}.png").write_bytes(b"")
    examples = ingest(folder, tmp_path / "out", max_bad_share=1)
    assert examples.skipped_count == 1005
    assert examples.skipped == tuple(
        (f"ant/bad {number:04}.png", "empty file") for number in range(1000)
    )
    with pytest.raises(UserError, match="1005 of 1065 images"):
        ingest(folder, tmp_path / "out")


def test_header_is_believed_if_asked_for(folder, tmp_path):
    image = bytearray(image_file(1, "PNG", (64, 64)))
    image[60] ^= 255  # In the pixels.
    (folder / "ant" / "damaged.png").write_bytes(image)
    checked = ingest(folder, tmp_path / "full", max_bad_share=0.5, check="full")
    assert checked.skipped_count == 1
    believed = ingest(folder, tmp_path / "header", check="header")
    assert believed.skipped_count == 0
    assert bytes(image) in encoded(believed, "train") + encoded(believed, "validation")


def test_large_images_are_left_out(folder, tmp_path):
    (folder / "ant" / "large.png").write_bytes(image_file(1, size=(30, 20)))
    examples = ingest(folder, tmp_path / "out", max_pixels=599, max_bad_share=0.1)
    ((name, reason),) = examples.skipped
    assert name == "ant/large.png"
    assert "600" in reason


# Images that are made of others


def by_name(examples):
    return {
        value(features, "image/filename").decode(): features
        for split in examples.counts
        for features in read(examples, split)
    }


@pytest.mark.parametrize("kind", ["folder", "stream"])
def test_packed_images(folder, tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (90, 60, 3), np.uint8)
    Image.fromarray(noise).save(folder / "ant" / "large.png")
    data = folder
    if kind == "stream":
        data = tmp_path / "photos.tar.gz"
        with tarfile.open(data, "w:gz") as archive:
            archive.add(folder, ".")
    plain = ingest(folder, tmp_path / "plain")
    packed = ingest(data, tmp_path / "packed", pack="short_side:30,quality:80")
    found, made = by_name(plain), by_name(packed)
    assert found.keys() == made.keys()
    for name, features in made.items():
        encoded_image = value(features, "image/encoded")
        with Image.open(io.BytesIO(encoded_image)) as image:
            height = value(features, "image/height")
            assert image.size == (value(features, "image/width"), height)
            assert image.format == value(features, "image/format").decode() == "JPEG"
        # Which image it was is still known, and so the split is the same.
        assert value(features, "image/sha256") == value(found[name], "image/sha256")
    large = made["ant/large.png"]
    assert (value(large, "image/width"), value(large, "image/height")) == (30, 45)
    assert packed.counts == plain.counts
    sizes = [len(value(features, "image/encoded")) for features in made.values()]
    assert packed.mean_bytes == pytest.approx(np.mean(sizes), abs=1)


def test_names_do_not_steer_the_terminal(tmp_path, capsys):
    examples = Examples(
        tmp_path,
        ("a", "b"),
        {"train": 1, "validation": 1},
        skipped_count=1,
        skipped=(("a\x1b[2J\r.jpg", "truncated JPEG"),),
        passed_over={".\x1b": 2},
    )
    print_skipped(examples, Console())
    told = capsys.readouterr().out
    assert r"a\x1b[2J\r.jpg: truncated JPEG" in told
    assert r"2 .\x1b" in told
    assert not {"\x1b", "\r"} & set(told)


def test_photograph_is_turned_if_asked_for(folder, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # Orientation: turn by a quarter.
    path = folder / "ant" / "turned.jpg"
    Image.open(io.BytesIO(image_file(7, size=(30, 20)))).save(path, exif=exif)
    sizes = {}
    for orientation in ("ignore", "apply"):
        examples = ingest(folder, tmp_path / orientation, orientation=orientation)
        features = by_name(examples)["ant/turned.jpg"]
        sizes[orientation] = (
            value(features, "image/width"),
            value(features, "image/height"),
        )
        is_as_found = value(features, "image/encoded") == path.read_bytes()
        assert is_as_found == (orientation == "ignore")
        others = [name for name in by_name(examples) if name.endswith(".png")]
        assert len(others) == 60
    assert sizes == {"ignore": (30, 20), "apply": (20, 30)}


def test_photographs_of_folders_are_turned_and_records_are_not(folder, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    path = folder / "ant" / "turned.jpg"
    Image.open(io.BytesIO(image_file(7, size=(30, 20)))).save(path, exif=exif)
    kept = ingest(folder, tmp_path / "kept", orientation="ignore")
    again = ingest(kept.directory, tmp_path / "again")
    turned = ingest(folder, tmp_path / "turned", check="header")
    widths = [
        {value(features, "image/width") for features in by_name(examples).values()}
        for examples in (again, turned)
    ]
    assert widths == [{5, 30}, {5, 20}]
    assert turned.made_from["orientation"] == "apply"


def test_formats_that_tensorflow_does_not_decode(folder, tmp_path):
    y, x = np.mgrid[:40, :60]
    pixels = np.stack([4 * x, 6 * y, 2 * (x + y)], axis=-1).astype(np.uint8)
    turned = Image.Exif()
    turned[274] = 6
    image = Image.fromarray(pixels)
    image.save(folder / "ant/1.tiff", compression="tiff_lzw")
    image.save(folder / "ant/2.tif", exif=turned)
    image.save(folder / "bee/3.avif", quality=95, exif=turned)
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "bee/4.TIF")
    whole = (folder / "ant/1.tiff").read_bytes()
    (folder / "cow/5.tiff").write_bytes(whole[: len(whole) // 2])
    (folder / "cow/6.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    examples = ingest(folder, tmp_path / "out", max_bad_share=0.1)
    reasons = dict(examples.skipped)
    assert reasons.keys() == {"cow/5.tiff", "cow/6.heic"}
    assert reasons["cow/5.tiff"] == "damaged or unsupported TIFF"
    assert "HEIC" in reasons["cow/6.heic"]
    made = {
        name: decode(tf.constant(value(features, "image/encoded"))).numpy()
        for name, features in by_name(examples).items()
        if not name.endswith(".png")
    }
    upright = np.rot90(pixels, -1)
    assert (made["ant/1.tiff"] == pixels).all()
    assert (made["ant/2.tif"] == upright).all()
    assert np.abs(made["bee/3.avif"].astype(int) - upright).mean() < 3
    assert (made["bee/4.TIF"] == pixels[..., :1]).all()
    too_large = ingest(folder, tmp_path / "less", max_bad_share=0.1, max_pixels=1_000)
    assert "2,400 pixels" in dict(too_large.skipped)["ant/1.tiff"]


@pytest.mark.parametrize(
    "parameters",
    [{"pack": "long_side:256"}, {"orientation": "left"}, {"check": "fully"}],
)
def test_unknown_values_are_refused(folder, tmp_path, parameters):
    sentence = refusal(tmp_path / "out", folder, **parameters)
    assert f"--{next(iter(parameters))}" in sentence
