"""SchemaGen: statistics in, a schema out that people may edit."""

from pathlib import Path

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from pipelines.data.examples import Examples
from pipelines.data.quality import protos
from pipelines.data.quality.schema import infer_schema, resolve
from pipelines.data.quality.thresholds import DEFAULT_THRESHOLDS, Thresholds

_COMMENT = "What the records should be like. Edit it; remove it to have it made anew."


def schema_gen(
    examples: Examples,
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    path: Path,
    *,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
) -> schema_pb2.Schema:
    """Infers a schema from statistics, unless there is one.

    Args:
        examples: Their classes are the ones that are expected.
        statistics: Of the examples.
        path: The schema as a text protocol buffer, `schema.pbtxt`. One that is there,
            as it was made or edited, is read.
        thresholds: The warnings of a new schema.

    Returns:
        The schema, see `resolve`.

    Raises:
        UserError: If the schema that is there cannot be read, naming the line, or asks
            for something that is not checked.

    Example:

    >>> schema_gen(examples, statistics.proto, Path("runs/demo/schema.pbtxt"))
    """
    if not path.exists():
        schema = infer_schema(statistics, examples.classes, thresholds)
        path.parent.mkdir(parents=True, exist_ok=True)
        protos.write_text(path, schema, _COMMENT)
    return resolve(protos.read_text(path, schema_pb2.Schema))
