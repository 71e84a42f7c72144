"""A collector of OpenTelemetry's own protocol over HTTP, for tests: keeps what it receives, decoded."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


@dataclass
class Collector:
    """What came in.

    Attributes:
        url: Its URL.
        status: What it answers with.
        hang: Until this is set it answers nothing; None for at once.
        traces: The requests with spans.
        metrics: The requests with metrics.
    """

    url: str = ""
    status: int = 200
    hang: threading.Event | None = None
    traces: list[ExportTraceServiceRequest] = field(default_factory=list)
    metrics: list[ExportMetricsServiceRequest] = field(default_factory=list)

    @property
    def spans(self) -> list[Any]:
        """All spans, in the order of their start."""
        found = [
            span
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return sorted(found, key=lambda span: span.start_time_unix_nano)

    def named(self, begin: str) -> list[Any]:
        """Return the spans whose name begins so."""
        return [span for span in self.spans if span.name.startswith(begin)]

    def points(self, name: str) -> list[Any]:
        """Return the data points of a histogram."""
        return [
            point
            for request in self.metrics
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.histogram.data_points
        ]


def attributes(thing: Any) -> dict[str, Any]:
    """Return the attributes of a span, a point or a resource."""
    return {each.key: _value(each.value) for each in thing.attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind)


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """Start a collector."""
    state = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if state.hang is not None:
                state.hang.wait(60)
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if state.status == 200:
                kinds = {"/v1/traces": (ExportTraceServiceRequest, state.traces)}
                kinds["/v1/metrics"] = (ExportMetricsServiceRequest, state.metrics)
                kind, kept = kinds[self.path]
                kept.append(kind.FromString(body))
            with contextlib.suppress(OSError):
                self.send_response(state.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield state
        finally:
            if state.hang is not None:
                state.hang.set()
            server.shutdown()
            thread.join()
