"""A task starts from its node as it is on disk then: files may change while a long run goes on."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from engine.discovery import CodeNode, discover_async
from engine.errors import EngineError
from engine.events import Bus
from engine.run.execute import TaskRunner
from engine.run.plan import Task
from engine.run.task import TaskResult

_FILES = 32  # whose nodes are remembered after they were looked at again
_RACY_NS = 2 * 10**9  # some file systems keep times no finer than this

Key = tuple[str, str | None]
"""A file, and the query that finds its nodes."""


class Sources:
    """The files of a run's nodes: which of them are still what they were when the run was planned.

    Args:
        root: The project's root.
        files: The files, relative to it.
        since: When the run began to be planned, in nanoseconds since 1970; what changed later was perhaps not read yet
            as it is now.
    """

    def __init__(self, root: Path, files: Iterable[str], since: int) -> None:
        self._root = str(root)
        self._known = {file: _signature(f"{self._root}/{file}", since) for file in files}
        self._seen: OrderedDict[Key, tuple[int, Mapping[str, CodeNode]]] = OrderedDict()
        self._looking = asyncio.Lock()

    async def now(self, task: Task) -> CodeNode | None:
        """Return a task's node as it is now; None when it is gone."""
        node = task.node
        signature = _signature(f"{self._root}/{node.file_path}")
        if signature and signature == self._known.get(node.file_path):
            return node
        if not signature:
            return None
        async with self._looking:
            nodes = await self._nodes(node, task.bundle.query, signature)
        return nodes.get(node.node_id)

    async def _nodes(self, node: CodeNode, query: str | None, signature: int) -> Mapping[str, CodeNode]:
        key = (node.file_path, query)
        seen = self._seen.get(key)
        if seen is not None and seen[0] == signature:
            return seen[1]
        path = Path(self._root, node.file_path)
        try:
            found = await discover_async([path], root=Path(self._root), languages=[node.language], query=query)
        except EngineError:  # it was deleted, or replaced by a link to another place
            return {}
        nodes = {one.node_id: one for one in found.nodes if one.file_path == node.file_path}
        self._seen[key] = signature, nodes
        if len(self._seen) > _FILES:
            self._seen.popitem(last=False)
        return nodes


class FreshRunner:
    """Runs each task on its node as it is now; one whose node is gone ends as `stopped`.

    Args:
        runner: Where the tasks run.
        sources: The files.
    """

    def __init__(self, runner: TaskRunner, sources: Sources) -> None:
        self._runner, self._sources = runner, sources

    async def run(self, task: Task, bus: Bus, run_id: str) -> TaskResult:
        """Run one task."""
        if any(change.path == task.node.file_path for change in task.base):
            return await self._runner.run(task, bus, run_id)  # the node is that of the changes which it builds on
        node = await self._sources.now(task)
        if node is None:
            return gone(task)
        # An equal node is not kept a second time.
        return await self._runner.run(task if node == task.node else replace(task, node=node), bus, run_id)


def gone(task: Task, way_out: str = "") -> TaskResult:
    """Return the result of a task whose node is not there any more.

    Args:
        task: The task.
        way_out: What a person can do about it.
    """
    node = task.node
    said = f"{node.file_path} has no {node.type} {node.qualified_name} any more"
    return TaskResult(task, "stopped", "node_gone", error=f"{said}; {way_out}" if way_out else said)


def _signature(path: str, since: int | None = None) -> int:
    """Return what changes with a file; 0 when there is none, or when it may have changed after `since`."""
    try:
        info = os.lstat(path)
    except OSError:
        return 0
    if since is not None and max(info.st_ctime_ns, info.st_mtime_ns) > since - _RACY_NS:
        return 0
    return hash((info.st_mtime_ns, info.st_ctime_ns, info.st_size, info.st_ino)) or 1
