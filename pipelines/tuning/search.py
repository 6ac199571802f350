"""The search: an oracle proposes trials, someone else runs them."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from keras_tuner.engine.trial import Trial, TrialStatus

_PAUSE = 0.5


class Proposes(Protocol):
    """What a search needs of an oracle, or of the chief that has it."""

    def create_trial(self, tuner_id: str) -> Trial:
        """Returns what to run next."""

    def update_trial(self, trial_id: str, metrics: Mapping[str, float]) -> Trial:
        """Takes what came of a trial."""

    def end_trial(self, trial: Trial) -> None:
        """Takes that a trial is done."""


def search(
    oracle: Proposes, tuner_id: str, run_trial: Callable[[Trial], dict[str, float]]
) -> None:
    """Runs what an oracle proposes until it has enough.

    Args:
        oracle: Proposes.
        tuner_id: Who this is; what it was running when it was ended comes first.
        run_trial: Runs a trial and returns what came of it, the objective among it.
            What it raises ends the search; the trial is not lost.

    Example:

    >>> search(oracle, "tuner0", lambda trial: {"top1_error": 0.1})
    """
    while True:
        trial = oracle.create_trial(tuner_id)
        if trial.status == TrialStatus.STOPPED:
            return
        if trial.status == TrialStatus.IDLE:
            time.sleep(_PAUSE)
            continue
        oracle.update_trial(trial.trial_id, run_trial(trial))
        trial.status = TrialStatus.COMPLETED
        oracle.end_trial(trial)
