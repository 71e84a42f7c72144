"""Llama 3: what its own template makes of tools and turns, its calls, and replies of every kind."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from engine.messages import MalformedCall, Message, ToolCall, ToolResult, ToolSchema
from engine.models import Llama3Plugin, format_calls, parse_reply

PLUGIN = Llama3Plugin()
WEATHER = ToolSchema(
    "get_weather",
    "Look up «now».",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
)
TIME = ToolSchema("get_time", "", {"type": "object", "properties": {}})
TOOLS = [WEATHER, TIME]
TURNS = [
    Message("user", "What is it like in Łódź?"),
    Message("assistant", "", (ToolCall("call_1", "get_weather", {"city": "Łódź", "days": 2}),)),
    Message("tool", '{"sky": "grey"}', tool_call_id="call_1", name="get_weather"),
    Message("assistant", "Grey."),
]


def test_the_tools_stand_before_the_first_user_message():
    """The content of the turns is what the chat template of Llama-3.1-8B-Instruct renders for these tools."""
    assert PLUGIN.build_messages("And now?", "You answer briefly.", [TIME], TURNS) == snapshot(
        [
            {"role": "system", "content": "You answer briefly."},
            {
                "role": "user",
                "content": """\
Given the following functions, please respond with a JSON for a function call with its proper arguments that best \
answers the given prompt.

Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.Do not use \
variables.

{
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "",
        "parameters": {
            "type": "object",
            "properties": {}
        }
    }
}

What is it like in Łódź?\
""",
            },
            {"role": "assistant", "content": '{"name": "get_weather", "parameters": {"city": "Łódź", "days": 2}}'},
            {"role": "ipython", "content": '{"sky": "grey"}'},
            {"role": "assistant", "content": "Grey."},
            {"role": "user", "content": "And now?"},
        ]
    )


def test_without_a_user_message_the_tools_stand_in_the_system_turn():
    for given_ in (PLUGIN.build_messages(None, "Be kind.", [TIME], []), PLUGIN.build_messages(None, None, [TIME], [])):
        assert given_[0]["role"] == "system"
        assert given_[0]["content"].startswith("You have access to the following functions.")
    assert PLUGIN.build_messages(None, "Be kind.", [TIME], [])[0]["content"].endswith("}\n\nBe kind.")
    found = PLUGIN.build_messages(None, None, [TIME], [Message("system", "Be kind."), *TURNS[:1]])
    assert found == PLUGIN.build_messages(None, "Be kind.", [TIME], TURNS[:1])
    assert PLUGIN.build_messages("Hi", None, []) == [{"role": "user", "content": "Hi"}]


def test_a_result_is_its_content():
    assert PLUGIN.format_result(ToolResult("1", "t", "a<|eot_id|>")) == "a< |eot_id|>"


def test_calls():
    calls = [ToolCall("a", "get_weather", {"days": 2, "city": 'Łódź "x"; {'}), ToolCall("b", "get_time", {})]
    assert format_calls(calls, "llama3", TOOLS).split("}; {") == snapshot(
        [
            '{"name": "get_weather", "parameters": {"city": "Łódź \\"x\\"; {", "days": 2}',
            '"name": "get_time", "parameters": {}}',
        ]
    )


CALL = '{"name": "get_weather", "parameters": {"city": "x"}}'
GOOD = ToolCall("call_1", "get_weather", {"city": "x"})


@pytest.mark.parametrize(
    ("text", "around"),
    [
        (CALL, ""),
        (f"<|python_tag|>{CALL}", ""),
        (f" <|python_tag|>\n{CALL} ;\n", ""),
        (f"[{CALL}]", ""),
        (json.dumps(json.loads(CALL), indent=2), ""),
        (CALL.replace("parameters", "arguments"), ""),
        (CALL.replace("{", '{"type": "function", ', 1), ""),
        (f"Let me see.\n{CALL}; then?", "Let me see.\n then?"),
        (f'f() {{ return }} {{"a": {{"name": "get_time", "parameters": {{}}}}}} {CALL}',
         'f() { return } {"a": {"name": "get_time", "parameters": {}}}'),
        (f'{{"name": "Alice", "age": 3}} {CALL}', '{"name": "Alice", "age": 3}'),
        (f'{{"a" b}} {{"a": [1}} {CALL}', '{"a" b} {"a": [1}'),
    ],
)  # fmt: skip
def test_a_call_is_found(text, around):
    reply = parse_reply(text, "llama3", TOOLS)
    assert (reply.text, reply.tool_calls, reply.malformed) == (around, (GOOD,), ())


@pytest.mark.parametrize("between", ["; ", ";", "\n", " ;\n", " ", ", "])
def test_several_calls(between):
    reply = parse_reply(between.join([CALL] * 3), "llama3", TOOLS)
    assert [call.id for call in reply.tool_calls] == ["call_1", "call_2", "call_3"]
    assert reply.text in ("", ", ,")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"name": "get_time"}', "no 'parameters'"),
        ('{"name": 7, "parameters": {}}', "no 'name'"),
        ('{"name": "get_time", "parameters": "{}"}', "a string, not an object"),
        ('{"name": "get_time", "parameters": {}, "arguments": {}}', "both"),
        ('{"name": "get_time", "parameters": {"a": 1, "a": 2}}', "'a' appears twice"),
        ('{"name": "get_time", "parameters": {"a": NaN}}', "NaN is not JSON"),
        ('{"name": "get_time", "parameters": {"a": 1]}}', "does not match"),
        ('{"name": "get_time", "parameters": {"a": \'x\'}}', "not valid JSON"),
        ('{"name": "get_time", "parameters": {"a": ' + "[" * 99 + "]" * 99 + "}}", "deeper than 64"),
        ('[{"name": "get_time", "parameters": {}}, 7]', "not a JSON object"),
        ('<|python_tag|>{"a": 1}', "no 'name'"),
    ],
)
def test_what_cannot_be_read_is_reported_and_the_next_call_is_found(text, problem):
    reply = parse_reply(f"a\n{text}\nb {CALL}", "llama3", TOOLS)
    assert [bad.text for bad in reply.malformed] == [text]
    assert problem in reply.malformed[0].problem
    assert reply.tool_calls == (GOOD,)
    assert reply.text.split() == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    [
        '<|python_tag|>brave_search.call(query="x")',
        '{"name": "get_time", "parameters": {"a": "x {"name": "get_weather", "parameters": {}}',
        '{"name": "get_t',
        '[{"name": "get_time", "parameters": {}}',
        '{"a": {"name": "get_time", "parameters": {}}',
    ],
)
def test_what_is_cut_off_or_no_json_is_reported_whole(text):
    reply = parse_reply(f"Well: {text}", "llama3", TOOLS)
    assert [bad.text for bad in reply.malformed] == [text]
    assert (reply.text, reply.tool_calls) == ("Well:", ())


@pytest.mark.parametrize("text", ['{"a": 1}', '{"a": 1', "x {", '{"name', "[1, 2]", '["a"]', "{x}", '{"a": 1]} {'])
def test_other_json_is_text(text):
    reply = parse_reply(text, "llama3", TOOLS)
    assert (reply.text, reply.tool_calls, reply.malformed) == (text, (), ())


def test_without_known_tools_name_and_parameters_make_a_call():
    assert parse_reply(CALL, "llama3").tool_calls == (GOOD,)
    assert parse_reply('{"name": "get_time"}', "llama3").text == '{"name": "get_time"}'
    unknown = CALL.replace("get_weather", "other")
    assert parse_reply(unknown, "llama3", TOOLS).tool_calls[0].name == "other"


ARGUMENTS = st.dictionaries(
    st.text(max_size=5), st.text(max_size=20) | st.integers() | st.lists(st.text(max_size=5)), max_size=3
)


@given(st.lists(ARGUMENTS, min_size=1, max_size=3), st.sampled_from(["", "<|python_tag|>", "Sure. "]))
def test_any_call_comes_back(values, before):
    calls = [ToolCall(f"call_{number}", "get_time", value) for number, value in enumerate(values, start=1)]
    reply = parse_reply(before + PLUGIN.format_calls(calls), "llama3", TOOLS)
    assert reply.tool_calls == tuple(calls)
    assert (reply.text, reply.malformed) == (before.strip() if before == "Sure. " else "", ())


@given(ARGUMENTS)
def test_every_truncation_is_a_malformed_call_or_text(arguments):
    whole = PLUGIN.format_calls([ToolCall("1", "get_time", arguments)])
    for length in range(len(whole)):
        reply = parse_reply(whole[:length], "llama3", TOOLS)
        assert reply.tool_calls == ()
        if length < len('{"name":'):
            assert reply.text == whole[:length]
        else:
            assert [bad.text for bad in reply.malformed] == [whole[:length]]


def test_calls_of_the_api_keep_their_ids():
    call = {"id": "abc", "function": {"name": "get_time", "arguments": "{}"}}
    assert PLUGIN.parse_response(" note ", TOOLS, [call]).tool_calls == (ToolCall("abc", "get_time", {}),)
    bad = {"id": "abc", "function": {"name": "get_time", "arguments": "{"}}
    assert isinstance(PLUGIN.parse_response("", TOOLS, [bad]).malformed[0], MalformedCall)
