"""The parts of the screen that show text: a pane for what is compared, a box for findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from engine.diagnostics import Diagnostic, render
from engine.tui.dev.difference import Difference, Line
from engine.tui.text import harmless

_MOST_LINES = 3000
_LONGEST_LINE = 4000
_MARKS = {"+": "green", "-": "red", "…": "dim italic", " ": ""}
_DIFF = {"+": "green", "-": "red", "@": "cyan"}


class Pane(VerticalScroll):
    """A scrolling text, beside the one that was there before.

    Args:
        title: Its title.
        name: Its id.
        diff: Whether the text is itself a diff, to be painted as one.
    """

    def __init__(self, title: str, name: str, *, diff: bool = False) -> None:
        super().__init__(id=name)
        self._heading, self._diff = title, diff
        self._body = Static(markup=False)
        self._difference: Difference | None = None
        self._whole = False
        self.border_title = title

    def compose(self) -> ComposeResult:
        """Hold the text."""
        yield self._body

    def show(self, difference: Difference) -> None:
        """Show a text with its difference from the last."""
        self._difference = difference
        counts = difference.counts
        self.border_title = f"{self._heading}: {counts}" if counts else self._heading
        lines = difference.lines if self._whole else difference.folded()
        self._body.update(self._painted(lines, marked=difference.changed) if lines else Text("nothing", "dim"))
        self.scroll_home(animate=False)

    def stream(self, text: str) -> None:
        """Show a text that is still growing, its end in sight."""
        self.border_title = f"{self._heading}: …"
        self._body.update(self._painted([Line(" ", line) for line in text.split("\n")], marked=False))
        self.scroll_end(animate=False)

    def wait(self) -> None:
        """Mark what is shown as that of the preview before."""
        self.border_title = f"{self._heading}: …"

    def rest(self) -> None:
        """Show again what was shown last: nothing newer comes."""
        if self._difference is not None:
            self.show(self._difference)
        else:
            self.border_title = self._heading

    def say(self, text: str) -> None:
        """Show a word instead of a text."""
        self._difference = None
        self.border_title = self._heading
        self._body.update(Text(harmless(text), "dim"))

    def set_whole(self, whole: bool) -> None:
        """Say whether long stretches that did not change are shown too."""
        self._whole = whole
        if self._difference is not None:
            self.show(self._difference)

    def _painted(self, lines: Sequence[Line], *, marked: bool) -> Text:
        text = Text()
        for line in lines[:_MOST_LINES]:
            shown = harmless(line.text[:_LONGEST_LINE])
            style = _MARKS[line.mark] or (_DIFF.get(shown[:1], "") if self._diff else "")
            text.append(f"{line.mark} {shown}\n" if marked else f"{shown}\n", style)
        if len(lines) > _MOST_LINES:
            text.append(f"… {len(lines) - _MOST_LINES} more lines\n", "dim italic")
        text.rstrip()
        return text


class Findings(VerticalScroll):
    """What is wrong with the bundle; not there when nothing is."""

    def __init__(self) -> None:
        super().__init__(id="findings")
        self._body = Static(markup=False)

    def compose(self) -> ComposeResult:
        """Hold the text."""
        yield self._body

    def show(self, diagnostics: Sequence[Diagnostic], title: str) -> None:
        """Show findings, or nothing."""
        self.set_class(bool(diagnostics), "-any")
        self.border_title = title
        self._body.update(Text("\n").join(_blocks(diagnostics)))
        self.scroll_home(animate=False)


def _blocks(diagnostics: Iterable[Diagnostic]) -> Iterable[Text]:
    for item in diagnostics:
        place, _, rest = render([item], "concise").rstrip("\n").partition(": ")
        text = Text(place, "bold")
        text.append(f": {rest}", "red" if item.severity == "error" else "yellow")
        if item.help:
            text.append(f"\n    {harmless(item.help)}", "dim")
        yield text
