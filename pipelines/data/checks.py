"""Decodes every image of a source once, to find those that training could not use."""

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import tensorflow as tf

from pipelines.data import images
from pipelines.data.sources import SourceImage

_CHUNK_IMAGES = 512
_CHUNK_BYTES = 4 * 2**20
_CHUNKS_AHEAD = 2  # For each thread.


class CheckedImage(NamedTuple):
    """An image with what decoding it told.

    Attributes:
        found: The image as it was found.
        sha256: SHA-256 of the encoded bytes, 32 bytes.
        height: In pixels; 0 if it cannot be decoded.
        width: In pixels; 0 if it cannot be decoded.
        problem: Why it cannot be decoded, or None.
    """

    found: SourceImage
    sha256: bytes
    height: int
    width: int
    problem: str | None


def checked(source: Iterable[SourceImage]) -> Iterator[CheckedImage]:
    """Checks images with the decoder of training, on all processors.

    Args:
        source: The images; read only as far ahead as the processors need.

    Returns:
        All of them, in the order of the source.
    """
    threads = os.cpu_count() or 1
    pending: deque[Future[list[CheckedImage]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for chunk in _chunks(source):
            pending.append(pool.submit(_check, chunk))
            if len(pending) > _CHUNKS_AHEAD * threads:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _chunks(source: Iterable[SourceImage]) -> Iterator[list[SourceImage]]:
    chunk: list[SourceImage] = []
    size = 0
    for found in source:
        chunk.append(found)
        size += len(found.image)
        if len(chunk) == _CHUNK_IMAGES or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _check(chunk: list[SourceImage]) -> list[CheckedImage]:
    try:
        sizes = _sizes([found.image for found in chunk]).numpy().tolist()
    except tf.errors.InvalidArgumentError:
        # The graph does not tell which one it was.
        if len(chunk) > 1:
            return [result for found in chunk for result in _check([found])]
        (found,) = chunk
        digest = hashlib.sha256(found.image).digest()
        return [CheckedImage(found, digest, 0, 0, images.problem(found.image))]
    return [
        CheckedImage(found, hashlib.sha256(found.image).digest(), height, width, None)
        for found, (height, width) in zip(chunk, sizes, strict=True)
    ]


# One call for many images: calls from Python one by one take ten times as long as
# decoding small images does.
@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def _sizes(encoded: tf.Tensor) -> tf.Tensor:
    return tf.map_fn(
        lambda image: tf.shape(images.decode(image))[:2],
        encoded,
        fn_output_signature=tf.TensorSpec([2], tf.int32),
        parallel_iterations=1,  # The chunks are in parallel already.
    )
