"""What the events of the loop do to the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.run import Rendered
from engine.tui.dev.events import (
    Cancelled,
    Decided,
    DevEvent,
    Failed,
    Finished,
    NodeMissing,
    NodeRow,
    NotRun,
    Piece,
    Pinned,
    PromptRendered,
    Replied,
    Said,
    Started,
    ToolRan,
    TurnStarted,
    Validated,
)
from engine.tui.dev.words import findings_words, tool_lines, turns_words

if TYPE_CHECKING:
    from engine.tui.dev.screen import DevScreen

_FRAME = 1 / 30
"""Seconds between two redraws of a reply that streams."""


class Progress:
    """Follows the previews, and keeps what the keys act on.

    Attributes:
        nodes: The nodes that the bundle takes.
        request: The last request, or None.
    """

    def __init__(self, screen: DevScreen) -> None:
        self.nodes: tuple[NodeRow, ...] = ()
        self.request: Rendered | None = None
        self._screen = screen
        self._reply = ""
        self._drawing, self._broken = False, False
        self._bundle, self._place, self._number, self._generation = "", "", 0, 0

    def show(self, event: DevEvent) -> None:
        """Show an event."""
        match event:
            case Validated():
                self._validated(event)
            case Started():
                self._number, self._bundle = event.number, event.bundle
                self._screen.panes["output"].wait()
                self._screen.panes["change"].wait()
            case Pinned() | NodeMissing():
                self._node(event)
            case PromptRendered():
                self.request = event.request
                self._screen.panes["prompt"].show(event.prompt)
                self._screen.say(f"prompt after {event.seconds * 1000:.0f} ms; asking {event.request.model}")
            case TurnStarted() | Piece() | Replied() | ToolRan():
                self._turn(event)
            case _:
                self._ended(event)
        self._bar()

    def _bar(self) -> None:
        place = f" → {self._place}" if self._place else ""
        self._screen.title_bar(
            f"engine dev  {self._bundle}{place}  preview {self._number}, generation {self._generation}"
        )

    def _validated(self, event: Validated) -> None:
        self._generation = event.generation
        title = findings_words(event)
        if not event.current:
            title += "; the last good bundle stays in force" if event.in_force else "; no bundle is in force yet"
        self._screen.findings.show(event.diagnostics, title)
        if not event.current:
            self._broken = True
            self._screen.say("the bundle is broken; mend what was found, and it goes on", bad=True)
        elif self._broken:
            self._broken = False
            self._screen.say("the bundle is valid again")

    def _node(self, event: Pinned | NodeMissing) -> None:
        self.nodes = event.nodes
        if isinstance(event, NodeMissing):
            self._rest()
            self._screen.say(f"no node: {event.reason}", bad=True)
            self._screen.offer_nodes(event.nodes, f"{event.reason}. The bundle takes these:")
            return
        self._place = event.place
        self._screen.close_nodes()

    def _turn(self, event: TurnStarted | Piece | Replied | ToolRan) -> None:
        match event:
            case TurnStarted():
                self._reply = f"{self._reply}[turn {event.turn}]\n" if event.turn > 1 else "[turn 1]\n"
                adapter = f", adapter {event.adapter}" if event.adapter else ""
                self._screen.say(f"turn {event.turn}{adapter}: the model answers …")
            case Piece():
                self._reply += event.text
            case Replied():
                self._reply += "\n"
            case ToolRan():
                self._reply += "\n".join([*tool_lines(event), ""])
        if not self._drawing:
            self._drawing = True
            self._screen.set_timer(_FRAME, self._draw)

    def _draw(self) -> None:
        if self._drawing:
            self._drawing = False
            self._screen.panes["output"].stream(self._reply)

    def _ended(self, event: DevEvent) -> None:
        match event:
            case Finished():
                self._finished(event)
            case NotRun():
                self._rest()
                self._screen.say("rendered; no model was called")
            case Failed():
                self._rest()
                self._screen.say(f"failed: {event.message}", bad=True)
                self._screen.panes["output"].say(f"failed: {event.message}")
            case Cancelled():
                self._drawing = False
                self._screen.say("cancelled: something newer was saved")
            case Decided():
                self._decided(event)
            case Said():
                self._screen.toast(event.text)

    def _rest(self) -> None:
        self._drawing = False
        self._screen.panes["output"].rest()
        self._screen.panes["change"].rest()

    def _finished(self, event: Finished) -> None:
        self._drawing = False
        self._screen.panes["output"].show(event.output)
        self._screen.panes["change"].show(event.change)
        accept = "; a accepts the change" if event.offered else ""
        words = f"{event.outcome}: {event.words or event.reason}"
        self._screen.say(f"{words} ({turns_words(event)}){accept}", bad=event.outcome != "finished")

    def _decided(self, event: Decided) -> None:
        text = "; ".join(f"{one.state} {one.path}{f': {one.reason}' if one.reason else ''}" for one in event.decisions)
        if all(one.state == "accepted" for one in event.decisions):
            self._screen.panes["change"].say(text)
        self._screen.toast(text, bad=any(one.state != "accepted" for one in event.decisions))
