"""Checking a grammar text and a manifest's grammar block."""

import pytest
from grammar_engines import llama_compiles
from hypothesis import given
from hypothesis import strategies as st

from engine.diagnostics import Span
from engine.grammar import ConstraintOptions, check_grammar, check_options, inspect_grammar
from engine.grammar.check import compile_grammar
from engine.messages import ToolSchema

SPAN = Span("bundle.yaml", 3, 1)
TOOL = ToolSchema("save", "", {"type": "object", "properties": {"v": {"type": "string", "pattern": "^(?!x)"}}})
OK = 'root ::= ("a" | [b-d\\u00e9]{1,3} item?)+ # note\nitem ::= "x" item | "\\"\\n"\n'


@pytest.mark.xgrammar
@pytest.mark.parametrize(
    ("text", "fits", "message"),
    [
        (OK, "both", ""),
        ('root ::= my_item\nmy_item ::= "x"\n', "xgrammar", "line 1: rule name 'my_item' has an underscore"),
        ('root ::= .* "x"\n', "llama_cpp", "line 1: '.' is read by llama.cpp only"),
        ('root ::= root "a" | "b"\n', "xgrammar", "line 1: rule 'root' is left-recursive"),
        ('root ::= a "x"\na ::= "y"\n\nb ::= a b2\nb2 ::= b\n', "both", ""),
        ('root ::= "a"{0,2001}\n', "xgrammar", "is above 2000"),
        ('root ::= ("a" | ) "b"\n', "llama_cpp", "line 1: an empty alternative"),
        ('root ::= "\\x41b"\n', "llama_cpp", "line 1: xgrammar reads the digit after \\x41 into the number"),
    ],
)
def test_which_servers_a_grammar_fits(text, fits, message):
    report = inspect_grammar(text)
    expected = ("llama_cpp", "xgrammar") if fits == "both" else (fits,)
    assert report.fits == expected
    assert any(message in str(issue) for issue in report.issues) or not message
    assert check_grammar(text) == []
    if message and "reads the digit" not in message:
        assert (compile_grammar(text) is None) is ("xgrammar" in expected)
    if "2000" not in message and "left" not in message:
        assert llama_compiles(text) is ("llama_cpp" in expected)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: there is no rule 'root'"),
        ('start ::= "a"\n', "line 1: there is no rule 'root'"),
        ('root ::= "a" call\ncal ::= "b"\n', "line 1: rule 'call' is not defined"),
        ('root ::= "a"\nroot ::= "b"\n', "line 2: rule 'root' is defined twice"),
        ('root ::= ("a"\n', "rule 'root' has an open parenthesis"),
        ('root ::= "a")\n', "line 1: a ')' without its '('"),
        ('root ::= "a\n', "line 1: unexpected '\"'"),
        ("root ::= 'a'\n", "line 1: 'a' is in single quotes"),
        ("root ::= * \n", "line 1: '*' has nothing to repeat"),
        ('root ::= "a"{3,2}\n', "line 1: {3,2} has its bounds in the wrong order"),
        ("root ::=\n", "rule 'root' ends with nothing"),
        ("root ::= []\n", "line 1: an empty character class"),
        ('"a"\nroot ::= "b"', "line 1: text before the first rule"),
        ('root ::= <a> (?= "b")', "read by llama.cpp only"),
    ],
)
def test_what_no_server_reads(text, problem):
    found = check_grammar(text, compiled=False)
    assert any(problem in line for line in found), found


@given(st.text(st.sampled_from("root:= \"a\\x[]()|*{1,2}_.\n#<>'é")) | st.text())
def test_any_text_is_checked(text):
    assert all(isinstance(line, str) for line in check_grammar(text, compiled=False))


def _codes(options, tools=(), **more):
    return [found.code for found in check_options(tools, options, SPAN, **more)]


@pytest.mark.xgrammar
def test_findings_of_the_grammar_block():
    assert _codes(ConstraintOptions()) == []
    assert _codes(ConstraintOptions("typd")) == ["G001"]
    assert _codes(ConstraintOptions("typed@9")) == ["G001"]
    assert _codes(ConstraintOptions("custom")) == ["G002"]
    assert _codes(ConstraintOptions("typed", custom=OK)) == ["G002"]
    assert _codes(ConstraintOptions("custom", custom=OK)) == []
    assert _codes(ConstraintOptions("custom", custom="root ::= x")) == ["G003"]
    assert _codes(ConstraintOptions("custom", custom={"type": "tag"})) == ["G003"]
    assert _codes(ConstraintOptions("custom", custom={"type": "structural_tag", "format": {"type": "no"}})) == ["G003"]
    tag = {"type": "structural_tag", "format": {"type": "const_string", "value": "x"}}
    assert _codes(ConstraintOptions("custom", custom=tag)) == ["G007"]
    assert _codes(ConstraintOptions("custom", custom="root ::= .+")) == ["G007"]
    assert _codes(ConstraintOptions(), [TOOL]) == ["G004"]
    assert _codes(ConstraintOptions("strict_json"), [TOOL]) == []
    assert _codes(ConstraintOptions(mode="json_schema")) == ["G005"]
    assert _codes(ConstraintOptions(mode="json_schema"), modes=("auto", "json_schema")) == []
    both = ("auto", "ebnf", "json_schema")
    assert _codes(ConstraintOptions(mode="json_schema", text="allowed"), modes=both) == ["G005"]
    ratio = ToolSchema("rate", "", {"type": "object", "properties": {"v": {"type": "number", "minimum": 0}}})
    assert _codes(ConstraintOptions(), [ratio]) == []
    assert _codes(ConstraintOptions(mode="json_schema"), [ratio], modes=both) == ["G006"]
    even = ToolSchema("even", "", {"type": "object", "properties": {"v": {"type": "integer", "multipleOf": 2}}})
    assert _codes(ConstraintOptions(), [even]) == ["G006"]
    assert _codes(ConstraintOptions("strict_json"), [even]) == []


def test_a_finding_says_where_and_what_to_do():
    found = check_options([TOOL], ConstraintOptions("typed"), SPAN, tool_spans={"save": Span("bundle.yaml", 9, 5)})
    assert found[0].span == Span("bundle.yaml", 9, 5)
    assert found[0].message.startswith("tool 'save': /properties/v: pattern: a grammar cannot express")
    assert "strict_json" in str(found[0].help)
    unknown = check_options([], ConstraintOptions("typd"), SPAN)[0]
    assert unknown.help == "did you mean 'typed'? known: custom@1, none@1, permissive@1, strict_json@1, typed@1"
