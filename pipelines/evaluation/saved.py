"""An evaluation as files: numbers as JSON, the confusion matrix beside it."""

import csv
import dataclasses
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import files
from pipelines.data import folders
from pipelines.errors import UserError
from pipelines.evaluation.judgement import Check, Judged
from pipelines.evaluation.metrics import Metrics, Mistake


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was found, and of what.

    Args:
        metrics: What was found. The indices of its mistakes are those of the records
            in the split.
        split: `"train"` or `"validation"`.
        test_flip: Whether mirror images had a say, see `evaluate`.
        made_from: Fingerprints of the model and of the examples, and whatever else
            decides the metrics, as JSON has it.
    """

    metrics: Metrics
    split: str
    test_flip: bool
    made_from: dict[str, Any] = dataclasses.field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes the numbers to `path` and, before them, the matrix to an `.npz`.

        Args:
            path: The JSON file. The matrix is named `confusion` in the other.
        """
        values = {
            field.name: getattr(self.metrics, field.name)
            for field in dataclasses.fields(self.metrics)
            if field.name not in ("hardest", "confusion")
        }
        values["split"], values["test_flip"] = self.split, self.test_flip
        values["made_from"] = self.made_from
        values["hardest"] = list(map(dataclasses.asdict, self.metrics.hardest))
        values["confusion"] = None
        if self.metrics.confusion is not None:
            values["confusion"] = _save_matrix(path, self.metrics.confusion)
        files.write_text(path, json.dumps(values, indent=2) + "\n")

    @classmethod
    def load(cls, path: Path, made_from: dict[str, Any]) -> "Evaluation | None":
        """Returns an evaluation that was made from the same.

        Args:
            path: The JSON file.
            made_from: What it must have been made from, such as `{"model":
                model_fingerprint(directory)}`; the evaluation may know of more.

        Returns:
            The evaluation; None if there is none, if it was made from something else,
            or if the files are of an older version or damaged.

        Example:

        >>> made_from = {"model": model_fingerprint(run.model_dir)}
        >>> Evaluation.load(run.evaluation_path, made_from).split
        'validation'
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            known = values.pop("made_from")
            # The mirror images' probabilities were averaged, when it said no more.
            if {**known, **made_from} != known or known.get("test_flip") is True:
                return None
            split, test_flip = values.pop("split"), values.pop("test_flip")
            for name in ("class_errors", "class_images"):
                values[name] = tuple(values[name])
            values["hardest"] = tuple(Mistake(**one) for one in values["hardest"])
            if values["confusion"] is not None:
                with np.load(path.with_name(values["confusion"])) as matrices:
                    values["confusion"] = matrices["confusion"]
            return cls(Metrics(**values), split, test_flip, known)
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
            return None
        except zipfile.BadZipFile:
            return None


def check_folder(directory: Path) -> None:
    """Checks that a judgement may go to a folder.

    Raises:
        UserError: If it is a file, or a run's, which has an evaluation of its own.
    """
    if directory.is_file():
        raise UserError(f"--output_dir={directory} is a file; give a folder")
    if (directory / "run.json").exists():
        raise UserError(
            f"--output_dir={directory} is the folder of a run, which has an evaluation "
            "of its own; give another folder"
        )


def save_judgement(judged: Judged, checks: Sequence[Check], directory: Path) -> None:
    """Writes a judgement.

    Args:
        judged: What was found.
        checks: What it was asked to be; of none there is no verdict.
        directory: Gets `predictions.csv`, `evaluation.npz`, `blessing.json` and, the
            last, `evaluation.json`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path, verdict = directory / "evaluation.json", directory / "blessing.json"
    for old in (path, verdict, path.with_suffix(".html")):
        old.unlink(missing_ok=True)  # Files of two judgements would stand together.
    files.write_text(directory / "predictions.csv", _table(judged))
    values = {
        **judged.judgement.to_json(judged.names),
        "models": judged.models,
        "baseline": judged.baseline,
        "confusion": None,
        "made_from": judged.made_from,
    }
    confusion = judged.judgement.metrics.confusion
    if confusion is not None:
        values["confusion"] = _save_matrix(path, confusion)
    if checks:
        failed = [check.sentence for check in checks if not check.passed]
        verdict_values = {
            "blessed": not failed,
            "reasons": failed,
            "checks": [dataclasses.asdict(check) for check in checks],
            "made_from": judged.made_from,
        }
        files.write_text(verdict, _strict_json(verdict_values))
    files.write_text(path, _strict_json(values))


def load_calibration(path: Path, model: dict[str, Any]) -> dict[str, Any]:
    """Returns the temperature that an evaluation fitted.

    Args:
        path: Its `evaluation.json`.
        model: Fingerprints of the one model that it must be of, which was looked at as
            an export looks at it.

    Returns:
        `"temperature"`; the expected calibration errors `"error_before"` and
        `"error_after"`; the `"images"` they are of; fingerprint of the `"examples"`
        and their `"split"`.

    Raises:
        UserError: If there is none.

    Example:

    >>> load_calibration(Path("runs/evaluation/evaluation.json"), fingerprints)
    {'temperature': 0.716, 'error_before': 0.0785, 'error_after': 0.0503, ...}
    """
    with folders.read_values(
        path,
        missing=f"there is no evaluation {path}; python -m pipelines.evaluate writes "
        "one",
        mend="evaluate again",
    ) as values:
        made_from, calibration = values["made_from"], values["calibration"]
        if made_from["models"] != [model]:
            raise UserError(
                f"{path} is of another model than is exported, or of several; evaluate "
                "that one"
            )
        if made_from["views"] != "1-crop":
            raise UserError(
                f"{path} is of {made_from['views']}, and an export looks at one crop; "
                "evaluate with --views=1-crop"
            )
        if calibration is None:
            raise UserError(
                f"{path} has no temperature: the images were too few, or too many"
            )
        kept = ("temperature", "error_before", "error_after", "images")
        return {
            **{name: calibration[name] for name in kept},
            **{name: made_from[name] for name in ("examples", "split")},
        }


@dataclasses.dataclass(frozen=True)
class Blessing:
    """A verdict that was written, see `save_judgement`.

    Args:
        checks: What a model was asked to be.
        models: What it was made from; of an ensemble each.
        baseline: The same of what it was compared with.
    """

    checks: list[Check]
    models: list[dict[str, Any]]
    baseline: list[dict[str, Any]]

    @classmethod
    def load(cls, path: Path) -> "Blessing":
        """Returns the verdict in a file.

        Raises:
            UserError: If there is none.

        Example:

        >>> Blessing.load(Path("runs/evaluation/blessing.json")).checks[0].passed
        True
        """
        with folders.read_values(
            path,
            missing=f"there is no blessing {path}; python -m pipelines.evaluate "
            "--bless='top1_error<=0.25' writes one",
            mend="evaluate again",
        ) as values:
            made_from = values["made_from"]
            checks = [Check(**one) for one in values["checks"]]
            if values["blessed"] != all(check.passed for check in checks):
                raise ValueError("the verdict is not what its checks say")
            return cls(checks, made_from["models"], made_from["baseline"])


def _strict_json(values: Any) -> str:
    """Returns JSON with null for what is not a number, of which JSON knows nothing."""
    finite = json.loads(json.dumps(values), parse_constant=lambda name: None)
    return json.dumps(finite, indent=2) + "\n"


def _table(judged: Judged) -> str:
    """Returns a row for each image, as CSV."""
    outcomes, names = judged.judgement.outcomes, judged.names
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["record", "file", "class", "prediction", "confidence", "rank", "loss"]
    )
    for row, (record, file) in enumerate(
        zip(judged.records, judged.files, strict=True)
    ):
        writer.writerow(
            [
                int(record),
                file,
                names[outcomes.labels[row]],
                names[outcomes.predictions[row]],
                f"{outcomes.confidences[row]:.6g}",
                int(outcomes.ranks[row]),
                f"{outcomes.losses[row]:.6g}",
            ]
        )
    return text.getvalue()


def _save_matrix(path: Path, confusion: np.ndarray) -> str:
    """Writes the confusion matrix beside `path`, and returns the file's name."""
    matrix_path = path.with_suffix(".npz")
    with files.replacing(matrix_path) as temporary:
        np.savez_compressed(temporary, confusion=confusion)
    return matrix_path.name
