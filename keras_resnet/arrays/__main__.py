"""Trains a network on images in an `.npz` file, on any Keras backend.

    KERAS_BACKEND=jax python -m keras_resnet.arrays --images=train.npz \
        --validation=validation.npz --model=resnet20 --recipe=onecycle_cifar

See docs/training_arrays.md.
"""

import argparse
import ast
import dataclasses
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_resnet.arrays.fit import fit_arrays
from keras_resnet.training import RECIPES, Recipe


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
        help="changes a value of the recipe, such as epochs=6; may be repeated",
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
    if output.suffix != ".keras" or output.exists():
        raise ValueError(f"--output={output} must end in .keras and not exist yet")
    recipe = _changed(RECIPES[flags.recipe], flags.set)
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


def _changed(recipe: Recipe, settings: list[str]) -> Recipe:
    """Returns the recipe with values changed, each of which is written KEY=VALUE."""
    changes: dict[str, Any] = {}
    for setting in settings:
        key, _, text = setting.partition("=")
        known = [field.name for field in dataclasses.fields(recipe)]
        if key not in known:
            raise ValueError(
                f"--set={setting}: a recipe has no {key!r}, but {', '.join(known)}"
            )
        old = getattr(recipe, key)
        try:
            value = text if isinstance(old, str) else ast.literal_eval(text)
        except (SyntaxError, ValueError):
            value = None
        if isinstance(old, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(old):
            raise ValueError(f"--set={setting} must be written as {key}={old!r} is")
        changes[key] = value
    return dataclasses.replace(recipe, **changes)


if __name__ == "__main__":
    main()
