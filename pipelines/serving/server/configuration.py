"""What to serve and how: TF Serving's configuration files."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from google.protobuf import message as protobuf
from tensorflow_serving.config import (
    file_system_storage_path_source_pb2,
    model_server_config_pb2,
)

from pipelines.errors import UserError, unknown
from pipelines.serving.server.batching import Batching
from pipelines.serving.server.engines import ENGINES

Policy = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A model to serve.

    Args:
        name: By which requests name it.
        base_path: The folder of its versions, which is watched.
        engine: A key of `ENGINES`; empty for the one that its files are for.
        latest: How many of the newest versions are served.
        specific: The versions that are served instead; empty for the newest.
        every: Whether all are served instead.
        labels: Names for versions.
    """

    name: str
    base_path: Path
    engine: str = ""
    latest: int = 1
    specific: frozenset[int] = frozenset()
    every: bool = False
    labels: tuple[tuple[str, int], ...] = ()

    def wanted(self, versions: Iterable[int]) -> set[int]:
        """Returns which of the versions that there are should be served."""
        if self.specific:
            return set(self.specific).intersection(versions)
        ascending = sorted(versions)
        return set(ascending if self.every else ascending[-self.latest :])


def model_configs(
    message: model_server_config_pb2.ModelServerConfig,
) -> list[ModelConfig]:
    """Returns the models in TF Serving's `ModelServerConfig`.

    Its `model_platform` may name any engine.

    Raises:
        UserError: If there is none, one has no name or path, or two have one name.

    Example:

    >>> model_configs(read_message(Path("models.config"), ModelServerConfig()))
    """
    configs = [_model_config(each) for each in message.model_config_list.config]
    if not configs:
        raise UserError("the configuration lists no model (model_config_list)")
    names = [config.name for config in configs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"the configuration lists model {name} twice")
    return configs


def _model_config(message: model_server_config_pb2.ModelConfig) -> ModelConfig:
    if not message.name or not message.base_path:
        raise UserError("each model of a configuration takes a name and a base_path")
    if message.model_platform not in ("", *ENGINES):
        raise unknown("engine", message.model_platform, ENGINES)
    policy = message.model_version_policy
    return ModelConfig(
        message.name,
        Path(message.base_path),
        message.model_platform,
        latest=policy.latest.num_versions or 1,
        specific=frozenset(policy.specific.versions),
        every=policy.HasField("all"),
        labels=tuple(sorted(message.version_labels.items())),
    )


def read_message(path: Path, message: protobuf.Message) -> protobuf.Message:
    """Fills a message from a file in the text format.

    Raises:
        UserError: If it cannot be read; says in which line.
    """
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), message)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not right ({error})") from error


def read_batching(path: Path) -> Batching:
    """Returns what a file with TF Serving's `BatchingParameters` says.

    Raises:
        UserError: If it cannot be read, or a number is none that can be.

    Example:

    >>> Path("batching.txt").write_text("max_batch_size { value: 32 }")
    >>> read_batching(Path("batching.txt")).max_batch_size
    32
    """
    message: Any = read_message(path, _batching_parameters())
    values = {
        name: getattr(message, name).value
        for name in _NUMBERS
        if message.HasField(name)
    }
    for name, value in values.items():
        least = 0 if name == "batch_timeout_micros" else 1
        if value < least:
            raise UserError(f"{path}: {name} is {value}; it must be {least} or more")
    batching = Batching(**values)
    sizes = tuple(message.allowed_batch_sizes)
    if sizes and (
        list(sizes) != sorted(set(sizes)) or sizes[-1] != batching.max_batch_size
    ):
        raise UserError(
            f"{path}: allowed_batch_sizes must ascend and end with max_batch_size, "
            f"{batching.max_batch_size}"
        )
    return dataclasses.replace(batching, allowed_batch_sizes=sizes)


_NUMBERS = (
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
)


def _batching_parameters() -> protobuf.Message:
    """Returns an empty `BatchingParameters`, which tensorflow-serving-api leaves out.

    Source: tensorflow_serving/servables/tensorflow/session_bundle_config.proto.
    """
    field = descriptor_pb2.FieldDescriptorProto
    wrapped = field(label=field.LABEL_OPTIONAL, type=field.TYPE_MESSAGE)
    number, text = ".google.protobuf.Int64Value", ".google.protobuf.StringValue"
    described = descriptor_pb2.FileDescriptorProto(
        name="batching_parameters.proto",
        package="tensorflow.serving",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
        syntax="proto3",
    )
    fields = described.message_type.add(name="BatchingParameters").field
    for index, name in enumerate((*_NUMBERS, "thread_pool_name"), 1):
        kind = number if name in _NUMBERS else text
        fields.add(name=name, number=index, type_name=kind).MergeFrom(wrapped)
    fields.add(
        name="allowed_batch_sizes",
        number=6,
        label=field.LABEL_REPEATED,
        type=field.TYPE_INT64,
    )
    fields.add(
        name="pad_variable_length_inputs",
        number=7,
        label=field.LABEL_OPTIONAL,
        type=field.TYPE_BOOL,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(described.SerializeToString())
    kind = pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters")
    return message_factory.GetMessageClass(kind)()
