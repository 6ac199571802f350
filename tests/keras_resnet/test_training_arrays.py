"""Training on arrays, on every backend, and the views of images in numpy."""

import contextlib
import dataclasses
import json
import warnings

import keras
import numpy as np
import pytest
from other_backend import answer_of
from PIL import Image

import keras_resnet
from keras_resnet import Settings
from keras_resnet.arrays import __main__ as command
from keras_resnet.arrays.fit import TrainingBatches, fit_arrays
from keras_resnet.arrays.trainee import Trainee
from keras_resnet.arrays.views import KERNELS, MEAN_COLOUR, Augmentation, Frame
from keras_resnet.preprocessing import Preprocessing, preprocess_input
from keras_resnet.training import RECIPES, Recipe, augmentation
from keras_resnet.weights import LocatedWeights

MEAN = np.array([123.675, 116.28, 103.53])
STD = np.array([58.395, 57.12, 57.375])
CLASSES = 3
SIZE = 16
TINY = dataclasses.replace(
    keras_resnet.NETWORKS["resnet20"],
    name="tiny",
    filters=(4, 8),
    blocks_per_stage=(1, 1),
    input_size=SIZE,
    classes=CLASSES,
)
# Few steps: what backends round otherwise grows from step to step.
STEPS = Recipe(
    name="steps",
    source="",
    epochs=2,
    batch_size=16,
    learning_rate=0.05,
    schedule="cosine",
    augmentation="pad_crop(2)|flip",
    label_smoothing=0.1,
    ema=0.7,
)

# As where TensorFlow is not installed: Keras itself imports it where it is.
SCRIPT = """
import sys
sys.modules["tensorflow"] = None
import dataclasses, json
import keras, numpy as np
import keras_resnet
from keras_resnet.training import Recipe
from keras_resnet.arrays import fit_arrays

folder = sys.argv[1]
arrays = np.load(f"{folder}/arrays.npz")
images, labels = arrays["images"], arrays["labels"]
spec = keras_resnet.ResNetSpec(**json.load(open(f"{folder}/spec.json")))
steps = Recipe.from_json(json.load(open(f"{folder}/recipe.json")))
backend = keras.backend.backend()

def trained(recipe, count, **options):
    model = keras_resnet.build(spec, input_shape=(16, 16, 3))
    model.load_weights(f"{folder}/initial.weights.h5")
    fit_arrays(model, recipe, images[:count], labels[:count], verbose=0, **options)
    return model.get_weights()

def save(name, weights):
    np.savez(f"{folder}/{backend}-{name}.npz", *weights)

save("steps", trained(steps, 40))
learns = dataclasses.replace(
    steps, epochs=6, ema=0.0, augmentation="pad_crop(2)|flip|mixup(0.1)",
    learning_rate=0.1, clip_norm=5.0, test_flip=True,
)
if backend == "jax":
    learns = dataclasses.replace(
        learns, precision="bfloat16", train_size=12, final_train_size=16,
        size_ramp=(0.2, 0.2),
    )
validation = images[200:], labels[200:]
fitted = fit_arrays(
    spec, learns, images[:200], labels[:200], validation=validation, verbose=0
)
answer = {"top1": fitted.history.history["val_top1"]}
if backend == "jax":
    answer["devices"] = len(keras.distribution.list_devices())
    save("devices", trained(steps, 40, distribution="data_parallel"))
    drops = dataclasses.replace(
        steps, ema=0.0, momentum=0.0, schedule="plateau", patience=1, drop_factor=1e-6
    )
    # The validation error cannot fall.
    wrong = images[:16], (labels[:16] + 1) % 3
    kernels = []
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: kernels.append(keep.model.get_weights()[0])
    )
    trained(
        dataclasses.replace(drops, epochs=4), 32, validation=wrong, callbacks=[keep]
    )
    save("plateau", kernels)
answer["tensorflow"] = any(name.startswith("tensorflow.") for name in sys.modules)
print(json.dumps(answer))
"""


def drawings(count):
    """A bright bar on noise of random brightness; the class is the bar's direction."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % CLASSES
    images = rng.integers(0, 60, (count, SIZE, SIZE, 3))
    images += rng.integers(0, 100, (count, 1, 1, 3))
    across = np.arange(4, 12)
    for image, label in zip(images, labels, strict=True):
        middle = rng.integers(6, 10)
        rows = [middle, across, across][label]
        columns = [across, middle, across][label]
        image[rows, columns] = 255
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def images_and_labels():
    return drawings(240)


@pytest.fixture(scope="module")
def initial():
    keras.utils.set_random_seed(0)
    return keras_resnet.build(TINY, input_shape=(SIZE, SIZE, 3)).get_weights()


def tiny(weights):
    model = keras_resnet.build(TINY, input_shape=(SIZE, SIZE, 3))
    model.set_weights(weights)
    return model


def normalised(images):
    return ((images - MEAN) / STD).astype(np.float32)


class Recorder(keras.callbacks.Callback):
    """Notes the network's weights after each step."""

    def on_train_begin(self, logs=None):
        self.weights = []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(self.model.network.get_weights())


@pytest.fixture(scope="module")
def steps(images_and_labels, initial):
    """The recipe's steps on this process' backend, TensorFlow."""
    images, labels = images_and_labels
    recorder = Recorder()
    fitted = fit_arrays(
        tiny(initial),
        STEPS,
        images[:40],
        labels[:40],
        validation=(images[200:], labels[200:]),
        callbacks=[recorder],
        verbose=0,
    )
    return fitted, recorder.weights


def test_averages_are_those_of_the_weights_after_each_step(steps, initial):
    fitted, weights = steps
    averages = initial
    for update, after in enumerate(weights, start=1):
        kept = min(0.7, (1 + update) / (10 + update))
        averages = [
            kept * a + (1 - kept) * w for a, w in zip(averages, after, strict=True)
        ]
    assert len(weights) == 4
    for ours, truth in zip(fitted.model.get_weights(), averages, strict=True):
        np.testing.assert_allclose(ours, truth, rtol=1e-4, atol=1e-6)
    assert any(
        np.abs(a - w).max() > 1e-3 for a, w in zip(averages, weights[-1], strict=True)
    )


def test_validation_is_of_what_is_returned_and_of_every_image(steps, images_and_labels):
    fitted, _ = steps
    images, labels = (array[200:] for array in images_and_labels)
    probabilities = fitted.model.predict(normalised(images), verbose=0)
    own = probabilities[np.arange(len(labels)), labels]
    logs = fitted.history.history
    np.testing.assert_allclose(logs["val_loss"][-1], -np.log(own).mean(), rtol=1e-4)
    top1 = np.mean(probabilities.argmax(axis=1) == labels)
    np.testing.assert_allclose(logs["val_top1"][-1], top1, rtol=1e-6)
    assert "top5" not in logs and "val_top5" not in logs, "there are few classes"


def test_parts_of_a_batch_add_up(images_and_labels, initial):
    images, labels = images_and_labels
    # Neither views nor batch norms depend on the parts.
    whole = dataclasses.replace(
        STEPS, augmentation="center", batch_norm="frozen", epochs=1
    )
    results = []
    for accumulate in (1, 2):
        recipe = dataclasses.replace(whole, accumulate=accumulate)
        fitted = fit_arrays(tiny(initial), recipe, images[:32], labels[:32], verbose=0)
        results.append(fitted.model.get_weights())
    for whole_batch, parts in zip(*results, strict=True):
        np.testing.assert_allclose(parts, whole_batch, rtol=1e-4, atol=1e-6)
    assert any(
        np.abs(a - b).max() > 1e-3 for a, b in zip(results[0], initial, strict=True)
    )


def test_flipped_evaluation_averages_logits(images_and_labels, initial):
    images = images_and_labels[0][:5]
    model = tiny(initial)
    trainee = Trainee(model, dataclasses.replace(STEPS, ema=0.0, test_flip=True))
    shares = [
        model.predict(normalised(view), verbose=0)
        for view in (images, images[:, :, ::-1])
    ]
    answer = keras.ops.softmax(trainee(images, training=False))
    # Softmax of mean logits: the geometric mean of the shares, scaled to sum to one.
    expected = np.sqrt(np.prod(shares, axis=0))
    expected /= expected.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backend(backend, steps, images_and_labels, initial, tmp_path):
    images, labels = images_and_labels
    np.savez(tmp_path / "arrays.npz", images=images, labels=labels)
    tiny(initial).save_weights(tmp_path / "initial.weights.h5")
    for name, value in (("spec", TINY), ("recipe", STEPS)):
        (tmp_path / f"{name}.json").write_text(json.dumps(dataclasses.asdict(value)))
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    answer = answer_of(SCRIPT, backend, tmp_path, variables=devices)
    assert not answer["tensorflow"]
    # Chance is a third.
    assert answer["top1"][-1] > 0.6

    def weights(name):
        with np.load(tmp_path / f"{backend}-{name}.npz") as arrays:
            return [arrays[f"arr_{n}"] for n in range(len(arrays.files))]

    # Each sum of up to 16 x 16 x 16 products of a batch is rounded in another order,
    # to about sqrt(4096) x 2**-24 of its terms; four steps pass it on.
    close = {"rtol": 1e-4, "atol": 1e-5}
    for ours, truth in zip(weights("steps"), steps[0].model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, truth, **close)
    if backend == "jax":
        assert answer["devices"] == 4
        for ours, truth in zip(weights("devices"), weights("steps"), strict=True):
            np.testing.assert_allclose(ours, truth, **close)
        # The first convolution's kernel after each epoch; the rate drops after two.
        first, second, _, fourth = weights("plateau")
        assert np.abs(second - first).max() > 1e-3
        np.testing.assert_allclose(fourth, second, atol=1e-5)


# What goes into the model, the loss and the files.


def test_pixels_are_normalised_once(initial):
    """Whoever does it, and wherever: within a nested model too."""
    pixels = drawings(4)[0].astype("float32")
    how = Preprocessing((0.4, 0.5, 0.6), (0.2, 0.2, 0.2), channels="bgr")
    network = keras_resnet.build(TINY, input_shape=(SIZE, SIZE, 3))
    inside = keras_resnet.build(TINY, input_shape=(SIZE, SIZE, 3), preprocessing=how)
    for model in (network, inside):
        model.set_weights(initial)
    rescaling = keras.layers.Rescaling(1 / 51, [-2.0, -2.5, -3.0])
    told = keras_resnet.build(TINY, input_shape=(SIZE, SIZE, 3))
    told.set_weights(initial)
    told.preset = LocatedWeights("", "", preprocessing=how)
    expected = network(preprocess_input(pixels, mode=how))
    for model, images in (
        (_wrapped(inside), pixels),
        (_wrapped(keras.Sequential([rescaling, network])), pixels[..., ::-1]),
        (_wrapped(told), pixels),
        (told, pixels),
    ):
        logits = Trainee(model, STEPS)(images)
        np.testing.assert_allclose(keras.ops.softmax(logits), expected, atol=1e-5)
    # A copy has lost what it wants, and would be trained on something else.
    copied = keras.models.clone_model(told)
    with pytest.raises(ValueError, match="wants its pixels.*pass `preprocessing`"):
        Trainee(copied, STEPS)
    copied.set_weights(initial)
    logits = Trainee(copied, STEPS, how)(pixels)
    np.testing.assert_allclose(keras.ops.softmax(logits), expected, atol=1e-5)


def _wrapped(model):
    """A classifier that gives the probabilities of the one within."""
    inputs = keras.Input((SIZE, SIZE, 3))
    logits = keras.ops.log(model(inputs))
    head = keras.layers.Dense(CLASSES, activation="softmax", kernel_initializer=_EYE)
    return keras.Model(inputs, head(logits))


_EYE = keras.initializers.Identity()


def test_regularizers_are_part_of_the_loss(images_and_labels, initial):
    images, labels = (array[:16] for array in images_and_labels)
    settings = Settings(kernel_regularizer=keras.regularizers.L2(0.01))
    losses = []
    for options in ({}, {"settings": settings}):
        model = keras_resnet.build(TINY, input_shape=(SIZE, SIZE, 3), **options)
        model.set_weights(initial)
        trainee = Trainee(model, STEPS)
        logits = trainee(images, training=True)
        losses += [
            float(trainee.compute_loss(images, labels, logits, training=training))
            for training in (True, False)
        ]
    penalty = 0.01 * sum((w**2).sum() for w in initial if w.ndim == 4)
    np.testing.assert_allclose(losses[2] - losses[0], penalty, rtol=1e-4)
    assert losses[1] == losses[3]


def test_checkpoints_are_of_the_training(images_and_labels, initial, tmp_path):
    images, labels = (array[:32] for array in images_and_labels)
    checkpoint = keras.callbacks.ModelCheckpoint
    callbacks = [
        checkpoint(tmp_path / "{epoch}.keras"),
        checkpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True),
    ]
    model = tiny(initial)
    fit_arrays(model, STEPS, images, labels, callbacks=callbacks, verbose=0)
    saved = [keras.saving.load_model(tmp_path / f"{epoch}.keras") for epoch in (1, 2)]
    weights = tiny(initial)
    weights.load_weights(tmp_path / "2.weights.h5")
    for ours, theirs, truth in zip(
        *(one.get_weights() for one in (saved[1], weights, model)), strict=True
    ):
        np.testing.assert_array_equal(ours, truth)
        np.testing.assert_array_equal(theirs, truth)
    np.testing.assert_allclose(
        saved[1](normalised(images)), model(normalised(images)), atol=1e-6
    )
    first, last = (one.get_weights()[0] for one in saved)
    assert np.abs(first - last).max() > 1e-3


def test_images_as_small_as_the_views_stay_whole(images_and_labels, initial):
    """What is no larger than the network wants is neither enlarged nor cropped."""
    images, labels = (array[:32] for array in images_and_labels)
    recipe = dataclasses.replace(STEPS, epochs=1, ema=0.0, resize_ratio=8 / 7)
    model = tiny(initial)
    fitted = fit_arrays(
        model, recipe, images, labels, validation=(images, labels), verbose=0
    )
    shares = model.predict(normalised(images), verbose=0)
    expected = -np.log(shares[np.arange(32), labels]).mean()
    np.testing.assert_allclose(fitted.history.history["val_loss"], expected, rtol=1e-4)


@pytest.mark.parametrize(("name", "count"), [("finetune", 1), ("finetune_cifar", 0)])
def test_small_images_are_not_enlarged_without_a_word(name, count, initial):
    recipe = dataclasses.replace(RECIPES[name], frozen_stages=())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="do not fill one batch"):
            fit_arrays(tiny(initial), recipe, *drawings(8), verbose=0)
    sentences = [str(one.message) for one in caught]
    assert sum("enlarges parts" in sentence for sentence in sentences) == count


# What cannot be trained.


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"augmentation": "center|randaugment"}, {}, "pipelines.train_imagenet"),
        ({"batch_size": 64}, {}, "do not fill one batch"),
        ({"schedule": "plateau"}, {}, "pass `validation`"),
        ({}, {"distribution": "data_parallel"}, "KERAS_BACKEND=jax"),
        ({}, {"labels": np.zeros(39, int)}, "40 integers"),
        ({}, {"labels": np.full(40, 3)}, "classes=4"),
        ({}, {"images": np.zeros((40, SIZE, SIZE, 3), "float32")}, "uint8"),
        ({}, {"weights": "imagenet"}, "load_weights"),
        ({}, {"callbacks": [keras.callbacks.ReduceLROnPlateau()]}, "is the recipe's"),
        (
            {},
            {"callbacks": [keras.callbacks.LearningRateScheduler(float)]},
            "LearningRateScheduler cannot .* choose `schedule`",
        ),
        ({}, {"callbacks": [keras.callbacks.BackupAndRestore("x")]}, "cannot resume"),
    ],
)
def test_refused(changes, options, message, images_and_labels, initial):
    images, labels = (array[:40] for array in images_and_labels)
    arguments = {"images": images, "labels": labels, **options}
    recipe = dataclasses.replace(STEPS, **changes)
    with pytest.raises(ValueError, match=message):
        fit_arrays(tiny(initial), recipe, verbose=0, **arguments)


# Batches.


def batches(seed=0, text="pad_crop(2)|flip|mixup(1)", batch_size=4):
    images, labels = drawings(20)
    return TrainingBatches(
        images, labels, Augmentation.parse(text), CLASSES, batch_size, seed
    )


def test_random_layers_are_not_frozen(images_and_labels):
    images, labels = (array[:40] for array in images_and_labels)
    recipe = dataclasses.replace(STEPS, frozen_stages=("conv1",))
    with pytest.raises(ValueError, match="layers of conv1 .* pass `weights`"):
        fit_arrays(TINY, recipe, images, labels, verbose=0)


@pytest.mark.parametrize("rate", ["0.05", "1e30"])
def test_what_diverged_is_not_saved(rate, images_and_labels, tmp_path):
    images, labels = images_and_labels
    np.savez(tmp_path / "some.npz", images=images[:32], labels=labels[:32])
    output = tmp_path / "model.keras"
    arguments = [
        f"--images={tmp_path}/some.npz",
        f"--output={output}",
        "--set=epochs=2",
    ]
    arguments += [f"--set=learning_rate={rate}", "--set=batch_size=16"]
    arguments += ["--set=model.filters=4,4,4", "--set=model.blocks_per_stage=1,1,1"]
    ends = rate == "0.05"
    with contextlib.nullcontext() if ends else pytest.raises(SystemExit, match="lower"):
        command.main(arguments)
    assert list(tmp_path.glob("*.keras")) == ([output] if ends else [])


def test_a_batch_is_a_function_of_seed_epoch_and_index():
    frame = Frame(SIZE, SIZE)
    keys = [(epoch, index) for epoch in range(3) for index in range(5)]
    forwards, backwards = batches(), batches()
    first = {key: forwards.batch(*key, frame) for key in keys}
    second = {key: backwards.batch(*key, frame) for key in reversed(keys)}
    for key in keys:
        for ours, truth in zip(first[key], second[key], strict=True):
            np.testing.assert_array_equal(ours, truth)
    others = [first[1, 0], first[0, 1], batches(seed=1).batch(0, 0, frame)]
    for other in others:
        assert not np.array_equal(first[0, 0][0], other[0])


@pytest.mark.parametrize("repeats", [1, 2])
def test_an_epoch_shows_every_image_as_often(repeats):
    shown = batches(text=f"center|repeat({repeats})")
    views = [shown.batch(0, index, Frame(SIZE, SIZE))[0] for index in range(5)]
    _, counts = np.unique(np.concatenate(views), axis=0, return_counts=True)
    assert counts.tolist() == [repeats] * (20 // repeats)


# Views, against Pillow, torchvision and numpy.


def augmented(text, images, frame, labels=None, seed=0):
    labels = np.zeros(len(images), int) if labels is None else labels
    rng = np.random.default_rng(seed)
    return Augmentation.parse(text)(images, labels, len(images), rng, frame)


def noise(*shape):
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("shape", [(40, 51), (51, 40), (32, 32)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_center_is_torchvisions(torchvision, shape, interpolation):
    from torchvision.transforms import v2

    images = noise(2, *shape, 3)
    views, _ = augmented("center", images, Frame(24, 28, interpolation))
    theirs = v2.Compose(
        [v2.Resize(28, v2.InterpolationMode(interpolation)), v2.CenterCrop(24)]
    )
    for ours, image in zip(views, images, strict=True):
        np.testing.assert_array_equal(ours, theirs(Image.fromarray(image)))


def test_pad_crop_shows_every_window():
    image = noise(SIZE, SIZE, 3)
    views, _ = augmented("pad_crop(1)", np.stack([image] * 200), Frame(SIZE, SIZE))
    padded = np.empty((SIZE + 2, SIZE + 2, 3), np.uint8)
    padded[:] = MEAN_COLOUR
    padded[1:-1, 1:-1] = image
    windows = [padded[t : t + SIZE, x : x + SIZE] for t in range(3) for x in range(3)]
    shown = [
        next(n for n, window in enumerate(windows) if np.array_equal(view, window))
        for view in views
    ]
    assert set(shown) == set(range(9))


def test_flip_mirrors_half():
    images = noise(400, 4, 5, 3)
    views, _ = augmented("center|flip", images[:, :, :4], Frame(4, 4))
    mirrored = [
        np.array_equal(view, image[:, ::-1])
        for view, image in zip(views, images[:, :, :4], strict=True)
    ]
    # Five standard deviations of 400 tosses.
    assert abs(np.mean(mirrored) - 0.5) < 5 * 0.5 / 20
    for view, image, is_mirrored in zip(views, images[:, :, :4], mirrored, strict=True):
        assert is_mirrored or np.array_equal(view, image)


def test_scale_jitter_crop_is_a_crop_of_the_scaled_image():
    image = noise(30, 41, 3)
    # 256 and 480 at 224 are 32 and 60 at 28.
    views, _ = augmented("scale_jitter_crop", np.stack([image] * 8), Frame(28, 32))
    lengths = set()
    for view in views.astype(int):
        found = [
            length
            for length in range(32, 61)
            if is_crop(view, scaled(image, length * 41 // 30, length))
        ]
        assert found
        lengths.update(found)
    assert len(lengths) > 4


def scaled(image, width, height):
    picture = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture).astype(int)


def is_crop(view, image):
    size = len(view)
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size, 3))
    # Pillow has the edges of a box in float32; other windows are 80 levels away.
    return bool((np.abs(windows - view).mean(axis=(-3, -2, -1)) < 0.5).any())


def test_inception_crop_draws_as_torchvision(torchvision):
    import torch
    from torchvision.transforms import RandomResizedCrop

    shape, count = (50, 90), 4000
    draw = KERNELS[augmentation.InceptionCrop].draw
    rng = np.random.default_rng(0)
    ours = draw(augmentation.InceptionCrop(), rng, (count, *shape, 3), Frame(24, 24))
    torch.manual_seed(0)
    picture = Image.fromarray(noise(*shape, 3))
    theirs = np.array(
        [
            RandomResizedCrop.get_params(picture, (0.08, 1.0), (3 / 4, 4 / 3))
            for _ in range(count)
        ]
    )
    assert np.all(ours[:, :2] >= 0)
    assert np.all(ours[:, :2] + ours[:, 2:] <= shape)
    shares = np.linspace(0.05, 0.95, 10)
    for column in range(4):
        quantiles = [np.quantile(w[:, column], shares) for w in (ours, theirs)]
        # Three pixels are over five standard errors of a quantile of 4,000.
        np.testing.assert_allclose(*quantiles, atol=3)


def test_inception_crop_scales_the_window():
    image = noise(30, 41, 3)
    window = np.array([[3, 5, 20, 25]])
    apply = KERNELS[augmentation.InceptionCrop].apply
    views = apply(image[None], window, Frame(12, 12))
    np.testing.assert_array_equal(views[0], scaled(image[3:23, 5:30], 12, 12))


def test_pca_colour_has_the_covariance_of_its_components():
    images = np.full((4000, 1, 1, 3), 128, np.uint8)
    views, _ = augmented("center|pca_colour(0.2)", images, Frame(1, 1))
    vectors = np.array(augmentation.EIGENVECTORS)
    deviations = 0.2 * np.array(augmentation.EIGENVALUES)
    truth = vectors @ np.diag(deviations**2) @ vectors.T
    shifts = views[:, 0, 0].astype(float) - 128
    np.testing.assert_allclose(np.cov(shifts.T), truth, rtol=0.12, atol=1)
    assert np.abs(shifts.mean(axis=0)).max() < 0.6


@pytest.mark.parametrize("text", ["mixup(1)", "cutmix(1)", "mixup_or_cutmix(1,1)"])
def test_labels_are_mixed_as_the_pixels_are(text):
    count = 64
    levels = np.random.default_rng(2).permutation(count) * 4
    images = np.zeros((count, 8, 8, 3), np.uint8) + levels[:, None, None, None]
    images = images.astype(np.uint8)
    mixed, labels = augmented(
        f"center|{text}", images, Frame(8, 8), labels=np.arange(count)
    )
    assert labels.dtype == np.float32
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    # Each image with the one before it, and no other.
    assert np.all(np.count_nonzero(labels, axis=1) <= 2)
    np.testing.assert_allclose(mixed.mean(axis=(1, 2, 3)), labels @ levels, atol=0.51)
    assert np.mean(labels.max(axis=1) < 0.95) > 0.5


@pytest.mark.parametrize("repeats", [3, 4])
@pytest.mark.parametrize("text", ["mixup(1)", "cutmix(1)"])
def test_repeated_views_are_mixed_with_other_images(text, repeats):
    """Also where a batch begins and ends amid an image's views."""
    numbers = (np.arange(50) + 2) // repeats
    _, labels = augmented(
        f"center|{text}|repeat({repeats})",
        noise(50, 16, 16, 3),
        Frame(16, 16),
        labels=numbers,
    )
    # A share of exactly 1 is rare: where its rectangle has no pixels.
    assert np.mean(labels.max(axis=1) < 1) > 0.8


def test_random_erasing_covers_a_rectangle():
    images = np.zeros((300, 20, 20, 3), np.uint8)
    views, _ = augmented("center|random_erasing(0.6)", images, Frame(20, 20))
    covered = np.all(views == MEAN_COLOUR, axis=-1)
    assert np.array_equal(covered, views.any(axis=-1))
    areas = covered.sum(axis=(1, 2))
    for mask in covered[areas > 0]:
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        assert mask.sum() == rows.sum() * columns.sum()
        for lines in (rows, columns):
            assert np.ptp(np.flatnonzero(lines)) + 1 == lines.sum()
    assert abs(np.mean(areas > 0) - 0.6) < 5 * np.sqrt(0.24 / 300)
    # Sides are rounded to whole pixels.
    assert areas[areas > 0].min() >= 0.01 * 400
    assert areas.max() <= 0.38 * 400
