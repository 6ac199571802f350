"""The exported model as a server sees it: without Keras, by its signatures."""

import dataclasses
import io
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.applications import resnet as keras_peer
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

import keras_resnet
from keras_resnet import structure
from keras_resnet.analysis import grad_cam
from keras_resnet.preprocessing import preprocess_input
from keras_resnet.training import RECIPES
from pipelines.components.evaluator import evaluator
from pipelines.components.pusher import pusher
from pipelines.data import records
from pipelines.data.input_pipeline import evaluation_batches
from pipelines.data.preprocessing import prepare
from pipelines.data.unlabelled import Images
from pipelines.errors import UserError
from pipelines.serving.local import LocalModel
from pipelines.serving.signatures import (
    ATTENTION_SIGNATURE,
    BYTES_SIGNATURE,
    FEATURES_SIGNATURE,
    FLOATS_SIGNATURE,
    VALID_SIGNATURE,
)
from pipelines.serving.versions import find_version, versions
from pipelines.training.initial_weights import licence_of, load_initial_weights
from pipelines.training.model import TrainedModel
from pipelines.training.network import preprocessing_for, takes_pixels

# A server has TensorFlow and the folder, and nothing else.
SERVER = """
import json, sys
# TensorFlow imports Keras where it finds it: here there is none to find.
for name in ("keras", "keras_resnet", "pipelines"):
    sys.modules[name] = None
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
answer = model.signatures["serving_default"](
    image_bytes=tf.constant([open(path, "rb").read() for path in sys.argv[2:]])
)
print(json.dumps({
    "classes": [[name.decode() for name in row] for row in answer["classes"].numpy()],
    "probabilities": answer["probabilities"].numpy().tolist(),
}))
"""


@pytest.fixture(scope="module")
def version(tiny_model, tmp_path_factory):
    return pusher(tiny_model, tmp_path_factory.mktemp("run") / "serving")


@pytest.fixture(scope="module")
def validation(drawings):
    """The encoded validation images and their labels."""
    dataset = tf.data.TFRecordDataset(drawings.files("validation")).map(records.parse)
    rows = list(dataset.as_numpy_iterator())
    images = [row["image/encoded"] for row in rows]
    return images, np.array([row["image/class/label"] for row in rows])


@pytest.fixture(scope="module")
def signatures(version):
    return tf.saved_model.load(str(version)).signatures


def test_no_skew_between_evaluation_and_serving(
    tiny_model, drawings, validation, signatures
):
    images, _ = validation
    answer = signatures[BYTES_SIGNATURE](image_bytes=tf.constant(images))
    batches = evaluation_batches(
        drawings, "validation", tiny_model.preprocessing, batch_size=16
    )
    network = takes_pixels(tiny_model.load_keras(), tiny_model.preprocessing)
    expected = network.predict(batches.dataset, verbose=0)
    ranked = np.sort(expected, axis=1)[:, ::-1][:, :5]
    np.testing.assert_allclose(answer["probabilities"], ranked, rtol=1e-4, atol=1e-6)


def test_served_classes_have_the_evaluated_error(
    tiny_model, drawings, validation, signatures, tmp_path
):
    images, labels = validation
    answer = signatures[BYTES_SIGNATURE](image_bytes=tf.constant(images))
    names = answer["classes"].numpy().astype(str)
    truth = np.array(drawings.classes)[labels]
    metrics = evaluator(drawings, tiny_model, tmp_path / "evaluation.json")
    assert metrics.images == len(images)
    assert metrics.top1_error == pytest.approx((names[:, 0] != truth).mean())
    assert metrics.top5_error == pytest.approx((names != truth[:, None]).all(1).mean())
    for name, error in zip(drawings.classes, metrics.class_errors, strict=True):
        own = names[truth == name, 0]
        assert error == (pytest.approx((own != name).mean()) if len(own) else None)


def test_decoded_images_get_the_same_answer(validation, signatures):
    encoded = validation[0][0]
    image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    by_bytes = signatures[BYTES_SIGNATURE](image_bytes=tf.constant([encoded]))
    by_floats = signatures[FLOATS_SIGNATURE](images=tf.cast(image, tf.float32)[None])
    np.testing.assert_array_equal(by_bytes["classes"], by_floats["classes"])
    np.testing.assert_allclose(
        by_bytes["probabilities"], by_floats["probabilities"], rtol=1e-5
    )


def test_serves_what_keras_applications_answers(validation, tmp_path):
    """From a file of its ResNet, whose pixels are BGR, to a JPEG's probabilities."""

    def stages(x):
        for number, stride in ((2, 1), (3, 2), (4, 2), (5, 2)):
            x = keras_peer.stack_residual_blocks_v1(
                x, filters=64, blocks=1, stride1=stride, name=f"conv{number}"
            )
        return x

    keras.utils.set_random_seed(0)
    peer = keras_peer.ResNet(
        stages,
        preact=False,
        use_bias=True,
        weights=None,
        classes=5,
        input_shape=(32, 32, 3),
    )
    values = np.random.default_rng(0)
    for weight in peer.weights:
        # As of a trained network, neither dying nor drowning in its last layers.
        if weight.path.endswith("moving_variance"):
            scale = 1e4 if "conv1_bn" in weight.path else 1
            weight.assign(values.uniform(0.5, 1.5, weight.shape) * scale)
        elif weight.path.endswith("moving_mean"):
            weight.assign(values.normal(0, 0.1, weight.shape))
        elif weight.path.endswith("3_bn/gamma"):
            weight.assign(values.uniform(0.1, 0.3, weight.shape))
        elif weight.path == "predictions/kernel":
            weight.assign(20 * weight)
    peer.save_weights(tmp_path / "peer.weights.h5")

    network = dataclasses.replace(
        keras_resnet.NETWORKS["resnet50"],
        classes=5,
        filters=(64,) * 4,
        blocks_per_stage=(1,) * 4,
    )
    ours = keras_resnet.build(network, input_shape=(32, 32, 3))
    loaded = load_initial_weights(ours, f"keras/resnet50={tmp_path}/peer.weights.h5")
    assert not loaded.new_classifier
    recipe = dataclasses.replace(RECIPES["he2015"], image_size=32)
    preprocessing = preprocessing_for(recipe, network)
    preprocessing = preprocessing.with_pixels_of(loaded.preprocessing)
    classes = tuple("abcde")
    model = TrainedModel(tmp_path / "model", network, preprocessing, classes)
    model.directory.mkdir()
    model.save(ours)
    version = pusher(TrainedModel.load(model.directory), tmp_path / "serving")

    jpeg = tf.constant(validation[0][0])
    answer = tf.saved_model.load(version).signatures[BYTES_SIGNATURE](
        image_bytes=jpeg[None]
    )
    pixels = prepare(jpeg, preprocessing)[None].numpy().astype("float32")
    inputs = keras.applications.resnet50.preprocess_input(pixels)
    expected = peer(inputs).numpy()[0]
    best = np.argsort(-expected)
    served = answer["classes"].numpy().astype(str).tolist()
    assert served == [[classes[index] for index in best]]
    np.testing.assert_allclose(answer["probabilities"][0], expected[best], atol=1e-5)
    # In the order of colours that others have, it would have been another answer.
    assert np.abs(peer(inputs[..., ::-1]).numpy()[0] - expected).max() > 1e-4


def test_serves_without_keras(version, validation, signatures, tmp_path):
    paths = [tmp_path / f"{n}.jpg" for n in range(3)]
    for path, image in zip(paths, validation[0], strict=False):
        path.write_bytes(image)
    output = subprocess.run(
        [sys.executable, "-c", SERVER, str(version), *map(str, paths)],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    ).stdout
    answer = json.loads(output)
    expected = signatures[BYTES_SIGNATURE](image_bytes=tf.constant(validation[0][:3]))
    assert answer["classes"] == expected["classes"].numpy().astype(str).tolist()
    np.testing.assert_allclose(
        answer["probabilities"], expected["probabilities"], rtol=1e-5
    )


@pytest.mark.parametrize("rank", [0, 1])
def test_attention_is_grad_cam_of_what_the_network_saw(
    rank, tiny_model, drawings, validation, signatures
):
    answer = signatures[ATTENTION_SIGNATURE](
        image_bytes=tf.constant(validation[0][:4]), rank=tf.fill([4], np.int64(rank))
    )
    batches = evaluation_batches(drawings, "validation", tiny_model.preprocessing, 4)
    images, _ = next(batches.dataset.as_numpy_iterator())
    seen = [tf.io.decode_png(one) for one in answer["seen_bytes"].numpy()]
    np.testing.assert_array_equal(seen, images)
    network = tiny_model.load_keras()
    normalised = preprocess_input(images, mode=tiny_model.preprocessing)
    classes = np.argsort(-network(normalised).numpy())[:, rank]
    for stage in structure.stages(network):
        expected = grad_cam(network, normalised, classes, stage)
        np.testing.assert_allclose(answer[stage], expected, atol=1e-4)
        assert expected.max() == 1


@pytest.mark.parametrize("name", [BYTES_SIGNATURE, FEATURES_SIGNATURE, VALID_SIGNATURE])
def test_a_bad_image_marks_its_own_row(name, validation, signatures):
    first, second = validation[0][:2]
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "png")
    rows = [first, b"no image", bomb.getvalue(), second[: len(second) // 2], second]
    answer = signatures[name](image_bytes=tf.constant(rows))
    good = signatures[name](image_bytes=tf.constant([first, second]))
    assert answer.pop("valid").numpy().tolist() == [True, False, False, False, True]
    assert good.pop("valid").numpy().all()
    for key, values in answer.items():
        np.testing.assert_array_equal(values.numpy()[[0, 4]], good[key])
        assert not values.numpy()[1:4].any()


def test_features_are_what_the_classifier_sees(tiny_model, validation, signatures):
    images = tf.constant(validation[0][:4])
    features = signatures[FEATURES_SIGNATURE](image_bytes=images)["features"]
    kernel, bias = tiny_model.load_keras().layers[-1].get_weights()
    logits = features.numpy() @ kernel + bias
    answer = signatures[BYTES_SIGNATURE](image_bytes=images)
    expected = np.sort(tf.nn.softmax(logits), axis=1)[:, ::-1][:, :5]
    np.testing.assert_allclose(answer["probabilities"], expected, rtol=1e-4)


def test_warm_up_requests_are_answered(version, signatures):
    """As TF Serving replays them: each to the signature that it names."""
    path = str(version / "assets.extra" / "tf_serving_warmup_requests")
    asked = set()
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        request = log.predict_log.request
        asked.add(request.model_spec.signature_name)
        answer = signatures[request.model_spec.signature_name](
            **{name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        )
        assert all(value.shape[0] == 1 for value in answer.values())
    # Where the network looks is asked by people, who can wait.
    assert asked == set(signatures) - {ATTENTION_SIGNATURE}


def test_licence_of_the_weights():
    assert licence_of("timm/resnet50.a1_in1k=file.bin", "resnet50") == "apache-2.0"
    assert licence_of("imagenet", "resnet18") == "bsd-3-clause"
    assert licence_of("runs/demo", "resnet18") is None


def test_labels_are_an_asset(version, drawings):
    labels = (version / "assets" / "labels.txt").read_text().splitlines()
    assert tuple(labels) == drawings.classes


def test_saved_model_cli_shows_the_signatures(version):
    output = subprocess.run(
        [
            sys.executable,
            "-m",
            "tensorflow.python.tools.saved_model_cli",
            *("show", "--dir", str(version), "--tag_set", "serve", "--all"),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    signature = output.split(f"signature_def['{BYTES_SIGNATURE}']")[1]
    signature = signature.split("signature_def[")[0]
    assert "inputs['image_bytes'] tensor_info" in signature
    assert "dtype: DT_STRING" in signature.split("outputs")[0]
    assert "outputs['classes'] tensor_info" in signature
    assert "shape: (-1, 5)" in signature
    assert f"signature_def['{FLOATS_SIGNATURE}']" in output
    assert "shape: (-1, -1, -1, 3)" in output


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_answers_in_a_session(version, validation, signatures):
    """As TF Serving loads it, which looks at no objects but only at the graph."""
    tf1 = tf.compat.v1
    images = np.array(validation[0][:4], object)
    expected = {
        name: signatures[name](image_bytes=tf.constant(images))
        for name in (BYTES_SIGNATURE, FEATURES_SIGNATURE)
    }
    with tf1.Session(graph=tf.Graph()) as session:
        graph = tf1.saved_model.loader.load(session, ["serve"], str(version))
        for name, values in expected.items():
            signature = graph.signature_def[name]
            outputs = {key: signature.outputs[key].name for key in values}
            fed = {signature.inputs["image_bytes"].name: images}
            answer = session.run(outputs, fed)
            for key, value in values.items():
                if value.dtype == tf.float32:
                    np.testing.assert_allclose(answer[key], value, rtol=1e-4)
                else:
                    np.testing.assert_array_equal(answer[key], value)


def test_predict_request_fits_the_signature(version, validation):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "resnet20"
    request.model_spec.signature_name = BYTES_SIGNATURE
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(validation[0][:2]))
    received = predict_pb2.PredictRequest.FromString(request.SerializeToString())

    graph = saved_model_pb2.SavedModel.FromString(
        (version / "saved_model.pb").read_bytes()
    ).meta_graphs[0]
    inputs = graph.signature_def[received.model_spec.signature_name].inputs
    assert set(inputs) == set(received.inputs)
    for name, tensor in received.inputs.items():
        assert tensor.dtype == inputs[name].dtype
        signature_shape = tf.TensorShape(inputs[name].tensor_shape)
        assert signature_shape.is_compatible_with(tensor.tensor_shape)


def test_versions_count_up_and_appear_whole(tiny_model, version):
    served = version.parent
    assert version.name == "1"
    assert pusher(tiny_model, served.parent) == version
    tiny_model.keras_path.touch()
    assert pusher(tiny_model, served.parent) == version
    kept, times = tiny_model.keras_path.read_bytes(), tiny_model.keras_path.stat()
    network = tiny_model.load_keras()
    network.set_weights([weight * 0.5 for weight in network.get_weights()])
    network.save(tiny_model.keras_path)
    os.utime(tiny_model.keras_path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert pusher(tiny_model, served.parent).name == "2"
    tiny_model.keras_path.write_bytes(kept)
    os.utime(tiny_model.keras_path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert pusher(tiny_model, served.parent).name == "3"
    left_over = [path for path in served.parent.iterdir() if path.name != "resnet20"]
    assert left_over == []


def test_versions_are_ascii_numbers_alone(tmp_path):
    for name in ("10", "2", "²", "٣", "1x", "-1", "next", ".partial-3"):
        (tmp_path / name).mkdir()
    assert versions(tmp_path) == [2, 10]


def test_local_model_says_what_the_signatures_say(version, validation, tmp_path):
    model = LocalModel.load(find_version(version.parents[2]))
    photo, note = tmp_path / "a photo's näme.jpg", tmp_path / "note.jpg"
    photo.write_bytes(validation[0][0])
    note.write_text("no image")
    paths = (str(photo), str(note), str(tmp_path / "missing.jpg"))
    (answers,) = model.answers(Images.listed(paths))
    problem, no_image, missing = answers.problems
    assert answers.paths == paths and problem is None
    assert "not a JPEG, PNG, GIF, BMP or WebP image" in no_image
    assert "cannot be read (No such file" in missing
    saved = tf.saved_model.load(str(version))
    encoded = tf.constant([validation[0][0]])
    told = saved.signatures[BYTES_SIGNATURE](image_bytes=encoded)
    best = answers.best[0]
    names = [model.classes[label].encode() for label in best]
    assert names == told["classes"][0].numpy().tolist()
    np.testing.assert_allclose(
        answers.probabilities[0, best], told["probabilities"][0], rtol=1e-5
    )
    told = saved.signatures[FEATURES_SIGNATURE](image_bytes=encoded)
    np.testing.assert_allclose(answers.features[0], told["features"][0], rtol=1e-5)
    with pytest.raises(UserError, match="holds no exported model"):
        find_version(tmp_path)
