"""StatisticsGen, SchemaGen and ExampleValidator, one after the other."""

from pathlib import Path

from rich.console import Console

from pipelines.components.example_validator import example_validator, stop_on_errors
from pipelines.components.schema_gen import schema_gen
from pipelines.components.statistics_gen import Statistics, statistics_gen
from pipelines.data.examples import Examples
from pipelines.data.quality.anomalies import ERROR
from pipelines.errors import printable
from pipelines.reports.data_page import write_data_page

_TOLD = 5


def validate_data(
    examples: Examples,
    directory: Path,
    console: Console,
    *,
    previous: Path | None = None,
    stop: bool = True,
    max_decoded: int = 50_000,
    max_bad_share: float = 0.01,
) -> None:
    """Runs StatisticsGen, SchemaGen and ExampleValidator, and writes a page.

    Args:
        examples: What to look at.
        directory: Gets `statistics/`, `schema.pbtxt`, which is kept if it is there,
            `anomalies.pbtxt` and `data.html`.
        console: Where to tell anomalies.
        previous: A directory of an earlier call, to compare with its statistics.
        stop: Whether an error stops the pipeline.
        max_decoded: See `statistics_gen`.
        max_bad_share: See `statistics_gen`.

    Raises:
        UserError: If the data is not as it should be and `stop`, or the schema or the
            earlier statistics cannot be read.
    """
    earlier = Statistics.load(previous / "statistics").proto if previous else None
    statistics = statistics_gen(
        examples,
        directory / "statistics",
        max_decoded=max_decoded,
        max_bad_share=max_bad_share,
    )
    schema = schema_gen(examples, statistics.proto, directory / "schema.pbtxt")
    validation = example_validator(
        examples,
        statistics.proto,
        schema,
        directory / "anomalies.pbtxt",
        previous=earlier,
        alike=statistics.alike,
    )
    page = directory / "data.html"
    write_data_page(
        page,
        examples,
        statistics.proto,
        statistics.samples,
        validation,
        statistics.alike,
    )
    for anomaly in validation.anomalies[:_TOLD]:
        kind = "error" if anomaly.severity == ERROR else "warning"
        console.print(
            printable(f"{kind} about the data: {anomaly.sentence}"),
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if len(validation.anomalies) > _TOLD:
        console.print(f"... all {len(validation.anomalies)} anomalies in {page}")
    if stop:
        stop_on_errors(validation)
