"""A page that tells what a search found, in one file that needs no network."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras_resnet
from pipelines.evaluation.intervals import CONFIDENCE
from pipelines.reports.charts import Axis, parallel, points
from pipelines.reports.markup import NUMBER, Section, folded, table, text
from pipelines.reports.page import write_page
from pipelines.runs.trial import Trial


class Found(Protocol):
    """What a search found; `pipelines.components.tuner.Hyperparameters` is one."""

    @property
    def trials(self) -> Sequence[Trial]:
        """All, best first."""

    @property
    def front(self) -> Sequence[Trial]:
        """Those that no other beats in both error and `cost`."""

    @property
    def cost(self) -> str:
        """The name of that cost."""

    @property
    def importances(self) -> Mapping[str, tuple[float, tuple[float, float]]]:
        """How much each value explains, with its interval."""


def write_search_page(path: Path, found: Found) -> Path:
    """Writes the page.

    Args:
        path: The HTML file. Everything is in it.
        found: What to tell.

    Returns:
        The file.

    Example:

    >>> write_search_page(Path("runs/tune/search.html"), found)
    """
    trials = [trial for trial in found.trials if not trial.failure]
    failed = len(found.trials) - len(trials)
    header = (
        f"<h1>{len(found.trials)} trials</h1>"
        f'<p class="soft">{text(trials[0].config.data)}, {failed} of them failed</p>'
    )
    sections = (
        _front(found, trials),
        _coordinates(trials),
        _importances(found),
        _best(trials[0]),
        _trials(found),
    )
    write_page(path, "Search", header, sections)
    return path


def _front(found: Found, trials: Sequence[Trial]) -> Section:
    is_large = max(trial.costs[found.cost] for trial in trials) >= 1e6
    unit, cost = (1e6, f"{found.cost}, millions") if is_large else (1, found.cost)
    label = f"Error against {cost}"
    series = {
        name: [(trial.costs[found.cost] / unit, trial.error) for trial in some]
        for name, some in (("trial", trials), ("front", found.front))
    }
    rows = [
        [trial.number, f"{trial.error:.4g}", f"{trial.costs[found.cost] / unit:,.4g}"]
        for trial in found.front
    ]
    return Section(
        "Front",
        f"<figure>{points(label, series)}<figcaption>{text(label)}; none of the trials "
        "has less of both than those on the line.</figcaption></figure>"
        + table(["trial", "error", cost], rows),
    )


def _coordinates(trials: Sequence[Trial]) -> Section:
    names = dict.fromkeys(name for trial in trials for name in trial.values)
    axes = [Axis(name, [trial.values.get(name) for trial in trials]) for name in names]
    axes.append(Axis("error", [trial.error for trial in trials]))
    return Section(
        "All values",
        f"<figure>{parallel('A line for each trial', axes)}<figcaption>A line for each "
        "trial, the darker the less its error.</figcaption></figure>",
    )


def _importances(found: Found) -> Section:
    if not found.importances:
        body = '<p class="soft">There are too few trials, or too few differences.</p>'
        return Section("Importance", body)
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th><td{NUMBER}>{share:.0%}</td>'
        '<td class="bars">'
        f'<div class="bar train" style="width:{_percent(share)}"></div>'
        f'<div class="bar span" style="margin-left:{_percent(low)};'
        f'width:{_percent(high - max(low, 0))}"></div>'
        f"<small>{CONFIDENCE:.0%} interval {low:.0%} to {high:.0%}</small></td></tr>"
        for name, (share, (low, high)) in found.importances.items()
    )
    return Section(
        "Importance",
        '<p class="soft">How much of the differences between errors each value '
        "explains by itself, without what it does together with others. Where the "
        "interval reaches to zero or below, it may be chance.</p>"
        '<div class="scroll"><table class="balance">'
        f"<tbody>{rows}</tbody></table></div>",
    )


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.1f}%"


def _best(trial: Trial) -> Section:
    network = trial.config.network
    other = nearest(network)
    rows: list[list[Any]] = [
        [
            f"conv{stage}",
            _stage(network, stage - 2),
            _stage(other, stage - 2),
        ]
        for stage in range(2, 2 + max(len(network.filters), len(other.filters)))
    ]
    hidden = ("name", "classes", "input_size", "filters", "blocks_per_stage")
    rows += [
        [field.name, getattr(network, field.name), getattr(other, field.name)]
        for field in dataclasses.fields(network)
        if field.name not in hidden
        and getattr(network, field.name) != getattr(other, field.name)
    ]
    head = ["", f"trial {trial.number}: {network.depth} layers", other.name]
    return Section(
        "Best network",
        f"<p>Error {trial.error:.4g}; beside it the nearest published network.</p>"
        + table(head, rows),
    )


def _stage(network: keras_resnet.ResNetSpec, stage: int) -> str:
    if stage >= len(network.filters):
        return "none"
    count = network.blocks_per_stage[stage]
    return f"{'▮' * min(count, 40)} {count} × {network.block}, {network.filters[stage]}"


def nearest(network: keras_resnet.ResNetSpec) -> keras_resnet.ResNetSpec:
    """Returns the published network with the fewest other values, then other blocks.

    Example:

    >>> nearest(dataclasses.replace(NETWORKS["resnet50"], shortcut="C")).name
    'resnet50'
    """

    def distance(other: keras_resnet.ResNetSpec) -> tuple[int, int]:
        fields = [
            field.name
            for field in dataclasses.fields(other)
            if field.name not in ("name", "classes", "input_size", "blocks_per_stage")
        ]
        differ = sum(getattr(network, f) != getattr(other, f) for f in fields)
        if len(network.blocks_per_stage) != len(other.blocks_per_stage):
            return len(fields), 0
        pairs = zip(network.blocks_per_stage, other.blocks_per_stage, strict=True)
        return differ, sum(abs(here - there) for here, there in pairs)

    return min(keras_resnet.NETWORKS.values(), key=distance)


def _trials(found: Found) -> Section:
    names = dict.fromkeys(name for trial in found.trials for name in trial.values)
    costs = dict.fromkeys(name for trial in found.trials for name in trial.costs)
    rows = [
        [
            trial.number,
            trial.failure or f"{trial.error:.4g}",
            trial.epochs,
            *(_shown(trial.values.get(name, "")) for name in names),
            *(_shown(trial.costs.get(name, "")) for name in costs),
            f"{trial.seconds:.0f}",
        ]
        for trial in found.trials
    ]
    head = ["Trial", "error", "epochs", *names, *costs, "seconds"]
    return Section(
        "Trials", folded(f"All {len(rows)}, the best first", table(head, rows))
    )


def _shown(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
