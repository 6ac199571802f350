"""Recipes as tables: all of them, one, and what two of them have different."""

import dataclasses
import inspect
import re
from collections.abc import Iterable
from typing import Any

from rich.table import Table

from keras_resnet.training import RECIPES, Recipe
from pipelines.runs.differences import differences
from pipelines.runs.request import RunConfig, changed_settings


def recipes_table(recipes: Iterable[Recipe]) -> Table:
    """Returns a row for each recipe: its size, its source and what it reached there.

    Example:

    >>> Console().print(recipes_table(RECIPES.values()))
    """
    table = _table("recipe", "epochs", "batch", "optimizer", "published", "source")
    for recipe in recipes:
        table.add_row(
            recipe.name,
            str(recipe.epochs),
            str(recipe.batch_size),
            recipe.optimizer,
            _text("published", recipe.published),
            recipe.source,
        )
    return table


def recipe_table(recipe: Recipe) -> Table:
    """Returns what a recipe says: the values that differ from the default.

    Args:
        recipe: A recipe of the table, or one made of it; what was changed is told under
            the table.

    Example:

    >>> Console().print(recipe_table(RECIPES["he2015_cifar"]))
    """
    meanings = _meanings()
    table = _table("field", "value", "meaning", title=f"recipe {recipe.name}")
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if field.name != "name" and value != field.default:
            text = _text(field.name, value)
            if field.name == "learning_rate" and recipe.scale != 1:
                text += f" (scaled to {recipe.batch_size}: {recipe.peak_rate:g})"
            table.add_row(field.name, text, meanings[field.name])
    published = RECIPES.get(recipe.name, recipe)
    if changed := differences(published, recipe):
        table.caption = f"changed from {recipe.name!r} in the table: " + ", ".join(
            changed
        )
    return table


def request_line(config: RunConfig) -> str:
    """Returns in a line what a run trains, and what of it is not as in the tables.

    Example:

    >>> request_line(config)
    'resnet20 by onecycle with epochs=2 model.shortcut=C'
    """
    changed = [f"{name}={text}" for name, text in changed_settings(config).items()]
    line = f"{config.network.name} by {config.recipe.name}"
    return f"{line} with {' '.join(changed)}" if changed else line


def difference_table(names: tuple[str, str], values: tuple[Any, Any]) -> Table:
    """Returns a row for each value that two recipes, or two runs, have different.

    Args:
        names: What to call them.
        values: Two `Recipe`, or two `pipelines.runs.request.RunConfig`.

    Example:

    >>> names = ("he2015", "goyal2017")
    >>> difference_table(names, tuple(RECIPES[name] for name in names))
    """
    table = _table("field", *names)
    for name, pair in differences(*values).items():
        table.add_row(name, *(_text(name, value) for value in pair))
    return table


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(box=None, padding=(0, 2), title=title, caption_justify="left")
    for index, column in enumerate(columns):
        # Names never break.
        table.add_column(column, overflow="fold", no_wrap=not index)
    return table


def _text(field: str, value: Any) -> str:
    if field.endswith("published"):
        return "\n".join(f"{network} {top1:g}%" for network, top1 in value)
    if field.endswith("network"):
        return ", ".join(f"{name}={wanted}" for name, wanted in value)
    if isinstance(value, tuple):
        return ", ".join(_text("", item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _meanings() -> dict[str, str]:
    """Returns the first sentence that `Recipe`'s docstring says of each field."""
    arguments = inspect.getdoc(Recipe) or ""
    arguments = arguments.partition("Args:\n")[2].partition("\nRaises:")[0]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", arguments, re.MULTILINE)
    return {
        name: re.sub(r"\s+", " ", text).replace("`", "").split(". ")[0].rstrip(".")
        for name, text in entries
    }
