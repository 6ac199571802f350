"""Tables of answers: one row for each image, whole, also after a stop."""

import csv
import dataclasses
import importlib.util
import json
import tarfile
import zipfile

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from sklearn.neighbors import NearestNeighbors

from pipelines.components import predictor as module
from pipelines.components.predictor import Wanted, check_output, predictor
from pipelines.components.pusher import pusher
from pipelines.data.unlabelled import Images
from pipelines.errors import UserError
from pipelines.reports.answer_tables import Columns
from pipelines.serving import local, neighbours
from pipelines.serving.local import Answers, LocalModel
from pipelines.serving.neighbours import Index

NAMES = pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
ALL = Wanted(probabilities=True, embeddings=True)


@pytest.fixture(scope="module")
def version(tiny_model, tmp_path_factory):
    return pusher(tiny_model, tmp_path_factory.mktemp("predictor") / "serving")


@pytest.fixture(scope="module", autouse=True)
def model(version):
    """The model, loaded once for all tests."""
    model = LocalModel.load(version)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalModel, "load", lambda version: model)
        yield model


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
    (folder / ".hidden.jpg").write_text("not looked at")
    (folder / "notes.txt").write_text("nor this")
    return folder


@pytest.fixture(scope="module")
def answers(model, photos):
    return Answers.joined(list(model.answers(Images.listed((str(photos),)))))


def read(path):
    """Returns the rows of a table as JSON lines have them, with other libraries."""
    if path.suffix == ".jsonl":
        return list(map(json.loads, path.read_text().splitlines()))
    if path.suffix == ".parquet":
        rows = pyarrow.parquet.read_table(path).to_pylist()
    else:
        with path.open(newline="") as file:
            rows = [
                {name: value or None for name, value in row.items()}
                for row in csv.DictReader(file)
            ]
    return [_nested(row) for row in rows]


def _nested(row):
    numbers = {name: value for name, value in row.items() if name not in _TEXTS}
    features = row.get("features") or [
        float(row[name]) for name in row if name.startswith("feature_") and row[name]
    ]
    nested = {"path": row["path"], "problem": row["problem"]}
    if nested["problem"]:
        assert {*numbers.values()} == {None}
        return nested
    ranks = range(1, 6)
    nested["classes"] = [row[f"class_{rank}"] for rank in ranks]
    nested["probabilities"] = [float(row[f"probability_{rank}"]) for rank in ranks]
    nested["class_probabilities"] = {
        name: float(value) for name, value in numbers.items() if "_" not in name
    }
    return nested | {"features": features}


_TEXTS = ("path", "problem", "features")


@NAMES
def test_a_row_for_each_image(version, model, photos, answers, tmp_path, name):
    (problem,) = predictor(
        version, Images.listed((str(photos),)), tmp_path / name, wanted=ALL
    )
    assert problem.startswith(f"{photos}/a, 7.jpg: cannot be used (not a JPEG")
    rows = read(tmp_path / name)
    assert [row["path"] for row in rows] == [*answers.paths]
    assert [row["problem"] for row in rows] == [*answers.problems]
    for number, row in enumerate(rows):
        if row["problem"]:
            assert len(row) == 2
            continue
        probabilities = dict(
            zip(model.classes, answers.probabilities[number], strict=True)
        )
        best = sorted(probabilities, key=probabilities.get, reverse=True)[:5]
        assert row["classes"] == best
        told = [row["probabilities"], [*row["class_probabilities"].values()]]
        expected = [[probabilities[name] for name in best], [*probabilities.values()]]
        assert list(row["class_probabilities"]) == list(model.classes)
        for one, other in zip(told, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)
        np.testing.assert_allclose(row["features"], answers.features[number], rtol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_images_lie_anywhere(photos, drawings, tmp_path):
    expected = [
        *("a, 0.jpg", "a, 1.jpg", "a, 2.jpg", "a, 3.jpg", "a, 7.jpg"),
        *("more/4.JPG", "more/5.JPG"),
    ]
    arguments = [str(photos)]
    for name in ("photos.tar", "photos.tar.gz", "photos.zip"):
        path = photos / name
        if name.endswith(".zip"):
            with zipfile.ZipFile(path, "w") as archive:
                for file in expected:
                    archive.write(photos / file, file)
        else:
            with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as archive:
                for file in expected:
                    archive.add(photos / file, f"./{file}")
        arguments.append(str(path))
    (photos / "list.tsv").write_text("id\tpath\n" + "1\tmore/4.JPG\n2\tno.jpg\n")
    arguments += [str(photos / "list.tsv"), f"{photos}/more/5.JPG"]
    found = list(Images.listed(tuple(arguments)))
    tops = [photos, *(photos / name for name in ("photos.tar", "photos.tar.gz"))]
    paths = [
        f"{top}/{name}" for top in (*tops, photos / "photos.zip") for name in expected
    ]
    listed = [f"{photos}/{name}" for name in ("more/4.JPG", "no.jpg", "more/5.JPG")]
    assert [image.path for image in found] == paths + listed
    contents = [image.content.read() for image in found[: len(paths)]]
    assert contents == 4 * contents[: len(expected)]
    with pytest.raises(UserError, match="cannot be read"):
        found[-2].content.read()  # It is the model's answer that tells so.
    for name in ("photos.tar", "photos.tar.gz", "photos.zip", "list.tsv"):
        (photos / name).unlink()
    recorded = Images.listed((str(drawings.directory),))
    assert recorded.count == 200


@pytest.fixture
def small_parts(monkeypatch):
    """Two images are a batch, and four a part."""
    monkeypatch.setattr(local, "BATCH", 2)
    for constant, images in (("BATCH", 2), ("_PART", 4), ("_SHARD", 4)):
        monkeypatch.setattr(module, constant, images)


def stop(done):
    if done == 6:
        raise KeyboardInterrupt


@NAMES
def test_a_stopped_table_goes_on(version, photos, tmp_path, small_parts, name):
    images = Images.listed((str(photos),))
    predictor(version, images, tmp_path / f"whole-{name}", wanted=ALL)
    output = tmp_path / name
    with pytest.raises(KeyboardInterrupt):
        predictor(version, images, output, wanted=ALL, progress=stop)
    assert (tmp_path / f"{name}.partial").is_dir() and not output.exists()
    done = []
    problems = predictor(version, images, output, wanted=ALL, progress=done.append)
    assert done == [4, 6, 7]
    assert len(problems) == 1, "that of the first part, too"
    assert output.read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert not (tmp_path / f"{name}.partial").exists()


def test_what_was_begun_of_something_else_is_not_gone_on_with(
    version, photos, tmp_path, small_parts
):
    output = tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        predictor(version, Images.listed((str(photos),)), output, progress=stop)
    done = []
    others = Images.listed((f"{photos}/more", str(photos)))
    predictor(version, others, output, progress=done.append)
    assert done[0] == 0 and len(read_csv(output)) == 9


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@NAMES
def test_beam_writes_the_same_rows(version, photos, tmp_path, small_parts, name):
    pytest.importorskip("apache_beam")
    images = Images.listed((str(photos),))
    problems = predictor(version, images, tmp_path / f"whole-{name}", wanted=ALL)
    options = {"wanted": ALL, "beam_args": "--direct_running_mode=in_memory"}

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predictor(version, images, tmp_path / name, progress=stop, **options)
    # What Beam did before is not done again.
    assert len(list((tmp_path / f"{name}.partial").glob("tasks/*.result"))) == 2
    assert predictor(version, images, tmp_path / name, **options) == problems
    parts = sorted((tmp_path / name).iterdir())
    assert [part.stem for part in parts] == [
        "part-00000-of-00002",
        "part-00001-of-00002",
    ]
    rows = [row for part in parts for row in read(part)]
    assert rows == read(tmp_path / f"whole-{name}")


def test_one_writes(version, photos, tmp_path):
    images = Images.listed((str(photos),))

    def second(done):
        with pytest.raises(UserError, match="another process .* is writing"):
            predictor(version, images, tmp_path / "out.csv")

    predictor(version, images, tmp_path / "out.csv", progress=second)


def test_images_that_vanish_leave_no_table(version, photos, tmp_path):
    images = dataclasses.replace(Images.listed((str(photos),)), count=8)
    with pytest.raises(UserError, match="have changed while they were read"):
        predictor(version, images, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("block", [100, 2**16])
def test_neighbours_are_those_of_scikit_learn(monkeypatch, block):
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    generator = np.random.default_rng(0)
    features = np.maximum(generator.normal(size=(1003, 16)), 0).astype(np.float32)
    asked = generator.normal(size=(70, 16)).astype(np.float32)
    index = Index.of([batch_of(features[:500]), batch_of(features[500:])])
    found = index.nearest(asked, 7)
    truth = NearestNeighbors(metric="cosine", algorithm="brute").fit(features)
    distances, rows = truth.kneighbors(asked, 7)
    names = [f"{row}.jpg" for row in (*range(500), *range(503))]
    assert found.paths == [[names[row] for row in some] for some in rows]
    np.testing.assert_allclose(found.similarities, 1 - distances, atol=1e-6)
    few = Index.of([batch_of(features[:3])]).nearest(asked, 7)
    assert few.similarities.shape == (70, 3)
    nowhere = index.nearest(np.zeros((1, 16), np.float32), 2)
    assert nowhere.similarities.tolist() == [[0, 0]]
    with pytest.raises(UserError, match="has 16 features of an image, the model 15"):
        index.nearest(asked[:, 1:], 7)


def batch_of(features):
    count = len(features)
    paths = tuple(f"{row}.jpg" for row in range(count))
    return Answers(paths, (None,) * count, np.zeros((count, 2)), features)


def test_neighbours_in_a_table(version, model, photos, drawings, tmp_path):
    images = Images.listed((str(photos),))
    index = tmp_path / "index.parquet"
    predictor(version, images, index, wanted=Wanted(embeddings=True))
    wanted = Wanted(neighbours=str(index), neighbour_count=2)
    predictor(version, images, tmp_path / "out.csv", wanted=wanted)
    for row in read_csv(tmp_path / "out.csv"):
        same = "" if row["problem"] else row["path"]
        assert row["neighbour_1"] == same != row["neighbour_2"] or row["problem"]
        assert row["problem"] or float(row["similarity_1"]) == pytest.approx(1)
    # The photos are validation images: training's are others, of the same shapes.
    wanted = Wanted(neighbours=str(drawings.directory))
    predictor(version, images, tmp_path / "out.jsonl", wanted=wanted)
    for row in read(tmp_path / "out.jsonl"):
        assert row["problem"] or len({*row["neighbours"]}) == 5
        assert row["problem"] or row["similarities"][0] < 1

    def refusal(path, other=model):
        with pytest.raises(UserError) as caught:
            Index.read(path, other)
        return str(caught.value)

    stranger = dataclasses.replace(model, fingerprint="0" * 64)
    assert "was made by another model than" in refusal(index, stranger)
    assert "is no Parquet table; make one" in refusal(tmp_path / "out.csv")
    assert "is no Parquet table; make one" in refusal(tmp_path / "none.parquet")
    predictor(version, images, tmp_path / "plain.parquet")
    assert "holds no features; make one" in refusal(tmp_path / "plain.parquet")


def test_what_is_refused(model, photos, tmp_path, monkeypatch):
    (tmp_path / "there.csv").touch()
    (tmp_path / "empty").mkdir()
    for name, sentence in (
        ("out.xlsx", "no form of tables is called '.xlsx'"),
        ("there.csv", "is there; remove it"),
        ("no/out.csv", "is in no folder that exists"),
    ):
        with pytest.raises(UserError, match=sentence):
            check_output(tmp_path / name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="out.parquet takes the package pyarrow"):
        check_output(tmp_path / "out.parquet")
    with pytest.raises(UserError, match="--neighbours takes the package pyarrow"):
        Index.read(tmp_path / "out.parquet", model)
    with pytest.raises(UserError, match="there are no images in .*empty"):
        Images.listed((str(photos), str(tmp_path / "empty")))
    with pytest.raises(UserError, match="no.tar does not exist"):
        Images.listed((str(tmp_path / "no.tar"),))
    (tmp_path / "torn.tar.gz").write_bytes(b"torn")
    with pytest.raises(UserError, match="torn.tar.gz is damaged or not a whole"):
        Images.listed((str(tmp_path / "torn.tar.gz"),))
    with pytest.raises(UserError, match="no images given"):
        Images.listed(())
    for name in ("path", "class_1"):
        with pytest.raises(UserError, match=f"{name}' is called as another column"):
            Columns((name, "cat"), probabilities=True)
