"""The form for xgrammar beside the exact one, on the real xgrammar: nothing is lost, and no marker gets in."""

import json
import re
from itertools import pairwise

import pytest
from grammar_engines import xgrammar_accepts
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schema_strategies import TOOL_SCHEMAS, TRICKY

from engine.errors import ConfigError
from engine.grammar import order_arguments
from engine.messages import ToolCall, ToolSchema
from engine.models import constraint_for, get_plugin, parse_reply

pytestmark = pytest.mark.xgrammar
SLOW = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
FAMILIES = ("qwen", "llama3", "function_gemma", "qwen_coder")
MARKERS = {"function_gemma": "<escape>", "qwen_coder": "</parameter>"}
STRATEGIES = ("typed", "strict_json", "permissive")
# The characters of the markers and of what stands around them.
NEAR = st.text(st.sampled_from('<></>escapeparameter\n\n "\\é'), max_size=16)
PIECES = st.lists(st.sampled_from((*"<>\n/ex", "<esc", "escape>", "</para", "</parameter", "\n</", "ab")), max_size=8)
TEXTS = NEAR | PIECES.map("".join) | st.sampled_from(("", "a<esc", "<", "\n", "<\n", "\n\n", "\n<", "<<", *TRICKY))


def tool_of(schema):
    """Return a tool whose one argument `v` has the schema."""
    return ToolSchema("save", "", {"type": "object", "properties": {"v": schema}, "required": ["v"]})


def grammar(tool, family, strategy="typed", matcher="llama_cpp", **options):
    """Return the EBNF in the exact form, or in the form for xgrammar."""
    return constraint_for([tool], family, strategy, "ebnf", matcher=matcher, **options).value


def runs(tool, family, strategy="typed", **options):
    """Return the EBNF for xgrammar."""
    return grammar(tool, family, strategy, "xgrammar", **options)


def call(tool, family, value):
    """Return a call as the family writes it."""
    return get_plugin(family).format_calls([ToolCall("1", tool.name, order_arguments(tool.parameters, value))])


def raw_call(family, text):
    """Return a call of a tool with one string, written as it stands."""
    mark = "stands-here"
    return call(tool_of({"type": "string"}), family, {"v": mark}).replace(mark, text)


@st.composite
def cases(draw):
    """Draw a schema of texts and a value that fits it."""
    low = draw(st.integers(0, 14))
    high = draw(st.none() | st.integers(low, 30))
    text = {"type": "string", "minLength": low, **({} if high is None else {"maxLength": high})}
    one = TEXTS.map(lambda found: (found + "x" * low)[:high] if len(found) < low else found[:high])
    kind = draw(st.sampled_from(("text", "list", "map", "pattern", "any")))
    if kind == "list":
        return {"type": "array", "items": text, "maxItems": 3}, draw(st.lists(one, max_size=3))
    if kind == "map":
        keys = st.text(min_size=1, max_size=5) | st.just("</parameter>")
        return {"type": "object", "additionalProperties": text}, draw(st.dictionaries(keys, one, max_size=3))
    if kind == "pattern":
        return {"type": "string", "pattern": "^[^.]*\\.$"}, draw(TEXTS).replace(".", "") + "."
    if kind == "any":
        return {}, draw(st.recursive(TEXTS | st.none() | st.integers(-9, 9), st.lists, max_leaves=4))
    return text, draw(one)


@SLOW
@given(cases(), st.sampled_from(FAMILIES), st.sampled_from(STRATEGIES), st.booleans(), st.data())
def test_what_the_exact_form_accepts_is_accepted(made, family, strategy, loose, data):
    tool = tool_of(made[0])
    options = {"text": "allowed", "parallel_calls": True} if loose else {}
    exact, quick = (make(tool, family, strategy, **options) for make in (grammar, runs))
    reply = call(tool, family, {"v": made[1]})
    at = data.draw(st.integers(0, len(reply)))
    scrap = data.draw(TEXTS)
    before = data.draw(TEXTS | st.sampled_from(("a<tool_cal", "<start_function", '{"name": {"name', "<<tool_call")))
    for text in (reply, reply[:at] + scrap + reply[at:], before + reply, before, f"{reply}\n{reply}"):
        if xgrammar_accepts(exact, text):
            assert xgrammar_accepts(quick, text), text


@SLOW
@given(TOOL_SCHEMAS, st.data(), st.sampled_from(FAMILIES), st.sampled_from(STRATEGIES))
def test_any_schema_keeps_what_the_exact_form_accepts(made, data, family, strategy):
    tool = ToolSchema("save", "", made[0])
    try:
        exact, quick = grammar(tool, family, strategy), runs(tool, family, strategy)
    except ConfigError:
        assume(False)
    reply = call(tool, family, data.draw(made[1]))
    assert xgrammar_accepts(quick, reply) or not xgrammar_accepts(exact, reply), reply


@SLOW
@given(st.integers(0, 14), st.none() | st.integers(12, 30), NEAR | PIECES.map("".join), st.sampled_from(list(MARKERS)))
def test_what_is_accepted_reads_as_what_was_written(low, high, text, family):
    """So no marker gets in: a text with one would be read as a shorter one, and written in another way."""
    bounds = {"minLength": low, **({} if high is None else {"maxLength": max(low, high)})}
    tool = tool_of({"type": "string", **bounds})
    reply = raw_call(family, text)
    if not xgrammar_accepts(runs(tool, family), reply):
        assert MARKERS[family] in text or not low <= len(text) <= bounds.get("maxLength", 1000)
        return
    found = parse_reply(reply, family, [tool])
    assert (found.text, found.malformed) == ("", ())
    assert [one.arguments for one in found.tool_calls] == [{"v": text}]
    assert call(tool, family, {"v": text}) == reply
    assert MARKERS[family] not in text


@pytest.mark.parametrize("schema", [{}, {"minLength": 1}, {"minLength": 20}, {"maxLength": 40}, {"pattern": "^[^.]*$"}])
@pytest.mark.parametrize("family", MARKERS)
def test_the_marker_never_gets_in(family, schema):
    marker = MARKERS[family]
    quick = runs(tool_of({"type": "string", **schema}), family)
    fill = "x" * 20
    for text in (marker, f"{fill}{marker}", f"{marker}{fill}", f"<{marker}", f"{marker[:-1]}{marker}", f"\n{marker}"):
        for around in (text, f"{text}\n", f"{text}{marker}", f"{fill}\n{text}\n"):
            assert not xgrammar_accepts(quick, raw_call(family, around)), around
    for text in (f"{fill}{marker[:-1]}", f"{fill}{marker[:-1]} ", f"{marker[1:]}{fill}", f"{fill}<", f"{fill}\n"):
        assert xgrammar_accepts(quick, raw_call(family, text)), text


@pytest.mark.parametrize("text", ["a</parameter>", "</parameter>", "<</parameter>\n", "</</parameter>"])
def test_the_marker_stands_escaped_in_nested_json(text):
    tool = tool_of({"type": "array", "items": {"type": "string", "minLength": 3}})
    quick, reply = runs(tool, "qwen_coder"), call(tool, "qwen_coder", {"v": [text, "abc"]})
    assert xgrammar_accepts(quick, reply)
    assert parse_reply(reply, "qwen_coder", [tool]).tool_calls[0].arguments == {"v": [text, "abc"]}
    assert not xgrammar_accepts(quick, reply.replace("<\\/parameter>", "</parameter>"))


@pytest.mark.parametrize("bounds", [(0, 0), (0, 1), (1, 1), (0, 7), (3, 11), (1, 40), (15, 40), (200, 300), (0, 2500)])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_length_of_a_plain_text_is_exact(family, bounds):
    low, high = bounds
    tool = tool_of({"type": "string", "minLength": low, "maxLength": high})
    quick = runs(tool, family)
    for length in {0, 1, low - 1, low, low + 1, high - 1, high, high + 1} - {-1}:
        for char in ("é", "\n") if family in MARKERS else ("é",):
            text = call(tool, family, {"v": char * length})
            assert xgrammar_accepts(quick, text) is (low <= length <= high), length


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_before_a_call_holds_no_start_of_a_call(family):
    tool = tool_of({"type": "string"})
    quick = runs(tool, family, text="allowed", parallel_calls=True)
    reply = call(tool, family, {"v": "x"})
    tag = reply[: reply.index("save")]
    for text in (reply, f"So: {reply}", f"a {tag[:5]}x {tag[:3]} {reply}", f"{tag[0] * 3} {reply}"):
        assert xgrammar_accepts(quick, text), text
    for text in (
        "",
        tag,
        f"a {tag}",
        f"{tag}other",
        f"a{reply}b",
        f"{tag}{reply}",
        f"a {tag[0]}",
        f"a {tag[0]}{reply}",
    ):
        assert not xgrammar_accepts(quick, text), text


TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|[A-Za-z][A-Za-z0-9-]*|::=|\{[0-9,]+\}|[()|?*+]')
# What repeats and is no character: items, members with their commas, calls.
WHOLE = {"more-items", "more-members", "member", "next-call", "call-save"}
SHAPES = (
    {"type": "string", "minLength": 2},
    {"type": "string", "maxLength": 40},
    {"type": ["string", "number"]},
    {"type": "array", "items": {"type": "string"}},
    {"type": "string", "pattern": "^[^.]+$"},
    {"type": "object", "additionalProperties": True},
    {},
)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("schema", SHAPES, ids=json.dumps)
def test_only_classes_repeat_as_characters_of_a_text(family, strategy, schema):
    """A mask takes long where a choice of characters repeats; in JSON an escape with the run after it does."""
    words = TOKEN.findall(runs(tool_of(schema), family, strategy, text="allowed", parallel_calls=True))
    found = {re.sub(r"-\d+$", "", word) for word, count in pairwise(words) if count[0] == "{" and word[0] != "["}
    assert found <= (WHOLE if family in MARKERS else WHOLE | {"other-run"})
    assert "[" in {word[0] for word, count in pairwise(words) if count[0] == "{"}
