"""Images that look alike, against comparing all of them in float64."""

import io

import numpy as np
import pytest
from made_examples import CLASSES, encode, record, write_examples
from PIL import Image, ImageEnhance
from rich.console import Console

from pipelines.command.data_validation import validate_data
from pipelines.components.statistics_gen import statistics_gen
from pipelines.data.quality import likeness
from pipelines.data.quality.likeness import find_alike
from pipelines.data.quality.pixels import measure
from pipelines.data.quality.summary import Looks


def photograph(seed, side=96):
    """Returns something smooth with edges in it, as photographs are."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (6, 7, 3), np.uint8)
    image = np.array(Image.fromarray(coarse).resize((side, side), Image.BICUBIC))
    for _ in range(6):
        top, left = generator.integers(0, side - 20, 2)
        image[top : top + 20, left : left + 15] = generator.integers(0, 256, 3)
    return image


def area_means(image):
    """Returns the mean grey of 8 x 9 parts of an image, in float64."""
    grey = image @ np.array([0.299, 0.587, 0.114])
    for axis, parts in enumerate((8, 9)):
        bounds = np.linspace(0, grey.shape[axis], parts + 1)
        edges = np.arange(grey.shape[axis])
        low, high = bounds[:-1, None], bounds[1:, None]
        weights = np.minimum(high, edges + 1) - np.maximum(low, edges)
        weights = np.maximum(weights, 0) / (high - low)
        grey = np.moveaxis(np.tensordot(weights, grey, (1, axis)), 0, axis)
    return grey


def bits_of(greys):
    """Returns the hash of one image, digit by digit."""
    rows = greys.tolist()
    return "".join(
        "01"[right > left]
        for row in rows
        for left, right in zip(row, row[1:], strict=False)
    )


def looks(greys, seed=0):
    digests = np.array([f"{seed}{index:015}".encode() for index in range(len(greys))])
    return Looks(np.arange(len(greys) * 3).reshape(-1, 3), digests, np.array(greys))


@pytest.mark.parametrize("size", [(8, 9), (5, 3), (37, 61), (240, 320), (1, 1)])
def test_greys_are_means_of_parts(size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    _, (greys,) = measure([encode(image)])
    assert np.abs(greys - area_means(image)).max() <= 0.501
    pillow = Image.fromarray(image).convert("L").resize((9, 8), Image.BOX)
    if min(size) > 100:  # Pillow takes whole pixels.
        assert np.abs(greys.astype(int) - np.asarray(pillow, int)).max() <= 2


def test_hashes_are_those_of_pillow_but_for_rounding():
    images = [photograph(seed) for seed in range(20)]
    _, greys = measure([encode(image) for image in images])
    for image, one, found in zip(
        images, greys, likeness.difference_hashes(greys), strict=True
    ):
        assert f"{found:064b}" == bits_of(one)
        pillow = Image.fromarray(image).convert("L").resize((9, 8), Image.BOX)
        others = zip(f"{found:064b}", bits_of(np.asarray(pillow)), strict=True)
        assert sum(a != b for a, b in others) <= 4


def test_all_pairs_are_found_as_by_comparing_each_with_each(monkeypatch):
    generator = np.random.default_rng(2)
    train = generator.integers(0, 256, (150, 8, 9))
    noise = generator.normal(0, generator.choice([1, 3, 9], (150, 1, 1)), (150, 8, 9))
    validation = np.concatenate([train + noise, generator.integers(0, 256, (80, 8, 9))])
    train, validation = (
        np.clip(one, 0, 255).astype(np.uint8) for one in (train, validation)
    )
    distances = np.array(
        [
            [
                sum(a != b for a, b in zip(bits_of(one), bits_of(other), strict=True))
                for one in train
            ]
            for other in validation
        ]
    )
    for index, other in enumerate(validation):
        for number, one in enumerate(train):
            if distances[index, number] <= 3:
                like = np.corrcoef(one.ravel() * 1.0, other.ravel() * 1.0)[0, 1]
                distances[index, number] += 64 * (like < 0.95)
    nearest = distances.min(axis=1)
    assert 20 < (nearest <= 3).sum() < 150
    for at_once in (2**20, 7):
        monkeypatch.setattr(likeness, "_PAIRS_AT_ONCE", at_once)
        found = find_alike(looks(train, 1), looks(validation, 2), most_pairs=10**6)
        assert (found.images, found.looked_at) == ((nearest <= 3).sum(), 230)
        assert {
            (pair.validation.shard // 3, pair.train.shard // 3, pair.bits)
            for pair in found.pairs
        } == {
            (index, distances[index].argmin(), nearest[index])
            for index in np.flatnonzero(nearest <= 3)
        }


def test_images_that_are_all_alike_are_not_all_compared(monkeypatch):
    monkeypatch.setattr(likeness, "_MOST_IN_A_BAND", 4)
    compared = []

    def counted(greys, others):
        compared.append(len(greys))
        return np.ones(len(greys))

    monkeypatch.setattr(likeness, "correlation", counted)
    alike = np.random.default_rng(3).integers(0, 256, (1, 8, 9)).astype(np.uint8)
    found = find_alike(
        looks(alike.repeat(300, 0), 1), looks(alike.repeat(50, 0), 2), most_pairs=50
    )
    assert found.images == 50
    assert {pair.train.shard // 3 for pair in found.pairs} <= {0, 1, 2, 3}
    assert sum(compared) <= 50 * 4 * 4


def changed(image, how):
    picture = Image.fromarray(image)
    if how == "compressed":
        return encode(image, "JPEG")
    if how == "smaller":
        picture = picture.resize((60, 60), Image.LANCZOS)
    if how == "brighter":
        picture = ImageEnhance.Brightness(picture).enhance(1.2)
    if how == "grey":
        picture = picture.convert("L").convert("RGB")
    return encode(np.asarray(picture))


@pytest.mark.parametrize("how", ["compressed", "smaller", "brighter", "grey"])
def test_changed_images_are_found_and_no_others(how):
    images = [photograph(seed) for seed in range(40)]
    _, train = measure([encode(image) for image in images])
    _, same = measure([changed(image, how) for image in images])
    others = measure([encode(photograph(seed)) for seed in range(100, 140)])[1]
    found = find_alike(looks(train, 1), looks(same, 2), most_pairs=40)
    assert found.images >= 36
    assert all(pair.train.shard == pair.validation.shard for pair in found.pairs)
    assert find_alike(looks(train, 1), looks(others, 2)).images == 0


def test_flat_images_and_ramps_are_like_nothing():
    generator = np.random.default_rng(3)
    flat = [np.full((40, 40, 3), level, np.uint8) for level in range(0, 256, 50)]
    noisy = [generator.integers(120, 124, (40, 40, 3)).astype(np.uint8)] * 3
    ramp = np.broadcast_to(np.arange(40)[None, :, None] * 6, (40, 40, 3))
    images = [encode(image, "JPEG") for image in [*flat, *noisy, ramp.astype(np.uint8)]]
    _, greys = measure(images)
    assert likeness.is_empty(greys).all()
    assert find_alike(looks(greys, 1), looks(greys, 2)).images == 0


def test_the_embedded_drawings_are_all_different(drawings, tmp_path):
    alike = statistics_gen(drawings, tmp_path / "statistics").alike
    assert (alike.images, alike.looked_at) == (0, drawings.counts["validation"])


def test_near_duplicates_are_told_and_shown(tmp_path):
    def records(encoded, label, digit):
        return [
            record(image, label, CLASSES[label], sha256=f"{number:015}{digit}{0:048}")
            for number, image in enumerate(encoded)
        ]

    images = [photograph(seed) for seed in range(12)]
    train = [encode(image) for image in images]
    other = [encode(photograph(seed)) for seed in range(50, 54)]
    splits = {
        # The second and the third are equal in both.
        "train": records(train, 0, 1) + records(other, 1, 2),
        "validation": records([changed(images[7], "grey"), *train[1:3]], 0, 1)
        + records([changed(images[5], "smaller")], 1, 3),
    }
    examples = write_examples(tmp_path / "examples", splits, CLASSES[:2], shards=2)
    told = io.StringIO()
    validate_data(examples, tmp_path, Console(file=told, width=300), stop=False)
    statistics = statistics_gen(examples, tmp_path / "statistics")
    assert statistics.alike.images == 2 and len(statistics.alike.pairs) == 2
    assert "2 of 4 validation images (50.00%) look like a training image" in " ".join(
        told.getvalue().split()
    )
    page = (tmp_path / "data.html").read_text(encoding="utf-8")
    section = page[page.index('id="near-duplicates"') :].partition("</section>")[0]
    assert section.count("<img") == 4 and "2 of 4 validation images" in section
