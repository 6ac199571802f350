"""Exports whose probabilities are divided by the temperature of an evaluation."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from pipelines.components.blessed import blessing_of
from pipelines.components.evaluated import Evaluated
from pipelines.components.evaluator import judge
from pipelines.components.exporter import exporter
from pipelines.components.pusher import pusher, saved_model
from pipelines.data import records
from pipelines.data.input_pipeline import evaluation_batches
from pipelines.errors import UserError
from pipelines.evaluation.calibration import calibration_error, reliability
from pipelines.evaluation.judgement import Threshold, bless
from pipelines.evaluation.saved import load_calibration, save_judgement
from pipelines.evaluation.views import VIEWS
from pipelines.serving.formats import FORMATS
from pipelines.serving.signatures import BYTES_SIGNATURE, FLOATS_SIGNATURE
from pipelines.serving.versions import next_version, read_made_from
from pipelines.training.model import TrainedModel
from pipelines.training.network import takes_pixels


def evaluated(source, drawings, directory, *thresholds):
    """Returns the folder of an evaluation, and what it found."""
    judged = judge(drawings, [Evaluated.load(str(source))], VIEWS["1-crop"])
    checks = bless(judged.judgement, map(Threshold.parse, thresholds))
    save_judgement(judged, checks, directory)
    return directory / "evaluation.json", judged.judgement.calibration


@pytest.fixture(scope="module")
def evaluation(tiny_run, drawings, tmp_path_factory):
    return evaluated(
        tiny_run.directory, drawings, tmp_path_factory.mktemp("evaluation")
    )


@pytest.fixture(scope="module")
def calibrated(tiny_run, evaluation):
    """The model with the temperature that the command takes from the file."""
    model = TrainedModel.load(tiny_run.model_dir)
    calibration = load_calibration(evaluation[0], model.made_from["model"])
    assert calibration["temperature"] == evaluation[1].temperature
    return dataclasses.replace(model, temperature=calibration["temperature"])


@pytest.fixture(scope="module")
def version(tiny_run, calibrated):
    return saved_model(
        calibrated, tiny_run.exports_dir / "resnet20" / "saved_model-float32"
    )


def test_served_answers_are_as_calibrated_as_the_evaluation_says(
    tiny_run, calibrated, version, evaluation, drawings
):
    dataset = tf.data.TFRecordDataset(drawings.files("validation")).map(records.parse)
    # The temperature is shown on the images of odd records.
    rows = list(dataset.as_numpy_iterator())[1::2]
    images = tf.constant([row["image/encoded"] for row in rows])
    names = np.array(drawings.classes)[[row["image/class/label"] for row in rows]]

    def answer(version):
        served = tf.saved_model.load(str(version)).signatures
        by_bytes = served[BYTES_SIGNATURE](image_bytes=images)
        classes = by_bytes["classes"].numpy().astype(str)
        bins = reliability(
            by_bytes["probabilities"].numpy()[:, 0].astype(float),
            classes[:, 0] == names,
        )
        return classes, calibration_error(bins), served

    before, after = evaluation[1].errors
    assert abs(before - after) > 1e-3, "else nothing is shown"
    classes, error, served = answer(version)
    assert error == pytest.approx(after, abs=1e-5)
    plain, error, others = answer(
        pusher(TrainedModel.load(tiny_run.model_dir), tiny_run.serving_dir)
    )
    assert error == pytest.approx(before, abs=1e-5)
    np.testing.assert_array_equal(classes, plain)
    pixels = tf.zeros([1, 20, 20, 3])
    one, other = (
        each[FLOATS_SIGNATURE](images=pixels)["probabilities"].numpy()[0, :2]
        for each in (served, others)
    )
    odds = np.log(other[0] / other[1]) / calibrated.temperature
    assert np.log(one[0] / one[1]) == pytest.approx(odds, rel=1e-3)


def test_other_formats_too(calibrated, drawings, tmp_path):
    path, compared = exporter(calibrated, drawings, tmp_path, to="litert")
    assert compared.largest_difference < 1e-5 and compared.top1_agreement == 1
    batches = evaluation_batches(drawings, "validation", calibrated.preprocessing, 40)
    images, _ = next(iter(batches.dataset.as_numpy_iterator()))
    plain = dataclasses.replace(calibrated, temperature=1.0)
    network = takes_pixels(plain.load_logits(), plain.preprocessing)
    expected = scipy.special.softmax(network(images) / calibrated.temperature, axis=1)
    found = FORMATS["litert"].load(path / FORMATS["litert"].file)(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_another_temperature_is_another_version(calibrated, tmp_path):
    plain = TrainedModel.load(calibrated.directory)
    made = [
        next_version(tmp_path, model.made_from, lambda version: None).name
        for model in (plain, plain, calibrated, calibrated, plain)
    ]
    assert made == ["1", "1", "2", "2", "3"]
    assert read_made_from(tmp_path / "2")["temperature"] == calibrated.temperature
    # The training's model says nothing of it.
    assert "temperature" not in (calibrated.directory / "model.json").read_text()


def test_an_evaluation_of_the_export_is_of_the_export(
    tiny_run, version, evaluation, drawings, tmp_path
):
    path, found = evaluated(version, drawings, tmp_path / "a", "top1_error<=1")
    assert found.errors[0] == pytest.approx(evaluation[1].errors[1], abs=1e-5)
    assert found.temperature == pytest.approx(1, abs=0.01)
    (check,) = blessing_of(version, path.parent, tmp_path / "served")
    assert check.passed
    # What was fitted on top of a temperature is none of the network.
    model = TrainedModel.load(tiny_run.model_dir).made_from["model"]
    with pytest.raises(UserError, match="is of another model than is exported"):
        load_calibration(path, model)


def test_what_is_no_calibration(tiny_run, evaluation, tmp_path):
    model = TrainedModel.load(tiny_run.model_dir).made_from["model"]
    with pytest.raises(UserError, match="there is no evaluation .*no.json"):
        load_calibration(tmp_path / "no.json", model)
    values = json.loads(evaluation[0].read_text())
    path = tmp_path / "evaluation.json"
    for changes, sentence in (
        (
            {"made_from": {**values["made_from"], "models": [model] * 2}},
            "or of several",
        ),
        ({"made_from": {**values["made_from"], "views": "10-crop"}}, "is of 10-crop"),
        ({"calibration": None}, "has no temperature"),
        ({"calibration": {}}, "is damaged"),
    ):
        path.write_text(json.dumps({**values, **changes}))
        with pytest.raises(UserError, match=sentence):
            load_calibration(path, model)


@pytest.mark.soak
def test_the_command(tiny_run, version, evaluation, calibrated, tmp_path):
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pipelines.export", "--format=saved_model"),
            f"--model={tiny_run.directory}",
            f"--calibration={evaluation[0].parent}",
            f"--output_dir={tmp_path}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    made = tmp_path / "resnet20" / "saved_model-float32" / "1"
    assert result.stdout == f"{made}\n"
    said = read_made_from(made)
    assert said["temperature"] == calibrated.temperature
    assert said["about"]["calibration"]["error_after"] == evaluation[1].errors[1]
    assert os.listdir(tmp_path) == ["resnet20"]
