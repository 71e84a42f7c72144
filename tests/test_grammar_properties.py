"""Over generated schemas and values: the typed grammar accepts exactly what the schema allows, on both engines."""

import pytest
from grammar_engines import both_accept, llama_compiles
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schema_strategies import TOOL_SCHEMAS, mutated

from engine.grammar import ToolGrammarError, check_grammar, inexpressible, inspect_grammar, order_arguments
from engine.messages import ToolCall, ToolSchema
from engine.models import constraint_for, format_calls, get_plugin, parse_reply

pytestmark = pytest.mark.xgrammar
SLOW = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


def _writable(value):
    """Whether no float is whole: JSON Schema takes 2.0 for an integer, which the grammar never writes."""
    if isinstance(value, dict):
        return all(map(_writable, value.values()))
    if isinstance(value, list):
        return all(map(_writable, value))
    return not (isinstance(value, float) and value == int(value))


@SLOW
@given(st.data(), st.sampled_from(("qwen", "smollm")))
def test_allowed_values_are_accepted_and_come_back(data, plugin):
    schema, values = data.draw(TOOL_SCHEMAS)
    value = data.draw(values)
    tools = [ToolSchema("save_it", "", schema)]
    assert inexpressible(schema) == []
    call = ToolCall("call_1", "save_it", order_arguments(schema, value))
    text = get_plugin(plugin).format_calls([call])
    assert both_accept(constraint_for(tools, plugin).value, text)
    reply = parse_reply(text, plugin, tools)
    assert (reply.text, reply.malformed) == ("", ())
    assert reply.tool_calls == (ToolCall("call_1", "save_it", value),)


@SLOW
@given(st.data())
def test_a_mutated_value_is_accepted_exactly_if_the_schema_allows_it(data):
    schema, values = data.draw(TOOL_SCHEMAS)
    value = data.draw(mutated(data.draw(values)))
    assume(isinstance(value, dict) and _writable(value))
    tools = [ToolSchema("save_it", "", schema)]
    text = format_calls([ToolCall("1", "save_it", value)], "qwen", tools)
    allowed = Draft202012Validator(schema).is_valid(value)
    assert both_accept(constraint_for(tools).value, text) == allowed


@SLOW
@given(
    TOOL_SCHEMAS,
    st.sampled_from(("typed", "strict_json", "permissive")),
    st.booleans(),
    st.sampled_from(("forbidden", "allowed")),
)
def test_every_grammar_compiles_on_both_and_passes_the_own_check(made, strategy, parallel, text):
    tools = [ToolSchema("one", "", made[0]), ToolSchema("two_b", "", {"type": "object", "properties": {}})]
    grammar = constraint_for(tools, strategy=strategy, parallel_calls=parallel, text=text).value
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
@given(st.dictionaries(st.sampled_from(KEYWORDS), SCRAPS, max_size=5))
def test_any_schema_is_written_or_refused(schema):
    """Whatever stands in a schema, there is a grammar that compiles on both, or a refusal that names the tool."""
    tools = [ToolSchema("odd", "", schema)]
    if any(problem.refused for problem in inexpressible(schema)):
        with pytest.raises(ToolGrammarError, match="odd"):
            constraint_for(tools)
        return
    grammar = constraint_for(tools).value
    assert inspect_grammar(grammar).fits == ("llama_cpp", "xgrammar")
    assert llama_compiles(grammar)
