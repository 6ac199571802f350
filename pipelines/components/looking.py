"""Where a model looked on the images it got most wrong."""

import keras
import numpy as np
import tensorflow as tf

from keras_resnet import structure
from keras_resnet.analysis import grad_cam
from pipelines.components.evaluated import Evaluated
from pipelines.data.examples import Examples
from pipelines.data.input_pipeline import of_records
from pipelines.data.lookup import find_record
from pipelines.data.preprocessing import prepare
from pipelines.data.quality.samples import read_features
from pipelines.data.quality.summary import IMAGE
from pipelines.data.reading import Blocks
from pipelines.evaluation.judgement import Judged
from pipelines.reports.thumbnails import overlaid


def looks(
    examples: Examples, model: Evaluated, judged: Judged, stage: str = ""
) -> dict[int, str]:
    """Draws over the hardest mistakes what spoke for the class they were taken for.

    Args:
        examples: The records.
        model: The model, or the first of an ensemble, looked at with the centre crop.
        judged: What was found.
        stage: See `keras_resnet.analysis.grad_cam`. Defaults to the last one.

    Returns:
        Pictures as `data:` URIs, by the record; none of an exported model.

    Raises:
        ValueError: If there is no such stage.
    """
    hardest = judged.judgement.metrics.hardest
    if not hardest or not isinstance(model.network, keras.Model):
        return {}
    split = judged.made_from["split"]
    blocks = Blocks.of(examples, split)
    preprocessing = of_records(model.preprocessing, examples)
    images = []
    for mistake in hardest:
        features = read_features(blocks.files, find_record(blocks, mistake.index))
        encoded = features[IMAGE].bytes_list.value[0]
        images.append(prepare(tf.constant(encoded), preprocessing).numpy())
    classes = [judged.names[mistake.prediction] for mistake in hardest]
    outputs = model.classes or judged.names
    _, standardize, network = model.network.layers
    maps = grad_cam(
        network,
        standardize(np.stack(images)),
        [outputs.index(name) for name in classes],
        stage or list(structure.stages(network))[-1],
    )
    return {
        mistake.index: overlaid(image, heat)
        for mistake, image, heat in zip(hardest, images, maps, strict=True)
    }
