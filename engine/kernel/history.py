"""Which messages a request carries when the conversation is longer than it may be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.messages import Message


def trim(messages: Sequence[Message], keep: int) -> list[Message]:
    """Return at most `keep` messages: the leading system messages, the first user message, and the newest ones.

    A call and its result are kept or left out together. The result is longer than `keep` only where the head and the
    newest message, with all that belongs to it, are longer already.
    """
    if len(messages) <= keep:
        return list(messages)
    systems = next((place for place, message in enumerate(messages) if message.role != "system"), len(messages))
    user = next((place for place, message in enumerate(messages) if message.role == "user"), len(messages))
    cuts = [cut for cut in _cuts(messages) if cut >= systems]
    fits = (cut for cut in cuts if systems + (user < cut) + len(messages) - cut <= keep)
    cut = next(fits, max(cuts, default=systems))
    return [*messages[:systems], *(messages[user : user + 1] if user < cut else ()), *messages[cut:]]


def _cuts(messages: Sequence[Message]) -> Iterable[int]:
    """Return the places where the conversation can be cut before a message without parting a call from its result."""
    allowed = [True] * len(messages)
    caller: dict[str, int] = {}
    for place, message in enumerate(messages):
        for call in message.tool_calls:
            caller[call.id] = place
        if message.role == "tool":
            start = caller.get(message.tool_call_id or "", place - 1)
            allowed[start + 1 : place + 1] = [False] * (place - start)
    return (place for place, fits in enumerate(allowed) if fits)
