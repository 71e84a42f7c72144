"""Real objects at the kernel's seams: a scripted backend, plain tools, an observer that remembers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from scripted_server import CANARY

from engine.backends import Completion
from engine.messages import Message, ToolCall, ToolResult, ToolSchema, Usage
from engine.models import QwenPlugin

PLUGIN = QwenPlugin()
PROMPT = [Message("system", "Be brief."), Message("user", "Do it.")]


def calls(*pairs):
    """A reply that calls tools, as the model would write it."""
    return PLUGIN.format_calls([ToolCall(str(number), name, args) for number, (name, args) in enumerate(pairs)])


@dataclass
class ScriptedBackend:
    """Answers from a script: a text, a Completion, or an exception to raise; the last one repeats.

    A canary in EBNF is answered as by a server that enforces grammars, unless `enforces` is off.
    """

    script: list
    name: str = "scripted"
    url: str = "the scripted backend"
    concurrency: int = 1
    counted: int | None = None
    requests: list = field(default_factory=list)
    closed: bool = False
    enforces: bool = True

    def accepts(self, adapter):
        return True

    async def model_name(self):
        return "m"

    async def software(self):
        return "a script"

    async def kinds(self):
        return ("ebnf", "structural_tag", "json_schema", "strict_tools")

    async def spelled(self, constraint):
        return {}

    async def prepare(self, adapters, models=()):
        pass

    async def stream(self, request):
        done = await self.complete(request)
        for start in range(0, len(done.text), 3):
            yield done.text[start : start + 3]
        yield done

    async def complete(self, request):
        word = CANARY.search(str(request.constraint.value)) if self.enforces else None
        if word is not None and request.constraint.kind == "ebnf":
            return Completion(word[0])
        self.requests.append(request)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        await asyncio.sleep(0)
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Completion):
            return answer
        if callable(answer):
            return await answer(request)
        return Completion(answer, usage=Usage(10, 5), model=request.model or "m")

    async def count_tokens(self, messages):
        return self.counted

    async def aclose(self):
        self.closed = True


class PlainTool:
    """A tool over an async function of the arguments."""

    def __init__(self, name, function):
        self.schema = ToolSchema(
            name, f"Tool {name}.", {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
        )
        self._function = function
        self.environments = []

    async def call(self, call, environment):
        self.environments.append(environment)
        content = await self._function(**call.arguments)
        failed = content.startswith("error")
        return ToolResult(call.id, call.name, content, is_error=failed, summary=content)


async def echo(text):
    """Return the text."""
    return text


def tool(name="echo", function=echo):
    """A tool that returns its text; a text that begins with `error` is a failure."""
    return PlainTool(name, function)


class Memory:
    """Remembers the events."""

    def __init__(self):
        self.events = []

    async def on_event(self, event):
        self.events.append(event)

    @property
    def types(self):
        return [event.type for event in self.events]

    def only(self, kind):
        return [event for event in self.events if event.type == kind]

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]
