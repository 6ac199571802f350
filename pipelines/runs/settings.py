"""Recipes and networks changed from the command line."""

import ast
import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from keras_resnet.training import RECIPES, Recipe
from pipelines.errors import UserError, unknown


def find_recipe(name: str) -> Recipe:
    """Returns the recipe called `name`.

    Raises:
        UserError: If there is none; the nearest name is suggested.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


Value = typing.TypeVar("Value")

# The table, and the data, say these.
_GIVEN = ("name", "source", "published", "network", "classes", "rank")


def override(value: Value, settings: Mapping[str, Any], what: str) -> Value:
    """Returns a frozen dataclass with some fields changed.

    Args:
        value: A recipe or a network spec.
        settings: New values by field name: text as from the command line, or values.
        what: What to call `value` in an error.

    Raises:
        UserError: If there is no such field or the value is of another type.

    Example:

    >>> override(RECIPES["onecycle"], {"learning_rate": "0.1"}, "recipe").learning_rate
    0.1
    """
    kinds = typing.get_type_hints(type(value))
    for name in _GIVEN:
        kinds.pop(name, None)
    changes = {}
    for name, setting in settings.items():
        if name not in kinds:
            raise unknown(f"{what} value", name, kinds)
        changes[name] = _convert(setting, kinds[name], f"{what} value {name!r}")
    try:
        return dataclasses.replace(value, **changes)  # type: ignore[type-var]
    except ValueError as error:
        raise UserError(f"{what}: {error}") from error


def _convert(setting: Any, kind: Any, what: str) -> Any:
    if isinstance(kind, types.UnionType):
        if str(setting) == "None":
            return None
        kind = next(k for k in typing.get_args(kind) if k is not types.NoneType)
    if kind is str:
        return str(setting)
    try:
        if kind == tuple[str, ...] and isinstance(setting, str):
            return tuple(text.strip() for text in setting.split(",") if text.strip())
        literal = ast.literal_eval(setting) if isinstance(setting, str) else setting
        if typing.get_origin(kind) is tuple:
            element = typing.get_args(kind)[0]
            return tuple(_convert(item, element, what) for item in literal)
        if kind is float and isinstance(literal, int) and not isinstance(literal, bool):
            return float(literal)
        if type(literal) is kind:
            return literal
    except (ValueError, SyntaxError, TypeError):
        pass
    raise UserError(f"{what} cannot be {setting!r}: it takes {_name(kind)}")


def _name(kind: Any) -> str:
    return {
        int: "an integer",
        float: "a number",
        bool: "True or False",
        tuple[float, ...]: "numbers with commas between, such as 0.4,0.9",
    }.get(kind, "integers with commas between, such as 3,4,6,3")


def parse_settings(settings: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Sorts `KEY=VALUE` texts into those of the recipe and those of the network.

    A list has commas: `drops=50%,75%`, `size_ramp=0.4,0.9`, `frozen_stages=` for none.

    Args:
        settings: For example `["learning_rate=0.1", "model.shortcut=C"]`.

    Returns:
        Values by field of `Recipe`, and, for keys that begin with `model.`, by field of
        `keras_resnet.ResNetSpec`.

    Raises:
        UserError: If a text has no `=`.
    """
    recipe: dict[str, str] = {}
    model: dict[str, str] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set={text} lacks a value; write --set=KEY=VALUE")
        if key.startswith("model."):
            model[key.removeprefix("model.")] = value
        else:
            recipe[key] = value
    return recipe, model
