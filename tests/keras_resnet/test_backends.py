"""The same networks on every backend; TensorFlow only where it is the backend."""

import json

import keras
import numpy as np
import pytest
from other_backend import answer_of

import keras_resnet

ANALYSES = """
def analyses(model, images):
    def first(scores):
        return keras.ops.mean(scores[:, 0])
    analysis = keras_resnet.analysis
    norms = analysis.layer_norms(model, images, first, ["conv1_conv", "predictions"])
    paths = analysis.path_gradients(model, images, first, lengths=[2], samples=1)
    kernel = keras.ops.convert_to_numpy(model.get_layer("conv1_conv").kernel)
    return [
        *norms.activations.tolist(),
        *(1e3 * norms.gradients).tolist(),
        *(1e3 * paths.norms[:, 0]).tolist(),
        *analysis.responses(model, images).stds.tolist(),
        *analysis.gradient_correlations(model, images)[0].tolist(),
        *analysis.hessian_extremes(lambda w: keras.ops.sum(w**3), [kernel], 2),
        float(analysis.drop_random(model, lambda n: len(n.layers), [1]).errors[0]),
    ]
"""

# Reads weights and images, trains a step, prints outputs and checks the file formats.
SCRIPT = """
import json, sys
import numpy as np
import keras
limit = sys.getrecursionlimit()
import keras_resnet
raised = sys.getrecursionlimit() - limit

folder = sys.argv[1]
arrays = np.load(f"{folder}/arrays.npz")
images = arrays["images"]
sizes = json.load(open(f"{folder}/sizes.json"))
small = {"weights": f"{folder}/resnet20.weights.h5", **sizes["resnet20"]}
model = keras_resnet.ResNet20(**small)
outputs = keras.ops.convert_to_numpy(model(images))
maps = keras_resnet.analysis.grad_cam(model, images, stage="conv3")

keras.config.set_image_data_format("channels_first")
first = keras_resnet.ResNet20(**small)
first_outputs = keras.ops.convert_to_numpy(first(images.transpose(0, 3, 1, 2)))
first_maps = keras_resnet.analysis.grad_cam(
    first, images.transpose(0, 3, 1, 2), stage="conv3"
)
counts = [keras_resnet.analysis.cost(net).multiply_adds for net in (model, first)]
keras.config.set_image_data_format("channels_last")

bottleneck = keras_resnet.ResNet50(
    weights=f"{folder}/resnet50.weights.h5", **sizes["resnet50"]
)
bottleneck_outputs = keras.ops.convert_to_numpy(bottleneck(arrays["large"]))

model.compile("sgd", "sparse_categorical_crossentropy")
before = model.get_weights()
loss = model.train_on_batch(images, np.arange(len(images)))
moved = sum(not np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
# From here on Keras itself imports TensorFlow where it is installed, to write files.
tensorflow = "tensorflow" in sys.modules
analysed = analyses(keras_resnet.ResNet20(**small), images)
model.save(f"{folder}/trained-{keras.backend.backend()}.keras")
again = keras.saving.load_model(f"{folder}/trained-{keras.backend.backend()}.keras")
same = all(map(np.array_equal, model.get_weights(), again.get_weights()))
print(json.dumps({
    "tensorflow": tensorflow, "raised": raised,
    "outputs": outputs.tolist(), "first_outputs": first_outputs.tolist(),
    "bottleneck_outputs": bottleneck_outputs.tolist(), "counts": counts,
    "analysed": analysed, "maps": maps.tolist(), "first_maps": first_maps.tolist(),
    "loss": float(loss), "moved": moved, "weights": len(before), "same": same,
}))
"""


SIZES = {
    "resnet20": {"blocks_per_stage": (1, 1, 1)},
    # Odd sizes show any difference in padding.
    "resnet50": {
        "filters": (8, 16, 16, 16),
        "blocks_per_stage": (2, 1, 1, 1),
        "input_shape": (73, 57, 3),
        "classes": 3,
    },
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backends")
    (folder / "sizes.json").write_text(json.dumps(SIZES))
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, 32, 32, 3)).astype("float32")
    large = rng.standard_normal((1, 73, 57, 3)).astype("float32")
    np.savez(folder / "arrays.npz", images=images, large=large)
    keras.utils.set_random_seed(0)
    small = keras_resnet.ResNet20(**SIZES["resnet20"])
    small.save_weights(folder / "resnet20.weights.h5")
    deep = keras_resnet.ResNet50(weights=None, **SIZES["resnet50"])
    deep.save_weights(folder / "resnet50.weights.h5")
    maps = keras_resnet.analysis.grad_cam(small, images, stage="conv3")
    names = {"keras": keras, "keras_resnet": keras_resnet}
    exec(ANALYSES, names)
    analysed = names["analyses"](small, images)
    multiply_adds = keras_resnet.analysis.cost(small).multiply_adds
    outputs, bottleneck_outputs = small(images).numpy(), deep(large).numpy()
    return folder, outputs, bottleneck_outputs, maps, analysed, multiply_adds


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backend(reference, backend):
    folder, outputs, bottleneck_outputs, maps, analysed, multiply_adds = reference

    answer = answer_of(ANALYSES + SCRIPT, backend, folder)
    assert not answer["tensorflow"]
    # Importing leaves Python's recursion limit alone.
    assert answer["raised"] == 0
    np.testing.assert_allclose(answer["outputs"], outputs, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(answer["first_outputs"], outputs, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        answer["bottleneck_outputs"], bottleneck_outputs, rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(answer["maps"], maps, atol=1e-3)
    np.testing.assert_allclose(answer["analysed"], analysed, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(answer["first_maps"], maps, atol=1e-3)
    assert answer["counts"] == [multiply_adds] * 2
    assert np.isfinite(answer["loss"])
    # All weights move but the moving averages that happen to stay.
    assert answer["moved"] > 0.9 * answer["weights"]
    assert answer["same"]
