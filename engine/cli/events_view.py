"""The lines of `engine events`."""

from __future__ import annotations

import json
import select
import sys
from collections.abc import Iterator
from typing import Any

import click

from engine.app import App
from engine.cli.console import count
from engine.errors import ConfigError, MissingExtraError
from engine.events import EventFilter, Follower

_LOOK = 0.2  # seconds between two looks at whether anybody reads the lines


def print_events(follower: Follower, wanted: EventFilter, *, follow: bool) -> None:
    """Print the wanted events as JSON lines.

    Args:
        follower: The run's events.
        wanted: Says which to print.
        follow: Wait for what is still to come; else end with what is stored.
    """
    for batch in _batches(follower, follow=follow):
        sys.stdout.write("".join(_line(event) for event in batch if wanted(event)))
        sys.stdout.flush()


def send_events(app: App, run: str | None, url: str) -> int:
    """Send a run of the log to an OpenTelemetry collector, and say how much of it there was.

    Raises:
        MissingExtraError: The extra `otel` is not installed.
        ConfigError: There is no such run, or the collector does not take it.
    """
    target = app.collector(url)
    if target is None:
        raise ConfigError("OTEL_SDK_DISABLED is set: no trace is sent")
    try:
        from engine.events.otel import export_run
    except ImportError as error:
        raise MissingExtraError("sending traces", "otel") from error
    with app.reader() as log:
        run_id = log.resolve(run)
        sent = export_run((event for batch in _batches(log.follow(run_id), follow=False) for event in batch), target)
    click.echo(f"{count(sent, 'span')} of run {run_id} sent to {target.name}")
    return 0


def _batches(follower: Follower, *, follow: bool) -> Iterator[list[dict[str, Any]]]:
    while True:
        batch = follower.wait(_LOOK) if follow else follower.poll()
        yield batch
        if not batch and (not follow or follower.ended or _nobody_reads()):
            return


def _line(event: dict[str, Any]) -> str:
    text = json.dumps(event, ensure_ascii=False) + "\n"
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:  # half a surrogate pair of a model, or a terminal of another encoding
        return json.dumps(event) + "\n"
    return text


def _nobody_reads() -> bool:
    """Whether the reader of our output went away, which a write would only tell with the next event."""
    if not hasattr(select, "poll"):
        return False
    try:
        poller = select.poll()
        poller.register(sys.stdout.fileno(), 0)  # 0: only an error or a hang-up counts
        return any(state & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, state in poller.poll(0))
    except (OSError, ValueError):  # no descriptor, as in a test
        return False
