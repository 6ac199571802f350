"""The test-suite of keras.applications, as installed, with our networks in its list.

Left out is `test_application_base`: it downloads ImageNet weights and a photo of an
elephant, and asks whether the network recognises it. That a model predicts and is
serialised, which is the rest of that test, is tested here with random weights.
"""

import keras
import numpy as np
import pytest

import keras_resnet

suite = pytest.importorskip("keras.src.applications.applications_test")

NETWORKS = {
    keras_resnet.ResNet18: 512,
    keras_resnet.ResNet34: 512,
    keras_resnet.ResNet50: 2048,
    keras_resnet.ResNet101: 2048,
    keras_resnet.ResNet152: 2048,
    keras_resnet.ResNet50V2: 2048,
    keras_resnet.ResNet101V2: 2048,
    keras_resnet.ResNet152V2: 2048,
    keras_resnet.PlainNet18: 512,
    keras_resnet.PlainNet34: 512,
}
DEEP = (
    keras_resnet.ResNet101,
    keras_resnet.ResNet152,
    keras_resnet.ResNet101V2,
    keras_resnet.ResNet152V2,
)
DOWNLOADS = "test_application_base"

# The suite's methods before they were multiplied by its own list of networks.
METHODS = {
    method.__wrapped__.__name__: method.__wrapped__
    for name, method in vars(suite.ApplicationsTest).items()
    if name.startswith("test_") and hasattr(method, "__wrapped__")
}


@pytest.fixture(autouse=True)
def data_format_stays():
    before = keras.config.image_data_format()
    yield
    keras.config.set_image_data_format(before)


def test_the_suite_is_the_one_we_know():
    assert set(METHODS) == {
        DOWNLOADS,
        "test_application_classifier_activation",
        "test_application_notop_custom_input_shape",
        "test_application_notop_custom_input_tensor",
        "test_application_notop_variable_input_channels",
        "test_application_pooling",
    }


# The data format is a matter of the layers, of which deep networks have the same.
CASES = [
    pytest.param(network, data_format, id=f"{network.__name__}-{data_format}")
    for network in NETWORKS
    for data_format in ("channels_last", "channels_first")
    if data_format == "channels_last" or network not in DEEP
]


@pytest.mark.parametrize(("network", "data_format"), CASES)
@pytest.mark.parametrize("method", sorted(set(METHODS) - {DOWNLOADS}))
def test_peers_suite(method, network, data_format, monkeypatch):
    # None of it looks at the weights, and zeros are drawn fastest.
    monkeypatch.setattr("keras_resnet.initializers.he_normal", keras.initializers.Zeros)
    case = suite.ApplicationsTest()
    case.setUp()
    METHODS[method](case, network, NETWORKS[network], keras_resnet, data_format)
    case.tearDown()


@pytest.mark.parametrize("network", [keras_resnet.ResNet18, keras_resnet.ResNet50V2])
def test_predicts_and_is_serialised(network):
    model = network(weights=None)
    image = np.random.default_rng(0).uniform(0, 255, (1, *model.input_shape[1:]))
    assert model.predict(image, verbose=0).shape == (1, 1000)
    config = keras.saving.serialize_keras_object(model)
    copy = keras.saving.deserialize_keras_object(config)
    assert len(copy.weights) == len(model.weights)
