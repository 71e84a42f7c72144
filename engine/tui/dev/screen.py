"""The live preview full-screen."""

from __future__ import annotations

import asyncio
import sys
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Footer, Static

from engine.tui.dev.dialogs import NodePicker, help_view, request_view
from engine.tui.dev.events import DevEvent, NodeRow
from engine.tui.dev.loop import DevLoop
from engine.tui.dev.panes import Findings, Pane
from engine.tui.dev.progress import Progress
from engine.tui.signals import ending, hung_up
from engine.tui.text import harmless

NARROW = 90
"""Columns below which one pane is shown at a time."""


class Told(Message):
    """An event of the loop, on its way to the screen."""

    def __init__(self, event: DevEvent) -> None:
        super().__init__()
        self.event = event


class DevScreen(App[int]):
    """Findings above; prompt, output and change side by side; keys in the last line.

    The loop runs while the screen is up; the result is the exit code.

    Args:
        loop: The loop, entered.
    """

    TITLE = "engine dev"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #bar { height: 1; background: $primary; color: $text; padding: 0 1; }
    #status { height: 1; padding: 0 1; }
    #status.-bad { color: $error; }
    #findings { height: auto; max-height: 40%; display: none; border: round $error; padding: 0 1; }
    #findings.-any { display: block; }
    #body { height: 1fr; }
    #right { width: 1fr; }
    Pane { width: 1fr; height: 1fr; border: round $surface-lighten-2; padding: 0 1; }
    Pane:focus { border: round $accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "again", "run again"),
        Binding("n", "pick", "node"),
        Binding("a", "accept", "accept"),
        Binding("e,x", "request", "request", key_display="e"),
        Binding("p", "pane('prompt')", "prompt"),
        Binding("o", "pane('output')", "output"),
        Binding("c", "pane('change')", "change"),
        Binding("f", "pane('findings')", show=False),
        Binding("z", "zoom", "zoom"),
        Binding("d", "whole", "differences"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q", "leave(0)", "quit"),
        Binding("ctrl+q", "leave(0)", show=False, priority=True),
        Binding("ctrl+c", "leave(130)", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", show=False, priority=True),
    ]

    def __init__(self, loop: DevLoop) -> None:
        super().__init__()
        self._dev = loop
        self._work: asyncio.Task[None] | None = None
        self._picker: NodePicker | None = None
        self._current, self._zoomed, self._whole = "prompt", False, False
        self.progress = Progress(self)
        # Kept, not looked up: events still come while the screen is being closed.
        self.panes = {
            "prompt": Pane("Prompt", "prompt"),
            "output": Pane("Output", "output"),
            "change": Pane("Change", "change", diff=True),
        }
        self.findings = Findings()
        self._right = Vertical(id="right")
        self._bar, self._status = Static(id="bar", markup=False), Static(id="status", markup=False)

    def compose(self) -> ComposeResult:
        """Lay the screen out."""
        yield self._bar
        yield self.findings
        with Horizontal(id="body"):
            yield self.panes["prompt"]
            with self._right:
                yield self.panes["output"]
                yield self.panes["change"]
        yield self._status
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Let the loop run."""
        self.action_pane("prompt")
        self._work = asyncio.create_task(self._dev.run(self._hear))
        self._work.add_done_callback(lambda work: None if work.cancelled() else self.exit(2))

    def _hear(self, event: DevEvent) -> None:
        self.post_message(Told(event))

    def on_told(self, message: Told) -> None:
        """Show an event, unless the screen is being closed."""
        if self.screen_stack:
            self.progress.show(message.event)

    def on_resize(self, event: events.Resize) -> None:
        """Fit a narrow terminal."""
        self._arrange(event.size.width)

    def say(self, text: str, *, bad: bool = False) -> None:
        """Show a line above the keys."""
        self._status.set_class(bad, "-bad")
        self._status.update(Text(harmless(" ".join(text.split())), overflow="ellipsis", no_wrap=True))

    def toast(self, text: str, *, bad: bool = False) -> None:
        """Show a few words for some seconds, whatever goes on."""
        self.notify(harmless(text), severity="error" if bad else "information", markup=False)

    def title_bar(self, text: str) -> None:
        """Show what is previewed."""
        self._bar.update(Text(harmless(text), overflow="ellipsis", no_wrap=True))

    def offer_nodes(self, nodes: tuple[NodeRow, ...], title: str) -> None:
        """Open the list of nodes, unless something else is open."""
        if nodes and len(self.screen_stack) == 1:
            self._picker = NodePicker(nodes, title)
            self.push_screen(self._picker, self._picked)

    def close_nodes(self) -> None:
        """Close the list of nodes: it is not needed any more."""
        if self._picker is not None and self.screen is self._picker:
            self._picker.dismiss(None)

    def _picked(self, node: NodeRow | None) -> None:
        self._picker = None
        if node is not None:
            self._dev.pick(node)

    def action_again(self) -> None:
        """Preview anew."""
        self._dev.again()

    def action_pick(self) -> None:
        """Choose another node."""
        if not self.progress.nodes:
            self.say("the bundle takes no node of this file", bad=True)
        self.offer_nodes(self.progress.nodes, "Nodes that the bundle takes here")

    async def action_accept(self) -> None:
        """Write the change."""
        await self._dev.accept()

    def action_request(self) -> None:
        """Show the exact request."""
        if self.progress.request is None:
            self.say("no request was rendered yet", bad=True)
        else:
            self.push_screen(request_view(self.progress.request))

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(help_view())

    def action_pane(self, name: str) -> None:
        """Go to a pane."""
        if name == "findings":
            self.findings.focus()
            return
        self._current = name
        self._arrange(self.size.width)
        self.panes[name].focus()

    def action_zoom(self) -> None:
        """Show one pane alone, or all."""
        self._zoomed = not self._zoomed
        self._arrange(self.size.width)

    def action_whole(self) -> None:
        """Show whole texts, or only what differs."""
        self._whole = not self._whole
        for pane in self.panes.values():
            pane.set_whole(self._whole)

    def action_leave(self, code: int) -> None:
        """End with an exit code."""
        self.exit(code)

    def _arrange(self, width: int) -> None:
        """Show all panes, or the current one where there is no room for more."""
        alone = self._zoomed or width < NARROW
        for name, pane in self.panes.items():
            pane.display = not alone or name == self._current
        self._right.display = not alone or self._current != "prompt"

    def _fatal_error(self) -> None:
        # Textual would print a traceback with all values; what went wrong is raised by `settle` instead.
        self._close_messages_no_wait()

    async def settle(self) -> None:
        """End the loop; raise what it or the screen failed with."""
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
            await asyncio.wait([work])
        if self._exception is not None:
            raise self._exception
        if work is not None and not work.cancelled():
            work.result()


async def show(loop: DevLoop) -> int:
    """Show the live preview of a loop that was entered, until the person leaves.

    Returns:
        0 when they quit, 130 when they or a signal interrupted.
    """
    screen = DevScreen(loop)

    def interrupt() -> None:
        screen.exit(130)

    with ending(interrupt, "SIGINT"), hung_up(sys.stdin.fileno(), interrupt):
        code = await screen.run_async()
    await screen.settle()
    return 2 if code is None else code
