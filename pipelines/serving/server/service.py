"""What both protocols share: models, limits, who may ask, and what is told of it."""

import asyncio
import contextlib
import dataclasses
import hmac
import time
import traceback
from collections.abc import AsyncIterator, Iterable

from grpc import StatusCode

from pipelines.serving.server.metrics import Metrics
from pipelines.serving.server.models import Models
from pipelines.serving.server.refusal import Refusal


@dataclasses.dataclass(frozen=True)
class Limits:
    """What requests may cost.

    Args:
        body_bytes: Of a request.
        seconds: From a request's first byte to its answer.
        requests: At the same time, of each protocol.
    """

    body_bytes: int = 32 * 2**20
    seconds: float = 30
    requests: int = 256


@dataclasses.dataclass
class Service:
    """What answers.

    Args:
        models: What is served.
        metrics: Told of each answer.
        limits: What requests may cost.
        api_key: Requests must bring it; empty for none.
        is_stopping: Whether no more requests should be sent here.
        requests: How many of REST have begun and have no answer yet.
    """

    models: Models
    metrics: Metrics
    limits: Limits = Limits()
    api_key: str = ""
    is_stopping: bool = False
    requests: int = 0

    @property
    def is_ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.models.is_ready and not self.is_stopping

    def check_key(self, headers: Iterable[tuple[str, str | bytes]]) -> None:
        """Refuses a request that does not bring the key.

        Args:
            headers: Names in small letters, and values: `x-api-key: KEY` or
                `authorization: Bearer KEY`.

        Raises:
            Refusal: If neither is there.
        """
        for name, value in headers if self.api_key else ():
            given = value if isinstance(value, bytes) else value.encode()
            if name == "authorization":
                given = given.removeprefix(b"Bearer ")
            elif name != "x-api-key":
                continue
            if hmac.compare_digest(given, self.api_key.encode()):
                return
        if self.api_key:
            raise Refusal(
                StatusCode.UNAUTHENTICATED,
                "this server wants its API key, as x-api-key or a bearer token",
            )

    @contextlib.asynccontextmanager
    async def answering(self, api: str, model: str) -> AsyncIterator[None]:
        """Turns what goes wrong in the block into refusals, and counts the answer.

        Args:
            api: `"rest"` or `"grpc"`.
            model: What the request names.

        Raises:
            Refusal: For whatever the block raises, or if it takes too long.
        """
        start, code = time.perf_counter(), StatusCode.OK
        try:
            async with asyncio.timeout(self.limits.seconds):
                yield
        except Refusal as refusal:
            code = refusal.code
            raise
        except asyncio.CancelledError:  # The client is gone.
            code = StatusCode.CANCELLED
            raise
        except TimeoutError:
            code = StatusCode.DEADLINE_EXCEEDED
            told = f"there was no answer within {self.limits.seconds:g} seconds"
            raise Refusal(code, told) from None
        except Exception as error:
            code = StatusCode.INTERNAL
            traceback.print_exception(error)
            raise Refusal(code, "the server failed; its log says how") from error
        finally:
            known = model if model in self.models else ""
            seconds = time.perf_counter() - start
            self.metrics.answered(known, api, code.name, seconds)
