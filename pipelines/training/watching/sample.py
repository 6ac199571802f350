"""A look into a network with a fixed sample of the validation images."""

import dataclasses
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

_FEWEST, _MOST = 64, 1000
_SHARE_OF_EPOCH = 0.02
_VALUES_PER_STAGE = 2**16

IMAGES_INSIDE = 64
"""How many images gradients and activations are taken of, at most."""


@dataclasses.dataclass(frozen=True)
class EvaluationSample:
    """Some validation images.

    Args:
        images: uint8 `(images, height, width, 3)`, RGB.
        labels: int64 `(images,)`.
        classes: The class names.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    @classmethod
    def of(
        cls, batches: tf.data.Dataset, classes: tuple[str, ...], training_images: int
    ) -> "EvaluationSample | None":
        """Takes the first images: 2% as many as an epoch has, from 64 up to 1,000.

        Records lie in a random order, so the first are a fair sample.

        Args:
            batches: Gives `(images, labels)` as `evaluation_batches` does.
            classes: The class names.
            training_images: Images of a training epoch, whose cost the sample's must be
                small beside.

        Returns:
            The sample, or None if there are no images.

        Example:

        >>> EvaluationSample.of(validation.dataset, examples.classes, 45_000)
        """
        count = min(max(int(training_images * _SHARE_OF_EPOCH), _FEWEST), _MOST)
        for images, labels in batches.rebatch(count).take(1):
            return cls(images.numpy(), labels.numpy(), classes)
        return None


class Inside(NamedTuple):
    """What goes on in a network, by stage.

    Attributes:
        gradient_norms: Of the mean loss' gradient, for stages that are trained.
        activations: 65,536 values of the stage's output, drawn at fixed places.
    """

    gradient_norms: dict[str, float]
    activations: dict[str, np.ndarray]


class Looker:
    """Looks into a network without changing it.

    The network runs as in inference: batch norms use their moving statistics and
    update nothing. Under `MirroredStrategy` it is the first replica's; nothing is
    communicated between replicas or workers. A stage is what layers' names begin with:
    `conv1`, `conv2`..., `predictions`.

    Args:
        model: Takes uint8 images and gives logits `(batch, classes)`; a chain of layers
            of which one may be the network.
        images_at_once: Images to run at once.

    Example:

    >>> Looker(model, images_at_once=64).weight_norms()["conv1"]
    3.7
    """

    def __init__(self, model: keras.Model, images_at_once: int) -> None:
        self.model = model
        self._at_once = images_at_once
        inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
        self._network = inner[0] if inner else model
        layers: dict[str, list[keras.layers.Layer]] = {}
        for layer in self._network.layers:
            layers.setdefault(layer.name.split("_")[0], []).append(layer)
        self._stages = {
            stage: members
            for stage, members in layers.items()
            if any(layer.weights for layer in members)
        }
        self._variables = {
            stage: [v.value for layer in members for v in layer.trainable_variables]
            for stage, members in self._stages.items()
        }
        outputs = [members[-1].output for members in self._stages.values()]
        self._tapped = keras.Model(
            self._network.inputs, [self._network.output, *outputs]
        )
        self._infer = tf.function(self._probabilities, reduce_retracing=True)
        self._differentiate = tf.function(self._gradients, reduce_retracing=True)
        self._norm_weights = tf.function(lambda: _norms(self._variables))

    def weight_norms(self) -> dict[str, float]:
        """Returns the L2 norm of each stage's trained weights."""
        return {stage: float(norm) for stage, norm in self._norm_weights().items()}

    def inside(self, sample: EvaluationSample) -> Inside:
        """Returns gradients and activations on the first images of a sample.

        The loss is the softmax cross-entropy, of at most 64 images.
        """
        count = min(IMAGES_INSIDE, self._at_once)
        norms, activations = self._differentiate(
            tf.constant(sample.images[:count]), tf.constant(sample.labels[:count])
        )
        return Inside(
            {stage: float(norm) for stage, norm in norms.items()},
            {stage: values.numpy() for stage, values in activations.items()},
        )

    def probabilities(self, sample: EvaluationSample) -> np.ndarray:
        """Returns the classes' probabilities, float32 `(images, classes)`."""
        starts = range(0, len(sample.images), self._at_once)
        return np.concatenate(
            [
                self._infer(tf.constant(sample.images[at : at + self._at_once])).numpy()
                for at in starts
            ]
        )

    def _probabilities(self, images: tf.Tensor) -> tf.Tensor:
        logits = self.model(images, training=False)
        return tf.nn.softmax(tf.cast(logits, tf.float32))

    def _gradients(
        self, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        with tf.GradientTape() as tape:
            logits, *outputs = self._run_tapped(images)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels, tf.cast(logits, tf.float32)
            )
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(
            loss, self._variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        activations = {
            stage: _some(values)
            for stage, values in zip(self._stages, outputs, strict=True)
        }
        return _norms(gradients), activations

    def _run_tapped(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Returns the logits and the stages' outputs."""
        if self._network is self.model:
            return self._tapped(images, training=False)
        x, outputs = images, []
        for layer in self.model.layers:
            if layer is self._network:
                x, *outputs = self._tapped(x, training=False)
            elif not isinstance(layer, keras.layers.InputLayer):
                x = layer(x)
        return [x, *outputs]


def _norms(tensors: dict[str, list[tf.Tensor]]) -> dict[str, tf.Tensor]:
    return {stage: tf.linalg.global_norm(own) for stage, own in tensors.items() if own}


def _some(values: tf.Tensor) -> tf.Tensor:
    flat = tf.reshape(tf.cast(values, tf.float32), [-1])
    places = tf.random.stateless_uniform(
        [_VALUES_PER_STAGE], seed=(0, 0), maxval=tf.size(flat), dtype=tf.int32
    )
    return tf.gather(flat, places)
