"""From a file of weights, in any layout, into a model; all of it or nothing."""

import os
import re
from collections.abc import Mapping

import keras
import numpy as np

from keras_resnet.weights.files import Weights, is_keras_file, read
from keras_resnet.weights.identification import likely_networks
from keras_resnet.weights.layouts import LAYOUTS, POOLED_SHORTCUTS, Layout
from keras_resnet.weights.naming import (
    recognize,
    to_ours,
    variants_of_file,
    variants_of_model,
)

_FIRST_KERNELS = ("conv1_conv/kernel", "conv1_1_conv/kernel")
_MENTIONED = 3


def load_file(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    layout: str | None = None,
    new_head: bool = False,
) -> bool:
    """Fills a model with the weights of a file, whoever wrote it.

    Every weight of the model must be in the file and every tensor of the file in the
    model. Only the classifier may be left over, where the model has none.

    What the model's layers lack is taken up by those they have, so that the outputs
    stay: a convolution's bias by the following batch norm's mean, an epsilon of
    1.001e-5 by the variances. A first kernel for another number `n` of input channels
    is summed over its channels for `n` = 1; else they are repeated in turn and scaled
    by their number over `n`, as timm does. Kernels of two dimensions become those of
    three (1705.07750, section 2.2): repeated along the new first axis and divided by
    its size, so that input which is constant there gives what it gave before.

    A Keras file of another architecture is left to `keras.Model.load_weights`.

    Args:
        model: A model of this package; unchanged if the file does not fit.
        path: A file, or a folder that holds one, as `read_tensors` takes it.
        layout: A key of `LAYOUTS`, None to recognise it by the names in the file.
        new_head: Whether the classifier may stay as it is in the model, where the file
            has none, or one for another number of classes.

    Returns:
        Whether the classifier did.

    Raises:
        ValueError: If the file cannot be read or does not fit; the message lists the
            first differences and the networks that the file does fit.

    Example:

    >>> model = keras_resnet.create("resnet50_v1_5", classes=5)
    >>> load_file(model, "resnet50-11ad3fa6.pth", new_head=True)
    """
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(
            f"`layout` must be None or one of {', '.join(map(repr, LAYOUTS))}, "
            f"got {layout!r}."
        )
    weights = read(path)
    known = recognize(weights) if layout is None else LAYOUTS[layout]
    tensors, unknown = to_ours(weights.tensors, known) if known else ({}, [])
    is_foreign = known is None or (known.keeps_names and unknown)
    if is_foreign and layout is None and not new_head and is_keras_file(path):
        _load_with_keras(model, path)
        return False
    if known is None:
        raise ValueError(
            f"The names in {os.fspath(path)!r}, such as "
            f"{next(iter(weights.tensors))!r}, are of none of the layouts "
            f"{', '.join(map(repr, LAYOUTS))}."
        )

    variables = variables_by_name(model)
    wanted = {name: tuple(variable.shape) for name, variable in variables.items()}
    found = {name: array.shape for name, array in tensors.items()}
    heads = [
        {n: s for n, s in shapes.items() if _is_head(n)} for shapes in (wanted, found)
    ]
    has_new_head = new_head and heads[0] != heads[1]
    if has_new_head or not heads[0]:
        tensors = {name: tensors[name] for name in tensors if not _is_head(name)}
    if has_new_head:
        wanted = {name: wanted[name] for name in wanted if not _is_head(name)}
    tensors = {
        name: _adapted(name, array, wanted.get(name, array.shape))
        for name, array in tensors.items()
    }

    differences = {
        "it lacks": [name for name in wanted if name not in tensors],
        "it also has": [*(name for name in tensors if name not in wanted), *unknown],
        "it has other shapes for": [
            f"{name} ({tensors[name].shape} instead of {shape})"
            for name, shape in wanted.items()
            if name in tensors and tensors[name].shape != shape
        ],
        "it is of a network": _otherwise(model, weights, known),
    }
    if any(differences.values()):
        names = [name for names in differences.values() for name in names]
        raise ValueError(
            f"The {known.name} weights in {os.fspath(path)!r} do not fit "
            f"{model.name!r}: {_list(differences)}; "
            + _advice(
                names,
                likely_networks(
                    found,
                    known.stride_on,
                    variants_of_file(weights.tensors, known).get(POOLED_SHORTCUTS),
                ),
            )
        )
    for name, array in tensors.items():
        variables[name].assign(array)
    return has_new_head and bool(heads[0])


def variables_by_name(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns the weights of a model as `{"conv1_conv/kernel": variable, ...}`."""
    return {"/".join(w.path.split("/")[-2:]): w for w in model.weights}


def layers_by_name(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Returns the layers of a model, and of the models in it, by their names."""
    layers = {}
    for layer in model.layers:
        layers[layer.name] = layer
        if isinstance(layer, keras.Model):
            layers.update(layers_by_name(layer))
    return layers


def stride_on(model: keras.Model) -> str | None:
    """Returns the convolution, `"1x1"` or `"3x3"`, with the stride of bottlenecks.

    Args:
        model: A model of this package.

    Returns:
        None if the model has no post-activation bottleneck that strides.
    """
    layers = layers_by_name(model)
    for name in layers:
        if match := re.fullmatch(r"(conv\d+_block\d+)_3_bn", name):
            block = match[1]
            for conv, size, pool in (("1", "1x1", "subsample"), ("2", "3x3", "aa")):
                strides = layers[f"{block}_{conv}_conv"].strides
                if max(strides) > 1 or f"{block}_{conv}_{pool}" in layers:
                    return size
    return None


def _is_head(name: str) -> bool:
    return name.startswith("predictions/")


def _adapted(name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a kernel for the model's number of axes and of input channels."""
    if name.endswith("/kernel") and array.ndim == 4 and len(shape) == 5:
        array = np.repeat(array[None], shape[0], axis=0) / array.dtype.type(shape[0])
    if name in _FIRST_KERNELS and array.ndim == len(shape):
        channels, wanted = array.shape[-2], shape[-2]
        if wanted == 1:
            array = array.sum(axis=-2, keepdims=True)
        elif wanted != channels:
            in_turn = [channel % channels for channel in range(wanted)]
            array = array[..., in_turn, :] * array.dtype.type(channels / wanted)
    return array


def _otherwise(model: keras.Model, weights: Weights, layout: Layout) -> list[str]:
    """Returns how a file's network differs in what no shape shows."""
    there = variants_of_file(weights.tensors, layout)
    here = variants_of_model(layers_by_name(model), layout)
    different = [
        f"{'with' if there[name] else 'without'} {name}"
        for name in there
        if there[name] != here[name]
    ]
    stride = stride_on(model)
    if None not in (stride, layout.stride_on) and stride != layout.stride_on:
        different.append(
            f"with the bottlenecks' stride on the {layout.stride_on}, not the {stride}"
        )
    return different


def _list(differences: Mapping[str, list[str]]) -> str:
    return ", ".join(
        f"{what} {', '.join(names[:_MENTIONED])}"
        + (f" and {len(names) - _MENTIONED} more" if len(names) > _MENTIONED else "")
        for what, names in differences.items()
        if names
    )


def _advice(names: list[str], networks: list[str]) -> str:
    if all(map(_is_head, names)):
        return "pass `new_head=True` to keep the classifier that the model has."
    if networks:
        return f"they fit {' or '.join(map(repr, networks[:_MENTIONED]))}."
    return "they fit no network of `keras_resnet.NETWORKS`."


def _load_with_keras(model: keras.Model, path: str | os.PathLike[str]) -> None:
    before = model.get_weights()
    try:
        model.load_weights(path)
    except Exception as error:
        # Keras raises whatever h5py, zipfile or a layer raises, having loaded a part.
        model.set_weights(before)
        raise ValueError(
            f"The weights in {os.fspath(path)!r} do not fit {model.name!r} with input "
            f"{model.input_shape} and output {model.output_shape}: "
            f"{str(error).splitlines()[0]}"
        ) from error
