"""Requests to stop, which are met between two steps."""

import signal
import threading
from types import FrameType
from typing import Any

from pipelines.errors import Stopped

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Notes SIGTERM and SIGINT while a block runs, instead of being ended by them.

    A second signal has its usual effect, for those who will not wait. Outside the main
    thread, where Python cannot handle signals, it notes nothing.

    Example:

    >>> with Interruption() as interruption:
    ...     for batch in batches:
    ...         train(batch)
    ...         if interruption.requested:
    ...             break
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._received is not None

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        self._put_back()

    def stop(self, done: str) -> Stopped:
        """Returns the exception that ends the command.

        Args:
            done: What the user should know.
        """
        return Stopped(self._received or signal.SIGTERM, done)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        self._put_back()

    def _put_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
