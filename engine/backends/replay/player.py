"""A backend that answers from a recording: no model, no network, nothing installed for either."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from engine.backends.base import Completion, CompletionRequest
from engine.backends.canary import canary_word
from engine.backends.replay.asked import asked, constraint_used, fingerprint, wire
from engine.backends.replay.difference import difference, differing
from engine.backends.replay.recorder import with_word
from engine.backends.replay.tape import CANARY, Asked, Canary, Tape, Turn
from engine.backends.replay.text import same
from engine.errors import BackendError, BackendRejected, ContextLengthError, ReplayError
from engine.grammar.constraint import Constraint, Kind
from engine.messages import Usage
from engine.models.base import Adapter


class ReplayBackend:
    """Answers the requests of a recording, turn by turn; one that differs fails, and so does every later one.

    An instance replays one run of one case. What it says about itself is what was recorded, so that the same requests
    are made: also its name is that of the recorded backend.

    Args:
        tape: The recording.
        shown: What messages call it, such as its path.
        concurrency: How many requests at once it says that it is good for; a recording answers one after another.
    """

    def __init__(self, tape: Tape, shown: str = "a recording", concurrency: int = 1) -> None:
        self.tape, self._shown, self.concurrency = tape, shown, concurrency
        self.name = tape.server.backend
        self._next = 0
        self._problem: str | None = None
        self._canaries = {(one.kind, one.model, one.adapter): one for one in tape.canaries}
        self._unspelled = {one.constraint.sha256: one.message for one in tape.unspelled}
        self._counts = {one.sha256: one.tokens for one in tape.counts}

    @property
    def url(self) -> str:
        """What messages call it."""
        return self._shown

    @property
    def unconstrained(self) -> bool:
        """Whether the first request was made without a constraint."""
        return any(turn.request.constraint.kind == "none" for turn in self.tape.turns[:1])

    @property
    def plugin(self) -> str | None:
        """The ModelPlugin of the recorded model's family, where its backend knew it."""
        return self.tape.server.plugin

    def problem(self) -> str | None:
        """Return how the run differed from the recorded one, in full, or None; to be asked when the run is over."""
        if self._problem is not None:
            return self._problem
        left = len(self.tape.turns) - self._next
        if not left:
            return None
        return f"{_count(left, 'recorded reply was', 'recorded replies were')} not asked for: the run ended before"

    def accepts(self, adapter: Adapter) -> bool:
        """Whether this adapter could answer when it was recorded; a new one can, and then its request differs."""
        return self.tape.server.adapters.get(adapter.name, True)

    async def software(self) -> str:
        """What answers."""
        return f"{self._shown} of {self.name}"

    async def model_name(self) -> str:
        """The recorded default model's name."""
        return self.tape.server.model or "unknown"

    async def kinds(self) -> tuple[Kind, ...]:
        """The kinds of constraint that the recorded server could be asked for."""
        return self.tape.server.kinds

    async def spelled(self, constraint: Constraint) -> Mapping[str, Any]:
        """Return nothing: a recording is not asked in fields.

        Raises:
            BackendRejected: The recorded server could not be asked for this constraint.
        """
        message = self._unspelled.get(constraint_used(constraint).sha256)
        if message is not None:
            raise BackendRejected(message)
        return {}

    async def prepare(self, adapters: Sequence[Adapter], models: Sequence[str] = ()) -> None:
        """Do nothing: what was ready then is."""

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[str | Completion, None]:
        """Answer one request: its text as one piece, then the whole Completion.

        Raises:
            BackendError: As `complete` does.
        """
        completion = await self.complete(request)
        if completion.text:
            yield completion.text
        yield completion

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer one request.

        Raises:
            ReplayError: It is not the one that was recorded at this place.
            BackendRejected: The recorded server refused it.
            ContextLengthError: The prompt did not fit.
        """
        word = canary_word(request)
        if word is not None:
            return _answer(self._canary(request, word))
        now = asked(request)
        if self._problem is None and self._next < len(self.tape.turns):
            turn = self.tape.turns[self._next]
            names = differing(turn.request, now)
            if not names:
                self._next += 1
                return _answer(turn)
            self._differs(names, turn.request, now)
        raise self._refuse(now)

    async def count_tokens(self, messages: Sequence[Mapping[str, Any]]) -> int | None:
        """Return the number of prompt tokens as it was counted, or as the recorded reply to these messages says.

        Raises:
            ReplayError: The prompt is not the recorded one.
        """
        sent = wire(messages)
        sha256 = fingerprint(sent)
        if sha256 in self._counts:
            return self._counts[sha256]
        turn = self.tape.turns[self._next] if self._next < len(self.tape.turns) else None
        if turn is None:
            return None
        if not same(turn.request.messages, sent):
            now = turn.request.model_copy(update={"messages": tuple(sent)})
            self._differs(["messages"], turn.request, now)
            raise self._refuse(now)
        return turn.reply.tokens.prompt if turn.reply is not None else None

    async def aclose(self) -> None:
        """Do nothing."""

    def _canary(self, request: CompletionRequest, word: str) -> Canary:
        adapter = request.adapter.name if request.adapter else None
        kept = self._canaries.get((request.constraint.kind, request.model, adapter))
        if kept is None:
            what = f"whether {self.name} enforces a constraint of kind {request.constraint.kind}"
            self._problem = self._problem or f"the recording does not say {what}"
            raise ReplayError(f"{self._shown}: {self._problem}")
        return with_word(kept, CANARY, word)

    def _differs(self, names: Sequence[str], recorded: Asked, now: Asked) -> None:
        what = f"turn {self._next + 1} asks for something else than was recorded ({', '.join(names)}):"
        self._problem = self._problem or f"{what}\n{difference(recorded, now)}"

    def _refuse(self, now: Asked) -> ReplayError:
        if self._problem is None:
            recorded = self.tape.turns[-1].request if self.tape.turns else now.model_copy(update={"messages": ()})
            count = _count(len(self.tape.turns), "reply", "replies")
            more = f"the recording ends after {count}, and another request was made:"
            self._problem = f"{more}\n{difference(recorded, now) or 'the same as the last one'}"
        return ReplayError(f"{self._shown}: {self._problem.partition(chr(10))[0].rstrip(':')}")


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def _answer(kept: Turn | Canary) -> Completion:
    if kept.refusal is not None:
        error: type[BackendError] = ContextLengthError if kept.refusal.kind == "too_long" else BackendRejected
        raise error(kept.refusal.message)
    assert kept.reply is not None  # noqa: S101 - the format has one of the two
    reply = kept.reply
    usage = Usage(reply.tokens.prompt, reply.tokens.completion)
    return Completion(reply.text, reply.tool_calls, reply.finish_reason, usage, reply.model, reply.adapter)
