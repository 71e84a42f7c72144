"""What opens over the live preview: the list of nodes, the exact request, the help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.run import Rendered
from engine.tui.dev.events import NodeRow
from engine.tui.text import harmless

HELP = """\
r  run again
n  pick another node that the bundle takes in the target
a  accept the change: write it into the file
e  the exact request: messages, tool schemas, constraint, tokens
p  the prompt, o  the output, c  the change, f  the findings (arrows scroll)
z  this pane alone, or all of them
d  only what differs from the last preview, or the whole text
?  this help
q  quit (Ctrl-C interrupts: exit code 130)

Every save of a file of the bundle, of a bundle that it extends, or of the
target begins a new preview. A save that breaks the bundle shows what is
wrong, and the last good result stays."""


class NodePicker(ModalScreen[NodeRow | None]):
    """A list of nodes that narrows as one types.

    Args:
        nodes: The nodes.
        title: Why it is asked.
    """

    CSS = """
    NodePicker { align: center middle; }
    NodePicker > Vertical { width: 80%; max-width: 100; height: 80%; border: round $accent; padding: 0 1; }
    NodePicker OptionList { height: 1fr; border: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close"),
        Binding("down", "move(1)", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
    ]

    def __init__(self, nodes: Sequence[NodeRow], title: str) -> None:
        super().__init__()
        self._rows, self._reason = nodes, title
        self._found = list(nodes)

    def compose(self) -> ComposeResult:
        """A reason, a field and the list."""
        with Vertical():
            yield Static(Text(harmless(self._reason)), markup=False)
            yield Input(placeholder="type a part of the name; enter picks, escape closes")
            yield OptionList()

    def on_mount(self) -> None:
        """Show all nodes."""
        self._narrow("")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Narrow the list."""
        self._narrow(event.value)

    def on_input_submitted(self) -> None:
        """Pick the node that is highlighted."""
        highlighted = self.query_one(OptionList).highlighted
        if highlighted is not None:
            self.dismiss(self._found[highlighted])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Pick the node that was clicked."""
        self.dismiss(self._found[event.option_index])

    def action_move(self, step: int) -> None:
        """Highlight the next or the previous node."""
        listed = self.query_one(OptionList)
        if step > 0:
            listed.action_cursor_down()
        else:
            listed.action_cursor_up()

    def _narrow(self, typed: str) -> None:
        words = typed.lower().split()
        self._found = [row for row in self._rows if all(word in f"{row.name} {row.type}".lower() for word in words)]
        listed = self.query_one(OptionList)
        listed.clear_options()
        listed.add_options(Option(_label(row)) for row in self._found)
        listed.highlighted = 0 if self._found else None


class Reading(ModalScreen[None]):
    """A text to be read; escape closes it."""

    CSS = """
    Reading { align: center middle; }
    Reading > VerticalScroll { width: 90%; height: 90%; border: round $accent; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,e,x,question_mark", "dismiss(None)", "Close")]

    def __init__(self, text: Text, title: str) -> None:
        super().__init__()
        self._text, self._heading = text, title

    def compose(self) -> ComposeResult:
        """The text, scrolling."""
        with VerticalScroll() as box:
            box.border_title = self._heading
            yield Static(self._text, markup=False)


def request_view(rendered: Rendered) -> Reading:
    """Return the exact request, as `engine render` shows it."""
    text = Text()
    for heading, body in rendered.sections():
        text.append(f"{harmless(heading)}\n", "bold cyan")
        text.append(f"{harmless(body)}\n\n" if body else "\n")
    text.rstrip()
    return Reading(text, "The exact request (escape closes)")


def help_view() -> Reading:
    """Return the keys."""
    return Reading(Text(HELP), "Keys (escape closes)")


def _label(row: NodeRow) -> Text:
    label = Text(harmless(row.name), "bold")
    label.append(f"  {row.type}, line {row.line}", "dim")
    return label
