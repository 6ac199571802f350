"""The sections of a run's report that go over time."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pipelines.reports.charts import Points, lines
from pipelines.reports.markup import Section, folded, legend, table, text
from pipelines.reports.run_facts import RunFacts

_MOST_POINTS = 400


class _Chart(NamedTuple):
    title: str
    series: Mapping[str, str]  # Columns by the name of their line.
    unit: str = ""
    is_error: bool = False


def _both(column: str) -> dict[str, str]:
    return {"train": column, "validation": f"val_{column}"}


_EPOCH_CHARTS = (
    _Chart("Loss", _both("loss")),
    _Chart("Top-1 error", _both("top1"), "%", is_error=True),
    _Chart("Top-5 error", _both("top5"), "%", is_error=True),
    _Chart("Learning rate", {"train": "learning_rate"}),
    _Chart("Gradient norm", {"train": "gradient_norm"}),
    _Chart("Throughput", {"train": "images_per_second"}, "images/s"),
    _Chart("Waiting for data", {"train": "data_wait_share"}, "%"),
)
_STEP_CHARTS = (
    _Chart("Loss", {"train": "loss"}),
    *(chart for chart in _EPOCH_CHARTS if len(chart.series) == 1),
)


def curves(facts: RunFacts) -> Section:
    """Returns a section with a chart of each measured quantity by epoch."""
    if not facts.finished_epochs:
        body = '<p class="soft">No epoch is finished yet; the curves begin then.</p>'
        return Section("Curves", body)
    charts = _charts(_EPOCH_CHARTS, facts.epochs, facts.epochs["epoch"] + 1, "epoch")
    return Section(
        "Curves",
        f"{legend(('train', 'validation'))}{charts}"
        f"{folded('As numbers', _numbers(facts))}",
    )


def steps(facts: RunFacts) -> Section:
    """Returns a section with a chart of each measured quantity by step."""
    if not {"epoch", "step"} <= facts.steps.keys() or not len(facts.steps["step"]):
        body = (
            '<p class="soft">This run has no record of single steps '
            "(model/steps.csv).</p>"
        )
    else:
        in_epoch = facts.steps["step"] + 1
        longest = np.nanmax(in_epoch)
        body = _charts(
            _STEP_CHARTS,
            facts.steps,
            facts.steps["epoch"] + in_epoch / longest,
            f"epochs, of {longest:,.0f} steps",
        )
    return Section("Steps", body)


def _charts(
    charts: tuple[_Chart, ...],
    columns: Mapping[str, np.ndarray],
    x: np.ndarray,
    x_name: str,
) -> str:
    figures = []
    for chart in charts:
        series = {
            name: _thinned(x, _measured(columns[column], chart))
            for name, column in chart.series.items()
            if column in columns and np.isfinite(columns[column]).any()
        }
        if series:
            label = f"{chart.title} by {x_name}"
            unit = f"{chart.unit} by {x_name}" if chart.unit else f"by {x_name}"
            figures.append(
                f"<figure><h3>{chart.title}</h3>{lines(label, series)}"
                f"<figcaption>{text(unit)}</figcaption></figure>"
            )
    return f'<div class="charts">{"".join(figures)}</div>'


def _measured(values: np.ndarray, chart: _Chart) -> np.ndarray:
    if chart.is_error:
        values = 1 - values
    return 100 * values if chart.unit == "%" else values


def _thinned(x: np.ndarray, y: np.ndarray) -> Points:
    """Returns the points, or the means of neighbours where there are many."""
    if len(x) > _MOST_POINTS:
        starts = np.linspace(0, len(x), _MOST_POINTS, endpoint=False).astype(int)
        counts = np.diff(np.append(starts, len(x)))
        x, y = (np.add.reduceat(values, starts) / counts for values in (x, y))
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _numbers(facts: RunFacts) -> str:
    names = [name for name in facts.epochs if name != "epoch"]
    rows = [
        [f"{epoch + 1:.0f}", *(f"{facts.epochs[name][row]:.5g}" for name in names)]
        for row, epoch in enumerate(facts.epochs["epoch"])
    ]
    return table(["epoch", *names], rows)
