"""The models that are evaluated: of runs, presets and files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_resnet
from keras_resnet.preprocessing import Preprocessing
from keras_resnet.weights import PRESETS
from pipelines import files
from pipelines.data.examples import Examples
from pipelines.errors import UserError
from pipelines.runs.folder import Run
from pipelines.serving.versions import read_made_from
from pipelines.training.model import TrainedModel, model_fingerprint
from pipelines.training.network import takes_pixels


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A classifier that is to be evaluated.

    Args:
        source: What `--model` calls it.
        network: Gives logits `(batch, classes)` for uint8 images of any size.
        preprocessing: How an image becomes its input.
        classes: The class names in the order of its output; empty if it has none.
        made_from: What decides its answers, as JSON has it.
    """

    source: str
    network: keras.Model
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
        for directory in (path, path / "model"):
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
        raise UserError(
            f"--model={source} is no model; give the folder of a finished run, an "
            "exported version in it, a preset, or PRESET=FILE"
        )

    @classmethod
    def _of_export(cls, source: str, version: Path) -> "Evaluated":
        """Returns what a version was made from, since it tells its best classes only.

        Its run is `<run>/serving/<network>/<version>`'s, or one of `exports/`.
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
        directory = version.parent.parent.parent / "model"
        raise UserError(
            f"--model={source} is an exported model, and the network it was made from "
            f"is not in {directory}; give a run"
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


def examples_for(models: Sequence[str], data: str) -> Examples:
    """Returns what models are evaluated on.

    Args:
        models: What `--model` names.
        data: What `python -m pipelines.prepare_data` made; empty for what the first
            model, a run's, was trained with.

    Raises:
        UserError: If there are no such examples.
    """
    if data:
        if examples := Examples.prepared(data):
            return examples
        raise UserError(
            f"--data={data} holds no examples; make them with python -m "
            f"pipelines.prepare_data --data={data} --output_dir=FOLDER and give "
            "--data=FOLDER"
        )
    run = Run(Path(models[0]).expanduser())
    if not run.config_path.is_file():
        raise UserError(
            f"--model={models[0]} is no run, whose images could be taken; give --data"
        )
    return run.examples(run.read_config())


def class_names(model: Evaluated, examples: Examples) -> tuple[str, ...]:
    """Returns the names of a model's classes: its own, or those of the examples.

    Raises:
        UserError: If the examples have a class that the model has not.
    """
    if not model.classes:
        outputs = model.network.output_shape[-1]
        if outputs != len(examples.classes):
            raise UserError(
                f"--model={model.source} has {outputs:,} classes, which it does not "
                f"name, and {examples.directory} {len(examples.classes):,}; give "
                "images of its own classes"
            )
        return examples.classes
    unknown = [name for name in examples.classes if name not in set(model.classes)]
    for name in unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UserError(
            f"{examples.directory} has images of {name!r}{more}, which "
            f"--model={model.source} does not know: it has {len(model.classes):,} "
            f"classes, such as {model.classes[0]!r}"
        )
    return model.classes


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
        other = sorted(set(classes) ^ set(names))[0]
        raise UserError(
            f"--model={model.source} has other classes than the model before it: only "
            f"one of them knows {other!r}"
        )
    return np.array([classes.index(name) for name in names])
