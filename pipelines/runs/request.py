"""What a run is asked to do, and the command that asks for it again."""

import dataclasses
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras_resnet
from keras_resnet.training import RECIPES, Recipe
from keras_resnet.training.overrides import as_text, override, parse_settings
from pipelines import environment
from pipelines.errors import UserError, unknown
from pipelines.runs.differences import differences


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What a run was asked to do; two runs with equal values are the same run.

    Args:
        data: The value of `--data`.
        network: The network, with its number of classes still the published one.
        recipe: The recipe with all overrides applied.
        seed: Decides initial weights, order and augmentation.
        weights: Where the initial weights come from; empty for random ones.
        validation_share: Held-out share where the data has no validation split.
        max_bad_share: Share of unreadable images above which the run stops.
        examples_dir: Where the records lie; empty for the run's own folder.
    """

    data: str
    network: keras_resnet.ResNetSpec
    recipe: Recipe
    seed: int = 0
    weights: str = ""
    validation_share: float = 0.1
    max_bad_share: float = 0.01
    examples_dir: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the values as JSON has them."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "RunConfig":
        """Returns the configuration that `to_json` gave `values` for."""
        return cls(
            **{
                **values,
                "network": keras_resnet.ResNetSpec(**values["network"]),
                "recipe": Recipe.from_json(values["recipe"]),
            }
        )


def find_recipe(name: str) -> Recipe:
    """Returns the recipe called `name`.

    Raises:
        UserError: If there is none; the nearest name is suggested.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def request(
    *,
    data: str,
    model: str,
    recipe: str,
    settings: list[str],
    hyperparameters: str = "",
    epochs: int | None = None,
    **others: Any,
) -> RunConfig:
    """Puts together what a command's flags ask for.

    Values on the command line go before those of the hyperparameters' file, and these
    before those of the tables.

    Args:
        data: See `RunConfig`.
        model: A name in `keras_resnet.NETWORKS`.
        recipe: A name in `keras_resnet.training.RECIPES`.
        settings: `KEY=VALUE` texts, see `keras_resnet.training.overrides`.
        hyperparameters: A file as `python -m pipelines.tune` writes it; its model goes
            before `model`.
        epochs: The recipe's epochs, None to leave them.
        **others: The other values of `RunConfig`.

    Raises:
        UserError: If a name is not in its table or a value does not fit.
    """
    tuned = _read_hyperparameters(hyperparameters) if hyperparameters else {}
    model = tuned.get("model", model)
    if model not in keras_resnet.NETWORKS:
        raise unknown("model", model, keras_resnet.NETWORKS)
    base = find_recipe(tuned.get("base_recipe", recipe))
    try:
        recipe_settings, network_settings = parse_settings(settings)
        if epochs is not None:
            recipe_settings["epochs"] = str(epochs)
        network = override(
            keras_resnet.NETWORKS[model],
            {**dict(base.network), **tuned.get("network", {}), **network_settings},
            "model",
        )
        chosen = override(
            base, {**tuned.get("recipe", {}), **recipe_settings}, "recipe"
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    return RunConfig(data=data, network=network, recipe=chosen, **others)


def _read_hyperparameters(path: str) -> dict[str, Any]:
    kinds = {"model": str, "base_recipe": str, "network": dict, "recipe": dict}
    try:
        values = json.loads(Path(path).read_text())
        if all(isinstance(values[name], kind) for name, kind in kinds.items()):
            return values
    except OSError as error:
        raise UserError(
            f"--hyperparameters={path} cannot be read ({error.strerror}); give the "
            "best.json that `python -m pipelines.tune` wrote"
        ) from None
    except (ValueError, KeyError, TypeError):
        pass
    raise UserError(
        f"--hyperparameters={path} is not a file that `python -m pipelines.tune` wrote"
    )


def reproduce_command(
    config: RunConfig, output_dir: Path | str, start: Mapping[str, Any] | None = None
) -> str:
    """Returns the command line that repeats a run in another folder.

    Args:
        config: What was asked for, from whichever flags, files and searches it came.
        output_dir: The new folder.
        start: An entry of `read_starts`: its flags are given, and its environment
            variables set, apart from those that every command sets and that tell a
            worker from the others. None to leave both as they are.

    Returns:
        A line for a POSIX shell. It gives the flags that are not the default.

    Raises:
        UserError: If the network's or recipe's name is no longer in its table.

    Example:

    >>> reproduce_command(config, "runs/again")
    'python -m pipelines.train_imagenet --data=photos/ --recipe=he2015 ...'
    """
    network, recipe = config.network, config.recipe
    if network.name not in keras_resnet.NETWORKS:
        raise unknown("model", network.name, keras_resnet.NETWORKS)
    find_recipe(recipe.name)
    changed = changed_settings(config)
    epochs = {name: changed.pop(name) for name in ("epochs",) if name in changed}
    others = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in ("data", "network", "recipe")
        and getattr(config, field.name) != field.default
    }
    variables = {}
    if start is not None:
        others |= start.get("flags", {})
        variables = start.get("variables", {})
        if not environment.CPU_SETTINGS.keys() <= variables.keys():
            others["cpu_settings"] = "leave"
    flags = [
        *_flags({"data": config.data, "model": network.name, "recipe": recipe.name}),
        *_flags(epochs),
        *(f"--set={name}={value}" for name, value in changed.items()),
        *_flags(others),
        *_flags({"output_dir": output_dir}),
    ]
    assignments = [
        f"{name}={shlex.quote(value)}"
        for name, value in variables.items()
        if name not in _SET_OTHERWISE and environment.CPU_SETTINGS.get(name) != value
    ]
    command = ["python", "-m", "pipelines.train_imagenet", *flags]
    return " ".join([*assignments, shlex.join(command)])


def changed_settings(config: RunConfig) -> dict[str, str]:
    """Returns what is not as in the tables, by the names that `--set` has for it.

    Example:

    >>> changed_settings(config)
    {'epochs': '6', 'model.shortcut': 'C'}
    """
    network, recipe = config.network, config.recipe
    published = RECIPES.get(recipe.name, recipe)
    base = vars(keras_resnet.NETWORKS.get(network.name, network))
    changed = differences(published, recipe) | {
        f"model.{name}": values
        for name, values in differences(
            {**base, **dict(published.network)}, network
        ).items()
    }
    return {name: as_text(here) for name, (_, here) in changed.items()}


def _flags(values: Mapping[str, Any]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]


_SET_OTHERWISE = ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "TF_CONFIG")
