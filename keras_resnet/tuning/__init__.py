"""The space of networks and recipes that a search draws from.

`HyperResNet` needs KerasTuner (`pip install keras-tuner`); nothing else here does.
"""

from typing import Any

from keras_resnet.tuning.around import SpaceAround as SpaceAround
from keras_resnet.tuning.space import SPACES as SPACES
from keras_resnet.tuning.space import Choice as Choice
from keras_resnet.tuning.space import Range as Range
from keras_resnet.tuning.space import Space as Space
from keras_resnet.tuning.space import Times as Times


def __getattr__(name: str) -> Any:
    """Imports KerasTuner when its hypermodel is asked for, and not before."""
    if name not in ("HyperResNet", "declare"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from keras_resnet.tuning import hypermodel
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"`keras_resnet.tuning.{name}` needs KerasTuner: pip install keras-tuner"
        ) from error
    return getattr(hypermodel, name)
