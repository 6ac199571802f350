"""Checkpoints between epochs: weights, optimizer state and batch-norm statistics."""

import math
import re
from pathlib import Path
from typing import Any

import keras

from pipelines import files


class Checkpoint(keras.callbacks.Callback):
    """Saves the training state after every epoch and keeps the last two.

    The number of finished epochs is in the file's name, so that a state and its number
    appear in one rename.

    Args:
        directory: Where the files go; made if it does not exist.

    Example:

    >>> checkpoint = Checkpoint(Path("runs/demo/model/checkpoints"))
    >>> model.fit(..., initial_epoch=checkpoint.restore(model), callbacks=[checkpoint])
    """

    _KEEP = 2

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory

    def exists(self) -> bool:
        """Tells whether there is a state to restore."""
        return bool(self._states())

    def restore(self, model: keras.Model) -> int:
        """Loads the newest state into a compiled model.

        Args:
            model: The model; unchanged when there is no checkpoint.

        Returns:
            The number of finished epochs, 0 when there is no checkpoint.
        """
        states = self._states()
        if not states:
            return 0
        epochs = max(states)
        model.optimizer.build(model.trainable_variables)
        model.load_weights(states[epochs])
        return epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves the state, unless the loss is no longer a number."""
        if not math.isfinite((logs or {})["loss"]):
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"epoch-{epoch + 1:05d}.weights.h5"
        with files.replacing(path) as temporary:
            self.model.save_weights(temporary)
        states = self._states()
        for old in sorted(states)[: -self._KEEP]:
            states[old].unlink()

    def _states(self) -> dict[int, Path]:
        return {
            int(match.group(1)): path
            for path in self.directory.glob("epoch-*.weights.h5")
            if (match := re.fullmatch(r"epoch-(\d+)\.weights\.h5", path.name))
        }
