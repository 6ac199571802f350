"""What the exported model answers to."""

from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from keras_resnet.preprocessing import Preprocessing
from pipelines.data.decoding import past_failures
from pipelines.data.pixel_limit import limited
from pipelines.data.preprocessing import prepare, resize_and_crop
from pipelines.serving.attention import Attention

BYTES_SIGNATURE = "serving_default"
"""Takes encoded images."""
FLOATS_SIGNATURE = "serving_images"
"""Takes decoded images."""
FEATURES_SIGNATURE = "serving_features"
"""Takes encoded images and gives what the classifier sees of them."""
VALID_SIGNATURE = "serving_valid"
"""Takes encoded images and tells which of them can be used."""
ATTENTION_SIGNATURE = "serving_attention"
"""Takes encoded images and gives where the network looks."""

TOP_K = 5
"""Classes in an answer, where there are as many."""

Answer = dict[str, tf.Tensor]


class Classifier(tf.Module):
    """A network with its preprocessing and its labels, ready to be saved.

    Args:
        network: Gives probabilities `(batch, classes)` and pooled features `(batch,
            channels)` for pixels, RGB in 0..255.
        preprocessing: How those come from an image: orientation, sizes, interpolation.
        labels_path: A text file with one class name per line; it becomes an asset.
        top_k: Number of classes in an answer.
        attention: Tells where the network looks; None if nothing does.

    Example:

    >>> classifier = Classifier(network, preprocessing, Path("labels.txt"), top_k=5)
    >>> classifier.classify_bytes(tf.constant([jpeg]))["classes"]
    """

    def __init__(
        self,
        network: keras.Model,
        preprocessing: Preprocessing,
        labels_path: Path,
        top_k: int,
        attention: Attention | None = None,
    ) -> None:
        super().__init__()
        # Keras' variables would be saved beside copies of themselves, of which TF
        # Serving restores only the copies: what is saved are TensorFlow's own.
        self.network = network.__call__
        self.weights = [variable.value for variable in network.variables]
        self.preprocessing = preprocessing
        self.top_k = top_k
        self.attention = attention
        self.labels = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(labels_path),
                key_dtype=tf.int64,
                key_index=tf.lookup.TextFileIndex.LINE_NUMBER,
                value_dtype=tf.string,
                value_index=tf.lookup.TextFileIndex.WHOLE_LINE,
            ),
            default_value="",
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def pixels_of_bytes(self, image_bytes: tf.Tensor) -> Answer:
        """Decodes images, so that the network can look at others meanwhile.

        Args:
            image_bytes: As `classify_bytes`.

        Returns:
            `"images"`: uint8 `(batch, size, size, 3)`, RGB; `"valid"`: bool
            `(batch,)`, False where an image is blank instead.
        """
        images, valid = self._decoded(image_bytes)
        return {"images": images, "valid": valid}

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, "images")]
    )
    def scores_of_pixels(self, images: tf.Tensor) -> Answer:
        """Gives everything that the network says of decoded images.

        Args:
            images: What `pixels_of_bytes` gave.

        Returns:
            `"probabilities"`: float32 `(batch, classes)`; `"features"`: float32
            `(batch, channels)`.
        """
        size = self.preprocessing.size
        images = tf.ensure_shape(images, (None, size, size, 3))
        probabilities, features = self.network(images, training=False)
        return {"probabilities": probabilities, "features": features}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def classify_bytes(self, image_bytes: tf.Tensor) -> Answer:
        """Classifies encoded images.

        Args:
            image_bytes: Strings `(batch,)`, each a JPEG, PNG, GIF, BMP or WebP, of at
                most `images.MAX_PIXELS` pixels.

        Returns:
            `"classes"`: strings `(batch, top_k)`, best first; `"probabilities"`:
            float32 `(batch, top_k)`; `"valid"`: bool `(batch,)`, False where the bytes
            are no image, or one of more pixels: its classes are empty strings and
            their probabilities 0.
        """
        images, valid = self._decoded(image_bytes)
        answer = self._answer(images)
        return {
            "classes": tf.where(valid[:, None], answer["classes"], ""),
            "probabilities": tf.where(valid[:, None], answer["probabilities"], 0),
            "valid": valid,
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def features_of_bytes(self, image_bytes: tf.Tensor) -> Answer:
        """Gives the features of encoded images, to compare them or to classify by.

        Args:
            image_bytes: As `classify_bytes`.

        Returns:
            `"features"`: float32 `(batch, channels)`, zeros where `"valid"`, bool
            `(batch,)`, is False.
        """
        images, valid = self._decoded(image_bytes)
        _, features = self.network(images, training=False)
        return {"features": tf.where(valid[:, None], features, 0), "valid": valid}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def check_bytes(self, image_bytes: tf.Tensor) -> Answer:
        """Tells which encoded images can be used, without classifying them.

        Args:
            image_bytes: As `classify_bytes`.

        Returns:
            `"valid"`: bool `(batch,)`.
        """
        _, valid = self._decoded(image_bytes)
        return {"valid": valid}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "image_bytes"),
            tf.TensorSpec([None], tf.int64, "rank"),
        ]
    )
    def attention_of_bytes(self, image_bytes: tf.Tensor, rank: tf.Tensor) -> Answer:
        """Tells on which places of encoded images the score of a class rests.

        Args:
            image_bytes: As `classify_bytes`.
            rank: Which class of each image's answer, int64 `(batch,)`: 0 for the first.

        Returns:
            By the name of each stage, `"conv2"` to `"conv5"`: float32 `(batch, height,
            width)` of the stage's size, in 0..1, see `keras_resnet.analysis.grad_cam`;
            `"seen_bytes"`: strings `(batch,)`, PNG of the pixels that the network got,
            over which the maps lie; `"valid"`: bool `(batch,)`, False where they mean
            nothing.

        Raises:
            ValueError: If there is no `attention`.
        """
        if self.attention is None:
            raise ValueError("nothing tells where this network looks")
        images, valid = self._decoded(image_bytes)
        return {
            "seen_bytes": tf.map_fn(
                tf.io.encode_png, images, fn_output_signature=tf.string
            ),
            "valid": valid,
            **self.attention(images, rank),
        }

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, "images")]
    )
    def classify_images(self, images: tf.Tensor) -> Answer:
        """Classifies decoded images.

        Args:
            images: float32 `(batch, height, width, 3)`, RGB in 0..255, of any size.

        Returns:
            `"classes"` and `"probabilities"` as `classify_bytes`.
        """
        return self._answer(resize_and_crop(images, self.preprocessing))

    def _decoded(self, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return decoded(image_bytes, self.preprocessing)

    def _answer(self, images: tf.Tensor) -> Answer:
        scores, _ = self.network(images, training=False)
        probabilities, indices = tf.math.top_k(scores, self.top_k)
        return {
            "classes": self.labels.lookup(tf.cast(indices, tf.int64)),
            "probabilities": probabilities,
        }


def decoded(
    image_bytes: tf.Tensor, preprocessing: Preprocessing
) -> tuple[tf.Tensor, tf.Tensor]:
    """Prepares encoded images for a network.

    Args:
        image_bytes: Strings `(batch,)`.
        preprocessing: How.

    Returns:
        uint8 `(batch, size, size, 3)`, RGB, and bool `(batch,)`: whether each is an
        image. Where it is none, the pixels are 0.
    """
    size = preprocessing.size

    def one(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = prepare(limited(encoded), preprocessing)
        return tf.ensure_shape(image, (size, size, 3)), tf.constant(True)

    def together(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = tf.map_fn(
            lambda image: one(image)[0],
            encoded,
            fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8),
        )
        return images, tf.ones(tf.shape(encoded), tf.bool)

    def blank(specs: tuple[tf.TensorSpec, ...]) -> tuple[tf.Tensor, ...]:
        return tuple(tf.zeros(spec.shape, spec.dtype) for spec in specs)

    found = past_failures((image_bytes,), together, one, blank)
    images, valid = found.get_single_element()
    return images, valid


def save(classifier: Classifier, directory: Path) -> None:
    """Writes a SavedModel with all signatures.

    Args:
        classifier: What to save.
        directory: A new folder.
    """
    signatures: dict[str, Callable[..., Answer]] = {
        BYTES_SIGNATURE: classifier.classify_bytes,
        FLOATS_SIGNATURE: classifier.classify_images,
        FEATURES_SIGNATURE: classifier.features_of_bytes,
        VALID_SIGNATURE: classifier.check_bytes,
        ATTENTION_SIGNATURE: classifier.attention_of_bytes,
    }
    tf.saved_model.save(classifier, str(directory), signatures=signatures)
