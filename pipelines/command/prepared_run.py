"""How every command that trains begins: checks first, then the data, then the rest."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import flags
from rich.console import Console

import keras_resnet
from pipelines.command import data_flags, run_flags
from pipelines.command.data_validation import validate_data
from pipelines.components.example_gen import example_gen
from pipelines.components.statistics_gen import checked
from pipelines.components.trainer import check_recipe
from pipelines.data.examples import Examples
from pipelines.data.sources import open_source
from pipelines.errors import UserError
from pipelines.reports.recipe_table import recipe_table, request_line
from pipelines.reports.summary import print_skipped
from pipelines.runs.folder import Run, open_run
from pipelines.runs.record import record_start
from pipelines.runs.request import RunConfig
from pipelines.training.initial_weights import load_initial_weights
from pipelines.training.model import TrainedModel
from pipelines.training.strategies import Cluster, barrier, lost_workers

_RECORDED = ("strategy", "replicas", "data_service", "on_nan", "export")


@contextlib.contextmanager
def prepared_run(
    strategy: tf.distribute.Strategy, console: Console, **others: Any
) -> Iterator[tuple[Run, RunConfig, Examples]]:
    """Gives the run that the flags ask for, and what it trains on, to every worker.

    The first worker holds the folder while the block runs, and prepares what is not
    there; the others wait for it. Whatever can be wrong with the flags is told before
    any data is read.

    Args:
        strategy: Where steps will run.
        console: Where to tell what is trained on, and how.
        **others: Values for `pipelines.runs.request` beside those of `run_flags`.

    Raises:
        UserError: If a value is wrong, the folder is not free for this run, or the data
            is not as it should be.

    Example:

    >>> with prepared_run(strategy, console) as (run, config, examples):
    ...     trainer(examples, run.model_dir, ...)
    """
    with contextlib.ExitStack() as stack:
        with lost_workers(strategy):
            if Cluster.of(strategy).is_chief:
                run, config = run_flags.requested(**others)
                _check(run, config, strategy)
                stack.enter_context(run.held())
                examples = _prepare(run, config, console)
                barrier(strategy)
            else:
                barrier(strategy)
                run, config, examples = joined_run()
        yield run, config, checked(examples, run.directory / "statistics")


def joined_run() -> tuple[Run, RunConfig, Examples]:
    """Returns the run that another process has prepared, and what it trains on.

    Raises:
        UserError: If there is none.
    """
    run = Run(Path(run_flags.OUTPUT_DIR.value))
    config = run.read_config()
    return run, config, run.examples(config)


def _check(run: Run, config: RunConfig, strategy: tf.distribute.Strategy) -> None:
    if TrainedModel.is_in(run.model_dir):
        return
    check_recipe(config.recipe, strategy, config.weights)
    if config.weights and not run.has_begun():
        model = keras_resnet.build(config.network, input_shape=(None, None, 3))
        load_initial_weights(model, config.weights)


def _prepare(run: Run, config: RunConfig, console: Console) -> Examples:
    """Makes the folder that of the run, and what it trains on."""
    open_run(
        run.directory,
        config,
        overwrite=run_flags.OVERWRITE.value,
        allow_changed=run_flags.ALLOW_CHANGED.value,
    )
    if run_flags.OVERWRITE.value:
        # What is there goes only for data that can be read.
        if Examples.prepared(config.data) is None:
            open_source(config.data)
        run.remove()

    def make(directory: Path) -> Examples:
        return example_gen(
            config.data,
            directory,
            validation_share=config.validation_share,
            max_bad_share=config.max_bad_share,
        )

    examples = run.examples(config, make)
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
            for name in _RECORDED
            if flags.FLAGS[name].present
        }
        record_start(run.directory, given)
    print_skipped(examples, console)
    validate_data(
        examples,
        run.directory,
        console,
        stop=data_flags.ON_ANOMALIES.value == "stop",
        max_bad_share=config.max_bad_share,
    )
    if run_flags.VERBOSE.value:
        console.print(recipe_table(config.recipe), highlight=False, markup=False)
    told = request_line(config)
    console.print(told, highlight=False, markup=False, soft_wrap=True)
    if is_finished:
        console.print(f"{run.directory} is finished: nothing is trained again")
    return examples
