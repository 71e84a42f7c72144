"""The right side of the review: the diff, why, or the checks of the chosen change."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from engine.tui.review.actions import TROUBLE
from engine.tui.review.desk import Desk
from engine.tui.review.paint import painted_change, painted_diff
from engine.tui.review.why import checks, why
from engine.tui.text import harmless
from engine.workspace import WAITING, ChangeHead, three_way_diff

_MET = {
    "changed": "The file was edited since the task read it; m merges where that comes clean",
    "collides": "A change that was accepted before has the same lines",
}
TITLES = {"diff": "Diff", "why": "Why", "checks": "Checks"}


class Detail(VerticalScroll):
    """One change, from one side."""

    def __init__(self) -> None:
        super().__init__(id="detail")
        self._body = Static(markup=False)
        self.pane, self.beside = "diff", True
        self._shown: tuple[int, str] | None = None

    def compose(self) -> ComposeResult:
        """Hold the text."""
        yield self._body

    def say(self, text: str) -> None:
        """Show a word instead of a change."""
        self._shown, self.border_title = None, ""
        self._body.update(Text(harmless(text), "dim"))

    async def show(self, desk: Desk, head: ChangeHead) -> None:
        """Show a change.

        Args:
            desk: Where to get it from.
            head: The change.
        """
        place = (head.id, self.pane)
        try:
            text = await self._text(desk, head)
        except TROUBLE as exc:
            text = Text(harmless(str(exc)), "red")
        if self.pane != place[1]:
            return  # the person went on meanwhile
        self.border_title = Text(harmless(f"{TITLES[self.pane]}: {head.node}  {head.marks}"))
        self._body.update(text)
        if self._shown != place:
            self.scroll_home(animate=False)
        self._shown = place

    async def _text(self, desk: Desk, head: ChangeHead) -> Text:
        if self.pane == "why":
            return why(await desk.events(head))
        if self.pane == "checks":
            return checks(head)
        row = await desk.whole(head)
        if row is None:
            return Text("it was replaced", "dim")
        text = Text(f"{harmless(row.reason)}\n\n", "yellow") if row.reason else Text()
        plain = row.state not in WAITING
        found, live = ("done", None) if plain else await desk.outlook(row)
        if plain or found in ("write", "done"):
            return text + painted_change(row.change, self.scrollable_content_region.width, beside=self.beside)
        return (
            text + Text(f"{_MET[found]}:\n\n", "yellow") + painted_diff(three_way_diff(row.change, live, row.task_id))
        )
