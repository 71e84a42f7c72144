"""What the keys of the review do to changes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Sequence
from typing import Any

from rich.text import Text
from textual import work
from textual.app import App, SuspendNotSupported
from textual.widgets import Static

from engine.errors import EngineError
from engine.tui.review.desk import Desk
from engine.tui.review.dialogs import Asking
from engine.tui.review.editor import edited, left_to_the_editor
from engine.tui.review.listing import ChangeList
from engine.tui.text import harmless
from engine.workspace import WAITING, ChangeHead, Decision

TROUBLE = (EngineError, OSError, sqlite3.Error)
"""What the outside may do to a decision; it is told, and the review goes on."""


class Actions(App[int]):
    """The decisions; each takes effect at once, one after the other.

    Args:
        desk: The changes.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk, self.listing = desk, ChangeList()
        self._status = Static(id="status", markup=False)
        self._turn = asyncio.Lock()

    def say(self, text: str, *, bad: bool = False) -> None:
        """Show a line above the keys."""
        if self.screen_stack:
            self._status.set_class(bad, "-bad")
            self._status.update(Text(harmless(" ".join(text.split()))))

    def relist(self) -> None:
        """Show the changes as the desk has them."""
        self.listing.show(self.desk.heads)

    async def reload(self) -> None:
        """Show what is there now."""
        try:
            await self.desk.load(always=True)
        except TROUBLE as exc:
            self.say(str(exc), bad=True)
        self.relist()

    def interrupt(self) -> None:
        """End as Ctrl-C does."""
        self.exit(130)

    def chosen(self) -> ChangeHead | None:
        """Return the chosen change; says so where there is none."""
        head = self.listing.chosen
        if head is None:
            self.say("there is no change to decide on", bad=True)
        return head

    @work(group="decide")
    async def action_accept(self, failing: bool = False, merge: bool = False) -> None:
        """Accept the chosen change."""
        head = self.chosen()
        if head is None or not self._waits(head):
            return
        if not head.passed and not failing:
            self.say(f"not accepted: {', '.join(head.failed_checks)} did not pass; F accepts it all the same", bad=True)
            return
        await self._decide(self.desk.accept([head], failing=failing, merge=merge), "accepted")

    @work(group="decide")
    async def action_accept_all(self) -> None:
        """Accept all changes that are listed, wait and pass."""
        heads = [head for head in self.listing.changes if head.state in WAITING and head.passed]
        if not heads:
            self.say("no change that is listed waits and passes its checks")
            return
        await self._decide(self.desk.accept(heads), "accepted")

    @work(group="decide")
    async def action_reject(self) -> None:
        """Reject the chosen change."""
        head = self.chosen()
        if head is not None and self._waits(head):
            await self._decide(self.desk.reject(head), "rejected")

    @work(group="decide")
    async def action_undo(self) -> None:
        """Take the chosen change out of its file."""
        head = self.chosen()
        if head is None:
            return
        if head.state != "accepted":
            self.say(f"there is nothing to undo: the change is {head.state}", bad=True)
            return
        await self._decide(self.desk.undo(head), "undone", onwards=False)

    @work(group="decide")
    async def action_edit(self) -> None:
        """Let the person edit the changed file."""
        head = self.chosen()
        if head is None or not self._waits(head):
            return
        async with self._turn:
            try:
                await self._edit(head)
            except TROUBLE as exc:
                self.say(str(exc), bad=True)
            except SuspendNotSupported:
                self.say("this terminal cannot be lent to an editor", bad=True)
            await self.reload()

    async def _edit(self, head: ChangeHead) -> None:
        row = await asyncio.to_thread(self.desk.review.store.get, head.id)
        if row is None or row.change.after is None:
            self.say("there is nothing to edit: the change deletes the file", bad=True)
            return
        saved = await self._in_editor(row.path, row.change.after)
        if saved == row.change.after:
            self.say("the change is as it was")
            return
        self.say("checking…")
        done = await self.desk.edit(head, saved)
        failed = ", ".join(done.failed_checks)
        self.say(f"edited; {f'not passing: {failed}' if failed else 'its checks pass'}", bad=bool(failed))

    async def _in_editor(self, path: str, content: bytes) -> bytes:
        problem: Exception | None = None
        saved = content
        async with left_to_the_editor(self.interrupt):
            with self.suspend():
                # An exception would leave the screen suspended.
                try:
                    saved = edited(path, content)
                except TROUBLE as exc:
                    problem = exc
        if problem is not None:
            raise problem
        return saved

    @work(group="again")
    async def action_again(self) -> None:
        """Ask for a note, and run the task of the chosen change once more."""
        head = self.chosen()
        if head is None or not self._waits(head):
            return
        note = await self.push_screen_wait(Asking(f"What should be done better? ({head.node} runs again)"))
        if not note or not note.strip():
            return
        self.say(f"{head.node} runs again…")
        try:
            result = await self.desk.again(head, note, _Follow(self, head.node))
        except TROUBLE as exc:
            self.say(f"{head.node} did not run again: {exc}", bad=True)
            return
        words = result.error or result.summary or result.reason
        replaced = "a new change waits" if result.changes else "the first change still waits"
        self.say(f"{head.node} {result.outcome}: {words}; {replaced}", bad=result.outcome != "finished")
        await self.reload()

    def _waits(self, head: ChangeHead) -> bool:
        if head.state in WAITING:
            return True
        self.say(f"the change is {head.state} already{'; u undoes that' if head.state == 'accepted' else ''}", bad=True)
        return False

    async def _decide(self, decision: Awaitable[list[Decision]], wanted: str, *, onwards: bool = True) -> None:
        async with self._turn:
            try:
                decisions = await decision
            except TROUBLE as exc:
                self.say(str(exc), bad=True)
                return
            await self.reload()
        done = sum(one.state == wanted for one in decisions)
        self.say(_words(decisions, done, wanted), bad=done < len(decisions))
        if onwards and done == len(decisions) == 1:
            self.listing.choose(1, waiting=True)


class _Follow:
    """Tells how far a task is that runs again."""

    def __init__(self, screen: Actions, node: str) -> None:
        self._screen, self._node = screen, node

    async def on_model_request(self, event: Any) -> None:
        """Tell of a turn."""
        self._screen.say(f"{self._node} runs again: turn {event.turn}…")


def _words(decisions: Sequence[Decision], done: int, wanted: str) -> str:
    if not decisions:
        return "somebody else decided on it meanwhile"
    first = next((one for one in decisions if one.state != wanted), None)
    if first is None:
        return f"{wanted}: {decisions[0].path}" if done == 1 else f"{done} changes {wanted}"
    more = f"{done} {wanted}, {len(decisions) - done} not; " if len(decisions) > 1 else ""
    return f"{more}{first.state}: {first.reason}"
