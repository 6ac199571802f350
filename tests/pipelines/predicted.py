"""Predictions of classifiers that know how sure they may be."""

import numpy as np
import scipy.special

from pipelines.evaluation.predictions import Predictions


def predictions(images=600, classes=7, seed=0, sharpness=1.0):
    """Returns predictions that are right as often as they say, at sharpness 1."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.normal(size=(images, classes))
    shares = scipy.special.softmax(logits, axis=1)
    labels = np.array([generator.choice(classes, p=row) for row in shares])
    logarithms = scipy.special.log_softmax(sharpness * logits, axis=1)
    brightness = generator.uniform(0, 255, images)
    return Predictions(
        np.arange(images), labels, logarithms.astype(np.float32), brightness
    )
