"""Tells where a run hangs."""

import collections
import os
import statistics
import sys
import threading
import time
import traceback
from pathlib import Path

from rich.console import Console

_STEPS_KEPT = 50
_TYPICAL_STEPS = 20
_FRAMES = 8

_READS_EXAMPLES = ("the input pipeline", "the validation")

ADVICE = {
    "the input pipeline": (
        "see whether the disk or network share that holds the examples answers (`ls`), "
        "whether the data service runs, if one is used, and whether the machine swaps "
        "(`vmstat 1`)"
    ),
    "the device": (
        "a first step also compiles the network; otherwise see whether other processes "
        "use the device (`nvidia-smi`), and, with several workers, whether all of them "
        "still run: a step waits for the slowest"
    ),
    "the validation": (
        "see whether the disk or network share that holds the examples answers"
    ),
    "the checkpoint": (
        "see whether the disk that holds --output_dir answers, and has space (`df`)"
    ),
}
"""What to look at, by what a run waits for."""


class StallWatch:
    """Prints what a run is doing when nothing has finished for too long.

    Too long is `seconds`, or 20 times the median time between beats where that is more.
    The message is repeated each time the wait has doubled. The run itself goes on
    waiting: what hangs may be a file server that comes back.

    Set `waiting_for` to a key of `ADVICE` before anything that may take long.

    Args:
        console: Where to print.
        seconds: The shortest wait to tell of.
        examples: Folder of the shards; files there that are open are told.

    Example:

    >>> with StallWatch(Console()) as watch:
    ...     for step in range(steps):
    ...         watch.waiting_for = "the input pipeline"
    ...         batch = next(batches)
    ...         watch.waiting_for = "the device"
    ...         train(batch)
    ...         watch.beat(f"step {step + 1} of epoch 1")
    """

    def __init__(
        self, console: Console, *, seconds: float = 120.0, examples: Path | None = None
    ) -> None:
        self.console = console
        self.seconds = seconds
        self.examples = examples
        self.waiting_for = "the device"
        self._finished = "nothing yet"
        self._intervals: collections.deque[float] = collections.deque(
            maxlen=_STEPS_KEPT
        )
        self._told_after = 0.0
        self._ends = threading.Event()

    def __enter__(self) -> "StallWatch":
        self._watched = threading.get_ident()
        self._beat_at = time.monotonic()
        self._thread = threading.Thread(
            target=self._watch, name="stall watch", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join()

    def beat(self, finished: str) -> None:
        """Notes that something has finished.

        Args:
            finished: What, such as `"step 120 of epoch 3"`.
        """
        now = time.monotonic()
        waited, self._beat_at = now - self._beat_at, now
        self._finished = finished
        if self._told_after:
            self._told_after = 0.0
            self.console.print(f"went on after {waited:.0f} s", style="yellow")
        else:
            self._intervals.append(waited)

    def _limit(self) -> float:
        # Copied, since the other thread appends to it.
        typical = statistics.median(self._intervals.copy() or [0.0])
        return max(self.seconds, _TYPICAL_STEPS * typical, 2 * self._told_after)

    def _watch(self) -> None:
        while not self._ends.wait(self.seconds / 10):
            waited = time.monotonic() - self._beat_at
            if waited >= self._limit():
                self._told_after = waited
                self.console.print(
                    self._message(waited), style="yellow", markup=False, soft_wrap=True
                )

    def _message(self, waited: float) -> str:
        what = self.waiting_for
        lines = [
            f"nothing has finished for {waited:.0f} s: the run waits for {what}; last "
            f"finished: {self._finished}"
        ]
        if self.examples is not None and what in _READS_EXAMPLES:
            names = open_files(self.examples)
            lines.append(f"open shards: {', '.join(names) or 'none'}")
        frame = sys._current_frames().get(self._watched)
        if frame is not None:
            stack = traceback.extract_stack(frame)[-_FRAMES:]
            lines += ["it is here, the innermost call last:"]
            lines += [line.rstrip() for line in traceback.format_list(stack)]
        if what in ADVICE:
            lines.append(f"what to do: {ADVICE[what]}")
        return "\n".join(lines)


def open_files(directory: Path) -> list[str]:
    """Returns names of the files in a folder that this process has open, on Linux.

    Args:
        directory: The folder.

    Returns:
        Sorted paths relative to it; none where the system has no `/proc`.
    """
    descriptors = Path("/proc/self/fd")
    names = set()
    for descriptor in descriptors.iterdir() if descriptors.is_dir() else ():
        try:
            path = Path(os.readlink(descriptor))
        except OSError:
            continue
        if path.is_relative_to(directory.absolute()):
            names.add(str(path.relative_to(directory.absolute())))
    return sorted(names)
