"""`engine validate --watch`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.cli.console import count, note, printable
from engine.diagnostics import Diagnostic

# More changed files than these are counted.
_NAMED = 3


def watch(paths: Sequence[Path], show: Callable[[Sequence[Diagnostic], int], None], *, use_cache: bool) -> None:
    """Show all findings, and again after every change; ends with the interrupt that stops it.

    Args:
        paths: Folders, zip files and manifests.
        show: Shows findings, and in how many bundles they are.
        use_cache: Whether bundles and scripts that have not changed are spared at the start.
    """
    asyncio.run(_watch(paths, show, use_cache=use_cache))


async def _watch(paths: Sequence[Path], show: Callable[[Sequence[Diagnostic], int], None], *, use_cache: bool) -> None:
    from engine.reload import Watcher

    async with Watcher(paths, use_cache=use_cache) as watcher:
        show(watcher.diagnostics, watcher.count)
        note("watching; Ctrl-C ends it")
        async for reload in watcher:
            note(f"\n{time.strftime('%H:%M:%S')} {printable(_what(reload.files))}")
            show(reload.diagnostics, watcher.count)


def _what(files: Sequence[str]) -> str:
    if not files:
        return "changed"
    named = f"{', '.join(files)}" if len(files) <= _NAMED else count(len(files), "file")
    return f"changed: {named}"
