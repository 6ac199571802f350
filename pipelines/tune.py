"""Looks for the network and the recipe that suit the data.

python -m pipelines.tune --data=photos/ --model=resnet18 --recipe=he2015 --epochs=5
python -m pipelines.tune --space='blocks=1..6 shortcut=A,B,C,none' --tuner=bayesian
python -m pipelines.tune --tuner=hyperband --epochs=9 --limit='multiply_adds<=40e6'
"""

import functools
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from rich.console import Console

from pipelines.command import cli, data_flags, run_flags
from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.components.tuner import Hyperparameters, Search
    from pipelines.runs.folder import Run
    from pipelines.runs.request import RunConfig
    from pipelines.runs.trial import SearchRequest
    from pipelines.tuning.workers import Place

_SPACE = flags.DEFINE_string(
    "space",
    None,
    "What is varied, such as 'blocks=1..5 shortcut=A,B learning_rate=log(0.01,1)', or "
    "the name of a space (docs/tuning.md); by default depth, shortcut and rate, or the "
    "rate alone with --weights.",
)
_TUNER = flags.DEFINE_enum(
    "tuner",
    "random",
    ["random", "bayesian", "hyperband", "grid"],
    "Who proposes: one of KerasTuner's oracles.",
)
_OBJECTIVE = flags.DEFINE_enum(
    "objective",
    "top1_error",
    ["top1_error", "top5_error", "loss"],
    "What is minimised, on the validation images.",
)
_LIMIT = flags.DEFINE_string(
    "limit",
    "",
    "What a network may cost, such as 'multiply_adds<=60e6 parameters<=0.3e6 "
    "latency_ms<=5 memory_mb<=500'; what costs more is never trained.",
)
_TRIALS = flags.DEFINE_integer(
    "trials",
    None,
    "Trials, by default 8, or all of a grid; a larger number than before goes on with "
    "a search. Hyperband's follows from --epochs.",
    1,
)
_TRIALS_BY_DEFAULT = 8

flags.set_default(data_flags.DATA, "drawings:2000")
flags.set_default(run_flags.EPOCHS, 4)
flags.set_default(run_flags.OUTPUT_DIR, "runs/tune")


def main(arguments: list[str]) -> None:
    """Searches, prints the trials, and says how to train from the best."""
    cli.refuse(arguments)
    _check_flags()
    from pipelines.tuning.workers import Place

    place = Place.from_environment()
    console = Console()
    if place.is_worker:
        _work(place, console)
    elif place.is_chief:
        from pipelines.tuning.workers import chief

        with chief(place, console) as served:
            _search(console, lambda asked: asked.as_chief(served))
    else:
        _search(console, lambda asked: asked.alone())


def _check_flags() -> None:
    """Refuses flags of which a search could only take no notice."""
    for flag, is_wrong, why in (
        (
            "allow_changed",
            run_flags.ALLOW_CHANGED.value,
            "is for a single run, since trials that were asked for different things "
            "cannot be compared; leave it out, or give --overwrite or another "
            "--output_dir",
        ),
        (
            "export",
            run_flags.EXPORT.value != "last",
            "would save other weights than those whose error is compared; leave it out",
        ),
        (
            "strategy",
            run_flags.STRATEGY.value == "multi_worker" or "TF_CONFIG" in os.environ,
            "cannot spread a trial over hosts here; leave it, and TF_CONFIG, out, and "
            "spread the trials: KERASTUNER_TUNER_ID (docs/tuning.md)",
        ),
        (
            "trials",
            _TUNER.value == "hyperband" and _TRIALS.value is not None,
            "does not go with --tuner=hyperband, which begins as many as --epochs asks "
            "for; leave it out",
        ),
    ):
        if is_wrong:
            raise UserError(f"--{flag} {why}")


def _search(console: Console, run: "Callable[[Search], Hyperparameters]") -> None:
    """Prepares the folder, has the search run, and tells of it."""
    from pipelines.command.prepared_run import prepared_run
    from pipelines.components.tuner import Search, check_request, space_around
    from pipelines.reports.search_page import write_search_page
    from pipelines.reports.summary import print_trials
    from pipelines.training.strategies import make_strategy

    options = run_flags.loop_options()
    strategy = make_strategy(run_flags.STRATEGY.value, run_flags.REPLICAS.value)
    folder, config = run_flags.requested()
    request = _request(folder, config)
    # What is wrong with them is told before any data is read.
    space_around(config, request)
    if not run_flags.OVERWRITE.value:
        check_request(folder.directory, request)
    with prepared_run(strategy, console) as (folder, config, examples):
        asked = Search(
            examples,
            folder.directory,
            base=config,
            request=request,
            trials=_trials(request),
            strategy=strategy,
            options=options,
            console=console,
        )
        found = run(asked)
        page = write_search_page(folder.directory / "search.html", found)
    print_trials(found.trials, found.front, console)
    console.print(
        f"{request.objective} on {examples.counts['validation']:,} validation images; "
        f"none has both less of it and fewer {found.cost} than those with a star\n"
        f"the best is in {found.path}, all about the search in {page}; train with\n"
        f"  {training_command(config, found.path)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _work(place: "Place", console: Console) -> None:
    """Runs what the chief proposes."""
    from pipelines.command.prepared_run import joined_run
    from pipelines.components.tuner import Search, read_request
    from pipelines.runs.differences import differences
    from pipelines.training.strategies import make_strategy
    from pipelines.tuning.search import search
    from pipelines.tuning.workers import Client

    if run_flags.OVERWRITE.value:
        raise UserError("--overwrite is for the chief alone; leave it out")
    options = run_flags.loop_options()
    strategy = make_strategy(run_flags.STRATEGY.value, run_flags.REPLICAS.value)
    client = Client(place, console)

    @functools.cache
    def joined() -> Search:
        # Now that the chief proposes, all is prepared.
        folder, config, examples = joined_run()
        request = read_request(folder.directory)
        _, wanted = run_flags.requested()
        asked = {"config": wanted, "search": _request(folder, wanted)}
        for name, (there, here) in differences(
            {"config": config, "search": request}, asked
        ).items():
            raise UserError(
                f"the chief searches something else than this worker was asked for "
                f"({name} is {there!r} there, {here!r} here); give both the same flags"
            )
        return Search(
            examples,
            folder.directory,
            base=config,
            request=request,
            trials=_trials(request),
            strategy=strategy,
            options=options,
            console=console,
        )

    search(client, place.tuner_id, lambda proposed: joined().run(client, proposed))
    console.print("the search is done; the chief tells what was found")


def _request(folder: "Run", config: "RunConfig") -> "SearchRequest":
    from pipelines.components.tuner import read_request
    from pipelines.runs.trial import SearchRequest

    if run_flags.RESUME.value:
        return read_request(folder.directory)
    default = "learning_rate" if config.weights else "default"
    return SearchRequest(
        default if _SPACE.value is None else _SPACE.value,
        _TUNER.value,
        _OBJECTIVE.value,
        _LIMIT.value,
    )


def _trials(request: "SearchRequest") -> int | None:
    if _TRIALS.value is None and request.tuner in ("random", "bayesian"):
        return _TRIALS_BY_DEFAULT
    return _TRIALS.value


def training_command(config: "RunConfig", hyperparameters: Path) -> str:
    """Returns the command that trains on the search's data from what it found."""
    values = {
        "data": config.data,
        "validation_share": config.validation_share,
        "max_bad_share": config.max_bad_share,
        "examples_dir": hyperparameters.parent / "examples",
        "seed": config.seed,
        **({"weights": config.weights} if config.weights else {}),
        "hyperparameters": hyperparameters,
        "output_dir": f"{hyperparameters.parent}-best",
    }
    return shlex.join(
        ["python", "-m", "pipelines.train_imagenet"]
        + [f"--{name}={value}" for name, value in values.items()]
    )


if __name__ == "__main__":
    cli.run(main, when_interrupted=run_flags.GOES_ON)
