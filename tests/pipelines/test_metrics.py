"""Metrics against counts by hand and against Keras' and TensorFlow's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.evaluation.metrics import HARDEST, MOST_CONFUSABLE, Mistake, evaluate

SCORES = np.array(
    [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2], [0.2, 0.7, 0.1]], "float32"
)
LABELS = np.array([0, 1, 0, 1])


def _evaluate(scores, labels, batch=3):
    classes = scores.shape[1]
    identity = keras.Sequential([keras.Input((classes,)), keras.layers.Identity()])
    logits = np.log(scores)
    batches = tf.data.Dataset.from_tensor_slices((logits, labels)).batch(batch)
    return evaluate(identity, batches)


def _random(images, classes, seed=0):
    generator = np.random.default_rng(seed)
    scores = generator.dirichlet(np.full(classes, 0.3), images).astype("float32")
    return scores, generator.integers(0, classes, images)


def test_counts_by_hand():
    metrics = _evaluate(SCORES, LABELS)
    assert metrics.images == 4
    # The second is wrong; the third is a tie, which counts as wrong.
    assert metrics.top1_error == 2 / 4
    assert metrics.top5_error == 0
    assert metrics.class_errors == (1 / 2, 1 / 2, None)
    assert metrics.loss == pytest.approx(-np.log([0.5, 0.1, 0.4, 0.7]).mean(), rel=1e-5)
    assert metrics.confusion.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert metrics.hardest == (
        Mistake(1, 1, 2, pytest.approx(0.1), pytest.approx(0.8)),
        Mistake(2, 0, 1, pytest.approx(0.4), pytest.approx(0.4)),
    )


def test_what_is_not_a_number_is_wrong():
    metrics = _evaluate(np.full_like(SCORES, np.nan), LABELS)
    assert metrics.top1_error == 1
    assert metrics.confusion.trace() == 0
    assert [mistake.index for mistake in metrics.hardest] == [0, 1, 2, 3]


def test_against_keras_and_tensorflow():
    scores, labels = _random(500, 12)
    metrics = _evaluate(scores, labels, batch=64)
    top5 = keras.metrics.sparse_top_k_categorical_accuracy(labels, scores, k=5)
    loss = keras.losses.sparse_categorical_crossentropy(
        labels, np.log(scores), from_logits=True
    )
    matrix = tf.math.confusion_matrix(labels, scores.argmax(axis=1), 12)
    assert metrics.top5_error == pytest.approx(1 - np.mean(top5), abs=1e-6)
    assert metrics.loss == pytest.approx(np.mean(loss), rel=1e-5)
    np.testing.assert_array_equal(metrics.confusion, matrix)


@pytest.mark.parametrize("batch", [7, 64, 500])
def test_hardest_are_those_of_greatest_loss_whatever_the_batches(batch):
    scores, labels = _random(500, 12)
    own = scores[np.arange(500), labels]
    wrong = scores.argmax(axis=1) != labels
    expected = sorted(np.flatnonzero(wrong), key=lambda image: own[image])[:HARDEST]
    hardest = _evaluate(scores, labels, batch).hardest
    assert [mistake.index for mistake in hardest] == expected
    for mistake in hardest:
        image = mistake.index
        assert mistake.label == labels[image]
        assert mistake.prediction == scores[image].argmax()
        assert mistake.prediction_probability == pytest.approx(scores[image].max())


def test_the_loss_has_no_limit():
    """A mistake of which the network is sure costs what training's loss says."""
    metrics = _evaluate(np.exp(np.array([[-30.0, 0.0], [0.0, -100.0]])), LABELS[:2])
    assert metrics.loss == pytest.approx((30 + 100) / 2)
    assert metrics.hardest[0].label_probability == pytest.approx(np.exp(-100))


def test_many_classes_have_no_matrix():
    scores, labels = _random(3, MOST_CONFUSABLE + 1)
    metrics = _evaluate(scores, labels)
    assert metrics.confusion is None
    assert len(metrics.class_errors) == MOST_CONFUSABLE + 1


def test_no_images_are_told():
    with pytest.raises(ValueError, match="no images"):
        _evaluate(SCORES[:0], LABELS[:0])


def test_flip_averages_logits_of_mirror_images():
    generator = np.random.default_rng(0)
    images = generator.normal(size=(9, 4, 6, 3)).astype("float32")
    labels = generator.integers(0, 5, 9)
    model = keras.Sequential(
        [keras.Input((4, 6, 3)), keras.layers.Flatten(), keras.layers.Dense(5)]
    )
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    both = [model.predict(views, verbose=0) for views in (images, images[:, :, ::-1])]
    own = np.array(keras.ops.softmax(np.mean(both, axis=0)))[np.arange(9), labels]
    flipped = evaluate(model, batches, test_flip=True)
    assert flipped.loss == pytest.approx(-np.log(own).mean(), rel=1e-5)
    assert flipped.loss != pytest.approx(evaluate(model, batches).loss, rel=1e-3)
