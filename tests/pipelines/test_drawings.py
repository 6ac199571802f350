"""The embedded drawings: real JPEGs, reproducible, balanced, not linearly solved."""

import collections
import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipelines.data.drawings import SHAPES, draw
from pipelines.errors import UserError

SEED = 3


@pytest.fixture(scope="module")
def drawings():
    return list(draw(2000, SEED))


@pytest.fixture(scope="module")
def decoded(drawings):
    return [Image.open(io.BytesIO(drawing.image)) for drawing in drawings]


@pytest.fixture(scope="module")
def labels(drawings):
    classes = sorted({drawing.class_name for drawing in drawings})
    return np.array([classes.index(drawing.class_name) for drawing in drawings])


@pytest.fixture(scope="module")
def pixels(decoded):
    """What a network of 32x32 inputs sees, flattened, in 0..1."""
    squares = [ImageOps.fit(image.convert("RGB"), (32, 32)) for image in decoded]
    return np.stack([np.asarray(square).ravel() for square in squares]) / 255


def test_every_drawing_is_a_jpeg_of_a_stated_size(decoded):
    for image in decoded:
        image.load()
        assert image.format == "JPEG"
        assert 40 <= min(image.size) <= 64
        assert max(image.size) <= 1.5 * min(image.size)


def test_sizes_aspects_colour_modes_and_qualities_vary(decoded):
    assert len({image.size for image in decoded}) > 100
    assert any(image.width > 1.3 * image.height for image in decoded)
    assert any(image.height > 1.3 * image.width for image in decoded)
    grayscale = sum(image.mode == "L" for image in decoded) / len(decoded)
    assert 0.05 < grayscale < 0.2
    assert {image.mode for image in decoded} == {"L", "RGB"}
    # The luminance quantisation table is what JPEG's quality sets.
    assert len({tuple(image.quantization[0]) for image in decoded}) > 10


def test_classes_take_turns(drawings):
    counts = collections.Counter(drawing.class_name for drawing in drawings)
    assert len(counts) == 10
    assert set(counts.values()) == {200}
    assert set(counts) == set(SHAPES)
    few = collections.Counter(drawing.class_name for drawing in drawings[:25])
    assert max(few.values()) - min(few.values()) == 1


def test_names_are_unique_and_in_their_class_folder(drawings):
    assert len({drawing.name for drawing in drawings}) == len(drawings)
    for drawing in drawings:
        folder, _, file = drawing.name.partition("/")
        assert folder == drawing.class_name
        assert file.endswith(".jpg")


def test_the_same_seed_gives_the_same_bytes_whatever_the_count(drawings):
    assert list(draw(40, SEED)) == drawings[:40]


def test_another_seed_or_index_gives_another_image(drawings):
    other = list(draw(40, SEED + 1))
    for ours, theirs in zip(drawings, other, strict=False):
        assert ours.class_name == theirs.class_name
        assert ours.image != theirs.image
    assert len({drawing.image for drawing in drawings}) == len(drawings)


def test_drawings_are_made_as_they_are_read():
    endless = draw(10**12, SEED)
    assert len(list(itertools.islice(endless, 3))) == 3


@pytest.mark.parametrize(
    ("count", "seed", "named"), [(-1, 0, "count"), (1, -7, "seed")]
)
def test_negative_count_or_seed_is_refused_by_name(count, seed, named):
    with pytest.raises(UserError, match=f"{named} is {min(count, seed)}"):
        draw(count, seed)


@pytest.mark.parametrize("class_name", SHAPES)
def test_no_shape_reaches_beyond_the_unit_disc(class_name):
    # Or a rotation would push it over the edge of the square that a crop keeps.
    for outline in SHAPES[class_name]:
        assert np.abs(outline).max() < 1 + 1e-9


def ridge_top1(images, labels, strength):
    """Test top-1 of linear regression on one-hot labels, in its dual form."""
    split = len(labels) * 4 // 5
    mean = images[:split].mean(axis=0)
    train, test = images[:split] - mean, images[split:] - mean
    kernel = train @ train.T + strength * np.eye(split)
    dual = np.linalg.solve(kernel, np.eye(10)[labels[:split]] - 0.1)
    return ((test @ train.T @ dual).argmax(axis=1) == labels[split:]).mean()


@pytest.mark.parametrize("strength", [10.0, 1e3, 1e5])
def test_a_linear_model_does_not_solve_the_drawings(pixels, labels, strength):
    assert ridge_top1(pixels, labels, strength) < 0.3


def test_the_linear_model_does_solve_what_is_linear(pixels, labels):
    # The same images with their class marked by one dot: the bound above then says
    # something of the drawings and not of the model.
    marked = pixels.copy()
    marked[np.arange(len(labels)), 150 * labels] += 3
    assert ridge_top1(marked, labels, 10.0) > 0.9
