"""What TensorBoard shows of a run."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from keras_resnet.analysis.mistakes import confusion
from pipelines.training.watching.closing import ClosingCallback
from pipelines.training.watching.pictures import draw_confusion, draw_mistakes
from pipelines.training.watching.sample import IMAGES_INSIDE, EvaluationSample, Looker

_LOOKING_SHARE = 0.03


class TensorBoard(ClosingCallback):
    """Writes scalars, norms, activations and mistakes for TensorBoard.

    Tags are those of `keras.callbacks.TensorBoard`, whose counting of steps begins at 0
    again when a run is resumed. Here a step is always the number of training steps
    since the run began, so that a resumed run continues its curves; what a killed
    process had written beyond that point is dropped from them.

    - for every row of `steps.csv`: `batch_*`, what came of the steps since the row
      before, and the learning rate;
    - every epoch: `epoch_*`, all of the epoch's logs, those of the validation in a run
      of their own; the norm of each stage's weights;
    - at ends of epochs, as long as that takes at most 3% of the run's time, and at the
      last one in any case: norms of each stage's gradients and its activations on the
      first images of the sample; the sample's hardest mistakes and confusion matrix.

    Args:
        directory: Gets the folders `train` and `validation`.
        sample: Validation images to look at the network with; None for none.
        images_at_once: Images that fit in a replica's memory in training.
        rows: Those of `steps.csv`, see `Progress.steps`; more come while it trains.
    """

    def __init__(
        self,
        directory: Path,
        sample: EvaluationSample | None,
        images_at_once: int,
        rows: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__()
        self.directory = directory
        self.sample = sample
        self.images_at_once = images_at_once
        self.rows = rows
        self._rows_written = len(rows)
        self._writers: dict[str, tf.summary.SummaryWriter] = {}
        self._looking_seconds = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        """Begins to count the time."""
        self._began = time.perf_counter()
        self._steps = 0
        self._looker = Looker(self.model, self.images_at_once)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Opens the files before the first epoch."""
        self._steps_before = epoch * self.params["steps"]
        if not self._writers:
            first = self._steps_before + self.params.get("first_step", 0)
            self._writers = {
                name: _open_writer(self.directory / name, first)
                for name in ("train", "validation")
            }

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Writes the row that the step may have ended."""
        self._steps += 1
        rows = self.rows[self._rows_written :]
        if not rows:
            return
        with self._writers["train"].as_default(self._steps_before + batch + 1):
            for row in rows:
                for name in row.keys() - {"epoch", "step"}:
                    tf.summary.scalar(f"batch_{name}", row[name])
        self._rows_written = len(self.rows)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the epoch's logs, and what the network looks like inside."""
        step = self._steps_before + self.params["steps"]
        for name, value in (logs or {}).items():
            run = "validation" if name.startswith("val_") else "train"
            with self._writers[run].as_default(step):
                tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", value)
        with self._writers["train"].as_default(step):
            for stage, norm in self._looker.weight_norms().items():
                tf.summary.scalar(f"weight_norm/{stage}", norm)
        is_last = epoch + 1 == self.params["epochs"]
        if self.sample is not None and (is_last or self._may_look(self.sample)):
            begin = time.perf_counter()
            self._look(self.sample, step)
            self._looking_seconds += time.perf_counter() - begin
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Closes the files; safe at any time."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _may_look(self, sample: EvaluationSample) -> bool:
        if not self._looking_seconds:
            # Not measured yet; inference takes about a third of a training step.
            images = IMAGES_INSIDE + len(sample.images) / 3
            return images <= _LOOKING_SHARE * self._steps * self.params["batch_size"]
        passed = time.perf_counter() - self._began
        return self._looking_seconds <= _LOOKING_SHARE * passed

    def _look(self, sample: EvaluationSample, step: int) -> None:
        inside = self._looker.inside(sample)
        probabilities = self._looker.probabilities(sample)
        mistakes = draw_mistakes(
            sample.images, sample.labels, probabilities, sample.classes
        )
        counts = confusion(probabilities, sample.labels)
        with self._writers["train"].as_default(step):
            for stage, norm in inside.gradient_norms.items():
                tf.summary.scalar(f"gradient_norm/{stage}", norm)
            for stage, values in inside.activations.items():
                tf.summary.histogram(f"activations/{stage}", values)
        with self._writers["validation"].as_default(step):
            if mistakes is not None:
                tf.summary.image("hardest_mistakes", mistakes[np.newaxis])
            picture = draw_confusion(counts, sample.classes)
            tf.summary.image("confusion_matrix", picture[np.newaxis])


def _open_writer(directory: Path, first_step: int) -> tf.summary.SummaryWriter:
    """Opens a file of events that begins after `first_step` steps.

    TensorBoard takes a mark of a start that is not the folder's first for a restart,
    and drops what earlier processes wrote of later steps. TensorFlow's own writer has
    no way to set it.
    """
    marks = EventFileWriter(str(directory))
    start = SessionLog(status=SessionLog.START)
    marks.add_event(
        Event(wall_time=time.time(), step=first_step + 1, session_log=start)
    )
    marks.close()
    return tf.summary.create_file_writer(str(directory))
