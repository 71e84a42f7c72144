"""The tap: the same completion as without it, and its pieces while they come."""

import asyncio
import threading

import pytest
from kernel_parts import ScriptedBackend
from scripted_server import fails, ok, scripted_server, streams

from engine.backends import Completion, CompletionRequest, OpenAIBackend, StreamTap
from engine.errors import BackendRejected, BackendUnavailable

REQUEST = CompletionRequest([{"role": "user", "content": "hi"}])


async def test_the_completion_is_that_of_the_inner_backend() -> None:
    with scripted_server() as server:
        server.chat = [ok("hello there"), streams("hel", "lo", " there")]
        heard: list[str] = []
        tap = StreamTap(OpenAIBackend(server.api), heard.append)
        plain = await tap.inner.complete(REQUEST)
        assert await tap.complete(REQUEST) == plain
        assert heard == ["hel", "lo", " there"]
        assert server.bodies[0] | {"stream": True, "stream_options": {"include_usage": True}} == server.bodies[1]
        await tap.aclose()


async def test_a_piece_is_heard_before_the_next_is_generated() -> None:
    heard, go_on = [], threading.Event()
    came = asyncio.Event()

    def hear(piece: str) -> None:
        heard.append(piece)
        came.set()

    with scripted_server() as server:
        server.chat = [streams("one", lambda handler: go_on.wait(20), "two")]
        tap = StreamTap(OpenAIBackend(server.api), hear)
        asked = asyncio.create_task(tap.complete(REQUEST))
        async with asyncio.timeout(20):
            await came.wait()
            assert heard == ["one"]
            go_on.set()
            assert (await asked).text == "onetwo"
        await tap.aclose()


async def test_cancelling_closes_the_connection() -> None:
    gone, came = threading.Event(), asyncio.Event()

    def until_gone(handler) -> None:
        handler.connection.settimeout(20)
        if not handler.connection.recv(1):
            gone.set()

    with scripted_server() as server:
        server.chat = [streams("one", until_gone)]
        tap = StreamTap(OpenAIBackend(server.api), lambda piece: came.set())
        asked = asyncio.create_task(tap.complete(REQUEST))
        async with asyncio.timeout(20):
            await came.wait()
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        assert await asyncio.to_thread(gone.wait, 20)
        await tap.aclose()


async def test_errors_come_through_and_a_stream_without_its_end_is_one() -> None:
    with scripted_server() as server:
        server.chat = [fails(400, "no such grammar")]
        tap = StreamTap(OpenAIBackend(server.api), print)
        with pytest.raises(BackendRejected, match="no such grammar"):
            await tap.complete(REQUEST)
        await tap.aclose()

    class Endless(ScriptedBackend):
        async def stream(self, request):
            yield "half"

    with pytest.raises(BackendUnavailable, match="without saying that it was complete"):
        await StreamTap(Endless([""]), lambda piece: None).complete(REQUEST)


async def test_everything_else_is_the_inner_backends() -> None:
    inner = ScriptedBackend([Completion("x")], counted=7)
    tap = StreamTap(inner, lambda piece: None)
    assert (tap.name, tap.url, tap.concurrency, tap.plugin) == ("scripted", inner.url, 1, None)
    assert (await tap.model_name(), await tap.software(), await tap.count_tokens([])) == ("m", "a script", 7)
    assert await tap.kinds() == await inner.kinds()
    assert tap.accepts(None)
    await tap.prepare([])
    assert await tap.spelled(REQUEST.constraint) == {}
    assert [part async for part in tap.stream(REQUEST)] == ["x", Completion("x")]
    await tap.aclose()
    assert inner.closed
