"""A network and what trains and evaluates it, on all replicas."""

import keras
import tensorflow as tf

from keras_resnet.preprocessing import Preprocessing
from keras_resnet.training import Recipe
from keras_resnet.training.making import make_optimizer
from pipelines.errors import UserError
from pipelines.training.network import for_training, takes_pixels
from pipelines.training.step import EvaluationStep, TrainingStep


def parts(recipe: Recipe, strategy: tf.distribute.Strategy) -> int:
    """Returns in how many parts a batch is run, of all replicas together."""
    return strategy.num_replicas_in_sync * recipe.accumulate


def check_batch(recipe: Recipe, strategy: tf.distribute.Strategy) -> None:
    """Checks that replicas can share a batch.

    Raises:
        UserError: If their parts were not equally large.
    """
    count = parts(recipe, strategy)
    if recipe.batch_size % count:
        raise UserError(
            f"a batch of {recipe.batch_size} cannot be shared equally by "
            f"{strategy.num_replicas_in_sync} replicas with {recipe.accumulate} parts "
            f"each; give --set=batch_size=N with a multiple of {count}"
        )


def make_steps(
    model: keras.Model,
    recipe: Recipe,
    preprocessing: Preprocessing,
    steps_per_epoch: int,
    strategy: tf.distribute.Strategy,
    *,
    halts: bool,
) -> tuple[TrainingStep, EvaluationStep]:
    """Returns what trains a copy of a model and what evaluates it, or its average.

    Args:
        model: A functional model in channels-last format that ends in its classifier.
        recipe: How to train.
        preprocessing: How evaluation images are prepared.
        steps_per_epoch: Steps of an epoch.
        strategy: Where steps run.
        halts: See `TrainingStep`.

    Raises:
        UserError: If the recipe freezes what the model does not have, or the run is too
            short for its schedule.

    Example:

    >>> training_step, evaluation_step = make_steps(
    ...     model, recipe, preprocessing, 351, strategy, halts=True
    ... )
    """
    sizes = {*recipe.train_sizes(preprocessing.size), preprocessing.size}

    def copy() -> keras.Model:
        copied = for_training(model, recipe, any_size=len(sizes) > 1)
        return takes_pixels(copied, preprocessing)

    try:
        with strategy.scope():
            trained = copy()
            averaged = copy() if recipe.ema else None
            optimizer = make_optimizer(recipe, steps_per_epoch)
    except ValueError as error:
        raise UserError(str(error)) from error
    classes = model.output_shape[-1]
    training_step = TrainingStep(
        strategy, trained, optimizer, recipe, classes, averaged=averaged, halts=halts
    )
    evaluation_step = EvaluationStep(
        strategy, averaged or trained, classes, flip=recipe.test_flip
    )
    return training_step, evaluation_step
