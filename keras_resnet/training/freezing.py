"""Parts of a network that keep the weights they came with."""

import keras

from keras_resnet.training.recipe import Recipe


def freeze(network: keras.Model, recipe: Recipe) -> None:
    """Marks the layers that `recipe` does not train.

    These are the layers of `recipe.frozen_stages` and, where `recipe.batch_norm` is
    `"frozen"`, every batch normalization. A frozen batch normalization normalises with
    the statistics that it came with and leaves them as they are, also in training.

    Call it before the optimizer is built and the training step compiled.

    Args:
        network: A functional model; its layers are marked in place.
        recipe: The recipe.

    Raises:
        ValueError: If no layer with weights belongs to one of `recipe.frozen_stages`.

    Example:

    >>> recipe = dataclasses.replace(RECIPES["finetune"], frozen_stages=("conv1",))
    >>> network = keras_resnet.ResNet50()
    >>> freeze(network, recipe)
    >>> network.get_layer("conv1_conv").trainable
    False
    """
    with_weights = [layer for layer in network.layers if layer.weights]
    frozen = []
    for stage in recipe.frozen_stages:
        found = [layer for layer in with_weights if _begins(layer.name, stage)]
        if not found:
            known = dict.fromkeys(layer.name.split("_")[0] for layer in with_weights)
            raise ValueError(
                f"'frozen_stages' names {stage!r}, but no layer of {network.name!r} "
                f"with weights begins so; its stages are {', '.join(known)}"
            )
        frozen += found
    if recipe.batch_norm == "frozen":
        norm = keras.layers.BatchNormalization
        frozen += [layer for layer in with_weights if isinstance(layer, norm)]
    for layer in frozen:
        layer.trainable = False


def check_weights(recipe: Recipe, weights: object, how: str) -> None:
    """Refuses a recipe that would keep random weights as they are.

    Args:
        recipe: The recipe.
        weights: Where the network's come from; nothing if they are random.
        how: How to give some, for the message.

    Raises:
        ValueError: If there are none, and the recipe freezes some.

    Example:

    >>> check_weights(RECIPES["finetune"], "imagenet", "pass `weights`")
    """
    keeps = [f"the layers of {stage}" for stage in recipe.frozen_stages]
    if recipe.batch_norm == "frozen":
        keeps.append("the statistics of batch norms")
    if keeps and not weights:
        raise ValueError(
            f"recipe {recipe.name!r} keeps {' and '.join(keeps)} as they are, and "
            f"without weights they are random; {how}, or take another recipe"
        )


def _begins(name: str, stage: str) -> bool:
    # Whole words: conv4_block1 is not the beginning of conv4_block10_1_conv.
    return f"{name}_".startswith(f"{stage}_")
