"""Typed grammars in every wire format, on both engines: what a family writes is accepted and comes back as it was."""

import json

import pytest
from grammar_cases import CASES
from grammar_engines import both_accept, llama_compiles

from engine.grammar import (
    ESCAPE_SYNTAX,
    JSON_SYNTAX,
    PARAMETER_SYNTAX,
    ConstraintOptions,
    ToolGrammarError,
    check_grammar,
    inexpressible,
    inspect_grammar,
    order_arguments,
    tools_grammar,
)
from engine.grammar.argument_check import check_arguments
from engine.messages import ToolCall, ToolSchema
from engine.models import constraint_for, get_plugin, parse_reply
from engine.models.function_gemma import FRAME as GEMMA
from engine.models.hermes import HERMES_FRAME
from engine.models.llama3 import LLAMA_FRAME
from engine.models.qwen_coder import FRAME as CODER

pytestmark = pytest.mark.xgrammar
FRAMES = {"qwen": HERMES_FRAME, "llama3": LLAMA_FRAME, "function_gemma": GEMMA, "qwen_coder": CODER}


def _tool(schema):
    """Return a tool whose one argument `v` has the schema."""
    parameters = {"type": "object", "properties": {"v": schema}, "required": ["v"]}
    if isinstance(schema, dict):
        parameters["$defs"] = schema.get("$defs", {})
    return ToolSchema("save", "", parameters)


def _grammar(tool, family, **options):
    return tools_grammar([tool], FRAMES[family], ConstraintOptions(**options))


def _call(tool, family, arguments):
    return get_plugin(family).format_calls([ToolCall("1", tool.name, order_arguments(tool.parameters, arguments))])


def _read(text, family, tool):
    """Return the arguments of the one call that the text is."""
    reply = parse_reply(text, family, [tool])
    assert (reply.text, reply.malformed) == ("", ())
    (call,) = reply.tool_calls
    assert call.name == tool.name
    return call.arguments


@pytest.mark.parametrize("family", FRAMES)
@pytest.mark.parametrize(("schema", "good", "bad"), CASES)
def test_a_value_is_taken_exactly_if_it_fits(schema, good, bad, family):
    tool = _tool(schema)
    grammar = _grammar(tool, family)
    for value in good:
        text = _call(tool, family, {"v": value})
        assert both_accept(grammar, text), value
        assert _read(text, family, tool) == {"v": value}
    for value in bad:
        if isinstance(value, str) and value.startswith("raw:"):
            continue
        text = _call(tool, family, {"v": value})
        if family == "qwen_coder" and both_accept(grammar, text):
            # What is no string is written without a sign, so the text of one value may be that of another that fits.
            read = _read(text, family, tool)
            assert json.dumps(read) != json.dumps({"v": value})
            assert check_arguments(tool.parameters, read) is None
        else:
            assert not both_accept(grammar, text), value
