"""What the server says when it does not answer, in the codes of both protocols."""

from grpc import StatusCode

HTTP_STATUS = {
    StatusCode.CANCELLED: 499,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.ABORTED: 409,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
}
"""TF Serving's; what is not here is 500."""

_MOST = 1000


class Refusal(Exception):
    """A request that is not answered.

    Args:
        code: Why, as gRPC has it.
        told: The sentence for the client, cut after 1,000 characters.

    Example:

    >>> Refusal(StatusCode.NOT_FOUND, "Could not find any versions of model a").http
    404
    """

    def __init__(self, code: StatusCode, told: str) -> None:
        super().__init__(told if len(told) <= _MOST else told[:_MOST] + "...")
        self.code = code

    @property
    def http(self) -> int:
        """The HTTP status."""
        return HTTP_STATUS.get(self.code, 500)

    @property
    def is_for_now(self) -> bool:
        """Whether the same request may be answered in a moment."""
        return self.code in (StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNAVAILABLE)


def invalid(told: str) -> Refusal:
    """Returns the refusal of a request that is wrong in itself."""
    return Refusal(StatusCode.INVALID_ARGUMENT, told)
