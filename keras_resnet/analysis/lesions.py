"""What networks lose with some of their blocks, or with blocks in another order."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_resnet import structure
from keras_resnet.analysis.plotting import new_axes
from keras_resnet.surgery.lesion import can_drop, drop_blocks, permute_blocks

Error = Callable[[keras.Model], float]
"""Judges a network, for example by its share of wrong answers."""


@dataclasses.dataclass(frozen=True)
class Lesions:
    """The errors of a network with changes.

    Args:
        intact: The error of the network as it is.
        changes: What was done: the block that was dropped, the number of blocks
            dropped, or Kendall's rank correlation of the blocks' order with the first.
        errors: float64 `(changes,)`.
    """

    intact: float
    changes: tuple[Any, ...]
    errors: np.ndarray

    def plot(self, axes: Any = None, label: str | None = None) -> Any:
        """Draws the error by change, and that of the intact network as a line."""
        axes = new_axes(axes, ylabel="error")
        names = self.changes
        if names and isinstance(names[0], str):
            axes.set(xlabel="block dropped")
            places: Sequence[Any] = range(1, len(names) + 1)
        else:
            places = names
        axes.plot(places, self.errors, "o", label=label)
        axes.axhline(self.intact, linestyle="--", color="gray")
        return axes


def drop_each(
    model: keras.Model, error: Error, blocks: Sequence[str] | None = None
) -> Lesions:
    """Drops each block by itself (1605.06431, section 4.1).

    Args:
        model: A network of keras_resnet.
        error: Judges a network.
        blocks: Which. Defaults to all that can be dropped: in a plain network, those
            that keep the shape of their input.

    Returns:
        The `Lesions`, whose changes are the blocks.

    Raises:
        ValueError: As `keras_resnet.surgery.drop_blocks`.

    Example:

    >>> found = drop_each(model, lambda network: np.mean(answers(network) != labels))
    """
    if blocks is None:
        blocks = [block for block in _all_blocks(model) if can_drop(model, block)]
    errors = [error(drop_blocks(model, [block])) for block in blocks]
    return Lesions(error(model), tuple(blocks), np.array(errors))


def drop_random(
    model: keras.Model, error: Error, counts: Sequence[int], seed: int = 0
) -> Lesions:
    """Drops several blocks that are drawn at random (1605.06431, section 4.2).

    Args:
        model: A network of keras_resnet.
        error: Judges a network.
        counts: How many, for each trial.
        seed: Decides which.

    Returns:
        The `Lesions`, whose changes are the counts.

    Raises:
        ValueError: If there are not as many blocks that can be dropped.
    """
    rng = np.random.default_rng(seed)
    blocks = [block for block in _all_blocks(model) if can_drop(model, block)]
    if max(counts) > len(blocks):
        raise ValueError(
            f"{model.name!r} has {len(blocks)} blocks that can be dropped, got "
            f"`counts={list(counts)}`."
        )
    errors = [
        error(drop_blocks(model, rng.choice(blocks, count, replace=False).tolist()))
        for count in counts
    ]
    return Lesions(error(model), tuple(counts), np.array(errors))


def permute_random(
    model: keras.Model, error: Error, swaps: Sequence[int], seed: int = 0
) -> Lesions:
    """Swaps pairs of alike blocks that are drawn at random (1605.06431, section 4.3).

    Args:
        model: A network of keras_resnet.
        error: Judges a network.
        swaps: How many pairs, for each trial.
        seed: Decides which.

    Returns:
        The `Lesions`, whose changes are Kendall's rank correlations of all blocks'
        order with the first: 1 for none changed, and less the more were.
    """
    rng = np.random.default_rng(seed)
    blocks = _all_blocks(model)
    # A stage's first block may change shapes, and is like no other.
    own_of_stages = (own[1:] for own in structure.stages(model).values())
    groups = [own for own in own_of_stages if len(own) > 1]
    shares = np.array([len(group) for group in groups], float)
    taus, errors = [], []
    for count in swaps:
        takes = {block: block for block in blocks}
        for _ in range(count):
            group = groups[rng.choice(len(groups), p=shares / shares.sum())]
            one, other = rng.choice(group, 2, replace=False)
            takes[one], takes[other] = takes[other], takes[one]
        taus.append(kendall_tau([blocks.index(takes[block]) for block in blocks]))
        errors.append(error(permute_blocks(model, takes)))
    return Lesions(error(model), tuple(taus), np.array(errors))


def kendall_tau(order: Any) -> float:
    """Returns the rank correlation of an order with the ascending one.

    Args:
        order: Numbers, `(count,)`; equal ones stand neither in order nor out of it.

    Returns:
        1 if they ascend, -1 if they descend: the share of the pairs that stand in
        order, minus that of the others.

    Example:

    >>> kendall_tau([0, 2, 1])
    0.333...
    """
    places = np.asarray(order)
    signs = np.sign(places[None, :] - places[:, None])
    return float(signs[np.triu_indices(len(places), 1)].mean())


def _all_blocks(model: keras.Model) -> list[str]:
    return [block for own in structure.stages(model).values() for block in own]
