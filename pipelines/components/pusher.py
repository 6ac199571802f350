"""Pusher: a trained model in, a SavedModel that TF Serving loads out."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_resnet import surgery
from pipelines import files
from pipelines.data.examples import Examples
from pipelines.runs.request import RunConfig
from pipelines.serving.attention import attention_of
from pipelines.serving.signatures import TOP_K, Classifier, save
from pipelines.serving.versions import next_version
from pipelines.serving.warmup import write_warmup
from pipelines.training.initial_weights import licence_of
from pipelines.training.model import TrainedModel
from pipelines.training.network import takes_pixels


def pusher(
    model: TrainedModel,
    directory: Path,
    about: dict[str, Any] | None = None,
    check: Callable[[Path], None] = lambda version: None,
) -> Path:
    """Exports a trained model as the next version where its run's are.

    See `saved_model`.

    Args:
        model: The trained model.
        directory: The folder of all served models; the export goes to
            `<directory>/<network name>/<version>/`.
        about: What to note of it: data, metrics, the weights it began from.
        check: Raises if it must not become a version, see `next_version`.

    Returns:
        The folder of the newest version.

    Example:

    >>> pusher(model, Path("runs/demo/serving"))
    PosixPath('runs/demo/serving/resnet20/1')
    """
    return saved_model(model, directory / model.network.name, about, check)


def saved_model(
    model: TrainedModel,
    served: Path,
    about: dict[str, Any] | None = None,
    check: Callable[[Path], None] = lambda version: None,
) -> Path:
    """Exports a trained model as the next version in a folder.

    Its batch norms are folded into its convolutions, and requests that warm a server up
    lie beside it.

    Args:
        model: The trained model.
        served: The folder of the versions, see `next_version`.
        about: What to note of it.
        check: Raises if it must not become a version.

    Returns:
        The folder of the newest version.
    """

    def write(version: Path) -> None:
        labels_path = version.with_name("labels.txt")
        files.write_text(labels_path, model.labels)
        top_k = min(TOP_K, len(model.classes))
        folded = surgery.fold_batch_norm(model.load_keras())
        classifier = Classifier(
            takes_pixels(with_features(folded), model.preprocessing),
            model.preprocessing,
            labels_path,
            top_k,
            attention_of(folded, model.preprocessing, top_k),
        )
        save(classifier, version)
        write_warmup(version, model.preprocessing.size)

    noted = {**(about or {}), "preprocessing": dataclasses.asdict(model.preprocessing)}
    return next_version(served, model.made_from, write, noted, check)


def about(config: RunConfig, examples: Examples, **more: Any) -> dict[str, Any]:
    """Returns what an export notes of its run.

    Args:
        config: What the run was asked to do.
        examples: What it was trained on.
        more: Anything else that JSON has.

    Example:

    >>> about(config, examples, top1_error=0.0871)["examples"]
    """
    return {
        "run": config.to_json(),
        "examples": examples.fingerprint,
        "weights_licence": licence_of(config.weights, config.network.name),
        **more,
    }


def with_features(network: keras.Model) -> keras.Model:
    """Returns the network with probabilities and pooled features."""
    features = network.get_layer("avg_pool").output
    return keras.Model(network.input, [network.output, features])
