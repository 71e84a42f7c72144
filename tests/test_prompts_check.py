"""The static check of templates and expressions: every finding, with its exact line and column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.diagnostics import Span
from engine.errors import PromptError
from engine.prompts import NODE_FIELDS, Expression, Scope, Templates, check_expression, prompt_scope

NOT_THERE = " is not a file of the bundle"
SCOPE = prompt_scope(["style"], ["guide"])


def findings(text: str, **others: str) -> list[str]:
    """Return the findings as `file:line:column CODE message`, files without the root."""
    sources = {"main.j2": text} | {f"{name}.j2": source for name, source in others.items()}
    found = Templates(sources, "b").check("main.j2", SCOPE)
    return [f"{item.span.file[2:-3]}:{item.span.line}:{item.span.column} {item.code} {item.message}" for item in found]


@pytest.mark.parametrize(
    "text",
    [
        "{{ node.name }} {{ node_text }} {{ params.style }} {{ context.guide }} {{ model.id }} {{ tools }} {{ turn }}",
        "{{ node['text'] }}{{ node.get('x') }}{{ params.items() }}{{ tools[0].anything }}",
        "{% for t in tools %}{{ loop.index }}{{ t.x }}{% else %}{{ turn }}{% endfor %}",
        "{% for a, (b, c) in tools %}{{ a }}{{ b }}{{ c }}{% endfor %}",
        "{% for t in tools if t.x and node.name %}{{ t }}{% endfor %}",
        "{% set a = 1 %}{% set b, c = 1, 2 %}{{ a }}{{ b }}{{ c }}",
        "{% set a %}x{% endset %}{{ a }}",
        "{% set ns = namespace(x=1) %}{% set ns.x = 2 %}{{ ns.x }}{{ ns.y }}",
        "{% macro m(a, b=a) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{{ caller }}{{ z }}{% endmacro %}{% set z = 1 %}",
        "{% macro m() %}{% endmacro %}{% call(x) m() %}{{ x }}{% endcall %}",
        "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}",
        "{% if x is defined %}{{ x }}{{ x.y }}{% endif %}",
        "{{ x if x is defined else 1 }}{{ x is defined and x.y }}{{ x|default('d') }}{{ x.y|d(1) }}",
        "{% if turn %}{% set a = 1 %}{% else %}{% set a = 2 %}{% endif %}{{ a }}",
        "{% import 'lib.j2' as lib %}{{ lib.m() }}{% from 'lib.j2' import m, m as n %}{{ m() }}{{ n() }}",
        "{% extends 'base.j2' %}{% block body %}{{ super() }}{{ self.body() }}{% endblock %}",
        "{% include 'part.j2' %}{% include 'no.j2' ignore missing %}{% include ['no.j2', 'part.j2'] ignore missing %}",
        "{% filter upper %}{{ turn }}{% endfilter %}{{ range(3)|list }}{{ dict(a=1) }}",
        "{% raw %}{{ nope }}{% endraw %}{# {{ nope }} #}",
        "{{ tools|map('upper')|select('odd')|selectattr('a', 'equalto', 1)|list }}",
        "{{ tools|map(attribute='x')|dedent|tojson }}",
    ],
)
def test_correct_templates_have_no_findings(text: str) -> None:
    lib = "{% macro m() %}x{% endmacro %}"
    assert findings(text, lib=lib, base="{% block body %}{{ node.name }}{% endblock %}", part="{{ node.name }}") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ nde.name }}", ["main:1:4 P002 'nde' is not defined; did you mean 'node'?"]),
        ("nope {{ turn }}\n\n  {{ nope }}", ["main:3:6 P002 'nope' is not defined; did you mean 'node'?"]),
        ("é {{ 'zzzz' }}{{ zzzz }}", ["main:1:18 P002 'zzzz' is not defined"]),
        ("{{ node.nam }}", ["main:1:9 P003 'node' has no attribute 'nam'; did you mean 'name'?"]),
        ("{{ node['nam'] }}", ["main:1:4 P003 'node' has no attribute 'nam'; did you mean 'name'?"]),
        ("{{ params.stile }}", ["main:1:11 P003 'params' has no attribute 'stile'; did you mean 'style'?"]),
        ("{{ context.gide }}", ["main:1:12 P003 'context' has no attribute 'gide'; did you mean 'guide'?"]),
        ("{{ model.plugn }}", ["main:1:10 P003 'model' has no attribute 'plugn'; did you mean 'plugin'?"]),
        ("{{ node.name|uper }}", ["main:1:14 P005 there is no filter 'uper'; did you mean 'upper'?"]),
        ("{{ turn is od }}", ["main:1:12 P005 there is no test 'od'; did you mean 'odd'?"]),
        ("{{ turn is not od }}", ["main:1:16 P005 there is no test 'od'; did you mean 'odd'?"]),
        ("{{ tools|map('uper')|list }}", ["main:1:10 P005 there is no filter 'uper'; did you mean 'upper'?"]),
        ("{{ ''|attr('x') }}", ["main:1:7 P005 there is no filter 'attr'"]),
        ("{% include 'prt.j2' %}", ["main:1:4 P004 the template 'prt.j2'" + NOT_THERE + "; did you mean 'part.j2'?"]),
        ("{% include '/etc/x' ignore missing %}", ["main:1:4 P004 the template '/etc/x'" + NOT_THERE]),
        ("{%- include node.name %}", ["main:1:5 P004 the name of an included template must be a literal text"]),
        ("{% import 'x.j2' as x %}", ["main:1:4 P004 the template 'x.j2' is not a file of the bundle"]),
        ("{% from 'x.j2' import y %}{{ y }}", ["main:1:4 P004 the template 'x.j2' is not a file of the bundle"]),
        ("{% extends 'main.j2' %}", ["main:1:4 P006 the template extends itself: main.j2 → main.j2"]),
        ("x\n{% for %}", ["main:2:1 P001 Expected an expression, got 'end of statement block'"]),
        ("{% nope %}", ["main:1:1 P001 Encountered unknown tag 'nope'"]),
        ("{{ a", ["main:1:1 P001 unexpected end of template, expected 'end of print statement'"]),
        ("{% for t in t %}{% endfor %}", ["main:1:13 P002 't' is not defined"]),
        ("{% for t in tools %}{{ t }}{% else %}{{ t }}{% endfor %}", ["main:1:41 P002 't' is not defined"]),
        ("{% for t in tools %}{% set a = 1 %}{% endfor %}{{ a }}", ["main:1:51 P002 'a' is not defined"]),
        ("{{ loop.index }}", ["main:1:4 P002 'loop' is not defined"]),
        ("{{ a }}{% set a = 1 %}", ["main:1:4 P002 'a' is not defined"]),
        (
            "{% macro m(a) %}{{ b }}{% endmacro %}{{ a }}",
            ["main:1:20 P002 'b' is not defined", "main:1:41 P002 'a' is not defined"],
        ),
        ("{% with a = 1 %}{% endwith %}{{ a }}", ["main:1:33 P002 'a' is not defined"]),
        ("{% set ms.x = 1 %}", ["main:1:8 P002 'ms' is not defined"]),
        ("{% if x is defined %}{{ x }}{% endif %}{{ x }}", ["main:1:43 P002 'x' is not defined"]),
        (
            "{{ a }}\n{{ a + b }}",
            [f"main:{place} is not defined" for place in ("1:4 P002 'a'", "2:4 P002 'a'", "2:8 P002 'b'")],
        ),
        ("{{\n  a\n}}", ["main:2:3 P002 'a' is not defined"]),
        (
            "{% for node in tools %}{{ node.anything }}{% endfor %}{{ node.anything }}",
            ["main:1:63 P003 'node' has no attribute 'anything'"],
        ),
        ("{{ lipsum() }}", ["main:1:4 P002 'lipsum' is not defined"]),
    ],
)  # fmt: skip
def test_findings(text: str, expected: list[str]) -> None:
    found = findings(text, part="")
    assert [item.split("; did")[0] for item in found] == [item.split("; did")[0] for item in expected]
    for item, wanted in zip(found, expected, strict=True):
        assert item == wanted or "did you mean" not in wanted


def test_all_findings_of_all_reached_files_come_at_once() -> None:
    found = findings(
        "{{ a }}{% include 'one.j2' %}{{ z }}", one="{{ b }}{% include 'two.j2' %}", two="{{ c }}\n{% if %}"
    )
    assert [item.split(" ")[0:2] for item in found] == [
        ["main:1:4", "P002"],
        ["main:1:33", "P002"],
        ["one:1:4", "P002"],
        ["two:2:1", "P001"],
    ]


def test_an_included_file_sees_what_the_including_one_set() -> None:
    assert findings("{% set a = 1 %}{% include 'one.j2' %}", one="{{ a }}") == []
    assert findings("{% include 'one.j2' %}{% include 'one.j2' without context %}", one="{{ node.name }}") == [
        "one:1:4 P002 'node' is not defined"
    ]
    assert findings("{% import 'one.j2' as x %}", one="{{ node.name }}") == ["one:1:4 P002 'node' is not defined"]
    assert findings("{% import 'one.j2' as x with context %}", one="{{ node.name }}") == []


def test_files_that_include_each_other_are_checked_once() -> None:
    assert findings("{% if turn %}{% include 'one.j2' %}{% endif %}", one="{% include 'main.j2' %}{{ zzzz }}") == [
        "one:1:27 P002 'zzzz' is not defined"
    ]


def test_extends_cycles_are_found() -> None:
    assert findings("{% extends 'one.j2' %}", one="{% extends 'main.j2' %}") == [
        "one:1:4 P006 the template extends itself: main.j2 → one.j2 → main.j2"
    ]


def test_a_template_that_does_not_exist() -> None:
    [found] = Templates({}, "b").check("x.j2", SCOPE)
    assert (found.code, found.span) == ("P004", Span("b/x.j2"))


def test_checking_does_not_change_what_is_rendered() -> None:
    templates = Templates({"a": "{% for i in [turn, 2] %}{{ i ~ 'x' }}{% endfor %}"}, "b")
    assert templates.check("a", SCOPE) == []
    assert templates.render("a", {"turn": 1}) == "1x2x"
    assert templates.check("a", SCOPE) == []
    assert templates.render("a", {"turn": 1}) == "1x2x"


def test_the_scope_of_prompts() -> None:
    assert SCOPE.names["node"] == frozenset(NODE_FIELDS)
    assert set(SCOPE.only("node", "params").names) == {"node", "params"}
    with pytest.raises(TypeError):
        SCOPE.names["x"] = None  # type: ignore[index]


@given(st.text(alphabet="{}%#|.()[]'\" \nabcnodefristh=,_-", max_size=80))
def test_check_never_raises(text: str) -> None:
    for found in Templates({"main.j2": text}, "b").check("main.j2", SCOPE):
        lines = text.replace("\r\n", "\n").split("\n")
        assert 1 <= found.span.line <= len(lines) + 1
        assert found.span.column >= 1


VALUES = {"node": {"docstring": None, "name": "f"}, "params": {"style": "google"}, "turn": 2, "tools": [{"name": "a"}]}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("not node.docstring", True),
        ("turn == 2 and params.style == 'google'", True),
        ("node.name", "f"),
        ("[node.name, turn]", ["f", 2]),
        ("{'a': tools}", {"a": [{"name": "a"}]}),
        ("tools|map(attribute='name')", ["a"]),
        ("range(3)", [0, 1, 2]),
        ("node.name if turn > 1 else none", "f"),
        ("turn / 4", 0.5),
        ("node.missing is defined", False),
        ("node.name ~ '!'", "f!"),
        ("'%s' % node.name", "f"),
    ],
)
def test_expressions_give_native_values(source: str, value: object) -> None:
    expression = Expression(source)
    assert expression.evaluate(VALUES) == value
    assert type(expression.evaluate(VALUES)) is type(value)


@pytest.mark.parametrize(
    "source",
    ["nope", "node.nope", "node.name + 1", "''.__class__", "'a' * 10**9", "2**(10**9)", "range", "node.name.upper",
     "1 // 0", "[[1]] * 300000 * 300000", "range(100000)|map('center', 9999)|list", "node()"],
)  # fmt: skip
def test_expressions_fail_cleanly(source: str) -> None:
    with pytest.raises(PromptError) as caught:
        Expression(source).evaluate(VALUES)
    assert source in str(caught.value)


@pytest.mark.parametrize("source", ["", "node.name and", "1 2", "{{ node }}", "(" * 3000, "x" * 20000, "'\n'x"])
def test_expressions_with_syntax_errors(source: str) -> None:
    with pytest.raises(PromptError):
        Expression(source)
    found = check_expression(source, SCOPE, Span("bundle.yaml", 3, 9))
    assert [(item.code, item.span) for item in found] == [("R009", Span("bundle.yaml", 3, 9))]
    assert "\n" not in found[0].message


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("not node.docstring", []),
        ("turn == 1", []),
        ("nde.name", ["the expression 'nde.name': 'nde' is not defined; did you mean 'node'?"]),
        ("node.nam and x|uper", [
            "the expression 'node.nam and x|uper': 'node' has no attribute 'nam'; did you mean 'name'?",
            "the expression 'node.nam and x|uper': 'x' is not defined",
            "the expression 'node.nam and x|uper': there is no filter 'uper'; did you mean 'upper'?",
        ]),
        ("x is defined and x", []),
    ],
)  # fmt: skip
def test_check_expression(source: str, expected: list[str]) -> None:
    found = check_expression(source, SCOPE, Span("bundle.yaml", 3, 9))
    assert sorted(item.message for item in found) == sorted(expected)
    assert {(item.code, item.span.line) for item in found} <= {("R009", 3)}


@given(st.text(alphabet="nodeturs.()[]'\" +-*~|=,0123456789{}%", max_size=40))
def test_any_expression_evaluates_or_fails_cleanly(source: str) -> None:
    bad = bool(check_expression(source, Scope({"node": None, "turn": None}), Span("f")))
    try:
        Expression(source).evaluate({"node": {"name": "f"}, "turn": 1})
    except PromptError:
        return
    assert not bad or "node" in source
