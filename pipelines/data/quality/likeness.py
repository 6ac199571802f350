"""Images that look the same though their bytes differ.

An image's difference hash tells, for each of 8 rows of 9 greys, where it becomes
brighter from left to right: 64 bits, which scaling, compression, brightness and
contrast hardly change (N. Krawetz, "Kind of Like That", 2013). Images with nearly the
same bits are taken for alike if their greys vary together as well: in smooth images,
bits are noise.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from pipelines.data.quality.summary import Looks, Sample

MOST_BITS = 3
"""Greatest number of bits in which images that are alike differ."""

LEAST_CORRELATION = 0.95
"""Least correlation of the greys of images that are alike."""

LEAST_DEVIATION = 4
"""An image whose greys, from 0 to 255, deviate less is too flat to be compared."""

_BANDS = MOST_BITS + 1  # So that hashes which differ by so few bits agree in one.
_MOST_IN_A_BAND = 512
_PAIRS_AT_ONCE = 2**20
_TRIED = 64


class Pair(NamedTuple):
    """A validation image and the training image that is most like it.

    Attributes:
        train: Where the training image lies.
        validation: Likewise, the other one.
        bits: In how many of 64 bits their hashes differ.
    """

    train: Sample
    validation: Sample
    bits: int


@dataclasses.dataclass(frozen=True)
class Alike:
    """Validation images that look like training images, equal ones left out.

    Args:
        images: How many there are.
        looked_at: How many validation images were compared, with as many training
            images as were decoded.
        pairs: Of some of them, which images; the most alike first.
    """

    images: int = 0
    looked_at: int = 0
    pairs: tuple[Pair, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns the values as JSON has them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Alike":
        """Returns what `to_json` gave `values` for."""
        pairs = (
            Pair(Sample(*train), Sample(*validation), bits)
            for train, validation, bits in values.get("pairs", ())
        )
        return cls(**{**values, "pairs": tuple(pairs)})


NONE_ALIKE = Alike()
"""Where nothing was compared."""


def find_alike(train: Looks, validation: Looks, most_pairs: int = 20) -> Alike:
    """Finds the validation images that look like a training image.

    Pairs whose hashes differ by `MOST_BITS` bits or fewer are found without comparing
    each image with each other one: cut into bands, they agree in one. Where more than
    512 training images have the same band, the first of them are looked at, so that
    the time grows with the images even if all are alike; of those, the greys of the 64
    nearest are compared.

    Args:
        train: The training images.
        validation: The validation images.
        most_pairs: How many pairs to name.

    Example:

    >>> find_alike(summaries["train"].looks, summaries["validation"].looks).images
    3
    """
    usable, others_usable = (
        np.flatnonzero(~is_empty(looks.greys)) for looks in (train, validation)
    )
    hashes, others = (difference_hashes(looks.greys) for looks in (train, validation))
    bits = np.full(len(others), MOST_BITS + 1)
    nearest = np.zeros(len(others), np.int64)
    for pairs in _candidates(
        _bands(train.greys[usable]), _bands(validation.greys[others_usable])
    ):
        first, second = usable[pairs[0]], others_usable[pairs[1]]
        distance = np.bitwise_count(hashes[first] ^ others[second]).astype(np.int64)
        kept = train.digests[first] != validation.digests[second]
        for _ in range(_TRIED):
            kept &= distance < bits[second]
            first, second, distance = first[kept], second[kept], distance[kept]
            if not len(first):
                break
            best = _first_minima(distance, np.flatnonzero(np.diff(second, prepend=-1)))
            like = correlation(train.greys[first[best]], validation.greys[second[best]])
            alike = best[like >= LEAST_CORRELATION]
            bits[second[alike]] = distance[alike]
            nearest[second[alike]] = first[alike]
            kept = np.ones(len(first), bool)
            kept[best] = False
    found = np.flatnonzero(bits <= MOST_BITS)
    named = found[np.argsort(bits[found], kind="stable")][:most_pairs]
    return Alike(
        images=len(found),
        looked_at=len(bits),
        pairs=tuple(
            Pair(
                Sample(*train.places[nearest[index]].tolist()),
                Sample(*validation.places[index].tolist()),
                int(bits[index]),
            )
            for index in named
        ),
    )


def difference_hashes(greys: np.ndarray) -> np.ndarray:
    """Returns the hashes of images.

    Args:
        greys: uint8 `(images, 8, 9)`, see `measure`.

    Returns:
        uint64 `(images,)`; the first row is in the highest bits.
    """
    packed = np.ascontiguousarray(np.packbits(_bits(greys), axis=1))
    return packed.view(">u8")[:, 0].astype(np.uint64)


def is_empty(greys: np.ndarray) -> np.ndarray:
    """Tells which images are flat, or a mere ramp, and so like many others.

    Args:
        greys: See `difference_hashes`.

    Returns:
        bool `(images,)`.
    """
    ones = np.bitwise_count(difference_hashes(greys))
    flat = greys.std(axis=(1, 2)) < LEAST_DEVIATION
    return flat | (ones <= MOST_BITS) | (ones >= 64 - MOST_BITS)


def correlation(greys: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the correlation of the greys of pairs of images that are not flat.

    Args:
        greys: See `difference_hashes`.
        others: Likewise, as many.

    Returns:
        float64 `(images,)`.
    """
    first, second = (
        one - one.mean(axis=1, keepdims=True)
        for one in (greys.reshape(-1, 72) * 1.0, others.reshape(-1, 72) * 1.0)
    )
    norms = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return (first * second).sum(axis=1) / norms


def _first_minima(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Returns the index of the least value of each run, by where the runs start."""
    ranked = values * len(values) + np.arange(len(values))
    return np.minimum.reduceat(ranked, starts) % len(values)


def _bits(greys: np.ndarray) -> np.ndarray:
    return (greys[:, :, 1:] > greys[:, :, :-1]).reshape(-1, 64)


def _bands(greys: np.ndarray) -> np.ndarray:
    """Returns the bits in bands, uint16 `(4, images)`, each of all parts of the image.

    Where images have their upper parts in common, such as sky, no band is of these.
    """
    spread = _bits(greys).reshape(-1, 64 // _BANDS, _BANDS).transpose(2, 0, 1)
    packed = np.packbits(spread, axis=2)
    return np.ascontiguousarray(packed).view(">u2")[:, :, 0]


def _candidates(
    bands: np.ndarray, others: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the indices of pairs that agree in a band."""
    for ours, theirs in zip(bands, others, strict=True):
        order = np.argsort(ours, kind="stable")
        starts = np.searchsorted(ours[order], theirs, "left")
        counts = np.searchsorted(ours[order], theirs, "right") - starts
        counts = np.minimum(counts, _MOST_IN_A_BAND)
        parts = np.cumsum(counts) // _PAIRS_AT_ONCE
        cuts = np.flatnonzero(np.diff(parts)) + 1
        for rows in np.split(np.arange(len(theirs)), cuts):
            ends = np.cumsum(counts[rows])
            within = np.arange(ends[-1] if len(ends) else 0)
            within -= np.repeat(ends - counts[rows], counts[rows])
            yield (
                order[np.repeat(starts[rows], counts[rows]) + within],
                np.repeat(rows, counts[rows]),
            )
