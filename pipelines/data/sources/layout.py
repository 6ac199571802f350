"""Which class and split an image belongs to, by the folders it lies in."""

import dataclasses
import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pipelines.data.sources.source import (
    SPLIT_WORDS,
    check_class_name,
    encodable,
    roles,
)
from pipelines.errors import UserError

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp",
    ".tif", ".tiff", ".avif", ".heic", ".heif",
)  # fmt: skip
"""What the names of images end with, in lower or upper case."""

_WHAT_TO_DO = "put the images of each class into a folder named after it"
_MAX_SUFFIXES = 20

Parts = tuple[str, ...]


class Place(NamedTuple):
    """Where an image belongs; see `SourceImage`."""

    name: str
    class_name: str
    split: str | None


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the folders of a data set are to be read.

    Args:
        depth: Number of folders around everything, which mean nothing.
        splits: Split for each top folder that is used; empty if the top folders are the
            classes.
        passed_over: How many files are no images, by suffix.
    """

    depth: int
    splits: Mapping[str, str]
    passed_over: Mapping[str, int]

    @property
    def class_depth(self) -> int:
        """Number of folders around the class folders."""
        return self.depth + bool(self.splits)

    def uses(self, parts: Parts) -> bool:
        """Tells whether what lies at or below this folder is used."""
        return not self.splits or any(
            part in self.splits for part in parts[self.depth : self.depth + 1]
        )

    def place(self, path: str) -> Place | None:
        """Returns where the file belongs, None if it is not an image to be used."""
        parts = visible_parts(path)
        if not parts or not is_image(path) or not self.uses(parts):
            return None
        return Place(
            name=encodable("/".join(parts[self.depth :])),
            class_name=encodable(parts[self.class_depth]),
            split=self.splits.get(parts[self.depth]),
        )


def find_layout(paths: Iterable[str], origin: str) -> Layout:
    """Finds out which folders are the classes.

    Folders around everything are passed through, so that `photos/train/cat/1.jpg` in an
    archive is read as `cat/1.jpg` is. Needs memory for the folders only, not the files.

    Args:
        paths: Relative paths with `/`; those of folders end with one. Hidden files are
            passed over, and files that are not images are counted.
        origin: Where they lie, for messages.

    Raises:
        UserError: If there are no images, images outside of a class folder, a class
            folder without images or with a control character in its name, or fewer than
            two classes.
    """
    samples: dict[Parts, str] = {}  # An image for each folder that holds one.
    passed_over: Counter[str] = Counter()
    folders: set[Parts] = set()
    for path in paths:
        parts = visible_parts(path)
        if parts and path.endswith("/"):
            folders.add(parts)
        elif parts and is_image(path):
            samples.setdefault(parts[:-1], path)
        elif parts:
            suffix = posixpath.splitext(path)[1].lower() or "without a suffix"
            known = suffix in passed_over or len(passed_over) < _MAX_SUFFIXES
            passed_over[suffix if known else "of other kinds"] += 1
    if not samples:
        raise UserError(
            f"{origin} holds no images ({', '.join(IMAGE_SUFFIXES)}); {_WHAT_TO_DO}"
        )
    depth = _depth_around(set(samples), folders)
    layout = Layout(
        depth,
        _splits({parts[depth] for parts in samples if parts}, origin),
        dict(sorted(passed_over.items())),
    )
    _check_classes(layout, samples, folders, origin)
    return layout


def is_image(path: str) -> bool:
    """Tells whether a path is an image's, by its suffix."""
    return path.lower().endswith(IMAGE_SUFFIXES)


def visible_parts(path: str) -> Parts:
    """Returns the path's components, none if it is hidden."""
    # Not `PurePosixPath(path).parts`, which interns every name.
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return () if hidden else parts


def _depth_around(holders: set[Parts], folders: set[Parts]) -> int:
    """Counts the folders around all others, sparing one around each image."""
    depth = 0
    while min(map(len, holders)) > depth + 1:
        deep_enough = {parts for parts in holders | folders if len(parts) > depth}
        if len({parts[depth] for parts in deep_enough}) > 1:
            break
        depth += 1
    return depth


def _splits(tops: set[str], origin: str) -> dict[str, str]:
    words = {
        top: SPLIT_WORDS[top.lower()] for top in tops if top.lower() in SPLIT_WORDS
    }
    if len(words) == len(tops) > 1 and "train" not in words.values():
        raise UserError(
            f"{origin} has the folders {' and '.join(sorted(tops))} but no train; add "
            "it, or give one of them as the data"
        )
    used = roles(set(words.values()))
    return {top: used[word] for top, word in words.items() if word in used}


def _check_classes(
    layout: Layout, samples: Mapping[Parts, str], folders: set[Parts], origin: str
) -> None:
    depth = layout.class_depth
    holders = sorted(filter(layout.uses, samples))
    for parts in holders:
        if len(parts) <= depth:
            raise UserError(
                f"{origin} has images outside of a class folder, such as "
                f"{samples[parts]}; {_WHAT_TO_DO}"
            )
    classes = {parts[depth] for parts in holders}
    for name in sorted(classes):
        check_class_name(name, origin)
    for parts in sorted(filter(layout.uses, folders)):
        if len(parts) == depth + 1 and parts[depth] not in classes:
            raise UserError(
                f"the class folder {'/'.join(parts)} in {origin} holds no images; add "
                "some, or remove the folder"
            )
    if len(classes) == 1:
        raise UserError(
            f"{origin} holds only one class ({classes.pop()}); at least two are "
            "needed, each in a folder of its own"
        )
