"""Deep residual networks for Keras 3, as He, Zhang, Ren and Sun describe them.

Networks of *Deep Residual Learning for Image Recognition* (arXiv:1512.03385) and their
heirs, on any Keras backend, with the signature and layer names of
`keras.applications`.

Example:

>>> import keras_resnet
>>> model = keras_resnet.ResNet152(weights=None)
>>> print(keras_resnet.analysis.cost(model))
"""

from keras_resnet import (
    analysis,
    arrays,
    blocks,
    layers,
    preprocessing,
    shortcuts,
    surgery,
    training,
    tuning,
    weights,
)
from keras_resnet.applications import (
    PlainNet18,
    PlainNet20,
    PlainNet32,
    PlainNet34,
    PlainNet44,
    PlainNet56,
    PlainNet110,
    ResNet18,
    ResNet20,
    ResNet32,
    ResNet34,
    ResNet44,
    ResNet50,
    ResNet50V2,
    ResNet56,
    ResNet101,
    ResNet101V2,
    ResNet110,
    ResNet152,
    ResNet152V2,
    ResNet164,
    ResNet1001,
    ResNet1202,
    create,
)
from keras_resnet.builder import build
from keras_resnet.conv import Settings
from keras_resnet.networks import NETWORKS, list_models
from keras_resnet.preprocessing import decode_predictions, preprocess_input
from keras_resnet.remat import rematerialize
from keras_resnet.spec import ResNetSpec
from keras_resnet.weights import export_weights, list_presets, load_weights

__version__ = "0.1.0"

__all__ = [
    "analysis",
    "arrays",
    "blocks",
    "layers",
    "preprocessing",
    "shortcuts",
    "surgery",
    "training",
    "tuning",
    "weights",
    "PlainNet18",
    "PlainNet20",
    "PlainNet32",
    "PlainNet34",
    "PlainNet44",
    "PlainNet56",
    "PlainNet110",
    "ResNet18",
    "ResNet20",
    "ResNet32",
    "ResNet34",
    "ResNet44",
    "ResNet50",
    "ResNet50V2",
    "ResNet56",
    "ResNet101",
    "ResNet101V2",
    "ResNet110",
    "ResNet152",
    "ResNet152V2",
    "ResNet164",
    "ResNet1001",
    "ResNet1202",
    "create",
    "build",
    "Settings",
    "NETWORKS",
    "list_models",
    "decode_predictions",
    "preprocess_input",
    "rematerialize",
    "ResNetSpec",
    "export_weights",
    "list_presets",
    "load_weights",
]


def __dir__() -> list[str]:
    """Lists what is meant for users, without what was imported on the way."""
    return __all__
