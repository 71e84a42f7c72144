"""The client: one model call with tools, and errors sorted by who must act."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_parts import PLUGIN, ScriptedBackend, calls
from scripted_server import chunk, scripted_server, streams

from engine.backends import Completion, EmbeddedBackend
from engine.errors import BackendRejected, BackendUnavailable, CallerError, ConfigError, EngineError, ToolSchemaError
from engine.grammar.constraint import ConstraintOptions
from engine.kernel import RuntimeClient, RuntimeConfig
from engine.messages import MalformedCall, Message, Reply, ToolCall, ToolSchema, Usage
from engine.models import SmolLMPlugin

CITY = {
    "name": "weather",
    "description": "Return the weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "days": {"type": "integer", "minimum": 1}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
OTHER = {"name": "other", "parameters": {"type": "object"}}


def client(*answers, **config) -> RuntimeClient:
    return RuntimeClient(RuntimeConfig(**config), PLUGIN, ScriptedBackend(list(answers)))


async def test_calls_that_fit_come_back() -> None:
    reply = await client(calls(("weather", {"city": "Oslo", "days": 2}))).run("Hi", [CITY])
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("weather", {"city": "Oslo", "days": 2})]
    assert reply.malformed == ()


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("weather", {}, "'city' is a required property"),
        ("weather", {"city": 7}, "city: 7 is not of type 'string'"),
        ("weather", {"city": "Oslo", "days": 0}, "days: 0 is less than the minimum of 1"),
        ("weather", {"city": "Oslo", "unit": "C"}, "'unit' was unexpected"),
        ("weathr", {"city": "Oslo"}, "there is no tool 'weathr'; did you mean 'weather'?"),
    ],
)
async def test_calls_that_do_not_fit_are_reported_not_returned(name, arguments, problem) -> None:
    good = ("other", {})
    reply = await client(calls(good, (name, arguments), good)).run("Hi", [CITY, OTHER])
    assert [call.name for call in reply.tool_calls] == ["other", "other"]
    (bad,) = reply.malformed
    assert problem in bad.problem
    assert name in bad.text


async def test_a_call_where_none_was_offered_is_no_call() -> None:
    reply = await client(calls(("weather", {"city": "Oslo"}))).run("Hi")
    assert reply.tool_calls == ()


@pytest.mark.parametrize(
    "schema",
    [
        None,
        7,
        "weather",
        [],
        {},
        {"name": ""},
        {"name": 7},
        {"type": "function"},
        {"type": "function", "function": None},
        {"function": "weather"},
        {"name": "f", "description": 7},
        {"name": "f", "parameters": []},
        {"name": "f", "parameters": "x"},
        {"name": "f", "parameters": {"type": "array"}},
        {"name": "f", "parameters": {"type": ["object", "null"]}},
    ],
)
async def test_garbage_for_a_tool_is_one_clear_error(schema) -> None:
    with pytest.raises(ToolSchemaError, match=r'write \{"name"') as caught:
        await client("x").run("Hi", [schema])
    assert isinstance(caught.value, CallerError)
    assert not isinstance(caught.value, ConfigError)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "description", "parameters", "function", "type"]), inner)
    ),
    max_leaves=8,
)


@given(JSON)
def test_any_json_is_a_tool_schema_or_that_error(value) -> None:
    with contextlib.suppress(ToolSchemaError):
        schema = ToolSchema.from_any(value)
        assert schema.name.strip()
        assert schema.parameters.get("type", "object") == "object"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": " \n"}, "the prompt is empty"),
        ({"prompt": None}, "the prompt is a NoneType"),
        ({"prompt": [Message("user", "Hi")]}, "the prompt is a list"),
        ({"prompt": "Hi", "system": 7}, "the system prompt is a int"),
        ({"prompt": "Hi", "tools": CITY}, "the tools are a dict: give a list"),
        ({"prompt": "Hi", "tools": "weather"}, "the tools are a str"),
        ({"prompt": "Hi", "tools": 7}, "the tools are a int"),
        ({"prompt": "Hi", "tools": [CITY, OTHER, CITY]}, "more than one tool named 'weather'"),
    ],
)
async def test_the_caller_s_mistakes_are_the_caller_s(arguments, words) -> None:
    backend = ScriptedBackend(["x"])
    asked = RuntimeClient(RuntimeConfig(), PLUGIN, backend)
    with pytest.raises(CallerError, match=words):
        await asked.run(**arguments)
    with pytest.raises(CallerError, match=words):
        await anext(asked.stream(**arguments))
    assert backend.requests == []


async def test_errors_are_sorted_by_who_must_act() -> None:
    """The deployment, the server, the model, the caller."""
    with pytest.raises(ConfigError):
        await client("x", options=ConstraintOptions("nonsense")).run("Hi", [CITY])
    with pytest.raises(ConfigError, match=r"base_url 'nowhere' is no URL"):
        await RuntimeClient(RuntimeConfig(base_url="nowhere"), PLUGIN).run("Hi")
    with pytest.raises(ConfigError, match="dialect 'vlm' is unknown"):
        await RuntimeClient(RuntimeConfig(dialect="vlm"), PLUGIN).run("Hi")
    with pytest.raises(BackendRejected):
        await client(BackendRejected("no")).run("Hi", [CITY])
    assert (await client("<tool_call>\n{").run("Hi", [CITY])).malformed
    with pytest.raises(CallerError):
        await client("x").run("")
    assert not issubclass(CallerError, ConfigError)
    assert issubclass(CallerError, EngineError)


async def told(asked: RuntimeClient, *arguments, **settings) -> tuple[list, Reply]:
    """The events of a stream, neighbouring pieces of text put together, and the reply at its end."""
    events: list = []
    async for event in asked.stream(*arguments, **settings):
        if isinstance(event, str) and events and isinstance(events[-1], str):
            events[-1] += event
        else:
            events.append(event)
    assert isinstance(events[-1], Reply)
    return events[:-1], events[-1]


WEATHER = ("weather", {"city": "Oslo"})


@pytest.mark.parametrize(
    "answer",
    [
        "just text",
        calls(WEATHER),
        "before " + calls(WEATHER) + " after",
        calls(WEATHER, ("other", {"x": "</tool_call>"}), WEATHER),
        calls(("weather", {"city": 7}), WEATHER),
        calls(("nobody", {})),
        "<tool_call>\n{broken",
        calls(WEATHER) + "<tool_call>\n{",
        "",
    ],
)
async def test_a_stream_ends_with_what_run_returns(answer) -> None:
    events, reply = await told(client(answer), "Hi", [CITY, OTHER])
    assert reply == await client(answer).run("Hi", [CITY, OTHER])
    assert [event for event in events if isinstance(event, ToolCall)] == list(reply.tool_calls)
    assert sorted(e.problem for e in events if isinstance(e, MalformedCall)) == sorted(
        m.problem for m in reply.malformed
    )
    assert "".join(event for event in events if isinstance(event, str)).split() == reply.text.split()


async def test_a_call_comes_before_the_reply_ends() -> None:
    with scripted_server() as server:
        server.chat = [streams("Hm. ", calls(WEATHER), "\n", calls(WEATHER), chunk("!"))]
        config = RuntimeConfig(base_url=server.api, model="m", options=ConstraintOptions("none"))
        async with RuntimeClient(config, PLUGIN) as asked:
            events = [event async for event in asked.stream("Hi", [CITY])]
    kinds = [type(event).__name__ for event in events if not isinstance(event, str)]
    assert kinds == ["ToolCall", "ToolCall", "Reply"]
    assert isinstance(events[0], str)
    assert events[-1].usage == Usage(7, 3, 5)


async def test_calls_of_the_api_keep_their_ids_in_a_stream() -> None:
    api = ({"id": "call_x", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}},)
    events, reply = await told(client(Completion("text", api)), "Hi", [CITY])
    assert [call.id for call in reply.tool_calls] == ["call_x"]
    assert events == ["text", *reply.tool_calls]


async def test_a_stream_that_was_cut_off_ends_without_calls() -> None:
    cut = Completion(calls(WEATHER) + "<tool_call>", finish_reason="length", usage=Usage(1, 9))
    events, reply = await told(client(cut), "Hi", [CITY])
    assert (reply.tool_calls, len(reply.malformed)) == ((), 1)
    assert isinstance(events[-1], MalformedCall)
    assert "cut off after 9 tokens" in events[-1].problem


async def test_a_stream_that_breaks_off_is_the_server_s_error() -> None:
    with scripted_server() as server:
        server.chat = [streams("a", "b", finish=None, done=False)]
        async with RuntimeClient(RuntimeConfig(base_url=server.api, model="m"), PLUGIN) as asked:
            pieces = asked.stream("Hi")
            assert await anext(pieces) == "a"
            with pytest.raises(BackendUnavailable, match="broke off"):
                [piece async for piece in pieces]


async def test_closing_a_stream_closes_the_backend_s() -> None:
    closed = []

    class Endless(ScriptedBackend):
        async def stream(self, request):
            try:
                while True:
                    yield "x"
            finally:
                closed.append(True)

    async with contextlib.aclosing(RuntimeClient(RuntimeConfig(), PLUGIN, Endless([])).stream("Hi")) as pieces:
        assert await anext(pieces) == "x"
    assert closed == [True]


@pytest.mark.embedded
async def test_the_embedded_model_calls_while_it_streams(weights) -> None:
    backend = EmbeddedBackend(weights)
    try:
        asked = RuntimeClient(RuntimeConfig(), SmolLMPlugin(), backend)
        events, reply = await told(asked, "What is the weather in Oslo?", [CITY])
    finally:
        await backend.aclose()
    assert [call.name for call in reply.tool_calls] == ["weather"]
    assert events == list(reply.tool_calls)
    assert reply.usage.completion_tokens > 5
