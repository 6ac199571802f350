"""Exports for other runtimes, each loaded by that runtime."""

import dataclasses
import importlib.util
import json

import numpy as np
import pytest

from pipelines.components.exporter import exporter
from pipelines.data import folders
from pipelines.data.input_pipeline import evaluation_batches
from pipelines.errors import UserError
from pipelines.serving.formats import FORMATS
from pipelines.serving.quantizers import int8
from pipelines.training.network import takes_pixels

# A step of 8 bits; the network has few channels, so that each counts.
LARGEST = {"float32": 1e-5, "float16": 5e-3, "int8": 0.2}


@pytest.mark.parametrize(
    ("to", "precision"),
    [(name, each) for name, kind in FORMATS.items() for each in kind.writers],
)
def test_own_runtime_gives_the_networks_answers(
    to, precision, tiny_model, drawings, tmp_path
):
    version, told = exporter(
        tiny_model, drawings, tmp_path, to=to, precision=precision, about={"a": 1}
    )
    assert version == tmp_path / "resnet20" / f"{to}-{precision}" / "1"
    batches = evaluation_batches(drawings, "validation", tiny_model.preprocessing, 40)
    images, labels = next(iter(batches.dataset.as_numpy_iterator()))
    network = takes_pixels(tiny_model.load_keras(), tiny_model.preprocessing)
    expected = network(images).numpy()
    found = FORMATS[to].load(version / FORMATS[to].file)(images)
    difference = np.abs(found - expected).max()
    assert difference < LARGEST[precision]
    assert told.largest_difference == pytest.approx(difference, rel=1e-3, abs=1e-6)
    assert told.images == len(images)
    assert told.top1_error == (expected.argmax(-1) != labels).mean()
    assert told.exported_top1_error == (found.argmax(-1) != labels).mean()
    assert (told.float_convolutions is None) == (precision != "int8")
    assert told.top1_agreement == (found.argmax(-1) == expected.argmax(-1)).mean()
    assert (version / "labels.txt").read_text().splitlines() == list(drawings.classes)
    made_from = json.loads((version / "assets.extra" / "made_from.json").read_text())
    assert made_from["about"] == {"a": 1}
    assert f"{FORMATS[to].file}" in made_from["files"]


@pytest.mark.parametrize(
    ("needed", "wrong_images", "left"), [(0, 0, 0), (3, 8, 4), (3, 2, 0), (21, 8, 16)]
)
def test_first_convolutions_stay_float_until_answers_hold(
    needed, wrong_images, left, tmp_path
):
    images = np.arange(512 + 256, dtype="uint8")[:, None]  # The first calibrate.

    def network(batch):
        return np.eye(256)[batch[:, 0]]

    def quantizer(given, calibration):
        assert given is network
        assert (calibration == images[:256]).all()
        return 33, lambda path, first: path.write_text(str(first))

    def load(path):
        wrong = wrong_images if int(path.read_text()) < needed else 0
        return lambda batch: network(np.where(batch < wrong, batch + 1, batch))

    path = tmp_path / "model"
    assert int8(quantizer, load)(network, path, images) == left
    assert path.read_text() == str(left)


def test_the_same_again_does_nothing(tiny_model, drawings, tmp_path):
    first = exporter(tiny_model, drawings, tmp_path, to="litert")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert exporter(tiny_model, drawings, tmp_path, to="litert") == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_one_process_makes_a_version(tiny_model, drawings, tmp_path):
    with (
        folders.held(tmp_path / "resnet20" / "litert-float32"),
        pytest.raises(UserError, match="another process .* is writing"),
    ):
        exporter(tiny_model, drawings, tmp_path, to="litert")


def test_other_answers_are_no_version(tiny_model, drawings, tmp_path, monkeypatch):
    kind = FORMATS["litert"]

    def disturbed(network, path, images):
        network.layers[-1].set_weights(
            [weight * 1.01 for weight in network.layers[-1].get_weights()]
        )
        kind.writers["float32"](network, path, images)

    wrong = dataclasses.replace(kind, writers={"float32": disturbed})
    monkeypatch.setitem(FORMATS, "litert", wrong)
    with pytest.raises(UserError, match="litert export answers otherwise .* nothing"):
        exporter(tiny_model, drawings, tmp_path, to="litert")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_there_is_not(tiny_model, drawings, tmp_path, monkeypatch):
    def export(**wanted):
        exporter(tiny_model, drawings, tmp_path, **wanted)

    with pytest.raises(UserError, match="no format is called 'onxn'; did you mean"):
        export(to="onxn")
    with pytest.raises(UserError, match="onnx has no float16 here; it has float32"):
        export(to="onnx", precision="float16")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="package openvino; install the extra `export`"):
        export(to="openvino")
    with pytest.raises(UserError, match="package jax; install the extra `jax`"):
        export(to="stablehlo")
    assert list(tmp_path.iterdir()) == []
