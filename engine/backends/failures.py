"""What the SDK raised, in the words of `engine.errors`: the URL, what happened, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.backends.connection import MalformedReplyError
from engine.backends.retry import asked_to_wait
from engine.errors import BackendError, BackendRejected, BackendUnavailable, ContextLengthError, KeyRefused

_CONTEXT = re.compile(
    r"context (length|size|window)|maximum model length|exceed_context_size|input_tokens|"
    r"max_tokens.{0,40}(too large|cannot be greater)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a message needs to know.

    Attributes:
        url: The server's URL, fit to be shown.
        model: The model that was asked for.
        models: The models that the server has.
        constrained: Whether the request carried a constraint.
        effort: `4 attempts in 3.1 s`, or empty.
    """

    url: str
    model: str = ""
    models: tuple[str, ...] = ()
    constrained: bool = False
    effort: str = ""


def may_pass(error: Exception) -> bool:
    """Say whether a failure may be gone at the next attempt."""
    from openai import APIConnectionError

    status = _status_of(error)
    if status is not None:
        quota = status == 429 and "insufficient_quota" in str(getattr(error, "code", ""))
        return (status in (408, 425, 429) or status >= 500) and status != 501 and not quota
    return isinstance(error, (APIConnectionError, TimeoutError, MalformedReplyError))


def may_be_charged(error: BaseException) -> bool:
    """Say whether the server may have worked on a request that failed, and so may charge for it.

    It has not where it refused the request (4xx, 501, 503), or was never reached.
    """
    status = _status_of(error)
    if status is not None:
        return status >= 500 and status not in (501, 503)
    never = ("ConnectError", "ConnectTimeout", "ClientConnectorError", "ConnectionRefusedError", "gaierror")
    return not any(type(cause).__name__ in never for cause in _chain(error))


def _status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an answer; of an error inside a stream, whose answer began with 200, what it says."""
    from openai import APIConnectionError, APIError, APIStatusError

    if isinstance(error, APIStatusError):
        return error.status_code
    if not isinstance(error, APIError) or isinstance(error, APIConnectionError):
        return None
    code = error.body.get("code") if isinstance(error.body, Mapping) else None
    said = str(code) if isinstance(code, int | str) else ""
    # What a server says without a status is about the request: sending it again would not help.
    return int(said) if said.isascii() and said.isdigit() and 400 <= int(said) < 600 else 400


def translate(error: BaseException, where: Circumstances) -> BackendError:
    """Return the engine's error for what the SDK raised."""
    status = _status_of(error)
    if status is not None:
        return _status(error, status, where)
    malformed = next((cause for cause in _chain(error) if isinstance(cause, MalformedReplyError)), None)
    if malformed is not None:
        return _unavailable(f"{where.url} {malformed}; is it an OpenAI-compatible server?", where)
    return _unreachable(error, where)


def _unreachable(error: BaseException, where: Circumstances) -> BackendError:
    causes, kind = list(_chain(error)), "unreachable"
    text = next((str(cause) for cause in causes if isinstance(cause, OSError) and str(cause)), str(causes[-1]))
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes) or "refused" in text.lower():
        what = "refused the connection: is the server running there, and is backend.base_url right?"
    elif any(type(cause).__name__ == "ServerDisconnectedError" for cause in causes) or _broke_off(causes):
        what, kind = "broke off in the middle of an answer: look at the server's log", "broken"
    elif "getaddrinfo" in text or "Name or service" in text or "nodename" in text:
        what = "cannot be found: is the host in backend.base_url spelt right?"
    elif any(isinstance(cause, TimeoutError) for cause in causes):
        what = "did not answer in time: is the server overloaded, or the reply too long (max_tokens)?"
        kind = "timeout"
    else:
        what = f"cannot be reached: {text or type(error).__name__}"
    return _unavailable(f"{where.url} {what}", where, kind)


def _unavailable(
    words: str, where: Circumstances, kind: str = "broken", retry_after: float | None = None
) -> BackendUnavailable:
    return BackendUnavailable(words + _tried(where), words, kind, retry_after)


def _broke_off(causes: list[BaseException]) -> bool:
    return any(isinstance(c, ConnectionResetError) or type(c).__name__ == "ClientPayloadError" for c in causes)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _status(error: Any, status: int, where: Circumstances) -> BackendError:
    words = _words(error)
    if status in (401, 403):
        return KeyRefused(
            f"{where.url} refused the key ({status}): {words}; "
            f"set backend.api_key_env to the variable that holds the key"
        )
    if status == 404:
        return _not_found(where, words)
    if status in (400, 413, 422):
        return _bad_request(error, status, where)
    if may_pass(error):
        kind = "overloaded" if status in (429, 503) else "broken"
        return _unavailable(f"{where.url} answered {status}: {words}", where, kind, asked_to_wait(error))
    return BackendRejected(f"{where.url} refused the request ({status}): {words}")


def _not_found(where: Circumstances, words: str) -> BackendError:
    if where.models:
        have = ", ".join(where.models)
        return BackendRejected(
            f"{where.url} has no model {where.model!r}; it has: {have}. Set backend.model or --model"
        )
    hint = "" if where.url.endswith("/v1") else " (most servers answer under /v1)"
    return BackendRejected(f"{where.url} answered 404: {words}; is backend.base_url right{hint}?")


def _bad_request(error: Any, status: int, where: Circumstances) -> BackendError:
    words = _words(error)
    body = error.body if isinstance(error.body, Mapping) else {}
    marks = f"{words} {body.get('type')} {body.get('code')} {body.get('param')}"
    if _CONTEXT.search(marks):
        numbers = ""
        if isinstance(body.get("n_prompt_tokens"), int):
            numbers = f" ({body['n_prompt_tokens']} tokens, the context holds {body.get('n_ctx')})"
        return ContextLengthError(
            f"the prompt does not fit into the model's context{numbers}: {words} [{where.url}]. Shorten the prompt, "
            f"lower max_tokens or give the server a longer context"
        )
    what = "refused the request, which carried a grammar" if where.constrained else "refused the request"
    return BackendRejected(f"{where.url} {what} ({status}): {words}")


def _words(error: Any) -> str:
    body = error.body
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        text = inner.get("message") if isinstance(inner, Mapping) else inner
        text = text or body.get("message") or body.get("detail")
    else:
        text = body
    return " ".join(str(text or error.message).split())[:800]


def _tried(where: Circumstances) -> str:
    return f" ({where.effort})" if where.effort else ""
