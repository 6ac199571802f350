"""Training on images that are arrays, by Keras' own `fit`, on any backend."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import itertools
import math
import os
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_resnet import networks
from keras_resnet.arrays.trainee import Trainee
from keras_resnet.arrays.views import Augmentation, Frame, center
from keras_resnet.builder import build
from keras_resnet.preprocessing import Preprocessing
from keras_resnet.spec import ResNetSpec
from keras_resnet.training.freezing import check_weights
from keras_resnet.training.recipe import Recipe
from keras_resnet.weights import load_weights

Batch = tuple[np.ndarray, ...]

_BATCHES_AHEAD = 4


class Fitted(NamedTuple):
    """What `fit_arrays` returns.

    Args:
        model: The trained model.
        history: Keras' `History`: the logs of each epoch.
    """

    model: keras.Model
    history: keras.callbacks.History


def fit_arrays(
    network: keras.Model | ResNetSpec | str,
    recipe: Recipe,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    weights: str | os.PathLike[str] | None = None,
    preprocessing: Preprocessing | None = None,
    seed: int = 0,
    distribution: str | keras.distribution.DataParallel | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
    workers: int = 2,
) -> Fitted:
    """Trains a network by a recipe, on whatever backend Keras has.

    Batch `k` of epoch `e` is a function of `seed`, `e` and `k`. The last images of an
    epoch that do not fill a batch are left out of it. With `recipe.accumulate`, a step
    of `fit` is a part of a batch, as many of which make an update.

    Callbacks see a `Trainee` as their `model`: pixels in, logits out; its `network` is
    what trains. With progressive resizing, `fit` is called once for each size, with the
    epochs numbered through.

    Args:
        network: A functional model that ends in its classifier, in channels-last
            format. Or a spec, or the name of one in `keras_resnet.NETWORKS`: it is
            built with random weights and what `recipe.network` says, a named one for
            as many classes as the labels have.
        recipe: How to train. Its `batch_size` is over all devices. Batch norms take
            the statistics of the whole batch (`"synchronized"`), or of its part with
            `accumulate`; `"local"` is the same on one device.
        images: uint8 `(n, height, width, 3)`, RGB, in memory or an `np.memmap`.
        labels: Integers `(n,)`, from 0.
        validation: Images and labels likewise, of any size.
        weights: What `keras_resnet.load_weights` takes, for a network that is built;
            its classifier stays random where they have another number of classes.
        preprocessing: How pixels become what the network takes; only the pixel part
            counts. Defaults to nothing if the network normalises before its first
            weights, by `Standardize` or Keras' `Rescaling` or `Normalization`, also in
            a model within; else to what its weights want (`model.preset`); else, where
            they are random, to ImageNet's mean and standard deviation. A model that was
            copied or loaded has no `preset`, and needs it said.
        seed: Decides order, augmentation and dropout; also the weights of a network
            that is built.
        distribution: `"data_parallel"` to train on all local devices, or on those of a
            `keras.distribution.DataParallel`; needs the JAX backend. Defaults to one
            device.
        callbacks: More callbacks; none that sets the learning rate or resumes.
        verbose: As for `keras.Model.fit`.
        workers: Threads that prepare batches.

    Returns:
        The model, which gives probabilities for normalised images as it did before, and
        the history: `loss`, `top1` and, of more than five classes, `top5` of each
        epoch, with `val_` before them where there are validation images. A model that
        was passed is the one returned; it gets its weights when all is done.

    Raises:
        ValueError: If the arrays, the recipe, the network or the devices do not fit
            each other; if the recipe would freeze random weights; if there are fewer
            images than one batch; if the augmentation has an operation that only the
            pipelines have; if a callback does what only the recipe can.

    Example:

    >>> fitted = fit_arrays("resnet20", RECIPES["he2015_cifar"], images, labels)
    >>> fitted.model.save("resnet20.keras")
    """
    augmentation = Augmentation.parse(recipe.augmentation)
    _check_callbacks(callbacks)
    labels = _checked(images, labels, "training")
    with _seeded(seed):
        model = _model(network, recipe, int(labels.max()) + 1, weights)
    size = recipe.image_size or model.input_shape[1]
    if size is None:
        raise ValueError(
            f"The model {model.name!r} takes images of any size: say with the recipe's "
            "'image_size' at which to train it."
        )
    if "inception_crop" in recipe.augmentation and min(images.shape[1:3]) <= size:
        warnings.warn(
            f"{recipe.augmentation!r} enlarges parts of images that are no larger than "
            f"the {size} pixels of a view: 'pad_crop(4)|flip' keeps their scale, as in "
            "the recipes 'onecycle_cifar' and 'finetune_cifar'.",
            stacklevel=2,
        )
    mesh = _distribution(distribution)
    part = _part(recipe, mesh)
    source = TrainingBatches(
        images, labels, augmentation, model.output_shape[-1], part, seed
    )
    updates = len(images) // recipe.batch_size
    if not updates:
        raise ValueError(
            f"{len(images)} training images do not fill one batch of "
            f"{recipe.batch_size}: give a smaller 'batch_size' or more images."
        )
    if recipe.schedule == "plateau" and validation is None:
        raise ValueError(
            "The schedule 'plateau' goes by the validation error: pass `validation`, "
            "or choose another 'schedule'."
        )
    held_out = None
    if validation is not None:
        held_out = _ValidationBatches(*validation, source.classes, part, recipe, size)

    history = keras.callbacks.History()
    with (
        mesh.scope() if mesh else contextlib.nullcontext(),
        concurrent.futures.ThreadPoolExecutor(workers) as pool,
    ):
        with _seeded(seed):
            trainee = Trainee(model, recipe, preprocessing)
        trainee.compile_for_fit(updates)
        steps = updates * recipe.accumulate
        for train_size, epochs in _runs(recipe.train_sizes(size)):
            numbered = functools.partial(
                source.numbered, epochs.start, steps, _frame(recipe, train_size, images)
            )
            trainee.fit(
                _Ahead(numbered, steps * len(epochs), pool),
                validation_data=held_out
                and _Ahead(held_out.batch, len(held_out), pool),
                initial_epoch=epochs.start,
                epochs=epochs.stop,
                steps_per_epoch=steps,
                shuffle=False,
                callbacks=[*trainee.callbacks(), history, *callbacks],
                verbose=verbose,
            )
            if trainee.stop_training:
                break
        model.set_weights(trainee.final_weights())
    return Fitted(model, history)


class TrainingBatches:
    """The shuffled, augmented batches of images that are arrays.

    Args:
        images: uint8 `(n, height, width, 3)`.
        labels: Integers `(n,)`.
        augmentation: How images become views.
        classes: Number of classes.
        batch_size: Images of a batch.
        seed: At least 0.

    Example:

    >>> augmentation = Augmentation.parse("pad_crop(4)|flip")
    >>> batches = TrainingBatches(images, labels, augmentation, 10, 128)
    >>> views, view_labels = batches.batch(epoch=0, index=7, frame=Frame(32, 32))
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        augmentation: Augmentation,
        classes: int,
        batch_size: int,
        seed: int = 0,
    ) -> None:
        self.classes = classes
        self._images = images
        self._labels = labels
        self._augmentation = augmentation
        self._batch_size = batch_size
        self._seed = seed
        self._order = functools.lru_cache(maxsize=2)(self._drawn_order)

    def numbered(self, first: int, steps: int, frame: Frame, number: int) -> Batch:
        """Makes the batch with a number that goes on from epoch to epoch.

        Args:
            first: The epoch of number 0.
            steps: Batches of an epoch.
            frame: The size of the views.
            number: From 0.
        """
        return self.batch(first + number // steps, number % steps, frame)

    def batch(self, epoch: int, index: int, frame: Frame) -> Batch:
        """Makes a batch, which depends on `seed`, `epoch` and `index` only.

        Args:
            epoch: From 0.
            index: From 0.
            frame: The size of the views.

        Returns:
            Views, uint8 `(batch, size, size, 3)`, and labels: int32 `(batch,)`, or
            float32 `(batch, classes)` if the augmentation mixes them.
        """
        places = np.arange(index * self._batch_size, (index + 1) * self._batch_size)
        rows = self._order(epoch)[places // self._augmentation.repeats]
        return self._augmentation(
            np.asarray(self._images[rows]),
            self._labels[rows],
            self.classes,
            self._random(epoch, index),
            frame,
        )

    def _drawn_order(self, epoch: int) -> np.ndarray:
        return self._random(epoch).permutation(len(self._images))

    def _random(self, *key: int) -> np.random.Generator:
        # Keys of different lengths are different, too.
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))


class _ValidationBatches:
    """Evaluation views in order, in whole batches.

    The last batch is filled up, since devices share batches equally, with images that
    have no weight. The others' weights are such that the mean over all batches is the
    mean over the images.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        classes: int,
        batch_size: int,
        recipe: Recipe,
        size: int,
    ) -> None:
        self._images = images
        self._labels = _checked(images, labels, "validation", classes)
        self._batch_size = batch_size
        self._frame = _frame(recipe, size, images)

    def __len__(self) -> int:
        return math.ceil(len(self._images) / self._batch_size)

    def batch(self, index: int) -> Batch:
        """Returns views, labels and weights of batch `index`."""
        count = len(self._images)
        places = np.arange(index * self._batch_size, (index + 1) * self._batch_size)
        rows = np.minimum(places, count - 1)
        views = center(self._images[rows], None, self._frame)
        weight = len(self) * self._batch_size / count
        weights = np.where(places < count, np.float32(weight), np.float32(0))
        return views, self._labels[rows], weights


class _Ahead(keras.utils.PyDataset):
    """Batches that other threads prepare before they are asked for.

    Args:
        make: Returns the batch of an index.
        count: Number of batches.
        pool: The threads.
    """

    # Keras' own workers would lose track of the index whenever `fit` starts over.

    def __init__(
        self,
        make: Callable[[int], Batch],
        count: int,
        pool: concurrent.futures.ThreadPoolExecutor,
    ) -> None:
        super().__init__()
        self._make = make
        self._count = count
        self._pool = pool
        self._coming: collections.OrderedDict[int, Any] = collections.OrderedDict()

    @property
    def num_batches(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Batch:
        for ahead in range(index, min(index + _BATCHES_AHEAD, self._count)):
            if ahead not in self._coming:
                self._coming[ahead] = self._pool.submit(self._make, ahead)
        return self._coming.pop(index).result()


def _checked(
    images: np.ndarray, labels: np.ndarray, what: str, classes: int | None = None
) -> np.ndarray:
    """Returns the labels as int32, if they and the images are as they must be."""
    labels = np.asarray(labels)
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"The {what} images must be uint8 of shape (n, height, width, 3), got "
            f"{images.dtype} of shape {images.shape}."
        )
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"The {what} labels must be {len(images)} integers, one for each image, "
            f"got {labels.dtype} of shape {labels.shape}."
        )
    if not len(labels):
        raise ValueError(f"There are no {what} images: pass at least one.")
    if labels.min() < 0 or (classes is not None and labels.max() >= classes):
        limit = "" if classes is None else f" to {classes - 1}"
        raise ValueError(
            f"The {what} labels must be from 0{limit}, got {labels.min()} to "
            f"{labels.max()}."
        )
    return labels.astype(np.int32)


def _check_callbacks(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    for callback in callbacks:
        if isinstance(callback, _OF_THE_RECIPE):
            raise ValueError(
                f"{type(callback).__name__} cannot set the learning rate, which is the "
                "recipe's: leave it out, and choose `schedule`, `learning_rate` and "
                "`drops` in the recipe."
            )
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                "BackupAndRestore cannot resume `fit_arrays`: save by ModelCheckpoint "
                "instead, or train with pipelines.train_imagenet, which resumes."
            )


_OF_THE_RECIPE = (
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ReduceLROnPlateau,
)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Makes what Keras draws while it builds a function of the seed.

    Initializers and dropout layers take their seeds from Python's generator.
    `keras.utils.set_random_seed` would import TensorFlow wherever it is installed.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def _model(
    network: keras.Model | ResNetSpec | str,
    recipe: Recipe,
    classes: int,
    weights: str | os.PathLike[str] | None,
) -> keras.Model:
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "`fit_arrays` trains networks in channels-last format: call "
            "`keras.config.set_image_data_format('channels_last')` first."
        )
    if isinstance(network, str):
        network = dataclasses.replace(networks.find(network), classes=classes)
    if isinstance(network, ResNetSpec):
        check_weights(recipe, weights, "pass `weights`, such as 'imagenet'")
        spec = dataclasses.replace(network, **dict(recipe.network))
        size = recipe.image_size or spec.input_size
        network = build(spec, input_shape=(size, size, 3))
        load_weights(network, weights, new_head=True)
    elif weights is not None:
        raise ValueError(
            "`weights` are for a network that is built here: load them into the model "
            f"{network.name!r} with `keras_resnet.load_weights` first."
        )
    if network.output_shape[-1] < classes:
        raise ValueError(
            f"The labels have {classes} classes, but {network.name!r} has "
            f"{network.output_shape[-1]}: build it with `classes={classes}`."
        )
    return network


def _distribution(
    distribution: str | keras.distribution.DataParallel | None,
) -> keras.distribution.DataParallel | None:
    if distribution is None:
        return None
    if keras.backend.backend() != "jax":
        raise ValueError(
            f"`distribution` needs the JAX backend, but Keras runs on "
            f"{keras.backend.backend()}: set KERAS_BACKEND=jax, or leave it out."
        )
    if distribution == "data_parallel":
        return keras.distribution.DataParallel()
    if not isinstance(distribution, keras.distribution.DataParallel):
        raise ValueError(
            "`distribution` must be 'data_parallel' or a "
            f"keras.distribution.DataParallel, got {distribution!r}."
        )
    return distribution


def _part(recipe: Recipe, mesh: keras.distribution.DataParallel | None) -> int:
    """Returns how many images a step of `fit` has."""
    part = recipe.batch_size // recipe.accumulate
    devices = math.prod(mesh.device_mesh.shape) if mesh else 1
    if part % devices:
        raise ValueError(
            f"{part} images cannot be shared equally by {devices} devices: choose a "
            f"'batch_size' that is a multiple of {recipe.accumulate * devices}."
        )
    return part


def _frame(recipe: Recipe, size: int, images: np.ndarray) -> Frame:
    # What is no larger than the view would be enlarged only to lose its border.
    is_small = min(images.shape[1:3]) <= size
    resize = size if is_small else round(size * recipe.resize_ratio)
    return Frame(size, resize, recipe.interpolation)


def _runs(sizes: tuple[int, ...]) -> list[tuple[int, range]]:
    """Returns the sizes one after the other, each with its epochs."""
    runs, start = [], 0
    for size, group in itertools.groupby(sizes):
        stop = start + len(list(group))
        runs.append((size, range(start, stop)))
        start = stop
    return runs
