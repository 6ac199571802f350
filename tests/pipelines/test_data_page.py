"""The data page in a real browser without a window."""

import re

import numpy as np
import pytest
from browser import brightness, facts_of
from made_examples import encode, random_image, record, write_examples

from pipelines.components.example_validator import example_validator
from pipelines.components.schema_gen import schema_gen
from pipelines.components.statistics_gen import statistics_gen
from pipelines.data.quality.samples import MOST_CLASSES
from pipelines.reports.charts import Bucket, histogram, ranked
from pipelines.reports.data_page import write_data_page
from pipelines.reports.thumbnails import thumbnail

NASTY = "<script>alert(\"x\")</script> & 'co' " + "long" * 40


def make_page(directory, classes, images_of_class, **manifest):
    """Writes the page of examples with these numbers of images per class."""
    generator = np.random.default_rng(0)
    records = []
    for label, (name, count) in enumerate(zip(classes, images_of_class, strict=True)):
        for _ in range(count):
            height, width = (int(side) for side in generator.integers(20, 60, 2))
            image = random_image(generator, height, width)
            records.append(record(image, label, name, height, width))
    splits = {"train": records, "validation": records[::3]}
    examples = write_examples(directory / "examples", splits, classes, **manifest)
    statistics = statistics_gen(examples, directory / "statistics")
    schema = schema_gen(examples, statistics.proto, directory / "schema.pbtxt")
    validation = example_validator(
        examples, statistics.proto, schema, directory / "anomalies.pbtxt"
    )
    path = directory / "data.html"
    write_data_page(path, examples, statistics.proto, statistics.samples, validation)
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with warnings, errors and a name that tries to be markup."""
    directory = tmp_path_factory.mktemp("page")
    return make_page(
        directory,
        ["ant", "bee", NASTY],
        [12, 9, 3],
        duplicates={"train": 1, "validation": 0, "across": 8},
        leaked=((NASTY, "b"),),
        made_from={"source": NASTY},
    )


@pytest.mark.parametrize(
    ("width", "dark"), [(1200, False), (500, True)], ids=["light", "narrow and dark"]
)
def test_page_in_a_browser(page, width, dark):
    facts = facts_of(page, width, dark=dark)
    assert facts["images"] == facts["loaded"] == facts["described"] == 8 + 8 + 3
    assert facts["overflow"] == 0
    assert facts["errors"] == []
    assert facts["scripts"] == 1  # The probe itself: no name became a script.
    assert facts["bad"] == 0
    assert facts["charts"] == 7
    assert facts["headings"][0] == "Anomalies"
    assert (brightness(facts["ground"]) < brightness(facts["ink"])) == dark


def test_anomalies_are_told_in_words_errors_first(page):
    told = facts_of(page)["anomalies"]
    assert "Error" in told[0] and "overlap" in told[0]
    assert NASTY in told[0]
    assert "Warning" in told[1] and "Duplicates" in told[1]


def test_page_without_anomalies_says_so(tmp_path):
    path = make_page(tmp_path, ["ant", "bee"], [3, 3])
    (told,) = facts_of(path)["anomalies"]
    assert "None found" in told


def test_many_classes_are_shown_in_part(tmp_path):
    classes = [f"class {number:02}" for number in range(30)]
    path = make_page(tmp_path, classes, [2 + number % 9 for number in range(30)])
    text = path.read_text()
    assert "12 most and the 12 least frequent of 30 classes" in text
    facts = facts_of(path)
    assert facts["images"] == facts["loaded"] <= MOST_CLASSES * 8
    assert facts["charts"] == 8
    assert facts["overflow"] == facts["bad"] == 0


def test_page_asks_for_nothing_from_elsewhere(page):
    text = page.read_text(encoding="utf-8")
    for address in re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', text):
        assert address.startswith(("data:image/", "#"))
    assert "url(" not in text and "@import" not in text
    assert "<script" not in text
    assert "default-src 'none'" in text
    assert len(text) < 300_000


def test_one_value_is_drawn():
    assert "nan" not in histogram("all equal", {"train": [Bucket(32, 32, 1.0)]}).lower()
    svg = ranked("classes", [10, 5, 0])
    assert svg.count("<path") == 1


def test_thumbnails_are_small_and_keep_small_images():
    generator = np.random.default_rng(0)
    large = encode(generator.integers(0, 256, (900, 1200, 3), np.uint8))
    small = encode(generator.integers(0, 256, (20, 20, 3), np.uint8))
    assert len(thumbnail(large).uri) < 20_000
    assert thumbnail(small).is_small
    assert thumbnail(b"broken") is None
