"""A backend around another that keeps what is asked and what is answered."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from engine.backends.base import Backend, Completion, CompletionRequest
from engine.backends.canary import canary_word
from engine.backends.replay.asked import asked, constraint_used, fingerprint, wire
from engine.backends.replay.tape import (
    CANARY,
    Canary,
    Count,
    Label,
    Refusal,
    Reply,
    Server,
    Tape,
    Tokens,
    Turn,
    Unspelled,
)
from engine.backends.replay.text import plain
from engine.errors import BackendRejected, ConfigError, ContextLengthError
from engine.grammar.constraint import Constraint, Kind
from engine.models.base import Adapter


class RecordingBackend:
    """Passes everything through to a backend, and keeps it for a Tape.

    One instance records one run of one case, whose requests are made one after another. It looks like the backend
    inside it, name included. Requests are made afresh, so that a recording does not depend on what was asked before.

    Args:
        inner: Where the replies come from; `aclose` closes it.
    """

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.name = inner.name
        self._model: str | None = None
        self._kinds: tuple[Kind, ...] = ()
        self._adapters: dict[str, bool] = {}
        self._unspelled: dict[str, Unspelled] = {}
        self._canaries: dict[tuple[Kind, str | None, str | None], Canary] = {}
        self._counts: dict[str, Count] = {}
        self._turns: list[Turn] = []
        self._broken: str | None = None

    @property
    def url(self) -> str:
        """What messages call it."""
        return self._inner.url

    @property
    def concurrency(self) -> int:
        """How many requests at once it is good for."""
        return self._inner.concurrency

    @property
    def plugin(self) -> str | None:
        """The ModelPlugin of the model's family, where the backend knows it."""
        return getattr(self._inner, "plugin", None)

    def tape(self, label: Label) -> Tape:
        """Return what was recorded.

        Raises:
            ConfigError: It cannot be replayed: a request was broken off, or failed for a reason that may pass.
        """
        if self._broken is not None:
            raise ConfigError(f"the case '{label.case}' is not recorded: {self._broken}")
        server = Server(
            backend=self.name, model=self._model, plugin=self.plugin, kinds=self._kinds, adapters=self._adapters
        )
        return Tape(
            label=label,
            server=server,
            canaries=tuple(self._canaries.values()),
            unspelled=tuple(self._unspelled.values()),
            counts=tuple(self._counts.values()),
            turns=tuple(self._turns),
        )

    def accepts(self, adapter: Adapter) -> bool:
        """Whether this adapter can answer here."""
        self._adapters[adapter.name] = accepted = self._inner.accepts(adapter)
        return accepted

    async def software(self) -> str:
        """What answers, with its version as far as it says; it is not recorded."""
        return await self._inner.software()

    async def model_name(self) -> str:
        """The default model's name."""
        self._model = await self._inner.model_name()
        return self._model

    async def kinds(self) -> tuple[Kind, ...]:
        """The kinds of constraint that the server can be asked for."""
        self._kinds = await self._inner.kinds()
        return self._kinds

    async def spelled(self, constraint: Constraint) -> Mapping[str, Any]:
        """The fields with which a request asks this server for a constraint."""
        try:
            return await self._inner.spelled(constraint)
        except BackendRejected as error:
            used = constraint_used(constraint)
            self._unspelled[used.sha256] = Unspelled(constraint=used, message=str(error))
            raise

    async def prepare(self, adapters: Sequence[Adapter], models: Sequence[str] = ()) -> None:
        """Make adapters ready to answer before the first request."""
        await self._inner.prepare(adapters, models)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[str | Completion, None]:
        """Answer one request piece by piece; what is recorded is the whole reply."""
        with self._asking(request) as keep:
            async with contextlib.aclosing(self._inner.stream(replace(request, afresh=True))) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Completion):
                        keep(piece)
                    yield piece

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer one request."""
        with self._asking(request) as keep:
            completion = await self._inner.complete(replace(request, afresh=True))
            keep(completion)
            return completion

    async def count_tokens(self, messages: Sequence[Mapping[str, Any]]) -> int | None:
        """Return the number of prompt tokens, or None when the backend cannot say."""
        count = await self._inner.count_tokens(messages)
        sha256 = fingerprint(wire(messages))
        self._counts[sha256] = Count(sha256=sha256, tokens=count)
        return count

    async def aclose(self) -> None:
        """Close the backend inside."""
        await self._inner.aclose()

    @contextlib.contextmanager
    def _asking(self, request: CompletionRequest) -> Iterator[Callable[[Completion], None]]:
        """Keep a request with the completion that is handed to what this yields, or with the refusal that is raised."""
        done: list[Completion] = []
        try:
            yield done.append
        except (BackendRejected, ContextLengthError) as error:
            kind: Literal["rejected", "too_long"] = "too_long" if isinstance(error, ContextLengthError) else "rejected"
            self._keep(request, refusal=Refusal(kind=kind, message=str(error)))
            raise
        except BaseException as error:
            if not done:
                self._broken = self._broken or f"a request got no reply ({error or 'it was broken off'})"
            raise
        finally:
            if done:
                self._keep(request, reply=_reply(done[0]))

    def _keep(self, request: CompletionRequest, **answer: Any) -> None:
        word = canary_word(request)
        if word is None:
            self._turns.append(Turn(request=asked(request), **answer))
            return
        adapter = request.adapter.name if request.adapter else None
        kind = request.constraint.kind
        kept = Canary(kind=kind, model=request.model, adapter=adapter, **answer)
        self._canaries[kind, request.model, adapter] = with_word(kept, word, CANARY)


def with_word(canary: Canary, old: str, new: str) -> Canary:
    """Return a canary's answer with another word for `old`, without token counts, which depend on the word."""
    if canary.reply is None:
        return canary
    reply = canary.reply
    calls = json.loads(json.dumps(reply.tool_calls).replace(old, new))
    changed = {"text": reply.text.replace(old, new), "tool_calls": tuple(calls), "tokens": Tokens()}
    return canary.model_copy(update={"reply": reply.model_copy(update=changed)})


def _reply(completion: Completion) -> Reply:
    usage = completion.usage
    return Reply(
        text=plain(completion.text),
        tool_calls=tuple(plain(call) for call in completion.tool_calls),
        finish_reason=completion.finish_reason,
        tokens=Tokens(prompt=usage.prompt_tokens, completion=usage.completion_tokens),
        model=completion.model,
        adapter=completion.adapter,
    )
