"""Evaluator: examples and models in, what they make of them and metrics out."""

import dataclasses
import functools
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.components.evaluated import (
    Evaluated,
    Exported,
    class_names,
    order_of,
)
from pipelines.data.examples import Examples
from pipelines.data.input_pipeline import evaluation_batches
from pipelines.data.reading import Blocks
from pipelines.errors import UserError
from pipelines.evaluation.judgement import Judged, Judgement
from pipelines.evaluation.metrics import Metrics, evaluate
from pipelines.evaluation.predictions import Predictions, ensemble, predict
from pipelines.evaluation.saved import Evaluation
from pipelines.evaluation.slices import BRIGHTNESS, FILENAME, read_columns, slices
from pipelines.evaluation.views import Views
from pipelines.training.model import TrainedModel, model_fingerprint
from pipelines.training.network import takes_pixels


def evaluator(
    examples: Examples,
    model: TrainedModel,
    path: Path,
    *,
    split: str = "validation",
    batch_size: int = 128,
    max_bad_share: float = 0.01,
    test_flip: bool = False,
) -> Metrics:
    """Measures a trained model on a split and writes the metrics.

    An evaluation of this very model on these very examples, in the same way, that is
    already at `path` is read, not repeated.

    Args:
        examples: What to evaluate on.
        model: The trained model.
        path: The JSON file for the metrics; the confusion matrix goes beside it, see
            `pipelines.evaluation.saved`.
        split: `"train"` or `"validation"`.
        batch_size: Images per batch; it does not change the metrics.
        max_bad_share: Greatest share of damaged records that may be left out.
        test_flip: Whether mirror images have a say, see `evaluate`.

    Returns:
        The metrics. The index of a mistake is that of the record in the split.

    Raises:
        UserError: If there are more damaged records.

    Example:

    >>> evaluator(examples, model, Path("runs/demo/evaluation.json")).top1_error
    0.0871
    """
    made_from = {
        "model": model_fingerprint(model.directory),
        "examples": examples.fingerprint,
        "split": split,
        "test_flip": test_flip and "of logits",
        "max_bad_share": max_bad_share,
    }
    if found := Evaluation.load(path, made_from):
        return found.metrics
    batches = evaluation_batches(
        examples, split, model.preprocessing, batch_size, max_bad_share=max_bad_share
    )
    network = takes_pixels(model.load_logits(), model.preprocessing)
    with batches.damage.told():
        metrics = evaluate(network, batches.dataset, test_flip=test_flip)
    records = _records_read(examples, split, batches.damage.records)
    metrics = dataclasses.replace(
        metrics,
        hardest=tuple(
            dataclasses.replace(mistake, index=int(records[mistake.index]))
            for mistake in metrics.hardest
        ),
    )
    Evaluation(metrics, split, test_flip, made_from).save(path)
    return metrics


def predictor(
    examples: Examples,
    models: Sequence[Evaluated],
    views: Views,
    directory: Path,
    *,
    names: Sequence[str] = (),
    split: str = "validation",
    batch_size: int = 128,
    max_bad_share: float = 0.01,
) -> Predictions:
    """Asks models about every image of a split once, and averages their probabilities.

    Args:
        examples: What to evaluate on.
        models: One, or the members of an ensemble.
        views: How each looks at an image.
        directory: Gets the probabilities, which stay on the disk.
        names: The order of classes. Defaults to that of the first model, see
            `class_names`.
        split: `"train"` or `"validation"`.
        batch_size: Images per batch.
        max_bad_share: Greatest share of damaged records that may be left out.

    Returns:
        The predictions; their labels and columns are in the order of `names`.

    Raises:
        UserError: If the models' classes differ or lack one of the examples', there are
            no images, or too many damaged ones.
    """
    names = names or class_names(models[0], examples)
    orders = [order_of(model, examples, names) for model in models]
    images = examples.counts[split]
    labels = np.array([names.index(name) for name in examples.classes])
    members = []
    for number, (model, order) in enumerate(zip(models, orders, strict=True)):
        batches = evaluation_batches(
            examples,
            split,
            model.preprocessing,
            1 if views.short_sides else batch_size,
            max_bad_share=max_bad_share,
            prepared=views.prepare,
        )
        with batches.damage.told():
            found = predict(
                model.network,
                batches.dataset,
                views,
                model.preprocessing,
                images,
                directory / f"{number}.npy",
            )
        records = _records_read(examples, split, batches.damage.records)
        logarithms = found.logarithms
        members.append(
            dataclasses.replace(
                found,
                records=records,
                labels=labels[found.labels],
                logarithms=logarithms if order is None else logarithms[:, order],
            )
        )
    return ensemble(members, directory / "ensemble.npy")


def judge(
    examples: Examples,
    models: Sequence[Evaluated],
    views: Views,
    *,
    baseline: Sequence[Evaluated] = (),
    features: Sequence[str] = (),
    split: str = "validation",
    batch_size: int = 128,
    max_bad_share: float = 0.01,
) -> Judged:
    """Finds out how good a model, or an ensemble, is, and whether it beats another.

    Args:
        examples: What to evaluate on.
        models: See `predictor`.
        views: How each looks at an image.
        baseline: What to compare with, likewise; empty for nothing.
        features: What slices are made by, see `pipelines.evaluation.slices`.
        split: `"train"` or `"validation"`.
        batch_size: Images per batch.
        max_bad_share: Greatest share of damaged records that may be left out.

    Raises:
        UserError: As `predictor`, or if no record has a feature.

    Example:

    >>> model = Evaluated.load("runs/demo")
    >>> judge(examples, [model], VIEWS["10-crop"]).judgement.scores["top1_error"]
    0.0871
    """
    names = class_names(models[0], examples)
    for model in (*models, *baseline):
        order_of(model, examples, names)
        if views.short_sides and isinstance(model.network, Exported):
            raise UserError(
                f"--model={model.source} is an export, which looks at images of one "
                f"size; give its run for --views={views.name}"
            )
    if not examples.counts[split]:
        raise UserError(f"{examples.directory} has no {split} images; give --split")
    read = [name for name in features if name != BRIGHTNESS]
    of_records = read_columns(examples, split, read)
    ask = functools.partial(
        predictor,
        examples,
        views=views,
        names=names,
        split=split,
        batch_size=batch_size,
        max_bad_share=max_bad_share,
    )
    with tempfile.TemporaryDirectory(prefix="evaluation-") as scratch:
        folders = [Path(scratch, name) for name in ("model", "baseline")]
        for folder in folders:
            folder.mkdir()
        predictions = ask(models, directory=folders[0])
        other = ask(baseline, directory=folders[1]) if baseline else None
        columns = {
            name: [values[record] for record in predictions.records]
            for name, values in of_records.items()
        }
        columns[BRIGHTNESS] = predictions.brightness.tolist()
        apart = (one for name in features for one in slices(name, columns[name]))
        judgement = Judgement.of(predictions, apart, other)
    return Judged(
        judgement=judgement,
        names=names,
        files=tuple(map(str, columns[FILENAME])),
        records=predictions.records,
        made_from={
            "models": [model.made_from for model in models],
            "baseline": [model.made_from for model in baseline],
            "views": views.name,
            "split": split,
            "examples": examples.fingerprint,
        },
        models=tuple(model.source for model in models),
        baseline=tuple(model.source for model in baseline),
    )


def _records_read(examples: Examples, split: str, damaged: list[str]) -> np.ndarray:
    """Returns the indices of the records of which an image came, in order."""
    blocks = Blocks.of(examples, split)
    names = map(os.path.basename, blocks.files)
    firsts = dict(zip(names, blocks.first_records.tolist(), strict=True))
    missing = [
        firsts[name] + int(number)
        for name, _, number in (where.rpartition(":") for where in damaged)
    ]
    return np.delete(np.arange(blocks.records), missing)
