"""Records that turn out to be unreadable while a network trains or is evaluated."""

import contextlib
import os
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from pipelines.data.reading import Blocks
from pipelines.errors import UserError


class Damage:
    """Names damaged records in a log, and fails when they are too many.

    Each is a line such as `train-00003-of-00008.tfrecord:17`, file and number in it.
    TensorFlow alone writes the log: Python that is called from a data set's threads can
    block the end of the process.

    Args:
        split: `"train"` or `"validation"`, for the messages.
        blocks: Where the records lie.
        max_bad_share: Share of the records above which to fail.
        log: The file to which lines are added. Defaults to a temporary one.
        replaces: Whether others take the places of the damaged ones, so that there must
            be some: without any, the images that follow would come in other batches.
    """

    def __init__(
        self,
        split: str,
        blocks: Blocks,
        max_bad_share: float,
        log: Path | None = None,
        *,
        replaces: bool = False,
    ) -> None:
        self._split = split
        self._blocks = blocks
        self._max_bad_share = max_bad_share
        self._replaces = replaces
        self.log = log or _temporary_file()
        self._complaint = f"too many damaged records, see {self.log}"

    @property
    def records(self) -> list[str]:
        """The damaged records that have been met, sorted."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(set(self.log.read_text().split()))
        return []

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Makes one sentence of the failure of a data set that is read in the block.

        Raises:
            UserError: If there are too many damaged records.
        """
        try:
            yield
        except tf.errors.OpError as error:
            if self._complaint not in str(error):
                raise
            found = self.records
            shards = Counter(where.rpartition(":")[0] for where in found)
            worst, count = shards.most_common(1)[0]
            raise UserError(
                f"{len(found)} of {self._blocks.records} {self._split} records cannot "
                f"be read or decoded, {count} of them in {worst} ({self.log} names "
                "them); make the examples again, or raise "
                f"--max_bad_share={self._max_bad_share}"
            ) from error

    def watch(
        self, count: tf.Tensor, wanted: tf.Tensor, delivered: tf.Tensor
    ) -> tf.Tensor:
        """Compares, in a graph, the records that came with those that were wanted.

        Args:
            count: Number of damaged records before, a scalar int64.
            wanted: Indices of records in the split, int64 `(wanted,)`.
            delivered: Likewise, of the images that came of them; -1 for a blank one.

        Returns:
            The number of damaged records now; evaluating it fails above the limit.
        """
        same = tf.cond(
            tf.size(wanted) == tf.size(delivered),
            lambda: tf.reduce_all(wanted == delivered),
            lambda: False,
        )
        return tf.cond(
            same, lambda: count, lambda: self._tell(count, wanted, delivered)
        )

    def _tell(
        self, count: tf.Tensor, wanted: tf.Tensor, delivered: tf.Tensor
    ) -> tf.Tensor:
        missing = tf.sets.difference(wanted[None], delivered[None]).values
        with tf.init_scope():  # Given to the graph, instead of being copied into it.
            firsts = tf.constant(self._blocks.first_records)
            names = tf.constant([os.path.basename(file) for file in self._blocks.files])
        shard = tf.searchsorted(firsts, missing, side="right") - 1
        number = tf.strings.as_string(missing - tf.gather(firsts, shard))
        lines = tf.strings.join([tf.gather(names, shard), number], separator=":")
        text = tf.strings.reduce_join(lines, separator="\n")
        count += tf.size(missing, tf.int64)
        allowed = int(self._max_bad_share * self._blocks.records)
        told = tf.print(text, output_stream=f"file://{self.log}")
        with tf.control_dependencies([told]):
            enough = count <= allowed
            if self._replaces:
                enough &= tf.reduce_all(delivered >= 0)
            assertion = tf.debugging.Assert(enough, [self._complaint])
        with tf.control_dependencies([assertion]):
            return tf.identity(count)


def _temporary_file() -> Path:
    return Path(tempfile.gettempdir(), f"damaged-records-{uuid.uuid4().hex}.txt")
