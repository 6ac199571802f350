"""Data sets of TensorFlow Datasets."""

import difflib
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pipelines.data.sources.content import InMemory
from pipelines.data.sources.source import SPLIT_WORDS, Source, SourceImage, roles
from pipelines.errors import UserError


class CatalogueDataset(Source):
    """A data set of the catalogue, prepared in `TFDS_DATA_DIR` or downloaded to there.

    Args:
        name: `NAME[/CONFIG][:VERSION]`.

    Raises:
        UserError: If there is no such data set, or it is not one of labelled images.
    """

    def __init__(self, name: str):
        self._title = f"tfds:{name}"
        self._builder = _open_builder(name)
        info = self._builder.info
        self._image_key, self._label_key = _keys(name, info)
        self._labels = info.features[self._label_key]
        self.name = name.replace("/", "-").replace(":", "-")
        self.fingerprint = hashlib.sha256(info.full_name.encode()).hexdigest()

    def __iter__(self) -> Iterator[SourceImage]:
        import tensorflow_datasets as tfds

        self._prepare()
        available = set(self._builder.info.splits)
        if "train" not in available:
            raise UserError(
                f"{self._title} has no split 'train' (it has: "
                f"{', '.join(sorted(available))}); choose another data set"
            )
        words = {SPLIT_WORDS[name]: name for name in available & SPLIT_WORDS.keys()}
        used: Mapping[str, str | None] = roles(words) or {"train": None}
        for word, split in used.items():
            found = words[word]
            dataset = self._builder.as_dataset(
                split=found,
                # The images are kept as they are, and decoded in training.
                decoders={self._image_key: tfds.decode.SkipDecoding()},
            )
            for index, example in enumerate(tfds.as_numpy(dataset)):
                yield SourceImage(
                    name=f"{found}#{index}",
                    content=InMemory(example[self._image_key]),
                    class_name=self._labels.int2str(int(example[self._label_key])),
                    split=split,
                )

    def class_order(self) -> tuple[str, ...]:
        """Returns the names of the data set's labels."""
        return tuple(self._labels.names)

    def _prepare(self) -> None:
        try:
            self._builder.download_and_prepare()
        except Exception as error:  # Each data set fails in its own way.
            raise UserError(
                f"{self._title} could not be prepared ({_first_line(error)}); "
                "prepare it with `tfds build` and set TFDS_DATA_DIR to where it lies"
            ) from error


def _open_builder(name: str) -> Any:
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name)
    except tfds.core.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        nearest = difflib.get_close_matches(name.partition("/")[0], known, n=1)
        hint = (
            f"did you mean tfds:{nearest[0]}?"
            if nearest
            else "see tfds.list_builders()"
        )
        raise UserError(f"no TensorFlow data set is called {name!r}; {hint}") from None
    except Exception as error:  # Names, versions and configurations that do not fit.
        raise UserError(
            f"tfds:{name} cannot be opened ({_first_line(error)}); write "
            "tfds:NAME[/CONFIG]"
        ) from error


def _keys(name: str, info: Any) -> tuple[str, str]:
    """Returns the names of the image and of the label in an example.

    They are what the data set calls supervised, or else the only ones of their kind.
    """
    import tensorflow_datasets as tfds

    supervised = info.supervised_keys or ()
    found = []
    for kind in (tfds.features.Image, tfds.features.ClassLabel):
        keys = [key for key, it in info.features.items() if isinstance(it, kind)]
        keys = [key for key in keys if key in supervised] or keys
        if len(keys) != 1:
            raise UserError(
                f"tfds:{name} is not a data set of images with one class each; choose "
                "another"
            )
        found += keys
    image_key, label_key = found
    dtype = info.features[image_key].np_dtype
    if dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"tfds:{name} has pixels of the type {np.dtype(dtype)}, not 8 or 16 bits; "
            "choose another"
        )
    return image_key, label_key


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
