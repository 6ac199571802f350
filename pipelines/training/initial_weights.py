"""Starting from the weights of an earlier run or file."""

from pathlib import Path

import keras

from keras_resnet.applications import load_weights
from pipelines.errors import UserError

_HEAD = "predictions"


def load_initial_weights(model: keras.Model, source: str) -> bool:
    """Fills `model` from an earlier run or a weights file.

    Args:
        model: The network to fill.
        source: A run's folder, or a `.keras` or `.weights.h5` file.

    Returns:
        Whether the classifier was loaded too; it is left random where the earlier
        network, from a run or `.keras` file, has another number of classes.

    Raises:
        UserError: If the source does not exist, is damaged or is another network.
    """
    path = Path(source)
    if path.is_dir():
        path = path / "model" / "model.keras"
    if not path.is_file():
        raise UserError(
            f"--weights={source}: there is no file {path}; give a finished run's "
            "folder, or a .keras or .weights.h5 file"
        )
    if path.suffix != ".keras":
        try:
            load_weights(model, path)
        except ValueError as error:
            raise UserError(f"--weights={source}: {error}") from error
        return True
    try:
        earlier = keras.saving.load_model(path, compile=False)
    except Exception as error:
        # Keras raises whatever zipfile, h5py or a layer raises.
        raise UserError(f"--weights={source} cannot be read: {error}") from error
    return _copy_weights(earlier, model, source)


def _copy_weights(earlier: keras.Model, model: keras.Model, source: str) -> bool:
    found = {layer.name: layer.get_weights() for layer in earlier.layers}
    weights = {}
    for layer in model.layers:
        if not layer.weights:
            continue
        values = found.get(layer.name, [])
        if [v.shape for v in values] == [w.shape for w in layer.weights]:
            weights[layer] = values
        elif layer.name != _HEAD:
            raise UserError(
                f"--weights={source} holds the network {earlier.name!r}, which does "
                f"not fit {model.name!r} at layer {layer.name!r}; give the --model it "
                "was trained with"
            )
    for layer, values in weights.items():
        layer.set_weights(values)
    return any(layer.name == _HEAD for layer in weights)
