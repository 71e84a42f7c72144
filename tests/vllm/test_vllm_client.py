"""RuntimeClient on a real vLLM: whole and in pieces, and each failure with the error of who must act."""

from __future__ import annotations

import pytest
from vllm_parts import drain

from engine import RuntimeClient, RuntimeConfig
from engine.backends import OpenAIBackend, VllmServer
from engine.errors import BackendRejected, BackendUnavailable, ContextLengthError
from engine.grammar import ConstraintOptions
from engine.manifest.bundle_model import Sampling
from engine.messages import Reply, ToolCall
from engine.models import PLUGINS, get_plugin

WEATHER = {
    "name": "get_weather",
    "description": "Look up the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "enum": ["Paris", "Oslo", "São Paulo"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
        },
        "required": ["city", "days"],
        "additionalProperties": False,
    },
}
ASKED = "What will the weather be like in Paris for the next 3 days?"


@pytest.mark.parametrize("plugin", sorted(PLUGINS))
async def test_a_stream_gives_what_the_whole_reply_gives(backend: OpenAIBackend, plugin: str) -> None:
    client = RuntimeClient(RuntimeConfig(sampling=Sampling(max_tokens=128, seed=7)), get_plugin(plugin), backend)
    whole = await client.run(ASKED, [WEATHER])
    pieces = await drain(client.stream(ASKED, [WEATHER]))
    last = pieces[-1]
    assert isinstance(last, Reply)
    assert [(call.name, call.arguments) for call in last.tool_calls] == [
        (call.name, call.arguments) for call in whole.tool_calls
    ]
    assert whole.malformed == last.malformed == ()
    assert [piece for piece in pieces[:-1] if isinstance(piece, ToolCall)] == list(last.tool_calls)
    assert whole.tool_calls[0].name == "get_weather"
    assert 1 <= whole.tool_calls[0].arguments["days"] <= 7
    assert whole.usage.completion_tokens > 5
    assert last.usage.completion_tokens > 5


async def test_text_comes_in_many_pieces(backend: OpenAIBackend) -> None:
    client = RuntimeClient(RuntimeConfig(sampling=Sampling(max_tokens=24)), get_plugin("smollm"), backend)
    said = await drain(client.stream("Tell me about the sea."))
    pieces = [piece for piece in said if isinstance(piece, str)]
    assert len(pieces) > 5
    assert "".join(pieces) == said[-1].text == (await client.run("Tell me about the sea.")).text


async def test_a_stream_that_is_left_early_ends(backend: OpenAIBackend) -> None:
    client = RuntimeClient(RuntimeConfig(sampling=Sampling(max_tokens=200)), get_plugin("smollm"), backend)
    stream = client.stream("Tell me about the sea.")
    assert isinstance(await anext(stream), str)
    await stream.aclose()
    assert (await client.run("Say yes.")).text


async def test_a_bad_grammar_is_refused_whole_and_in_pieces(backend: OpenAIBackend) -> None:
    options = ConstraintOptions("custom", custom="root ::= nothing")
    client = RuntimeClient(RuntimeConfig(options=options), get_plugin("smollm"), backend)
    with pytest.raises(BackendRejected, match="carried a grammar"):
        await client.run(ASKED, [WEATHER])
    with pytest.raises(BackendRejected, match="carried a grammar"):
        await drain(client.stream(ASKED, [WEATHER]))


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_unknown_model_is_told_with_those_that_there_are(backend: OpenAIBackend, streamed: bool) -> None:
    client = RuntimeClient(RuntimeConfig(model="gpt-99"), get_plugin("smollm"), backend)
    with pytest.raises(BackendRejected, match=r"has no model 'gpt-99'; it has: .*SmolLM2-135M-Instruct"):
        await (drain(client.stream("Hello.")) if streamed else client.run("Hello."))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("words", "tokens"), [(6000, 16), (3, 5000)], ids=["prompt", "max_tokens"])
async def test_what_does_not_fit_the_context_is_said(
    backend: OpenAIBackend, words: int, tokens: int, streamed: bool
) -> None:
    client = RuntimeClient(RuntimeConfig(sampling=Sampling(max_tokens=tokens)), get_plugin("smollm"), backend)
    prompt = "word " * words
    with pytest.raises(ContextLengthError, match="does not fit into the model's context"):
        await (drain(client.stream(prompt)) if streamed else client.run(prompt))


async def test_a_reply_that_is_cut_off_has_no_calls(backend: OpenAIBackend) -> None:
    config = RuntimeConfig(sampling=Sampling(max_tokens=6))
    reply = await RuntimeClient(config, get_plugin("smollm"), backend).run(ASKED, [WEATHER])
    assert reply.tool_calls == ()
    assert reply.malformed


async def test_an_absent_server_is_unavailable(vllm_server: VllmServer) -> None:
    config = RuntimeConfig(base_url="http://127.0.0.1:9/v1", timeout=1)
    backend = OpenAIBackend(config.base_url, retries=0)
    try:
        with pytest.raises(BackendUnavailable, match="refused the connection"):
            await RuntimeClient(config, get_plugin("smollm"), backend).run("Hello.")
    finally:
        await backend.aclose()
