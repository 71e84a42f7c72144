"""Replies in pieces: for every cut of every text, what is given on the way is what the whole text says."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.messages import MalformedCall, ToolCall, ToolSchema
from engine.models import PLUGINS, ReplyReader, get_plugin
from engine.models.call_json import CallFault, json_end
from engine.models.json_watch import JsonWatch

TOOLS = [
    ToolSchema("save", "", {"type": "object", "properties": {"a": {"type": "string"}, "n": {"type": "integer"}}}),
    ToolSchema("load", "", {"type": "object", "properties": {}}),
]
NAMES = sorted(PLUGINS)
FRAGMENTS = (
    *("<tool_call>", "</tool_call>", "<tool_call>\n", "\n</tool_call>", "```", "```json\n", "\n```\n", "`", "``"),
    *('{"name": "save", "arguments": {"a": "x"}}', '{"name": "load", "arguments": {}}', '{"name": "save", "arg'),
    *('{"name": "save", "parameters": {"a": "x; {"}}', '{"name": "load", "parameters": {}}', '{"name": "other"}'),
    *("{", "}", "[", "]", '"', "\\", ";", "; ", ", ", " ", "\n", "\t", "\x0c", "\u00a0", "text", "a < b", "}}", '{"'),
    *("<start_function_call>call:save{a:<escape>x<escape>}<end_function_call>", "<start_function_call>", "<escape>"),
    *("<end_function_call>", "call:load{}", "<function=save>\n", "<parameter=a>\n", "\n</parameter>\n", "</function>"),
    *("<tool_call>\n<function=save>\n<parameter=a>\nx\n</parameter>\n</function>\n</tool_call>", "</", "<"),
    "<|python_tag|>",
)  # fmt: skip


HOSTILE = ("<tool_call>{}</tool_call>", '{"a": [', '"}</tool_call>', "```\n{", '{"a":{', '<tool_call>{"a": "', "{  ")


def _read(plugin, tools, pieces):
    reader = ReplyReader(plugin, tools)
    events = [event for piece in pieces for event in reader.feed(piece)]
    return reader, events, reader.finish()


def _parts(events):
    text = "".join(event for event in events if isinstance(event, str))
    calls = tuple(event for event in events if isinstance(event, ToolCall))
    return text, calls, tuple(event for event in events if isinstance(event, MalformedCall))


def _cut(text, cuts):
    places = sorted({min(cut, len(text)) for cut in cuts})
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def _check(name, text, pieces, tools):
    plugin = get_plugin(name)
    reader, events, reply = _read(plugin, tools, pieces)
    assert reply == plugin.parse_response(text, tools)
    given_text, given_calls, given_malformed = _parts(events)
    assert reply.text.startswith(given_text)
    assert reply.tool_calls[: len(given_calls)] == given_calls
    assert reply.malformed[: len(given_malformed)] == given_malformed
    assert _parts([*events, *reader.rest]) == (reply.text, reply.tool_calls, reply.malformed)
    assert all(events)
    return reader


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=200)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join), st.lists(st.integers(0, 200)), st.booleans())
@example('{"name": "save", "arguments": {}}\x0c', [], True)
@example(
    '```\n{"name": "load", "arguments": {}}\n```<tool_call>{"name": "load", "arguments": {}}</tool_call>', [], True
)
@example('<tool_call>{"name": "load", "arguments": {}}<tool_call>', [3], False)
def test_every_cut_gives_what_the_whole_text_says(name, text, cuts, known):
    tools = TOOLS if known else []
    _check(name, text, _cut(text, cuts), tools)
    _check(name, text, list(text), tools)


@pytest.mark.parametrize("name", NAMES)
@given(st.text(max_size=60), st.text(max_size=20), st.lists(st.integers(0, 400)))
def test_any_value_and_any_text_around_it(name, value, around, cuts):
    plugin = get_plugin(name)
    calls = [ToolCall(str(number), "save", {"a": value, "n": number}) for number in range(2)]
    text = around + plugin.format_calls(calls) + around
    _check(name, text, _cut(text, cuts), TOOLS)


@pytest.mark.parametrize("name", [name for name in NAMES if get_plugin(name).call_marks().starts])
def test_a_call_comes_with_its_last_character_and_text_at_once(name):
    plugin = get_plugin(name)
    call = plugin.format_calls([ToolCall("", "save", {"a": "</tool_call> } <", "n": 1})])
    reader = ReplyReader(plugin, TOOLS)
    assert reader.feed("Let me") == ["Let me"]
    assert reader.feed(" look.\n") == [" look."]
    for number in (1, 2):
        before = [event for char in call[:-1] for event in reader.feed(char)]
        assert [event for event in before if not isinstance(event, str)] == []
        assert reader.feed(call[-1]) == [ToolCall(f"call_{number}", "save", {"a": "</tool_call> } <", "n": 1})]
        assert reader.feed(f"{plugin.call_marks().separator}\n") == []
    assert "".join(e for e in reader.feed("Done") if isinstance(e, str)).strip() == "Done"
    assert len(reader.finish().tool_calls) == 2


def test_text_that_only_looks_like_a_call_is_let_go():
    reader = ReplyReader(get_plugin("qwen"), TOOLS)
    assert reader.feed("a <tool") == ["a"]
    assert reader.feed("box> b") == [" <toolbox> b"]
    assert reader.feed(" ```python\nx = {}") == [" ```python\nx = {}"]
    assert reader.feed("\n``` and {") == ["\n``` and {"]
    reader = ReplyReader(get_plugin("llama3"), TOOLS)
    assert reader.feed('f() { return } {"a": 1}') == ['f() { return } {"a": 1}']


def test_a_bare_call_is_known_when_the_reply_ends():
    reader = ReplyReader(get_plugin("qwen"), TOOLS)
    assert reader.feed('{"name": "load", "arguments": {}}\n') == []
    call = ToolCall("call_1", "load", {})
    assert reader.finish().tool_calls == (call,)
    assert reader.rest == (call,)


def test_calls_of_the_api_are_the_calls():
    reader = ReplyReader(get_plugin("qwen"), TOOLS)
    assert reader.feed("Note.") == ["Note."]
    reply = reader.finish([{"id": "abc", "function": {"name": "load", "arguments": "{}"}}])
    assert (reply.text, reply.tool_calls) == ("Note.", (ToolCall("abc", "load", {}),))
    assert reader.rest == reply.tool_calls


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("unit", [*FRAGMENTS, *HOSTILE])
def test_long_replies_take_linear_time(name, unit):
    plugin = get_plugin(name)
    start = plugin.call_marks().starts[:1]
    for prefix in ("", *start, *(f'{sign}{{"name": "save", "arguments": {{"a": "' for sign in start)):
        text = prefix + unit * (600 // len(unit))
        reader = _check(name, text, list(text), TOOLS)
        assert reader.scanned <= 12 * len(text)


@given(st.text(st.sampled_from('{}[]"\\ a')))
def test_the_watch_agrees_with_the_scanner(text):
    text = "{" + text
    watch = JsonWatch()
    length = next((at for at, char in enumerate(text, start=1) if watch.feed(char) or watch.state != "open"), None)
    assert (watch.state, length) == _whole(text)


def _whole(text):
    try:
        return "done", json_end(text, 0)
    except CallFault as fault:
        return ("open", None) if fault.cut_off else ("broken", fault.at + 1)
