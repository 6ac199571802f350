"""From a model to a file of weights that others load."""

import os
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_resnet.weights.identification import likely_networks
from keras_resnet.weights.importing import variables_by_name
from keras_resnet.weights.layouts import LAYOUTS, Layout
from keras_resnet.weights.naming import said_by_variants, to_theirs, variants_of_model
from keras_resnet.weights.traits import (
    differences,
    layers_by_name,
    of_model,
    statement,
)

_APPLICATIONS = {
    "resnet50": keras.applications.ResNet50,
    "resnet101": keras.applications.ResNet101,
    "resnet152": keras.applications.ResNet152,
    "resnet50v2": keras.applications.ResNet50V2,
    "resnet101v2": keras.applications.ResNet101V2,
    "resnet152v2": keras.applications.ResNet152V2,
}
_MENTIONED = 3


def export_weights(
    model: keras.Model, path: str | os.PathLike[str], layout: str = "torchvision"
) -> None:
    """Writes a model's weights as another library names, orders and means them.

    `load_file` turns the file into the same weights again. The file appears when it is
    whole.

    For `keras.applications`, convolution biases are zeros where we have none, and the
    variances are smaller by 1e-8, by which the epsilon there is larger: where a
    variance is below 1e-8 it becomes negative, and its sum with the epsilon is right
    all the same.

    Args:
        model: A model of this package.
        path: For `"torchvision"` and `"timm"` a `.safetensors` or `.pth` file, the
            `state_dict` with `num_batches_tracked` of zero; for `"keras"` a
            `.weights.h5` or `.h5` file for `keras.applications.ResNet50(weights=path)`.
        layout: `"torchvision"`, `"timm"` or `"keras"`.

    Raises:
        ValueError: If `layout` or the file's suffix is another, or the library has no
            network that computes what the model does.

    Example:

    >>> model = keras_resnet.create("resnet18")
    >>> export_weights(model, "resnet18.safetensors", layout="torchvision")
    """
    if layout not in _WRITERS:
        raise ValueError(
            f"`layout` must be one of {', '.join(map(repr, _WRITERS))}, got {layout!r}."
        )
    path = pathlib.Path(path)
    writers = _WRITERS[layout]
    suffix = next((s for s in writers if path.name.endswith(s)), None)
    if suffix is None:
        raise ValueError(
            f"The file {str(path)!r} must end in {' or '.join(writers)} for "
            f"`layout={layout!r}`."
        )
    _check(model, LAYOUTS[layout])
    content = _CONTENTS[layout](model, LAYOUTS[layout])
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        part = pathlib.Path(folder) / f"part{suffix}"
        writers[suffix](content, part)
        os.replace(part, path)


def _check(model: keras.Model, layout: Layout) -> None:
    """Refuses a model whose weights would mean something else there."""
    shown = variants_of_model(layers_by_name(model), layout)
    said = {**(layout.traits or {}), **said_by_variants(layout, shown)}
    different = differences(of_model(model), said)
    if different:
        raise ValueError(
            f"{model.name!r} cannot be exported as {layout.name!r}, whose networks "
            f"have {' and '.join(different)}."
        )


def _state_dict(model: keras.Model, layout: Layout) -> dict[str, np.ndarray]:
    """Returns the arrays by the names that a PyTorch library gives them."""
    variables = variables_by_name(model)
    names = to_theirs(variables, layers_by_name(model), layout)
    nameless = [ours for ours, theirs in names.items() if theirs is None]
    if nameless:
        raise ValueError(
            f"{model.name!r} cannot be exported as {layout.name!r}, which has no name "
            f"for {', '.join(nameless[:_MENTIONED])}"
            + (f" and {len(nameless) - _MENTIONED} more" * (len(nameless) > _MENTIONED))
            + "."
        )
    state = {}
    for ours, theirs in names.items():
        array = keras.ops.convert_to_numpy(variables[ours])
        if ours.endswith("/kernel"):
            array = array.transpose(-1, -2, *range(array.ndim - 2))
        state[str(theirs)] = np.ascontiguousarray(array)
        if ours.endswith("/moving_variance"):
            norm = str(theirs).rpartition(".")[0]
            state[f"{norm}.num_batches_tracked"] = np.array(0, "int64")
    return state


def _application(model: keras.Model, layout: Layout) -> keras.Model:
    """Returns the network of `keras.applications` with the model's weights."""
    variables = variables_by_name(model)
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    said = statement(of_model(model))
    network = next(
        (n for n in likely_networks(shapes, said) if n in _APPLICATIONS),
        None,
    )
    if network is None:
        raise ValueError(
            f"{model.name!r} cannot be exported as 'keras': it is none of "
            f"{', '.join(map(repr, _APPLICATIONS))}, which keras.applications has."
        )
    head = shapes.get("predictions/kernel")
    channels = shapes["conv1_conv/kernel"][-2]
    channels_last = keras.config.image_data_format() == "channels_last"
    application = _APPLICATIONS[network](
        weights=None,
        include_top=head is not None,
        # The smallest that it takes; the weights do not depend on it.
        input_shape=(32, 32, channels) if channels_last else (channels, 32, 32),
        **({"classes": head[-1]} if head else {}),
    )
    for name, variable in variables_by_name(application).items():
        if name in variables:
            array = keras.ops.convert_to_numpy(variables[name])
        else:
            array = np.zeros(variable.shape, "float32")
        if name.endswith("/moving_variance"):
            array = (array.astype("float64") - layout.excess_epsilon).astype("float32")
        variable.assign(array)
    return application


def _save_safetensors(state: dict[str, np.ndarray], path: pathlib.Path) -> None:
    import safetensors.numpy

    # The entry is what transformers and timm look for.
    safetensors.numpy.save_file(state, path, metadata={"format": "pt"})


def _save_torch(state: dict[str, np.ndarray], path: pathlib.Path) -> None:
    import torch

    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, path)


_TORCH_WRITERS: dict[str, Callable[[Any, pathlib.Path], None]] = {
    ".safetensors": _save_safetensors,
    ".pth": _save_torch,
}
_WRITERS: dict[str, dict[str, Callable[[Any, pathlib.Path], None]]] = {
    "torchvision": _TORCH_WRITERS,
    "timm": _TORCH_WRITERS,
    "keras": {".weights.h5": keras.Model.save_weights, ".h5": keras.Model.save},
}
_CONTENTS: dict[str, Callable[[keras.Model, Layout], Any]] = {
    "torchvision": _state_dict,
    "timm": _state_dict,
    "keras": _application,
}
