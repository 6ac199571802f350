"""Models judged from end to end: as one, together, by every way of looking."""

import csv
import dataclasses
import json
import re
import shutil
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from made_examples import random_image, record, write_examples

import keras_resnet
from keras_resnet.preprocessing import Preprocessing
from keras_resnet.weights import PRESETS
from pipelines.components.evaluated import (
    Evaluated,
    class_names,
    examples_for,
    order_of,
)
from pipelines.components.evaluator import judge
from pipelines.components.looking import looks
from pipelines.components.pusher import pusher
from pipelines.data import folders
from pipelines.data.images import decode
from pipelines.data.preprocessing import prepare
from pipelines.errors import UserError
from pipelines.evaluation.judgement import Threshold, bless
from pipelines.evaluation.saved import check_folder, save_judgement
from pipelines.evaluation.views import PAPER_SHORT_SIDES, VIEWS, multi_scale
from pipelines.reports.evaluation_page import write_evaluation_page
from pipelines.serving.versions import MADE_FROM
from pipelines.training.model import TrainedModel, model_fingerprint

CLASSES = ("ant", "bee", "cow")
SPEC = dataclasses.replace(
    keras_resnet.NETWORKS["resnet20"], blocks_per_stage=(1, 1, 1), classes=3
)
PREPROCESSING = Preprocessing(crop=14, resize=16)


def save_model(directory, seed, classes=CLASSES):
    """Writes a network with random weights as a run's model."""
    keras.utils.set_random_seed(seed)
    network = keras_resnet.build(SPEC, input_shape=(14, 14, 3))
    directory.mkdir(parents=True)
    order = [CLASSES.index(name) for name in classes]
    kernel, bias = network.layers[-1].get_weights()
    network.layers[-1].set_weights([kernel[:, order], bias[order]])
    TrainedModel(directory, SPEC, PREPROCESSING, classes).save(network)
    return network


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Examples of which two are damaged, and two models."""
    folder = tmp_path_factory.mktemp("evaluate")
    generator = np.random.default_rng(0)
    serialized = []
    for number in range(40):
        height, width = (int(side) for side in generator.integers(16, 40, 2))
        image = random_image(generator, height, width)
        name, label = f"{number % 2}/{number}.jpg", number % 3
        serialized.append(
            record(image, label, CLASSES[label], height, width, filename=name)
        )
    for number in (3, 17):
        serialized[number] = record(b"broken", 0, "ant", filename="broken.jpg")
    splits = {"train": serialized[:4], "validation": serialized}
    write_examples(folder / "data" / "examples", splits, CLASSES).save()
    save_model(folder / "a" / "model", 1)
    save_model(folder / "b" / "model", 2)
    save_model(folder / "turned" / "model", 2, CLASSES[::-1])
    return folder


@pytest.fixture(scope="module")
def examples(folder):
    return examples_for((), str(folder / "data"), folder)


def load(folder, *names):
    return [Evaluated.load(str(folder / name)) for name in names]


def _images(examples):
    """Yields the encoded images and labels that are whole, with their numbers."""
    for number, serialized in enumerate(
        tf.data.TFRecordDataset(examples.files("validation")).as_numpy_iterator()
    ):
        features = tf.train.Example.FromString(serialized).features.feature
        encoded = features["image/encoded"].bytes_list.value[0]
        if encoded != b"broken":
            yield number, encoded, features["image/class/label"].int64_list.value[0]


def _model(folder, name, **options):
    """Returns a model's network in Keras' own hands, logits of normalised images."""
    saved = TrainedModel.load(folder / name / "model").load_keras()
    shape = (None, None, 3)
    network = keras_resnet.build(
        SPEC, input_shape=shape, classifier_activation=None, **options
    )
    network.set_weights(saved.get_weights())
    mean, std = (np.array(one) for one in (PREPROCESSING.mean, PREPROCESSING.std))
    return lambda images: network(
        (np.asarray(images, float) / 255 - mean) / std
    ).numpy()


def test_every_image_is_counted_once_and_an_ensemble_is_the_mean(folder, examples):
    networks = [_model(folder, name) for name in "ab"]
    records, losses = [], []
    for number, encoded, label in _images(examples):
        pixels = prepare(tf.constant(encoded), PREPROCESSING)[None]
        probabilities = [scipy.special.softmax(one(pixels)[0]) for one in networks]
        records.append(number)
        losses.append(-np.log(np.mean(probabilities, axis=0)[label]))
    judged = judge(
        examples,
        load(folder, "a", "turned"),
        VIEWS["1-crop"],
        baseline=load(folder, "b"),
        batch_size=7,
        max_bad_share=0.1,
    )
    # The second is "b" with its classes in another order.
    assert judged.names == CLASSES
    assert judged.records.tolist() == records
    outcomes = judged.judgement.outcomes
    np.testing.assert_allclose(outcomes.losses, losses, rtol=1e-3, atol=1e-4)
    assert judged.judgement.metrics.images == 38
    assert judged.judgement.metrics.loss == pytest.approx(np.mean(losses), rel=1e-3)


def test_ways_of_looking(folder, examples):
    dense = _model(folder, "a", fully_convolutional=True)
    plain = _model(folder, "a")
    (model,) = load(folder, "a")
    _, encoded, _ = next(_images(examples))
    whole = decode(tf.constant(encoded))
    sides = [round(side * 14 / 224) for side in PAPER_SHORT_SIDES]
    scaled = multi_scale(whole, sides)
    square = multi_scale(whole, [16])[0].numpy()
    crops = [
        square[top : top + 14, left : left + 14]
        for top in (0, square.shape[0] - 14)
        for left in (0, square.shape[1] - 14)
    ]
    middle = prepare(tf.constant(encoded), PREPROCESSING).numpy()
    crops += [middle] + [crop[:, ::-1] for crop in (*crops, middle)]
    expected = {
        "1-crop": [plain(middle[None])[0]],
        "1-crop-mirrored": [plain(one[None])[0] for one in (middle, middle[:, ::-1])],
        "10-crop": list(plain(np.stack(crops))),
        # Judged at every place, as the paper says, and averaged over the places.
        "multi-scale": [dense(one[None])[0].mean(axis=(0, 1)) for one in scaled],
    }
    for name, logits in expected.items():
        views = VIEWS[name]
        images = views.prepare(tf.constant(encoded), PREPROCESSING)[None]
        found = views.logarithms(model.network, images, PREPROCESSING)[0]
        mean = scipy.special.softmax(logits, axis=1).mean(axis=0)
        np.testing.assert_allclose(np.exp(found), mean, rtol=1e-3, err_msg=name)


@pytest.mark.parametrize("name", ["10-crop", "multi-scale-mirrored"])
def test_ways_of_looking_pass_over_damage(folder, examples, name):
    judged = judge(examples, load(folder, "a"), VIEWS[name], max_bad_share=0.1)
    assert judged.judgement.metrics.images == 38


def test_files_of_a_judgement(folder, examples, tmp_path):
    models = load(folder, "a")
    judged = judge(
        examples,
        models,
        VIEWS["1-crop"],
        baseline=load(folder, "b"),
        features=("size", "brightness", "folder", "image/format"),
        max_bad_share=0.1,
    )
    checks = bless(judged.judgement, [Threshold.parse("top1_error<=0")])
    save_judgement(judged, checks, tmp_path)
    pictures = looks(examples, models[0], judged)
    page = tmp_path / "evaluation.html"
    write_evaluation_page(page, examples, judged, checks, pictures)

    values = json.loads((tmp_path / "evaluation.json").read_text())
    low, high = values["intervals"]["top1_error"]
    assert 0 <= low <= values["top1_error"] <= high <= 1
    assert values["images"] == 38
    assert [one["name"] for one in values["classes"]] == list(CLASSES)
    by_feature = {}
    for one in values["slices"]:
        by_feature.setdefault(one["feature"], []).append(one["images"])
    assert {name: sum(counts) for name, counts in by_feature.items()} == dict.fromkeys(
        ("size", "brightness", "folder", "image/format"), 38
    )
    verdict = json.loads((tmp_path / "blessing.json").read_text())
    assert not verdict["blessed"] and "top1_error is" in verdict["reasons"][0]
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["record"]) for row in rows] == judged.records.tolist()
    wrong = np.mean([row["class"] != row["prediction"] for row in rows])
    assert wrong == pytest.approx(values["top1_error"])
    with np.load(tmp_path / "evaluation.npz") as matrices:
        assert matrices["confusion"].sum() == 38

    mistakes = judged.judgement.metrics.hardest
    assert set(pictures) == {mistake.index for mistake in mistakes}
    text = page.read_text(encoding="utf-8")
    assert text.count("where the network looked") == len(mistakes) > 0
    assert "no longer in the records" not in text
    titles = re.findall("<h2>(.*?)</h2>", text)
    assert titles[:5] == ["Scores", "Not blessed", "Compared", "Slices", "Calibration"]
    assert titles[5] == "Curves" and "Top-5" not in text, "of three classes it is 0"
    assert text.count("precision by recall, average") == 2 * (1 + len(CLASSES))
    # What is asked for no more leaves no verdict behind.
    save_judgement(judged, [], tmp_path)
    assert not (tmp_path / "blessing.json").exists()


def test_a_preset_is_judged_on_as_many_classes(folder, examples, monkeypatch):
    preset = dataclasses.replace(
        PRESETS["torchvision/resnet18.imagenet1k_v1"],
        name="tests/resnet18",
        classes=3,
        preprocessing=PREPROCESSING,
    )
    monkeypatch.setitem(PRESETS, preset.name, preset)
    network = keras_resnet.create("resnet18", classes=3)
    file = folder / "resnet18.safetensors"
    keras_resnet.export_weights(network, str(file), layout="torchvision")
    model = Evaluated.load(f"tests/resnet18={file}")
    assert class_names(model, examples) == CLASSES
    judged = judge(examples, [model], VIEWS["1-crop"], max_bad_share=0.1)
    assert judged.judgement.metrics.images == 38
    two = dataclasses.replace(examples, classes=CLASSES[:2])
    with pytest.raises(UserError, match="has 3 classes, which it does not name, and"):
        class_names(model, two)


def test_a_model_without_names_has_the_classes_of_the_examples(folder, examples):
    (model,) = load(folder, "a")
    unnamed = dataclasses.replace(model, classes=())
    assert order_of(unnamed, examples, CLASSES) is None
    assert order_of(unnamed, examples, CLASSES[::-1]).tolist() == [2, 1, 0]


def test_an_exported_version_is_the_network_it_was_made_from(folder):
    version = folder / "a" / "serving" / "resnet20" / "1"
    (version / MADE_FROM).parent.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    made_from = model_fingerprint(folder / "a" / "model")
    (version / MADE_FROM).write_text(json.dumps({"model": made_from}))
    exported, model = load(folder, "a/serving/resnet20/1", "a")
    assert exported.made_from == model.made_from == made_from
    other = {**made_from, "model.keras": "0" * 64}
    (version / MADE_FROM).write_text(json.dumps({"model": other}))
    with pytest.raises(UserError, match="does not tell how it prepares images, and"):
        load(folder, "a/serving/resnet20/1")


def test_an_export_without_its_run_is_judged_itself(folder, examples, tmp_path):
    model = TrainedModel.load(folder / "a" / "model")
    version = pusher(model, tmp_path / "served")
    exported = Evaluated.load(str(version))
    assert not isinstance(exported.network, keras.Model)
    file, run = load(folder, "a/model/model.keras", "a")
    assert exported.made_from == run.made_from == file.made_from
    judged = judge(
        examples,
        [exported],
        VIEWS["10-crop"],
        baseline=[run],
        max_bad_share=0.1,
    )
    differences = judged.judgement.comparison.differences
    assert differences["loss"] == pytest.approx(0, abs=1e-5)
    assert looks(examples, exported, judged) == {}
    with pytest.raises(UserError, match="looks at images of one size; give its run"):
        judge(examples, [exported], VIEWS["multi-scale"])


def test_images_that_were_not_prepared(folder, photos, tmp_path):
    """All images of data without splits; of data with splits those of one."""
    plain = examples_for((), str(photos), tmp_path, max_bad_share=0.1)
    assert plain.counts == {"train": 0, "validation": 6} and plain.classes == CLASSES
    found = judge(plain, load(folder, "turned"), VIEWS["1-crop"])
    assert {*found.files} == {f"{one}/{n}.jpg" for one in CLASSES for n in "01"}
    # By their names, in whatever order the model has them.
    labels = [found.names[label] for label in found.judgement.outcomes.labels]
    assert labels == [file.split("/")[0] for file in found.files]
    again = examples_for((), str(photos), tmp_path, max_bad_share=0.1)
    assert again.directory == plain.directory

    split = tmp_path / "split"
    shutil.copytree(photos, split / "train")
    shutil.copytree(photos, split / "val")
    shutil.rmtree(split / "val" / "ant")
    held_out = examples_for((), str(split), tmp_path)
    assert held_out.counts == {"train": 0, "validation": 4}
    assert held_out.classes == ("bee", "cow")
    assert not plain.directory.exists(), "records of other data are removed"
    assert judge(held_out, load(folder, "a"), VIEWS["1-crop"]).names == CLASSES
    train = examples_for((), str(split), tmp_path, split="train")
    assert train.counts == {"train": 0, "validation": 6}


@pytest.fixture
def photos(tmp_path):
    """A folder of two images for each class."""
    generator = np.random.default_rng(1)
    for name in CLASSES:
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(2):
            image = random_image(generator, 20, 24)
            (folder / f"{number}.jpg").write_bytes(image)
    return tmp_path / "photos"


def test_a_preset_for_imagenet_knows_wordnet_ids(folder, examples):
    (model,) = load(folder, "a")
    network = types.SimpleNamespace(output_shape=(None, 1000))
    preset = dataclasses.replace(model, classes=(), network=network)
    some = dataclasses.replace(examples, classes=("n01443537", "n01440764"))
    names = class_names(preset, some)
    assert len(names) == 1000 and names[:2] == ("n01440764", "n01443537")
    assert list(names) == sorted(names)
    with pytest.raises(UserError, match="has 1,000 classes, which it does not name"):
        class_names(preset, examples)


def test_what_cannot_be_judged_is_told(folder, examples, tmp_path):
    (model,) = load(folder, "a")
    others = dataclasses.replace(examples, classes=("ant", "dog", "elk"))
    unknown = "images of 'dog' and 1 more, which --model=.* it knows 'bee' and 1 more;"
    with pytest.raises(UserError, match=unknown):
        judge(others, [model], VIEWS["1-crop"])
    stranger = dataclasses.replace(model, classes=(*CLASSES, "elk"))
    with pytest.raises(UserError, match="before it: it alone knows 'elk'; give"):
        judge(examples, [model, stranger], VIEWS["1-crop"])
    with pytest.raises(UserError, match="before it: it does not know 'elk'; give"):
        judge(examples, [stranger, model], VIEWS["1-crop"])
    none = dataclasses.replace(examples, counts={"train": 4, "validation": 0})
    with pytest.raises(UserError, match="has no validation images"):
        judge(none, [model], VIEWS["1-crop"])
    with pytest.raises(UserError, match="no feature of the records is called 'colour'"):
        judge(examples, [model], VIEWS["1-crop"], features=("colour",))
    with pytest.raises(UserError, match="is no model; give the folder"):
        Evaluated.load(str(tmp_path))
    with pytest.raises(UserError, match="holds no images .* put the images of each"):
        examples_for((), str(tmp_path), tmp_path / "made")
    (tmp_path / "weights.h5").touch()
    with pytest.raises(UserError, match="does not say what network it is; write"):
        Evaluated.load(str(tmp_path / "weights.h5"))
    (tmp_path / "run.json").touch()
    with pytest.raises(UserError, match="is a run that is not finished"):
        Evaluated.load(str(tmp_path))
    with pytest.raises(UserError, match="is the folder of a run"):
        check_folder(tmp_path)
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "run.json").unlink()
    with pytest.raises(UserError, match="does not tell how it prepares images, and"):
        Evaluated.load(str(tmp_path))


def test_command_exits_with_1_when_it_does_not_bless(folder, tmp_path):
    command = [
        *(sys.executable, "-m", "pipelines.evaluate", f"--model={folder / 'a'}"),
        *(f"--data={folder / 'data'}", "--bless=loss<=0"),
        "--max_bad_share=0.1",
        f"--output_dir={tmp_path / 'judged'}",
    ]
    with folders.held(tmp_path / "judged"):
        result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2 and "another process" in result.stderr
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    assert "not blessed: loss is" in result.stdout
    assert "top-5" not in result.stdout and "macro auroc" in result.stdout
    assert (tmp_path / "judged" / "evaluation.html").is_file()
    assert (tmp_path / "judged" / "evaluation.json").is_file()
