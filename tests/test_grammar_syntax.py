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


def _wrapped(family, arguments):
    """Return a call of `save` whose arguments are written as they stand."""
    frame = FRAMES[family]
    return f"{frame.begin('save')}{arguments}{frame.close}"


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            {"type": "string"},
            ["{v:<escape><escape>}", '{v:<escape>{"a": [1,<b>]}\n<esc<escape>}', "{v:<escape><<<escape<esc<escape>}"],
            ["{v:x}", '{v:"x"}', '{"v":<escape>x<escape>}', "{v: <escape>x<escape>}", "{v:<escape>x}", "{v:<escape>}"],
        ),
        (
            {"type": "integer", "minimum": 0},
            ["{v:0}", "{v:12}"],
            ["{v:-1}", "{v:<escape>1<escape>}", "{v:1.5}", "{v:1 }", "{v:1,}", "{v:1,v:1}", "{v:}", "v:1"],
        ),
        (
            {"type": "array", "items": {"type": ["string", "null"]}, "maxItems": 2},
            ["{v:[]}", "{v:[null]}", "{v:[<escape>a<escape>,null]}"],
            ["{v:[a]}", "{v:[null, null]}", "{v:[null,null,null]}", "{v:[null,]}", "{v:null}"],
        ),
        (
            {"type": "object", "properties": {"a": {"type": "boolean"}, "b c": {"type": "null"}}, "required": ["a"]},
            ["{v:{a:true}}", "{v:{a:false,<escape>b c<escape>:null}}"],
            ["{v:{}}", "{v:{a:true,b c:null}}", "{v:{a:True}}", "{v:{<escape>b c<escape>:null,a:true}}", "{v:{a:true}"],
        ),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            ["{v:{}}", "{v:{a:1,é:2,<escape>x: y<escape>:3,<escape><escape>:4}}"],
            ["{v:{x y:1}}", "{v:{:1}}", "{v:{a:b}}", '{v:{"a":1}}', "{v:{a:<escape>1<escape>}}"],
        ),
        (
            {"enum": ["a", 1, None, {"k": ["x"]}]},
            ["{v:<escape>a<escape>}", "{v:null}", "{v:{k:[<escape>x<escape>]}}"],
            ["{v:a}", "{v:2}", "{}", "{v:<escape>1<escape>}"],
        ),
        ({"type": "string", "maxLength": 7}, ["{v:<escape><escape<escape>}"], ["{v:<escape>12345678<escape>}"]),
        ({"type": "string", "pattern": "^<[a-z]*>$"}, ["{v:<escape><b><escape>}"], ["{v:<escape>b<escape>}"]),
    ],
)  # fmt: skip
def test_calls_of_function_gemma_to_the_letter(schema, good, bad):
    grammar = _grammar(_tool(schema), "function_gemma")
    for arguments in good:
        assert both_accept(grammar, _wrapped("function_gemma", arguments)), arguments
        _read(_wrapped("function_gemma", arguments), "function_gemma", _tool(schema))
    for arguments in bad:
        assert not both_accept(grammar, _wrapped("function_gemma", arguments)), arguments


def _parameter(value, name="v"):
    return f"<parameter={name}>\n{value}\n</parameter>\n"


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            {"type": "string"},
            ["", "\n", " x ", '"quoted"', "<b>\n</function>\n</tool_call>", "</parameter", "</</parameter </param"],
            ["</parameter>", "a</parameter>b", "</</parameter>", "</parameter></parameter>"],
        ),
        ({"type": "integer"}, ["0", "-3"], ["", " 1", "1.5", '"1"', "one", "0\n"]),
        ({"type": "boolean"}, ["true"], ["True", '"true"']),
        ({"type": "array", "items": {"type": "string"}}, ["[]", '["a", "</parameter"]', r'["<\/parameter>"]'],
         ["[a]", '["a","b"]', '["</parameter>"]', "a"]),
        ({"type": "object", "properties": {"a": {"enum": ["x"]}}}, ["{}", '{"a": "x"}'], ["{a: x}", '{"a":"x"}', "a"]),
        ({"type": "object", "additionalProperties": {"type": "null"}}, ['{"<": null}', r'{"<\/parameter>": null}'],
         ['{"</parameter>": null}', "{x: null}"]),
        ({"type": ["string", "null"], "maxLength": 4}, ["null", "", "ab"], ["nulls", "abcde"]),
        ({"enum": ["a b", 2, [1]]}, ["a b", "2", "[1]"], ['"a b"', "a", "[1, 1]"]),
        ({"anyOf": [{"type": "string", "pattern": "^#"}, {"type": "integer"}]}, ["#a", "5"], ["a", '"#a"']),
        ({"$ref": "#/$defs/s", "$defs": {"s": {"type": "string", "minLength": 1}}}, ["x", "<"], [""]),
    ],
)  # fmt: skip
def test_calls_of_qwen_coder_to_the_letter(schema, good, bad):
    grammar = _grammar(_tool(schema), "qwen_coder")
    for value in good:
        text = _wrapped("qwen_coder", _parameter(value))
        assert both_accept(grammar, text), value
        _read(text, "qwen_coder", _tool(schema))
    for value in bad:
        assert not both_accept(grammar, _wrapped("qwen_coder", _parameter(value))), value


def test_what_stands_around_the_parameters():
    schema = {"type": "object", "properties": {"a b": {"type": "null"}, "c": {"type": "null"}}, "required": ["c"]}
    grammar = _grammar(ToolSchema("save", "", schema), "qwen_coder")
    one, two = _parameter("null", "a b"), _parameter("null", "c")
    for arguments in (two, one + two):
        assert both_accept(grammar, _wrapped("qwen_coder", arguments)), arguments
    for arguments in ("", one, two + one, two + two, two[:-1], "\n" + two, one + "\n" + two, _parameter("null", " c")):
        assert not both_accept(grammar, _wrapped("qwen_coder", arguments)), arguments
    nothing = _grammar(ToolSchema("save", "", {"type": "object", "properties": {}}), "qwen_coder")
    assert both_accept(nothing, _wrapped("qwen_coder", ""))
    assert not both_accept(nothing, _wrapped("qwen_coder", two))
    free = _grammar(ToolSchema("save", "", {"type": "object", "additionalProperties": {"type": "null"}}), "qwen_coder")
    for name, fits in (
        ("x", True),
        ("a b", True),
        ("é=1", True),
        (" a", False),
        ("a\n", False),
        ("a>", False),
        ("", False),
    ):
        assert both_accept(free, _wrapped("qwen_coder", _parameter("null", name))) is fits, name


@pytest.mark.parametrize(
    ("family", "schema", "expected"),
    [
        ("function_gemma", {"type": "string", "maxLength": 7}, []),
        ("function_gemma", {"type": "string", "minLength": 1}, []),
        ("function_gemma", {"type": "string", "maxLength": 8}, [("maxLength", False)]),
        ("function_gemma", {"type": "array", "items": {"type": "string", "minLength": 2}}, [("minLength", False)]),
        ("function_gemma", {"type": "string", "pattern": "^[a-z ]{2,90}$"}, []),
        ("function_gemma", {"type": "string", "pattern": r"^[A-Z][^.]*\.$"}, []),
        ("function_gemma", {"type": "string", "pattern": r"^[A-Z][^.]*\.$", "maxLength": 30}, [("pattern", False)]),
        ("function_gemma", {"type": "string", "pattern": "^[^.]{2,30}$"}, [("pattern", False)]),
        ("function_gemma", {"type": "string", "pattern": "^<[a-z]*>$"}, [("pattern", False)]),
        ("function_gemma", {"type": "string", "pattern": "^(<|[a-z>])*$"}, [("pattern", False)]),
        ("function_gemma", {"enum": ["a", "<escape>"]}, [("enum", True)]),
        ("function_gemma", {"type": "object", "properties": {"<escape>": {}}}, [("properties", True)]),
        ("function_gemma", {"type": "object", "properties": {"a b:{": {}}}, []),
        ("function_gemma", {"anyOf": [{"type": "string"}, {"type": "integer", "maximum": 3}]}, []),
        ("qwen_coder", {"type": "string", "maxLength": 40}, [("maxLength", False)]),
        ("qwen_coder", {"type": "object", "properties": {"a<b>": {}, "</parameter>": {}}}, []),
        ("qwen_coder", {"anyOf": [{"type": "string"}, {"type": "integer"}]}, []),
        ("qwen_coder", {"anyOf": [{"type": "string"}, {"type": "integer", "maximum": 3}]}, [("type", False)]),
        ("qwen_coder", {"type": ["string", "array"], "items": {"type": "null"}}, [("type", False)]),
        ("qwen_coder", {"enum": ["a", 5]}, []),
        ("qwen_coder", {"enum": ["5", 6]}, [("type", False)]),
        ("qwen_coder", {"const": "a</parameter>"}, [("enum", True)]),
        ("qwen_coder", {"type": "array", "items": {"const": "a</parameter>"}}, []),
    ],
)  # fmt: skip
def test_what_a_format_cannot_say_is_reported(family, schema, expected):
    tool = _tool(schema)
    syntax = FRAMES[family].syntax
    found = inexpressible(tool.parameters, syntax=syntax)
    assert [(problem.keyword, problem.refused) for problem in found] == expected
    if any(refused for _, refused in expected):
        with pytest.raises(ToolGrammarError, match="tool 'save' has no typed grammar"):
            _grammar(tool, family)
        return
    grammar = _grammar(tool, family)
    assert inspect_grammar(grammar).fits == ("llama_cpp", "xgrammar")
    assert check_grammar(grammar, compiled=True) == []


@pytest.mark.parametrize("name", ["a<b", "a>", " a", "a ", "", "a\nb"])
def test_a_name_that_cannot_stand_in_a_parameter_is_refused(name):
    schema = {"type": "object", "properties": {name: {"type": "null"}}}
    (problem,) = inexpressible(schema, syntax=PARAMETER_SYNTAX)
    assert (problem.path, problem.keyword, problem.refused) == (f"/properties/{name}", "properties", True)
    assert inexpressible(schema) == []
    assert inexpressible(schema, syntax=ESCAPE_SYNTAX) == []


@pytest.mark.parametrize("family", ["function_gemma", "qwen_coder"])
def test_lengths_are_exact_without_the_marks_first_character(family):
    tool = _tool({"type": "string", "minLength": 15, "maxLength": 40})
    grammar = _grammar(tool, family)
    for length in (0, 14, 15, 40, 41):
        text = _call(tool, family, {"v": "e" * length})
        assert both_accept(grammar, text) is (15 <= length <= 40), length
    for value in ("<" * 15, "<" * 40, "x" * 39 + "<", "<" + "/" * 39, "<escap" * 6, "</paramete" * 4, "a<" * 20):
        assert both_accept(grammar, _call(tool, family, {"v": value})), value
    assert not both_accept(grammar, _call(tool, family, {"v": "<x" * 400}))


@pytest.mark.parametrize("family", ["function_gemma", "qwen_coder"])
def test_the_end_mark_is_left_out_of_a_pattern(family):
    mark = FRAMES[family].syntax.marker or "</parameter>"
    grammar = _grammar(_tool({"type": "string", "pattern": r"^[A-Z][^.]*\.$"}), family)
    quote = "<escape>" if family == "function_gemma" else ""
    for inside, fits in ((mark[:-1], True), ("<" * 20, True), (mark, False), (f"<{mark}", False), (mark + mark, False)):
        value = f"{quote}A{inside}.{quote}"
        arguments = f"{{v:{value}}}" if quote else _parameter(value)
        assert both_accept(grammar, _wrapped(family, arguments)) is fits, inside


@pytest.mark.parametrize("family", FRAMES)
def test_only_json_could_write_arguments_that_are_no_object(family):
    """A tool's parameters are an object; what else its schema allows is no call."""
    parameters = {"type": ["object", "null"], "properties": {"v": {"type": "null"}}}
    refused = [problem.refused for problem in inexpressible({"type": "string"}, syntax=FRAMES[family].syntax)]
    assert refused == ([] if FRAMES[family].syntax.name == JSON_SYNTAX.name else [True])
    grammar = _grammar(ToolSchema("save", "", parameters), family)
    assert both_accept(grammar, get_plugin(family).format_calls([ToolCall("1", "save", {"v": None})]))


@pytest.mark.parametrize("family", FRAMES)
@pytest.mark.parametrize("strategy", ["typed", "strict_json", "permissive"])
def test_text_and_several_calls(family, strategy):
    tool = _tool({"type": "integer"})
    write = get_plugin(family).format_calls
    grammar = constraint_for([tool], family, strategy, "ebnf", parallel_calls=True, text="allowed").value
    tag, one = FRAMES[family].tag, write([ToolCall("1", "save", {"v": 1})])
    several = write([ToolCall(str(number), "save", {"v": number}) for number in range(16)])
    for text in (
        "Hello.",
        "a < b {c} <d> ",
        '{"a": {"name": 1}} ',
        f"Let me see.\n{one}",
        one,
        several,
        f"So: {several}",
    ):
        assert both_accept(grammar, text), text
    for text in ("", tag, f"see {tag} there", one[:-1], f"{one} Done", one.replace("save", "safe")):
        assert not both_accept(grammar, text), text
    if strategy == "typed":
        assert not both_accept(grammar, write([ToolCall(str(number), "save", {"v": 1}) for number in range(17)]))


@pytest.mark.parametrize("family", ["function_gemma", "qwen_coder"])
@pytest.mark.parametrize("max_tokens", [256, 1024])
def test_a_token_limit_shrinks_the_defaults(family, max_tokens):
    properties = {"text": {"type": "string"}, "notes": {"type": "array", "items": {"type": "string"}}}
    tool = ToolSchema("save", "", {"type": "object", "properties": properties, "required": ["text"]})
    grammar = _grammar(tool, family, max_tokens=max_tokens)

    def takes(text, notes):
        return both_accept(grammar, _call(tool, family, {"text": text, "notes": notes}))

    assert takes("x" * (max_tokens // 8), ["note"])
    assert not takes("x" * max_tokens, [])
    assert not takes("x", ["y" * (max_tokens // 4)] * 4)


@pytest.mark.parametrize("family", FRAMES)
def test_recursive_schemas_in_every_format(family):
    node = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}, "name": {"type": "string"}},
        "required": ["next"],
    }
    parameters = {**node, "$defs": {"node": node}}
    tool = ToolSchema("save", "", parameters)
    grammar = _grammar(tool, family)
    value = {"next": {"next": {"next": None, "name": "c</x"}, "name": "b"}, "name": "a"}
    text = _call(tool, family, value)
    assert both_accept(grammar, text)
    assert _read(text, family, tool) == value
    assert llama_compiles(grammar)
