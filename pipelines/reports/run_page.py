"""A page that tells of a run, finished or not, in one file that needs no network."""

import dataclasses
import datetime
import functools
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_resnet
from keras_resnet.training import RECIPES
from pipelines.errors import UserError
from pipelines.reports import run_classes, run_curves
from pipelines.reports.markup import Section, counted, folded, table, text
from pipelines.reports.page import write_page
from pipelines.reports.run_facts import RunFacts
from pipelines.runs.differences import differences, flat
from pipelines.runs.folder import Run
from pipelines.runs.request import reproduce_command
from pipelines.training.network import preprocessing_for

_MOST_EVENTS = 50
_REFRESH_SECONDS = 30


def make_report(run: Run) -> Path:
    """Writes `report.html` of what a run has made so far.

    The same folder gives the same page. Until the model is trained, a browser that
    shows it looks for a newer one every 30 seconds.

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
    header = (
        f"<h1>{text(title)}</h1>"
        f'<p class="soft">recipe {text(facts.config.recipe.name)}, '
        f"{text(run.directory.resolve().name)}</p>"
    )
    sections = (
        _headline(facts),
        _next_commands(facts),
        run_curves.curves(facts),
        run_curves.steps(facts),
        *_evaluated(facts),
        *_configuration(facts),
        _data(facts),
        _environment(facts),
        _command(facts),
        _kept(facts),
    )
    path = run.directory / "report.html"
    refresh = None if facts.is_trained else _REFRESH_SECONDS
    write_page(path, f"Run: {title}", header, sections, refresh=refresh)
    return path


def _headline(facts: RunFacts) -> Section:
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
    return Section(_state(facts), f'<dl class="facts">{items}</dl>')


def _state(facts: RunFacts) -> str:
    if facts.evaluation:
        return "Trained and evaluated"
    if facts.is_trained:
        return "Trained, not evaluated"
    return "Not finished: training goes on or was stopped"


def _errors(facts: RunFacts) -> dict[str, tuple[str, str]]:
    """Returns top-1 error, top-5 error and loss, the best known.

    The top-5 error of five classes or fewer is always 0, and left out.
    """
    found = _all_errors(facts)
    if facts.examples and len(facts.examples.classes) <= 5:
        found.pop("Top-5 error", None)
    return found


def _all_errors(facts: RunFacts) -> dict[str, tuple[str, str]]:
    if facts.evaluation:
        metrics = facts.evaluation.metrics
        what = f"{facts.evaluation.split} images"
        if facts.evaluation.test_flip:
            what += " and their mirror images"
        return {
            "Top-1 error": _error(metrics.top1_error, metrics.images, what),
            "Top-5 error": _error(metrics.top5_error, metrics.images, what),
            "Loss": (f"{metrics.loss:.4f}", f"{metrics.images:,} {what}"),
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


def _error(share: float, images: int, what: str) -> tuple[str, str]:
    return f"{share:.2%}", counted(round(share * images), images, what)


def _card(value: float, form: str, note: str) -> tuple[str, str]:
    if not np.isfinite(value):
        return "unknown", "not recorded"
    return f"{{{form}}}".format(value), note


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else np.nan


def _next_commands(facts: RunFacts) -> Section | None:
    """Returns what to do with a trained model, in lines to be copied."""
    if not facts.is_trained:
        return None
    run, name = facts.run, facts.config.network.name
    folder = shlex.quote(str(run.directory))
    served = shlex.quote(str(run.serving_dir.absolute() / name))
    commands = {
        "Name what is in an image": f"python -m pipelines.predict --model={folder} "
        "photo.jpg",
        "Load it in Python": "import keras\nimport keras_resnet\n\nmodel = "
        f"keras.saving.load_model({str(run.model_dir / 'model.keras')!r})",
        "Serve it": f"docker run --rm -p 8501:8501 -v {served}:/models/{name} \\\n"
        f"  -e MODEL_NAME={name} tensorflow/serving",
    }
    return Section(
        "What to do with it",
        "".join(
            f"<h3>{title}</h3><pre>{text(command)}</pre>"
            for title, command in commands.items()
        ),
    )


def _evaluated(facts: RunFacts) -> Iterable[Section]:
    if facts.evaluation:
        metrics = facts.evaluation.metrics
        yield run_classes.confusion(facts, metrics)
        yield run_classes.class_errors(facts, metrics)
        yield run_classes.mistakes(facts, facts.evaluation.split, metrics.hardest)
        return
    reason = "The network is evaluated when it is trained."
    if facts.is_trained:
        reason = (
            "There is no evaluation of this model by this version; the command below, "
            "with the run's own --output_dir, makes one without training again."
        )
    yield Section(
        "Evaluation",
        f'<p class="soft">{reason} Confusions, the error of each class and the hardest '
        "mistakes will stand here.</p>",
    )


def _configuration(facts: RunFacts) -> Iterable[Section]:
    config = facts.config
    asked = [
        [field.name, _shown(getattr(config, field.name))]
        for field in dataclasses.fields(config)
        if field.name not in ("network", "recipe")
    ]
    recipe = _values(config.recipe, RECIPES.get(config.recipe.name))
    network = _values(config.network, keras_resnet.NETWORKS.get(config.network.name))
    yield Section("Configuration", _facts(asked))
    yield Section("Recipe", recipe)
    yield Section("Network", f"{_size(facts)}{network}")


def _size(facts: RunFacts) -> str:
    spec = facts.config.network
    if facts.examples:
        spec = dataclasses.replace(spec, classes=len(facts.examples.classes))
    size = preprocessing_for(facts.config.recipe, spec).size
    cost = _cost(spec, size)
    return (
        f"<p>{cost.parameters:,} parameters and {cost.multiply_adds:,} multiply-adds "
        f"for an image of {size} pixels, with a classifier of {spec.classes:,} "
        "classes.</p>"
    )


@functools.cache
def _cost(spec: keras_resnet.ResNetSpec, size: int) -> keras_resnet.analysis.Cost:
    # Shapes are all it takes: no weight is made, on no device.
    with keras.StatelessScope():
        model = keras_resnet.build(spec, input_shape=(size, size, 3))
    return keras_resnet.analysis.cost(model)


def _values(value: Any, published: Any) -> str:
    """Returns tables of a frozen value's fields: the changed, and folded the others."""
    changed = differences(published or value, value)
    rows = [
        [name, _shown(here), f"{_shown(changed[name][0])} as published"]
        for name, here in vars(value).items()
        if name in changed
    ]
    others = [
        [name, _shown(here)]
        for name, here in vars(value).items()
        if name not in changed
    ]
    if published is None:
        note = f"This version has no {value.name} to compare with."
        return f'<p class="soft">{text(note)}</p>{_facts(others)}'
    head = _facts(rows) if rows else ""
    return f"{head}{folded(f'{len(others)} values as published', _facts(others))}"


def _shown(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ", ".join(map(_shown, value)) or "none"
    return "none" if value in ("", None) else str(value)


def _data(facts: RunFacts) -> Section:
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
    return Section("Data", body)


def _environment(facts: RunFacts) -> Section:
    if not facts.starts:
        body = (
            '<p class="soft">This run has no record of what it ran on '
            "(environment.json).</p>"
        )
        return Section("Environment", body)
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
    return Section("Environment", body)


def _command(facts: RunFacts) -> Section:
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
    return Section("The same again", body)


def _kept(facts: RunFacts) -> Section:
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
    return Section("Checkpoints and events", body)


def _checkpoint(path: Path) -> list[str]:
    try:
        state = path.stat()
    except FileNotFoundError:
        return [path.name, "removed", "just now"]
    written = datetime.datetime.fromtimestamp(state.st_mtime, datetime.UTC)
    return [path.name, f"{state.st_size / 1e6:,.1f} MB", f"{written:%Y-%m-%d %H:%M:%S}"]


def _facts(rows: Iterable[tuple[str, Any] | list[Any]]) -> str:
    body = "".join(
        f'<tr><th scope="row">{text(name)}</th>'
        + "".join(f"<td>{text(value)}</td>" for value in values)
        + "</tr>"
        for name, *values in rows
    )
    return (
        f'<div class="scroll"><table class="values"><tbody>{body}</tbody></table></div>'
    )
