"""A TensorFlow profile of some steps."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines.training.watching.closing import ClosingCallback

_FIRST, _LAST = 10, 20


class Profile(ClosingCallback):
    """Profiles the 10th to the 20th step that this process runs.

    The first steps compile and fill buffers; they are no example of the others.

    Args:
        directory: Gets `plugins/profile/`, which TensorBoard's profile plugin
            (`tensorboard-plugin-profile`) shows.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        self._steps = 0
        self._is_running = False
        self._step: tf.profiler.experimental.Trace | None = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Begins after the 9th step and ends after the 20th."""
        self._steps += 1
        if self._steps == _FIRST - 1:
            tf.profiler.experimental.start(str(self.directory))
            self._is_running = True
        if not self._is_running:
            return
        self._end_step()
        if self._steps == _LAST:
            self.close()
        else:
            self._step = tf.profiler.experimental.Trace(
                "train", step_num=self._steps + 1, _r=1
            )
            self._step.__enter__()

    def close(self) -> None:
        """Writes what there is; safe at any time."""
        self._end_step()
        if self._is_running:
            tf.profiler.experimental.stop()
            self._is_running = False

    def _end_step(self) -> None:
        if self._step is not None:
            self._step.__exit__(None, None, None)
            self._step = None
