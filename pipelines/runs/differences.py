"""What two runs, recipes or checkpoints have different, and whether it may be."""

import dataclasses
import json
from collections.abc import Collection, Mapping
from typing import Any

from rich.console import Console

import keras_resnet
from keras_resnet.training import Recipe
from pipelines.errors import UserError

Differences = dict[str, tuple[Any, Any]]
"""Values there and here by dotted names."""


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Returns nested values by dotted names.

    Args:
        values: A mapping or a dataclass' value, which may hold others.
        prefix: Goes before the names.

    Example:

    >>> flat({"recipe": {"epochs": 6}})
    {'recipe.epochs': 6}
    """
    result: dict[str, Any] = {}
    fields = values if isinstance(values, Mapping) else vars(values)
    for name, value in fields.items():
        if isinstance(value, Mapping) or dataclasses.is_dataclass(value):
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[prefix + name] = value
    return result


def differences(there: Any, here: Any) -> Differences:
    """Returns what differs between two nested values.

    Args:
        there: A mapping or a dataclass' value. A field of a recipe or a network that it
            lacks, since it is of an older version, has its default.
        here: Likewise.

    Returns:
        Values there and here by dotted names; what one of them lacks is None.

    Example:

    >>> differences(RECIPES["he2015"], RECIPES["goyal2017"])["epochs"]
    (120, 90)
    """
    one, other = flat(there), flat(here)
    pairs = {
        name: (_value(one, name), _value(other, name)) for name in {**one, **other}
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _value(values: Mapping[str, Any], name: str) -> Any:
    return values.get(name, _DEFAULTS.get(name))


_DEFAULTS = {
    f"{prefix}.{field.name}": json.loads(json.dumps(field.default))
    for prefix, kind in (("network", keras_resnet.ResNetSpec), ("recipe", Recipe))
    for field in dataclasses.fields(kind)
    if field.default is not dataclasses.MISSING
}


def is_allowed(name: str, allowed: Collection[str]) -> bool:
    """Tells whether a name, or a part of it from the left, is among `allowed`.

    Example:

    >>> is_allowed("recipe.batch_size", ["recipe"])
    True
    """
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed)


def check_settings(
    there: Mapping[str, Any],
    here: Mapping[str, Any],
    allowed: Collection[str],
    console: Console,
) -> Collection[str]:
    """Compares what a checkpoint was made with and what it would be continued with.

    Args:
        there: The checkpoint's settings.
        here: The present ones. Names in `versions` are told only: other versions of
            the libraries may round in another way, or may not.
        allowed: Names that may differ, see `is_allowed`.
        console: Where allowed differences are told.

    Returns:
        The names that differ.

    Raises:
        UserError: If one differs that may not.
    """
    different = differences(there, here)
    names = [name for name in different if not is_allowed(name, ("versions",))]
    for name, (before, now) in different.items():
        was = f"{name} was {before!r} and is {now!r} now"
        if not is_allowed(name, ("versions", *allowed)):
            raise UserError(
                f"{was}: the run would not end as it would have; give "
                f"--allow_changed={','.join(names)} to go on all the same"
            )
        console.print(
            f"{was}: the weights may differ from an undisturbed run's", style="yellow"
        )
    return different.keys()
