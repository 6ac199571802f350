"""KerasTuner's oracles, which propose trials, with what a search needs besides.

As they are (KerasTuner 1.4.8), they propose what cannot be built, write their record in
several files of which a kill leaves some, forget a grid's place, propose again what was
tried (Bayesian), and wait for ever for a worker that is gone. All of that is mended
here, by overriding; the record stays KerasTuner's own.
"""

import functools
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus

from keras_resnet.tuning import Range, SpaceAround, declare
from pipelines import files
from pipelines.errors import UserError
from pipelines.runs.trial import SearchRequest

Refuses = Callable[[Mapping[str, Any]], bool]
"""Tells whether values must not be proposed."""

_MOST_COLLISIONS = 1000
_BAYESIAN_CANDIDATES = 200


class KeptOracle(keras_tuner.Oracle):
    """What the oracles of a search share."""

    _retry_queue: list[str]
    refuses: Refuses = staticmethod(lambda values: False)
    when_ended: Callable[[Trial], object] = staticmethod(lambda trial: None)

    def open(
        self,
        directory: Path,
        refuses: Refuses,
        when_ended: Callable[[Trial], object],
        *,
        has_workers: bool = False,
    ) -> None:
        """Begins, or goes on with, the search whose record a folder has.

        Args:
            directory: Gets, or has, KerasTuner's record.
            refuses: Tells what is never to be proposed.
            when_ended: Called with each trial that has ended.
            has_workers: Whether others may still run what the record says they ran,
                until `give_up` finds that they do not.

        Raises:
            UserError: If the record is damaged.
        """
        self.refuses, self.when_ended = refuses, when_ended
        self._has_workers = has_workers
        self.verbose = 0
        self._max_collisions = _MOST_COLLISIONS
        self._handed_out: dict[str, float] = {}
        self._set_project_dir(str(directory.parent), directory.name)
        if Path(self._get_oracle_fname()).exists():
            try:
                self.reload()
            except (ValueError, KeyError, TypeError, RuntimeError) as error:
                raise UserError(
                    f"{directory} is damaged ({error}); --overwrite starts afresh"
                ) from error

    def save(self) -> None:
        """Writes the record, whole or not at all."""
        state = json.dumps(self.get_state())
        files.write_text(Path(self._get_oracle_fname()), state)

    def _save_trial(self, trial: Trial) -> None:
        path = Path(self._get_trial_dir(trial.trial_id)) / "trial.json"
        files.write_text(path, json.dumps(trial.get_state()))

    def reload(self) -> None:
        """Reads the record of a search that was ended in whatever way."""
        super().reload()
        # Of these only the first of two files was written, before they began.
        for trial_id in self.trials.keys() - set(self.start_order):
            (Path(self._get_trial_dir(trial_id)) / "trial.json").unlink()
            del self.trials[trial_id]
        record = json.loads(Path(self._get_oracle_fname()).read_text())
        # It is written while a trial that has just ended is still among these.
        ongoing = {
            tuner_id: self.trials[trial_id]
            for tuner_id, trial_id in record["ongoing_trials"].items()
            if trial_id not in self.end_order
        }
        self._retry_queue = record["retry_queue"]
        if self._has_workers:
            self.ongoing_trials = ongoing
            self.tuner_ids |= ongoing.keys()
        else:
            self._retry_queue += [trial.trial_id for trial in ongoing.values()]

    def _duplicate(self, values: Mapping[str, Any]) -> bool:
        return super()._duplicate(values) or self.refuses(values)

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> Trial:
        """Returns the next trial, see `keras_tuner.Oracle`; idle while others run."""
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.RUNNING:
            self._handed_out.setdefault(trial.trial_id, time.monotonic())
        if trial.status == TrialStatus.STOPPED and self.ongoing_trials:
            # One of them may yet lose its worker.
            trial.status = TrialStatus.IDLE
        return trial

    @keras_tuner.synchronized
    def end_trial(self, trial: Trial) -> None:
        """Takes a trial's result, see `keras_tuner.Oracle`."""
        super().end_trial(trial)
        self._handed_out.pop(trial.trial_id, None)
        self.when_ended(self.trials[trial.trial_id])

    @keras_tuner.synchronized
    def give_up(self, is_alive: Callable[[Trial], bool], after: float) -> list[Trial]:
        """Takes the trials back whose workers are gone, for others to go on with.

        Args:
            is_alive: Tells whether somebody works on a trial.
            after: Seconds that a worker has for its beginning.

        Returns:
            Those trials.
        """
        lost = [
            (tuner_id, trial)
            for tuner_id, trial in self.ongoing_trials.items()
            if time.monotonic()
            > self._handed_out.setdefault(trial.trial_id, time.monotonic()) + after
            and not is_alive(trial)
        ]
        for tuner_id, trial in lost:
            del self.ongoing_trials[tuner_id], self._handed_out[trial.trial_id]
            self.tuner_ids.discard(tuner_id)
            self._retry_queue.append(trial.trial_id)
        if lost:
            self.save()
        return [trial for _, trial in lost]


class RandomOracle(KeptOracle, keras_tuner.oracles.RandomSearchOracle):
    """Random search (Bergstra and Bengio, JMLR 2012)."""


class BayesianOracle(KeptOracle, keras_tuner.oracles.BayesianOptimizationOracle):
    """A Gaussian process' lower confidence bound, of what was not tried before."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Returns the values of a trial, see `keras_tuner.Oracle`."""
        # So that a search that is gone on with proposes what it would have.
        self._random_state = np.random.RandomState(self.seed + len(self.trials))
        found = super().populate_space(trial_id)
        if found["values"] is None or not self._duplicate(found["values"]):
            return found
        # The bound's least is a network that is known or must not be: of some that are
        # neither, the one of the least bound.
        drawn = [self._random_values() for _ in range(_BAYESIAN_CANDIDATES)]
        candidates = [values for values in drawn if values is not None]
        if not candidates:
            return {"status": TrialStatus.STOPPED, "values": None}
        mean, deviation = self.gpr.predict(
            np.array([self._vector(values) for values in candidates]), return_std=True
        )
        best = int(np.argmin(mean - self.beta * deviation))
        return {"status": TrialStatus.RUNNING, "values": candidates[best]}

    def _vector(self, values: Mapping[str, Any]) -> list[float]:
        return [
            hp.value_to_prob(values.get(hp.name, hp.default))
            for hp in self._nonfixed_space()
        ]


class GridOracle(KeptOracle, keras_tuner.oracles.GridSearchOracle):
    """Every combination, in order."""

    def reload(self) -> None:
        """Reads the record, and finds the place in the grid, which it lacks."""
        super().reload()
        self._populate_next = sorted(
            self.trials,
            key=functools.cmp_to_key(
                lambda one, other: self._compare(
                    self.trials[one].hyperparameters.values,
                    self.trials[other].hyperparameters.values,
                )
            ),
        )
        for trial_id in self._populate_next:
            self._ordered_ids.insert(trial_id)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Returns the values of a trial, see `keras_tuner.Oracle`."""
        is_first = not self.start_order
        found = super().populate_space(trial_id)
        if is_first and self.refuses(found["values"]):
            found["values"] = self._get_next_combination(found["values"])
            if found["values"] is None:
                return {"status": TrialStatus.STOPPED, "values": None}
        return found

    def _get_next_combination(self, values: dict[str, Any]) -> dict[str, Any] | None:
        following = super()._get_next_combination(values)
        while following is not None and self.refuses(following):
            following = super()._get_next_combination(following)
        return following


class HyperbandOracle(KeptOracle, keras_tuner.oracles.HyperbandOracle):
    """Hyperband (Li et al., JMLR 2018): many begin, the better ones go on."""

    _is_exhausted = False

    def _random_trial(self, trial_id: str, bracket: dict[str, Any]) -> dict[str, Any]:
        found = super()._random_trial(trial_id, bracket)
        if found["status"] == TrialStatus.RUNNING or self._is_exhausted:
            return found
        # A space of few networks fills no bracket: what there is of it goes on.
        self._is_exhausted = True
        return self.populate_space(trial_id)

    def _get_size(self, bracket_num: int, round_num: int) -> int:
        size = super()._get_size(bracket_num, round_num)
        if not self._is_exhausted:
            return size
        begun = [
            len(bracket["rounds"][0])
            for bracket in self._brackets
            if bracket["bracket_num"] == bracket_num
        ]
        return min(size, math.ceil(max(begun, default=0) / self.factor**round_num))


ORACLES: dict[str, type[KeptOracle]] = {
    "random": RandomOracle,
    "bayesian": BayesianOracle,
    "hyperband": HyperbandOracle,
    "grid": GridOracle,
}
"""The oracles by the names that `--tuner` has for them."""


def root(get_trial: Callable[[str], Trial], trial: Trial) -> Trial:
    """Returns the trial whose training one of Hyperband's goes on with.

    Args:
        get_trial: Returns a trial of a name.
        trial: Any; most are their own.
    """
    while before := trial.hyperparameters.values.get("tuner/trial_id"):
        trial = get_trial(before)
    return trial


def make_oracle(
    near: SpaceAround, request: SearchRequest, trials: int | None, seed: int
) -> KeptOracle:
    """Returns the oracle that a search was asked for, not yet opened.

    Args:
        near: What is varied.
        request: Its tuner and its objective count.
        trials: How many, None for a grid's all; Hyperband's number follows from the
            recipe's epochs.
        seed: Of the search.

    Raises:
        UserError: If the tuner cannot search that space, or is not installed.

    Example:

    >>> oracle = make_oracle(near, SearchRequest(), trials=8, seed=0)
    """
    names = dict(near.space.domains)
    if request.tuner == "hyperband" and "epochs" in names:
        raise UserError(
            "--tuner=hyperband decides for how many epochs a network is trained; "
            "leave epochs out of --space, and give the most of them as --epochs"
        )
    for name, domain in names.items():
        if request.tuner != "grid" or not isinstance(domain, Range):
            continue
        if domain.is_log or float in (type(domain.low), type(domain.high)):
            raise UserError(
                f"--tuner=grid tries every value, of which {name}={domain} has no end; "
                f"write those that you mean, such as {name}={domain.low},{domain.high}"
            )
    hyperparameters = keras_tuner.HyperParameters()
    declare(near, hyperparameters)
    limit: dict[str, Any] = {"max_trials": trials}
    if request.tuner == "hyperband":
        limit = {"max_epochs": near.recipe.epochs, "factor": 3}
    try:
        return ORACLES[request.tuner](
            objective=keras_tuner.Objective(request.objective, "min"),
            hyperparameters=hyperparameters,
            allow_new_entries=False,
            # KerasTuner takes 0 for no seed, and counts up from it for every value it
            # draws: searches with neighbouring seeds would share their values.
            seed=1 + 10_000 * seed,
            **limit,
        )
    except ImportError:
        raise UserError(
            "--tuner=bayesian needs scikit-learn and SciPy: pip install "
            "'keras-tuner[bayesian]'"
        ) from None
