"""Over generated schemas and values: the typed grammar accepts exactly what the schema allows, on both engines."""

import json

import pytest
from grammar_engines import both_accept, llama_compiles
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schema_strategies import TOOL_SCHEMAS, mutated

from engine.grammar import (
    ESCAPE_SYNTAX,
    JSON_SYNTAX,
    PARAMETER_SYNTAX,
    ToolGrammarError,
    check_grammar,
    inexpressible,
    inspect_grammar,
    order_arguments,
)
from engine.grammar.argument_check import check_arguments
from engine.messages import ToolCall, ToolSchema
from engine.models import constraint_for, format_calls, get_plugin, parse_reply
from engine.models.argument_types import ArgumentTypes, json_type

pytestmark = pytest.mark.xgrammar
JSON_FAMILIES = ("qwen", "smollm", "llama3")
RAW_FAMILIES = ("function_gemma", "qwen_coder")
FAMILIES = (*JSON_FAMILIES, *RAW_FAMILIES)
SLOW = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


def syntax_of(family):
    """Return how the family writes arguments."""
    return {"function_gemma": ESCAPE_SYNTAX, "qwen_coder": PARAMETER_SYNTAX}.get(family, JSON_SYNTAX)


def _writable(value):
    """Whether no float is whole: JSON Schema takes 2.0 for an integer, which the grammar never writes."""
    if isinstance(value, dict):
        return all(map(_writable, value.values()))
    if isinstance(value, list):
        return all(map(_writable, value))
    return not (isinstance(value, float) and value == int(value))


def _texts(value):
    """Yield every string and key of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
        yield from value if isinstance(value, dict) else ()


def _can_be_said(family, tool, value):
    """Whether the family can write the value and what it writes means nothing else."""
    if family == "function_gemma":
        return not any("<escape>" in text for text in _texts([tool.parameters, value]))
    if family == "qwen_coder":
        return not any("</parameter>" in text for text in _texts(tool.parameters)) and all(
            "</parameter>" not in inner and not _means_more(tool, name, inner)
            for name, inner in value.items()
            if isinstance(inner, str)
        )
    return True


def _means_more(tool, name, text):
    """Whether a text is JSON of another type that the schema allows for the argument too."""
    types = ArgumentTypes(tool.parameters)
    try:
        found = json.loads(text, strict=False)
    except ValueError:
        return False
    return not isinstance(found, str) and json_type(found) in types.allowed(types.member(tool.parameters, name))


@SLOW
@given(st.data(), st.sampled_from(FAMILIES))
def test_allowed_values_are_accepted_and_come_back(data, family):
    schema, values = data.draw(TOOL_SCHEMAS)
    value = data.draw(values)
    tools = [ToolSchema("save_it", "", schema)]
    assume(_can_be_said(family, tools[0], value))
    assert not any(problem.refused for problem in inexpressible(schema, syntax=syntax_of(family)))
    call = ToolCall("call_1", "save_it", order_arguments(schema, value))
    text = get_plugin(family).format_calls([call])
    assert both_accept(constraint_for(tools, family).value, text)
    reply = parse_reply(text, family, tools)
    assert (reply.text, reply.malformed) == ("", ())
    assert reply.tool_calls == (ToolCall("call_1", "save_it", value),)


@SLOW
@given(st.data(), st.sampled_from(JSON_FAMILIES))
def test_a_mutated_value_is_accepted_exactly_if_the_schema_allows_it(data, family):
    schema, values = data.draw(TOOL_SCHEMAS)
    value = data.draw(mutated(data.draw(values)))
    assume(isinstance(value, dict) and _writable(value))
    tools = [ToolSchema("save_it", "", schema)]
    assert inexpressible(schema) == []
    text = format_calls([ToolCall("1", "save_it", value)], family, tools)
    allowed = Draft202012Validator(schema).is_valid(value)
    assert both_accept(constraint_for(tools, family).value, text) == allowed


@SLOW
@given(st.data(), st.sampled_from(RAW_FAMILIES))
def test_what_is_accepted_is_read_as_what_the_schema_allows(data, family):
    """A family that writes strings raw: what is accepted and does not fit is one of the noted findings."""
    schema, values = data.draw(TOOL_SCHEMAS)
    value = data.draw(mutated(data.draw(values)))
    tool = ToolSchema("save_it", "", schema)
    assume(isinstance(value, dict) and _writable(value))
    noted = inexpressible(schema, syntax=syntax_of(family))
    assume(not any(problem.refused for problem in noted))
    text = format_calls([ToolCall("call_1", "save_it", value)], family, [tool])
    if not both_accept(constraint_for([tool], family).value, text):
        assert not (Draft202012Validator(schema).is_valid(value) and _can_be_said(family, tool, value))
        return
    reply = parse_reply(text, family, [tool])
    assert (reply.text, reply.malformed, len(reply.tool_calls)) == ("", (), 1)
    assert noted or check_arguments(schema, reply.tool_calls[0].arguments) is None


@SLOW
@given(st.data(), st.sampled_from(FAMILIES), st.sampled_from(("typed", "strict_json", "permissive")))
def test_another_name_and_trailing_text_are_rejected(data, family, strategy):
    schema, values = data.draw(TOOL_SCHEMAS)
    value = data.draw(values)
    tool = ToolSchema("save_it", "", schema)
    assume(_can_be_said(family, tool, value))
    grammar = constraint_for([tool], family, strategy).value
    write = get_plugin(family).format_calls
    text = write([ToolCall("1", "save_it", order_arguments(schema, value))])
    name = data.draw(st.sampled_from(("save", "save_it2", "Save_it", "other", "")))
    assert not both_accept(grammar, write([ToolCall("1", name, value)]))
    assert not both_accept(grammar, text + data.draw(st.sampled_from((" ", "\n", ".", text, "\n" + text))))
    assert not both_accept(grammar, data.draw(st.sampled_from((" ", "Sure. "))) + text)
    assert not both_accept(grammar, text[: data.draw(st.integers(0, len(text) - 1))])


@SLOW
@given(
    TOOL_SCHEMAS,
    st.sampled_from(FAMILIES),
    st.sampled_from(("typed", "strict_json", "permissive")),
    st.booleans(),
    st.sampled_from(("forbidden", "allowed")),
)
def test_every_grammar_compiles_on_both_and_passes_the_own_check(made, family, strategy, parallel, text):
    tools = [ToolSchema("one", "", made[0]), ToolSchema("two_b", "", {"type": "object", "properties": {}})]
    assume(not any(problem.refused for problem in inexpressible(made[0], syntax=syntax_of(family))))
    grammar = constraint_for(tools, family, strategy, parallel_calls=parallel, text=text).value
    assert inspect_grammar(grammar).fits == ("llama_cpp", "xgrammar")
    assert llama_compiles(grammar)
    assert check_grammar(grammar, compiled=True) == []


KEYWORDS = (
    *("type", "properties", "required", "items", "anyOf", "oneOf", "allOf", "enum", "const", "pattern", "minLength"),
    *(
        "maxLength",
        "minimum",
        "maximum",
        "minItems",
        "maxItems",
        "additionalProperties",
        "prefixItems",
        "$ref",
        "$defs",
    ),
    *("patternProperties", "propertyNames", "multipleOf", "not", "minProperties", "exclusiveMinimum"),
)
SCRAPS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 10**7)
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(("string", "object", "array", "integer", "#", "#/$defs/a", "^a*$", "(a|b)+", "[^x]")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from((*KEYWORDS, "a")), inner, max_size=4),
    max_leaves=12,
)


@SLOW
@given(st.dictionaries(st.sampled_from(KEYWORDS), SCRAPS, max_size=5), st.sampled_from(FAMILIES))
def test_any_schema_is_written_or_refused(schema, family):
    """Whatever stands in a schema, there is a grammar that compiles on both, or a refusal that names the tool."""
    tools = [ToolSchema("odd", "", schema)]
    if any(problem.refused for problem in inexpressible(schema, syntax=syntax_of(family))):
        with pytest.raises(ToolGrammarError, match="odd"):
            constraint_for(tools, family)
        return
    grammar = constraint_for(tools, family).value
    assert inspect_grammar(grammar).fits == ("llama_cpp", "xgrammar")
    assert llama_compiles(grammar)
