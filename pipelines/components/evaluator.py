"""Evaluator: examples and a trained model in, metrics out."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from pipelines.data.examples import Examples
from pipelines.data.input_pipeline import evaluation_batches
from pipelines.data.reading import Blocks
from pipelines.evaluation.metrics import Metrics, evaluate
from pipelines.evaluation.saved import Evaluation
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
        "test_flip": test_flip,
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
