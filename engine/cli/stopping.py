"""Running until the end, or until a signal says to stop; and what is said then."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cli.console import note, printable

if TYPE_CHECKING:
    from engine.cli.progress import PlainView
    from engine.run import RunResult

INTERRUPTED = (
    "interrupted; the project's files are as they were, and what finished tasks offered waits: engine diff. "
    "engine resume goes on with the run"
)


def run_to_end(work: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine; SIGTERM and a closed terminal stop it as cleanly as Ctrl-C.

    Raises:
        KeyboardInterrupt: It was stopped.
    """
    return asyncio.run(_stoppable(work))


async def _stoppable(work: Coroutine[Any, Any, int]) -> int:
    with _ended_by(signal.SIGTERM, signal.SIGHUP) as ended:
        try:
            return await work
        except asyncio.CancelledError:
            if ended:
                raise KeyboardInterrupt from None
            raise


@contextlib.contextmanager
def _ended_by(*signals: signal.Signals) -> Iterator[list[signal.Signals]]:
    """Cancel the current task at the first of these signals; one that is ignored (nohup) stays so."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    came: list[signal.Signals] = []

    def end(which: signal.Signals) -> None:
        if not came and task is not None:
            task.cancel()
        came.append(which)

    heeded = [each for each in signals if signal.getsignal(each) is not signal.SIG_IGN]
    for each in heeded:
        loop.add_signal_handler(each, end, each)
    try:
        yield came
    finally:
        for each in heeded:
            loop.remove_signal_handler(each)


def report_result(view: PlainView, result: RunResult, root: Path) -> int:
    """Say what came of a run and what to do next; return the exit code."""
    view.print_summary(result, root)
    if result.status == "stopped":
        why = f": {result.problem}" if result.problem else ""
        note(printable(f"stopped{why}; engine resume {result.run_id} goes on"))
    refused = any(decision.state != "accepted" for decision in result.decisions)
    return 0 if result.status == "finished" and not refused else 1
