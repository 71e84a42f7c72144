"""Words that both views and the comparison use."""

from __future__ import annotations

import json

from engine.run import Rendered
from engine.tui.dev.events import Finished, ToolRan, Validated


def findings_words(event: Validated) -> str:
    """Say how much is wrong: `1 error, 2 warnings`."""
    errors = sum(item.severity == "error" for item in event.diagnostics)
    return f"{_count(errors, 'error')}, {_count(len(event.diagnostics) - errors, 'warning')}"


def turns_words(event: Finished) -> str:
    """Say what a run took: `1 turn, 324 tokens, 2.6 s`."""
    return f"{_count(event.turns, 'turn')}, {_count(event.tokens, 'token')}, {event.seconds:.1f} s"


def tool_lines(ran: ToolRan) -> list[str]:
    """Return a tool call and its answer as lines."""
    arguments = json.dumps(dict(ran.arguments), ensure_ascii=False, default=str)
    first, *rest = ran.content.split("\n")
    return [f"→ {ran.tool} {arguments}", f"← {'error: ' * ran.is_error}{first}", *(f"  {line}" for line in rest)]


def prompt_text(rendered: Rendered) -> str:
    """Return the messages of a request as one text."""
    return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in rendered.messages)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
