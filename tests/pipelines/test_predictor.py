"""Tables of answers: one row for each image, whole, also after a stop."""

import csv
import json

import numpy as np
import pytest

from pipelines.components import predictor as module
from pipelines.components.predictor import check_output, image_files, predictor
from pipelines.components.pusher import pusher
from pipelines.errors import UserError
from pipelines.serving.local import load_classifier


@pytest.fixture(scope="module")
def version(tiny_model, tmp_path_factory):
    return pusher(tiny_model, tmp_path_factory.mktemp("predictor") / "serving")


@pytest.fixture(scope="module")
def photos(drawings, tmp_path_factory):
    """A folder of seven images, one of which is none."""
    import tensorflow as tf

    from pipelines.data import records

    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    dataset = tf.data.TFRecordDataset(drawings.files("validation")).map(records.parse)
    for index, row in enumerate(dataset.take(6).as_numpy_iterator()):
        name = f"more/{index}.JPG" if index > 3 else f"a, {index}.jpg"
        (folder / name).write_bytes(row["image/encoded"])
    (folder / "a, 7.jpg").write_text("no image")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def test_a_row_for_each_image(version, photos, tmp_path):
    paths = image_files([str(photos)])
    assert len(paths) == 7
    (problem,) = predictor(version, paths, tmp_path / "out.csv")
    assert problem.startswith(f"{photos}/a, 7.jpg: cannot be used (not a JPEG")
    answers = load_classifier(version)(paths)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for path, answer, row in zip(paths, answers, rows, strict=True):
        assert row["path"] == str(path)
        assert row["problem"] == (answer.problem or "")
        if not answer.problem:
            assert [row[f"class_{rank}"] for rank in range(1, 6)] == [*answer.classes]
            probabilities = [float(row[f"probability_{rank}"]) for rank in range(1, 6)]
            np.testing.assert_allclose(probabilities, answer.probabilities, rtol=1e-5)
        else:
            assert {*row.values()} == {str(path), answer.problem, ""}
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_embeddings(version, photos, tmp_path):
    paths = image_files([str(photos / "more")])
    assert predictor(version, paths, tmp_path / "out.jsonl", embeddings=True) == []
    rows = list(map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines()))
    answers = load_classifier(version, features=True)(paths)
    for answer, row in zip(answers, rows, strict=True):
        assert row["classes"] == [*answer.classes]
        np.testing.assert_allclose(row["features"], answer.features, rtol=1e-5)


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_a_stopped_table_goes_on(version, photos, tmp_path, monkeypatch, name):
    monkeypatch.setattr(module, "_BATCH", 2)
    paths = image_files([str(photos)])
    predictor(version, paths, tmp_path / f"whole-{name}")

    def stop(done):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predictor(version, paths, tmp_path / name, progress=stop)
    (partial,) = tmp_path.glob(".partial-*")
    assert not (tmp_path / name).exists()
    with partial.open("ab") as table:
        table.write(b"torn in the midd")
    done = []
    problems = predictor(version, paths, tmp_path / name, progress=done.append)
    assert done == [4, 6, 7]
    assert len(problems) == 1, "that of the first part, too"
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()


def test_one_writes(version, photos, tmp_path):
    paths = image_files([str(photos)])

    def second(done):
        with pytest.raises(UserError, match="another process is writing"):
            predictor(version, paths, tmp_path / "out.csv")

    predictor(version, paths, tmp_path / "out.csv", progress=second)


def test_what_is_refused(tmp_path):
    (tmp_path / "there.csv").touch()
    (tmp_path / "empty").mkdir()
    for name, sentence in (
        ("out.parquet", "does not end with .csv or .jsonl"),
        ("there.csv", "is there; remove it"),
        ("no/out.csv", "is in no folder that exists"),
    ):
        with pytest.raises(UserError, match=sentence):
            check_output(tmp_path / name)
    with pytest.raises(UserError, match="there are no images in .*empty"):
        image_files([str(tmp_path / "empty")])
    with pytest.raises(UserError, match="no images given"):
        image_files([])
