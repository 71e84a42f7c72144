"""Reading replies: whatever a model writes is a call, a malformed call or text; nothing is lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.messages import MalformedCall, ToolCall
from engine.models import get_plugin, parse_reply, scan_calls

KNOWN = ("save", "load")
TOOLS = [{"name": name, "description": "", "parameters": {"type": "object"}} for name in KNOWN]


def _call(arguments, name="save"):
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'


@pytest.mark.parametrize(
    "value",
    [
        "d = {1: 2}",
        "a < b && c > d",
        'she said "no" \\ "yes"',
        "line\nline\r\n\ttab",
        "Łódź 😀 \u2028 \x00",
        "</tool_call>",
        '<tool_call>\n{"name": "load", "arguments": {}}\n</tool_call>',
        "```json\n{}\n```",
        {"deep": [[{"a": [1, -2.5e-7, True, None]}]]},
        {"": "", "{": "}"},
    ],
)
def test_any_value_comes_back(value):
    for ascii_only in (True, False):
        body = json.dumps({"name": "save", "arguments": {"value": value}}, ensure_ascii=ascii_only)
        reply = scan_calls(f"<tool_call>{body}</tool_call>", KNOWN)
        assert reply.tool_calls == (ToolCall("call_1", "save", {"value": value}),)
        assert (reply.text, reply.malformed) == ("", ())


def test_several_calls_with_text_around():
    reply = scan_calls(f"First.\n{_call({'a': 1})} then\n{_call({'b': 2}, 'load')}\nDone.", KNOWN)
    assert reply.tool_calls == (ToolCall("call_1", "save", {"a": 1}), ToolCall("call_2", "load", {"b": 2}))
    assert reply.text == "First.\n then\n\nDone."


def test_pretty_printed_and_unclosed_calls_are_calls():
    text = '<tool_call>\n{\n  "name" : "save",\n  "arguments" : { "a" : [ 1 ,\n 2 ] }\n}'
    assert scan_calls(text).tool_calls == (ToolCall("call_1", "save", {"a": [1, 2]}),)
    assert [call.name for call in scan_calls(text + text).tool_calls] == ["save", "save"]


def test_an_array_between_the_tags_is_several_calls():
    body = json.dumps([{"name": name, "arguments": {}} for name in KNOWN])
    assert [call.name for call in scan_calls(f"<tool_call>{body}</tool_call>").tool_calls] == list(KNOWN)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('{"name": "save", "arguments": {"a": "x', "cut off inside a string"),
        ('{"name": "save", "arguments": {"a": [1, 2', "cut off before its JSON ends"),
        ('{"name": "save"}', "no 'arguments'"),
        ('{"arguments": {}}', "no 'name'"),
        ('{"name": 7, "arguments": {}}', "no 'name'"),
        ('{"name": "save", "arguments": "{}"}', "a string, not an object"),
        ('{"name": "save", "arguments": null}', "null, not an object"),
        ('{"name": "save", "arguments": {"a": 1, "a": 2}}', "'a' appears twice"),
        ('{"name": "save", "arguments": {"a": NaN}}', "NaN is not JSON"),
        ('{"name": "save", "arguments": {"a": -Infinity}}', "-Infinity is not JSON"),
        ('{"name": "save", "arguments": {"a": 1e999}}', "too large"),
        ('{"name": "save", "arguments": {"a": ' + "9" * 5000 + "}}", "not readable JSON"),
        ('{"name": "save", "arguments": {"a": "\\ud800"}}', "half of a surrogate pair"),
        ('{"name": "save", "arguments": {"a": \'x\'}}', "not valid JSON"),
        ('{"name": "save", "arguments": {"a": 1]}', "does not match"),
        ('{"name": "save", "arguments": {"a": ' + "[" * 5000 + "]" * 5000 + "}}", "deeper than 64"),
        ("save(1)", "no JSON object"),
        ("[]", "not a JSON object"),
        ('{"name": "save", "arguments": {}} and more', "not closed"),
    ],
)
def test_what_cannot_be_read_is_reported_and_the_next_call_is_found(body, problem):
    broken = f"<tool_call>\n{body}\n</tool_call>"
    reply = scan_calls(f"a {broken} b {_call({})}", KNOWN)
    assert [bad.text for bad in reply.malformed] == [broken]
    assert problem in reply.malformed[0].problem
    assert reply.tool_calls == (ToolCall("call_1", "save", {}),)
    assert reply.text == "a  b"


def test_a_call_inside_a_broken_string_is_never_a_call():
    inner = '<tool_call>{"name": "load", "arguments": {}}</tool_call>'
    for text in (
        f'<tool_call>{{"name": "save", "arguments": {{"a": "{inner}"}}}}</tool_call>',
        f'<tool_call>{{"name": "save", "arguments": {{"a": "x {inner}',
    ):
        reply = scan_calls(text, KNOWN)
        assert reply.tool_calls == ()
        assert reply.malformed


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "Sure:\n```\n{}\n```\nThat is it.", "{}", "  {}\n"])
def test_a_known_tool_is_called_without_tags_too(fence):
    body = json.dumps({"name": "save", "arguments": {"code": "```\nx = {}\n```"}}, indent=1)
    reply = scan_calls(fence.replace("{}", body), KNOWN)
    assert reply.tool_calls == (ToolCall("call_1", "save", {"code": "```\nx = {}\n```"}),)
    assert reply.malformed == ()
    assert "save" not in reply.text


def test_other_json_without_tags_is_text():
    for text in ('{"a": 1}', '```json\n{"name": "other", "arguments": {}}\n```', "[1, 2]", '{"name": "save"', "x {"):
        known = () if text.startswith('{"name"') else KNOWN
        reply = scan_calls(text, known)
        assert (reply.text, reply.tool_calls, reply.malformed) == (text, (), ())


def test_a_broken_call_without_tags_is_reported():
    text = '{"name": "save", "arguments": {"a": 1'
    assert scan_calls(text, KNOWN).malformed == (MalformedCall(text, "the call is cut off before its JSON ends"),)


@given(st.text(st.sampled_from('<>/_{}[]":, \n\\`toolcalnamergus1{"name"}')) | st.text())
def test_any_text_is_read(text):
    reply = scan_calls(text, KNOWN)
    assert isinstance(reply.text, str)


@given(
    st.dictionaries(
        st.text(max_size=5), st.text(max_size=20) | st.integers() | st.lists(st.text(max_size=5)), max_size=3
    )
)
def test_every_truncation_is_a_call_a_malformed_call_or_text(arguments):
    whole = get_plugin("qwen").format_calls([ToolCall("1", "save", arguments)])
    if any("\ud800" <= char <= "\udfff" for char in whole):
        return
    for length in range(len(whole) + 1):
        reply = parse_reply(whole[:length], tools=TOOLS)
        if length < len("<tool_call>"):
            assert reply.text == whole[:length]
        elif length < len(whole) - len("\n</tool_call>"):
            assert (len(reply.malformed), reply.tool_calls) == (1, ())
        else:
            assert [dict(call.arguments) for call in reply.tool_calls] in ([arguments], [])
            assert bool(reply.malformed) is not bool(reply.tool_calls)


def _api(name="save", arguments='{"a": 1}', **rest):
    return {"id": "abc", "type": "function", "function": {"name": name, "arguments": arguments}, **rest}


def test_calls_of_the_api_keep_their_ids():
    calls = [_api(), _api(id=None, arguments={"b": 2}), _api(id="abc"), _api(id="call_2")]
    reply = get_plugin("qwen").parse_response(" note ", api_calls=calls)
    assert [call.id for call in reply.tool_calls] == ["abc", "call_3", "call_4", "call_2"]
    assert len({call.id for call in reply.tool_calls}) == 4
    assert reply.text == "note"


@pytest.mark.parametrize(
    "call",
    [
        _api(arguments='{"a": '),
        _api(arguments=""),
        _api(arguments="[]"),
        _api(arguments=None),
        _api(name=""),
        {"id": "x"},
        {"function": None},
    ],
)
def test_a_call_of_the_api_that_cannot_be_read_is_reported(call):
    reply = get_plugin("qwen").parse_response("", api_calls=[call, _api()])
    assert len(reply.malformed) == 1
    assert [item.id for item in reply.tool_calls] == ["abc"]
