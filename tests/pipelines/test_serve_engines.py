"""Exports for other runtimes, served as the SavedModel is."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from pipelines.components.exporter import exporter
from pipelines.errors import UserError
from pipelines.serving.server import engines
from pipelines.serving.signatures import BYTES_SIGNATURE, FLOATS_SIGNATURE

FORMATS = {"openvino": "openvino", "onnxruntime": "onnx"}


@pytest.fixture(scope="module")
def reference(tiny_version):
    return engines.load(tiny_version)


@pytest.fixture(scope="module", params=FORMATS)
def export(request, tiny_model, drawings, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    to = FORMATS[request.param]
    return request.param, exporter(tiny_model, drawings, directory, to=to)[0]


def assert_alike(answer, expected):
    assert answer.keys() == expected.keys()
    for name, values in expected.items():
        assert answer[name].dtype == values.dtype
        if values.dtype == np.float32:
            np.testing.assert_allclose(answer[name], values, atol=1e-5)
        else:
            np.testing.assert_array_equal(answer[name], values)


def test_answers_as_the_saved_model(export, reference, drawings):
    engine, version = export
    loaded = engines.load(version, engine)
    records = tf.data.TFRecordDataset(drawings.files("validation")).take(8)
    encoded = [
        tf.train.Example.FromString(record).features.feature["image/encoded"]
        for record in records.as_numpy_iterator()
    ]
    images = [*(each.bytes_list.value[0] for each in encoded), b"no image"]
    inputs = {"image_bytes": np.array(images, object)}
    expected = reference.run(BYTES_SIGNATURE, inputs)
    assert expected["valid"].tolist() == [True] * 8 + [False]
    # Many threads ask at the same time.
    with ThreadPoolExecutor(4) as threads:
        answers = threads.map(loaded.run, [BYTES_SIGNATURE] * 16, [inputs] * 16)
        for answer in answers:
            assert_alike(answer, expected)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 20, 24, 3))
    inputs = {"images": pixels.astype(np.float32)}
    answer = loaded.run(FLOATS_SIGNATURE, inputs)
    assert_alike(answer, reference.run(FLOATS_SIGNATURE, inputs))
    for name in (BYTES_SIGNATURE, FLOATS_SIGNATURE):
        told, wanted = loaded.signatures[name], reference.signatures[name]
        for field in ("inputs", "outputs"):
            tensors, others = getattr(told, field), getattr(wanted, field)
            assert tensors.keys() == others.keys()
            for key, info in tensors.items():
                assert info.dtype == others[key].dtype
                assert info.tensor_shape == others[key].tensor_shape


def test_what_cannot_be_loaded_is_one_sentence(export, tmp_path, monkeypatch):
    engine, version = export
    with pytest.raises(UserError, match=r"holds no saved_model\.pb$"):
        engines.load(version, "tensorflow")
    with pytest.raises(UserError, match=r"no saved_model\.pb or model\.xml or"):
        engines.load(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"package {engine}; install the extra"):
        engines.load(version)


def test_an_older_export_does_not_say_how_to_prepare_images(tmp_path):
    (tmp_path / "model.onnx").touch()
    with pytest.raises(UserError, match="how to prepare images .*; export it again"):
        engines.load(tmp_path)
