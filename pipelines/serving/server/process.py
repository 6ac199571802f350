"""A process that serves until it is told to stop."""

import asyncio
import contextlib
import dataclasses
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence

from aiohttp import web

from pipelines.errors import UserError, printable
from pipelines.serving.server import rest, rpc
from pipelines.serving.server.batching import Batching
from pipelines.serving.server.configuration import ModelConfig
from pipelines.serving.server.metrics import Metrics
from pipelines.serving.server.models import Models
from pipelines.serving.server.service import Limits, Service

_GRACE_SECONDS = 30
_IDLE_SECONDS = 75
# For what is still sent after an answer that refuses it, and for the last answers.
_LINGERING_SECONDS = 2

_SILENT = logging.Logger("clients", logging.CRITICAL)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to serve.

    Args:
        configs: The models.
        host: The address to listen at; of this machine alone by default.
        rest_port: For REST; 0 for any that is free.
        grpc_port: For gRPC; 0 for any that is free.
        batching: How requests are put together.
        limits: What requests may cost.
        api_key: Requests must bring it; empty for none.
        poll_seconds: Between two looks for other versions.
    """

    configs: Sequence[ModelConfig]
    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: int = 8500
    batching: Batching = Batching(together=False)
    limits: Limits = Limits()
    api_key: str = ""
    poll_seconds: float = 1


@dataclasses.dataclass(frozen=True)
class Running:
    """A server that answers.

    Args:
        service: What answers.
        rest: The address for REST, with the scheme.
        grpc: The address for gRPC, host and port.
    """

    service: Service
    rest: str
    grpc: str


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, and says where.

    Raises:
        UserError: See `running`.

    Example:

    >>> asyncio.run(serve(Settings([ModelConfig("a", Path("serving/a"))])))
    serving a version 1: REST http://127.0.0.1:8501, gRPC 127.0.0.1:8500
    """
    gc.freeze()  # What is imported is not looked through whenever a version goes.
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(settings) as server:
        served = ", ".join(
            f"{each.model} version {each.number}"
            for each in server.service.models.served()
        )
        addresses = f"REST {server.rest}, gRPC {server.grpc}"
        print(printable(f"serving {served}: {addresses}"), flush=True)
        await stop.wait()


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Serves in the block; requests that have begun are answered at its end.

    Raises:
        UserError: If a port is taken, or a model has no version that can be loaded.

    Example:

    >>> async with running(Settings(configs, rest_port=0, grpc_port=0)) as server:
    ...     print(server.rest)
    """
    _allow_connections()
    metrics = Metrics()
    models = Models(settings.batching, metrics, _tell)
    service = Service(models, metrics, settings.limits, settings.api_key)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    rest_socket = _bind(settings.host, settings.rest_port)
    grpc_server = rpc.make_server(service)
    try:
        grpc_port = grpc_server.add_insecure_port(f"{host}:{settings.grpc_port}")
    except RuntimeError:
        rest_socket.close()
        raise _taken(settings.host, settings.grpc_port) from None
    runner = web.AppRunner(
        rest.make_app(service),
        access_log=None,
        # Of what clients do wrong; what the server does is told where it happens.
        logger=_SILENT,
        lingering_time=_LINGERING_SECONDS,
        # Who hangs up waits for nothing.
        handler_cancellation=True,
        keepalive_timeout=_IDLE_SECONDS,
        shutdown_timeout=_LINGERING_SECONDS,
    )
    await runner.setup()
    # Whoever asks whether this lives, or is ready, is answered from now on.
    site = web.SockSite(runner, rest_socket, backlog=1024)
    await site.start()
    await grpc_server.start()
    watching: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    try:
        await models.apply(settings.configs)
        watching = asyncio.ensure_future(models.watch(settings.poll_seconds))
        yield Running(
            service,
            f"http://{host}:{rest_socket.getsockname()[1]}",
            f"{host}:{grpc_port}",
        )
    finally:
        service.is_stopping = True
        watching.cancel()
        await site.stop()
        await asyncio.gather(grpc_server.stop(_GRACE_SECONDS), _answered(service))
        await runner.cleanup()
        await models.close()


async def _answered(service: Service) -> None:
    """Waits for the answers of REST: `cleanup` reads no body any more."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GRACE_SECONDS):
            while service.requests:
                await asyncio.sleep(0.01)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        if isinstance(error, socket.gaierror):
            raise UserError(f"--host={host} is no address of this machine") from error
        raise _taken(host, port) from error
    return bound


def _taken(host: str, port: int) -> UserError:
    return UserError(
        f"port {port} of {host} is taken or may not be used; give another one, or 0 "
        "for any that is free"
    )


def _allow_connections() -> None:
    """Takes as many open files as this user may have: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _tell(sentence: str) -> None:
    print(printable(sentence), file=sys.stderr, flush=True)
