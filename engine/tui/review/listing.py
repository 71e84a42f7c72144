"""The list of changes: grouped by file, drawn line by line, so that its length does not matter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.tui.text import harmless
from engine.workspace import WAITING, ChangeHead

MARKS = {"pending": ("·", ""), "conflict": ("!", "bold yellow"), "accepted": ("+", "green"), "rejected": ("-", "dim")}
Line = ChangeHead | str


class ChangeList(ScrollView, can_focus=True):
    """Changes below the files that they are of, with one of them chosen."""

    class Moved(Message):
        """Another change is chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", show=False),
        Binding("up,k", "move(-1)", show=False),
        Binding("pagedown", "move(20)", show=False),
        Binding("pageup", "move(-20)", show=False),
        Binding("home,g", "end(False)", show=False),
        Binding("end,G", "end(True)", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(id="list")
        self._lines: list[Line] = []
        self._cursor = 0
        self.border_title = "Changes"

    @property
    def chosen(self) -> ChangeHead | None:
        """The chosen change."""
        line = self._lines[self._cursor] if self._lines else None
        return line if isinstance(line, ChangeHead) else None

    @property
    def changes(self) -> list[ChangeHead]:
        """The changes that are shown, in their order."""
        return [line for line in self._lines if isinstance(line, ChangeHead)]

    def show(self, heads: Iterable[ChangeHead]) -> None:
        """Show these changes; the chosen one stays chosen, or the one that is now in its place."""
        before, place = self.chosen, self._cursor
        self._lines = grouped(heads)
        known = {line.id: index for index, line in enumerate(self._lines) if isinstance(line, ChangeHead)}
        same = _same(before, self._lines) if before is not None else None
        if before is not None and before.id in known:
            self._cursor = known[before.id]
        elif same is not None:
            self._cursor = same
        else:
            self._cursor = min(place, max(0, len(self._lines) - 1))
            self._cursor = self._nearest(self._cursor, 1)
        self.virtual_size = Size(self.size.width, len(self._lines))
        self._see()

    def choose(self, step: int, *, waiting: bool = False) -> bool:
        """Choose the next change, or the previous one; returns whether there is one.

        Args:
            step: How far, negative for backwards.
            waiting: Only one that waits for a decision.
        """
        forward = 1 if step > 0 else -1
        place, left = self._cursor, abs(step)
        found = None
        while left and 0 <= place + forward < len(self._lines):
            place += forward
            line = self._lines[place]
            if isinstance(line, ChangeHead) and (not waiting or line.state in WAITING):
                found, left = place, left - 1
        if found is None:
            return False
        self._cursor = found
        self._see()
        return True

    def action_move(self, step: int) -> None:
        """Choose another change."""
        self.choose(step)

    def action_end(self, last: bool) -> None:
        """Choose the first or the last change."""
        self.choose(len(self._lines) if last else -len(self._lines))

    def on_click(self, event: events.Click) -> None:
        """Choose what was clicked."""
        place = event.y + self.scroll_offset.y
        if 0 <= place < len(self._lines):
            self._cursor = self._nearest(place, 1)
            self._see()

    def render_line(self, y: int) -> Strip:
        """Draw one line of the window."""
        place = y + self.scroll_offset.y
        width = self.size.width
        if place >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        text = label(self._lines[place])
        text.truncate(width, overflow="ellipsis", pad=True)
        style = self.rich_style
        if place == self._cursor and self.chosen is not None:
            style += Style(reverse=self.has_focus, bold=True)
        return Strip(text.render(self.app.console), width).crop_extend(0, width, style).apply_style(style)

    def on_focus(self) -> None:
        """Show where the cursor is."""
        self.refresh()

    def on_blur(self) -> None:
        """Show that the keys go elsewhere."""
        self.refresh()

    def _nearest(self, place: int, step: int) -> int:
        """Return the nearest place that holds a change."""
        places = [*range(place, len(self._lines), step), *range(min(place, len(self._lines) - 1), -1, -step)]
        return next((index for index in places if isinstance(self._lines[index], ChangeHead)), 0)

    def _see(self) -> None:
        self.scroll_to_region(Region(0, self._cursor, 1, 1), animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved())


def grouped(heads: Iterable[ChangeHead]) -> list[Line]:
    """Return the lines of the list: each file, then its changes in the order of their nodes."""
    files: dict[str, list[ChangeHead]] = {}
    for head in heads:
        files.setdefault(head.path, []).append(head)
    lines: list[Line] = []
    for path in sorted(files):
        lines += [path, *sorted(files[path], key=_place)]
    return lines


def _place(head: ChangeHead) -> tuple[int, int]:
    node = head.facts.get("node", {})
    return int(node.get("line", 0)), head.id


def label(line: Line) -> Text:
    """Return one line of the list."""
    if isinstance(line, str):
        return Text(harmless(line).replace("\n", " "), "bold", end="")
    mark, style = MARKS[line.state]
    text = Text(f" {mark} ", style, end="")
    text.append("✓ " if line.passed else "✗ ", "green" if line.passed else "bold red")
    node = line.node.partition("::")[2] or line.task_id
    text.append(harmless(node).replace("\n", " "), "dim" if line.state == "rejected" else "")
    text.append(f"  +{line.added} -{line.removed}", "dim")
    bundle = str(line.facts.get("bundle") or "")
    text.append(f"  {harmless(bundle)}{' edited' if line.edited else ''}", "dim")
    return text


def _same(head: ChangeHead, lines: Sequence[Line]) -> int | None:
    """Return the place of the change that replaced one: of the same task and file."""
    wanted = (head.task_id, head.path)
    places = (i for i, one in enumerate(lines) if isinstance(one, ChangeHead) and (one.task_id, one.path) == wanted)
    return next(places, None)
