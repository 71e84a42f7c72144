"""function_gemma: declarations, calls and results byte for byte, and a scanner that any text can be given to."""

import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from schema_strategies import ANY_JSON, TEXT

from engine.errors import ConfigError
from engine.grammar import ConstraintOptions
from engine.messages import Message, ToolCall, ToolResult, ToolSchema
from engine.models import format_calls, get_plugin, parse_reply

PLUGIN = get_plugin("function_gemma")
ACTIVATION = "You are a model that can do function calling with the following functions"
WEATHER = ToolSchema(
    "get_current_weather",
    "Gets the current weather in a given location.",
    {
        "type": "object",
        "properties": {
            "location": {
                "type": "string",
                "description": 'The city and state, e.g. "San Francisco, CA" or "Tokyo, JP"',
            },
            "unit": {
                "type": "string",
                "enum": ["celsius", "fahrenheit"],
                "description": "The unit to return the temperature in.",
            },
        },
        "required": ["location"],
    },
)
# Byte for byte the example of the page "FunctionGemma formatting and best practices".
WEATHER_DECLARED = (
    "<start_function_declaration>declaration:get_current_weather{description:<escape>Gets the current weather in a "
    "given location.<escape>,parameters:{properties:{location:{description:<escape>The city and state, e.g. "
    '"San Francisco, CA" or "Tokyo, JP"<escape>,type:<escape>STRING<escape>},unit:{description:<escape>The unit to '
    "return the temperature in.<escape>,enum:[<escape>celsius<escape>,<escape>fahrenheit<escape>],"
    "type:<escape>STRING<escape>}},required:[<escape>location<escape>],type:<escape>OBJECT<escape>}}"
    "<end_function_declaration>"
)
SAVE = ToolSchema(
    "save",
    "",
    {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "count": {"type": ["integer", "null"]},
            "flag": {"type": "boolean"},
            "tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
            "where": {
                "type": "object",
                "description": "Place.",
                "properties": {"path": {"type": "string"}, "line": {"type": "number"}},
                "required": ["path"],
            },
            "points": {"type": "array", "items": {"$ref": "#/$defs/Point"}},
            "mixed": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "maybe": {"anyOf": [{"type": "number", "description": "Of 1."}, {"type": "null"}], "default": None},
            "level": {"enum": [1, 2]},
            "anything": {},
        },
        "required": ["text", "count"],
        "$defs": {"Point": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}},
    },
)
SAVE_DECLARED = (
    "<start_function_declaration>declaration:save{description:<escape><escape>,parameters:{properties:{"
    "text:{description:<escape><escape>,type:<escape>STRING<escape>},"
    "count:{description:<escape><escape>,type:<escape>INTEGER<escape>},"
    "flag:{description:<escape><escape>,type:<escape>BOOLEAN<escape>},"
    "tags:{description:<escape><escape>,items:{enum:[<escape>a<escape>,<escape>b<escape>],"
    "type:<escape>STRING<escape>},type:<escape>ARRAY<escape>},"
    "where:{description:<escape>Place.<escape>,properties:{"
    "path:{description:<escape><escape>,type:<escape>STRING<escape>},"
    "line:{description:<escape><escape>,type:<escape>NUMBER<escape>}},"
    "required:[<escape>path<escape>],type:<escape>OBJECT<escape>},"
    "points:{description:<escape><escape>,items:{properties:{"
    "x:{description:<escape><escape>,type:<escape>INTEGER<escape>}},required:[<escape>x<escape>],"
    "type:<escape>OBJECT<escape>},type:<escape>ARRAY<escape>},"
    "mixed:{description:<escape><escape>,type:[<escape>STRING<escape>,<escape>INTEGER<escape>]},"
    "maybe:{description:<escape>Of 1.<escape>,type:<escape>NUMBER<escape>},"
    "level:{description:<escape><escape>,enum:[1,2],type:<escape>INTEGER<escape>},"
    "anything:{description:<escape><escape>}},"
    "required:[<escape>text<escape>,<escape>count<escape>],type:<escape>OBJECT<escape>}}<end_function_declaration>"
)
STOP = ToolSchema("stop", "Stop.", {"type": "object", "properties": {}})
TOOLS = [SAVE, STOP]
CALLED = (
    ToolCall("call_1", "save", {"text": "12", "count": 3, "flag": True, "tags": ["a", "b"], "where": {"path": "a{}"}}),
    ToolCall("call_2", "stop", {}),
)
CALLS = (
    "<start_function_call>call:save{text:<escape>12<escape>,count:3,flag:true,tags:[<escape>a<escape>,"
    "<escape>b<escape>],where:{path:<escape>a{}<escape>}}<end_function_call>"
    "<start_function_call>call:stop{}<end_function_call>"
)


def _call(body, name="save"):
    return f"<start_function_call>call:{name}{{{body}}}<end_function_call>"


def _parsed(text, tools=TOOLS):
    reply = parse_reply(text, PLUGIN, tools)
    assert reply.malformed == (), reply
    return [(call.name, call.arguments) for call in reply.tool_calls]


def test_tools_are_declared_after_the_sentence_that_switches_them_on():
    wire = PLUGIN.build_messages("Hey.", None, [WEATHER, SAVE])
    assert wire == [
        {"role": "system", "content": ACTIVATION + WEATHER_DECLARED + SAVE_DECLARED},
        {"role": "user", "content": "Hey."},
    ]
    assert PLUGIN.build_messages(None, "It is Friday.", [WEATHER]) == [
        {"role": "system", "content": f"It is Friday.\n{ACTIVATION}{WEATHER_DECLARED}"}
    ]
    assert PLUGIN.build_messages("Hey.", "It is Friday.", []) == [
        {"role": "system", "content": "It is Friday."},
        {"role": "user", "content": "Hey."},
    ]
    empty = (
        "<start_function_declaration>declaration:stop{description:<escape>Stop.<escape>,parameters:{"
        "type:<escape>OBJECT<escape>}}<end_function_declaration>"
    )
    assert PLUGIN.build_messages(None, None, [STOP])[0]["content"] == ACTIVATION + empty


def test_a_schema_that_leads_back_to_itself_is_declared():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    tool = ToolSchema("t", "", {"type": "object", "properties": {"n": node}, "$defs": {"Node": node}})
    assert PLUGIN.build_messages(None, None, [tool])[0]["content"].count("next:{") == 7


def test_calls():
    assert format_calls(CALLED, PLUGIN) == CALLS
    reply = parse_reply(CALLS, PLUGIN, TOOLS)
    assert (reply.tool_calls, reply.text, reply.malformed) == (CALLED, "", ())


@pytest.mark.parametrize(
    ("content", "body"),
    [
        ('{"temperature": 15, "weather": "sunny"}', "temperature:15,weather:<escape>sunny<escape>"),
        ("sunny\nand warm", "value:<escape>sunny\nand warm<escape>"),
        ('"noon"', "value:<escape>noon<escape>"),
        ("[1, null, true]", "value:[1,null,true]"),
        ("{}", ""),
        ('{"a": 1, "a": 2}', 'value:<escape>{"a": 1, "a": 2}<escape>'),
        ('{"a b": {"c:d": "<escape>"}}', "<escape>a b<escape>:{<escape>c:d<escape>:<escape>< escape><escape>}"),
    ],
)
def test_results(content, body):
    text = f"<start_function_response>response:save{{{body}}}<end_function_response>"
    assert PLUGIN.format_result(ToolResult("1", "save", content)) == text


def test_history():
    """Roles that every chat template knows, none of them twice in a row; each result names its tool."""
    turns = [
        Message("user", "Save it."),
        Message("assistant", "Let me see.", CALLED),
        Message("tool", '{"saved": 1}', tool_call_id="call_1", name="save"),
        Message("tool", "done", tool_call_id="call_2"),
        Message("user", "And?"),
        Message("assistant", "Saved."),
        Message("system", "Be brief."),
    ]
    responses = (
        "<start_function_response>response:save{saved:1}<end_function_response>"
        "<start_function_response>response:stop{value:<escape>done<escape>}<end_function_response>"
    )
    assert PLUGIN.build_messages("Thanks.", None, [], turns) == [
        {"role": "user", "content": "Save it."},
        {"role": "assistant", "content": f"Let me see.{CALLS}"},
        {"role": "user", "content": f"{responses}\nAnd?"},
        {"role": "assistant", "content": "Saved."},
        {"role": "user", "content": "Be brief.\nThanks."},
    ]
    with pytest.raises(ConfigError, match="names no tool"):
        PLUGIN.build_messages(None, None, [], [Message("tool", "done", tool_call_id="lost")])


@pytest.mark.parametrize(
    "value",
    [
        "12",
        "true",
        "",
        " blanks ",
        "\nlines\r\n\t",
        "d = {1: 2}",
        "a < b && c > d, e: [f]",
        'she said "no" \\',
        "<end_function_call>",
        "}<end_function_call><start_function_call>call:stop{}<end_function_call>",
        "<start_function_response>",
        "<escap",
        "Łódź 😀 \u2028 \x00",
        "```json\n{}\n```",
    ],
)
def test_a_string_is_only_text(value):
    text = format_calls([ToolCall("1", "save", {"text": value, "where": {"path": value}})], PLUGIN)
    for tools in (TOOLS, ()):
        assert _parsed(text, tools) == [("save", {"text": value, "where": {"path": value}})]


def test_a_string_cannot_hold_the_token_that_ends_it():
    text = format_calls([ToolCall("1", "save", {"text": "a<escape>b"})], PLUGIN)
    assert _parsed(text) == [("save", {"text": "a< escape>b"})]


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ("text:12", {"text": "12"}),
        ("text:Tokyo Japan", {"text": "Tokyo Japan"}),
        ("count:<escape>12<escape>", {"count": 12}),
        ("count:<escape>null<escape>", {"count": None}),
        ("count:<escape>twelve<escape>", {"count": "twelve"}),
        ("count:1.5", {"count": 1.5}),
        ("flag:<escape>true<escape>", {"flag": True}),
        ("mixed:5", {"mixed": 5}),
        ("mixed:<escape>5<escape>", {"mixed": "5"}),
        ("mixed:true", {"mixed": "true"}),
        ("tags:[ a , <escape>1<escape> ]", {"tags": ["a", "1"]}),
        ("points:[{x:<escape>1<escape>},{x:2}]", {"points": [{"x": 1}, {"x": 2}]}),
        (' text : <escape>x<escape> ,\n "count" : 3 ', {"text": "x", "count": 3}),
        ('text:"x",mixed:"y"', {"text": "x", "mixed": "y"}),
        ("<escape>text<escape>:<escape>x<escape>", {"text": "x"}),
        ("anything:{a:[null,-2.5e-7]}", {"anything": {"a": [None, -2.5e-7]}}),
        ("unknown:true", {"unknown": True}),
    ],
)
def test_the_schema_types_a_value(body, arguments):
    found = _parsed(_call(body))[0][1]
    assert (found, repr(found)) == (arguments, repr(arguments))


def test_without_a_schema_bare_values_are_json():
    text = _call("a:12,b:<escape>12<escape>,c:[true,null],d:{e:1.0}", "other")
    for tools in (TOOLS, ()):
        assert repr(_parsed(text, tools)) == repr([("other", {"a": 12, "b": "12", "c": [True, None], "d": {"e": 1.0}})])


def test_text_around_calls_and_calls_that_are_not_closed():
    reply = parse_reply(f"First.\n{_call('', 'stop')} then\n{_call('count:1')}\nDone.", PLUGIN, TOOLS)
    assert [(call.id, call.name) for call in reply.tool_calls] == [("call_1", "stop"), ("call_2", "save")]
    assert reply.text == "First.\n then\n\nDone."
    unclosed = "<start_function_call>call:stop{}"
    assert len(_parsed(unclosed + unclosed + "\n")) == 2


def test_the_reply_ends_where_the_model_makes_up_a_result():
    made_up = "<start_function_response>response:stop{value:<escape>done<escape>}<end_function_response>All done."
    reply = parse_reply(f"So. {_call('', 'stop')}{made_up}", PLUGIN, TOOLS)
    assert (reply.text, [call.name for call in reply.tool_calls], reply.malformed) == ("So.", ["stop"], ())
    assert parse_reply("So. <start_function_response>", PLUGIN, TOOLS).text == "So."
    after = parse_reply(f"{_call('', 'stop')}{made_up}{_call('count:1')}", PLUGIN, TOOLS)
    assert [call.name for call in after.tool_calls] == ["stop"]
    assert [(bad.text, bad.problem) for bad in after.malformed] == [
        (_call("count:1"), "the call follows a result that the model made up")
    ]


def test_json_of_a_known_tool_is_a_call():
    body = json.dumps({"name": "save", "arguments": {"text": "x"}})
    for text in (body, f"```json\n{body}\n```"):
        assert _parsed(text) == [("save", {"text": "x"})]
    assert parse_reply(body, PLUGIN).text == body


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<start_function_call>", "no 'call:'"),
        ("<start_function_call>cal", "no 'call:'"),
        ("<start_function_call>call:sa", "cut off in the tool's name"),
        ("<start_function_call>call:save{", "cut off"),
        ("<start_function_call>call:save{te", "cut off"),
        ("<start_function_call>call:save{text:", "cut off"),
        ("<start_function_call>call:save{text:<esc", "value is missing"),
        ("<start_function_call>call:save{text:<escape>x", "cut off inside a string"),
        ("<start_function_call>call:save{text:<escape>x<escape>", "cut off"),
        ("<start_function_call>call:save{count:12", "cut off"),
        ("<start_function_call>call:save{tags:[<escape>a<escape>", "cut off"),
        ("<start_function_call>save{}<end_function_call>", "no 'call:'"),
        ("<start_function_call>call:{}<end_function_call>", "no tool name"),
        ("<start_function_call>call:save(1)<end_function_call>", "no tool name"),
        (_call("text"), "no ':'"),
        (_call("text:<escape>x<escape>y"), "where ',' or '}' should be"),
        (_call("text:"), "value is missing"),
        (_call("count:1,"), "no ':'"),
        (_call("count:1,count:2"), "'count' appears twice"),
        (_call('count:1,"count":2'), "'count' appears twice"),
        (_call("where:{line:1,line:2}"), "'line' appears twice"),
        (_call("count:three"), "in 'count': the call is not valid JSON"),
        (_call("count:1e999"), "too large"),
        (_call("count:NaN"), "NaN is not JSON"),
        (_call("count:" + "9" * 5000), "not readable JSON"),
        (_call("tags:[1}"), "where ',' or ']' should be"),
        (_call("anything:" + "[" * 5000 + "]" * 5000), "deeper than 64"),
        (_call("text:<escape>\ud800<escape>"), "half of a surrogate pair"),
        ("<start_function_call>call:stop{} and more<end_function_call>", "not closed"),
    ],
)
def test_what_cannot_be_read_is_reported(text, problem):
    reply = parse_reply(f"Hm. {text}", PLUGIN, TOOLS)
    assert [problem in bad.problem for bad in reply.malformed] == [True], reply
    assert (reply.malformed[0].text, reply.tool_calls, reply.text) == (text, (), "Hm.")


def test_a_call_after_a_broken_one_is_found_but_not_inside_a_string():
    evil = _call("", "stop")
    broken = _call(f"text:<escape>a<escape>b<escape>{evil}<escape>")
    reply = parse_reply(broken + CALLS, PLUGIN, TOOLS)
    assert [call.name for call in reply.tool_calls] == ["save", "stop"]
    assert [bad.text for bad in reply.malformed] == [broken]
    odd = _call("text:<escape>a")
    assert [bad.text for bad in parse_reply(odd + CALLS, PLUGIN, TOOLS).malformed] != []


def test_calls_of_the_api_keep_their_ids():
    api = [{"id": "xyz", "function": {"name": "save", "arguments": '{"text": "12"}'}}]
    reply = PLUGIN.parse_response(CALLS, TOOLS, api)
    assert reply.tool_calls == (ToolCall("xyz", "save", {"text": "12"}),)
    assert reply.text == CALLS


def test_without_tools_there_is_no_constraint():
    assert PLUGIN.constraint([], ConstraintOptions()).kind == "none"
    assert PLUGIN.modes() == ("auto", "ebnf", "structural_tag")


PATIENT = settings(deadline=None)
PIECES = st.sampled_from(
    ("<start_function_call>", "<end_function_call>", "<start_function_response>", "call:", "save", "stop", "{", "}",
     "[", "]", ",", ":", "<escape>", "text", "count", "5", "null", '"', "```", "\n", "<", "\ud800",
     '{"name": "stop", "arguments": {}}')
)  # fmt: skip


@PATIENT
@given(st.lists(PIECES | st.text(max_size=3), max_size=16).map("".join))
def test_any_text_can_be_read(text):
    reply = parse_reply(text, PLUGIN, TOOLS)
    assert all(bad.text in text and bad.problem for bad in reply.malformed)
    assert len(reply.tool_calls) <= text.count("<start_function_call>") + text.count('"name"')


RAW = TEXT.filter(lambda text: "<escape>" not in text)
ARGUMENTS = st.fixed_dictionaries(
    {"text": RAW}, optional={"count": st.none() | st.integers(), "where": st.fixed_dictionaries({"path": RAW})}
)


@PATIENT
@given(st.lists(ARGUMENTS, max_size=3), TEXT)
def test_no_truncation_invents_a_call(arguments, before):
    calls = [ToolCall(f"call_{number}", "save", given) for number, given in enumerate(arguments, start=1)]
    text = before.replace("<", "") + format_calls(calls, PLUGIN)
    for end in range(len(text) + 1):
        found = parse_reply(text[:end], PLUGIN, TOOLS).tool_calls
        assert found == tuple(calls[: len(found)])
    if calls:
        assert found == tuple(calls)


@PATIENT
@given(st.dictionaries(TEXT, ANY_JSON, max_size=3))
def test_any_arguments_come_back_without_a_schema(arguments):
    assume("<escape>" not in repr(arguments))
    call = ToolCall("call_1", "other", arguments)
    assert parse_reply(format_calls([call], PLUGIN), PLUGIN).tool_calls == (call,)
