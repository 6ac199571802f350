"""TF Serving's gRPC services."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import StatusCode
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from pipelines.errors import UserError
from pipelines.serving.server import tensors
from pipelines.serving.server.configuration import model_configs
from pipelines.serving.server.models import Version
from pipelines.serving.server.refusal import Refusal, invalid
from pipelines.serving.server.service import Service

_Method = Callable[[Any, Any, Any], Awaitable[Any]]


def make_server(service: Service) -> grpc.aio.Server:
    """Returns a server that is not yet bound to a port.

    Example:

    >>> server = make_server(service)
    >>> server.add_insecure_port("127.0.0.1:8500")
    >>> await server.start()
    """
    server = grpc.aio.server(
        interceptors=[_Door(service)],
        maximum_concurrent_rpcs=service.limits.requests,
        options=[
            ("grpc.max_receive_message_length", service.limits.body_bytes),
            ("grpc.max_send_message_length", -1),
            # Or a second server would take a share of the first one's requests.
            ("grpc.so_reuseport", 0),
        ],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _PredictionService(service), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        _ModelService(service), server
    )
    return server


def metadata(version: Version) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Returns what a version says of its signatures."""
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = version.model
    response.model_spec.version.value = version.number
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in version.signatures.items():
        signatures.signature_def[name].CopyFrom(signature)
    response.metadata["signature_def"].Pack(signatures)
    return response


def _answered(method: _Method) -> _Method:
    """Makes a refusal the status of a call."""

    @functools.wraps(method)
    async def answer(self: Any, request: Any, context: Any) -> Any:
        name = request.model_spec.name if hasattr(request, "model_spec") else ""
        try:
            async with self.service.answering("grpc", name):
                return await method(self, request, context)
        except Refusal as refusal:
            await context.abort(refusal.code, str(refusal))

    return answer


def _which(spec: model_pb2.ModelSpec) -> tuple[str, int | None, str | None]:
    choice = spec.WhichOneof("version_choice")
    return (
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _spec(request: Any) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return request.model_spec


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, service: Service) -> None:
        self.service = service

    @_answered
    async def Predict(  # noqa: N802
        self, request: predict_pb2.PredictRequest, context: Any
    ) -> predict_pb2.PredictResponse:
        spec = _spec(request)
        version = self.service.models.find(*_which(spec))
        with version.used():
            name, signature = version.signature(spec.signature_name)
            for wanted in request.output_filter:
                if wanted not in signature.outputs:
                    raise invalid(
                        f"output tensor alias not found in signature: {wanted} Outputs "
                        "expected to be in the set {"
                        f"{','.join(sorted(signature.outputs))}}}."
                    )
            inputs = tensors.from_message(
                request.inputs, signature, max_bytes=self.service.limits.body_bytes
            )
            outputs = await version.predict(name, inputs)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = version.model
        response.model_spec.version.value = version.number
        response.model_spec.signature_name = name
        for output in request.output_filter or outputs:
            response.outputs[output].CopyFrom(tensors.to_message(outputs[output]))
        return response

    @_answered
    async def GetModelMetadata(  # noqa: N802
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: Any
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        spec = _spec(request)
        if not request.metadata_field:
            raise invalid(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        return metadata(self.service.models.find(*_which(spec)))

    @_answered
    async def Classify(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise _UNIMPLEMENTED

    @_answered
    async def Regress(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise _UNIMPLEMENTED

    @_answered
    async def MultiInference(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise _UNIMPLEMENTED


_UNIMPLEMENTED = Refusal(
    StatusCode.UNIMPLEMENTED, "no model here classifies or regresses; ask to Predict"
)


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, service: Service) -> None:
        self.service = service

    @_answered
    async def GetModelStatus(  # noqa: N802
        self, request: get_model_status_pb2.GetModelStatusRequest, context: Any
    ) -> get_model_status_pb2.GetModelStatusResponse:
        statuses = self.service.models.statuses(*_which(_spec(request)))
        return get_model_status_pb2.GetModelStatusResponse(
            model_version_status=statuses
        )

    @_answered
    async def HandleReloadConfigRequest(  # noqa: N802
        self, request: model_management_pb2.ReloadConfigRequest, context: Any
    ) -> model_management_pb2.ReloadConfigResponse:
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        try:
            await self.service.models.apply(model_configs(request.config))
        except UserError as error:
            raise invalid(str(error)) from error
        return model_management_pb2.ReloadConfigResponse()


class _Door(grpc.aio.ServerInterceptor):
    """Refuses calls that do not bring the key, or no message."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:  # There is no such method.
            return None

        def parse(data: bytes) -> Any:
            try:
                return handler.request_deserializer(data)
            except DecodeError:
                return None

        async def answer(request: Any, context: Any) -> Any:
            try:
                self._service.check_key(handler_call_details.invocation_metadata)
                if request is None:
                    raise invalid("the request is no message of the kind it should be")
            except Refusal as refusal:
                await context.abort(refusal.code, str(refusal))
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer, parse, handler.response_serializer
        )
