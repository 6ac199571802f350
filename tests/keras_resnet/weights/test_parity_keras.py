"""Logits and features of keras.applications and KerasHub, through their own files."""

import h5py
import keras
import parity
import pytest
from parity import LARGE, SMALL, TINY, slow

import keras_resnet
from keras_resnet.weights.importing import load_file

# Our network, the function of keras.applications, the images' size, the file.
APPLICATIONS = [
    ("resnet50", "ResNet50", LARGE, "peer.weights.h5"),
    ("resnet50", "ResNet50", SMALL, "peer.keras"),
    slow("resnet101", "ResNet101", TINY, "peer.h5"),
    slow("resnet152", "ResNet152", TINY, "peer.h5"),
    ("resnet50v2", "ResNet50V2", LARGE, "peer.h5"),
    slow("resnet101v2", "ResNet101V2", TINY, "peer.weights.h5"),
    slow("resnet152v2", "ResNet152V2", TINY, "peer.h5"),
]

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
_BLOCKS |= {101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}

# Our network, its depth, KerasHub's kind, the images' size.
KERAS_HUB = [
    ("resnet18", 18, "v1", LARGE),
    ("resnet34", 34, "v1", SMALL),
    ("resnet50_v1_5", 50, "v1", SMALL),
    slow("resnet101_v1_5", 101, "v1", TINY),
    slow("resnet152_v1_5", 152, "v1", TINY),
    ("preresnet18", 18, "v2", LARGE),
    ("preresnet34", 34, "v2", SMALL),
    ("preresnet50", 50, "v2", SMALL),
    slow("preresnet101", 101, "v2", TINY),
    slow("preresnet152", 152, "v2", TINY),
    ("resnet_vd_18", 18, "vd", LARGE),
    ("resnet_vd_34", 34, "vd", SMALL),
    ("resnet_vd_50", 50, "vd", SMALL),
    slow("resnet_vd_101", 101, "vd", TINY),
    slow("resnet_vd_152", 152, "vd", TINY),
    slow("resnet_vd_200", 200, "vd", TINY),
]


def _arrays(outputs):
    return [keras.ops.convert_to_numpy(output) for output in outputs]


def _application(function, size, **options):
    peer = getattr(keras.applications, function)(
        weights=None, input_shape=(*size, 3), classifier_activation=None, **options
    )
    parity.randomize_keras(peer)
    return peer


@pytest.mark.parametrize(("network", "function", "size", "file"), APPLICATIONS)
def test_applications(tmp_path, network, function, size, file):
    peer = _application(function, size)
    path = tmp_path / file
    peer.save_weights(path) if file.endswith(".weights.h5") else peer.save(path)
    images = parity.random_images(*size)
    parity.assert_same_outputs(
        parity.ours(network, path)(images), _arrays(parity.every_output(peer)(images))
    )


@pytest.mark.parametrize("function", ["ResNet50", "ResNet50V2"])
def test_published_files_of_applications(tmp_path, function):
    """Their layout by key and shape: Keras 2 wrote `:0`, and "probs" for the head."""
    peer = _application(function, SMALL)
    saved = tmp_path / "saved.h5"
    published = tmp_path / "published.h5"
    peer.save(saved)
    with h5py.File(saved) as source, h5py.File(published, "w") as target:
        for layer in source["model_weights"]:
            name = "probs" if layer == "predictions" else layer
            group = target.create_group(name)
            for variable, array in (
                source["model_weights"][layer].get(layer, {}).items()
            ):
                group[f"{name}/{variable}:0"] = array[()]
    images = parity.random_images(*SMALL)
    network = function.lower()
    parity.assert_same_outputs(
        parity.ours(network, published)(images),
        _arrays(parity.every_output(peer)(images)),
    )


def test_headless_applications(tmp_path):
    """A "notop" file into a model without top, and not into one with it."""
    peer = keras.applications.ResNet50(
        weights=None, include_top=False, pooling="max", input_shape=(*SMALL, 3)
    )
    parity.randomize_keras(peer)
    path = tmp_path / "notop.weights.h5"
    peer.save_weights(path)
    model = keras_resnet.create("resnet50", include_top=False, pooling="max")
    load_file(model, path)
    images = parity.random_images(*SMALL)
    parity.assert_same_outputs([model(images)], _arrays([peer(images)]))
    with pytest.raises(ValueError, match=r"lacks predictions/kernel.*`new_head=True`"):
        load_file(keras_resnet.create("resnet50"), path)


@pytest.mark.parametrize("layout", [None, "keras"])
def test_epsilon_of_applications(tmp_path, layout):
    """Where a variance is nothing beside it, the epsilon's 0.1% show."""
    peer = _application("ResNet50V2", SMALL)
    for variable in peer.weights:
        if variable.path.endswith("moving_variance"):
            variable.assign(1e-9 * keras.ops.ones(variable.shape))
        elif variable.path.endswith("gamma"):
            variable.assign(2e-3 * keras.ops.ones(variable.shape))
    path = tmp_path / "peer.weights.h5"
    peer.save_weights(path)
    model = keras_resnet.create("resnet50v2", include_top=False)
    load_file(model, path, layout=layout)
    variance = model.get_layer("conv2_block1_preact_bn").moving_variance
    # float32 holds the sum to 7 digits.
    assert keras.ops.convert_to_numpy(variance) == pytest.approx(1.1e-8, rel=1e-6)
    images = parity.random_images(*SMALL)
    peer = keras.Model(peer.input, peer.get_layer("post_relu").output)
    parity.assert_same_outputs([model(images)], _arrays([peer(images)]))


def _keras_hub_backbone(keras_hub, depth, kind):
    convolutions = ([32, 32, 64], [3, 3, 3]) if kind == "vd" else ([64], [7])
    block = "basic_block" if depth < 50 else "bottleneck_block"
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=convolutions[0],
        input_conv_kernel_sizes=convolutions[1],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=list(_BLOCKS[depth]),
        stackwise_num_strides=[1, 2, 2, 2],
        block_type=f"{block}_vd" if kind == "vd" else block,
        use_pre_activation=kind == "v2",
    )


@pytest.mark.parametrize(("network", "depth", "kind", "size"), KERAS_HUB)
def test_keras_hub(tmp_path, network, depth, kind, size):
    keras_hub = pytest.importorskip("keras_hub")
    backbone = _keras_hub_backbone(keras_hub, depth, kind)
    peer = keras_hub.models.ResNetImageClassifier(backbone=backbone, num_classes=7)
    parity.randomize_keras(peer)
    peer.save_to_preset(str(tmp_path))
    images = parity.random_images(*size)
    features = backbone(images)
    expected = _arrays([features, peer.pooler(features), peer(images)])
    parity.assert_same_outputs(
        parity.ours(network, tmp_path, classes=7)(images), expected
    )


def test_keras_hub_backbone(tmp_path):
    """A preset without a head, and a file that `save_weights` wrote."""
    keras_hub = pytest.importorskip("keras_hub")
    peer = _keras_hub_backbone(keras_hub, 18, "v2")
    parity.randomize_keras(peer)
    preset = tmp_path / "preset"
    peer.save_to_preset(str(preset))
    file = tmp_path / "backbone.weights.h5"
    peer.save_weights(file)
    images = parity.random_images(*SMALL)
    expected = _arrays([peer(images)])
    for path in (preset, file):
        model = keras_resnet.create("preresnet18", include_top=False)
        load_file(model, path)
        parity.assert_same_outputs([model(images)], expected)


@pytest.mark.parametrize("change", [None, "folded"])
def test_image_encoder_of_keras_hub(change):
    """Ours is taken where KerasHub's own is, and gives it the same levels."""
    keras_hub = pytest.importorskip("keras_hub")
    small = {"filters": (4, 8, 8, 16), "blocks_per_stage": (1, 1, 1, 1)}
    ours = keras_resnet.create("resnet18", include_top=False, **small)
    if change:
        ours = keras_resnet.surgery.fold_batch_norm(ours)
    detector = keras_hub.models.RetinaNetBackbone(
        image_encoder=ours, min_level=3, max_level=5, use_p5=False
    )
    images = parity.random_images(64, 64)
    shapes = {level: values.shape[1:3] for level, values in detector(images).items()}
    assert shapes == {"P3": (8, 8), "P4": (4, 4), "P5": (2, 2)}

    theirs = _keras_hub_backbone(keras_hub, 18, "v1")
    assert list(ours.pyramid_outputs) == list(theirs.pyramid_outputs)
    levels = keras.Model(ours.input, dict(ours.pyramid_outputs))(images)
    wanted = keras.Model(theirs.input, dict(theirs.pyramid_outputs))(images)
    for level, values in wanted.items():
        assert levels[level].shape[:3] == values.shape[:3]
