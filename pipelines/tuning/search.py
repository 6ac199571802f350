"""The search: KerasTuner proposes trials, someone else runs them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner

from pipelines.runs.request import RunConfig
from pipelines.runs.trial import Trial
from pipelines.tuning.space import SearchSpace, configure


def search(
    base: RunConfig,
    space: SearchSpace,
    trials: int,
    directory: Path,
    run_trial: Callable[[int, RunConfig], Trial],
) -> list[Trial]:
    """Runs a random search (Bergstra and Bengio, JMLR 2012) for the least error.

    The trials follow from the base, the space and the seed alone. So an interrupted
    search is resumed by running it again, and a larger number of trials continues a
    smaller one, when `run_trial` returns at once for a trial that it has run before.

    Args:
        base: What every trial starts from; its seed also decides the trials.
        space: What is varied.
        trials: Number of trials.
        directory: Gets KerasTuner's own record of the search.
        run_trial: Takes a trial's number, counted from 1, and what to train. What it
            raises ends the search.

    Returns:
        The trials, best first; of equal errors the smaller network first.
    """
    tuner = _Tuner(base, space, trials, directory, run_trial)
    try:
        tuner.search(verbose=0)
    except _TrialRaised as stop:
        raise stop.error from None
    return sorted(tuner.trials, key=lambda t: (t.top1_error, t.parameters, t.number))


class _TrialRaised(keras_tuner.errors.FatalError):
    """Carries an error past KerasTuner, which else notes it and tries other trials."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class _Tuner(keras_tuner.RandomSearch):
    def __init__(
        self,
        base: RunConfig,
        space: SearchSpace,
        trials: int,
        directory: Path,
        run_trial: Callable[[int, RunConfig], Trial],
    ) -> None:
        super().__init__(
            objective=keras_tuner.Objective("top1_error", "min"),
            hyperparameters=space.hyperparameters(base),
            max_trials=trials,
            # KerasTuner takes 0 for no seed, and counts up from it for every value it
            # draws: searches with neighbouring seeds would share their values.
            seed=1 + 10_000 * base.seed,
            directory=str(directory.parent),
            project_name=directory.name,
            # Its record is written anew, not reloaded: KerasTuner 1.4.8 does not
            # replace its files in one step, and when it is killed between the two
            # files of a new trial, it counts that trial but never runs it.
            overwrite=True,
        )
        self._base = base
        self._run_trial = run_trial
        self.trials: list[Trial] = []

    def run_trial(
        self, trial: keras_tuner.engine.trial.Trial, *args: Any, **kwargs: Any
    ) -> dict[str, float]:
        config = configure(self._base, trial.hyperparameters.values)
        try:
            result = self._run_trial(int(trial.trial_id) + 1, config)
        except Exception as error:
            raise _TrialRaised(error) from error
        self.trials.append(result)
        return {"top1_error": result.top1_error}
