"""Errors against counts by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.evaluation.metrics import evaluate

SCORES = np.array(
    [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2], [0.2, 0.7, 0.1]], "float32"
)
LABELS = np.array([0, 1, 0, 1])


def _evaluate(scores, labels):
    identity = keras.Sequential([keras.Input((3,)), keras.layers.Identity()])
    batches = tf.data.Dataset.from_tensor_slices((scores, labels)).batch(3)
    return evaluate(identity, batches)


def test_counts_by_hand():
    metrics = _evaluate(SCORES, LABELS)
    assert metrics.images == 4
    # The second is wrong; the third is a tie, which counts as wrong.
    assert metrics.top1_error == 2 / 4
    assert metrics.top5_error == 0
    assert metrics.class_errors == (1 / 2, 1 / 2, None)
    assert metrics.loss == pytest.approx(-np.log([0.5, 0.1, 0.4, 0.7]).mean(), rel=1e-5)


def test_what_is_not_a_number_is_wrong():
    assert _evaluate(np.full_like(SCORES, np.nan), LABELS).top1_error == 1
