"""Ends a view in good order when the process is told to end: the terminal is restored, no process is left."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

ENDING = ("SIGTERM", "SIGHUP")


@contextlib.contextmanager
def ending(call: Callable[[], object], *more: str) -> Iterator[None]:
    """Call something when the process is told to end; a signal that it was started to ignore stays ignored.

    Args:
        call: Called in the running event loop.
        more: Names of further signals that say so.
    """
    loop = asyncio.get_running_loop()
    numbers = [getattr(signal, name) for name in (*ENDING, *more) if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    installed = []
    for number in numbers:
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, call)
            installed.append(number)
    try:
        yield
    finally:
        for number in installed:
            loop.remove_signal_handler(number)
