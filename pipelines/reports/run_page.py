"""A page that tells of a run, finished or not, in one file that needs no network."""

import dataclasses
import datetime
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import keras_resnet
from keras_resnet.training import RECIPES
from pipelines.errors import UserError
from pipelines.reports import run_classes, run_curves
from pipelines.reports.markup import table, text
from pipelines.reports.page import write_page
from pipelines.reports.run_facts import RunFacts
from pipelines.runs.differences import differences, flat
from pipelines.runs.folder import Run
from pipelines.runs.request import reproduce_command

_MOST_EVENTS = 50


def make_report(run: Run) -> Path:
    """Writes `report.html` of what a run has made so far.

    The same folder gives the same page.

    Args:
        run: The run; it may be going on.

    Returns:
        The page.

    Raises:
        UserError: If the folder holds no run.

    Example:

    >>> make_report(Run(Path("runs/demo")))
    PosixPath('runs/demo/report.html')
    """
    facts = RunFacts.of(run)
    title = f"{facts.config.network.name} on {facts.config.data}"
    sections = (
        f"<header><h1>{text(title)}</h1>"
        f'<p class="soft">recipe {text(facts.config.recipe.name)}, '
        f"{text(run.directory.resolve().name)}</p></header>",
        _headline(facts),
        run_curves.curves(facts),
        run_curves.steps(facts),
        *_evaluated(facts),
        _configuration(facts),
        _data(facts),
        _environment(facts),
        _command(facts),
        _kept(facts),
    )
    path = run.directory / "report.html"
    write_page(path, f"Run: {title}", sections)
    return path


def _headline(facts: RunFacts) -> str:
    done, wanted = facts.finished_epochs, facts.config.recipe.epochs
    seconds = np.nansum(facts.column("seconds"))
    rates = facts.column("images_per_second")
    cards = {
        **_errors(facts),
        "Epochs": (f"{done:,} of {wanted:,}", ""),
        "Time of training": (str(datetime.timedelta(seconds=round(seconds))), ""),
        "Throughput": _card(_median(rates), ":,.0f", "images/s, median of the epochs"),
    }
    items = "".join(
        f"<div><dt>{name}</dt><dd>{text(value)}<small>{text(note)}</small></dd></div>"
        for name, (value, note) in cards.items()
    )
    return f'<section><h2>{_state(facts)}</h2><dl class="facts">{items}</dl></section>'


def _state(facts: RunFacts) -> str:
    if facts.evaluation:
        return "Trained and evaluated"
    if facts.is_trained:
        return "Trained, not evaluated"
    return "Not finished: training goes on or was stopped"


def _errors(facts: RunFacts) -> dict[str, tuple[str, str]]:
    """Returns top-1 error, top-5 error and loss, the best known."""
    if facts.evaluation:
        metrics = facts.evaluation.metrics
        note = f"{metrics.images:,} {facts.evaluation.split} images"
        if facts.evaluation.test_flip:
            note += " and their mirror images"
        return {
            "Top-1 error": (f"{metrics.top1_error:.2%}", note),
            "Top-5 error": (f"{metrics.top5_error:.2%}", note),
            "Loss": (f"{metrics.loss:.4f}", note),
        }
    top1 = facts.column("val_top1")
    if not np.isfinite(top1).any():
        return {"Top-1 error": ("unknown", "not measured yet")}
    best = int(np.nanargmax(top1))
    note = f"so far, validation after epoch {facts.epochs['epoch'][best] + 1:.0f}"
    top5 = facts.column("val_top5")[best]
    return {
        "Top-1 error": (f"{1 - top1[best]:.2%}", note),
        "Top-5 error": _card(1 - top5, ":.2%", note),
        "Loss": _card(facts.column("val_loss")[best], ":.4f", note),
    }


def _card(value: float, form: str, note: str) -> tuple[str, str]:
    if not np.isfinite(value):
        return "unknown", "not recorded"
    return f"{{{form}}}".format(value), note


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else np.nan


def _evaluated(facts: RunFacts) -> Iterable[str]:
    if facts.evaluation:
        metrics = facts.evaluation.metrics
        yield run_classes.confusion(facts, metrics)
        yield run_classes.class_errors(facts, metrics)
        yield run_classes.mistakes(facts, facts.evaluation)
        return
    reason = "The network is evaluated when it is trained."
    if facts.is_trained:
        reason = (
            "There is no evaluation of this model by this version; the command below, "
            "with the run's own --output_dir, makes one without training again."
        )
    yield (
        f'<section><h2>Evaluation</h2><p class="soft">{reason} Confusions, the error '
        "of each class and the hardest mistakes will stand here.</p></section>"
    )


def _configuration(facts: RunFacts) -> str:
    config = facts.config
    asked = [
        [field.name, _shown(getattr(config, field.name))]
        for field in dataclasses.fields(config)
        if field.name not in ("network", "recipe")
    ]
    recipe = _values(config.recipe, RECIPES.get(config.recipe.name))
    network = _values(config.network, keras_resnet.NETWORKS.get(config.network.name))
    return (
        "<section><h2>Configuration</h2>"
        f"{_facts(asked)}</section>"
        f"<section><h2>Recipe</h2>{recipe}</section>"
        f"<section><h2>Network</h2>{network}"
        '<p class="soft">The classifier has an output for each class of the data.</p>'
        "</section>"
    )


def _values(value: Any, published: Any) -> str:
    """Returns a table of a frozen value's fields; the changed ones are marked."""
    changed = differences(published or value, value)
    rows = []
    for name, here in vars(value).items():
        marked = note = ""
        if name in changed:
            marked = ' class="changed"'
            note = f"{_shown(changed[name][0])} as published"
        rows.append(
            f'<tr{marked}><th scope="row">{name}</th><td>{text(_shown(here))}</td>'
            f"<td>{text(note)}</td></tr>"
        )
    note = "Marked are the values that differ from the published ones."
    if published is None:
        note = f"This version has no {value.name} to compare with."
    return (
        f'<p class="soft">{text(note)}</p><div class="scroll"><table class="values">'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _shown(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ", ".join(map(_shown, value)) or "none"
    return "none" if value in ("", None) else str(value)


def _data(facts: RunFacts) -> str:
    examples = facts.examples
    if examples is None:
        body = '<p class="soft">The records are not there, or not any more.</p>'
    else:
        made_from = examples.made_from
        rows = [
            ["source", made_from.get("source", "unknown")],
            ["fingerprint", made_from.get("fingerprint", "unknown")],
            *([f"{split} images", f"{n:,}"] for split, n in examples.counts.items()),
            ["classes", f"{len(examples.classes):,}"],
            ["images left out", f"{examples.skipped_count:,}"],
            [
                "validation images that are training images",
                f"{examples.duplicates.get('across', 0):,}",
            ],
        ]
        body = _facts(rows)
    if (facts.run.directory / "data.html").exists():
        body += '<p><a href="data.html">All about the data: data.html</a></p>'
    return f"<section><h2>Data</h2>{body}</section>"


def _environment(facts: RunFacts) -> str:
    if not facts.starts:
        body = (
            '<p class="soft">This run has no record of what it ran on '
            "(environment.json).</p>"
        )
        return f"<section><h2>Environment</h2>{body}</section>"
    last = facts.starts[-1]
    body = _facts((name, _shown(value)) for name, value in flat(last).items())
    if len(facts.starts) > 1:
        rows = []
        for start in facts.starts:
            different = differences(start, last)
            different.pop("started", None)
            told = [
                f"{name} was {'unset' if there is None else _shown(there)}"
                for name, (there, _) in different.items()
            ]
            rows.append(
                [start.get("started", "unknown"), "; ".join(told) or "as the last"]
            )
        body += table(
            ["start", "differs by"], rows, f"It was started {len(rows)} times."
        )
    return f"<section><h2>Environment</h2>{body}</section>"


def _command(facts: RunFacts) -> str:
    last = facts.starts[-1] if facts.starts else None
    again = f"{facts.run.directory}-again"
    try:
        command = reproduce_command(facts.config, again, last)
    except UserError as error:
        body = f'<p class="soft">This version cannot repeat the run: {text(error)}.</p>'
    else:
        where = last and last.get("directory")
        note = f"in {shlex.quote(where)}, " if where else ""
        body = (
            f'<p class="soft">The command, {text(note)}that repeats this run in '
            f"another folder, whatever made it:</p><pre>{text(command)}</pre>"
        )
    return f"<section><h2>The same again</h2>{body}</section>"


def _kept(facts: RunFacts) -> str:
    directory = facts.run.model_dir / "checkpoints"
    rows = [_checkpoint(path) for path in sorted(directory.glob("[!.]*"))]
    body = '<p class="soft">No checkpoint is kept.</p>'
    if rows:
        body = table(["checkpoint", "size", "written (UTC)"], rows)
    events = facts.events[-_MOST_EVENTS:]
    if events:
        head = [name for name in events[0] if name]
        rows = [[event.get(name) or "" for name in head] for event in events]
        body += table(head, rows, f"The last of {len(facts.events):,} events.")
    else:
        body += (
            '<p class="soft">No resumption, skipped step or other event is noted.</p>'
        )
    return f"<section><h2>Checkpoints and events</h2>{body}</section>"


def _checkpoint(path: Path) -> list[str]:
    try:
        state = path.stat()
    except FileNotFoundError:
        return [path.name, "removed", "just now"]
    written = datetime.datetime.fromtimestamp(state.st_mtime, datetime.UTC)
    return [path.name, f"{state.st_size / 1e6:,.1f} MB", f"{written:%Y-%m-%d %H:%M:%S}"]


def _facts(rows: Iterable[tuple[str, Any] | list[Any]]) -> str:
    body = "".join(
        f'<tr><th scope="row">{text(name)}</th><td>{text(value)}</td></tr>'
        for name, value in rows
    )
    return (
        f'<div class="scroll"><table class="values"><tbody>{body}</tbody></table></div>'
    )
