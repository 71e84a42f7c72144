"""Completions from any OpenAI-compatible server, over the openai SDK."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from engine.backends.base import Completion, CompletionRequest, Meter
from engine.backends.connection import Connection, MalformedReplyError
from engine.backends.dialects import DIALECTS, Dialect, recognise
from engine.backends.failures import Circumstances, may_be_charged, may_pass, translate
from engine.backends.replies import StreamedReply, read_completion
from engine.backends.retry import GaveUpError, Patience, with_retries
from engine.backends.served import Served
from engine.backends.server_info import ServerInfo, parse_models
from engine.backends.server_load import METRICS, ServerLoad, parse_load
from engine.backends.targets import Target, Targets
from engine.errors import BackendError, BackendRejected, BackendUnavailable, ConfigError
from engine.grammar.constraint import Constraint, Kind
from engine.models.base import Adapter

_T = TypeVar("_T")
# Seconds for the waits between attempts, beside the attempts' own time.
_WAITS = 30.0
# Seconds for the answer to a question that costs a server nothing.
_SHORT = 10.0
_CHAT = "/chat/completions"


@dataclass(frozen=True, slots=True)
class _Known:
    """What the server said when it was asked first."""

    dialect: Dialect
    targets: Targets

    @property
    def server(self) -> ServerInfo:
        """What the server says about itself, with what was loaded since."""
        return self.targets.served.info


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request as it is sent: who answers, the body, what messages need, who hears of its attempts.

    `once` says that a stream needs a connection of its own.
    """

    target: Target
    body: dict[str, Any]
    where: Circumstances
    meter: Meter | None
    once: bool

    async def again(self, error: Exception) -> None:
        """Tell the meter that the request is sent again, where the failed attempt may have been charged."""
        if self.meter is not None and may_be_charged(error):
            await self.meter.again(type(error).__name__)

    def named(self, done: Completion) -> Completion:
        """Return a completion with the adapter that gave it."""
        return done if self.target.adapter is None else replace(done, adapter=self.target.adapter)


class OpenAIBackend:
    """One OpenAI-compatible server.

    Args:
        base_url: The API's URL, such as `http://localhost:8000/v1`.
        model: The default model; None takes the first that the server lists.
        api_key: The key, if the server wants one; it never appears in a message or a log.
        dialect: The server's software; `auto` asks it once.
        retries: Further attempts after a failure that may pass (429, 5xx, timeout, disconnect, broken JSON).
        timeout: Seconds for one attempt; all attempts and waits take at most twice as long and 30 s.
        concurrency: How many requests at once the server is good for.
        label: What messages call a server that this process runs itself, and so reaches without the proxies of the
            environment; any other is called by its URL.

    Raises:
        ConfigError: The URL or the dialect makes no sense.
    """

    name = "openai"

    def __init__(  # noqa: PLR0913 - the settings of engine.yaml, each with its default
        self,
        base_url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        dialect: str = "auto",
        retries: int = 3,
        timeout: float = 300.0,
        concurrency: int = 16,
        label: str | None = None,
    ) -> None:
        if dialect != "auto" and dialect not in DIALECTS:
            raise ConfigError(f"backend.dialect {dialect!r} is unknown: use auto, {', '.join(sorted(DIALECTS))}")
        self._connection = Connection(base_url, api_key, direct=label is not None, timeout=timeout)
        self._label = label
        self._model = model
        self._dialect = dialect
        self._patience = Patience(retries, timeout, 2 * timeout + _WAITS)
        self._concurrency = concurrency
        self._known: _Known | None = None
        self._probing: asyncio.Task[_Known] | None = None

    @property
    def url(self) -> str:
        """What messages call the server: its URL without a user name and password, unless it has a label."""
        return self._label or self._connection.shown

    @property
    def concurrency(self) -> int:
        """How many requests at once it is good for."""
        return self._concurrency

    @property
    def retries(self) -> int:
        """How often it sends a request again that failed in passing."""
        return self._patience.retries

    def once(self) -> OpenAIBackend:
        """Return the same backend, on the same connections, that sends each request once: the caller tries again."""
        other = copy.copy(self)
        other._patience = replace(self._patience, retries=0)  # noqa: SLF001 - its own class
        return other

    def accepts(self, adapter: Adapter) -> bool:
        """Whether this adapter can answer here.

        Before the server was asked (by `prepare` or a first request) every adapter may; afterwards, one that was not
        trained on another model. The last word is the Completion's: it names the adapter that answered.
        """
        return self._known is None or self._known.targets.fits(adapter)

    async def server(self) -> ServerInfo:
        """Return what the server says about itself, asking it once."""
        return (await self._ask()).server

    async def model_name(self) -> str:
        """Return the default model's name."""
        if self._model is not None:
            return self._model
        name = (await self._ask()).server.default_model
        if name is None:
            raise BackendRejected(f"{self.url} lists no model: set backend.model or --model")
        return name

    async def kinds(self) -> tuple[Kind, ...]:
        """Return the kinds of constraint that the server can be asked for."""
        return (await self._ask()).dialect.kinds

    async def spelled(self, constraint: Constraint) -> Mapping[str, Any]:
        """Return the fields with which a request asks this server for a constraint.

        Raises:
            BackendRejected: Its dialect cannot spell it.
        """
        return (await self._ask()).dialect.constrain(constraint)

    async def software(self) -> str:
        """Return the server's software and its version, as far as it says."""
        known = await self._ask()

        async def attempt() -> str | None:
            return await known.dialect.version(self._connection.call)

        version = await self._unless_missing(attempt, Circumstances(self.url))
        return f"{known.dialect.software} {version}" if version else known.dialect.software

    async def prepare(self, adapters: Sequence[Adapter], models: Sequence[str] = ()) -> None:
        """Have what a run needs: its models are there, its adapters are loaded.

        Raises:
            BackendError: A model or an adapter cannot be had.
            BundleError: An adapter's files cannot be used.
        """
        known = await self._ask()
        await self.model_name()
        asked: list[tuple[str | None, Adapter | None]] = [(model, None) for model in models]
        asked += [(None, adapter) for adapter in adapters if known.targets.fits(adapter)]
        for model, adapter in asked:
            await self._target(known, model, adapter)

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer one request; an adapter that does not fit the model is left out, and the Completion says so.

        Raises:
            BackendUnavailable: After all retries.
            BackendRejected: The server refused the request.
            ContextLengthError: The prompt does not fit.
        """
        asked = await self._asked(request)

        async def attempt() -> Completion:
            return read_completion(await self._connection.post(_CHAT, asked.body), asked.target.model)

        return asked.named(await self._guarded(self._recovering(asked, attempt), asked.where, asked.again))

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[str | Completion, None]:
        """Answer one request piece by piece: the text as it comes, at the end the whole Completion.

        Closing the generator closes the connection, so that the server stops generating.

        Raises:
            BackendError: As `complete` does; a failure after the first piece is not retried.
        """
        asked = await self._asked(request)
        body = asked.body | {"stream": True, "stream_options": {"include_usage": True}}

        async def attempt() -> tuple[StreamedReply, str | None]:
            chunks = self._connection.stream(_CHAT, body, once=asked.once)
            reply = StreamedReply(chunks, asked.target.model)
            try:
                return reply, await reply.next_text()
            except BaseException:
                await reply.aclose()
                raise

        reply, text = await self._guarded(self._recovering(asked, attempt), asked.where, asked.again)
        once = replace(self._patience, retries=0)
        try:
            while text is not None:
                yield text
                text = reply.text_here()
                if text is None:
                    text = await self._guarded(reply.next_text, asked.where, patience=once)
        except BackendError as error:
            error.charged = True  # whatever it says now, it had begun to answer
            raise
        finally:
            await reply.aclose()
        yield asked.named(reply.completion())

    async def count_tokens(self, messages: Sequence[Mapping[str, Any]]) -> int | None:
        """Return the number of prompt tokens, or None when the server cannot say."""
        known = await self._ask()
        model = (await self._target(known, None, None)).model

        async def attempt() -> int | None:
            try:
                return await known.dialect.count_tokens(self._connection.call, model, messages)
            except (KeyError, TypeError, AttributeError) as error:
                raise MalformedReplyError("answered /tokenize with something else than tokens") from error

        return await self._unless_missing(attempt, self._where(known, model))

    async def load(self) -> ServerLoad | None:
        """Return how busy the server says it is; None where it does not say, or was not asked anything yet.

        Raises:
            BackendError: It did not answer.
        """
        path = METRICS.get(self._known.dialect.name) if self._known is not None else None
        if path is None:
            return None
        said = await self._unless_missing(lambda: self._connection.text(path), Circumstances(self.url))
        return parse_load(said or "")

    async def answers(self) -> bool:
        """Whether the server says within seconds what models it has; an error is an answer, too."""
        self._connection.open()
        from openai import APIStatusError, OpenAIError

        try:
            async with asyncio.timeout(min(_SHORT, self._patience.timeout)):
                await self._connection.get("/models")
        except (APIStatusError, MalformedReplyError):
            return True
        except (OpenAIError, TimeoutError):
            return False
        return True

    async def aclose(self) -> None:
        """Close the connections."""
        if self._probing is not None:
            self._probing.cancel()
            self._probing = None
        await self._connection.aclose()

    async def _asked(self, request: CompletionRequest) -> _Asked:
        """Return a request as this server takes it."""
        known = await self._ask()
        target = await self._target(known, request.model, request.adapter)
        body: dict[str, Any] = {"model": target.model, "messages": list(request.messages)}
        body |= known.dialect.sampling(request.sampling) | _tools(request)
        body |= known.dialect.constrain(request.constraint) | dict(target.fields)
        if request.afresh:
            body |= known.dialect.afresh
        where = self._where(known, target.model, constrained=request.constraint.kind != "none")
        return _Asked(target, body, where, request.meter, known.dialect.closes_streams)

    async def _target(self, known: _Known, model: str | None, adapter: Adapter | None) -> Target:
        """Find who answers, loading the adapter if need be."""
        where = self._where(known, model or self._model or "")
        return await self._guarded(lambda: known.targets.find(model, adapter), where)

    def _recovering(self, asked: _Asked, send: Callable[[], Awaitable[_T]]) -> Callable[[], Awaitable[_T]]:
        """Return `send`, repeated once where the adapter that it needs was unloaded and can be loaded again."""

        async def attempt() -> _T:
            try:
                return await send()
            except Exception as error:
                if self._known is None or not await self._known.targets.recover(asked.target, error):
                    raise
            return await send()

        return attempt

    async def _ask(self) -> _Known:
        """Ask the server once; requests that come meanwhile wait for the same answer."""
        if self._known is not None:
            return self._known
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe())
            self._probing.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._known = await asyncio.shield(self._probing)
        return self._known

    async def _probe(self) -> _Known:
        where = Circumstances(self.url)
        payload = await self._unless_missing(lambda: self._connection.get("/models"), where)
        if payload is None and self._dialect == "auto" and self._model is None:
            raise BackendRejected(f"{self.url} has no /models (404): is backend.base_url right (most end in /v1)?")
        models = parse_models(payload)
        auto = self._dialect == "auto"
        dialect = recognise(self._connection.base_url, models) if auto else DIALECTS[self._dialect]
        adapters = await self._unless_missing(lambda: dialect.adapters(self._connection.call), where)
        served = Served(self._connection, dialect, ServerInfo(models, adapters or ()), self.url)
        return _Known(dialect, Targets(served, self._model))

    def _where(self, known: _Known, model: str, *, constrained: bool = False) -> Circumstances:
        return Circumstances(self.url, model, tuple(row.id for row in known.server.models), constrained)

    async def _guarded(
        self,
        attempt: Callable[[], Awaitable[_T]],
        where: Circumstances,
        again: Callable[[Exception], Awaitable[None]] | None = None,
        patience: Patience | None = None,
    ) -> _T:
        """Run with retries and translate what is left; only what has an `again` may have been charged."""
        self._connection.open()
        from openai import OpenAIError

        try:
            return await with_retries(attempt, patience or self._patience, may_pass, where.url, again)
        except GaveUpError as error:
            cause = error.__cause__ or error
            failure = self._clean(translate(cause, replace(where, effort=str(error))))
            failure.charged = again is not None and may_be_charged(cause)
            raise failure from cause
        except OpenAIError as error:
            failure = self._clean(translate(error, where))
            failure.charged = again is not None and may_be_charged(error)
            raise failure from error
        except UnicodeEncodeError as error:
            raise BackendRejected(
                f"the prompt for {where.url} holds a character that cannot be sent (a lone surrogate, from a file that "
                f"is not UTF-8): {error.reason}"
            ) from error

    def _clean(self, error: BackendError) -> BackendError:
        error.args = (self._connection.redact(str(error)),)
        if isinstance(error, BackendUnavailable):
            error.words = self._connection.redact(error.words)
        return error

    async def _unless_missing(self, attempt: Callable[[], Awaitable[_T]], where: Circumstances) -> _T | None:
        """Run with retries; an endpoint that the server lacks gives None."""
        self._connection.open()
        from openai import NotFoundError

        async def tolerant() -> _T | None:
            try:
                return await attempt()
            except NotFoundError:
                return None

        return await self._guarded(tolerant, where)


def _tools(request: CompletionRequest) -> dict[str, Any]:
    """Return the fields that declare the tools, where the API does that; strict ones replace them."""
    if not request.tools or request.tool_choice is None:
        return {}
    tools = [{"type": "function", "function": asdict(tool)} for tool in request.tools]
    return {"tools": tools, "tool_choice": request.tool_choice}
