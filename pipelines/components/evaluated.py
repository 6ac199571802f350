"""The models that are evaluated: of runs, presets and files."""

import dataclasses
import functools
import importlib.resources
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_resnet
from keras_resnet.preprocessing import Preprocessing
from keras_resnet.weights import PRESETS
from pipelines import files
from pipelines.components.example_gen import example_gen
from pipelines.data.examples import Examples
from pipelines.data.sources import open_source
from pipelines.errors import UserError
from pipelines.runs.folder import Run
from pipelines.serving.local import LocalModel
from pipelines.serving.versions import read_made_from
from pipelines.training.model import TrainedModel, model_fingerprint
from pipelines.training.network import takes_pixels


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A classifier that is to be evaluated.

    Args:
        source: What `--model` calls it.
        network: Gives logits `(batch, classes)` for uint8 images of any size; an
            exported one for those of its own.
        preprocessing: How an image becomes its input.
        classes: The class names in the order of its output; empty if it has none.
        made_from: What decides its answers, as JSON has it.
    """

    source: str
    network: "keras.Model | Exported"
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    made_from: dict[str, Any]

    @classmethod
    def load(cls, source: str) -> "Evaluated":
        """Returns the classifier that `source` names.

        Args:
            source: A run's folder, its `model/`, or an exported version in it; a
                preset; `PRESET=FILE` for a file like a preset.

        Raises:
            UserError: If there is none, or none that can be read.

        Example:

        >>> Evaluated.load("timm/resnet50.a1_in1k").preprocessing.crop
        288
        """
        path = Path(source).expanduser()
        own = path.parent if path.name == "model.keras" else path
        for directory in (own, path / "model"):
            if TrainedModel.is_in(directory):
                return cls._of_run(source, TrainedModel.load(directory))
        if (path / "run.json").is_file():
            raise UserError(
                f"--model={source} is a run that is not finished; finish it"
            )
        if source.partition("=")[0] in PRESETS:
            return cls._of_preset(source)
        if (path / "saved_model.pb").is_file():
            return cls._of_export(source, path.resolve())
        if path.is_file():
            raise UserError(
                f"--model={source} does not say what network it is; write PRESET="
                f"{source} with the preset whose weights are named as its are"
            )
        raise UserError(
            f"--model={source} is no model; give the folder of a finished run, an "
            "exported version in it, a preset, or PRESET=FILE"
        )

    @classmethod
    def _of_export(cls, source: str, version: Path) -> "Evaluated":
        """Returns the network that a version was made from, or else the version.

        The former can be looked into. Its run is `<run>/serving/<network>/<version>`'s,
        or one of `exports/`.
        """
        said = read_made_from(version)
        for run in version.parents[2:4]:
            directory = run / "model"
            if not TrainedModel.is_in(directory):
                continue
            if said.get("model") == model_fingerprint(directory):
                model = TrainedModel.load(directory)
                temperature = said.get("temperature", 1.0)
                model = dataclasses.replace(model, temperature=temperature)
                return cls._of_run(source, model)
        sizes = said.get("about", {}).get("preprocessing")
        if not sizes:
            raise UserError(
                f"--model={source} does not tell how it prepares images, and the "
                f"network it was made from is not in {version.parents[2] / 'model'}; "
                "give a run, or export again"
            )
        made_from = {**said["model"]}
        if "temperature" in said:
            made_from["temperature"] = said["temperature"]
        local = LocalModel.load(version)
        return cls(
            source, Exported(local), Preprocessing(**sizes), local.classes, made_from
        )

    @classmethod
    def _of_run(cls, source: str, model: TrainedModel) -> "Evaluated":
        network = keras_resnet.build(
            model.network, input_shape=(None, None, 3), classifier_activation=None
        )
        network.set_weights(model.load_keras().get_weights())
        made_from = model.made_from
        return cls(
            source,
            takes_pixels(network, model.preprocessing),
            model.preprocessing,
            model.classes,
            {**made_from.pop("model"), **made_from},
        )

    @classmethod
    def _of_preset(cls, source: str) -> "Evaluated":
        name, _, file = source.partition("=")
        preset = PRESETS[name]
        try:
            network = keras_resnet.create(
                preset.network,
                weights=source,
                classes=preset.classes,
                input_shape=(None, None, 3),
                classifier_activation=None,
            )
        except ValueError as error:
            raise UserError(f"--model={source}: {error}") from error
        size = preset.input_size or keras_resnet.NETWORKS[preset.network].input_size
        said = network.preset.preprocessing or Preprocessing()
        crop = said.crop or size
        preprocessing = dataclasses.replace(
            said, crop=crop, resize=said.resize or round(crop * 256 / 224)
        )
        made_from = {"preset": name}
        if file:
            made_from["sha256"] = files.fingerprint(Path(network.preset.path))
        pixels = takes_pixels(network, preprocessing)
        return cls(source, pixels, preprocessing, (), made_from)


class Exported:
    """An exported model where an evaluation expects a network.

    Args:
        model: The model.
    """

    def __init__(self, model: LocalModel) -> None:
        self._saved = model.saved
        self.output_shape = (None, len(model.classes))

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns logits for uint8 images `(batch, size, size, 3)` of its own size."""
        del training  # It is folded.
        return tf.math.log(self._saved.scores_of_pixels(images)["probabilities"])


def examples_for(
    models: Sequence[str],
    data: str,
    directory: Path,
    *,
    split: str = "validation",
    max_bad_share: float = 0.01,
) -> Examples:
    """Returns what models are evaluated on.

    Args:
        models: What `--model` names.
        data: What `python -m pipelines.prepare_data` made; any other source of images
            with their classes, see `open_source`, of which records are made; empty for
            what the first model, a run's, was trained with.
        directory: Gets those records, in place of those of other data.
        split: `"train"` or `"validation"`: which images are asked for.
        max_bad_share: Greatest share of images that may be left out.

    Returns:
        The examples; of those that were made here, all are validation images.

    Raises:
        UserError: If there are no such examples.
    """
    if data:
        if examples := Examples.prepared(data):
            return examples
        made = directory / f"examples-{open_source(data).fingerprint[:12]}-{split}"
        for other in directory.glob("examples-*"):
            if other.name.removesuffix(".partial") != made.name:
                shutil.rmtree(other)
        return example_gen(data, made, max_bad_share=max_bad_share, held_out=split)
    run = Run(Path(models[0]).expanduser())
    if not run.config_path.is_file():
        raise UserError(
            f"--model={models[0]} is no run, whose images could be taken; give --data"
        )
    return run.examples(run.read_config())


def class_names(model: Evaluated, examples: Examples) -> tuple[str, ...]:
    """Returns the names of a model's classes.

    They are its own; of a preset for ImageNet, which names none, the WordNet ids where
    the examples' classes are such; or else those of the examples.

    Raises:
        UserError: If the examples have a class that the model has not.
    """
    names = model.classes
    if not names:
        outputs = model.network.output_shape[-1]
        ids = _wordnet_ids() if outputs == _IMAGENET_CLASSES else ()
        if not set(examples.classes) <= set(ids):
            if outputs != len(examples.classes):
                raise UserError(
                    f"--model={model.source} has {outputs:,} classes, which it does "
                    f"not name, and {examples.directory} {len(examples.classes):,}; "
                    "give images of its own classes"
                )
            return examples.classes
        names = ids
    if unknown := [name for name in examples.classes if name not in set(names)]:
        without = [name for name in names if name not in set(examples.classes)]
        raise UserError(
            f"{examples.directory} has images of {_told(unknown)}, which --model="
            f"{model.source} does not know: it knows "
            f"{_told(without) if without else 'only the others'}; rename the classes, "
            "or give images of its own"
        )
    return names


_IMAGENET_CLASSES = 1000


@functools.cache
def _wordnet_ids() -> tuple[str, ...]:
    """Returns ImageNet's classes in the order in which presets have them."""
    package = importlib.resources.files("tensorflow_datasets")
    text = (package / "datasets" / "imagenet2012" / "labels.txt").read_text("utf-8")
    return tuple(text.split())


def _told(names: Sequence[str]) -> str:
    """Returns the first of some names, and how many more there are."""
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{names[0]!r}{more}"


def order_of(
    model: Evaluated, examples: Examples, names: Sequence[str]
) -> np.ndarray | None:
    """Returns which outputs of a model are of `names`, None for all as they are.

    Raises:
        UserError: If its classes are others, see `class_names` too.
    """
    classes = class_names(model, examples)
    if classes == tuple(names):
        return None
    if set(classes) != set(names):
        more = [name for name in classes if name not in set(names)]
        fewer = [name for name in names if name not in set(classes)]
        sides = [f"it alone knows {_told(more)}"] if more else []
        sides += [f"it does not know {_told(fewer)}"] if fewer else []
        raise UserError(
            f"--model={model.source} has other classes than the model before it: "
            f"{' and '.join(sides)}; give models of the same classes"
        )
    return np.array([classes.index(name) for name in names])
