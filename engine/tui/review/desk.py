"""What the review shows and does, without a screen: blocking work goes to threads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from engine.app import App
from engine.app.request import Fetch
from engine.errors import ConfigError
from engine.run import TaskResult
from engine.run.review import Review, Where
from engine.workspace import WAITING, ChangeHead, Decision, OfferedChange, Outlook


class Desk:
    """The changes of one run, and every decision on them.

    Args:
        app: The project.
        review: The run's changes.
        fetch: Downloads missing weights when a task runs again.
    """

    def __init__(self, app: App, review: Review, *, fetch: Fetch | None = None) -> None:
        self._app, self.review, self._fetch = app, review, fetch
        self.heads: Sequence[ChangeHead] = ()
        self._version = -1

    @property
    def run_id(self) -> str:
        """The run."""
        return self.review.run_id

    async def load(self, *, always: bool = False) -> bool:
        """Read the changes if somebody did something to them; returns whether they were read."""
        version = await asyncio.to_thread(self.review.store.version)
        if version == self._version and not always:
            return False
        self._version = version
        self.heads = await asyncio.to_thread(self.review.heads, (), None)
        return True

    async def whole(self, head: ChangeHead) -> OfferedChange | None:
        """Return a change with its contents; None when it is gone."""
        return await asyncio.to_thread(self.review.store.get, head.id)

    async def outlook(self, row: OfferedChange) -> tuple[Outlook, bytes | None]:
        """Return what accepting a change would meet now, and what its file holds.

        Raises:
            WorkspaceError: The file cannot be read.
        """
        return await asyncio.to_thread(self.review.outlook, row)

    async def events(self, head: ChangeHead) -> list[dict[str, Any]]:
        """Return what the log has of a change's task."""

        def read() -> list[dict[str, Any]]:
            with self._app.reader() as log:
                return log.events_of_task(self.run_id, head.task_id)

        return await asyncio.to_thread(read)

    async def accept(
        self, heads: Sequence[ChangeHead], *, failing: bool = False, merge: bool = False
    ) -> list[Decision]:
        """Write changes into the project's files."""
        numbers = [head.id for head in heads]
        return await asyncio.to_thread(self.review.accept_these, numbers, failing=failing, merge=merge)

    async def reject(self, head: ChangeHead) -> list[Decision]:
        """Drop a change."""
        return await asyncio.to_thread(self.review.reject_these, [head.id])

    async def undo(self, head: ChangeHead) -> list[Decision]:
        """Take an accepted change out of its file."""
        return await asyncio.to_thread(self.review.undo_these, [head.id])

    async def edit(self, head: ChangeHead, after: bytes) -> OfferedChange:
        """Put what the person wrote in place of a change, and check it."""
        return await self._app.edit(self.review, head.id, after)

    async def again(self, head: ChangeHead, note: str, observer: object) -> TaskResult:
        """Run a change's task once more."""
        return await self._app.rerun(self.run_id, head.task_id, note, fetch=self._fetch, observers=[observer])

    def matching(self, words: str, *, decided: bool) -> list[ChangeHead]:
        """Return the changes that a filter leaves.

        Args:
            words: Each must be a part of the file, node, task, bundle, state or a failed check; `=` begins a condition.
            decided: Also those that don't wait.

        Raises:
            ConfigError: The condition is wrong.
        """
        heads = [head for head in self.heads if decided or head.state in WAITING]
        if words.startswith("="):
            where = Where(words[1:].strip())
            return [head for head in heads if where(head)]
        wanted = words.lower().split()
        return [head for head in heads if all(word in _text(head) for word in wanted)]

    def check_filter(self, words: str) -> str:
        """Return what is wrong with a filter, or nothing."""
        try:
            self.matching(words, decided=True)
        except ConfigError as exc:
            return str(exc)
        return ""


def _text(head: ChangeHead) -> str:
    parts = (head.node, head.path, head.task_id, str(head.facts.get("bundle", "")), head.marks)
    return " ".join(parts).lower()
