"""What opens over the review: a question for a line of text, and the help."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from engine.tui.dev.dialogs import Reading
from engine.tui.text import harmless

HELP = """\
up, down (k, j)   the previous, the next change; n, p  those that wait
a  accept: write the change into the file
F  accept although its checks did not pass
m  accept into a file that was edited meanwhile, merging both
r  reject
u  undo: take an accepted change out of the file again
A  accept all changes that are listed, wait and pass their checks
e  edit the changed file in $EDITOR; its checks run again
t  try again: the task runs once more, with a note of yours
d  the diff, w  why: the model's words and tool calls, c  the checks
s  the sides below each other, or beside each other; z  the list away
/  filter: words, or = and a condition, such as  =not checks.passed
l  also what was decided on, or only what waits
?  this help
q  quit (Ctrl-C interrupts: exit code 130)

+ accepted   - rejected   · waits   ! in conflict      ✓ ✗ its checks
Decisions take effect at once, also for others who review this run."""


class Asking(ModalScreen[str | None]):
    """A question that is answered with a line of text; escape gives None.

    Args:
        question: The question.
        answer: What stands there already.
    """

    CSS = """
    Asking { align: center middle; }
    Asking > Vertical { width: 80%; max-width: 100; height: auto; border: round $accent; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Close")]

    def __init__(self, question: str, answer: str = "") -> None:
        super().__init__()
        self._question, self._answer = question, answer

    def compose(self) -> ComposeResult:
        """The question and a field."""
        with Vertical():
            yield Static(Text(harmless(self._question)), markup=False)
            yield Input(self._answer)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Give the answer."""
        self.dismiss(event.value)


def help_view() -> Reading:
    """Return the keys."""
    return Reading(Text(HELP), "Keys (escape closes)")
