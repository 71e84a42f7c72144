"""Why a change is as it is: what the model said and which tools it called, from the run's event log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from rich.text import Text

from engine.tui.text import harmless
from engine.workspace import ChangeHead

_LONGEST = 6000


def why(events: Iterable[Mapping[str, Any]]) -> Text:
    """Return the story of a task, one try after the other, as far as the log has it.

    Args:
        events: The events of the task, in order.
    """
    text, tries = Text(), 0
    for event in events:
        kind = event["type"]
        if kind == "task:started":
            tries += 1
            if tries > 1:
                text.append(f"\ntry {tries}\n", "bold cyan")
        elif kind in _PARTS:
            for words, style in _PARTS[kind](event):
                text.append(f"{harmless(words)}\n", style)
    text.rstrip()
    return text or Text("the event log has nothing about this task", "dim")


def checks(head: ChangeHead) -> Text:
    """Return what the checks of a change said."""
    text = Text()
    for check in head.checks:
        passed = bool(check["passed"])
        text.append("✓ " if passed else "✗ ", "green" if passed else "bold red")
        text.append(f"{harmless(str(check['check']))}  ", "bold")
        text.append(f"{harmless(str(check['file']))}\n", "dim")
        if check["detail"]:
            text.append(f"    {harmless(str(check['detail']))[:_LONGEST]}\n")
    text.rstrip()
    return text or Text("the bundle checks nothing", "dim")


Words = Iterable[tuple[str, str]]


def _asked(event: Mapping[str, Any]) -> Words:
    yield f"turn {event['turn']}: model {event['model'] or 'default'}, adapter {event['adapter'] or 'none'}", "dim"


def _said(event: Mapping[str, Any]) -> Words:
    yield _cut(event["text"]) or "(no words)", ""


def _called(event: Mapping[str, Any]) -> Words:
    yield f"→ {event['tool']} {_cut(json.dumps(event['arguments'], ensure_ascii=False))}", "cyan"


def _returned(event: Mapping[str, Any]) -> Words:
    yield f"← {'error: ' if event['is_error'] else ''}{_cut(event['content'])}", "red" if event["is_error"] else "green"


def _failed(event: Mapping[str, Any]) -> Words:
    yield f"error: {event['message']}", "red"


def _ended(event: Mapping[str, Any]) -> Words:
    tokens = event["usage"]["prompt_tokens"] + event["usage"]["completion_tokens"]
    cached = ", from the cache" if event.get("cached") else ""
    turns = f"{event['turns']} turn{'' if event['turns'] == 1 else 's'}"
    size = f"{turns}, {tokens} tokens, {event['seconds']:.1f} s{cached}"
    yield f"{event['outcome']} ({event['reason']}; {size})", "bold" if event["outcome"] == "finished" else "bold red"
    words = event["error"] or event["summary"]
    if words:
        yield _cut(str(words)), ""


def _decided(event: Mapping[str, Any]) -> Words:
    yield f"{event['decision']}: {event['file']} {event['reason']}".rstrip(), "yellow"


_PARTS = {
    "model:requested": _asked,
    "model:responded": _said,
    "tool:called": _called,
    "tool:returned": _returned,
    "error:occurred": _failed,
    "task:finished": _ended,
    "change:decided": _decided,
}


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… {len(text) - _LONGEST} more characters"
