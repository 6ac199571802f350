"""Recipes and networks changed by text: what `--set=KEY=VALUE` means."""

import ast
import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

Value = typing.TypeVar("Value")

# The table, and the data, say these.
_GIVEN = ("name", "source", "published", "network", "classes", "rank")


def parse_settings(settings: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Sorts `KEY=VALUE` texts into those of the recipe and those of the network.

    A list has commas: `drops=50%,75%`, `size_ramp=0.4,0.9`, `frozen_stages=` for none.

    Args:
        settings: For example `["learning_rate=0.1", "model.shortcut=C"]`.

    Returns:
        Values by field of `Recipe`, and, for keys that begin with `model.`, by field of
        `keras_resnet.ResNetSpec`; both for `override`.

    Raises:
        ValueError: If a text has no `=`.
    """
    recipe: dict[str, str] = {}
    model: dict[str, str] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set={text} lacks a value; write --set=KEY=VALUE")
        if key.startswith("model."):
            model[key.removeprefix("model.")] = value
        else:
            recipe[key] = value
    return recipe, model


def override(value: Value, settings: Mapping[str, Any], what: str) -> Value:
    """Returns a frozen dataclass with some fields changed.

    Args:
        value: A recipe or a network spec.
        settings: New values by field name: text as from the command line, or values.
        what: What to call `value` in an error.

    Raises:
        ValueError: If there is no such field or the value is of another type.

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
            near = difflib.get_close_matches(name.lower(), kinds, n=1, cutoff=0.4)
            raise ValueError(
                f"no {what} value is called {name!r}"
                + (f"; did you mean {near[0]!r}?" if near else ";")
                + f" (known: {', '.join(kinds)})"
            )
        changes[name] = _convert(setting, kinds[name], f"{what} value {name!r}")
    try:
        return dataclasses.replace(value, **changes)  # type: ignore[type-var]
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


def as_text(value: Any) -> str:
    """Returns a field's value as `override` takes it.

    Example:

    >>> as_text((0.4,))
    '0.4,'
    """
    if not isinstance(value, tuple):
        return str(value)
    # The comma at the end makes one number a list.
    return ",".join(map(str, value)) + ("," if len(value) == 1 else "")


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
    raise ValueError(f"{what} cannot be {setting!r}: it takes {_name(kind)}")


def _name(kind: Any) -> str:
    return {
        int: "an integer",
        float: "a number",
        bool: "True or False",
        tuple[float, ...]: "numbers with commas between, such as 0.4,0.9",
    }.get(kind, "integers with commas between, such as 3,4,6,3")
