"""One model call without a loop."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.backends.base import Backend, Completion, CompletionRequest
from engine.errors import CallerError
from engine.kernel.config import RuntimeConfig
from engine.kernel.owner import BackendOwner
from engine.kernel.prompt import PromptBuilder
from engine.kernel.reading import Usable, read_reply
from engine.kernel.routing import choose
from engine.messages import MalformedCall, Message, Reply, ToolCall, ToolSchema
from engine.models import ReplyReader
from engine.models.base import ModelPlugin

AnyTool = ToolSchema | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Asked:
    """One call of the client, ready to be sent."""

    backend: Backend
    request: CompletionRequest
    tools: tuple[ToolSchema, ...]


class RuntimeClient(BackendOwner):
    """Asks a model once; tools are offered, and what it calls is returned, not run.

    It is an async context manager; leaving it closes the backend, if the client made it itself.

    Args:
        config: Server, model and sampling.
        plugin: The model family.
        backend: Where completions come from; None is the server at `config.base_url`.
    """

    def __init__(self, config: RuntimeConfig, plugin: ModelPlugin, backend: Backend | None = None) -> None:
        super().__init__(config, backend)
        self.config, self.plugin = config, plugin
        self._prompts = PromptBuilder(plugin, config.options, max_tokens=config.sampling.max_tokens)

    async def run(
        self,
        prompt: str,
        tools: Iterable[AnyTool] = (),
        system: str | None = None,
        model: str | None = None,
    ) -> Reply:
        """Ask the model.

        Args:
            prompt: The user's message.
            tools: What the model may call.
            system: The system prompt.
            model: The model that answers, instead of the configured one, or one of the configured adapters by name.

        Returns:
            The text, the calls that can be used, those that cannot (unreadable, of no tool on offer, with arguments
            that do not fit the tool's schema, or in a reply that was cut off), and the token counts.

        Raises:
            CallerError: The prompt is empty, or a tool schema is none.
            ConfigError: The tools cannot be constrained as configured.
            BackendError: The server failed or refused.
        """
        asked = await self._asked(prompt, tools, system, model)
        completion = await asked.backend.complete(asked.request)
        return Usable(asked.tools).reply(read_reply(completion, self.plugin, asked.tools))

    async def stream(
        self,
        prompt: str,
        tools: Iterable[AnyTool] = (),
        system: str | None = None,
        model: str | None = None,
    ) -> AsyncGenerator[str | ToolCall | MalformedCall | Reply, None]:
        """Ask the model, and give what it says while it says it.

        Args:
            prompt: The user's message.
            tools: What the model may call.
            system: The system prompt.
            model: The model that answers, instead of the configured one, or one of the configured adapters by name.

        Yields:
            Pieces of text, and each call as soon as it is complete; last the Reply that `run` would have returned. Of a
            reply that was cut off the Reply holds no calls, even if some of them had been complete.

        Raises:
            EngineError: As `run` does, before or between the pieces.
        """
        asked = await self._asked(prompt, tools, system, model)
        reader, usable, completion = ReplyReader(self.plugin, asked.tools), Usable(asked.tools), Completion("")
        async with contextlib.aclosing(asked.backend.stream(asked.request)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Completion):
                    completion = piece
                    continue
                for event in reader.feed(piece):
                    yield usable.event(event)
        reader.finish(completion.tool_calls)
        reply = usable.reply(read_reply(completion, self.plugin, asked.tools))
        for event in reply.malformed if completion.finish_reason == "length" else map(usable.event, reader.rest):
            yield event
        yield reply

    async def _asked(self, prompt: str, tools: Iterable[AnyTool], system: str | None, model: str | None) -> _Asked:
        schemas = _schemas(tools)
        messages = _messages(prompt, system)
        backend = self._open_backend()
        who, constraint = choose(self.config, {}, model), self._prompts.constraint(schemas, await backend.kinds())
        who.check(backend)
        request = CompletionRequest(
            self._prompts.wire(messages, schemas),
            who.model,
            constraint,
            self.config.sampling,
            who.adapter,
            *self._prompts.declared(schemas, constraint),
        )
        return _Asked(backend, request, schemas)


def _messages(prompt: str, system: str | None) -> list[Message]:
    for what, text in (("prompt", prompt), ("system prompt", "none" if system is None else system)):
        if not isinstance(text, str):
            raise CallerError(f"the {what} is a {type(text).__name__}: give a text")
    if not prompt.strip():
        raise CallerError("the prompt is empty: give the user's message")
    user = Message("user", prompt)
    return [user] if system is None else [Message("system", system), user]


def _schemas(tools: Iterable[AnyTool]) -> tuple[ToolSchema, ...]:
    if isinstance(tools, str | Mapping) or not isinstance(tools, Iterable):
        raise CallerError(f"the tools are a {type(tools).__name__}: give a list of tool schemas")
    schemas = tuple(ToolSchema.from_any(tool) for tool in tools)
    names = [schema.name for schema in schemas]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CallerError(f"there is more than one tool named '{twice[0]}': give each a name of its own")
    return schemas
