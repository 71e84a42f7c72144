"""The line to one OpenAI-compatible server: the SDK's client, opened on first use, answering with parsed JSON."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from engine.backends.sse import EventStream
from engine.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

# Bytes of one answer; a long reply with the probabilities of its tokens has a few million.
MAX_ANSWER = 64 << 20
# Seconds that the end of an answer may take whose last event has come.
_END_OF_ANSWER = 0.2
# Given where there is no key, so that the SDK does not send OPENAI_API_KEY to another server.
_NO_KEY = "none"


class MalformedReplyError(Exception):
    """The server answered 200 with something that is no JSON object of the protocol."""


class Connection:
    """One server.

    Args:
        base_url: The API's URL; `/v1` is added when the URL has no path.
        api_key: The key, if the server wants one.
        direct: Ignore the proxies of the environment (for a server on this machine).
        timeout: Seconds without a byte after which a request is given up.
    """

    def __init__(self, base_url: str, api_key: str | None, *, direct: bool, timeout: float) -> None:
        self.base_url = check_url(base_url)
        self.root = self.base_url.removesuffix("/v1")
        self._key = api_key
        self._direct = direct
        self._timeout = timeout
        self._client: AsyncOpenAI | None = None
        self._mark, self._count = secrets.token_hex(8), itertools.count()

    @property
    def shown(self) -> str:
        """The URL as messages show it, without a user name and password."""
        parts = urlsplit(self.base_url)
        host = parts.netloc.rsplit("@", 1)[-1]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))

    def redact(self, text: str) -> str:
        """Remove the key from a text that came from elsewhere."""
        return text.replace(self._key, "***") if self._key else text

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send JSON to a path below the API's URL, or to a full URL, and return the parsed answer."""
        import httpx2

        options = self._options()
        return _parse(
            await self.open().post(self._full(path), content=_json(body), cast_to=httpx2.Response, options=options)
        )

    async def stream(
        self, path: str, body: Mapping[str, Any], *, once: bool = False
    ) -> AsyncGenerator[Sequence[Any], None]:
        """Send JSON and give the parsed server-sent events of the answer, those that came together in one sequence.

        Closing the generator closes the connection.

        Args:
            path: A path below the API's URL.
            body: What is sent.
            once: Whether the connection is for this request only.

        Raises:
            MalformedReplyError: An event is not JSON.
            openai.APIError: An event says that the server failed.
        """
        import httpx2
        from openai import APIConnectionError

        options = self._options()
        if once:
            options["headers"] = {"Connection": "close"}
        response = await self.open().post(
            self._full(path), content=_json(body), cast_to=httpx2.Response, options=options, stream=True
        )
        events, parts = EventStream(), response.aiter_bytes()
        try:
            async for part in parts:
                batch, failure = _parsed(events.feed(part), response)
                if batch:
                    yield batch
                if failure is not None:
                    raise failure
                if events.done:
                    break
            if not once:
                await _drain(parts)
        except httpx2.RequestError as error:
            raise APIConnectionError(request=response.request) from error
        finally:
            await response.aclose()

    async def command(self, path: str, body: Mapping[str, Any]) -> None:
        """Send JSON to an endpoint beside the API whose answer matters only in its status."""
        import httpx2

        await self.open().post(self.root + path, content=_json(body), cast_to=httpx2.Response)

    async def get(self, path: str) -> Any:
        """Fetch JSON."""
        import httpx2

        return _parse(await self.open().get(path, cast_to=httpx2.Response))

    async def text(self, path: str) -> str:
        """Fetch the text of an endpoint beside the API, such as `/metrics`."""
        import httpx2

        return (await self.open().get(self.root + path, cast_to=httpx2.Response)).text

    async def call(self, path: str, body: Mapping[str, Any] | None) -> Any:
        """Talk to an endpoint beside the API, such as `/tokenize`."""
        return await (self.get(self.root + path) if body is None else self.post(self.root + path, body))

    async def aclose(self) -> None:
        """Close the connections; the next request opens them again."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _full(self, path: str) -> str:
        """Return the whole URL: the SDK takes three times as long to put one together."""
        return f"{self.base_url}{path}" if path.startswith("/") else path

    def _options(self) -> Any:
        """Return the options of a request: a key of its own, for which the SDK else asks the system for randomness."""
        return {"idempotency_key": f"{self._mark}-{next(self._count)}"}

    def open(self) -> AsyncOpenAI:
        """Return the SDK's client, made on first use.

        Raises:
            MissingExtraError: openai is not installed.
        """
        if self._client is None:
            try:
                from openai import AsyncOpenAI, DefaultAioHttpClient
            except ImportError as error:
                raise MissingExtraError("a model server", "backend") from error
            try:
                hooks = {"response": [_limited]}
                http = DefaultAioHttpClient(trust_env=not self._direct, timeout=self._timeout, event_hooks=hooks)
            except RuntimeError as error:
                raise MissingExtraError("a model server (openai without its aiohttp client)", "backend") from error
            self._client = AsyncOpenAI(
                base_url=self.base_url,
                api_key=self._key or _NO_KEY,
                max_retries=0,
                timeout=self._timeout,
                http_client=http,
            )
        return self._client


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


async def _drain(parts: AsyncIterator[bytes]) -> None:
    """Read what is left of an answer whose end was said, so that its connection can be used again."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_OF_ANSWER):
            async for _ in parts:
                pass


def _parsed(found: Sequence[bytes], response: Any) -> tuple[list[Any], Exception | None]:
    """Return the events before the first that cannot be used, and what is wrong with that one."""
    batch: list[Any] = []
    for data in found:
        try:
            event = json.loads(data)
        except (ValueError, RecursionError) as error:
            return batch, MalformedReplyError(f"sent an event that is not JSON: {error}")
        if isinstance(event, Mapping) and event.get("error"):
            return batch, _failure(event["error"], response)
        batch.append(event)
    return batch, None


def _failure(said: Any, response: Any) -> Exception:
    """Return the SDK's error for an event that says that the server failed."""
    from openai import APIError

    words = said.get("message") if isinstance(said, Mapping) else None
    message = words if isinstance(words, str) and words else "An error occurred during streaming"
    return APIError(message=message, request=response.request, body=said)


def _parse(response: Any) -> Any:
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError) as error:
        raise MalformedReplyError(f"answered with something that is not JSON: {response.text[:200]!r}") from error


async def _limited(response: Any) -> None:
    """Let an answer fail that has no end, before it fills the memory; a hook of the HTTP client."""
    response.stream = _stream_class()(response.stream)


@cache
def _stream_class() -> Any:
    import httpx2

    class Limited(httpx2.AsyncByteStream):
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        async def __aiter__(self) -> AsyncGenerator[bytes, None]:
            size = 0
            async for part in self._inner:
                size += len(part)
                if size > MAX_ANSWER:
                    raise MalformedReplyError(f"sent more than {MAX_ANSWER >> 20} MB in one answer")
                yield part

        async def aclose(self) -> None:
            await self._inner.aclose()

    return Limited


def check_url(base_url: str) -> str:
    """Return the URL of the API without a trailing slash.

    Raises:
        ConfigError: It is no http or https URL.
    """
    import logging

    parts = urlsplit(base_url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"backend.base_url {base_url!r} is no URL: write it as http://localhost:8000/v1")
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    if not path:
        path = "/v1"
        logging.getLogger("engine.backends").info("backend.base_url has no path, %s is used", path)
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))
