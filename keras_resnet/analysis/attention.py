"""Where a network looks."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_resnet import structure
from keras_resnet.analysis.gradients import gradients
from keras_resnet.conv import channel_axis


def grad_cam(
    model: keras.Model,
    images: Any,
    classes: Any = None,
    stage: str = "conv5",
) -> np.ndarray:
    """Tells which places of images a classifier's answer rests on.

    Grad-CAM (Selvaraju et al., ICCV 2017, 1610.02391): the activations of a stage,
    weighted by how much each channel raises the score of a class, as far as they speak
    for it. Where pooling and a linear classifier follow, as after the last stage, it is
    CAM (1512.04150).

    Args:
        model: A functional classifier whose layers are named as in
            `keras.applications`, for example one of `keras_resnet.create`; it is left
            as it is. Its scores are those before the activation of its last layer.
        images: `(batch, height, width, channels)` as the model takes them, or with the
            channels first where Keras is set so.
        classes: The class to ask about for each image, integers `(batch,)`. Defaults to
            the one with the highest score.
        stage: A stage, `"conv2"` to `"conv5"`, of which the last block's output is
            taken, or a block, such as `"conv4_block3"`.

    Returns:
        float32 `(batch, height, width)` of the stage's size, in 0..1: each image's
        greatest value is 1, or all are 0 where nothing speaks for the class.

    Raises:
        ValueError: If there is no such stage, the model is not functional, or does not
            end in a dense layer.

    Example:

    >>> model = keras_resnet.ResNet50(weights="imagenet")
    >>> grad_cam(model, images, stage="conv5").shape
    (8, 7, 7)
    """
    classifier = model.layers[-1]
    if not isinstance(classifier, keras.layers.Dense):
        raise ValueError(
            f"Model {model.name!r} does not end in a dense layer: give a classifier, "
            "built with `include_top=True`."
        )
    places = structure.output(model, _last_block(model, stage))
    body = keras.Model(model.inputs, places)
    head = keras.Model(places, classifier.input)

    def scores(activations: Any) -> Any:
        features = head(activations, training=False)
        return ops.add(ops.matmul(features, classifier.kernel), classifier.bias)

    activations = body(ops.convert_to_tensor(images), training=False)
    if classes is None:
        classes = ops.argmax(scores(activations), axis=-1)
    wanted = ops.one_hot(classes, classifier.units)
    (slopes,) = gradients(lambda x: ops.sum(wanted * scores(x)), [activations])
    axis = channel_axis()
    others = (1, 2) if axis == -1 else (2, 3)
    values = ops.convert_to_numpy(activations).astype("float32")
    maps = (values * slopes.mean(axis=others, keepdims=True)).sum(axis=axis)
    maps = np.maximum(maps, 0)
    most = maps.max(axis=(1, 2), keepdims=True)
    return maps / np.where(most > 0, most, 1)


def _last_block(model: keras.Model, stage: str) -> str:
    stages = structure.stages(model)
    blocks = [block for own in stages.values() for block in own]
    if stage in blocks:
        return stage
    if stage not in stages:
        raise ValueError(
            f"`stage` must be one of {', '.join(stages)} or a block of theirs, got "
            f"{stage!r}."
        )
    return stages[stage][-1]
