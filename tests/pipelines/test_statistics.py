"""Statistics of records against NumPy over the same decoded images."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from made_examples import (
    CLASSES,
    encode,
    random_image,
    random_records,
    record,
    write_examples,
)
from photos import read
from PIL import Image
from tensorflow_metadata.proto.v0 import statistics_pb2

from pipelines.components.statistics_gen import Statistics, statistics_gen
from pipelines.data.quality import accumulators, histograms
from pipelines.data.quality import summary as summary_module
from pipelines.data.quality.accumulators import Numbers, Pixels, Strings
from pipelines.data.quality.pixels import measure
from pipelines.data.quality.samples import MOST_CLASSES, choose_samples, read_features
from pipelines.data.quality.schema import infer_schema
from pipelines.data.quality.statistics import (
    custom_number,
    feature_statistics,
    to_proto,
    value_counts,
)
from pipelines.data.quality.summary import SAMPLES_PER_CLASS, Record, Sample, Summary
from pipelines.data.quality.thresholds import DEFAULT_THRESHOLDS
from pipelines.data.quality.validation import validate
from pipelines.errors import UserError
from pipelines.reports.data_page import write_data_page


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """Ninety images of several sizes."""
    directory = tmp_path_factory.mktemp("statistics") / "examples"
    splits = {"train": random_records(1, 70), "validation": random_records(2, 20)}
    return write_examples(directory, splits, CLASSES, shards=3)


@pytest.fixture(scope="module")
def statistics(examples, tmp_path_factory):
    return statistics_gen(examples, tmp_path_factory.mktemp("out") / "statistics")


def pixels_of(examples, split):
    """Returns all pixels of a split, float64 `(n, 3)`, decoded by another decoder."""
    import io

    parts = []
    for features in read(examples, split):
        encoded = features["image/encoded"].bytes_list.value[0]
        image = Image.open(io.BytesIO(encoded)).convert("RGB")
        parts.append(np.asarray(image, np.float64).reshape(-1, 3))
    return np.concatenate(parts)


def split_of(statistics, name):
    (found,) = (split for split in statistics.proto.datasets if split.name == name)
    return found


# Pixels


@pytest.mark.parametrize("split", ["train", "validation"])
def test_channel_means_and_deviations_are_those_of_all_pixels(
    examples, statistics, split
):
    pixels = pixels_of(examples, split)
    image = feature_statistics(split_of(statistics, split), "image/encoded")
    for channel, name in enumerate(("red", "green", "blue")):
        mean = custom_number(image, f"channel_mean/{name}")
        deviation = custom_number(image, f"channel_deviation/{name}")
        assert mean == pytest.approx(pixels[:, channel].mean(), rel=1e-13)
        assert deviation == pytest.approx(pixels[:, channel].std(), rel=1e-12)
    assert custom_number(image, "images_decoded") == examples.counts[split]


def test_channel_mean_is_that_of_pixels_and_not_of_images(tmp_path):
    small = encode(np.full((2, 2, 3), 200, np.uint8))
    large = encode(np.full((20, 20, 3), 100, np.uint8))
    records = [record(small, 0, "ant", 2, 2), record(large, 1, "bee", 20, 20)]
    splits = {"train": records, "validation": records}
    examples = write_examples(tmp_path / "examples", splits, CLASSES[:2])
    split = statistics_gen(examples, tmp_path / "out").proto.datasets[0]
    image = feature_statistics(split, "image/encoded")
    expected = (4 * 200 + 400 * 100) / 404
    assert custom_number(image, "channel_mean/red") == pytest.approx(expected)
    means = feature_statistics(split, "image/mean/green").num_stats
    assert (means.min, means.max, means.mean) == (100, 200, 150)


def test_pixel_sums_are_exact_above_32_bits():
    # 300 x 200 white pixels: the squares' sum, 3.9e9, is no int32 and no uint32.
    sums, _ = measure([encode(np.full((300, 200, 3), 255, np.uint8))])
    assert sums.tolist() == [[60_000, *[60_000 * 255] * 3, *[60_000 * 255**2] * 3]]


def test_an_image_that_cannot_be_decoded_is_counted_and_the_others_are_not_lost(
    tmp_path,
):
    generator = np.random.default_rng(0)
    images = [random_image(generator) for _ in range(5)]
    broken = images[2][:40]
    sums, _ = measure([*images[:2], broken])
    assert sums[:2].all() and not sums[2].any()
    records = [record(image, 0, "ant") for image in [*images, broken]]
    splits = {"train": records, "validation": records[:1]}
    examples = write_examples(tmp_path / "examples", splits, CLASSES)
    split = statistics_gen(examples, tmp_path / "out").proto.datasets[0]
    image = feature_statistics(split, "image/encoded")
    assert custom_number(image, "images_decoded") == 5
    assert custom_number(image, "images_undecodable") == 1


def test_a_sample_of_the_images_is_decoded_where_there_are_more(examples, tmp_path):
    statistics = statistics_gen(examples, tmp_path / "out", max_decoded=14)
    train, validation = statistics.proto.datasets
    for split, decoded in ((train, 14), (validation, 14)):
        image = feature_statistics(split, "image/encoded")
        assert custom_number(image, "images_decoded") == decoded
        heights = feature_statistics(split, "image/height").num_stats.common_stats
        assert heights.num_non_missing == split.num_examples
    # Every fifth of seventy.
    every_fifth = read(examples, "train")[4::5]
    reds = []
    for features in every_fifth:
        encoded = features["image/encoded"].bytes_list.value[0]
        count, red, *_ = measure([encoded])[0][0].tolist()
        reds.append((count, red))
    mean = sum(red for _, red in reds) / sum(count for count, _ in reds)
    image = feature_statistics(train, "image/encoded")
    assert custom_number(image, "channel_mean/red") == mean


# Merging


# The last ones are rounded to the same number.
numbers = (
    st.floats(-1e6, 1e6, width=32)
    | st.integers(-(2**40), 2**40)
    | st.integers(1000, 1006)
)


def numbers_of(values):
    result = Numbers()
    for value in values:
        result.add([value])
    return result


def state(accumulator):
    return vars(accumulator)


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.lists(numbers, max_size=12), min_size=1, max_size=6),
    order=st.randoms(),
    limit=st.sampled_from([3, 10, 4096]),
)
def test_numbers_are_the_same_however_they_are_merged(parts, order, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accumulators, "EXACT_NUMBERS", limit)
        expected = numbers_of(itertools.chain(*parts))
        order.shuffle(parts)
        merged = Numbers()
        for part in parts:
            merged.merge(numbers_of(part))
    assert state(merged) == state(expected)
    values = np.array([value for part in parts for value in part], np.float64)
    if values.size:
        assert merged.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-4)
        scale = np.abs(values).max()
        assert merged.deviation == pytest.approx(values.std(), abs=1e-7 * scale + 1e-4)


@settings(max_examples=40, deadline=None)
@given(
    parts=st.lists(st.lists(st.binary(max_size=3), max_size=8), max_size=6),
    order=st.randoms(),
    limit=st.sampled_from([3, 100]),
)
def test_strings_are_the_same_however_they_are_merged(parts, order, limit):
    def strings_of(values):
        result = Strings()
        for value in values:
            result.add([value])
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accumulators, "EXACT_STRINGS", limit)
        expected = strings_of(itertools.chain(*parts))
        order.shuffle(parts)
        merged = Strings()
        for part in parts:
            merged.merge(strings_of(part))
    assert state(merged) == state(expected)


def test_standard_records_are_measured_as_any_others(monkeypatch):
    generator = np.random.default_rng(5)
    made = [
        record(
            random_image(generator, size, size) * (size if size < 9 else 1),
            label,
            CLASSES[label],
            size * 100,
            size,
            filename="n" * size * 9,
            sha256=f"{size:064}",
        )
        for label in range(3)
        for size in (1, 7, 8, 20, 90)
    ]
    others = [
        record(b"", -1, "dog", sha256="0"),
        record(b"x", 2**62, "dog", 0, 0, sha256="0"),
    ]

    def placed(serialized):
        return [
            Record(Sample(0, number, len(one)), one, True)
            for number, one in enumerate(serialized)
        ]

    def told(serialized):
        summary = Summary.of(placed(serialized))
        looks = summary.looks.digests.tolist(), summary.looks.places.tolist()
        return to_proto("train", summary), summary.samples, looks

    quick = told(made + others)
    assert summary_module._standard_columns(placed(made + others))
    for change in (
        {"source": "web"},
        {"height": [5, 6]},
        {"filename": 0.5},
        {"format": None},
    ):
        odd = record(b"", 0, "ant", **{"sha256": "0", **change})
        assert summary_module._standard_columns(placed([*made, odd])) is None
    found, *_ = told([*made, record(b"", 0, "ant", sha256="0", source="web")])
    feature = feature_statistics(found, "image/source")
    assert feature.string_stats.common_stats.num_non_missing == 1
    monkeypatch.setattr(summary_module, "_standard_columns", lambda records: None)
    assert told(made + others) == quick


def test_deviation_does_not_cancel():
    values = [1e9, 1e9 + 1, 1e9 + 2]
    assert numbers_of(values).deviation == pytest.approx(math.sqrt(2 / 3), rel=1e-15)
    pixels = Pixels()
    count = 3 * 10**12
    pixels.add(np.array([[count, *[count * 200 + 1] * 3, *[count * 200**2 + 401] * 3]]))
    # One pixel of 201 among 3e12 of 200.
    assert pixels.deviations[0] == pytest.approx(math.sqrt(1 / 3e12), rel=1e-6)


def test_summaries_are_the_same_however_records_are_divided(examples):
    serialized = list(
        tf.data.TFRecordDataset(examples.files("train")).as_numpy_iterator()
    )
    records = [
        Record(Sample(0, index, len(one)), one, True)
        for index, one in enumerate(serialized)
    ]
    whole = Summary.of(records)
    for starts in ([0, 1, 50, 70], [0, 35, 70]):
        merged = Summary()
        for start, end in reversed(list(itertools.pairwise(starts))):
            merged.merge(Summary.of(records[start:end]))
        assert merged.samples == whole.samples
        assert state(merged.pixels) == state(whole.pixels)
        for name, expected in whole.features.items():
            for kind, values in expected.kinds.items():
                assert state(merged.features[name].kinds[kind]) == state(values), name


# Features


def test_numbers_are_those_of_numpy(examples, statistics):
    found = read(examples, "train")
    heights = np.array([one["image/height"].int64_list.value[0] for one in found])
    widths = np.array([one["image/width"].int64_list.value[0] for one in found])
    sizes = np.array([len(one["image/encoded"].bytes_list.value[0]) for one in found])
    train = split_of(statistics, "train")
    for name, expected in (
        ("image/height", heights),
        ("image/bytes", sizes),
        ("image/aspect_ratio", (widths / heights)),
    ):
        stats = feature_statistics(train, name).num_stats
        assert stats.mean == pytest.approx(expected.mean(), rel=1e-8)
        assert stats.std_dev == pytest.approx(expected.std(), rel=1e-7)
        assert (stats.min, stats.max) == pytest.approx((expected.min(), expected.max()))
        standard, quantiles = stats.histograms
        counts, edges = np.histogram(expected, bins=10)
        assert [bucket.sample_count for bucket in standard.buckets] == counts.tolist()
        assert [bucket.low_value for bucket in standard.buckets] == pytest.approx(
            edges[:-1]
        )
        ascending, count = np.sort(expected), len(expected)
        tenths = [ascending[-(-tenth * count // 10) - 1] for tenth in range(1, 11)]
        high = [bucket.high_value for bucket in quantiles.buckets]
        assert high == pytest.approx(tenths)
        assert quantiles.type == statistics_pb2.Histogram.QUANTILES


def test_classes_are_counted_and_ranked(statistics):
    text = feature_statistics(split_of(statistics, "train"), "image/class/text")
    assert text.type == statistics_pb2.FeatureNameStatistics.STRING
    ranks = text.string_stats.rank_histogram.buckets
    assert [(one.low_rank, one.label, one.sample_count) for one in ranks] == [
        (0, "ant", 24),
        (1, "bee", 23),
        (2, "cow", 23),
    ]
    assert text.string_stats.unique == 3
    assert text.string_stats.top_values[0].value == "ant"


def test_missing_unexpected_and_repeated_features_are_seen(tmp_path):
    image = random_image(np.random.default_rng(0))
    records = [
        record(image, 0, "ant", extra=[1.5, math.nan, 2.5]),
        record(image, 1, "bee", width=None),
        record(image, 1, "bee", width="five"),
        record(image, 1, "bee", extra=[0.5]),
    ]
    examples = write_examples(
        tmp_path / "examples", {"train": records, "validation": records[:1]}, CLASSES
    )
    train = statistics_gen(examples, tmp_path / "out").proto.datasets[0]
    extra = feature_statistics(train, "image/extra").num_stats
    common = extra.common_stats
    assert (common.num_non_missing, common.num_missing) == (2, 2)
    assert (common.min_num_values, common.max_num_values) == (1, 3)
    assert extra.histograms[0].num_nan == 1
    assert extra.mean == 1.5
    width = feature_statistics(train, "image/width")
    assert width.type == statistics_pb2.FeatureNameStatistics.INT
    assert width.num_stats.common_stats.num_missing == 1
    assert custom_number(width, "values_of_other_type") == 1


def test_rounded_numbers_are_close_and_stay_in_range():
    values = np.random.default_rng(0).lognormal(8, 2, 20_000)
    numbers = numbers_of(values.tolist())
    assert len(numbers.counts) < 4096
    found = histograms.equal_mass(numbers.counts, numbers.minimum, numbers.maximum)
    edges = np.array([bucket.high_value for bucket in found.buckets])
    expected = np.quantile(values, np.linspace(0.1, 1, 10))
    np.testing.assert_allclose(edges, expected, rtol=0.01)
    assert edges[-1] == values.max()
    assert numbers.mean == pytest.approx(values.mean(), rel=1e-9)


def test_many_names_take_no_memory(monkeypatch):
    monkeypatch.setattr(accumulators, "EXACT_STRINGS", 50)
    strings = Strings()
    strings.add(str(number).encode() for number in range(60))
    assert strings.counts is None
    assert strings.count == 60


# The component


def test_statistics_are_read_again_and_made_again_when_the_examples_change(
    examples, statistics, monkeypatch, tmp_path
):
    again = statistics_gen(examples, statistics.directory)
    assert again.proto == statistics.proto
    assert again == Statistics.load(statistics.directory)
    before = (statistics.directory / "statistics.pb").read_bytes()
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    alone = statistics_gen(examples, tmp_path / "alone")
    assert (alone.directory / "statistics.pb").read_bytes() == before
    reads = []
    monkeypatch.setattr(
        "pipelines.components.statistics_gen.summarize",
        lambda *arguments: reads.append(arguments) or Summary(),
    )
    statistics_gen(examples, statistics.directory)
    assert not reads
    statistics_gen(examples, alone.directory, max_decoded=7)
    assert len(reads) == 2


def test_samples_are_records_of_their_class(examples, statistics):
    assert list(statistics.samples.places) == ["ant", "bee", "cow"]
    for name, places in statistics.samples.places.items():
        assert len(places) == SAMPLES_PER_CLASS
        assert len(set(places)) == SAMPLES_PER_CLASS
        for place in places:
            features = read_features(examples.files("train"), place)
            assert features["image/class/text"].bytes_list.value == [name.encode()]


def test_samples_are_of_the_most_and_least_frequent_classes():
    records = [
        record(b"", label, f"class {label:02}")
        for label in range(40)
        for _ in range(40 - label)
    ]
    summary = Summary.of(
        [Record(Sample(0, i, len(one)), one, False) for i, one in enumerate(records)]
    )
    samples = choose_samples(summary)
    assert samples.classes == 40
    assert len(samples.places) == MOST_CLASSES
    wanted = [*range(12), *range(28, 40)]
    assert list(samples.places) == [f"class {label:02}" for label in wanted]
    assert len(samples.places["class 39"]) == 1


def test_a_damaged_shard_is_named(tmp_path):
    splits = {"train": random_records(3, 6), "validation": random_records(4, 6)}
    examples = write_examples(tmp_path / "examples", splits, CLASSES, shards=1)
    (path,) = map(tmp_path.joinpath, examples.files("train"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(UserError, match="train-00000-of-00001.tfrecord") as caught:
        statistics_gen(examples, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_lost_shard_is_survived_if_allowed_and_told(tmp_path, damage):
    splits = {"train": random_records(3, 60), "validation": random_records(4, 6)}
    examples = write_examples(tmp_path / "examples", splits, CLASSES, shards=6)
    path = tmp_path / examples.files("train")[2]
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(whole[:700] + bytes([whole[700] ^ 1]) + whole[701:])
    with pytest.raises(UserError, match=r"10 of 60 records.*10 of them in .*00002-of"):
        statistics_gen(examples, tmp_path / "out", max_bad_share=0.1)
    statistics = statistics_gen(examples, tmp_path / "out", max_bad_share=0.2)
    train = split_of(statistics, "train")
    image = feature_statistics(train, "image/encoded")
    assert train.num_examples == 50
    assert custom_number(image, "records_unreadable") == 10
    schema = infer_schema(statistics.proto, CLASSES, DEFAULT_THRESHOLDS)
    validation = validate(examples, statistics.proto, schema, None, DEFAULT_THRESHOLDS)
    assert "Unreadable records" in {one.title for one in validation.warnings}
    page = tmp_path / "data.html"
    write_data_page(page, examples, statistics.proto, statistics.samples, validation)
    # What is mended is measured again.
    path.write_bytes(whole)
    mended = statistics_gen(examples, tmp_path / "out", max_bad_share=0.2)
    assert split_of(mended, "train").num_examples == 60


def test_every_class_is_counted_however_many_there_are(monkeypatch):
    monkeypatch.setattr(accumulators, "EXACT_STRINGS", 5)
    summary = Summary.of(
        [
            Record(Sample(0, label, 9), record(b"", label, f"class {label}"), False)
            for label in range(9)
        ]
    )
    split = to_proto("train", summary)
    assert len(value_counts(split, "image/class/text")) == 9
    assert feature_statistics(split, "image/class/text").string_stats.unique == 9
    assert not value_counts(split, "image/filename")
