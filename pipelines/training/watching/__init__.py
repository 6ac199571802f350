"""What people watch while a network trains.

All here only looks on: a run gives the same weights with and without it.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pipelines.training.watching.closing import ClosingCallback
from pipelines.training.watching.live_line import ProgressBar
from pipelines.training.watching.profiling import Profile
from pipelines.training.watching.sample import EvaluationSample
from pipelines.training.watching.tensorboard import TensorBoard
from pipelines.training.watching.trackers import TRACKERS


@dataclasses.dataclass(frozen=True)
class WatchOptions:
    """What to watch; `pipelines.command.watch_flags` makes it of the flags.

    Args:
        tensorboard: Whether to write what TensorBoard shows.
        profile: Whether to profile the steps 10 to 20.
        track: A name in `TRACKERS`; empty for none.
        experiment: The tracker's name for runs that belong together.
    """

    tensorboard: bool = True
    profile: bool = False
    track: str = ""
    experiment: str = "keras_resnet"


def make_callbacks(
    directory: Path,
    console: Console,
    *,
    options: WatchOptions,
    images_at_once: int,
    sample: EvaluationSample | None = None,
    rows: Sequence[Mapping[str, Any]] = (),
    parameters: Mapping[str, Any] | None = None,
) -> list[ClosingCallback]:
    """Returns the callbacks of the process that writes: the only one, or the chief.

    Epochs, steps and where a resumed run begins they read from `callback.params`.
    Call `close` when training ends, well or not.

    Args:
        directory: Gets `tensorboard/` and what a tracker needs to go on.
        console: Where the progress bar is.
        options: What to watch.
        images_at_once: Images that a replica runs at once in training, and which
            therefore fit in its memory.
        sample: Validation images to look at the network with; None for none.
        rows: Those of `steps.csv`; more come while it trains.
        parameters: What a tracker should know of the run, such as
            `{"recipe.epochs": 90, "seed": 0}`.

    Raises:
        UserError: If the tracker cannot be used.

    Example:

    >>> callbacks = make_callbacks(
    ...     directory, Console(), options=WatchOptions(), images_at_once=128
    ... )
    """
    logs = directory / "tensorboard"
    callbacks: list[ClosingCallback] = [ProgressBar(console)]
    if options.tensorboard:
        callbacks.append(TensorBoard(logs, sample, images_at_once, rows))
    if options.profile:
        callbacks.append(Profile(logs))
    if options.track:
        make = TRACKERS[options.track]
        callbacks.append(make(directory, options.experiment, parameters or {}, console))
    return callbacks


def close(callbacks: Iterable[ClosingCallback]) -> None:
    """Ends what `make_callbacks` began: bars go, files are closed.

    After `on_train_end` it does nothing; without it, trackers are told of a failure.
    """
    for callback in callbacks:
        callback.close()
