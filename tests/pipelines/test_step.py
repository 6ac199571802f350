"""A step of the engine against small computations of its parts."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet
from keras_resnet.preprocessing import Preprocessing
from keras_resnet.training import RECIPES
from keras_resnet.training.making import make_optimizer
from pipelines.training import nonfinite
from pipelines.training.network import for_training, takes_pixels
from pipelines.training.step import EvaluationStep, TrainingStep
from pipelines.training.strategies import make_strategy

RECIPE = dataclasses.replace(
    RECIPES["onecycle"], batch_size=8, learning_rate=0.1, schedule="constant"
)
SPEC = dataclasses.replace(
    keras_resnet.NETWORKS["resnet20"], filters=(4, 8), blocks_per_stage=(1, 1)
)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 8, 8, 3)).astype("uint8")
    return tf.constant(images), tf.constant(rng.integers(0, 10, 8))


def _step(strategy=None, averaged=False, halts=True, spec=SPEC, **changes):
    """Returns a step, its network and the moving average of that."""
    strategy = strategy or tf.distribute.get_strategy()
    recipe = dataclasses.replace(RECIPE, **changes)
    keras.utils.set_random_seed(0)
    model = keras_resnet.build(spec, input_shape=(8, 8, 3), classes=10)
    with strategy.scope():
        networks = [for_training(model, recipe) for _ in range(1 + averaged)]
        pixels = Preprocessing(crop=8, resize=8)
        network, *others = [takes_pixels(network, pixels) for network in networks]
        optimizer = make_optimizer(recipe, steps_per_epoch=10)
    average = others[0] if averaged else None
    return (
        TrainingStep(
            strategy, network, optimizer, recipe, 10, averaged=average, halts=halts
        ),
        network,
        average,
    )


def _split(strategy, values):
    """Gives each of two replicas its half of the images."""
    halves = [value.numpy() for value in tf.split(values, 2)]
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(halves[context.replica_id_in_sync_group])
    )


def _close(ours, theirs, **tolerance):
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


def test_a_step_is_what_fit_does(batch):
    """Loss, top-1 and weights are those of Keras' own step with the same optimizer."""
    step, ours, _ = _step()
    _, theirs, _ = _step()
    optimizer = make_optimizer(RECIPE, steps_per_epoch=10)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    theirs.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)
    for _ in range(2):
        expected = theirs.train_on_batch(*batch, return_dict=True)
        theirs.reset_metrics()
        means = step(*batch).measured().means()
        assert means["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert means["top1"] == pytest.approx(expected["accuracy"])
    _close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
def test_parts_and_replicas_sum_to_the_batch(batch, clip_norm):
    """Without statistics over images, how a batch is shared does not matter.

    float32 sums in another order differ in the last bits, 1e-7 of the gradient each.
    """
    changes = {"batch_norm": "frozen", "clip_norm": clip_norm}
    step, whole, _ = _step(**changes)
    parted_step, parted, _ = _step(accumulate=4, **changes)
    strategy = make_strategy("mirrored", replicas=2)
    shared_step, shared, _ = _step(strategy, accumulate=2, **changes)
    for _ in range(2):
        outcomes = [
            step(*batch),
            parted_step(*batch),
            shared_step(*(_split(strategy, values) for values in batch)),
        ]
        first, *others = [outcome.measured().means() for outcome in outcomes]
        for other in others:
            assert other == pytest.approx(first, rel=1e-5)
    _close(parted, whole, rtol=1e-4, atol=1e-6)
    _close(shared, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("ema", "every"), [(0.1, 1), (0.1, 2), (0.9999, 1)])
def test_averages_follow_all_weights(batch, ema, every):
    """In the first updates faster than `ema` says, lest a short run's be untrained."""
    step, network, average = _step(averaged=True, ema=ema, ema_every=every)
    expected = [weight.astype("float64") for weight in network.get_weights()]
    for number in range(4):
        step(*batch)
        if number % every == every - 1:
            update = (number + 1) // every
            kept = min(ema, (1 + update) / (10 + update))
            expected = [
                kept * e + (1 - kept) * w
                for e, w in zip(expected, network.get_weights(), strict=True)
            ]
    names = [weight.path for weight in average.weights]
    assert any("moving_variance" in name for name in names)
    for ours, theirs in zip(average.get_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_replicas_drop_other_blocks(batch):
    """Also after a checkpoint, which has the seeds of the first replica only."""
    strategy = make_strategy("mirrored", replicas=2)
    spec = dataclasses.replace(SPEC, stochastic_depth=0.5)
    step, network, _ = _step(strategy, spec=spec)
    step(*(_split(strategy, values) for values in batch))
    (layer, *_) = [x for x in network.layers[-1].layers if hasattr(x, "seed_generator")]

    def masks():
        ones = tf.ones([64, 1, 1, layer.output.shape[-1]])
        kept = strategy.run(lambda: layer(ones, training=True))
        return [part.numpy() for part in strategy.experimental_local_results(kept)]

    variables = step.variables().items()
    saved = {name: keras.ops.convert_to_numpy(v) for name, v in variables}
    one, other = masks()
    assert (one != other).any()
    masks()
    step.restore(saved)
    np.testing.assert_array_equal(masks(), [one, other])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "optimizer": "adamw",
            "decay_form": "decoupled",
            "nesterov": False,
            "ema": 0.9,
        },
    ],
)
def test_a_step_that_is_not_finite_changes_nothing(batch, changes):
    step, network, _ = _step(averaged="ema" in changes, **changes)
    step(*batch)
    kernel = network.layers[-1].get_layer("conv3_block1_1_conv").kernel
    good = kernel.numpy()
    kernel.assign(np.full(kernel.shape, 3e38))
    before = [keras.ops.convert_to_numpy(v) for v in step.variables().values()]
    outcome = step(*batch)
    assert outcome.failed and not outcome.applied
    assert outcome.measured().images == 0
    kernel.assign(good)
    # The next one is good, but the cause has not been looked for.
    assert not step(*batch).applied
    kernel.assign(np.full(kernel.shape, 3e38))
    after = [keras.ops.convert_to_numpy(v) for v in step.variables().values()]
    for name, ours, theirs in zip(step.variables(), after, before, strict=True):
        # The schedule goes on.
        passed = 2 if name.endswith("/iteration") else 0
        np.testing.assert_array_equal(ours, theirs + passed)
    culprit = nonfinite.first_failure(
        tf.distribute.get_strategy(), network, step.loss, batch
    )
    assert culprit == "the output of layer conv3_block1_1_conv"
    kernel.assign(good)
    step.go_on()
    assert step(*batch).applied


def test_failures_can_be_passed_over(batch):
    images, labels = batch
    step, network, _ = _step(halts=False)
    shares = tf.one_hot(labels, 10)
    assert step(images, shares * np.nan).failed
    assert step(images, shares).applied
    culprit = nonfinite.first_failure(
        tf.distribute.get_strategy(), network, step.loss, (images, shares * np.nan)
    )
    assert culprit == "the loss"


def test_loss_scale_halves_and_doubles(batch):
    """1710.03740, section 3.2; an overflow is no failure while it can be lowered."""
    step, network, _ = _step(precision="float16")
    step.loss_scale.assign(2.0**120)
    before = network.get_weights()
    outcome = step(*batch)
    assert not outcome.applied and not outcome.failed
    assert float(step.loss_scale) == 2.0**119
    assert step.optimizer.iterations.numpy() == 1
    for ours, theirs in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    step.loss_scale.assign(1024.0)
    step.steps_since_overflow.assign(1999)
    assert step(*batch).applied
    assert float(step.loss_scale) == 2048 and int(step.steps_since_overflow) == 0


def test_a_bad_loss_is_no_overflow(batch):
    """No loss scale would make it finite."""
    images, labels = batch
    step, _, _ = _step(precision="float16")
    assert step(images, tf.one_hot(labels, 10) * np.nan).failed


def test_the_average_of_what_stands_still_is_exact(batch):
    step, network, average = _step(
        averaged=True, ema=0.9999, batch_norm="frozen", frozen_stages=("conv1", "conv2")
    )
    for _ in range(3):
        step(*batch)
    moved = 0
    for ours, theirs in zip(average.weights, network.weights, strict=True):
        if ours.path.startswith(("conv1", "conv2")) or "moving" in ours.path:
            np.testing.assert_array_equal(ours, theirs)
        else:
            moved += not np.array_equal(ours, theirs)
    assert moved


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_follows_float32(batch, precision):
    """8 and 11 bits of mantissa: the losses agree to some of them."""
    step, network, _ = _step(precision=precision)
    reference, _, _ = _step()
    for _ in range(2):
        loss = step(*batch).measured().means()["loss"]
        assert loss == pytest.approx(reference(*batch).measured().means()["loss"], 0.05)
    assert {variable.dtype for variable in network.weights} == {"float32"}


@pytest.mark.parametrize("flip", [False, True])
def test_evaluation_counts_each_image_once(batch, flip):
    """On one device and on two, against numpy in float64."""
    images, labels = batch
    counted = tf.constant([1.0] * 5 + [0.0] * 3)
    _, network, _ = _step()
    views = [images.numpy(), images.numpy()[:, :, ::-1]] if flip else [images.numpy()]
    logits = np.stack([network(view, training=False) for view in views]).astype(float)
    shares = np.exp(logits.mean(0))
    shares /= shares.sum(-1, keepdims=True)
    own = shares[np.arange(5), labels[:5]]
    rank = (shares[:5] > own[:, None]).sum(1)
    expected = [5, -np.log(own).sum(), (rank < 1).sum(), (rank < 5).sum()]

    one = tf.distribute.get_strategy()
    sums = EvaluationStep(one, network, 10, flip=flip)(images, labels, counted)
    np.testing.assert_allclose(sums, expected, rtol=1e-5)

    two = make_strategy("mirrored", replicas=2)
    _, network, _ = _step(two)
    parts = [_split(two, values) for values in (images, labels, counted)]
    sums = EvaluationStep(two, network, 10, flip=flip)(*parts)
    np.testing.assert_allclose(sums, expected, rtol=1e-5)
