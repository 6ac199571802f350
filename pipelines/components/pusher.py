"""Pusher: a trained model in, a SavedModel that TF Serving loads out."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import keras

from keras_resnet import surgery
from pipelines import files
from pipelines.serving.local import MADE_FROM, read_made_from, versions
from pipelines.serving.signatures import Classifier, save
from pipelines.serving.warmup import write_warmup
from pipelines.training.model import TrainedModel, model_fingerprint
from pipelines.training.network import takes_pixels

_TOP_K = 5


def pusher(
    model: TrainedModel, directory: Path, about: dict[str, Any] | None = None
) -> Path:
    """Exports a trained model as the next version.

    A version appears whole, in one rename, so that a server that watches the folder
    never loads half of one. The newest version says in `assets.extra/made_from.json`,
    which servers leave alone, what model it was made from; that model is not exported
    again, whatever the files' times are. The network's batch norms are folded into its
    convolutions, and requests that warm a server up lie beside it.

    Args:
        model: The trained model.
        directory: The folder of all served models; the export goes to
            `<directory>/<network name>/<version>/`, versions counted from 1.
        about: What to note of it beside that: data, metrics, the weights it began from;
            anything that JSON has.

    Returns:
        The folder of the newest version.

    Example:

    >>> pusher(model, Path("runs/demo/serving"))
    PosixPath('runs/demo/serving/resnet20/1')
    """
    served = directory / model.network.name
    served.mkdir(parents=True, exist_ok=True)
    newest = max(versions(served), default=0)
    made_from = model_fingerprint(model.directory)
    if newest and read_made_from(served / str(newest)).get("model") == made_from:
        return served / str(newest)
    target = served / str(newest + 1)
    temporary = Path(tempfile.mkdtemp(prefix=".partial-", dir=directory))
    try:
        labels_path = temporary / "labels.txt"
        files.write_text(labels_path, "".join(f"{name}\n" for name in model.classes))
        top_k = min(_TOP_K, len(model.classes))
        network = takes_pixels(_with_features(model), model.preprocessing)
        classifier = Classifier(network, model.preprocessing, labels_path, top_k)
        save(classifier, temporary / "model")
        write_warmup(temporary / "model", model.preprocessing.size)
        _note(temporary / "model", {"model": made_from, "about": about or {}})
        os.rename(temporary / "model", target)
    finally:
        shutil.rmtree(temporary)
    return target


def _with_features(model: TrainedModel) -> keras.Model:
    """Returns the network, folded, with probabilities and pooled features."""
    folded = surgery.fold_batch_norm(model.load_keras())
    features = folded.get_layer("avg_pool").output
    return keras.Model(folded.input, [folded.output, features])


def _note(version: Path, values: dict[str, Any]) -> None:
    """Writes what a version was made from and what it consists of."""
    written = sorted(path for path in version.rglob("*") if path.is_file())
    for path in written:
        files.sync(path)
    checksums = {
        path.relative_to(version).as_posix(): files.fingerprint(path)
        for path in written
    }
    text = json.dumps({**values, "files": checksums}, indent=2, ensure_ascii=False)
    files.write_text(version / MADE_FROM, text + "\n")
