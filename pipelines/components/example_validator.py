"""ExampleValidator: statistics and a schema in, anomalies out."""

from pathlib import Path

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from pipelines.data.examples import Examples
from pipelines.data.quality import protos
from pipelines.data.quality.likeness import NONE_ALIKE, Alike
from pipelines.data.quality.thresholds import DEFAULT_THRESHOLDS, Thresholds
from pipelines.data.quality.validation import Validation, validate
from pipelines.errors import UserError


def example_validator(
    examples: Examples,
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    schema: schema_pb2.Schema,
    path: Path,
    *,
    previous: statistics_pb2.DatasetFeatureStatisticsList | None = None,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    alike: Alike = NONE_ALIKE,
) -> Validation:
    """Compares examples with their schema and with earlier ones.

    Args:
        examples: The records; their manifest tells of copies.
        statistics: Of the examples.
        schema: What they should be like.
        path: Gets the anomalies as a text protocol buffer, `anomalies.pbtxt`, which
            TensorFlow Data Validation reads; there may be none in it.
        previous: Statistics of the data used before, to compare with.
        thresholds: The limits for errors, and those for warnings that a schema does
            not hold.
        alike: Which of the examples look alike.

    Returns:
        What was found. Call `stop_on_errors` with it, once it is reported.

    Example:

    >>> validation = example_validator(
    ...     examples, statistics.proto, schema, Path("runs/demo/anomalies.pbtxt")
    ... )
    >>> stop_on_errors(validation)
    """
    validation = validate(examples, statistics, schema, previous, thresholds, alike)
    path.parent.mkdir(parents=True, exist_ok=True)
    protos.write_text(path, validation.to_proto(), "Where the records differ.")
    return validation


def stop_on_errors(validation: Validation) -> None:
    """Stops the pipeline if an anomaly is an error.

    Raises:
        UserError: Tells the first error, what to do, and how many more there are.
    """
    errors = validation.errors
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise UserError(f"the data is not as it should be: {errors[0].sentence}{more}")
