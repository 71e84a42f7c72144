"""Ends a view in good order when the process is told to end or its terminal is gone: no process is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import threading
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


@contextlib.contextmanager
def hung_up(terminal: int, call: Callable[[], object]) -> Iterator[None]:
    """Call something when a terminal is gone: a program that was started to ignore SIGHUP would read its end for ever.

    Args:
        terminal: Its file descriptor.
        call: Called in the running event loop.
    """
    if not hasattr(select, "poll"):  # Windows
        yield
        return
    loop = asyncio.get_running_loop()
    woken, wake = os.pipe()

    def wait() -> None:
        poll = select.poll()
        poll.register(terminal, 0)  # that it is gone is told in any case
        poll.register(woken, select.POLLIN)
        if any(number == terminal for number, _ in poll.poll()):
            loop.call_soon_threadsafe(call)

    thread = threading.Thread(target=wait, name="engine-terminal", daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.close(wake)
        thread.join()
        os.close(woken)
