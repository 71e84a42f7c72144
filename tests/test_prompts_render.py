"""Templates: what they print, what they can reach, and how failures name file and line."""

from __future__ import annotations

import enum
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import PromptError
from engine.prompts import Scope, Templates


class Kind(enum.Enum):
    METHOD = "method"


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    type: Kind
    file_path: PurePosixPath
    tags: frozenset[str]
    _secret: str = "hidden"

    @property
    def shout(self) -> str:
        return self.name.upper()

    def method(self) -> str:
        return "a method is not data"


NODE = Node("area", Kind.METHOD, PurePosixPath("src/shape.py"), frozenset({"b", "a", "c"}))


def render(text: str, others: dict[str, str] | None = None, **variables: object) -> str:
    return Templates({"main.j2": text, **(others or {})}, "bundles/demo").render("main.j2", variables)


def failure(text: str, others: dict[str, str] | None = None, **variables: object) -> PromptError:
    with pytest.raises(PromptError) as caught:
        render(text, others, **variables)
    return caught.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello {{ node.name }}!\n", "Hello area!"),
        ("{{ node.type }} {{ node.file_path }} {{ node.shout }}", "method src/shape.py AREA"),
        ("{{ node.tags }}", "['a', 'b', 'c']"),
        ("{{ node['name'] }} {{ node.get('nope', 'none') }}", "area none"),
        ("{% for t in tools %}{{ loop.index }}:{{ t.name }}{{ ', ' if not loop.last }}{% endfor %}", "1:read, 2:write"),
        ("{% for t in tools if t.name != 'read' %}{{ t.name }}{% else %}none{% endfor %}", "write"),
        ("a\n{% if true %}\n  b\n{% endif %}\nc", "a\n  b\nc"),
        ("{% macro tag(x, n=2) %}<{{ x * n }}>{% endmacro %}{{ tag('a') }}{{ tag('b', n=1) }}", "<aa><b>"),
        ("{% set ns = namespace(n=0) %}{% for t in tools %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
        ("{% set x %}[{{ node.name }}]{% endset %}{{ x }}{{ x }}", "[area][area]"),
        ("{{ tools|map(attribute='name')|join(', ') }}", "read, write"),
        ("{{ tools|selectattr('name', 'equalto', 'write')|list|length }}", "1"),
        ("{{ tools|tojson }}", '[{"name": "read"}, {"name": "write"}]'),
        ("{{ {'a': [1, 'é<']}|tojson(indent=2) }}", '{\n  "a": [\n    1,\n    "é<"\n  ]\n}'),
        ("{{ 'a\nb\n\nc'|indent(2) }}", "a\n  b\n\n  c"),
        ("{{ '%s is %05.1f'|format('x', 2.345) }} {{ '%(a)s' % {'a': 1} }}", "x is 002.3 1"),
        ("{{ 'a-b'.replace('-', '+') }} {{ ','.join(['a', 'b']) }} {{ ' x '.strip() }}", "a+b a,b x"),
        ("{% call(x) each() %}<{{ x }}>{% endcall %}", "<1>"),
        (
            "{{ [1, 2, 3]|sum }} {{ [3, 1]|sort|first }} {{ 7 // 2 }} {{ 2 ** 10 }} {{ 'a' ~ 1 ~ none }}",
            "6 1 3 1024 a1None",
        ),
        ("{{ missing|default('d') }} {{ 'yes' if missing is defined else 'no' }}", "d no"),
        ("{% for k, v in {'b': 1, 'a': 2}|dictsort %}{{ k }}{{ v }}{% endfor %}", "a2b1"),
        ("{% for g in tools|groupby('name') %}{{ g.grouper }}{{ g.list|length }}{% endfor %}", "read1write1"),
        ("{% filter upper %}x{{ node.name }}{% endfilter %}", "XAREA"),
        ("{{ '<b>'|e }} {{ '<b>' }}", "&lt;b&gt; <b>"),
    ],
)
def test_renders(text: str, expected: str) -> None:
    macros = "{% macro each() %}{{ caller(1) }}{% endmacro %}"
    assert render(macros + text, node=NODE, tools=[{"name": "read"}, {"name": "write"}]) == expected


def test_includes_extends_and_imports_stay_in_the_bundle() -> None:
    others = {
        "parts/base.j2": "<{% block body %}base{% endblock %}|{% block foot %}foot{% endblock %}>",
        "parts/lib.j2": "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}",
        "parts/hello.j2": "hello {{ name }}",
    }
    text = (
        "{% extends 'parts/base.j2' %}{% from 'parts/lib.j2' import twice %}{% import 'parts/lib.j2' as lib %}"
        "{% block body %}{{ twice('a') }}{{ lib.twice('b') }}{% include 'parts/hello.j2' %}{{ super() }}{% endblock %}"
    )
    assert render(text, others, name="you") == "<aabbhello youbase|foot>"


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../other/x.j2", "parts/../../x", "missing.j2", "file:///etc/passwd", "C:\\x", "\0"]
)
def test_an_include_outside_of_the_bundle_fails(name: str) -> None:
    error = failure("line 1\n{% include name %}", name=name)
    assert (error.diagnostics[0].code, error.diagnostics[0].span.line) == ("P004", 2)


@pytest.mark.parametrize(
    ("text", "code", "line", "part"),
    [
        ("one\ntwo {{ nope }}", "P002", 2, "'nope' is undefined"),
        ("{{ node.nope }}", "P002", 1, "'nope' does not exist"),
        ("\n\n{% for x in [1, 0] %}\n{{ 1 // x }}\n{% endfor %}", "P006", 4, "ZeroDivisionError"),
        ("{% if %}", "P001", 1, "Expected an expression"),
        ("a\n{{ 'x'|nope }}", "P005", 2, "nope"),
        ("{{ node() }}", "P006", 1, "cannot be called"),
        ("{{ range(3)|map('string') }}", "P006", 1, "|list"),
    ],
)
def test_a_failure_names_file_and_line(text: str, code: str, line: int, part: str) -> None:
    error = failure(text, node=NODE)
    [found] = error.diagnostics
    assert (found.code, found.span.file, found.span.line) == (code, "bundles/demo/main.j2", line)
    assert part in found.message
    assert str(error).startswith(f"bundles/demo/main.j2:{line}: ")


def test_a_failure_in_an_included_file_names_that_file() -> None:
    error = failure("{% include 'b.j2' %}", {"b.j2": "ok\n{{ nope }}"})
    assert (error.diagnostics[0].span.file, error.diagnostics[0].span.line) == ("bundles/demo/b.j2", 2)
    error = failure("{% include 'b.j2' %}", {"b.j2": "ok\n{% for %}"})
    assert (error.diagnostics[0].code, error.diagnostics[0].span.file) == ("P001", "bundles/demo/b.j2")


@pytest.mark.parametrize("value", [object(), lambda: 1, print, int, open(__file__, "rb").close])  # noqa: SIM115, PTH123
def test_only_data_can_be_passed_in(value: object) -> None:
    assert "not data" in str(failure("{{ x }}", x=value))


@pytest.mark.parametrize(
    "text", ["{{ node._secret }}", "{{ node['_secret'] }}", "{{ node.method() }}", "{{ node.__class__ }}"]
)
def test_a_dataclass_shows_public_data_only(text: str) -> None:
    assert "hidden" not in str(failure(text, node=NODE))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(self):\n        return 1", "def f(self):\n    return 1"),
        ("def f(\n        a,\n    ):\n        return a", "def f(\n    a,\n):\n    return a"),
        ("def f():\n    return 1", "def f():\n    return 1"),
        ("@cached\n    def f(self):\n        return 1", "@cached\ndef f(self):\n    return 1"),
        ("method() {\n      return 1;\n    }", "method() {\n  return 1;\n}"),
        ("    def f():\n        pass", "def f():\n    pass"),
        ("x = 1\ny = 2", "x = 1\ny = 2"),
        (
            "def f(self):\n        '''Doc.\n\n        More.\n        '''\n        return 1",
            "def f(self):\n    '''Doc.\n\n    More.\n    '''\n    return 1",
        ),
        ("one", "one"),
        ("", ""),
    ],
)
def test_dedent(source: str, expected: str) -> None:
    assert render("{{ s|dedent }}", s=source) == expected


def shared_by_threads() -> None:
    templates = Templates({"a": "{% include 'b' %}{{ x ~ '!' }}", "b": "{% for i in [x] %}{{ i }}{% endfor %}"}, "r")
    with ThreadPoolExecutor(4) as threads:
        texts = list(threads.map(lambda number: templates.render("a", {"x": number}), range(8)))
        checks = list(threads.map(lambda _: templates.check("a", Scope({"x": None})), range(8)))
    assert texts == [f"{number}{number}!" for number in range(8)]
    assert checks == [[]] * 8


def test_threads_may_render_and_check_the_same_templates() -> None:
    for _ in range(20):
        shared_by_threads()


@given(st.text(), st.lists(st.one_of(st.text(), st.integers(), st.booleans(), st.none())))
def test_the_same_input_gives_the_same_bytes(text: str, items: list[object]) -> None:
    templates = Templates({"a": "{{ t }}{% for i in items %}{{ i }}{% endfor %}{{ items|tojson }}"}, "r")
    first = templates.render("a", {"t": text, "items": items})
    assert first == Templates(dict(templates.sources), "r").render("a", {"t": text, "items": items})
    assert first == templates.render("a", {"t": text, "items": items})


@given(st.text(alphabet="{}%#|.()[]'\"abc \n_~+*-=,:0123456789", max_size=60))
def test_any_text_renders_or_fails_cleanly(text: str) -> None:
    templates = Templates({"a": text}, "r")
    templates.check("a", Scope({}))
    try:
        templates.render("a", {"a": 1, "b": "x", "c": [1]})
    except PromptError as error:
        assert error.diagnostics  # noqa: PT017 - any other exception is the failure
