"""What the callbacks here have in common."""

from typing import Any

import keras


class ClosingCallback(keras.callbacks.Callback):
    """A callback that holds something open while a network trains."""

    def on_train_end(self, logs: Any = None) -> None:
        """Closes what is open."""
        self.close()

    def close(self) -> None:
        """Closes what is open, also after an error; safe at any time."""
        raise NotImplementedError
