"""The review full-screen: the changes on the left, the chosen one on the right."""

from __future__ import annotations

import sys
from typing import ClassVar

from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.geometry import Size
from textual.widgets import Footer, Static

from engine.tui.review.actions import TROUBLE, Actions
from engine.tui.review.desk import Desk
from engine.tui.review.dialogs import Asking, help_view
from engine.tui.review.panes import Detail
from engine.tui.signals import ending, hung_up
from engine.tui.text import harmless
from engine.workspace import WAITING

NARROW = 100
"""Columns below which the list and the change are not shown beside each other, but one above the other …"""

LOW = 16
"""… and rows below which only one of them is."""

_LOOK_AGAIN = 1.0  # seconds until it is looked whether somebody else decided something


class ReviewScreen(Actions):
    """The review of one run; the result is the exit code.

    Args:
        desk: The changes.
    """

    TITLE = "engine review"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #bar { height: 1; background: $primary; color: $text; padding: 0 1; }
    #status { height: auto; min-height: 1; max-height: 4; padding: 0 1; }
    #status.-bad { color: $error; }
    #body { height: 1fr; layout: horizontal; }
    ChangeList { width: 2fr; max-width: 60; height: 1fr; border: round $surface-lighten-2; overflow-x: hidden; }
    Detail { width: 3fr; height: 1fr; border: round $surface-lighten-2; padding: 0 1; }
    .-stacked #body { layout: vertical; }
    .-stacked ChangeList { width: 1fr; max-width: 100%; height: 2fr; }
    .-stacked Detail { width: 1fr; height: 3fr; }
    ChangeList:focus, Detail:focus { border: round $accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "accept", "accept"),
        Binding("F", "accept(True)", show=False),
        Binding("m", "accept(False, True)", show=False),
        Binding("r", "reject", "reject"),
        Binding("u", "undo", "undo"),
        Binding("A", "accept_all", "all that pass"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q", "leave(0)", "quit"),
        Binding("e", "edit", "edit"),
        Binding("t", "again", "try again"),
        Binding("n", "waiting(1)", "next"),
        Binding("p", "waiting(-1)", show=False),
        Binding("d", "pane('diff')", show=False),
        Binding("w", "pane('why')", "why"),
        Binding("c", "pane('checks')", "checks"),
        Binding("s", "sides", show=False),
        Binding("z", "zoom", show=False),
        Binding("l", "decided", show=False),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("enter", "open", show=False),
        Binding("escape", "close", show=False),
        Binding("ctrl+q", "leave(0)", show=False, priority=True),
        Binding("ctrl+c", "leave(130)", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", show=False, priority=True),
    ]

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.detail, self._bar = Detail(), Static(id="bar", markup=False)
        self._filter, self._decided, self._zoomed, self._open = "", True, False, False

    def compose(self) -> ComposeResult:
        """Lay the screen out."""
        yield self._bar
        with Container(id="body"):
            yield self.listing
            yield self.detail
        yield self._status
        yield Footer(show_command_palette=False)

    async def on_mount(self) -> None:
        """Show the changes, and look again now and then."""
        self.listing.focus()
        await self.reload()
        self.listing.choose(-1, waiting=True)
        if self.listing.chosen is not None and self.listing.chosen.state not in WAITING:
            self.listing.choose(1, waiting=True)
        self.set_interval(_LOOK_AGAIN, self._look)

    @work(exclusive=True, group="look")
    async def _look(self) -> None:
        try:
            if await self.desk.load():
                self.relist()
        except TROUBLE as exc:
            self.say(str(exc), bad=True)

    def relist(self) -> None:
        """Show the changes that the filter leaves."""
        if not self.screen_stack:
            return
        shown = self.desk.matching(self._filter, decided=self._decided)
        self.listing.show(shown)
        waiting = sum(head.state in WAITING for head in self.desk.heads)
        failing = sum(head.state in WAITING and not head.passed for head in self.desk.heads)
        text = f"engine review {self.desk.run_id}   {waiting} of {len(self.desk.heads)} changes wait"
        text += f", {failing} not passing" if failing else ""
        text += f"   filter: {self._filter} ({len(shown)})" if self._filter else ""
        self._bar.update(Text(harmless(text), overflow="ellipsis", no_wrap=True))
        if not shown:
            self.detail.say("no change matches the filter" if self._filter else "no change waits")

    def on_change_list_moved(self) -> None:
        """Show the chosen change."""
        self.show_chosen()

    @work(exclusive=True, group="show")
    async def show_chosen(self) -> None:
        """Show the chosen change in the open pane."""
        head = self.listing.chosen
        if head is not None:
            await self.detail.show(self.desk, head)

    def on_resize(self, event: events.Resize) -> None:
        """Fit a narrow terminal."""
        self._arrange(event.size)
        self.show_chosen()

    def action_waiting(self, step: int) -> None:
        """Choose the next change that waits."""
        if not self.listing.choose(step, waiting=True):
            self.say("no other change waits in that direction")

    def action_pane(self, name: str) -> None:
        """Show another side of the change."""
        self.detail.pane = name
        self._open = True
        self._arrange()
        self.show_chosen()

    def action_sides(self) -> None:
        """Put the sides of a diff beside or below each other."""
        self.detail.beside = not self.detail.beside
        self.show_chosen()

    def action_zoom(self) -> None:
        """Show the change alone, or the list too."""
        self._zoomed = not self._zoomed
        self._arrange()

    def action_open(self) -> None:
        """Go to the change."""
        self._open = True
        self._arrange()
        self.detail.focus()

    def action_close(self) -> None:
        """Go back to the list."""
        self._open = self._zoomed = False
        self._arrange()
        self.listing.focus()

    def action_decided(self) -> None:
        """Show what was decided on too, or only what waits."""
        self._decided = not self._decided
        self.relist()

    @work(group="ask")
    async def action_filter(self) -> None:
        """Ask what to show."""
        words = await self.push_screen_wait(
            Asking("Show what? (words, or = and a condition; empty: all)", self._filter)
        )
        if words is None:
            return
        problem = self.desk.check_filter(words.strip())
        if problem:
            self.say(problem, bad=True)
            return
        self._filter = words.strip()
        self.relist()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(help_view())

    def action_leave(self, code: int) -> None:
        """End with an exit code."""
        self.exit(code)

    def _arrange(self, size: Size | None = None) -> None:
        width, height = size or self.size
        narrow = width < NARROW
        alone = narrow and height < LOW
        self.set_class(narrow, "-stacked")
        self.listing.display = not self._zoomed and not (alone and self._open)
        self.detail.display = self._zoomed or not alone or self._open

    def _fatal_error(self) -> None:
        # Textual would print a traceback with all values; what went wrong is raised by `show` instead.
        self._close_messages_no_wait()

    def settle(self) -> None:
        """Raise what the screen failed with."""
        if self._exception is not None:
            raise self._exception


async def show(desk: Desk) -> int:
    """Show the review until the person leaves.

    Returns:
        0 when they quit, 130 when they or a signal interrupted.
    """
    screen = ReviewScreen(desk)
    with ending(screen.interrupt, "SIGINT"), hung_up(sys.stdin.fileno(), screen.interrupt):
        code = await screen.run_async()
    screen.settle()
    return 2 if code is None else code
