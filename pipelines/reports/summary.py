"""The tables in the terminal at the end of a run, of ingest and of a search."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from pipelines.data.examples import Examples
from pipelines.errors import printable
from pipelines.evaluation.judgement import Check, Judged
from pipelines.evaluation.metrics import Metrics
from pipelines.reports.evaluation_page import shown, titles
from pipelines.runs.trial import Trial
from pipelines.serving.formats import Comparison
from pipelines.training.history import read_columns
from pipelines.training.model import TrainedModel

_SKIPPED_TOLD = 10


def print_skipped(examples: Examples, console: Console) -> None:
    """Says what was passed over or left out of the examples, and why."""
    if examples.passed_over:
        kinds = (f"{count} {kind}" for kind, count in examples.passed_over.items())
        told = printable(f"passed over files that are no images: {', '.join(kinds)}")
        console.print(told, markup=False, highlight=False, soft_wrap=True)
    if not examples.skipped_count:
        return
    total = sum(examples.counts.values()) + examples.skipped_count
    console.print(
        f"skipped {examples.skipped_count} of {total} images:", style="yellow"
    )
    for name, reason in examples.skipped[:_SKIPPED_TOLD]:
        told = printable(f"  {name}: {reason}")
        console.print(told, markup=False, highlight=False)
    if examples.skipped_count > _SKIPPED_TOLD:
        console.print(f"  ... more of them in {examples.directory / 'examples.json'}")


def print_examples(examples: Examples, directory: Path, console: Console) -> None:
    """Prints how much there is and where it lies."""
    counts = examples.counts
    size = sum(shard.bytes for shard in examples.shards)
    rows = {
        "images": f"{counts['train']:,} training, {counts['validation']:,} validation, "
        f"{len(examples.classes)} classes",
        "records": f"{len(examples.shards)} shards, {size / 1e6:,.1f} MB",
        "examples": str(examples.directory),
        "statistics": str(directory / "statistics" / "statistics.pb"),
        "schema": str(directory / "schema.pbtxt"),
        "anomalies": str(directory / "anomalies.pbtxt"),
        "page": str(directory / "data.html"),
    }
    _print_rows(rows, console)


def print_summary(
    examples: Examples,
    model: TrainedModel,
    metrics: Metrics,
    pushed: Path,
    report: Path,
    command: str,
    console: Console,
) -> None:
    """Prints errors, rates, time and where everything lies.

    Args:
        examples: What was trained on.
        model: The trained model.
        metrics: Its errors.
        pushed: The exported model.
        report: The page about the run.
        command: What repeats the run, see `reproduce_command`.
        console: Where to print.
    """
    history = model.directory / "history.csv"
    epochs = read_columns(history)
    counts = examples.counts
    rows = {
        "network": f"{model.network.name}, {model.preprocessing.size} pixels",
        "images": f"{counts['train']:,} training, {counts['validation']:,} validation, "
        f"{len(examples.classes)} classes",
        "top-1 error": f"{metrics.top1_error:.2%}, "
        f"accuracy {1 - metrics.top1_error:.2%}",
        **(
            {"top-5 error": f"{metrics.top5_error:.2%}"}
            if len(examples.classes) > 5
            else {}
        ),
        "training": f"{len(epochs['epoch'])} epochs in "
        f"{epochs['seconds'].sum():,.0f} s, "
        f"{np.median(epochs['images_per_second']):,.0f} images/s",
        "evaluation": f"{metrics.images_per_second:,.0f} images/s",
        "model": str(model.keras_path),
        "history": str(history),
        "curves": str(model.directory / "curves.png"),
        "TensorBoard": str(model.directory / "tensorboard"),
        "SavedModel": str(pushed),
        "report": str(report),
    }
    _print_rows(rows, console)
    console.print(
        f"the same again, in another folder:\n  {command}",
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
    )


def print_judgement(
    judged: Judged, checks: Sequence[Check], directory: Path, console: Console
) -> None:
    """Prints scores with their intervals, the comparison and the verdict.

    Args:
        judged: What was found.
        checks: What it was asked to be.
        directory: Where the files are.
        console: Where to print.
    """
    judgement = judged.judgement
    rows = {"images": f"{judgement.metrics.images:,}"}
    for name, title in titles(judged).items():
        low, high = (shown(name, end) for end in judgement.intervals[name])
        score = shown(name, judgement.scores[name])
        rows[title.lower()] = f"{score}, {low} to {high}"
    if judgement.curves:
        for name, mean in judgement.curves.macro().items():
            rows[name.replace("_", " ")] = f"{mean:.4f}"
    if calibration := judgement.calibration:
        before, after = calibration.errors
        rows["calibration error"] = (
            f"{before:.2%}, with temperature {calibration.temperature:.3g} {after:.2%}"
        )
    if comparison := judgement.comparison:
        difference = comparison.differences["top1_error"]
        least, most = comparison.intervals["top1_error"]
        rows["against"] = (
            f"{' and '.join(judged.baseline)}: top-1 error {difference:+.2%}, "
            f"{least:+.2%} to {most:+.2%}, McNemar p = {comparison.p_value:.3g}"
        )
    rows["page"] = str(directory / "evaluation.html")
    _print_rows({name: printable(told) for name, told in rows.items()}, console)
    for check in checks:
        if not check.passed:
            told = printable(f"not blessed: {check.sentence}")
            console.print(told, style="red", markup=False, soft_wrap=True)
    if checks and all(check.passed for check in checks):
        console.print("blessed", style="green")


def print_trials(
    trials: Sequence[Trial], best: Collection[Trial], console: Console
) -> None:
    """Prints a row for each trial, in the order given.

    Args:
        trials: The trials; their errors are those on the validation images.
        best: Those that get a star: no other beats them in error and cost.
        console: Where to print.
    """
    names = dict.fromkeys(name for trial in trials for name in trial.values)
    table = Table(box=None, header_style="bold")
    for name in (
        "trial",
        *names,
        "parameters",
        "multiply-adds",
        "error",
        "epochs",
        "s",
    ):
        table.add_column(name.replace("_", "\n"), justify="right", no_wrap=True)
    for trial in trials:
        values = (trial.values.get(name, "") for name in names)
        table.add_row(
            f"{'*' if trial in best else ''}{trial.number}",
            *(f"{v:.3g}" if isinstance(v, float) else str(v) for v in values),
            f"{trial.costs['parameters']:,}",
            f"{trial.costs['multiply_adds']:,}",
            "failed" if trial.failure else f"{trial.error:.4g}",
            str(trial.epochs),
            f"{trial.seconds:.0f}",
        )
    # Where there is less room, the terminal breaks its lines; a file has them whole.
    width = table.__rich_measure__(console, console.options.update(max_width=1000))
    wide = Console(file=console.file, width=max(width.maximum, console.width))
    wide.print(table, highlight=False)


def print_exports(made: Iterable[tuple[Path, Comparison]], console: Console) -> None:
    """Prints how exports compare with the network, and where they lie.

    The last column is how many convolutions an export in int8 computes in float32.
    """
    table = Table(box=None, header_style="bold")
    for name in (
        "export",
        "MB",
        "differs by",
        "same class",
        "error",
        "network's",
        "float",
    ):
        table.add_column(name, no_wrap=True)
    for version, found in made:
        written = (path.stat().st_size for path in version.glob("model.*"))
        table.add_row(
            f"{version.parent.name}/{version.name}",
            f"{sum(written) / 1e6:.1f}",
            f"{found.largest_difference:.1e}",
            f"{found.top1_agreement:.2%} of {found.images}",
            f"{found.exported_top1_error:.2%}",
            f"{found.top1_error:.2%}",
            f"{found.float_convolutions or ''}",
        )
    console.print(table, highlight=False, soft_wrap=True)
    _print_rows({"exports": str(version.parents[1])}, console)


def _print_rows(rows: dict[str, str], console: Console) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table, highlight=False, soft_wrap=True)
