"""A person's editor on a copy of a changed file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from engine.errors import ConfigError


def edited(path: str, content: bytes) -> bytes:
    """Open $VISUAL, else $EDITOR, else vi on a copy of a file; return what was saved. Blocks until it is closed.

    Args:
        path: The file's path; the copy has its name, so that the editor knows the language.
        content: What it holds.

    Raises:
        ConfigError: There is no such editor, or it ended with an error.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="engine-review-") as folder:
        copy = Path(folder) / (Path(path).name or "change")
        copy.write_bytes(content)
        try:
            ran = subprocess.run([*shlex.split(editor), str(copy)], check=False)
            saved = copy.read_bytes()
        except (OSError, ValueError) as exc:
            raise ConfigError(f"the editor '{editor}' cannot be used: {exc}; set EDITOR") from exc
    if ran.returncode != 0:
        raise ConfigError(f"the editor '{editor}' ended with {ran.returncode}; the change is as it was")
    return saved


@contextlib.asynccontextmanager
async def left_to_the_editor(interrupt: Callable[[], object]) -> AsyncIterator[None]:
    """Let Ctrl-C reach only the editor, which has the terminal for a while.

    Args:
        interrupt: What the running event loop calls on SIGINT otherwise.
    """
    loop = asyncio.get_running_loop()
    heeded = loop.remove_signal_handler(signal.SIGINT)
    before = signal.signal(signal.SIGINT, lambda *_: None)  # a handler, for a child would inherit SIG_IGN
    try:
        yield
    finally:
        for _ in range(3):  # the loop reads of the signals that came meanwhile, and finds no handler for this one
            await asyncio.sleep(0)
        signal.signal(signal.SIGINT, before)
        if heeded:
            loop.add_signal_handler(signal.SIGINT, interrupt)
