"""An evaluation as files: numbers as JSON, the confusion matrix beside it."""

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import files
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
            matrix_path = path.with_suffix(".npz")
            values["confusion"] = matrix_path.name
            with files.replacing(matrix_path) as temporary:
                np.savez_compressed(temporary, confusion=self.metrics.confusion)
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
            if {**known, **made_from} != known:
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
