"""Whether a run can go on from a checkpoint and end as if it had not been stopped."""

from collections.abc import Collection, Mapping
from typing import Any

from rich.console import Console

from pipelines.errors import UserError


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested values by dotted names.

    Example:

    >>> flat({"recipe": {"epochs": 6}})
    {'recipe.epochs': 6}
    """
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result.update(flat(value, f"{prefix}{key}."))
        else:
            result[prefix + key] = value
    return result


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
) -> list[str]:
    """Compares what a checkpoint was made with and what it would be continued with.

    Args:
        there: The checkpoint's settings by dotted names.
        here: The present ones. Names in `versions` are told only: other versions of
            the libraries may round in another way, or may not.
        allowed: Names that may differ, see `is_allowed`.
        console: Where allowed differences are told.

    Returns:
        The names that differ.

    Raises:
        UserError: If one differs that may not.
    """
    different = [
        name for name in sorted({*there, *here}) if there.get(name) != here.get(name)
    ]
    for name in different:
        was = f"{name} was {there.get(name)!r} and is {here.get(name)!r} now"
        if not is_allowed(name, ("versions", *allowed)):
            raise UserError(
                f"{was}: the run would not end as it would have; give "
                f"--allow_changed={','.join(_names(different))} to go on all the same"
            )
        console.print(
            f"{was}: the weights may differ from an undisturbed run's", style="yellow"
        )
    return different


def _names(different: list[str]) -> list[str]:
    return [name for name in different if not is_allowed(name, ("versions",))]
