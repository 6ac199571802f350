"""The inferred schema, and one that a person has edited."""

import numpy as np
import pytest
from made_examples import CLASSES, random_records, record, write_examples
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from pipelines.components.schema_gen import schema_gen
from pipelines.components.statistics_gen import statistics_gen
from pipelines.data.quality import protos
from pipelines.data.quality.distances import l_infinity
from pipelines.data.quality.schema import infer_schema
from pipelines.data.quality.thresholds import Limit, Thresholds
from pipelines.data.quality.validation import validate
from pipelines.errors import UserError


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """Sixty images in two formats, some of them from the web."""
    train = random_records(1, 30) + random_records(2, 15, kind="BMP")
    image = b"not an image"
    train += [record(image, 0, "ant", url="web", boxes=[1.0, 2.0])]
    train += [record(image, 0, "ant", boxes=[1.0])]
    splits = {"train": train, "validation": random_records(3, 15)}
    directory = tmp_path_factory.mktemp("schema") / "examples"
    return write_examples(directory, splits, CLASSES)


@pytest.fixture(scope="module")
def statistics(examples, tmp_path_factory):
    return statistics_gen(examples, tmp_path_factory.mktemp("out") / "statistics").proto


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "schema.pbtxt"


def features(schema):
    return {feature.name: feature for feature in schema.feature}


def test_features_types_and_presence(examples, statistics, path):
    found = features(schema_gen(examples, statistics, path))
    types = {name: schema_pb2.FeatureType.Name(one.type) for name, one in found.items()}
    assert types == {
        "image/aspect_ratio": "FLOAT",
        "image/boxes": "FLOAT",
        "image/bytes": "INT",
        "image/class/label": "INT",
        "image/class/text": "BYTES",
        "image/encoded": "BYTES",
        "image/filename": "BYTES",
        "image/format": "BYTES",
        "image/height": "INT",
        "image/mean/blue": "FLOAT",
        "image/mean/green": "FLOAT",
        "image/mean/red": "FLOAT",
        "image/url": "BYTES",
        "image/width": "INT",
    }
    for name in ("image/encoded", "image/class/label", "image/filename"):
        assert found[name].presence.min_fraction == 1
        assert found[name].HasField("shape")
        assert not found[name].shape.dim
    for name in ("image/url", "image/boxes", "image/mean/red"):
        assert not found[name].HasField("presence")
    assert not found["image/boxes"].HasField("shape")
    assert found["image/boxes"].value_count.min == 1
    assert found["image/encoded"].HasField("image_domain")


def test_domains(examples, statistics, path):
    found = features(schema_gen(examples, statistics, path))
    label = found["image/class/label"].int_domain
    assert (label.min, label.max, label.is_categorical) == (0, 2, True)
    assert found["image/height"].int_domain.min == 1
    assert not found["image/height"].int_domain.HasField("max")
    assert found["image/class/text"].string_domain.value == ["ant", "bee", "cow"]
    assert found["image/class/text"].unique_constraints.min == 3
    assert found["image/format"].string_domain.value == ["BMP", "PNG"]


def test_thresholds_of_comparators(examples, statistics, path):
    limits = Thresholds(
        class_skew=Limit(0.9), class_drift=Limit(0.8), size_drift=Limit(0.95)
    )
    found = features(schema_gen(examples, statistics, path, thresholds=limits))
    text = found["image/class/text"]
    assert text.skew_comparator.infinity_norm.threshold == 0.9
    assert text.drift_comparator.infinity_norm.threshold == 0.8
    for name in ("height", "width", "aspect_ratio", "bytes"):
        divergence = found[f"image/{name}"].drift_comparator.jensen_shannon_divergence
        assert divergence.threshold == 0.95
        assert divergence.source.type == schema_pb2.HistogramSelection.QUANTILES


def test_small_samples_do_not_differ_by_their_size_alone(tmp_path):
    """Of a hundred pairs of random samples none is beyond the inferred threshold."""
    splits = [
        statistics_pb2.DatasetFeatureStatistics(name=name, num_examples=count)
        for name, count in (("train", 90), ("validation", 20))
    ]
    for split in splits:
        text = split.features.add(type=statistics_pb2.FeatureNameStatistics.STRING)
        text.path.step.append("image/class/text")
        text.string_stats.common_stats.num_non_missing = split.num_examples
    schema = infer_schema(
        statistics_pb2.DatasetFeatureStatisticsList(datasets=splits),
        CLASSES,
        Thresholds(class_skew=Limit(0.01)),
    )
    threshold = features(schema)["image/class/text"].skew_comparator.infinity_norm
    generator = np.random.default_rng(0)
    distances = []
    for _ in range(100):
        first, second = (
            dict(zip(CLASSES, generator.multinomial(count, [1 / 3] * 3), strict=True))
            for count in (90, 20)
        )
        distances.append(l_infinity(first, second)[0])
    assert 0.2 < max(distances) < threshold.threshold < 0.6


def test_an_edited_schema_is_kept(examples, statistics, path):
    schema_gen(examples, statistics, path)
    edited = path.read_text().replace('value: "BMP"', 'value: "WEBP"  # mine')
    path.write_text(edited)
    found = features(schema_gen(examples, statistics, path))
    assert path.read_text() == edited
    assert found["image/format"].string_domain.value == ["WEBP", "PNG"]
    path.unlink()
    found = features(schema_gen(examples, statistics, path))
    assert found["image/format"].string_domain.value == ["BMP", "PNG"]


def test_unicode_stays_readable(statistics, examples, path, tmp_path):
    schema = schema_pb2.Schema()
    schema.feature.add(name="Kühe 🐄")
    protos.write_text(tmp_path / "s.pbtxt", schema, "cows")
    assert "Kühe 🐄" in (tmp_path / "s.pbtxt").read_text(encoding="utf-8")
    assert protos.read_text(tmp_path / "s.pbtxt", schema_pb2.Schema) == schema


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("  typo: INT", 'no field named "typo"'),
        ("  type: INTEGER", "INTEGER"),
        ("  presence {", "FeaturePresence"),
        ("  ][", ""),
    ],
)
def test_a_wrong_line_is_named(examples, statistics, path, line, what):
    schema_gen(examples, statistics, path)
    lines = path.read_text().splitlines()
    number = next(i for i, text in enumerate(lines) if "type: FLOAT" in text)
    lines[number] = line
    path.write_text("\n".join(lines))
    with pytest.raises(UserError) as caught:
        schema_gen(examples, statistics, path)
    sentence = str(caught.value)
    assert f"of {path} is not right" in sentence
    # What is wrong about a block is only seen behind its opening line.
    assert f"line {number + 1 + line.count('{')} of" in sentence
    assert what in sentence
    assert "\n" not in sentence


def test_a_schema_that_is_no_text_is_told(examples, statistics, path):
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        schema_gen(examples, statistics, path)


def test_a_damaged_binary_is_told(tmp_path):
    (tmp_path / "statistics.pb").write_bytes(b"\xff\xff")
    kind = statistics_pb2.DatasetFeatureStatisticsList
    with pytest.raises(UserError, match="statistics.pb cannot be read"):
        protos.read_binary(tmp_path / "statistics.pb", kind)


# Edits that are valid for TensorFlow Data Validation


def edited(examples, statistics, path, edit):
    """Returns the anomalies of a schema that a person has edited."""
    schema_gen(examples, statistics, path)
    schema = protos.read_text(path, schema_pb2.Schema)
    edit(schema, features(schema))
    protos.write_text(path, schema, "edited")
    schema = schema_gen(examples, statistics, path)
    found = validate(examples, statistics, schema, None, Thresholds()).anomalies
    return {
        (one.feature, anomalies_pb2.AnomalyInfo.Type.Name(one.type)) for one in found
    }


def shared_domain(schema, found):
    found["image/class/text"].domain = "animals"
    schema.string_domain.add(name="animals", value=["ant", "bee"])


def float_range(schema, found):
    found["image/aspect_ratio"].float_domain.min = 1.0
    found["image/aspect_ratio"].float_domain.max = 1.5


def fewer_examples(schema, found):
    schema.dataset_constraints.min_examples_count = 40
    schema.dataset_constraints.max_examples_count = 45


def fewer_values(schema, found):
    found["image/class/text"].unique_constraints.max = 2


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (shared_domain, {("image/class/text", "ENUM_TYPE_UNEXPECTED_STRING_VALUES")}),
        (
            float_range,
            {
                ("image/aspect_ratio", "FLOAT_TYPE_SMALL_FLOAT"),
                ("image/aspect_ratio", "FLOAT_TYPE_BIG_FLOAT"),
            },
        ),
        (
            fewer_examples,
            {("", "DATASET_LOW_NUM_EXAMPLES"), ("", "DATASET_HIGH_NUM_EXAMPLES")},
        ),
        (fewer_values, {("image/class/text", "FEATURE_TYPE_HIGH_UNIQUE")}),
    ],
)
def test_valid_edits_are_checked(examples, statistics, path, edit, expected):
    before = edited(examples, statistics, path, lambda schema, found: None)
    assert not expected & before
    assert expected <= edited(examples, statistics, path, edit)


def unknown_domain(schema, found):
    found["image/class/text"].domain = "plants"


def environment(schema, found):
    found["image/class/text"].not_in_environment.append("SERVING")


def image_size(schema, found):
    found["image/encoded"].image_domain.max_image_byte_size = 9


def drift_of_the_number(schema, found):
    comparator = schema.dataset_constraints.num_examples_drift_comparator
    comparator.min_fraction_threshold = 0.9


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (unknown_domain, "image/class/text names the domain plants, which"),
        (environment, "image/class/text has not_in_environment, which is not checked"),
        (image_size, r"image/encoded has image_domain\.max_image_byte_size"),
        (drift_of_the_number, r"dataset_constraints\.num_examples_drift_comparator"),
    ],
)
def test_edits_that_are_not_checked_are_refused(
    examples, statistics, path, edit, sentence
):
    with pytest.raises(UserError, match=sentence):
        edited(examples, statistics, path, edit)
