"""Pusher: a trained model in, a SavedModel that TF Serving loads out."""

import os
import shutil
import tempfile
from pathlib import Path

from pipelines import files
from pipelines.serving.local import versions
from pipelines.serving.signatures import Classifier, save
from pipelines.training.model import TrainedModel
from pipelines.training.network import takes_pixels

_TOP_K = 5


def pusher(model: TrainedModel, directory: Path) -> Path:
    """Exports a trained model as the next version.

    A version appears whole, in one rename, so that a server that watches the folder
    never loads half of one. A model that has not changed since the newest version is
    not exported again.

    Args:
        model: The trained model.
        directory: The folder of all served models; the export goes to
            `<directory>/<network name>/<version>/`, versions counted from 1.

    Returns:
        The folder of the newest version.

    Example:

    >>> pusher(model, Path("runs/demo/serving"))
    PosixPath('runs/demo/serving/resnet20/1')
    """
    served = directory / model.network.name
    served.mkdir(parents=True, exist_ok=True)
    newest = max(versions(served), default=0)
    if newest and not _is_older(served / str(newest), model.keras_path):
        return served / str(newest)
    target = served / str(newest + 1)
    temporary = Path(tempfile.mkdtemp(prefix=".partial-", dir=directory))
    try:
        labels_path = temporary / "labels.txt"
        files.write_text(labels_path, "".join(f"{name}\n" for name in model.classes))
        top_k = min(_TOP_K, len(model.classes))
        network = takes_pixels(model.load_keras(), model.preprocessing)
        classifier = Classifier(network, model.preprocessing, labels_path, top_k)
        save(classifier, temporary / "model")
        os.rename(temporary / "model", target)
    finally:
        shutil.rmtree(temporary)
    return target


def _is_older(version: Path, model: Path) -> bool:
    return (version / "saved_model.pb").stat().st_mtime < model.stat().st_mtime
