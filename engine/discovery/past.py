"""The nodes that files once had: what another version of a file gives, under the ids of today."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from engine.discovery.languages import language_of
from engine.discovery.model import CodeNode
from engine.discovery.scan import scan_async
from engine.discovery.source import SourceFile
from engine.discovery.targets import Plan, make_filter


async def nodes_of(
    write: Callable[[Path], Iterable[str]], *, types: Sequence[str] | None = None, query: str | None = None
) -> tuple[CodeNode, ...]:
    """Return the nodes of texts that lie in no file of the project.

    Args:
        write: Called in another thread with an empty folder; writes each text at the path, relative to the project's
            root, whose ids its nodes get, and yields these paths.
        types: Only nodes of these types.
        query: The text of a tree-sitter query; it is valid for the languages of the paths.
    """
    with tempfile.TemporaryDirectory(prefix="engine-past-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        sources = await asyncio.to_thread(lambda: tuple(_sources(folder, write(folder))))
        found = await scan_async(Plan(folder, sources, ()), make_filter(None, types, query))
    return found.nodes


def _sources(folder: Path, paths: Iterable[str]) -> Iterable[SourceFile]:
    for path in paths:
        language = language_of(path)
        if language is not None:
            yield SourceFile(path, language, True, (folder / path).stat().st_size)
