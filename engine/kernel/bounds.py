"""How many tokens a prompt has at most: counted by the server where it can, else a bound that is never too low."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from engine.backends.base import Backend, CompletionRequest
from engine.messages import Usage

# At most what a chat template puts around one message, before the first and around tools that the API declares.
_OF_A_MESSAGE, _OF_A_PROMPT, _OF_TOOLS = 16, 64, 512
_INSIDE_THE_PROMPT = ("json_schema", "strict_tools")


class PromptBound:
    """Bounds the prompts of one conversation.

    A token is at least one byte of text, so a prompt has at most as many tokens as bytes. Once the server said how many
    tokens a prompt had, only what came after it is counted so.
    """

    def __init__(self) -> None:
        self._last: CompletionRequest | None = None
        self._tokens = 0

    def of(self, request: CompletionRequest) -> int:
        """Return the most tokens that the prompt of a request can have."""
        last = self._last
        if last is not None and _continues(request, last):
            return self._tokens + sum(map(_of_message, request.messages[len(last.messages) :]))
        return _OF_A_PROMPT + sum(map(_of_message, request.messages)) + _beside(request)

    async def counted(self, request: CompletionRequest, backend: Backend) -> int:
        """Return the tokens of a prompt as the backend counts them, with the bound of what it does not count."""
        if request.model in (None, await backend.model_name()):
            tokens = await backend.count_tokens(request.messages)
            if tokens is not None:
                return tokens + _beside(request)
        return self.of(request)

    def learn(self, request: CompletionRequest, usage: Usage) -> None:
        """Take what the server says about a request that it answered."""
        self._last, self._tokens = (request, usage.prompt_tokens) if usage.prompt_tokens else (None, 0)


def _continues(request: CompletionRequest, last: CompletionRequest) -> bool:
    same = (request.model, request.adapter, request.constraint) == (last.model, last.adapter, last.constraint)
    head = request.messages[: len(last.messages)]
    return same and request.tools == last.tools and head == last.messages


def _of_message(message: Mapping[str, Any]) -> int:
    """Return the most tokens of one message: its bytes, and what a template writes around it."""
    content, calls = message.get("content"), message.get("tool_calls")
    text = content if isinstance(content, str) else repr(content)
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return size + (len(json.dumps(calls, default=repr)) if calls else 0) + _OF_A_MESSAGE


def _beside(request: CompletionRequest) -> int:
    """Return the most tokens of what a server writes into the prompt beside the messages."""
    tools = _OF_TOOLS + len(json.dumps([asdict(tool) for tool in request.tools], default=dict)) if request.tools else 0
    constraint = request.constraint
    return tools + (len(json.dumps(constraint.value, default=repr)) if constraint.kind in _INSIDE_THE_PROMPT else 0)
