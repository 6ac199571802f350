"""The published networks with their weights, also as functions by name.

The functions are in the manner of `keras.applications`.
"""

import dataclasses
import difflib
import inspect
import os
import warnings
from collections.abc import Collection, Iterable
from typing import Any, Protocol

import keras

from keras_resnet import networks
from keras_resnet import weights as published
from keras_resnet.builder import build
from keras_resnet.preprocessing import MODES, Preprocessing
from keras_resnet.spec import ResNetSpec


def create(
    name: str | os.PathLike[str],
    /,
    *,
    weights: str | os.PathLike[str] | None = None,
    include_preprocessing: bool = False,
    **overrides: Any,
) -> keras.Model:
    """Builds a network of the table, with weights, and with anything about it changed.

    Args:
        name: A key of `NETWORKS`; `keras_resnet.list_models()` lists them. Or the path
            of a file that `python -m pipelines.tune` wrote, such as
            `"runs/tune/best.json"`, for the network that was found, with the classes
            and the image size that it was found with.
        weights: None for random weights; otherwise what `keras_resnet.load_weights`
            takes: `"imagenet"`, the name of a preset, a path, `hf://owner/repository`
            or a URL with its checksum.
        include_preprocessing: Whether the model normalises images of 0 to 255 by
            itself: as the weights want it or, where they do not tell, those that
            `"imagenet"` means for the network, or else as PyTorch's weights do.
        **overrides: Fields of `ResNetSpec`, such as `shortcut="C"` or `rank=3`, and
            arguments of `keras_resnet.build`, such as `output_stride=8`. `classes` and
            `name` are those of `build`. With `weights`, `classes` asks for a new
            classifier where they have another number; a warning says so.

    Returns:
        The `keras.Model`. Its attribute `preset` tells what was loaded, None for random
        weights.

    Raises:
        ValueError: If there is no such network, an override is refused, or the weights
            cannot be had or do not fit.
        TypeError: If there is no such override; the message names the nearest.

    Example:

    >>> model = keras_resnet.create("resnet18", rank=1, input_shape=(16000, 1))
    """
    if str(name).endswith(".json"):
        spec = networks.read(name)
        overrides.setdefault("classes", spec.classes)
    else:
        spec = networks.find(str(name))
    fields = {field.name for field in dataclasses.fields(ResNetSpec)}
    _check_names(overrides, fields | set(inspect.signature(build).parameters))
    changes = {
        field: overrides.pop(field)
        for field in fields - {"name", "classes"}
        if field in overrides
    }
    has_top = overrides.get("include_top", True)
    has_top = has_top and overrides.get("feature_levels") is None
    located = None
    if weights is not None:
        try:
            located = published.locate(weights, spec.name, include_top=has_top)
        except ValueError as error:
            raise ValueError(
                f"{error} `weights=None` builds {spec.name!r} with random weights."
            ) from error
    if include_preprocessing:
        overrides["preprocessing"] = _preprocessing(spec.name, located)
    model = build(dataclasses.replace(spec, **changes), **overrides)
    loaded = published.load_weights(
        model, located, new_head=overrides.get("classes") is not None
    )
    if located is not None and loaded.new_classifier:
        warnings.warn(
            f"{model.name!r} has a new classifier, with random weights: those in "
            f"{located.source!r} are for another number of classes than "
            f"{overrides['classes']}.",
            stacklevel=2,
        )
    return model


def _check_names(overrides: Iterable[str], known: Collection[str]) -> None:
    for name in overrides:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise TypeError(
                f"There is no argument `{name}`"
                + (f": did you mean `{near[0]}`?" if near else ".")
            )


def _preprocessing(
    network: str, located: published.LocatedWeights | None
) -> Preprocessing:
    if located is not None and located.preprocessing is not None:
        return located.preprocessing
    if network in published.DEFAULTS:
        return published.default_preset(network).preprocessing or MODES["torch"]
    return MODES["torch"]


class Application(Protocol):
    """What every function by the name of a network takes and returns."""

    def __call__(
        self,
        include_top: bool = True,
        weights: str | os.PathLike[str] | None = ...,
        input_tensor: Any = None,
        input_shape: tuple[int | None, ...] | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: str | None = "softmax",
        name: str | None = None,
        include_preprocessing: bool = False,
        **overrides: Any,
    ) -> keras.Model:
        """Builds the network, see for example `keras_resnet.ResNet50`."""


_DOCSTRING = """Builds {title} ({source}).

    Takes what `keras.applications.ResNet50` takes, and names its layers alike.

    Args:
        include_top: Whether to end with average pooling and the classifier.
        weights: What `keras_resnet.load_weights` takes: a preset, a path,
            `hf://owner/repository` or a URL with its checksum; None for random weights.
            Defaults to {weights}.
        input_tensor: Keras tensor to use as the images.
        input_shape: `(height, width, channels)`, or channels first if that is
            `keras.config.image_data_format()`. Defaults to `({size}, {size}, 3)`, and
            to `(None, None, 3)` with `include_top=False`.
        pooling: Without top: None for `(batch, height, width, channels)`, `"avg"` or
            `"max"` for `(batch, channels)`.
        classes: Number of classes. Defaults to {classes}. Where the weights have
            another number, the classifier stays random, and a warning says so.
        classifier_activation: Activation of the classifier, None for logits.
        name: Name of the model. Defaults to `"{name}"`.
        include_preprocessing: Whether the model normalises images of 0 to 255 by
            itself, see `keras_resnet.create`. Otherwise they must come normalised.
        **overrides: What `keras_resnet.create` takes: fields of `ResNetSpec`, such as
            `shortcut="C"`, and arguments of `build`, such as `output_stride=8`.

    Returns:
        A functional `keras.Model`; with top, its output is `(batch, classes)`.

    Raises:
        ValueError: If an argument is not as above, or the weights do not fit.

    Example:

    >>> model = keras_resnet.{title}(weights=None, classes=5)
    """


def _application(title: str, source: str) -> Application:
    spec = networks.find(title.lower())
    has_weights = spec.name in published.DEFAULTS
    default = "imagenet" if has_weights else None

    def application(
        include_top: bool = True,
        weights: str | os.PathLike[str] | None = default,
        input_tensor: Any = None,
        input_shape: tuple[int | None, ...] | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: str | None = "softmax",
        name: str | None = None,
        include_preprocessing: bool = False,
        **overrides: Any,
    ) -> keras.Model:
        return create(
            spec.name,
            include_top=include_top,
            weights=weights,
            input_tensor=input_tensor,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            name=name,
            include_preprocessing=include_preprocessing,
            **overrides,
        )

    application.__name__ = application.__qualname__ = title
    application.__doc__ = _DOCSTRING.format(
        title=title,
        source=source,
        name=spec.name,
        size=spec.input_size,
        classes=spec.classes,
        weights=(
            f'`"imagenet"`, the preset `"{published.DEFAULTS[spec.name]}"`'
            if has_weights
            else "None"
        ),
    )
    return application


ResNet18 = _application("ResNet18", "Table 1")
ResNet34 = _application("ResNet34", "Table 1")
ResNet50 = _application("ResNet50", "Table 1")
ResNet101 = _application("ResNet101", "Table 1")
ResNet152 = _application("ResNet152", "Table 1")
ResNet50V2 = _application("ResNet50V2", "1603.05027, as in keras.applications")
ResNet101V2 = _application("ResNet101V2", "1603.05027, as in keras.applications")
ResNet152V2 = _application("ResNet152V2", "1603.05027, as in keras.applications")
PlainNet18 = _application("PlainNet18", "section 3.3")
PlainNet34 = _application("PlainNet34", "section 3.3")
ResNet20 = _application("ResNet20", "section 4.2, n = 3")
ResNet32 = _application("ResNet32", "section 4.2, n = 5")
ResNet44 = _application("ResNet44", "section 4.2, n = 7")
ResNet56 = _application("ResNet56", "section 4.2, n = 9")
ResNet110 = _application("ResNet110", "section 4.2, n = 18")
ResNet1202 = _application("ResNet1202", "section 4.2, n = 200")
PlainNet20 = _application("PlainNet20", "section 4.2, n = 3")
PlainNet32 = _application("PlainNet32", "section 4.2, n = 5")
PlainNet44 = _application("PlainNet44", "section 4.2, n = 7")
PlainNet56 = _application("PlainNet56", "section 4.2, n = 9")
PlainNet110 = _application("PlainNet110", "section 4.2, n = 18")
ResNet164 = _application("ResNet164", "1603.05027, table 2")
ResNet1001 = _application("ResNet1001", "1603.05027, table 2")
