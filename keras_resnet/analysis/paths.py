"""How far gradients travel through a residual network."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_resnet import structure
from keras_resnet.analysis.gradients import gradients
from keras_resnet.analysis.plotting import new_axes
from keras_resnet.surgery.rebuild import rebuild


@dataclasses.dataclass(frozen=True)
class PathGradients:
    """Gradients by the length of their path, in blocks.

    Args:
        blocks: Number of blocks of the network.
        lengths: int `(lengths,)`: through how many blocks' residual branches a path
            goes; through all other blocks it takes the shortcut.
        norms: float64 `(lengths, samples)`: L2 norm at the network's input of the
            gradient that came along one path, drawn at random.
    """

    blocks: int
    lengths: np.ndarray
    norms: np.ndarray

    @property
    def paths(self) -> np.ndarray:
        """Number of paths of each length, float64 `(lengths,)`."""
        return np.array([math.comb(self.blocks, int(k)) for k in self.lengths], float)

    @property
    def contributions(self) -> np.ndarray:
        """Share of the gradient that came along the paths of each length (figure 6c).

        The number of paths times their mean norm, as a share of all lengths measured.
        """
        totals = self.paths * self.norms.mean(axis=1)
        return totals / totals.sum()

    @property
    def effective_length(self) -> float:
        """Mean length of a path, weighted by what came along."""
        return float(self.lengths @ self.contributions)

    def plot(self, axes: Any = None) -> Any:
        """Draws the shares of the paths and of the gradient by length.

        Args:
            axes: Where to draw. Defaults to a new figure.

        Returns:
            The `matplotlib.axes.Axes`.
        """
        axes = new_axes(axes, xlabel="length of the path (blocks)", ylabel="share")
        axes.plot(self.lengths, self.paths / self.paths.sum(), label="paths")
        axes.plot(self.lengths, self.contributions, label="gradient")
        axes.legend()
        return axes


def path_gradients(
    model: keras.Model,
    images: Any,
    loss: Callable[[Any], Any],
    lengths: Sequence[int] | None = None,
    samples: int = 10,
    seed: int = 0,
) -> PathGradients:
    """Measures the gradient along paths of each length (1605.06431, section 5).

    The forward pass is the whole network's. In the backward pass, each of `length`
    blocks that are drawn at random hands the gradient to its residual branch alone, and
    each other block to its shortcut alone.

    Args:
        model: A residual network whose layers are named as in `keras.applications`; it
            is left as it is, and runs in inference.
        images: A batch as the model takes it.
        loss: Takes the model's output and returns a scalar tensor.
        lengths: Lengths to measure. Defaults to 0 to the number of blocks.
        samples: Paths of each length.
        seed: Decides which.

    Returns:
        The `PathGradients`.

    Raises:
        ValueError: If a block has no shortcut, or a length is not possible.

    Example:

    >>> found = path_gradients(model, images, lambda logits: ops.mean(logits[:, 0]))
    >>> found.effective_length < found.blocks / 2
    True
    """
    blocks = [name for own in structure.stages(model).values() for name in own]
    forks: dict[str, _Fork] = {}

    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        block, part = structure.split_name(layer.name)
        if isinstance(layer, keras.layers.Add) and part in ("add", "out"):
            forks[block] = _Fork(name=layer.name)
            return forks[block]
        return type(layer).from_config(layer.get_config())

    forked = rebuild(model, replace=replace)
    missing = [block for block in blocks if block not in forks]
    if missing:
        raise ValueError(
            f"Block {missing[0]!r} of {model.name!r} has no shortcut: give a residual "
            "network."
        )
    lengths = list(range(len(blocks) + 1) if lengths is None else lengths)
    if not all(0 <= length <= len(blocks) for length in lengths):
        raise ValueError(
            f"`lengths` must be from 0 to {len(blocks)}, the number of blocks of "
            f"{model.name!r}, got {lengths}."
        )
    rng = np.random.default_rng(seed)

    def norm(length: int) -> float:
        chosen = set(rng.choice(blocks, length, replace=False))
        for block, fork in forks.items():
            fork.through_branch = block in chosen
        (slope,) = gradients(lambda x: loss(forked(x, training=False)), [images])
        return float(np.linalg.norm(slope.astype("float64")))

    norms = [[norm(length) for _ in range(samples)] for length in lengths]
    return PathGradients(len(blocks), np.array(lengths), np.array(norms))


class _Fork(keras.layers.Layer):
    """A sum of shortcut and residual branch that derives one of them alone."""

    through_branch = False

    def call(self, terms: list[Any]) -> Any:
        shortcut, branch = terms
        if self.through_branch:
            return ops.stop_gradient(shortcut) + branch
        return shortcut + ops.stop_gradient(branch)
