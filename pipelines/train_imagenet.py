"""The main job: images become a trained, evaluated, servable residual network.

python -m pipelines.train_imagenet --data=photos/ --model=resnet18 --recipe=he2015
"""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from rich.console import Console

from pipelines.command import cli, data_flags, run_flags, watch_flags
from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.data.examples import Examples
    from pipelines.runs.folder import Run
    from pipelines.runs.request import RunConfig

_HYPERPARAMETERS = flags.DEFINE_string(
    "hyperparameters", "", "A file of values, as python -m pipelines.tune writes it."
)
_WEIGHTS = flags.DEFINE_string(
    "weights",
    "",
    "Start from a run's folder, or what keras_resnet.load_weights takes: a file, "
    "a preset, imagenet, hf://OWNER/REPOSITORY.",
)
_EXAMPLES_DIR = flags.DEFINE_string(
    "examples_dir", "", "Where the records lie, to share them between runs."
)
flags.adopt_module_key_flags(cli)
flags.adopt_module_key_flags(run_flags)
flags.adopt_module_key_flags(watch_flags)


def main(arguments: list[str]) -> None:
    """Runs the components one after the other."""
    cli.refuse(arguments)
    from pipelines.components.evaluator import evaluator
    from pipelines.components.pusher import pusher
    from pipelines.components.trainer import trainer
    from pipelines.reports.run_page import make_report
    from pipelines.reports.summary import print_summary
    from pipelines.runs.record import read_starts
    from pipelines.runs.request import reproduce_command
    from pipelines.training.strategies import (
        Cluster,
        barrier,
        lost_workers,
        make_strategy,
    )
    from pipelines.training.watching.trackers import TRACKERS

    console = Console()
    watch, options = watch_flags.watch_options(), run_flags.loop_options()
    strategy = make_strategy(run_flags.STRATEGY.value, run_flags.REPLICAS.value)
    is_chief = Cluster.of(strategy).is_chief
    with lost_workers(strategy):
        if is_chief:
            run, config, examples = _prepare(console)
            barrier(strategy)
        else:
            barrier(strategy)
            run, config, examples = _join()
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
        console=console,
    )
    if is_chief:
        metrics = evaluator(
            examples,
            model,
            run.evaluation_path,
            max_bad_share=config.max_bad_share,
            test_flip=config.recipe.test_flip,
        )
        pushed = pusher(model, run.serving_dir)
        starts = read_starts(run.directory)
        again = reproduce_command(
            config, f"{run.directory}-again", starts[-1] if starts else None
        )
        report = make_report(run)
        if watch.track:
            tracker = TRACKERS[watch.track](run.model_dir, watch.experiment, {})
            tracker.log_report(report)
        print_summary(examples, model, metrics, pushed, report, again, console)


def _prepare(console: Console) -> "tuple[Run, RunConfig, Examples]":
    """Makes the folder that of the run, and what it trains on."""
    from pipelines.components.data_report import report_data
    from pipelines.components.example_gen import example_gen
    from pipelines.data.examples import Examples
    from pipelines.reports.recipe_table import recipe_table
    from pipelines.reports.summary import print_skipped
    from pipelines.runs.record import record_start
    from pipelines.training.model import TrainedModel

    for name in ("model", "recipe"):
        if _HYPERPARAMETERS.value and flags.FLAGS[name].present:
            raise UserError(
                f"--hyperparameters={_HYPERPARAMETERS.value} brings its own {name}; "
                f"leave --{name} out"
            )
    run, config = run_flags.open_requested_run(
        hyperparameters=_HYPERPARAMETERS.value,
        weights=_WEIGHTS.value,
        examples_dir=_EXAMPLES_DIR.value,
    )
    examples = Examples.prepared(config.data) or example_gen(
        config.data,
        Path(config.examples_dir or run.examples_dir),
        validation_share=config.validation_share,
        max_bad_share=config.max_bad_share,
    )
    is_finished = TrainedModel.is_in(run.model_dir)
    if is_finished and config != run.read_config():
        raise UserError(
            f"the run in {run.directory} is finished, nothing in it can change; "
            f"--weights={run.directory} with another --output_dir starts from its model"
        )
    run.write_config(config, changed=bool(run_flags.ALLOW_CHANGED.value))
    if not is_finished:
        given = {
            name: flags.FLAGS[name].value
            for name in ("strategy", "replicas", "data_service", "on_nan", "export")
            if flags.FLAGS[name].present
        }
        record_start(run.directory, given)
    console.print(recipe_table(config.recipe), highlight=False, markup=False)
    print_skipped(examples, console)
    report_data(
        examples,
        run.directory,
        console,
        stop=data_flags.ON_ANOMALIES.value == "stop",
    )
    return run, config, examples


def _join() -> "tuple[Run, RunConfig, Examples]":
    """Returns what the first of several workers has prepared."""
    from pipelines.data.examples import Examples
    from pipelines.runs.folder import Run

    run = Run(Path(run_flags.OUTPUT_DIR.value))
    config = run.read_config()
    examples = Examples.prepared(config.data) or Examples.load(
        Path(config.examples_dir or run.examples_dir)
    )
    return run, config, examples


if __name__ == "__main__":
    cli.run(main, when_interrupted=run_flags.GOES_ON)
