"""The most similar images of a set, by what a classifier sees of them."""

import dataclasses
import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pipelines.errors import UserError
from pipelines.serving.local import Answers, LocalModel

_BLOCK = 2**16


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The most similar images for each of some images.

    Args:
        paths: Of the similar images, the most similar first, equally many for each.
        similarities: Cosines of the angles between the features, from -1 to 1, float32
            `(images, neighbours)`.
    """

    paths: list[list[str]]
    similarities: np.ndarray


class Index:
    """The features of a set of images; the search is exact.

    Memory holds all of the features; a search takes a pass over them, block by block,
    which is enough for a million images.

    Args:
        paths: Of the images.
        directions: Their features, float32 `(images, channels)`, each of length 1.

    Example:

    >>> index = Index.read(Path("photos.parquet"), model)
    >>> index.nearest(answers.features, 5).paths[0]
    ['photos/17.jpg', ...]
    """

    def __init__(self, paths: Sequence[str], directions: np.ndarray) -> None:
        self._paths = paths
        self._directions = directions

    def __len__(self) -> int:
        return len(self._paths)

    @classmethod
    def of(cls, answers: Iterable[Answers]) -> "Index":
        """Makes an index of what a model says about images, the usable ones."""
        paths: list[str] = []
        directions = []
        for some in answers:
            usable = [row for row, problem in enumerate(some.problems) if not problem]
            paths += [some.paths[row] for row in usable]
            directions.append(_directions(some.features[usable]))
        return cls(paths, np.concatenate(directions))

    @classmethod
    def read(cls, path: Path, model: LocalModel) -> "Index":
        """Reads an index.

        Args:
            path: A Parquet file, or the folder of several, that `python -m
                pipelines.predict --embeddings` wrote.
            model: Which must be the one that made it.

        Raises:
            UserError: If it is none, or another model made it.
        """
        if importlib.util.find_spec("pyarrow") is None:
            raise UserError("--neighbours takes the package pyarrow; install it")
        import pyarrow
        from pyarrow import dataset

        make = (
            "make one with python -m pipelines.predict --embeddings "
            "--output=NAME.parquet IMAGES"
        )
        try:
            table = dataset.dataset(path, format="parquet")
            if "features" not in table.schema.names:
                raise UserError(f"--neighbours={path} holds no features; {make}")
            made_by = (table.schema.metadata or {}).get(b"model", b"").decode()
            if made_by != model.fingerprint:
                raise UserError(
                    f"--neighbours={path} was made by another model than "
                    f"{model.version}, whose features cannot be compared; {make}"
                )
            usable = dataset.field("problem").is_null()
            directions = np.empty((table.count_rows(filter=usable), 0), np.float32)
            paths: list[str] = []
            for batch in table.to_batches(["path", "features"], filter=usable):
                features = batch["features"].flatten().to_numpy()
                if not paths and len(batch):
                    channels = len(features) // len(batch)
                    directions = np.empty((len(directions), channels), np.float32)
                end = len(paths) + len(batch)
                directions[len(paths) : end] = _directions(
                    features.reshape(len(batch), -1)
                )
                paths += batch["path"].to_pylist()
        except (OSError, pyarrow.ArrowException) as error:
            raise UserError(
                f"--neighbours={path} is no Parquet table; {make}"
            ) from error
        if not paths:
            raise UserError(f"--neighbours={path} holds no usable images; {make}")
        return cls(paths, directions)

    def nearest(self, features: np.ndarray, count: int) -> Neighbours:
        """Finds the images whose features point most nearly the same way.

        Args:
            features: float32 `(images, channels)`.
            count: How many to find; all, if there are not so many.

        Raises:
            UserError: If the index is of other features.
        """
        channels = self._directions.shape[1]
        if features.shape[1] != channels:
            raise UserError(
                f"the index has {channels} features of an image, the model "
                f"{features.shape[1]}; make the index again with that model"
            )
        asked = _directions(features)
        count = min(count, len(self))
        similarities = np.empty((len(asked), 0), np.float32)
        rows = np.empty((len(asked), 0), np.int64)
        for start in range(0, len(self), _BLOCK):
            block = asked @ self._directions[start : start + _BLOCK].T
            best = np.arange(block.shape[1])[None].repeat(len(asked), axis=0)
            if block.shape[1] > count:
                best = np.argpartition(-block, count - 1, axis=1)[:, :count]
            similarities = np.hstack([similarities, np.take_along_axis(block, best, 1)])
            rows = np.hstack([rows, start + best])
            order = np.lexsort((rows, -similarities))[:, :count]
            similarities = np.take_along_axis(similarities, order, axis=1)
            rows = np.take_along_axis(rows, order, axis=1)
        paths = [[self._paths[row] for row in found] for found in rows]
        return Neighbours(paths, similarities)


def _directions(features: np.ndarray) -> np.ndarray:
    """Returns features of length 1; those that are all zero point nowhere."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)
