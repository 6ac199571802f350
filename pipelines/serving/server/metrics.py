"""What Prometheus is told."""

from collections.abc import Sequence

import prometheus_client as prometheus

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The server's numbers, each with the model that it is of.

    Example:

    >>> metrics = Metrics()
    >>> metrics.answered("resnet20", "rest", "OK", 0.012)
    >>> metrics.page().decode()
    """

    def __init__(self) -> None:
        self._registry = registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)
        self._requests = prometheus.Counter(
            "serving_requests",
            "Requests by model, protocol and code of the answer.",
            ("model", "api", "code"),
            registry=registry,
        )
        self._seconds = prometheus.Histogram(
            "serving_request_seconds",
            "From a request's last byte to its answer.",
            ("model", "api"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._waited = prometheus.Histogram(
            "serving_queue_seconds",
            "What requests waited for a batch to begin.",
            ("model",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._computed = prometheus.Histogram(
            "serving_batch_seconds",
            "What batches took to decode and compute.",
            ("model",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._rows = prometheus.Histogram(
            "serving_batch_rows",
            "Images in a batch.",
            ("model",),
            buckets=[2**power for power in range(11)],
            registry=registry,
        )
        self._versions = prometheus.Gauge(
            "serving_version_available",
            "1 for each version that is served.",
            ("model", "version"),
            registry=registry,
        )

    def answered(self, model: str, api: str, code: str, seconds: float) -> None:
        """Counts an answer.

        Args:
            model: Its name; empty if it was for none that there is.
            api: `"rest"` or `"grpc"`.
            code: As gRPC has it.
            seconds: What it took.
        """
        self._requests.labels(model, api, code).inc()
        self._seconds.labels(model, api).observe(seconds)

    def computed(
        self, model: str, rows: int, waited: Sequence[float], seconds: float
    ) -> None:
        """Counts a batch: its rows, what each request waited, and what it took."""
        self._rows.labels(model).observe(rows)
        self._computed.labels(model).observe(seconds)
        for each in waited:
            self._waited.labels(model).observe(each)

    def version(self, model: str, version: int, *, is_served: bool) -> None:
        """Notes that a version is served, or no longer."""
        if is_served:
            self._versions.labels(model, version).set(1)
        else:
            self._versions.remove(model, version)

    def page(self) -> bytes:
        """Returns all of it, in Prometheus' text format."""
        return prometheus.generate_latest(self._registry)
