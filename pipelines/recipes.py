"""Tells how networks are trained: all recipes, one of them, or what two have different.

python -m pipelines.recipes
python -m pipelines.recipes he2015_cifar
python -m pipelines.recipes --diff he2015 goyal2017
python -m pipelines.recipes --diff runs/first runs/second
"""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from rich.console import Console

from pipelines.command import cli
from pipelines.errors import UserError, unknown

if TYPE_CHECKING:
    from keras_resnet.training import Recipe
    from pipelines.runs.request import RunConfig

_DIFF = flags.DEFINE_bool(
    "diff", False, "Print only what two recipes, or two runs' folders, have different."
)


def main(arguments: list[str]) -> None:
    """Prints the tables."""
    from keras_resnet.training import RECIPES
    from pipelines.reports.recipe_table import recipe_table, recipes_table

    console = Console()
    if _DIFF.value:
        print_differences(arguments, console)
    elif arguments:
        for name in arguments:
            table = recipe_table(_recipe_of(find(name)))
            console.print(table, highlight=False, markup=False)
    else:
        console.print(recipes_table(RECIPES.values()), highlight=False, markup=False)


def find(name: str) -> "Recipe | RunConfig":
    """Returns the recipe called `name`, or what the run in the folder `name` is.

    Raises:
        UserError: If it is neither.
    """
    from keras_resnet.training import RECIPES

    if name in RECIPES:
        return RECIPES[name]
    path = Path(name)
    if path.exists() or len(path.parts) > 1:
        from pipelines.runs.folder import Run

        return Run(path).read_config()
    raise unknown("recipe or run's folder", name, RECIPES)


def print_differences(names: list[str], console: Console) -> None:
    """Prints what two recipes or runs have different.

    Runs are compared in all that was asked for. A run and a recipe are compared as
    recipes.

    Raises:
        UserError: If there are not two, or one is neither a recipe nor a run.
    """
    from pipelines.reports.recipe_table import difference_table
    from pipelines.runs.request import RunConfig

    if len(names) != 2:
        raise UserError(
            f"--diff takes two recipes or runs, not {len(names)}; write --diff he2015 "
            "goyal2017, or the folders of two runs"
        )
    found = [find(name) for name in names]
    if not all(isinstance(one, RunConfig) for one in found):
        found = [_recipe_of(one) for one in found]
    table = difference_table((names[0], names[1]), (found[0], found[1]))
    if table.row_count:
        console.print(table, highlight=False, markup=False)
    else:
        console.print(f"{names[0]} and {names[1]} are the same", highlight=False)


def _recipe_of(found: "Recipe | RunConfig") -> "Recipe":
    from keras_resnet.training import Recipe

    return found if isinstance(found, Recipe) else found.recipe


if __name__ == "__main__":
    cli.run(main)
