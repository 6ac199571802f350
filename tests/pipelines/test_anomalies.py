"""Anomalies, against what TensorFlow Data Validation says of the same statistics.

TFDV 1.16.1 cannot be installed beside today's TensorFlow. The tables of what it says
were made with `tfdv.validate_statistics` from the statistics and the schema of these
very tests.
"""

import dataclasses
import math

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from made_examples import CLASSES, encode, random_image, record
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from pipelines.components.example_validator import example_validator, stop_on_errors
from pipelines.data.examples import Examples
from pipelines.data.quality import histograms
from pipelines.data.quality.accumulators import Numbers
from pipelines.data.quality.anomalies import ERROR, WARNING
from pipelines.data.quality.distances import l_infinity
from pipelines.data.quality.schema import infer_schema
from pipelines.data.quality.statistics import to_proto
from pipelines.data.quality.summary import Record, Sample, Summary
from pipelines.data.quality.thresholds import DEFAULT_THRESHOLDS, Limit, Thresholds
from pipelines.data.quality.validation import validate
from pipelines.errors import UserError

IMAGES = [random_image(np.random.default_rng(7)) for _ in range(3)]


def usual(number, seed=0):
    """Returns the values of an unremarkable record."""
    generator = np.random.default_rng([seed, number])
    label = number % 3
    return {
        "image": IMAGES[label],
        "label": label,
        "class_name": CLASSES[label],
        "height": int(generator.integers(100, 200)),
        "width": int(generator.integers(100, 200)),
    }


def split_statistics(name, values):
    """Returns the statistics of records with these values."""
    serialized = [record(**one) for one in values]
    summary = Summary.of(
        [
            Record(Sample(0, number, len(one)), one, True)
            for number, one in enumerate(serialized)
        ]
    )
    return to_proto(name, summary)


def changed(every, **changes):
    """Returns records of which every so many have other values."""
    return [
        {**usual(number, seed=1), **(changes if number % every == 0 else {})}
        for number in range(300)
    ]


TRAIN = [usual(number) for number in range(300)]
VALIDATION = [usual(number, seed=2) for number in range(300)]

# A change of the training images, and the type of what TFDV finds.
SCENARIOS = {
    "usual": changed(1),
    "new class": changed(10, class_name="dog"),
    "missing class": [one for one in changed(1) if one["label"] != 2],
    "missing feature": changed(1, filename=None),
    "feature missing in some": changed(10, height=None),
    "unexpected feature": changed(1, source="web"),
    "wrong type": changed(1, width="120"),
    "label too great": changed(30, label=3),
    "label negative": changed(30, label=-1),
    "two values": changed(30, width=[100, 120]),
    "new format": changed(30, kind="GIF"),
    "skewed classes": [
        usual(number * 3 if number < 200 else number) for number in range(300)
    ],
    "larger": [
        {**one, "height": one["height"] + 60, "width": one["width"] * 2}
        for one in changed(1)
    ],
}
SAID_BY_TFDV = {
    "feature missing in some": {
        "image/aspect_ratio": [
            "FEATURE_TYPE_LOW_FRACTION_PRESENT",
            "INVALID_FEATURE_SHAPE",
        ],
        "image/height": ["FEATURE_TYPE_LOW_FRACTION_PRESENT", "INVALID_FEATURE_SHAPE"],
    },
    "label negative": {"image/class/label": ["INT_TYPE_SMALL_INT"]},
    "label too great": {"image/class/label": ["INT_TYPE_BIG_INT"]},
    "larger": {
        "image/aspect_ratio": ["COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH"],
        "image/height": ["COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH"],
        "image/width": ["COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH"],
    },
    "missing class": {
        "image/class/text": [
            "COMPARATOR_L_INFTY_HIGH",
            "COMPARATOR_L_INFTY_HIGH",
            "FEATURE_TYPE_LOW_UNIQUE",
        ]
    },
    "missing feature": {"image/filename": ["SCHEMA_MISSING_COLUMN"]},
    "new class": {
        "image/class/text": [
            "ENUM_TYPE_UNEXPECTED_STRING_VALUES",
            "FEATURE_TYPE_HIGH_UNIQUE",
        ]
    },
    "new format": {"image/format": ["ENUM_TYPE_UNEXPECTED_STRING_VALUES"]},
    "skewed classes": {
        "image/class/text": ["COMPARATOR_L_INFTY_HIGH", "COMPARATOR_L_INFTY_HIGH"]
    },
    "two values": {"image/width": ["INVALID_FEATURE_SHAPE"]},
    "unexpected feature": {"image/source": ["SCHEMA_NEW_COLUMN"]},
    "usual": {},
    "wrong type": {
        "image/aspect_ratio": ["SCHEMA_MISSING_COLUMN"],
        "image/width": ["UNEXPECTED_DATA_TYPE"],
    },
}
MEASURED_BY_TFDV = {
    "feature missing in some": {
        ("image/aspect_ratio", "drift"): 0.02900678910091531,
        ("image/class/text", "skew"): 0.0,
        ("image/class/text", "drift"): 0.0,
        ("image/height", "drift"): 0.01656855370261889,
        ("image/width", "drift"): 0.012839441708902704,
    },
    "larger": {
        ("image/aspect_ratio", "drift"): 0.2832822531240393,
        ("image/class/text", "skew"): 0.0,
        ("image/class/text", "drift"): 0.0,
        ("image/height", "drift"): 0.6221839768625319,
        ("image/width", "drift"): 0.9999999999999999,
    },
    "skewed classes": {
        ("image/aspect_ratio", "drift"): 0.015907089238319995,
        ("image/class/text", "skew"): 0.4433333333333333,
        ("image/class/text", "drift"): 0.4433333333333333,
        ("image/height", "drift"): 0.009788848069627352,
        ("image/width", "drift"): 0.003979361941952149,
    },
    "usual": {
        ("image/aspect_ratio", "drift"): 0.022809705095540117,
        ("image/class/text", "skew"): 0.0,
        ("image/class/text", "drift"): 0.0,
        ("image/height", "drift"): 0.009168296155356649,
        ("image/width", "drift"): 0.012839441708902704,
    },
}


def statistics_of(scenario):
    return (
        split_statistics("train", SCENARIOS[scenario]),
        split_statistics("validation", VALIDATION),
    )


@pytest.fixture(scope="module")
def schema():
    """Inferred from the unremarkable records."""
    return infer_schema(
        statistics_pb2.DatasetFeatureStatisticsList(datasets=statistics_of("usual")),
        CLASSES,
        DEFAULT_THRESHOLDS,
    )


def found_in(scenario, schema):
    train, validation = statistics_of(scenario)
    previous = split_statistics("train", TRAIN)
    return validate(
        Examples(None, CLASSES, {"train": 300, "validation": 300}),
        statistics_pb2.DatasetFeatureStatisticsList(datasets=[train, validation]),
        schema,
        statistics_pb2.DatasetFeatureStatisticsList(datasets=[previous]),
        DEFAULT_THRESHOLDS,
    )


# What a second anomaly says already.
IMPLIED = {
    "FEATURE_TYPE_HIGH_UNIQUE": "ENUM_TYPE_UNEXPECTED_STRING_VALUES",
    "INVALID_FEATURE_SHAPE": "FEATURE_TYPE_LOW_FRACTION_PRESENT",
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_anomalies_are_those_of_tfdv(scenario, schema):
    found = {}
    for anomaly in found_in(scenario, schema).anomalies:
        name = anomalies_pb2.AnomalyInfo.Type.Name(anomaly.type)
        if name != "CUSTOM_VALIDATION":
            found.setdefault(anomaly.feature, []).append(name)
    expected = {
        feature: [name for name in names if IMPLIED.get(name) not in names]
        for feature, names in SAID_BY_TFDV[scenario].items()
    }
    assert {feature: sorted(names) for feature, names in found.items()} == expected


@pytest.mark.parametrize("scenario", MEASURED_BY_TFDV)
def test_distances_are_those_of_tfdv(scenario, schema):
    measured = {
        (one.feature, one.kind): one.value
        for one in found_in(scenario, schema).measured
    }
    for key, value in MEASURED_BY_TFDV[scenario].items():
        assert measured[key] == pytest.approx(value, abs=1e-12), key


SEVERITIES = {
    "new class": ERROR,
    "missing class": ERROR,
    "missing feature": ERROR,
    "feature missing in some": ERROR,
    "unexpected feature": WARNING,
    "wrong type": ERROR,
    "label too great": ERROR,
    "two values": ERROR,
    "new format": WARNING,
    "skewed classes": WARNING,
    "larger": ERROR,
}


@pytest.mark.parametrize("scenario", SEVERITIES)
def test_severities(scenario, schema):
    validation = found_in(scenario, schema)
    assert validation.anomalies[0].severity == SEVERITIES[scenario]
    assert bool(validation.errors) == (SEVERITIES[scenario] == ERROR)
    if validation.errors:
        with pytest.raises(UserError) as caught:
            stop_on_errors(validation)
        sentence = str(caught.value)
        assert validation.errors[0].sentence in sentence
        assert "\n" not in sentence
    else:
        stop_on_errors(validation)


def test_sentences_name_what_is_wrong_and_what_to_do(schema):
    sentences = {
        scenario: found_in(scenario, schema).anomalies[0].sentence
        for scenario in ("new class", "label too great", "missing feature")
    }
    assert sentences["new class"] == (
        "1 classes in train, 10.00% of its images, are not in the schema (dog); add "
        "them to the schema, or take these images out of the data"
    )
    assert "image/class/label is 3 in a train record" in sentences["label too great"]
    assert (
        "no train record has the feature image/filename"
        in (sentences["missing feature"])
    )


# Values that a user edits


def test_a_share_of_unknown_classes_can_be_allowed(schema):
    edited = schema_pb2.Schema()
    edited.CopyFrom(schema)
    (text,) = (one for one in edited.feature if one.name == "image/class/text")
    text.distribution_constraints.min_domain_mass = 0.89
    assert not found_in("new class", edited).errors
    text.distribution_constraints.min_domain_mass = 0.91
    assert found_in("new class", edited).errors


@pytest.mark.parametrize(
    ("threshold", "severity"), [(0.9, None), (0.6, WARNING), (0.2, WARNING)]
)
def test_thresholds_of_the_schema_and_of_errors(schema, threshold, severity):
    edited = schema_pb2.Schema()
    edited.CopyFrom(schema)
    (height,) = (one for one in edited.feature if one.name == "image/height")
    height.drift_comparator.jensen_shannon_divergence.threshold = threshold
    severities = [
        one.severity
        for one in found_in("larger", edited).anomalies
        if one.feature == "image/height"
    ]
    assert severities == ([severity] if severity else [])


def test_features_that_are_planned_or_deprecated_may_be_missing(schema):
    edited = schema_pb2.Schema()
    edited.CopyFrom(schema)
    (name,) = (one for one in edited.feature if one.name == "image/filename")
    name.lifecycle_stage = schema_pb2.DEPRECATED
    assert not found_in("missing feature", edited).errors


# Channels, copies and images that cannot be decoded


def decoded(level):
    return np.random.default_rng(0).integers(0, 50, (8, 8, 3)) + level


def image_split(name, level):
    pixels = decoded(level)
    values = [{**one, "image": encode(pixels.astype(np.uint8))} for one in TRAIN[:30]]
    return split_statistics(name, values)


@pytest.mark.parametrize(
    ("shift", "severity"), [(0, None), (3, None), (8, WARNING), (100, ERROR)]
)
def test_channel_drift_is_in_deviations_of_the_previous_pixels(shift, severity, schema):
    train, previous = image_split("train", 50 + shift), image_split("train", 50)
    validation = validate(
        Examples(None, CLASSES, {"train": 30, "validation": 0}),
        statistics_pb2.DatasetFeatureStatisticsList(datasets=[train]),
        schema_pb2.Schema(feature=[]),
        statistics_pb2.DatasetFeatureStatisticsList(datasets=[previous]),
        DEFAULT_THRESHOLDS,
    )
    found = [one for one in validation.anomalies if one.title.startswith("Drifted")]
    assert [one.severity for one in found] == [severity] * 3 * bool(severity)
    if severity:
        red = decoded(50)[..., 0]
        assert f", {shift / red.std():.2f} standard" in found[0].description


@pytest.mark.parametrize(
    ("across", "thresholds", "severity"),
    [
        (0, DEFAULT_THRESHOLDS, None),
        (1, DEFAULT_THRESHOLDS, WARNING),
        (2, DEFAULT_THRESHOLDS, ERROR),
        (2, Thresholds(overlap=Limit(0.0, 0.5)), WARNING),
        (2, Thresholds(overlap=Limit(0.02, 0.5)), None),
    ],
)
def test_overlap(across, thresholds, severity, schema, tmp_path):
    train, validation_split = statistics_of("usual")
    examples = Examples(
        tmp_path,
        CLASSES,
        {"train": 300, "validation": 100},
        duplicates={"train": 0, "validation": 0, "across": across},
        leaked=(("ant/1.png", "ant/2.png"),) * across,
    )
    validation = example_validator(
        examples,
        statistics_pb2.DatasetFeatureStatisticsList(datasets=[train, validation_split]),
        schema,
        tmp_path / "anomalies.pbtxt",
        thresholds=thresholds,
    )
    assert [one.severity for one in validation.anomalies] == (
        [severity] if severity else []
    )
    proto = text_format.Parse(
        (tmp_path / "anomalies.pbtxt").read_text(), anomalies_pb2.Anomalies()
    )
    assert proto.baseline == schema
    assert proto.dataset_anomaly_info.severity == (severity or 0)
    if severity:
        assert "ant/1.png = ant/2.png" in proto.dataset_anomaly_info.description


def test_duplicates_within_a_split(schema):
    train, _ = statistics_of("usual")
    examples = Examples(
        None, CLASSES, {"train": 300, "validation": 9}, duplicates={"train": 4}
    )
    statistics = statistics_pb2.DatasetFeatureStatisticsList(datasets=[train])
    (found,) = validate(
        examples, statistics, schema, None, DEFAULT_THRESHOLDS
    ).anomalies
    assert found.severity == WARNING
    assert "4 of 300 train images (1.33%)" in found.description


def test_images_that_cannot_be_decoded(schema):
    broken = [{**one, "image": b"broken"} for one in TRAIN[:3]]
    train = split_statistics("train", broken + TRAIN[3:])
    statistics = statistics_pb2.DatasetFeatureStatisticsList(datasets=[train])
    examples = Examples(None, CLASSES, {"train": 300, "validation": 9})
    limits = Thresholds(undecodable=Limit(0.0, 0.02))
    (found,) = validate(examples, statistics, schema, None, limits).anomalies
    assert (found.feature, found.severity) == ("image/encoded", WARNING)
    assert "3 of 300 train images" in found.description


def test_anomalies_of_a_feature_are_one_info_with_its_reasons(schema):
    proto = found_in("missing class", schema).to_proto()
    info = proto.anomaly_info["image/class/text"]
    assert info.path.step == ["image/class/text"]
    assert len(info.reason) == 3
    assert info.severity == ERROR
    (skew,) = (
        one.skew_measurements
        for one in proto.drift_skew_info
        if one.path.step == ["image/class/text"]
    )
    assert skew[0].value == pytest.approx(1 / 3)


# Distances


counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=1)


@settings(max_examples=50, deadline=None)
@given(first=counts, second=counts)
def test_l_infinity_is_the_norm_of_the_difference(first, second):
    distance, name = l_infinity(first, second)
    p, q = (
        np.array([one.get(letter, 0) for letter in "abcdef"]) / sum(one.values())
        for one in (first, second)
    )
    assert distance == pytest.approx(np.linalg.norm(p - q, np.inf))
    index = "abcdef".index(name)
    assert abs(p - q)[index] == pytest.approx(distance)


values = st.lists(st.integers(0, 30), min_size=1, max_size=40)


def histogram_of(numbers, make):
    accumulator = Numbers()
    for number in numbers:
        accumulator.add([number])
    return make(accumulator.counts, accumulator.minimum, accumulator.maximum)


@settings(max_examples=50, deadline=None)
@given(
    first=values,
    second=values,
    make=st.sampled_from([histograms.equal_width, histograms.equal_mass]),
)
def test_divergence_is_symmetric_bounded_and_zero_for_equals(first, second, make):
    one, other = histogram_of(first, make), histogram_of(second, make)
    distance = histograms.jensen_shannon(one, other)
    assert 0 <= distance <= 1
    assert distance == pytest.approx(histograms.jensen_shannon(other, one), abs=1e-12)
    assert histograms.jensen_shannon(one, one) == pytest.approx(0, abs=1e-12)
    if max(first) < min(second):
        assert distance == pytest.approx(1)


def test_divergence_of_half_the_mass():
    # P = (1/2, 1/2), Q = (1, 0): by hand, 1 - 3/4 log2(3) / 1 + 1/2 = 0.3113.
    def points(*shares):
        histogram = statistics_pb2.Histogram()
        for value, share in enumerate(shares):
            histogram.buckets.add(low_value=value, high_value=value, sample_count=share)
        return histogram

    expected = 1.5 - 0.75 * math.log2(3)
    assert histograms.jensen_shannon(points(1, 1), points(2, 0)) == pytest.approx(
        expected
    )


def test_limits_can_be_set_and_not_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULT_THRESHOLDS.overlap = Limit(1.0)
    assert Thresholds(overlap=Limit(1.0)).overlap.error == math.inf
