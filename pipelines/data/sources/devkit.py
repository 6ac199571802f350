"""The development kit of ILSVRC-2012: ids of classes, and what validation images show.

The kit numbers the classes from 1 in an order of its own, which begins with the kit fox
(n02119789). Lists of WordNet ids that go around (`synset_words.txt`,
`imagenet_lsvrc_2015_synsets.txt`) are sorted, so they do not tell what its ids mean.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from pipelines.data.sources import tars
from pipelines.data.sources.mat import read_struct_array
from pipelines.data.sources.members import check, damage_told
from pipelines.errors import UserError

KIT = "ILSVRC2012_devkit_t12"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
SYNSET_LABELS = "imagenet_2012_validation_synset_labels.txt"
_PUBLISHED_VALIDATION_IMAGES = 50_000
_MAX_BYTES = 4 * 2**20  # Of a file; the largest has 0.5 MiB.
_MAT_FIELDS = ("ILSVRC2012_ID", "WNID", "num_children")


class DevKit:
    """What is found of the kit, as published (`ILSVRC2012_devkit_t12.tar.gz`) or not.

    Args:
        folder: Holds the kit, packed or not, or its files. Read are
            `ILSVRC2012_validation_ground_truth.txt`, with `meta.mat` or the later
            kits' `map_clsloc.txt`; and TensorFlow's
            `imagenet_2012_validation_synset_labels.txt`, which needs none of them.

    Raises:
        UserError: If the packed kit is damaged.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._files = {name: data for name, data in _files(folder)}
        digest = hashlib.sha256()
        for name, data in sorted(self._files.items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
        self.fingerprint = digest.hexdigest()

    def synsets(self) -> Mapping[int, str]:
        """Returns the WordNet id of each class id, in the order 1, 2, ... of the kit.

        Raises:
            UserError: If no file tells, or it cannot be read.
        """
        for name, parse in _SYNSETS.items():
            if name in self._files:
                try:
                    synsets = parse(self._files[name])
                except (ValueError, IndexError, OverflowError) as error:
                    raise self._damaged(name, error) from error
                if sorted(synsets) != list(range(1, len(set(synsets.values())) + 1)):
                    raise self._damaged(name, "ids are not 1, 2, ... once each")
                return dict(sorted(synsets.items()))
        raise UserError(
            f"no file in {self._folder} tells the order of the development kit; put "
            f"{KIT}.tar.gz there, or its {' or '.join(_SYNSETS)}"
        )

    def validation_synsets(self, images: int) -> Sequence[str]:
        """Returns the WordNet id of each validation image, in the order of the images.

        For the 50,000 published images the list in TensorFlow Datasets stands in where
        the folder has none.

        Args:
            images: How many there are.

        Raises:
            UserError: If no file tells, or it is not about as many images.
        """
        if SYNSET_LABELS in self._files:
            name = SYNSET_LABELS
            found = self._files[name].decode("utf-8", "replace").split()
        elif GROUND_TRUTH in self._files:
            name = GROUND_TRUTH
            found = self._by_id()
        elif images == _PUBLISHED_VALIDATION_IMAGES:
            name = "TensorFlow Datasets' list"
            found = _published_synsets()
        else:
            raise UserError(
                f"no file in {self._folder} tells the classes of the validation "
                f"images; put {KIT}.tar.gz there, or {SYNSET_LABELS}"
            )
        if len(found) != images:
            raise UserError(
                f"{self._folder} has {images} validation images but {name} tells the "
                f"classes of {len(found)}; copy both again"
            )
        return found

    def _by_id(self) -> list[str]:
        synsets = self.synsets()
        lines = self._files[GROUND_TRUTH].decode("utf-8", "replace").split()
        for number, line in enumerate(lines, start=1):
            if not line.isdecimal() or int(line) not in synsets:
                raise self._damaged(
                    GROUND_TRUTH,
                    f"{line!r} on line {number} is not an id from 1 to {len(synsets)}",
                )
        return [synsets[int(line)] for line in lines]

    def _damaged(self, name: str, reason: object) -> UserError:
        return UserError(
            f"{name} in {self._folder} is damaged ({reason}); take it from {KIT}.tar.gz"
        )


def _from_map(data: bytes) -> dict[int, str]:
    """Reads lines such as `n02119789 1 kit_fox`."""
    rows = [line.split() for line in data.decode().splitlines() if line.strip()]
    return {int(row[1]): row[0] for row in rows}


def _from_mat(data: bytes) -> dict[int, str]:
    """Reads the classes without children, which are those of the challenge."""
    rows = read_struct_array(data, "synsets", _MAT_FIELDS, _MAX_BYTES)
    return {int(number): str(wnid) for number, wnid, children in rows if children == 0}


_SYNSETS: dict[str, Callable[[bytes], dict[int, str]]] = {
    "map_clsloc.txt": _from_map,
    "meta.mat": _from_mat,
}


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Gives the files of the kit; of those that are there twice, the nearest last."""
    names = {GROUND_TRUTH, SYNSET_LABELS, *_SYNSETS}
    packed = folder / f"{KIT}.tar.gz"
    if packed.is_file():
        with damage_told(packed):
            for member in tars.members(packed):
                check(member, str(packed))
                name = PurePosixPath(member.path).name
                if name in names:
                    _check_size(member.size, f"{name} in {packed}")
                    yield name, member.content().read()
    for place in (folder / KIT / "data", folder / "data", folder):
        for name in sorted(names):
            if (place / name).is_file():
                _check_size((place / name).stat().st_size, str(place / name))
                yield name, (place / name).read_bytes()


def _check_size(size: int, what: str) -> None:
    if size > _MAX_BYTES:
        raise UserError(
            f"{what} is larger than {_MAX_BYTES // 2**20} MiB, which no file of the "
            f"kit is; take it from {KIT}.tar.gz"
        )


def _published_synsets() -> list[str]:
    import tensorflow_datasets as tfds

    path = tfds.core.tfds_path("datasets/imagenet2012/validation_labels.txt")
    return Path(path).read_text(encoding="utf-8").split()
