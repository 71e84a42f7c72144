"""The turn loop."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from engine.backends.base import Backend
from engine.backends.pacing.clock import name_clock
from engine.events import Bus, ErrorOccurred, KernelEnded, KernelStarted
from engine.kernel.config import KernelConfig
from engine.kernel.limits import Budget
from engine.kernel.owner import BackendOwner
from engine.kernel.progress import Progress
from engine.kernel.prompt import PromptBuilder
from engine.kernel.results import ContextProvider, KernelResult, StepResult, Termination
from engine.kernel.routing import choose
from engine.kernel.turn import Parts, Turn, with_context
from engine.messages import Message, ToolSchema
from engine.models.base import ModelPlugin
from engine.tools.base import Tool, ToolEnvironment
from engine.tools.dispatcher import ToolDispatcher

_NOTHING: Mapping[str, Any] = {}

Tools = Iterable[ToolSchema | Mapping[str, Any]] | None


class Kernel(BackendOwner):
    """Runs turns: prompt, constraint, completion, tools.

    A kernel holds no state of a run, so one may serve several at once. It is an async context manager; leaving it
    closes the backend, if the kernel made it itself.

    Args:
        config: Model, limits and all other settings.
        plugin: The model family.
        tools: What can be called.
        observer: Gets every event; any object with some of an Observer's methods.
        backend: Where completions come from; None is the server at `config.base_url`.
        environment: Bound inputs and externals of the tools.
    """

    def __init__(
        self,
        config: KernelConfig,
        plugin: ModelPlugin,
        tools: Iterable[Tool] = (),
        observer: object = None,
        backend: Backend | None = None,
        environment: ToolEnvironment | None = None,
    ) -> None:
        super().__init__(config, backend)
        self.config, self.plugin, self.tools = config, plugin, tuple(tools)
        self._bus = observer if isinstance(observer, Bus) else Bus(observer)
        self._prompts = PromptBuilder(plugin, config.options, config.history, config.sampling.max_tokens)
        self._environment = environment or ToolEnvironment()
        self._schemas = tuple(tool.schema for tool in self.tools)
        self._dispatcher = ToolDispatcher(self.tools)

    async def step(
        self,
        messages: Sequence[Message],
        tools: Tools = None,
        context: Mapping[str, Any] | None = None,
        turn: int = 1,
        model: str | None = None,
    ) -> StepResult:
        """Take one turn.

        Args:
            messages: The conversation so far; a system message at its head is the system prompt.
            tools: What the model is offered; None is every tool of the kernel.
            context: `adapter` and `model_override` choose who answers; the rest joins the tools' bound inputs.
            turn: The number that the events carry.
            model: The model that answers, or one of the configured adapters by name; goes before any other choice.

        Raises:
            EngineError: The backend failed, or the tools cannot be constrained.
        """
        schemas = self._offer(tools)
        return await self._turn(schemas, context or _NOTHING, turn, model, Budget(self.config, alone=True)).take(
            messages
        )

    async def run(
        self,
        messages: Sequence[Message],
        tools: Tools = None,
        max_turns: int = 20,
        termination: Termination | None = None,
        context_provider: ContextProvider | None = None,
        model: str | None = None,
    ) -> KernelResult:
        """Take turns until the work is done or cannot go on.

        Failures are part of the result; only cancellation is raised. Who answers a turn: the argument `model`, else
        what the context provider says, else the configured adapter and model; see `engine.kernel.routing`.

        Args:
            messages: The system and user messages.
            tools: What the model is offered; None is every tool of the kernel.
            max_turns: At most this many turns.
            termination: The tool whose success ends the run, or a test of each result.
            context_provider: Awaited once before each turn, with the turn's number and the names of the tools that the
                last turn called, as far as it takes them. Of the mapping that it returns, `model_override` and
                `adapter` choose who answers, `prompt` replaces `messages`, the rest joins the tools' bound inputs.
            model: The model that answers every turn, or one of the configured adapters by name.
        """
        began, schemas = time.perf_counter(), self._offer(tools)
        progress = Progress(self.config, messages, termination, len(schemas))
        provide = _provider(context_provider)
        await self._emit(
            KernelStarted, max_turns=max_turns, tools_count=len(schemas), initial_messages_count=len(messages)
        )
        clock = name_clock(asyncio.timeout(progress.budget.seconds))
        try:
            async with clock:
                while progress.reason is None and progress.turns < max_turns:
                    context = await provide(progress.turns + 1, progress.last_tools)
                    progress.renew(context.get("prompt"))
                    turn = self._turn(schemas, context, progress.turns + 1, model, progress.budget)
                    progress.absorb(await turn.take(progress.messages))
            if progress.reason is None:
                progress.out_of_turns(max_turns)
        except asyncio.CancelledError:
            progress.end("cancelled", "it was cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - a failure is the result of this run, not the end of others
            progress.fail(error, out_of_time=clock.expired() and isinstance(error, TimeoutError))
            await self._emit(ErrorOccurred, error_type=progress.reason or "error", message=progress.error or "")
        finally:
            taken = round((time.perf_counter() - began) * 1000, 3)
            await self._emit(KernelEnded, **progress.facts(), duration_ms=taken)
        return progress.result()

    def _offer(self, tools: Tools) -> tuple[ToolSchema, ...]:
        """Return the schemas of the tools on offer: the same object for the same tools as the kernel's own."""
        if tools is None:
            return self._schemas
        offered = tuple(ToolSchema.from_any(tool) for tool in tools)
        return self._schemas if offered == self._schemas else offered

    def _turn(
        self,
        schemas: tuple[ToolSchema, ...],
        context: Mapping[str, Any],
        number: int,
        model: str | None,
        budget: Budget,
    ) -> Turn:
        config = self.config
        return Turn(
            Parts(config, self.plugin, self._prompts, self._bus, self._open_backend()),
            number,
            schemas,
            self._dispatcher_of(schemas),
            with_context(self._environment, context),
            choose(config, context, model),
            budget,
        )

    def _dispatcher_of(self, schemas: tuple[ToolSchema, ...]) -> ToolDispatcher:
        """Return a dispatcher of the offered tools: what is not on offer cannot be called."""
        if schemas is self._schemas:
            return self._dispatcher
        offered = {schema.name for schema in schemas}
        return ToolDispatcher(tool for tool in self.tools if tool.schema.name in offered)

    async def _emit(self, kind: Any, **facts: Any) -> None:
        await self._bus.emit(kind(run_id=self.config.run_id, task_id=self.config.task_id, **facts))


def _provider(provider: ContextProvider | None) -> Callable[[int, tuple[str, ...]], Awaitable[Mapping[str, Any]]]:
    """Return the provider as a callable of two arguments, whatever number it takes itself."""
    takes = 0 if provider is None else _count_parameters(provider)

    async def ask(turn: int, last_tools: tuple[str, ...]) -> Mapping[str, Any]:
        if provider is None:
            return _NOTHING
        return await provider(*(turn, last_tools)[:takes]) or _NOTHING

    return ask


def _count_parameters(provider: ContextProvider) -> int:
    kinds = [parameter.kind for parameter in inspect.signature(provider).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return 2
    return sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)
