"""A trained network as files: what training hands on."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras

import keras_resnet
from keras_resnet.preprocessing import Preprocessing
from pipelines import files
from pipelines.data import folders


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A trained network and what its input and output mean.

    Args:
        directory: Holds `model.keras`, which gives probabilities for normalised images,
            and `model.json`, the other values here and the SHA-256 of the network.
        network: The network, with the number of classes it was trained for.
        preprocessing: How an image becomes its input.
        classes: The class names in the order of its output.
        sha256: Of `model.keras` as it was saved, hexadecimal; empty for an older model.
        temperature: What its logits are divided by when it is loaded, so that its
            probabilities are calibrated (Guo et al., 1706.04599); not in the files.

    Example:

    >>> model = TrainedModel.load(Path("runs/demo/model"))
    >>> model.load_keras().summary()
    """

    directory: Path
    network: keras_resnet.ResNetSpec
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    sha256: str = dataclasses.field(default="", compare=False)
    temperature: float = 1.0

    @property
    def keras_path(self) -> Path:
        """The network in Keras' own format."""
        return self.directory / "model.keras"

    @property
    def made_from(self) -> dict[str, Any]:
        """What an export of it is made from, see `next_version`."""
        made_from: dict[str, Any] = {"model": model_fingerprint(self.directory)}
        if self.temperature != 1:
            made_from["temperature"] = self.temperature
        return made_from

    @property
    def labels(self) -> str:
        """The class names, each on a line, as the file beside an exported model."""
        return "".join(f"{name}\n" for name in self.classes)

    def load_keras(self) -> keras.Model:
        """Returns the network, however deep."""
        keras_resnet.builder.allow_recursion(self.network)
        network = keras.saving.load_model(self.keras_path, compile=False)
        # Its last layer is linear but for the softmax.
        classifier = network.layers[-1]
        classifier.set_weights(
            [weight / self.temperature for weight in classifier.get_weights()]
        )
        return network

    def load_logits(self) -> keras.Model:
        """Returns the network with logits in place of probabilities."""
        network = self.load_keras()
        network.layers[-1].activation = keras.activations.linear
        return network

    def save(self, model: keras.Model) -> None:
        """Writes the network and then the values, so that those mean a whole model."""
        with files.replacing(self.keras_path) as temporary:
            model.save(temporary)
        values = dataclasses.asdict(self)
        del values["directory"], values["temperature"]
        values["sha256"] = files.fingerprint(self.keras_path)
        text = json.dumps(values, indent=2, ensure_ascii=False)
        files.write_text(self.directory / _MODEL_VALUES, text + "\n")

    @classmethod
    def is_in(cls, directory: Path) -> bool:
        """Tells whether `directory` holds a finished model."""
        return (directory / _MODEL_VALUES).is_file()

    @classmethod
    def load(cls, directory: Path) -> "TrainedModel":
        """Returns the model in `directory`.

        Raises:
            UserError: If there is none, or none that can be read.
        """
        with folders.read_values(
            directory / _MODEL_VALUES,
            missing=f"{directory} holds no model (no {_MODEL_VALUES})",
            mend="train again",
        ) as values:
            return cls(
                directory=directory,
                network=keras_resnet.ResNetSpec(**values["network"]),
                preprocessing=_preprocessing(values["preprocessing"]),
                classes=tuple(values["classes"]),
                sha256=values.get("sha256", ""),
            )


def _preprocessing(values: dict[str, Any]) -> Preprocessing:
    if "size" in values:  # Older models: by another name, and of levels 0..255.
        values = {**values, "crop": values["size"], "scale": 1.0}
        del values["size"]
    return Preprocessing(**values)


def model_fingerprint(directory: Path) -> dict[str, str]:
    """Returns the SHA-256 of a trained model's two files, by their names.

    Args:
        directory: See `TrainedModel`.

    Raises:
        OSError: If one cannot be read.

    Example:

    >>> list(model_fingerprint(Path("runs/demo/model")))
    ['model.keras', 'model.json']
    """
    names = ("model.keras", _MODEL_VALUES)
    return {name: files.fingerprint(directory / name) for name in names}


_MODEL_VALUES = "model.json"
