"""TF Serving's REST API, health and metrics."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from google.protobuf import json_format
from grpc import StatusCode
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from pipelines.serving.server import rpc, tensors
from pipelines.serving.server.page import page_of
from pipelines.serving.server.refusal import Refusal, invalid
from pipelines.serving.server.service import Service

_MODEL = r"(?i:/v1/models/)([^/:]+)(?:(?i:/versions/)(\d+)|(?i:/labels/)([^/:]+))?"
_POST = re.compile(_MODEL + "(?i:(:predict|:classify|:regress))")
_GET = re.compile(_MODEL + "(?i:(/metadata))?")

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(service: Service) -> web.Application:
    """Returns the application that answers requests of HTTP.

    Example:

    >>> web.run_app(make_app(service), host="127.0.0.1", port=8501)
    """
    rest = _Rest(service)
    app = web.Application(
        middlewares=[rest.answered], client_max_size=service.limits.body_bytes
    )
    app.router.add_get("/", rest.page)
    app.router.add_get("/healthz", rest.alive)
    app.router.add_get("/readyz", rest.ready)
    app.router.add_get("/monitoring/prometheus/metrics", rest.metrics)
    app.router.add_route("*", "/v1/{rest:.*}", rest.models)
    return app


class _Rest:
    def __init__(self, service: Service) -> None:
        self._service = service

    @web.middleware
    async def answered(
        self, request: web.Request, handler: _Handler
    ) -> web.StreamResponse:
        """Counts requests until they have their answers."""
        self._service.requests += 1
        try:
            response = await self._answer(request, handler)
        finally:
            self._service.requests -= 1
        if self._service.is_stopping:
            response.force_close()  # The next one is for another server.
        return response

    async def _answer(
        self, request: web.Request, handler: _Handler
    ) -> web.StreamResponse:
        """Makes each refusal an answer of JSON."""
        limits = self._service.limits
        try:
            if request.path not in ("/", "/healthz", "/readyz"):
                self._service.check_key(
                    (name.lower(), value) for name, value in request.headers.items()
                )
                if self._service.requests > limits.requests:
                    raise Refusal(
                        StatusCode.RESOURCE_EXHAUSTED,
                        f"{limits.requests} requests are being answered already",
                    )
            return await handler(request)
        except Refusal as refusal:
            headers = {"Retry-After": "1"} if refusal.is_for_now else {}
            return _json({"error": str(refusal)}, refusal.http, headers)
        except web.HTTPRequestEntityTooLarge:
            told = f"the request has more than {limits.body_bytes} bytes"
            return _json({"error": told}, 413)
        except web.HTTPException as error:
            told = f"{error.reason}: {request.method} {request.path}"
            response = _json({"error": told}, error.status)
            response.force_close()  # What may still come of the request is not read.
            return response

    async def page(self, request: web.Request) -> web.Response:
        """Answers who has no key yet, too; the names of models take it."""
        served = [] if self._service.api_key else self._service.models.served()
        text, headers = page_of(list(dict.fromkeys(each.model for each in served)))
        return web.Response(body=text, headers=headers)

    async def alive(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(self, request: web.Request) -> web.Response:
        if not self._service.is_ready:
            raise Refusal(StatusCode.UNAVAILABLE, "not ready")
        return web.Response(text="ok\n")

    async def metrics(self, request: web.Request) -> web.Response:
        page = self._service.metrics.page()
        return web.Response(body=page, headers={"Content-Type": "text/plain"})

    async def models(self, request: web.Request) -> web.Response:
        patterns = {"POST": _POST, "GET": _GET}
        pattern = patterns.get(request.method)
        match = pattern and pattern.fullmatch(request.rel_url.raw_path)
        if not match:
            raise invalid(f"Malformed request: {request.method} {request.path}")
        name, number, label, what = match.groups(default="")
        which = (
            unquote(name),
            int(number) if number else None,
            unquote(label) if label else None,
        )
        try:
            async with asyncio.timeout(self._service.limits.seconds):
                body = await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        except web.RequestPayloadError:
            raise web.HTTPBadRequest from None
        async with self._service.answering("rest", which[0]):
            if request.method == "GET":
                told = self._metadata if what else self._status
                return told(*which)
            return await self._post(body, which, what.lower())

    async def _post(
        self, body: bytes, which: tuple[str, int | None, str | None], what: str
    ) -> web.Response:
        version = self._service.models.find(*which)
        with version.used():
            values = _parse(body)
            name, signature = version.signature(values.get("signature_name", ""))
            if what != ":predict":
                method = f"tensorflow/serving/{what[1:]}"
                raise invalid(
                    f"Expected {_KINDS[what]} signature method_name to be {method}. "
                    f"Was: {signature.method_name}"
                )
            inputs, is_rows = tensors.from_json(values, signature)
            outputs = await version.predict(name, inputs)
            return _json(tensors.to_json(outputs, is_rows))

    def _status(self, *which: Any) -> web.Response:
        statuses = self._service.models.statuses(*which)
        response = get_model_status_pb2.GetModelStatusResponse(
            model_version_status=statuses
        )
        return _json(_plain(response))

    def _metadata(self, *which: Any) -> web.Response:
        response = rpc.metadata(self._service.models.find(*which))
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return _json(
            {
                "model_spec": _plain(response.model_spec),
                "metadata": {"signature_def": _plain(signatures)},
            }
        )


_KINDS = {":classify": "classification", ":regress": "regression"}


def _parse(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        told = str(error) if body else "The document is empty"
        raise invalid(f"JSON Parse error: {told}") from None
    if not isinstance(values, dict):
        raise invalid("JSON Value: Is not object")
    if not isinstance(values.get("signature_name", ""), str):
        raise invalid("'signature_name' key must be a string value.")
    return values


def _plain(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


def _json(
    values: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.json_response(values, status=status, headers=headers)
