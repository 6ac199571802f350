"""From a file of weights, in any layout, into a model; all of it or nothing."""

import dataclasses
import os
import warnings
from collections.abc import Mapping

import keras
import numpy as np

from keras_resnet.networks import NETWORKS
from keras_resnet.weights.files import Weights, is_keras_file, read
from keras_resnet.weights.identification import likely_networks
from keras_resnet.weights.layouts import LAYOUTS, Layout
from keras_resnet.weights.naming import (
    recognize,
    said_by_variants,
    to_ours,
    unwrapped,
    variants_of_file,
)
from keras_resnet.weights.traits import (
    Statement,
    Traits,
    differences,
    of_layers,
    of_model,
    of_spec,
    statement,
)

_FIRST_KERNELS = ("conv1_conv/kernel", "conv1_1_conv/kernel")
_MENTIONED = 3


def load_file(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    layout: str | None = None,
    traits: Traits | None = None,
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
        traits: What is known of the file's network that no weight shows.
        new_head: Whether the classifier may stay as it is in the model, where the file
            has none, or one for another number of classes.

    Returns:
        Whether the classifier did.

    Raises:
        ValueError: If the file cannot be read, does not fit, or holds what no network
            can have learnt: the message lists the first differences and the networks
            that the file does fit.

    Warns:
        UserWarning: If the file may as well be of another network of the table, whose
            weights have the same names and shapes.

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
    weights = dataclasses.replace(weights, tensors=unwrapped(weights.tensors))
    known = recognize(weights) if layout is None else LAYOUTS[layout]
    tensors, unknown = to_ours(weights.tensors, known) if known else ({}, [])
    is_foreign = known is None or (known.keeps_names and unknown)
    if is_foreign and layout is None and not new_head and is_keras_file(path):
        _check_numbers(weights.tensors, os.fspath(path))
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

    # Names do not tell a file from one of a library with the same.
    author = known if layout or not known.namesake else LAYOUTS[known.namesake]
    said = _said(weights, author, traits or {})
    different = {
        "it lacks": [name for name in wanted if name not in tensors],
        "it also has": [*(name for name in tensors if name not in wanted), *unknown],
        "it has other shapes for": [
            f"{name} ({tensors[name].shape} instead of {shape})"
            for name, shape in wanted.items()
            if name in tensors and tensors[name].shape != shape
        ],
        "it is of a network with": differences(of_model(model), said),
    }
    networks = likely_networks(found, said)
    if any(different.values()):
        names = [name for names in different.values() for name in names]
        raise ValueError(
            f"The {known.name} weights in {os.fspath(path)!r} do not fit "
            f"{model.name!r}: {_list(different)}; {_advice(names, networks)}"
        )
    _check_numbers(tensors, os.fspath(path))
    _warn_of_untold(model, os.fspath(path), networks, said)
    for name, array in tensors.items():
        variables[name].assign(array)
    return has_new_head and bool(heads[0])


def variables_by_name(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns the weights of a model as `{"conv1_conv/kernel": variable, ...}`."""
    return {"/".join(w.path.split("/")[-2:]): w for w in model.weights}


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


def _said(weights: Weights, layout: Layout, traits: Traits) -> Statement:
    """Returns what is said of the network of a file, by the file itself at last."""
    if layout.traits is None:
        return {**statement(traits), **statement(of_layers(weights.layers))}
    shown = variants_of_file(weights.tensors, layout)
    by_names = said_by_variants(layout, shown)
    return {**layout.traits, **statement(traits), **by_names}


def _warn_of_untold(
    model: keras.Model, path: str, networks: list[str], said: Statement
) -> None:
    """Warns of a file that may as well be another network's."""
    traits = of_model(model)
    possible = [of_spec(NETWORKS[name]) for name in networks]
    untold = [
        f"`{trait}={value!r}`"
        for trait, value in traits.items()
        if len(said.get(trait, ())) != 1
        and any(other.get(trait, value) != value for other in possible)
    ]
    if untold:
        warnings.warn(
            f"Nothing in {path!r} tells that its network has {' and '.join(untold)}, "
            f"as {model.name!r} has: it fits {' or '.join(map(repr, networks))}. Say "
            "whose weights they are, with `layout` or as PRESET=path, to have it "
            "checked.",
            stacklevel=4,
        )


def _check_numbers(tensors: Mapping[str, np.ndarray], path: str) -> None:
    """Refuses weights of a training that diverged, or of a damaged file."""
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            reason = "holds NaN or infinity"
        elif name.endswith("/moving_variance") and (array < 0).any():
            reason = "is negative in places"
        else:
            continue
        raise ValueError(
            f"The weights in {path!r} are of no use, for {name} {reason}: get the file "
            "anew, or take one from before the training diverged."
        )


def _list(different: Mapping[str, list[str]]) -> str:
    return ", ".join(
        f"{what} {', '.join(names[:_MENTIONED])}"
        + (f" and {len(names) - _MENTIONED} more" if len(names) > _MENTIONED else "")
        for what, names in different.items()
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
