"""The main job: images become a trained, evaluated, servable residual network.

python -m pipelines.train_imagenet --data=photos/ --model=resnet18 --recipe=he2015
"""

import dataclasses
from pathlib import Path

from absl import flags
from rich.console import Console

from pipelines.command import cli, run_flags, watch_flags
from pipelines.errors import UserError

_HYPERPARAMETERS = flags.DEFINE(
    cli.Path(optional=True),
    "hyperparameters",
    "",
    "A file of values, as python -m pipelines.tune writes it.",
)
_EXAMPLES_DIR = flags.DEFINE(
    cli.Path(optional=True),
    "examples_dir",
    "",
    "Where the records lie, to share them between runs.",
)
_INFRA_VALIDATION = flags.DEFINE_bool(
    "infra_validation",
    False,
    "Have a fresh server answer with the exported model before it is a version.",
)


def main(arguments: list[str]) -> None:
    """Runs the components one after the other."""
    cli.refuse(arguments)
    from pipelines.command.prepared_run import prepared_run
    from pipelines.components.evaluator import evaluator
    from pipelines.components.infra_validator import infra_validator
    from pipelines.components.pusher import about, pusher
    from pipelines.components.trainer import trainer
    from pipelines.reports.run_page import make_report
    from pipelines.reports.summary import print_summary
    from pipelines.runs.record import read_starts
    from pipelines.runs.request import reproduce_command
    from pipelines.training.strategies import Cluster, make_strategy
    from pipelines.training.watching.memory import as_run
    from pipelines.training.watching.trackers import TRACKERS

    for name in ("model", "recipe"):
        if _HYPERPARAMETERS.value and flags.FLAGS[name].present:
            raise UserError(
                f"--hyperparameters={_HYPERPARAMETERS.value} brings its own {name}; "
                f"leave --{name} out"
            )
    console = Console()
    watch, options = watch_flags.watch_options(), run_flags.loop_options()
    strategy = make_strategy(run_flags.STRATEGY.value, run_flags.REPLICAS.value)
    files = {
        "hyperparameters": _HYPERPARAMETERS.value,
        "examples_dir": _EXAMPLES_DIR.value,
    }
    with prepared_run(strategy, console, **files) as (run, config, examples):
        model = trainer(
            examples,
            run.model_dir,
            network=config.network,
            recipe=config.recipe,
            seed=config.seed,
            weights=config.weights,
            max_bad_share=config.max_bad_share,
            strategy=strategy,
            options=options,
            watch=watch,
            when_saved=lambda: make_report(run),
            console=console,
        )
        if not Cluster.of(strategy).is_chief:
            return
        metrics = evaluator(
            examples,
            model,
            run.evaluation_path,
            max_bad_share=config.max_bad_share,
            test_flip=config.recipe.test_flip,
        )
        note = about(config, examples, top1_error=metrics.top1_error)

        def check(version: Path) -> None:
            if _INFRA_VALIDATION.value:
                infra_validator(version, run)

        pushed = pusher(model, run.serving_dir, note, check)
        starts = read_starts(run.directory)
        again = reproduce_command(
            dataclasses.replace(config, recipe=as_run(run.model_dir, config.recipe)),
            f"{run.directory}-again",
            starts[-1] if starts else None,
        )
        report = make_report(run)
        if watch.track:
            tracker = TRACKERS[watch.track](run.model_dir, watch.experiment, {})
            tracker.log_report(report)
        print_summary(examples, model, metrics, pushed, report, again, console)


if __name__ == "__main__":
    cli.run(main, when_interrupted=run_flags.GOES_ON)
