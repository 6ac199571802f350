"""What the exported model answers to."""

from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from keras_resnet.preprocessing import Preprocessing
from pipelines.data.pixel_limit import limited
from pipelines.data.preprocessing import prepare, resize_and_crop

BYTES_SIGNATURE = "serving_default"
"""Takes encoded images."""
FLOATS_SIGNATURE = "serving_images"
"""Takes decoded images."""

Answer = dict[str, tf.Tensor]


class Classifier(tf.Module):
    """A network with its preprocessing and its labels, ready to be saved.

    Args:
        network: Gives probabilities `(batch, classes)` for pixels, RGB in 0..255, as
            evaluation's does.
        preprocessing: How those come from an image: orientation, sizes, interpolation.
        labels_path: A text file with one class name per line; it becomes an asset.
        top_k: Number of classes in an answer.

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
    ) -> None:
        super().__init__()
        self.network = network
        self.preprocessing = preprocessing
        self.top_k = top_k
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
    def classify_bytes(self, image_bytes: tf.Tensor) -> Answer:
        """Classifies encoded images.

        Args:
            image_bytes: Strings `(batch,)`, each a JPEG, PNG, GIF, BMP or WebP, of at
                most `images.MAX_PIXELS` pixels.

        Returns:
            `"classes"`: strings `(batch, top_k)`, best first; `"probabilities"`:
            float32 `(batch, top_k)`.
        """
        size = self.preprocessing.size
        images = tf.map_fn(
            lambda encoded: prepare(limited(encoded), self.preprocessing),
            image_bytes,
            fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8),
        )
        return self._answer(images)

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, "images")]
    )
    def classify_images(self, images: tf.Tensor) -> Answer:
        """Classifies decoded images.

        Args:
            images: float32 `(batch, height, width, 3)`, RGB in 0..255, of any size.

        Returns:
            As `classify_bytes`.
        """
        return self._answer(resize_and_crop(images, self.preprocessing))

    def _answer(self, images: tf.Tensor) -> Answer:
        scores = self.network(images, training=False)
        probabilities, indices = tf.math.top_k(scores, self.top_k)
        return {
            "classes": self.labels.lookup(tf.cast(indices, tf.int64)),
            "probabilities": probabilities,
        }


def save(classifier: Classifier, directory: Path) -> None:
    """Writes a SavedModel with both signatures.

    Args:
        classifier: What to save.
        directory: A new folder.
    """
    signatures: dict[str, Callable[..., Answer]] = {
        BYTES_SIGNATURE: classifier.classify_bytes,
        FLOATS_SIGNATURE: classifier.classify_images,
    }
    tf.saved_model.save(classifier, str(directory), signatures=signatures)
