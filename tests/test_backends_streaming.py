"""Streamed completions: pieces, the whole at the end, faults before and in the middle, and closing early."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import ScriptedServer, breaks_off, chunk, fails, ok, raw, scripted_server, slow, streams

from engine.backends import AbsentBackend, Completion, CompletionRequest, EmbeddedBackend, OpenAIBackend
from engine.backends.connection import MalformedReplyError
from engine.backends.replies import StreamedReply
from engine.backends.sse import EventStream
from engine.errors import BackendRejected, BackendUnavailable, ContextLengthError
from engine.grammar.constraint import Constraint
from engine.manifest.bundle_model import Sampling
from engine.messages import Usage
from engine.models.base import Adapter

MESSAGES = [{"role": "user", "content": "hi"}]
ASK = CompletionRequest(MESSAGES)
EBNF = CompletionRequest(MESSAGES, constraint=Constraint("ebnf", 'root ::= "x"'))


@pytest.fixture
def server():
    with scripted_server() as script:
        yield script


async def stream(server: ScriptedServer, request: CompletionRequest = ASK, **settings):
    backend = OpenAIBackend(server.api, **settings)
    try:
        return [piece async for piece in backend.stream(request)]
    finally:
        await backend.aclose()


async def test_pieces_then_the_whole(server) -> None:
    server.chat = [streams({"model": "m", "choices": []}, chunk({"role": "assistant"}), "he", "", "llo\n", "é")]
    *pieces, done = await stream(server)
    assert pieces == ["he", "llo\n", "é"]
    assert done == Completion("hello\né", (), "stop", Usage(7, 3, 5), "m")
    assert server.bodies[0]["stream"] is True
    assert server.bodies[0]["stream_options"] == {"include_usage": True}


async def test_the_whole_equals_what_comes_without_streaming(server) -> None:
    server.text = "some text, 20 characters and more"
    *pieces, done = await stream(server)
    backend = OpenAIBackend(server.api)
    whole = await backend.complete(ASK)
    await backend.aclose()
    assert ("".join(pieces), done) == (whole.text, whole)


async def test_calls_come_in_pieces(server) -> None:
    def delta(**function):
        return chunk(
            {"tool_calls": [{"index": 0, "function": function} | ({"id": "c1"} if "name" in function else {})]}
        )

    server.chat = [streams("ok", delta(name="f", arguments=""), delta(arguments='{"a"'), delta(arguments=": 1}"))]
    *pieces, done = await stream(server)
    assert pieces == ["ok"]
    (call,) = done.tool_calls
    assert (call["id"], call["function"]) == ("c1", {"name": "f", "arguments": '{"a": 1}'})


async def test_an_adapter_is_named(server) -> None:
    server.models = [{"id": "base", "owned_by": "vllm"}, {"id": "fix", "owned_by": "vllm", "parent": "base"}]
    *_, done = await stream(server, CompletionRequest(MESSAGES, adapter=Adapter("fixer", served_name="fix")))
    assert (done.adapter, server.bodies[0]["model"]) == ("fixer", "fix")


@pytest.mark.parametrize(
    "fault",
    [
        fails(500),
        breaks_off(),
        breaks_off(0),
        raw(b"<html>"),
        ok("not streamed"),
        streams(b"{not json", done=False),
        streams(b"[]"),
        streams(finish=None, done=False),
        streams({"error": {"message": "busy", "code": 503}}, done=False),
    ],
    ids=["500", "mid-body", "disconnect", "html", "no-stream", "broken-json", "array", "empty", "error-503"],
)
async def test_a_passing_fault_before_the_first_piece_is_retried(server, fault) -> None:
    server.chat = [fault, streams("at last")]
    *pieces, done = await stream(server)
    assert (pieces, done.text, len(server.bodies)) == (["at last"], "at last", 2)


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (streams("a", finish=None, done=False), BackendUnavailable, "broke off in the middle"),
        (streams("a", finish=None), BackendUnavailable, "broke off in the middle"),
        (streams("a", b"{not json", done=False), BackendUnavailable, "an event that is not JSON"),
        (streams("a", chunk({"content": 7})), BackendUnavailable, "something else than a reply"),
        (
            streams("a", {"error": {"message": "boom", "code": 500}}, done=False),
            BackendUnavailable,
            "answered 500: boom",
        ),
        (streams("a", {"error": {"message": "no", "code": 400}}, done=False), BackendRejected, r"\(400\): no"),
    ],
)
async def test_a_fault_after_the_first_piece_is_not_retried(server, fault, error, words) -> None:
    server.chat = [fault, streams("again")]
    backend = OpenAIBackend(server.api)
    pieces = backend.stream(ASK)
    assert await anext(pieces) == "a"
    with pytest.raises(error, match=words):
        await anext(pieces)
    await backend.aclose()
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        # vLLM: 200, then the error as the first event
        (
            streams({"error": {"message": "bad grammar", "type": "BadRequestError", "code": 400}}, done=False),
            BackendRejected,
            r"carried a grammar \(400\): bad grammar",
        ),
        (streams({"error": {"message": "what?"}}, done=False), BackendRejected, r"\(400\): what\?"),
        (streams({"error": {"message": "x", "code": "404"}}, done=False), BackendRejected, "has no model 'm'"),
        (streams({"error": "plain words"}, done=False), BackendRejected, "plain words"),
        (
            streams({"error": {"message": "maximum context length is 9", "code": 400}}, done=False),
            ContextLengthError,
            "does not fit",
        ),
        (fails(400, "bad grammar"), BackendRejected, r"carried a grammar \(400\): bad grammar"),
    ],
)
async def test_a_refusal_reads_alike_from_create_and_from_the_stream(server, fault, error, words) -> None:
    server.chat = [fault]
    with pytest.raises(error, match=words) as caught:
        await stream(server, EBNF, api_key="sk-secret-1")
    assert len(server.bodies) == 1
    assert "sk-secret-1" not in str(caught.value)


async def test_text_that_cannot_be_sent(server) -> None:
    with pytest.raises(BackendRejected, match="lone surrogate"):
        await stream(server, CompletionRequest([{"role": "user", "content": "a\ud800b"}]))


async def test_a_stream_that_falls_silent_ends(server) -> None:
    server.chat = [streams("a", slow(3))]
    with pytest.raises(BackendUnavailable, match="did not answer in time"):
        await stream(server, timeout=0.5)


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_closing_early_closes_the_connection(server, how) -> None:
    gone = threading.Event()

    def endless(handler) -> None:
        try:
            while True:
                handler.wfile.write(b"data: " + json.dumps(chunk("x")).encode() + b"\n\n")
                handler.wfile.flush()
        except OSError:
            gone.set()

    server.chat = [streams(endless)]
    backend = OpenAIBackend(server.api)
    if how == "close":
        async with contextlib.aclosing(backend.stream(ASK)) as pieces:
            assert await anext(pieces) == "x"
    else:
        begun = asyncio.Event()

        async def read() -> None:
            async with contextlib.aclosing(backend.stream(ASK)) as pieces:
                async for _ in pieces:
                    begun.set()

        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.to_thread(gone.wait, 10)
    server.chat = []
    assert (await backend.complete(ASK)).text == "hello"
    await backend.aclose()


@given(st.lists(st.lists(st.text(max_size=4), max_size=3), max_size=8))
def test_any_split_of_a_text_comes_together(batches) -> None:
    texts = [text for batch in batches for text in batch]

    async def read() -> None:
        async def chunks():
            for batch in batches:
                yield [chunk(text) for text in batch]
            yield [chunk({}, "stop")]

        reply = StreamedReply(chunks(), "m")
        pieces = []
        while (piece := await reply.next_text()) is not None:
            pieces.append(piece)
        assert pieces == [text for text in texts if text]
        assert reply.completion().text == "".join(texts)

    asyncio.run(read())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["choices", "delta", "content", "tool_calls", "usage", "index"]), inner)
    ),
    max_leaves=10,
)


@given(
    st.lists(st.tuples(st.text(max_size=5), st.sampled_from(["\n", "\r\n", "\r"])), max_size=6),
    st.lists(st.integers(0, 200)),
    st.booleans(),
)
def test_events_come_whole_however_the_bytes_are_cut(events, cuts, bom) -> None:
    stream, expected = b"\xef\xbb\xbf" if bom else b"", []
    for text, end in events:
        data = text.replace("\r", "").replace("\n", "")
        lines = [": a comment", "event: x", f"data: {data}", "data:more", "", ""]
        stream += end.join(lines).encode("utf-8", "surrogatepass")
        expected.append(f"{data}\nmore".encode("utf-8", "surrogatepass"))
    stream += b"data: [DONE]\n\ndata: late\n\n"
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    reader, found = EventStream(), []
    for start, stop in itertools.pairwise(places):
        found += reader.feed(stream[start:stop])
    done = next((place for place, data in enumerate(expected) if data.startswith(b"[DONE]")), len(expected))
    assert found == expected[:done]
    assert reader.done


@given(st.lists(JSON, max_size=4))
def test_no_chunk_breaks_the_reader(values) -> None:
    async def read() -> None:
        async def chunks():
            for value in values:
                yield [value]

        reply = StreamedReply(chunks(), "m")
        with contextlib.suppress(MalformedReplyError):
            while await reply.next_text() is not None:
                pass
        assert isinstance(reply.completion(), Completion)

    asyncio.run(read())


async def test_an_absent_model_streams_nothing() -> None:
    backend = AbsentBackend("smollm2-135m-instruct")
    for ask in (anext(backend.stream(ASK)), backend.complete(ASK), backend.prepare(())):
        with pytest.raises(BackendUnavailable, match="engine models pull"):
            await ask


@pytest.fixture
async def embedded(weights: Path):
    backend = EmbeddedBackend(weights)
    yield backend
    await backend.aclose()


@pytest.mark.embedded
async def test_the_embedded_model_streams_what_it_completes(embedded) -> None:
    request = CompletionRequest([{"role": "user", "content": "Count to ten."}], sampling=Sampling(max_tokens=30))
    *pieces, done = [piece async for piece in embedded.stream(request)]
    whole = await embedded.complete(request)
    assert len(pieces) > 5
    assert "".join(pieces) == done.text == whole.text
    assert done.usage.completion_tokens == whole.usage.completion_tokens == 30
    assert done.finish_reason == "length"


@pytest.mark.embedded
async def test_the_embedded_model_streams_under_a_grammar_and_says_what_is_wrong_with_one(embedded) -> None:
    request = CompletionRequest(MESSAGES, constraint=Constraint("ebnf", 'root ::= "zebra" "-7"'))
    assert [piece async for piece in embedded.stream(request)][-1].text == "zebra-7"
    with pytest.raises(BackendRejected, match="Undefined rule identifier 'nope'"):
        await anext(embedded.stream(CompletionRequest(MESSAGES, constraint=Constraint("ebnf", "root ::= nope"))))


@pytest.mark.embedded
async def test_a_closed_stream_stops_the_model(embedded) -> None:
    long = CompletionRequest(
        MESSAGES, constraint=Constraint("ebnf", 'root ::= "a" root'), sampling=Sampling(max_tokens=3500)
    )
    async with contextlib.aclosing(embedded.stream(long)) as pieces:
        await anext(pieces)
        connection = embedded._supervisor._running.client._connection
    slots = [{"is_processing": True}]
    while any(slot["is_processing"] for slot in slots):
        slots = await connection.call("/slots", None)
    assert max(slot.get("n_prompt_tokens", 0) for slot in slots) < 2000  # with what was generated


@pytest.mark.embedded
async def test_a_crash_in_the_middle_of_a_stream_is_told(embedded) -> None:
    long = CompletionRequest(
        MESSAGES, constraint=Constraint("ebnf", 'root ::= "a" root'), sampling=Sampling(max_tokens=3500)
    )
    pieces = embedded.stream(long)
    await anext(pieces)
    os.kill(embedded.pid, signal.SIGKILL)
    with pytest.raises(BackendUnavailable, match="crashed in the middle of its answer"):
        [piece async for piece in pieces]
    assert (await embedded.complete(ASK)).text


async def test_streams_share_a_connection_where_the_server_keeps_it() -> None:
    for dialect, connections in (("vllm", 1), ("llama_cpp", 3)):
        with scripted_server() as server:
            server.routes["/v1/models"] = None
            places = set()

            def answer(handler, places=places):
                places.add(handler.client_address)
                body = b"".join(
                    b"data: " + json.dumps(one).encode() + b"\n\n" for one in (chunk("hi"), chunk({}, "stop"))
                )
                handler.send_response(200)
                handler.send_header("Content-Length", str(len(body + b"data: [DONE]\n\n")))
                handler.end_headers()
                handler.wfile.write(body + b"data: [DONE]\n\n")

            server.chat = [answer] * 3
            backend = OpenAIBackend(server.api, model="m", dialect=dialect)
            for _ in range(3):
                pieces = [one async for one in backend.stream(ASK)]
                assert pieces[0] == "hi"
            await backend.aclose()
            assert len(places) == connections, dialect
