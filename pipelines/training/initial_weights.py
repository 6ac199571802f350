"""Starting from the weights of an earlier run, or from published ones."""

import dataclasses
import json
from pathlib import Path

import keras

from keras_resnet import weights
from keras_resnet.preprocessing import Preprocessing
from keras_resnet.weights import LoadedWeights
from pipelines import files
from pipelines.errors import UserError
from pipelines.training.model import TrainedModel


def load_initial_weights(model: keras.Model, source: str) -> LoadedWeights:
    """Fills `model` from an earlier run, a file or a preset.

    Args:
        model: The network to fill.
        source: A run's folder, or what `keras_resnet.load_weights` takes.

    Returns:
        Whether the classifier is new, for its number of classes, and how the weights
        want images: as the earlier run prepared them, or the preset's publisher.

    Raises:
        UserError: If the source does not exist, is damaged or is another network.
    """
    path = Path(source)
    own = path / "model" / "model.keras"
    if own.is_file():
        path = own
    elif (path / "run.json").is_file():
        raise UserError(
            f"--weights={source}: there is no file {own}; give the folder of a run "
            "that is finished"
        )
    try:
        located = weights.locate(str(path) if path.exists() else source, model.name)
        loaded = weights.load_weights(model, located, new_head=True)
    except ValueError as error:
        raise UserError(f"--weights={source}: {error}") from error
    if path.name == own.name and TrainedModel.is_in(path.parent):
        run = TrainedModel.load(path.parent)
        return dataclasses.replace(loaded, preprocessing=run.preprocessing)
    return loaded


def licence_of(source: str, network: str) -> str | None:
    """Returns the licence of a preset's weights, None of others and where unknown.

    Args:
        source: See `load_initial_weights`.
        network: The name of the network, for `"imagenet"`.

    Example:

    >>> licence_of("timm/resnet50.a1_in1k", "resnet50")
    'apache-2.0'
    """
    name = source.partition("=")[0]
    if name == "imagenet":
        return weights.default_preset(network).licence
    preset = weights.PRESETS.get(name)
    return preset.licence if preset else None


def keep_preprocessing(directory: Path, preprocessing: Preprocessing) -> None:
    """Notes what a run begins with, since its weights may be gone when it goes on."""
    text = json.dumps(dataclasses.asdict(preprocessing), indent=2)
    files.write_text(directory / _KEPT, text + "\n")


def kept_preprocessing(directory: Path) -> Preprocessing:
    """Returns what a run began with; runs before there was this file had the default.

    Raises:
        UserError: If the file is damaged.
    """
    path = directory / _KEPT
    if not path.exists():
        return Preprocessing()
    try:
        return Preprocessing(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); --overwrite starts the run afresh"
        ) from error


_KEPT = "preprocessing.json"
