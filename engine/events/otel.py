"""Sends runs to an OpenTelemetry collector over HTTP, as they happen or later from the log."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from engine.errors import ConfigError
from engine.events.span_events import Data, SpanMaker
from engine.events.spans import Attributes, Ids, SpanTree
from engine.events.telemetry import OtlpTarget
from engine.events.types import Event

_SCOPE = "bundle-engine"
_QUEUE = 2**15  # spans that wait for the collector; what comes beyond is dropped
_BATCH = 512
_PATIENCE = 5  # seconds that the end of a run waits for a collector
# As the conventions want them.
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4**power for power in range(14))

# What the SDK has to say is told once, at the end; without a handler it would come out among the user's lines.
logging.getLogger("opentelemetry").addHandler(logging.NullHandler())


class Tracing:
    """An observer that sends runs to a collector, from threads of its own; a dead one neither slows nor stops them.

    Args:
        target: The collector.

    Attributes:
        problem: What was not received, after `close`; None when all was.
    """

    def __init__(self, target: OtlpTarget) -> None:
        self._target = target
        self.problem: str | None = None
        self._exporter = _Counting(OTLPSpanExporter(endpoint=target.signal("traces")))
        queue = int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE", _QUEUE))
        self._provider = _provider(ids := Ids())
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter, max_queue_size=queue))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=target.signal("metrics")))
        self._meters = MeterProvider([reader], resource=_resource(), shutdown_on_exit=False)
        self._tree = SpanTree(self._provider.get_tracer(_SCOPE), ids)
        self._maker = SpanMaker(self._tree, content=target.content, measure=_Metrics(self._meters))
        # Spans get their times from a clock that is never set.
        self._began = time.time_ns() - time.perf_counter_ns()

    async def on_event(self, event: Event) -> None:
        """Hear of an event."""
        self._maker.feed(event.type, (event.run_id, event.task_id), event.payload(), self._now())

    def close(self) -> None:
        """Send the rest, for some seconds at most."""
        self._maker.close(self._now())
        threads = [threading.Thread(target=each.shutdown, daemon=True) for each in (self._provider, self._meters)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + _PATIENCE
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        lost = self._tree.ended - self._exporter.sent
        if lost > 0:
            self.problem = f"{lost} of {self._tree.ended} spans were not received by {self._target.name}"

    def _now(self) -> int:
        return self._began + time.perf_counter_ns()


def export_run(events: Iterable[Mapping[str, Any]], target: OtlpTarget) -> int:
    """Send a run of the log with its original times; blocks. Metrics are not sent: they have no times of their own.

    Args:
        events: Its events, as `event_to_json` writes them, in order.
        target: The collector.

    Returns:
        How many spans were sent.

    Raises:
        ConfigError: The collector did not take them.
    """
    exporter = _Counting(OTLPSpanExporter(endpoint=target.signal("traces")))
    provider = _provider(ids := Ids())
    sender = _Sender(exporter, target)
    provider.add_span_processor(sender)
    maker = SpanMaker(SpanTree(provider.get_tracer(_SCOPE), ids), content=target.content)
    now = 0
    for event in events:
        now = max(now, int(event["time"] * 1e9))  # a clock that was set back does not turn a span around
        maker.feed(event["type"], (event["run_id"], event["task_id"]), event, now)
    maker.close(now)
    sender.flush()
    provider.shutdown()
    return exporter.sent


class _Counting(SpanExporter):
    """Counts what was received."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.sent = 0
        self.shutdown = exporter.shutdown  # type: ignore[method-assign]  # stops what waits for a next try

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.sent += len(spans)
        return result


class _Sender(SpanProcessor):
    """Sends spans in batches and waits for each, so that none is dropped."""

    def __init__(self, exporter: SpanExporter, target: OtlpTarget) -> None:
        self._exporter, self._target = exporter, target
        self._waiting: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span that has ended."""
        if span.context is not None and span.context.trace_flags.sampled:
            self._waiting.append(span)
        if len(self._waiting) == _BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        batch, self._waiting = self._waiting, []
        if batch and self._exporter.export(batch) is not SpanExportResult.SUCCESS:
            raise ConfigError(
                f"{self._target.name} did not take the spans: is it there, and does it speak OTLP over HTTP?"
            )

    def shutdown(self) -> None:
        """End the connection."""
        self._exporter.shutdown()


class _Metrics:
    """The two metrics of model calls."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter(_SCOPE)
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )

    def __call__(self, attributes: Attributes, seconds: float, usage: Data | None) -> None:
        """Record a call."""
        self._duration.record(seconds, attributes)
        if usage is not None:
            self._tokens.record(usage["prompt_tokens"], attributes | {"gen_ai.token.type": "input"})
            self._tokens.record(usage["completion_tokens"], attributes | {"gen_ai.token.type": "output"})


def _provider(ids: Ids) -> TracerProvider:
    return TracerProvider(resource=_resource(), id_generator=ids, shutdown_on_exit=False)


def _resource() -> Resource:
    """Say who sends; the environment's own names come first."""
    own = {"service.name": "engine", "service.version": version("bundle-engine")}
    named = "service.name" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "") or "OTEL_SERVICE_NAME" in os.environ
    return Resource.create({} if named else own)
