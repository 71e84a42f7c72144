"""From the JSON of `/chat/completions`, whole or in streamed chunks, to a Completion."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any

from engine.backends.base import Completion
from engine.backends.connection import MalformedReplyError
from engine.messages import Usage
from engine.models.api_calls import CallAssembler


def read_completion(payload: Any, model: str) -> Completion:
    """Read the first choice.

    Raises:
        MalformedReplyError: The answer is not what the protocol says.
    """
    try:
        choice = payload["choices"][0]
        message = choice["message"]
        text = "" + (message.get("content") or "")
        calls = tuple(call for call in message.get("tool_calls") or () if isinstance(call, Mapping))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise MalformedReplyError(f"answered without a choice: {str(payload)[:200]}") from error
    return Completion(
        text=text,
        tool_calls=calls,
        finish_reason=str(choice.get("finish_reason") or "stop"),
        usage=_usage(payload.get("usage")),
        model=str(payload.get("model") or model),
    )


class StreamedReply:
    """A streamed answer: its text as it comes, and in the end the whole Completion.

    Args:
        chunks: The `chat.completion.chunk` objects of the protocol, parsed, those that came together in one sequence;
            closed with this object.
        model: The model that was asked for.
    """

    def __init__(self, chunks: AsyncGenerator[Sequence[Any], None], model: str) -> None:
        self._chunks, self._model = chunks, model
        self._here: Iterator[Any] = iter(())
        self._failure: MalformedReplyError | None = None
        self._text: list[str] = []
        self._calls = CallAssembler()
        self._finish_reason: str | None = None
        self._usage = Usage()

    async def next_text(self) -> str | None:
        """Return the next piece of text, never an empty one; None when the answer is complete.

        Raises:
            MalformedReplyError: A chunk is not what the protocol says, or the answer ends in its middle.
        """
        while (text := self.text_here()) is None:
            if self._failure is not None:
                raise self._failure
            batch = await anext(self._chunks, None)
            if batch is None:
                break
            self._here = iter(batch)
        if text is not None:
            return text
        if self._finish_reason is None:
            raise MalformedReplyError(
                "broke off in the middle of a streamed answer" if self._text else "streamed no answer"
            )
        return None

    def text_here(self) -> str | None:
        """Return the next piece of text among what has come already; None when there is none."""
        for chunk in self._here:
            try:
                text = self._take(chunk)
            except (KeyError, IndexError, TypeError, AttributeError) as error:
                self._failure = MalformedReplyError(f"streamed something else than a reply: {str(chunk)[:200]}")
                self._failure.__cause__ = error
                break
            if text:
                self._text.append(text)
                return text
        return None

    def _take(self, chunk: Any) -> str:
        self._model = str(chunk.get("model") or self._model)
        if chunk.get("usage"):
            self._usage = _usage(chunk["usage"])
        if not chunk.get("choices"):  # the chunk of the token counts has none
            return ""
        choice = chunk["choices"][0]
        delta = choice.get("delta") or {}
        self._calls.add(delta.get("tool_calls"))
        if choice.get("finish_reason"):
            self._finish_reason = str(choice["finish_reason"])
        return "" + (delta.get("content") or "")

    def completion(self) -> Completion:
        """Return what came so far as a whole."""
        return Completion(
            "".join(self._text),
            tuple(self._calls.calls()),
            self._finish_reason or "stop",
            self._usage,
            self._model,
        )

    async def aclose(self) -> None:
        """Close the connection, whether the answer is complete or not."""
        await self._chunks.aclose()


def _usage(row: Any) -> Usage:
    if not isinstance(row, Mapping):
        return Usage()
    details = row.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
    return Usage(_count(row.get("prompt_tokens")), _count(row.get("completion_tokens")), _count(cached))


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
