"""The loop: epochs of steps, validation, checkpoints, and what interrupts them.

It keeps the contract of Keras' callbacks, but for `model.stop_training`.
`keras.Model.fit` is not used, for three reasons: it cannot begin in the middle of an
epoch, it does not tell waiting for data from computing, and it fails under several
workers (docs/scaling.md).
"""

import dataclasses
import re
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console

from keras_resnet.training import Recipe
from keras_resnet.training.schedules import Plateau
from keras_resnet.training.spans import in_steps
from pipelines.errors import NotFiniteError
from pipelines.training import nonfinite
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.feed import Feed
from pipelines.training.history import write_rows
from pipelines.training.interruption import Interruption
from pipelines.training.progress import Progress, Span
from pipelines.training.step import (
    EvaluationStep,
    Measured,
    Outcome,
    TrainingStep,
)
from pipelines.training.strategies import Cluster, agree, gather, gpus_here
from pipelines.training.watching.stall import StallWatch

_ROWS_PER_EPOCH = 20
_MOST_FAILURES = 10
_READ_EVERY_ON_GPUS = 10
_EVERY = re.compile(r"(\d+(?:\.\d+)?) (minute|epoch|step)s?")


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """How a run is fed and kept, which does not change what comes of it.

    Args:
        checkpoint_every: A span such as `"1 epoch"` or `"500 steps"`, or
            `"10 minutes"`; there is one after every epoch in any case.
        keep_last: How many of the newest checkpoints to keep.
        keep_best: How many of those with the best validation top-1 to keep besides.
        on_nan: What to do when loss or gradients are not finite: `"stop"` before the
            step, `"skip"` the step, or `"rollback"` to the weights of the last
            checkpoint and go on with the images that follow.
        export: Whether the model is made of the `"last"` weights or of the `"best"`,
            those of the checkpoint with the highest validation top-1.
        allow_changed: Settings in which a run that is gone on with may differ from what
            it was begun with, see `pipelines.runs.differences`.
        data_service: Address of a tf.data service, see `training_batches`, whose
            batches come in no fixed order; empty for none.
        stop_after: Epochs after which to stop for now, although the recipe has more;
            the run can be gone on with. None for the recipe's end.
    """

    checkpoint_every: str = "10 minutes"
    keep_last: int = 2
    keep_best: int = 1
    on_nan: str = "stop"
    export: str = "last"
    allow_changed: Collection[str] = ()
    data_service: str = ""
    stop_after: int | None = None

    def __post_init__(self) -> None:
        self.is_checkpoint_due(steps=1, steps_per_epoch=1, seconds=0.0)

    def is_checkpoint_due(
        self, steps: int, steps_per_epoch: int, seconds: float
    ) -> bool:
        """Tells whether it is time for a checkpoint.

        Args:
            steps: Finished steps of the run.
            steps_per_epoch: Steps of an epoch.
            seconds: Time since the last one.

        Raises:
            ValueError: If `checkpoint_every` is no span and no time.
        """
        match = _EVERY.fullmatch(self.checkpoint_every)
        if not match or not float(match[1]):
            raise ValueError(
                f"{self.checkpoint_every!r} is no time between checkpoints; write one "
                "such as '10 minutes', '500 steps' or '1 epoch'"
            )
        if match[2] == "minute":
            return seconds >= 60 * float(match[1])
        every = in_steps(self.checkpoint_every, steps_per_epoch, total_steps=0)
        return steps % max(every, 1) == 0


@dataclasses.dataclass
class Loop:
    """Trains a network from where it is to the end of its recipe.

    Args:
        strategy: Where steps run.
        recipe: The recipe.
        steps_per_epoch: Steps of an epoch.
        training_step: Trains a network.
        evaluation_step: Measures the same one, or its moving average.
        feed: The training batches.
        held_out: Gives `(images, labels, counted)` of this worker's part of the
            validation images in every iteration.
        progress: Where the run is; it is kept up to date.
        checkpoints: Where to keep it.
        settings: What the exactness of a resumption depends on, for the checkpoints.
        directory: Gets `history.csv`, `steps.csv` and `events.csv`.
        callbacks: Keras callbacks; the chief's only.
        when_saved: Called after each checkpoint; the chief's only.
        watch: Tells when nothing happens any more.
        options: How the run is kept.
        console: Where to tell what happens.

    Example:

    >>> loop.run()
    """

    strategy: tf.distribute.Strategy
    recipe: Recipe
    steps_per_epoch: int
    training_step: TrainingStep
    evaluation_step: EvaluationStep
    feed: Feed
    held_out: Iterable[Any]
    progress: Progress
    checkpoints: Checkpoints
    settings: dict[str, Any]
    directory: Path
    callbacks: list[keras.callbacks.Callback]
    when_saved: Callable[[], object]
    watch: StallWatch
    options: LoopOptions
    console: Console

    def __post_init__(self) -> None:
        self._cluster = Cluster.of(self.strategy)
        # To read what a step measured waits for all that a GPU has been given by then.
        # Workers must read after the same step.
        alone_on_gpus = gpus_here() and self._cluster.count == 1
        self._read_every = _READ_EVERY_ON_GPUS if alone_on_gpus else 1
        # A row for every twentieth of an epoch.
        self._row = max(1, self.steps_per_epoch // _ROWS_PER_EPOCH)
        self._stopping = False
        self._saved = time.perf_counter()

    @property
    def last_epoch(self) -> int:
        """How many epochs there will be when `run` ends."""
        return min(self.recipe.epochs, self.options.stop_after or self.recipe.epochs)

    def run(self) -> None:
        """Trains to the end, or for as many epochs as the options say.

        Raises:
            Stopped: If a signal asked for it; there is a checkpoint then.
            UserError: If loss or gradients are not finite and that is not passed over,
                or too many records are damaged.
        """
        told = keras.callbacks.CallbackList(
            self.callbacks,
            model=self.training_step.network,
            epochs=self.last_epoch,
            steps=self.steps_per_epoch,
            batch_size=self.recipe.batch_size,
            first_step=self.progress.step,
        )
        self._write_logs()
        if self.options.on_nan == "rollback" and not self.checkpoints.paths():
            self._save()
        told.on_train_begin()
        with self.watch, Interruption() as interruption:
            while self.progress.epoch < self.last_epoch:
                told.on_epoch_begin(self.progress.epoch)
                self._train(told, interruption)
                measured = self._validate(told, interruption)
                self._finish_epoch(told, measured)
            if interruption.requested and self._cluster.count == 1:
                raise interruption.stop("after the last epoch")
        told.on_train_end()

    def _train(self, told: Any, interruption: Interruption) -> None:
        """Runs the steps that the epoch still has."""
        progress = self.progress
        if progress.step < self.steps_per_epoch:
            self.feed.start(progress.epoch, progress.step)
        # The host reads what steps measured while the device runs the next one.
        running: list[tuple[int, Outcome, Any]] = []
        ended, waited = time.perf_counter(), self.feed.waited

        def finish(step: int, outcome: Outcome, batch: Any) -> None:
            nonlocal ended, waited
            measured = outcome.measured()
            before, ended = ended, time.perf_counter()
            waited_before, waited = waited, self.feed.waited
            progress.finish_step(Span(measured, ended - before, waited - waited_before))
            self._stopping |= outcome.stop_asked
            if outcome.failed:
                self._handle_failure(step, batch)
            if progress.step % self._row == 0:
                progress.add_row(learning_rate=self._learning_rate(step))
            told.on_train_batch_end(step, progress.so_far.logs())
            self.watch.beat(f"step {step + 1} of epoch {progress.epoch + 1}")

        def finish_all() -> None:
            for one in running:
                finish(*one)
            running.clear()

        for step in range(progress.step, self.steps_per_epoch):
            told.on_train_batch_begin(step)
            self.watch.waiting_for = "the input pipeline"
            batch = self.feed.next()
            self.watch.waiting_for = "the device"
            images, labels = batch
            outcome = self.training_step(images, labels, interruption.requested)
            is_due = self._is_checkpoint_due(step)
            # All of a row's, so that its times are its own.
            if is_due or step % self._row % self._read_every == 0:
                finish_all()
            running.append((step, outcome, batch))
            # A step that has something to tell is dealt with after the next one has
            # begun, as in other workers, whose clocks may differ: all must begin the
            # same steps in the same order.
            if self._stopping or (
                is_due and not (outcome.failed or outcome.stop_asked)
            ):
                finish_all()
                self._save()
            if self._stopping:
                raise interruption.stop(
                    f"in epoch {progress.epoch + 1} after step {progress.step} of "
                    f"{self.steps_per_epoch}"
                )
        finish_all()

    def _validate(self, told: Any, interruption: Interruption) -> Measured:
        told.on_test_begin()
        self.watch.waiting_for = "the validation"
        sums = np.zeros(4)
        for number, batch in enumerate(self.held_out):
            sums += self.evaluation_step(*batch).numpy()
            told.on_test_batch_end(number)
            self.watch.beat(f"batch {number + 1} of the validation")
            if interruption.requested and self._cluster.count == 1:
                self._save()
                raise interruption.stop(
                    f"in the validation after epoch {self.progress.epoch + 1}"
                )
        measured = Measured(*gather(self.strategy, sums).sum(axis=0).tolist())
        told.on_test_end(self._told(_validation_logs(measured)))
        return measured

    def _told(self, logs: dict[str, float]) -> dict[str, float]:
        """Leaves out what is always right: the five best of five classes or fewer."""
        is_told = self.training_step.network.output_shape[-1] > 5
        return {
            name: value
            for name, value in logs.items()
            if is_told or not name.endswith("top5")
        }

    def _finish_epoch(self, told: Any, measured: Measured) -> None:
        progress = self.progress
        logs = {
            **progress.so_far.logs(),
            **_validation_logs(measured),
            "learning_rate": self._learning_rate(self.steps_per_epoch - 1),
        }
        logs = self._told(logs)
        schedule = self.training_step.optimizer.schedule
        if isinstance(schedule, Plateau):
            schedule.observe(1 - logs["val_top1"])
            progress.schedule = schedule.state()
        epoch = progress.epoch
        progress.history.append({"epoch": epoch, **logs})
        progress.begin_epoch()
        # Whoever is told twice drops the first time; once a checkpoint is there, they
        # would not be told again.
        told.on_epoch_end(epoch, logs)
        self._save(score=logs["val_top1"])

    def _is_checkpoint_due(self, step: int) -> bool:
        """Tells whether to save after a step; the last one's comes with the epoch's."""
        return step + 1 < self.steps_per_epoch and self.options.is_checkpoint_due(
            self.progress.epoch * self.steps_per_epoch + step + 1,
            self.steps_per_epoch,
            time.perf_counter() - self._saved,
        )

    def _save(self, score: float | None = None) -> None:
        self._saved = time.perf_counter()
        if not self._cluster.is_chief:
            return
        self.watch.waiting_for = "the checkpoint"
        self._write_logs()
        arrays = {
            name: keras.ops.convert_to_numpy(variable)
            for name, variable in self.training_step.variables().items()
        }
        notes = {
            "progress": self.progress.to_json(),
            "settings": self.settings,
            "steps_per_epoch": self.steps_per_epoch,
        }
        self.checkpoints.save(arrays, notes, score=score)
        self.when_saved()

    def _learning_rate(self, step: int) -> float:
        """Returns the rate of a step of the epoch."""
        number = self.progress.epoch * self.steps_per_epoch + step
        return float(self.training_step.optimizer.schedule(number))

    def _write_logs(self) -> None:
        if self._cluster.is_chief:
            write_rows(self.directory / "history.csv", self.progress.history)
            write_rows(self.directory / "steps.csv", self.progress.steps)
            write_rows(self.directory / "events.csv", self.progress.events)

    def _handle_failure(self, step: int, batch: Any) -> None:
        """Does what `on_nan` says about a step that changed nothing."""
        progress, options = self.progress, self.options
        where = f"epoch {progress.epoch + 1}, step {step + 1}"
        name = f"epoch-{progress.epoch + 1}-step-{step + 1}.npz"
        path = nonfinite.folder(self.directory) / name
        if self._cluster.is_chief:
            nonfinite.save_batch(path, self.strategy, batch)
        culprit = nonfinite.first_failure(
            self.strategy,
            self.training_step.network,
            self.training_step.loss,
            batch,
            parts=self.recipe.accumulate,
        )
        problem = f"{culprit} is no longer a number in {where}"
        kinds = [event["event"].partition(":")[0] for event in progress.events]
        is_last = kinds.count("not finite") >= _MOST_FAILURES
        progress.note(f"not finite: {culprit}; {options.on_nan}")
        if options.on_nan == "stop" or is_last:
            self._write_logs()
            others = "--on_nan=skip or --on_nan=rollback"
            go_on = "" if is_last else f"the same command goes on with {others}; or "
            raise NotFiniteError(
                f"{problem}; the last checkpoint is kept, and its images are in "
                f"{path}; {go_on}start again with a lower --set=learning_rate=RATE and "
                "--overwrite"
            )
        self.console.print(f"{problem}: {options.on_nan}", style="yellow")
        if options.on_nan == "rollback":
            self._roll_back()
        self.training_step.go_on()

    def _roll_back(self) -> None:
        """Takes the weights of the last checkpoint, but not its step."""
        step = self.training_step
        checkpoint = self.checkpoints.newest(step.shapes(), self.console)
        assert checkpoint is not None  # There is one from the beginning.
        number = int(checkpoint.path.stem.split("-")[1])
        agree(self.strategy, number, "the checkpoint to go back to")
        iterations = step.optimizer.iterations.numpy()
        step.restore(checkpoint.arrays)
        step.optimizer.iterations.assign(iterations)


def _validation_logs(measured: Measured) -> dict[str, float]:
    means = measured.means()
    return {f"val_{name}": means[name] for name in ("loss", "top1", "top5")}
