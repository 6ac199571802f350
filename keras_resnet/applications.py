"""The published networks as functions in the manner of `keras.applications`."""

import os
from typing import Any, Protocol

import keras

from keras_resnet.builder import create
from keras_resnet.networks import NETWORKS


class Application(Protocol):
    """What every function of this module takes and returns."""

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
        **overrides: Any,
    ) -> keras.Model:
        """Builds the network, see for example `keras_resnet.ResNet50`."""


_DOCSTRING = """Builds {title} ({source}).

    Takes what `keras.applications.ResNet50` takes, and names its layers alike.

    Args:
        include_top: Whether to end with average pooling and the classifier.
        weights: None for random weights, or the path of a `.weights.h5` or `.keras`
            file. {weights}
        input_tensor: Keras tensor to use as the images.
        input_shape: `(height, width, channels)`, or channels first if that is
            `keras.config.image_data_format()`. Defaults to `({size}, {size}, 3)`, and
            to `(None, None, 3)` with `include_top=False`.
        pooling: Without top: None for `(batch, height, width, channels)`, `"avg"` or
            `"max"` for `(batch, channels)`.
        classes: Number of classes. Defaults to {classes}.
        classifier_activation: Activation of the classifier, None for logits.
        name: Name of the model. Defaults to `"{name}"`.
        **overrides: What `keras_resnet.create` takes: fields of `ResNetSpec`, such as
            `shortcut="C"`, and arguments of `build`, such as `output_stride=8`.

    Returns:
        A functional `keras.Model` for normalised images; with top, its output is
        `(batch, classes)`.

    Raises:
        ValueError: If an argument is not as above, or the weights do not fit.

    Example:

    >>> model = keras_resnet.{title}(weights=None, classes=5)
    """


def _application(title: str, source: str) -> Application:
    spec = NETWORKS[title.lower()]
    # Only ImageNet networks inherit the default of keras.applications.
    default = "imagenet" if spec.classes == 1000 and spec.shortcut != "none" else None

    def application(
        include_top: bool = True,
        weights: str | os.PathLike[str] | None = default,
        input_tensor: Any = None,
        input_shape: tuple[int | None, ...] | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: str | None = "softmax",
        name: str | None = None,
        **overrides: Any,
    ) -> keras.Model:
        _check_weights(title, weights)
        model = create(
            spec.name,
            include_top=include_top,
            input_tensor=input_tensor,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            name=name,
            **overrides,
        )
        if weights is not None:
            load_weights(model, weights)
        return model

    application.__name__ = application.__qualname__ = title
    application.__doc__ = _DOCSTRING.format(
        title=title,
        source=source,
        name=spec.name,
        size=spec.input_size,
        classes=spec.classes,
        weights=(
            'The default `"imagenet"` is refused: none are published here yet.'
            if default
            else "Defaults to None."
        ),
    )
    return application


def _check_weights(title: str, weights: str | os.PathLike[str] | None) -> None:
    if weights is None or os.path.isfile(weights):
        return
    if weights == "imagenet":
        raise ValueError(
            f"No ImageNet weights are published here for {title} yet: pass "
            "`weights=None` for random weights, or the path of a `.weights.h5` or "
            "`.keras` file."
        )
    raise ValueError(
        "`weights` must be None or the path of a `.weights.h5` or `.keras` file, and "
        f"there is no file {os.fspath(weights)!r}."
    )


def load_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Loads a `.weights.h5` or `.keras` file into `model`.

    Args:
        model: The model to fill; unchanged if the file does not fit.
        path: The file.

    Raises:
        ValueError: If the file is damaged or holds another network.

    Example:

    >>> load_weights(keras_resnet.ResNet20(), "runs/demo/model.keras")
    """
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
