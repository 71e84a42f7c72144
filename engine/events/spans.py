"""Open spans of runs, tasks and what happens inside them, with ids that depend on nothing but the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from engine.events.task_rows import storable

Attributes = dict[str, Any]
Place = tuple[str, ...]
"""Where a span belongs: the run, the task, and what happens inside it; each place is below its beginning."""
_MS = 1_000_000  # nanoseconds


class Ids(IdGenerator):
    """Ids made of names: a run that is exported twice, or later from its log, is the same trace."""

    def __init__(self) -> None:
        self._place: Place = ("",)
        self._start = 0

    def name(self, place: Place, start: int) -> None:
        """Say whose ids are asked for next."""
        self._place, self._start = place, start

    def generate_trace_id(self) -> int:
        """Return the 128 bits of the run."""
        return _digest(16, self._place[0])

    def generate_span_id(self) -> int:
        """Return the 64 bits of the place in the run, at its time."""
        return _digest(8, *self._place, str(self._start))


@dataclass(slots=True)
class OpenSpan:
    """A span that has begun.

    Attributes:
        span: The span.
        start: When, in nanoseconds since 1970.
        keep: What later spans and metrics need of its attributes.
        last: When the last span below it ended.
        below: What is open below it, inside a task.
    """

    span: Span
    start: int
    keep: Attributes
    last: int = 0
    below: dict[str, OpenSpan] = field(default_factory=dict)


class SpanTree:
    """Begins and ends spans.

    Args:
        tracer: Starts them.
        ids: The ids of the tracer's provider.

    Attributes:
        ended: How many spans were ended that are to be sent.
    """

    def __init__(self, tracer: Tracer, ids: Ids) -> None:
        self._tracer, self._ids = tracer, ids
        self.ended = 0

    def begin(
        self,
        place: Place,
        title: str,
        attributes: Attributes,
        now: int,
        above: OpenSpan | None,
        *,
        client: bool = False,
    ) -> OpenSpan:
        """Begin a span.

        Args:
            place: Where it belongs.
            title: Its name.
            attributes: Its attributes; those that are None are left out.
            now: Nanoseconds since 1970.
            above: Its parent.
            client: It is a call to another process.
        """
        self._ids.name(place, now)
        span = self._tracer.start_span(
            storable(title),
            context=set_span_in_context(above.span) if above else None,
            kind=SpanKind.CLIENT if client else SpanKind.INTERNAL,
            attributes=clean(attributes),
            start_time=now,
        )
        return OpenSpan(span, now, attributes)

    def end(
        self, opened: OpenSpan, end: int, *, above: OpenSpan | None, error: str | None = None, words: str = ""
    ) -> None:
        """End a span, not before those below it.

        Args:
            opened: The span.
            end: Nanoseconds since 1970.
            above: Its parent.
            error: The kind of its failure; None for none.
            words: What went wrong.
        """
        end = max(end, opened.start, opened.last)
        if above is not None:
            above.last = max(above.last, end)
        if error is not None:
            opened.span.set_attribute("error.type", storable(error))
            opened.span.set_status(Status(StatusCode.ERROR, storable(words or error)))
        opened.span.end(end)
        self.ended += opened.span.get_span_context().trace_flags.sampled


def after(opened: OpenSpan, milliseconds: float) -> int:
    """Return when a span ended that took so long by a clock that is never set."""
    return opened.start + int(max(0.0, milliseconds) * _MS)


def clean(attributes: Mapping[str, Any]) -> Attributes:
    """Return attributes that can be sent: without those that are None, and with texts that are valid Unicode."""
    return {name: _value(value) for name, value in attributes.items() if value is not None}


def _value(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    if isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return min(value, 2**63 - 1)
    return storable(str(value))


def _digest(size: int, *names: str) -> int:
    digest = blake2b("\0".join(names).encode("utf-8", "backslashreplace"), digest_size=size)
    return int.from_bytes(digest.digest()) or 1  # 0 means none
