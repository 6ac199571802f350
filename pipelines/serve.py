"""Serves exported models with TF Serving's REST and gRPC.

python -m pipelines.serve --model_name=resnet20 \
  --model_base_path=runs/demo/serving/resnet20
"""

import os
from pathlib import Path

from absl import flags

from pipelines.command import cli
from pipelines.errors import UserError

_MODEL_NAME = flags.DEFINE_string(
    "model_name", "", "By which requests name the model; the folder's by default."
)
_MODEL_BASE_PATH = flags.DEFINE(
    cli.Path(), "model_base_path", None, "The folder of a model's numbered versions."
)
_MODEL_CONFIG_FILE = flags.DEFINE(
    cli.Path(), "model_config_file", None, "TF Serving's ModelServerConfig, as text."
)
_REST_API_PORT = flags.DEFINE_integer(
    "rest_api_port", 8501, "For REST; 0 for any that is free.", 0, 65535
)
_PORT = flags.DEFINE_integer(
    "port", 8500, "For gRPC; 0 for any that is free.", 0, 65535
)
_HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "The address to listen at: 0.0.0.0 for other machines, too."
)
_ENGINE = flags.DEFINE_enum(
    "engine",
    "",
    ["", "tensorflow", "openvino", "onnxruntime"],
    "What computes; by default what the files are for.",
)
_ENABLE_BATCHING = flags.DEFINE_bool(
    "enable_batching", False, "Compute requests together that come together."
)
_BATCHING_PARAMETERS_FILE = flags.DEFINE(
    cli.Path(),
    "batching_parameters_file",
    None,
    "TF Serving's BatchingParameters, as text; takes --enable_batching.",
)
_API_KEY = flags.DEFINE_string(
    "api_key",
    "",
    "Requests must bring it; by default what the variable SERVE_API_KEY says.",
)
_REST_API_TIMEOUT = flags.DEFINE_integer(
    "rest_api_timeout_in_ms", 30_000, "For a request, of gRPC too.", 1
)
_MAX_BODY_MIB = flags.DEFINE_integer("max_body_mib", 32, "Of a request.", 1)
_MAX_REQUESTS = flags.DEFINE_integer(
    "max_requests", 256, "At the same time, of each protocol.", 1
)
_POLL_SECONDS = flags.DEFINE_float(
    "file_system_poll_wait_seconds", 1, "Between two looks for other versions.", 0.01
)


def main(arguments: list[str]) -> None:
    """Serves until SIGTERM or Ctrl-C."""
    cli.refuse(arguments, "model_base_path")
    if bool(_MODEL_BASE_PATH.value) == bool(_MODEL_CONFIG_FILE.value):
        raise UserError("give either --model_base_path or --model_config_file")
    if _BATCHING_PARAMETERS_FILE.value and not _ENABLE_BATCHING.value:
        raise UserError("--batching_parameters_file takes --enable_batching")
    import asyncio
    import dataclasses

    import tensorflow as tf
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

    from pipelines.serving.server import configuration
    from pipelines.serving.server.batching import Batching
    from pipelines.serving.server.process import Settings, serve
    from pipelines.serving.server.service import Limits

    tf.get_logger().setLevel("ERROR")
    if _MODEL_CONFIG_FILE.value:
        path = Path(_MODEL_CONFIG_FILE.value)
        message = configuration.read_message(path, ModelServerConfig())
        configs = configuration.model_configs(message)
    else:
        base_path = Path(_MODEL_BASE_PATH.value or "")
        name = _MODEL_NAME.value or base_path.resolve().name
        configs = [configuration.ModelConfig(name, base_path)]
    if _ENGINE.value:
        configs = [dataclasses.replace(each, engine=_ENGINE.value) for each in configs]
    batching = Batching(together=_ENABLE_BATCHING.value)
    if _BATCHING_PARAMETERS_FILE.value:
        batching = configuration.read_batching(Path(_BATCHING_PARAMETERS_FILE.value))
    settings = Settings(
        configs,
        host=_HOST.value,
        rest_port=_REST_API_PORT.value,
        grpc_port=_PORT.value,
        batching=batching,
        limits=Limits(
            body_bytes=_MAX_BODY_MIB.value * 2**20,
            seconds=_REST_API_TIMEOUT.value / 1000,
            requests=_MAX_REQUESTS.value,
        ),
        api_key=_API_KEY.value or os.environ.get("SERVE_API_KEY", ""),
        poll_seconds=_POLL_SECONDS.value,
    )
    asyncio.run(serve(settings))


if __name__ == "__main__":
    cli.run(main)
