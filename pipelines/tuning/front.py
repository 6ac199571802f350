"""What a search says: which networks no other beats, and which values mattered."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipelines.runs.trial import Trial

_RESAMPLES = 500
_BINS = 4
_FEWEST = 6
"""Trials of which anything can be said."""


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Returns trials, the best first, of equal errors the cheaper one."""
    return sorted(
        trials,
        key=lambda t: (bool(t.failure), t.error, t.costs["parameters"], t.number),
    )


def front(trials: Sequence[Trial], cost: str) -> list[Trial]:
    """Returns the trials that none beats in both error and cost, the cheapest first.

    Args:
        trials: Any; those that failed are never among them.
        cost: Which of their costs.

    Example:

    >>> [trial.number for trial in front(trials, "multiply_adds")]
    [3, 1, 7]
    """
    best: list[Trial] = []
    for trial in sorted(trials, key=lambda t: (t.costs[cost], t.error, t.number)):
        if not trial.failure and (not best or trial.error < best[-1].error):
            best.append(trial)
    return best


class Importance(NamedTuple):
    """How much of the differences between errors a value explains by itself.

    Attributes:
        share: Of the errors' variance, at most 1; not positive where it is no more than
            chance would give.
        interval: 95% of what it was in trials drawn again with replacement.
    """

    share: float
    interval: tuple[float, float]


def importances(
    values: Sequence[Mapping[str, Any]], errors: Sequence[float]
) -> dict[str, Importance]:
    """Returns how much each value explains, that of the most first.

    It is the main effect of an analysis of variance (`1706.04585` calls it so of a
    fitted function; here it is of the trials themselves): the variance of the errors'
    means over the values, less what as many groups have by chance. Numbers are grouped
    by their quartiles. What values do together is not in it.

    Args:
        values: Those of each trial, by name; one may lack some.
        errors: Of each trial.

    Returns:
        By name; of fewer than six trials, or errors that are all alike, nothing.

    Example:

    >>> importances([{"a": 1}, {"a": 2}] * 4, [0.1, 0.2] * 4)["a"].share
    1.0
    """
    truth = np.asarray(errors, float)
    names = dict.fromkeys(name for one in values for name in one)
    if len(truth) < _FEWEST or np.ptp(truth) == 0:
        return {}
    random = np.random.default_rng(0)
    draws = random.integers(len(truth), size=(_RESAMPLES, len(truth)))
    found = {}
    for name in names:
        groups = _groups([one.get(name) for one in values])
        if groups.max() == 0:
            continue
        again = [_main_effect(groups[draw], truth[draw]) for draw in draws]
        low, high = np.nanquantile(again, [0.025, 0.975])
        share = float(_main_effect(groups, truth))
        found[name] = Importance(share, (float(low), float(high)))
    return dict(sorted(found.items(), key=lambda item: -item[1].share))


def _groups(values: Sequence[Any]) -> np.ndarray:
    """Returns the number of each value's group."""
    there = [value for value in values if value is not None]
    is_number = all(
        isinstance(v, (int, float)) and not isinstance(v, bool) for v in there
    )
    if is_number and len(set(there)) > _BINS:
        bins = max(2, min(_BINS, len(there) // 4))
        edges = np.quantile(there, np.linspace(0, 1, bins + 1)[1:-1])
        names = [None if v is None else int(np.searchsorted(edges, v)) for v in values]
    else:
        names = list(values)
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([order[name] for name in names])


def _main_effect(groups: np.ndarray, errors: np.ndarray) -> float:
    """Returns epsilon squared, the share of variance between groups without bias."""
    total = ((errors - errors.mean()) ** 2).sum()
    kinds = np.unique(groups)
    rest = len(errors) - len(kinds)
    if total == 0 or rest <= 0:
        return np.nan
    within = sum(
        ((errors[groups == kind] - errors[groups == kind].mean()) ** 2).sum()
        for kind in kinds
    )
    return (total - within - (len(kinds) - 1) * within / rest) / total
