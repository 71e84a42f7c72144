"""`--otel`: runs that are traced."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import click

from engine.app import App
from engine.cli.console import note, printable
from engine.events.telemetry import Traced

otel_option = click.option(
    "--otel", metavar="URL", help="Send a trace to an OpenTelemetry collector, such as http://localhost:4318."
)


@contextlib.asynccontextmanager
async def traced(app: App, url: str | None) -> AsyncIterator[Traced | None]:
    """Trace what runs in the body, where the command line, engine.yaml or the environment says so; tell of losses.

    Yields:
        The observer for it, or None.
    """
    observer = None
    try:
        async with app.tracing(url) as observer:
            yield observer
    finally:
        if observer is not None and observer.problem is not None:
            note(printable(f"warning: {observer.problem}"))
