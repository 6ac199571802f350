"""Trains a network on images in an `.npz` file, on any Keras backend.

    KERAS_BACKEND=jax python -m keras_resnet.arrays --images=train.npz \
        --validation=validation.npz --model=resnet20 --recipe=onecycle_cifar

See docs/training_arrays.md.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import keras
import numpy as np

from keras_resnet import networks
from keras_resnet.arrays.fit import fit_arrays
from keras_resnet.training import RECIPES
from keras_resnet.training.overrides import override, parse_settings


def main(arguments: list[str] | None = None) -> None:
    """Runs the command.

    Args:
        arguments: Those of the command line by default.
    """
    flags = _parser().parse_args(arguments)
    try:
        _train(flags)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m keras_resnet.arrays", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--images",
        required=True,
        help="an .npz file: `images`, uint8 (n, height, width, 3), and `labels`, "
        "integers (n,)",
    )
    parser.add_argument("--validation", help="another one, to measure on")
    parser.add_argument("--model", default="resnet20", help="such as resnet50_v1_5")
    parser.add_argument("--weights", help="what keras_resnet.load_weights takes")
    parser.add_argument("--recipe", default="onecycle_cifar", choices=list(RECIPES))
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="changes a value of the recipe, such as epochs=6, or of the network, such "
        "as model.shortcut=C; may be repeated",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--distribution",
        choices=["data_parallel"],
        help="trains on all local devices (JAX backend)",
    )
    parser.add_argument("--output", default="model.keras", help="the trained model")
    return parser


def _train(flags: argparse.Namespace) -> None:
    output = Path(flags.output)
    if output.suffix != ".keras" or output.exists() or not output.parent.is_dir():
        raise ValueError(
            f"--output={output} must end in .keras, in a folder that exists, and not "
            "exist yet"
        )
    recipe_settings, network_settings = parse_settings(flags.set)
    recipe = override(RECIPES[flags.recipe], recipe_settings, "recipe")
    # `fit_arrays` gives a named network what the recipe says of it.
    wanted = {**dict(recipe.network), **network_settings}
    network = override(networks.find(flags.model), wanted, "model")
    changes = {name: getattr(network, name) for name in wanted}
    recipe = dataclasses.replace(recipe, network=tuple(changes.items()))
    fitted = fit_arrays(
        flags.model,
        recipe,
        *_read(flags.images),
        validation=_read(flags.validation) if flags.validation else None,
        weights=flags.weights,
        seed=flags.seed,
        distribution=flags.distribution,
        callbacks=[keras.callbacks.TerminateOnNaN()],
    )
    if not all(np.isfinite(value).all() for value in fitted.model.get_weights()):
        raise ValueError(
            "the weights are no longer numbers, so nothing was saved; give a lower "
            f"--set=learning_rate than {recipe.learning_rate:g}"
        )
    # Under another name until it is whole.
    unfinished = output.with_name(f"unfinished-{output.name}")
    fitted.model.save(unfinished)
    unfinished.rename(output)
    print(f"saved {output}")


def _read(path: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as arrays:
        if {"images", "labels"} - set(arrays.files):
            raise ValueError(
                f"{path} must have the arrays `images` and `labels`, but has "
                f"{', '.join(arrays.files)}"
            )
        return arrays["images"], arrays["labels"]


if __name__ == "__main__":
    main()
