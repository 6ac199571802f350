"""Starting from the weights of an earlier run, or from published ones."""

from pathlib import Path

import keras
import numpy as np

from keras_resnet import weights
from keras_resnet.preprocessing import Preprocessing
from pipelines.data import preprocessing
from pipelines.errors import UserError


def load_initial_weights(model: keras.Model, source: str) -> bool:
    """Fills `model` from an earlier run, a file or a preset.

    Args:
        model: The network to fill.
        source: A run's folder, or what `keras_resnet.load_weights` takes.

    Returns:
        Whether the classifier was loaded too; it is left random where the weights are
        for another number of classes.

    Raises:
        UserError: If the source does not exist, is damaged, is another network, or
            wants its images prepared otherwise than the pipelines do.
    """
    path = Path(source)
    if (path / "run.json").is_file():
        path = path / "model" / "model.keras"
        if not path.is_file():
            raise UserError(
                f"--weights={source}: there is no file {path}; give the folder of a "
                "run that is finished"
            )
    elif (path / "model" / "model.keras").is_file():
        path = path / "model" / "model.keras"
    try:
        located = weights.locate(str(path) if path.exists() else source, model.name)
        _check_pixels(located.preprocessing, source)
        return not weights.load_weights(model, located, new_head=True)
    except ValueError as error:
        raise UserError(f"--weights={source}: {error}") from error


def _check_pixels(wanted: Preprocessing | None, source: str) -> None:
    """Refuses weights that were trained on pixels normalised in another way."""
    if wanted is None:
        return
    ours = preprocessing.Preprocessing(size=224, resize=256)
    is_ours = (
        wanted.channels == "rgb"
        and np.allclose(np.multiply(wanted.mean, wanted.scale), ours.mean)
        and np.allclose(np.multiply(wanted.std, wanted.scale), ours.std)
    )
    if not is_ours:
        raise UserError(
            f"--weights={source}: they want pixels of mean {wanted.mean} and deviation "
            f"{wanted.std} in {wanted.channels} order, which the pipelines do not "
            "prepare; take those of torchvision or timm, for example with "
            "--model=resnet50_v1_5"
        )
