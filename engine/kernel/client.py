"""One model call without a loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.backends.base import Backend, CompletionRequest
from engine.kernel.config import RuntimeConfig
from engine.kernel.owner import BackendOwner
from engine.kernel.prompt import PromptBuilder
from engine.kernel.reading import read_reply
from engine.messages import Message, Reply, ToolSchema
from engine.models.base import ModelPlugin


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
        self._prompts = PromptBuilder(plugin, config.options)

    async def run(
        self,
        prompt: str,
        tools: Iterable[ToolSchema | Mapping[str, Any]] = (),
        system: str | None = None,
        model: str | None = None,
    ) -> Reply:
        """Ask the model.

        Args:
            prompt: The user's message.
            tools: What the model may call.
            system: The system prompt.
            model: The model that answers, instead of the configured one.

        Returns:
            The text, the calls, those that could not be read (as is a reply that was cut off), and the token counts.

        Raises:
            BackendError: The server failed or refused.
            ConfigError: The tools cannot be constrained as configured.
        """
        schemas = tuple(ToolSchema.from_any(tool) for tool in tools)
        messages = [Message("user", prompt)]
        if system is not None:
            messages.insert(0, Message("system", system))
        backend = self._open_backend()
        request = await self._request(messages, schemas, model, backend)
        return read_reply(await backend.complete(request), self.plugin, schemas)

    async def _request(
        self, messages: list[Message], tools: tuple[ToolSchema, ...], model: str | None, backend: Backend
    ) -> CompletionRequest:
        choice = self.plugin.tool_choice(tools) if tools else None
        return CompletionRequest(
            self._prompts.wire(messages, tools),
            model or self.config.model,
            self._prompts.constraint(tools, await backend.kinds()),
            self.config.sampling,
            self.config.adapter,
            tools if choice is not None else (),
            choice,
        )
