"""Whether runs are traced, and where the traces go; OpenTelemetry is imported only when they are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from engine.errors import ConfigError, MissingExtraError

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@dataclass(frozen=True, slots=True)
class OtlpTarget:
    """A collector that speaks OTLP over HTTP.

    Attributes:
        url: Its URL, without the path of a signal; None for what OpenTelemetry's own variables say.
        content: Send prompts, replies, arguments and results of tools, too. They are the user's code.
    """

    url: str | None = None
    content: bool = False

    @property
    def name(self) -> str:
        """What to call it."""
        return self.url or f"the collector of {_ENDPOINTS[0]}"

    def signal(self, name: str) -> str | None:
        """Return the URL for traces or metrics."""
        return None if self.url is None else f"{self.url.rstrip('/')}/v1/{name}"


class Traced(Protocol):
    """An observer that sends what it hears to a collector; `problem` says what was not received, else it is None."""

    problem: str | None

    async def on_event(self, event: Any, /) -> None:
        """Hear of an event."""


class _Untraced:
    """Stands in where a variable of the environment asks for traces and the extra is not there."""

    def __init__(self, problem: str) -> None:
        self.problem: str | None = problem

    async def on_event(self, event: Any, /) -> None:
        """Do nothing."""


def choose_target(
    said: str | None, configured: str | None, environ: Mapping[str, str], *, content: bool = False
) -> OtlpTarget | None:
    """Return where traces go; None for nowhere.

    Args:
        said: A URL of the command line.
        configured: That of engine.yaml.
        environ: The variables of the environment; OTEL_EXPORTER_OTLP_ENDPOINT switches traces on, too, and
            OTEL_SDK_DISABLED off.
        content: Whether engine.yaml asks for prompts and replies, as
            OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT may do.

    Raises:
        ConfigError: The URL is none.
    """
    url = said or configured
    if url is not None and not url.startswith(("http://", "https://")):
        raise ConfigError(f"'{url}' is no URL of a collector: write one such as http://localhost:4318")
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    content = content or environ.get(_CONTENT, "").strip().lower() in {"true", "1", "span_only", "span_and_event"}
    if url is None and not any(environ.get(name, "").strip() for name in _ENDPOINTS):
        return None
    return OtlpTarget(url, content)


@contextlib.asynccontextmanager
async def tracing(target: OtlpTarget | None) -> AsyncIterator[Traced | None]:
    """Send what an observer hears to a collector; a dead one neither slows nor stops anything.

    Yields:
        The observer, or None without a target.

    Raises:
        MissingExtraError: The extra `otel` is not installed, and the target was named to the engine itself.
    """
    if target is None:
        yield None
        return
    try:
        from engine.events.otel import Tracing
    except ImportError as error:
        missing = MissingExtraError("sending traces", "otel")
        if target.url is not None:
            raise missing from error
        yield _Untraced(f"{_ENDPOINTS[0]} is set, but {missing}")
        return
    traced = await asyncio.to_thread(Tracing, target)
    try:
        yield traced
    finally:
        await asyncio.to_thread(traced.close)
