"""ILSVRC-2012 as it is published."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath

from pipelines.data.sources import tars
from pipelines.data.sources.content import Content, FileContent
from pipelines.data.sources.devkit import DevKit
from pipelines.data.sources.folder import Folder
from pipelines.data.sources.members import Member, check, damage_told
from pipelines.data.sources.source import Source, SourceImage, stamp
from pipelines.errors import UserError

TRAIN = "ILSVRC2012_img_train.tar"
VALIDATION = "ILSVRC2012_img_val.tar"

_WHAT_TO_DO = "copy it again as it was published"


class Ilsvrc(Source):
    """Images of the classification task, in the archives of image-net.org.

    The training archive is a tar of one tar for each class, the validation archive a
    tar of images whose classes the development kit tells. Neither is unpacked: images
    are read at their offsets in the archives. Validation images may also lie in one
    folder for each class below `val/`, or be missing.

    Classes are called by their WordNet ids.

    Args:
        folder: Holds the archives and the development kit, see `DevKit`.
        order: That of the labels: `"wordnet"`, sorted by WordNet id, which is what
            `keras.applications`, torchvision and timm mean by a label; or `"devkit"`,
            that of the development kit's ids, which count from 1.

    Raises:
        UserError: If there is no training archive, or the kit is damaged.

    Source: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, 2015,
    https://arxiv.org/abs/1409.0575.
    """

    def __init__(self, folder: Path, order: str = "wordnet"):
        self._train = folder / TRAIN
        self._validation = folder / VALIDATION
        if not self._train.is_file():
            raise UserError(
                f"{folder} has no {TRAIN}; put it there, or give a folder of class "
                "folders without ilsvrc:"
            )
        self._order = _ORDERS[order]
        self._kit = DevKit(folder)
        # As the script that is known as valprep leaves them.
        is_sorted = not self._validation.is_file() and (folder / "val").is_dir()
        self._sorted = Folder(folder / "val") if is_sorted else None
        self._classes: tuple[str, ...] = ()
        self.name = f"ilsvrc2012-{order}"
        digest = hashlib.sha256(f"{order} {self._kit.fingerprint}".encode())
        for archive in filter(Path.is_file, (self._train, self._validation)):
            digest.update(stamp(archive.name, archive.stat()))
        digest.update(self._sorted.fingerprint.encode() if self._sorted else b"")
        self.fingerprint = digest.hexdigest()

    def __iter__(self) -> Iterator[SourceImage]:
        with damage_told(self._train):
            offsets = self._class_tars()
        self._classes = self._order(offsets, self._kit)
        has_validation = False
        for image in self._validation_images():
            if image.class_name not in offsets:
                raise UserError(
                    f"{image.name} shows {image.class_name}, of which {self._train} "
                    f"has no images; {_WHAT_TO_DO}"
                )
            has_validation = True
            yield image
        with damage_told(self._train):
            for synset, offset in offsets.items():
                for member in tars.members(self._train, offset):
                    name = _name(member, rf"{synset}_\d+\.JPEG", self._train)
                    yield SourceImage(
                        f"train/{synset}/{name}",
                        member.content(),
                        synset,
                        "train" if has_validation else None,
                    )

    def class_order(self) -> tuple[str, ...]:
        """Returns the WordNet ids in the order that was asked for."""
        return self._classes

    def _class_tars(self) -> dict[str, int]:
        """Returns where the tar of each class begins, in their order."""
        offsets: dict[str, int] = {}
        for member in tars.members(self._train):
            synset = _name(member, r"n\d{8}\.tar", self._train).removesuffix(".tar")
            if synset in offsets:
                raise UserError(f"{self._train} has {synset}.tar twice; {_WHAT_TO_DO}")
            content = member.content()
            assert isinstance(content, FileContent)  # The archive is not compressed.
            offsets[synset] = content.offset
        return offsets

    def _validation_images(self) -> Iterator[SourceImage]:
        """Gives them in the order of their numbers, or of the folder."""
        if self._sorted:
            for image in self._sorted:
                yield image._replace(name=f"val/{image.name}", split="validation")
        if not self._validation.is_file():
            return
        images: dict[str, Content] = {}
        with damage_told(self._validation):
            for member in tars.members(self._validation):
                pattern = r"ILSVRC2012_val_\d{8}\.JPEG"
                images[_name(member, pattern, self._validation)] = member.content()
        names = [f"ILSVRC2012_val_{i:08}.JPEG" for i in range(1, len(images) + 1)]
        missing = [name for name in names if name not in images]
        if missing:
            raise UserError(f"{self._validation} has no {missing[0]}; {_WHAT_TO_DO}")
        synsets = self._kit.validation_synsets(len(images))
        for name, synset in zip(names, synsets, strict=True):
            yield SourceImage(f"val/{name}", images[name], synset, "validation")


def _name(member: Member, pattern: str, archive: Path) -> str:
    """Returns the name without folders of a member that should be there."""
    check(member, str(archive))
    name = PurePosixPath(member.path).name
    if member.path.endswith("/") or not re.fullmatch(pattern, name):
        raise UserError(
            f"{archive} has the foreign member {member.path!r}; {_WHAT_TO_DO}"
        )
    return name


def _wordnet_order(synsets: Collection[str], kit: DevKit) -> tuple[str, ...]:
    return tuple(sorted(synsets))


def _devkit_order(synsets: Collection[str], kit: DevKit) -> tuple[str, ...]:
    order = tuple(kit.synsets().values())
    unknown = sorted(set(synsets).difference(order))
    if unknown:
        raise UserError(
            f"the development kit does not know {unknown[0]}, which {TRAIN} has; take "
            "both from image-net.org"
        )
    return tuple(synset for synset in order if synset in synsets)


_ORDERS: dict[str, Callable[[Collection[str], DevKit], tuple[str, ...]]] = {
    "wordnet": _wordnet_order,
    "devkit": _devkit_order,
}
