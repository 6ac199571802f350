"""Batch norm statistics as true averages over a data set."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from keras_resnet import structure
from keras_resnet.surgery.rebuild import rebuild

_BATCH_SIZE = 32


def precise_batch_norm(
    model: keras.Model, data: Any, batch_size: int | None = None
) -> keras.Model:
    """Recomputes the batch norms' statistics as averages over a data set.

    In training they are moving averages over batches seen by a network that was still
    changing; the paper's authors recomputed them for their release. Here each batch
    norm gets the mean and the population variance (divided by the number of values) of
    its input over all data, in the network as it is in inference, with the batch norms
    before it already recomputed: the result depends on the data, and not on how they
    are batched.

    That takes one pass over the data for each batch norm on the longest path through
    the network, each as far as that batch norm: 49 passes for ResNet-50, 151 for
    ResNet-152, which cost as much as about half as many passes through all of it. A few
    thousand images do.

    Args:
        model: A network of keras_resnet.
        data: What the network is to see: an array `(images, *shape)`, or an iterable of
            batches that can be iterated again and ends, such as a list of arrays, a
            `tf.data.Dataset` or a `keras.utils.PyDataset`. Of batches `(x, y)` only `x`
            is used.
        batch_size: Number of images of an array that are computed at a time. Defaults
            to 32.

    Returns:
        A new model with those statistics, else equal to `model`.

    Raises:
        ValueError: If the layers are not named as ours; or if `data` is empty or
            differs from pass to pass, or is no array and `batch_size` is given.

    Example:

    >>> model = keras_resnet.surgery.precise_batch_norm(model, images, batch_size=64)
    """
    structure.stages(model)
    batches = _batches(data, batch_size)
    generations: list[list[keras.layers.Layer]] = []
    ages: dict[int, int] = {}

    def connect(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer and notes how many batch norms its output has behind it."""
        output = layer(*args, **kwargs)
        age = max(ages.get(id(tensor), 0) for tensor in keras.tree.flatten(args))
        if isinstance(layer, keras.layers.BatchNormalization):
            if age == len(generations):
                generations.append([])
            generations[age].append(layer)
            age += 1
        ages[id(output)] = age
        return output

    new = rebuild(model, connect=connect)
    images = None
    for norms in generations:
        moments, seen = _moments(new, norms, batches)
        if images not in (None, seen):
            raise ValueError(
                f"`data` gave {images} images in one pass and {seen} in the next: give "
                "data that are the same each time they are iterated."
            )
        images = seen
        for norm in norms:
            norm.moving_mean.assign(moments[norm.name].mean)
            norm.moving_variance.assign(moments[norm.name].variance)
    return new


@dataclasses.dataclass(frozen=True)
class _Moments:
    """How many values, their mean and variance, for each channel."""

    count: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    def __add__(self, other: "_Moments") -> "_Moments":
        """Returns those of both together (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        share = other.count / count
        difference = other.mean - self.mean
        return _Moments(
            count,
            self.mean + share * difference,
            (1 - share) * self.variance
            + share * other.variance
            + share * (1 - share) * difference**2,
        )


def _moments(
    model: keras.Model, norms: list[keras.layers.Layer], batches: Iterable[Any]
) -> tuple[dict[str, _Moments], int]:
    """Returns the moments of each norm's input by its name, and the images' number."""
    probe = keras.Model(model.input, {n.name: _symbolic_moments(n) for n in norms})
    # Compiled, each of many probes would take longer than a pass over small data.
    probe.run_eagerly = True
    totals: dict[str, _Moments] = {}
    images = 0
    for batch in batches:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        x = x if keras.ops.is_tensor(x) else np.asarray(x)
        if not len(x):
            continue
        images += len(x)
        for name, parts in probe.predict_on_batch(x).items():
            found = _Moments(*(np.asarray(part, "float64") for part in parts))
            totals[name] = totals[name] + found if name in totals else found
    if not images:
        raise ValueError(
            "`data` holds no images: give an array or batches that can be iterated "
            "again, not what an iteration has used up."
        )
    return totals, images


def _symbolic_moments(norm: keras.layers.Layer) -> tuple[Any, Any, Any]:
    """Returns the count, mean and variance of what comes to `norm`, by channel."""
    x = keras.ops.cast(norm.input, keras.backend.result_type(norm.input.dtype, float))
    axes = list(range(len(x.shape)))
    del axes[norm.axis]
    mean = keras.ops.mean(x, axes, keepdims=True)
    variance = keras.ops.mean(keras.ops.square(x - mean), axes)
    count = keras.ops.sum(keras.ops.ones_like(x, dtype="int32"), axes)
    return count, keras.ops.squeeze(mean, axes), variance


def _batches(data: Any, batch_size: int | None) -> Iterable[Any]:
    if hasattr(data, "shape"):
        return _Slices(data, _BATCH_SIZE if batch_size is None else batch_size)
    if batch_size is not None:
        raise ValueError(
            f"`batch_size={batch_size!r}` is for an array, and `data` are batches "
            "already: leave it out."
        )
    if isinstance(data, keras.utils.PyDataset):
        return _Items(data)
    if isinstance(data, Iterator):
        raise ValueError(
            f"`data` is a {type(data).__name__} and can be iterated only once, but "
            "every batch norm needs a pass of its own: give a list, a data set or an "
            "array."
        )
    return data


@dataclasses.dataclass(frozen=True)
class _Slices:
    """An array as batches."""

    array: Any
    batch_size: int

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self.array), self.batch_size):
            yield self.array[start : start + self.batch_size]


@dataclasses.dataclass(frozen=True)
class _Items:
    """A `PyDataset`, which has a length instead of an end, as batches."""

    dataset: keras.utils.PyDataset

    def __iter__(self) -> Iterator[Any]:
        return (self.dataset[index] for index in range(len(self.dataset)))
