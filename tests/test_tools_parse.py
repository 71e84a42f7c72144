"""Parsing `.pym` scripts: declarations, schemas, findings with exact places, and code that keeps every column."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.tools import EXTERNALS, Script, check_externals, parse_script
from engine.tools.declarations import GATE

SAMPLES = sorted((Path(__file__).parent / "pym").glob("*.pym"))
REJECTED = sorted((Path(__file__).parent / "pym" / "rejected").glob("*.pym"))
HEAD = "from grail import Input, external\n"


def parsed(text: str, file: str = "tools/demo.pym") -> Script:
    result = parse_script(text, file)
    assert result.script is not None, result.diagnostics
    return result.script


def places(text: str) -> list[str]:
    return [f"{item.span.line}:{item.span.column} {item.code}" for item in parse_script(text, "x.pym").diagnostics]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_existing_scripts_parse_without_findings(path: Path) -> None:
    result = parse_script(path.read_text(), str(path))
    assert result.diagnostics == ()
    assert result.script is not None
    assert result.script.name == path.stem
    assert check_externals(result.script) == []


def test_a_script_in_full() -> None:
    text = (Path(__file__).parent / "pym" / "write_docstring.pym").read_text()
    script = parsed(text, "bundles/docstring/tools/write_docstring.pym")
    assert script.name == "write_docstring"
    assert script.description == "Insert or replace the docstring of the current function."
    assert [(item.name, item.required, item.span.line, item.span.column) for item in script.inputs] == [
        ("docstring", True, 8, 1),
        ("style", False, 9, 1),
    ]
    assert script.inputs[0].schema == {"type": "string", "description": "The docstring text."}
    assert script.inputs[1].schema == {
        "type": "string",
        "enum": ["google", "numpy", "sphinx"],
        "default": "google",
        "description": "How it is laid out.",
    }
    assert [(item.name, item.is_async, item.parameters) for item in script.externals] == [
        ("get_node_source", True, ()),
        ("replace_node", True, ("text",)),
    ]
    assert script.externals[1].span.column == 11
    assert "grail" not in script.code
    assert "__future__" not in script.code
    assert GATE in script.stubs
    assert script.digest == parsed(text).digest != parsed(text + "\n").digest


@pytest.mark.parametrize(
    ("head", "description"),
    [
        ('"""One line."""\n', "One line."),
        ('"""\nFirst.\n\n    More.\n"""\n', "First.\n\n    More."),
        ("# A comment.\n# And more.\n\n# Not this.\n", "A comment. And more."),
        ("#!/usr/bin/env engine\n# -*- coding: utf-8 -*-\n# This.\n", "This."),
        ('# A comment.\n"""The docstring."""\n', "The docstring."),
        ("\n", ""),
    ],
)
def test_the_description(head: str, description: str) -> None:
    assert parsed(head + HEAD + "1\n").description == description


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ('a: str = Input("a", description="Said.")  # Not this.', "Said."),
        ('a: str = Input("a")  # Behind it.', "Behind it."),
        ('a: str = Input(\n    "a",\n)  # Behind it.', "Behind it."),
        ("# Directly above it.\n" + 'a: str = Input("a")', "Directly above it."),
        ("# Two lines that\n# stand above it.\n" + 'a: str = Input("a")', "Two lines that stand above it."),
        ("# Inputs\n" + 'a: str = Input("a")', ""),
        ("# --- inputs of this tool ---\n" + 'a: str = Input("a")', ""),
        ("# Something far above it.\n\n" + 'a: str = Input("a")', ""),
        ('a: str = Input("a")  # noqa: E501', ""),
        ('a: str = Input("a", description="é, # not a comment")', "é, # not a comment"),
    ],
)
def test_the_description_of_an_input(text: str, description: str) -> None:
    assert parsed(HEAD + text + "\na\n").inputs[0].description == description


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        ("str", {"type": "string"}),
        ("int", {"type": "integer"}),
        ("float", {"type": "number"}),
        ("bool", {"type": "boolean"}),
        ("Any", {}),
        ("object", {}),
        ("list", {"type": "array", "items": {}}),
        ("list[str]", {"type": "array", "items": {"type": "string"}}),
        ("List[int]", {"type": "array", "items": {"type": "integer"}}),
        ("dict", {"type": "object", "additionalProperties": True}),
        ("dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}),
        ("str | None", {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ("Optional[str]", {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ("typing.Union[int, str]", {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        ("'str | None'", {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ("Literal['a', 'b']", {"enum": ["a", "b"], "type": "string"}),
        ("Literal[1, 'b', None]", {"enum": [1, "b", None]}),
        ("list[dict[str, Any]] | None", {
            "anyOf": [{"type": "array", "items": {"type": "object", "additionalProperties": True}}, {"type": "null"}]
        }),
    ],
)  # fmt: skip
def test_annotations_become_schemas(annotation: str, schema: dict[str, Any]) -> None:
    assert parsed(f'{HEAD}a: {annotation} = Input("a")\na\n').inputs[0].schema == schema


@pytest.mark.parametrize(
    "annotation",
    ["Foo", "set[str]", "tuple[int, int]", "dict[int, str]", "list[Foo]", "list[str, int]", "Literal[1.5]",
     "Literal[x]", "bytes", "3", "f()", "str or int", "__import__('os').system('id')", "os.path", "C[[int], int]",
     "'('",
     "Optional[int, str]", "[str]", "-1", "datetime.date"],
)  # fmt: skip
def test_annotations_outside_of_the_list_are_findings(annotation: str) -> None:
    assert places(f'{HEAD}a: {annotation} = Input("a")\na\n') == ["2:4 T011"]


@pytest.mark.parametrize(
    ("default", "value"),
    [
        ("default=None", None),
        ("default=[]", []),
        ("default={}", {}),
        ("default=-1", -1),
        ("'x'", "x"),
        ("default=0", 0),
    ],
)
def test_an_input_is_required_exactly_when_it_has_no_default(default: str, value: object) -> None:
    item = parsed(f'{HEAD}a: Any = Input("a", {default})\na\n').inputs[0]
    assert (item.required, item.default) == (False, value)
    assert parsed(f'{HEAD}a: Any = Input("a", description="x")\na\n').inputs[0].required


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = = 1", ["1:5 T001"]),
        ("é = (\n", ["1:5 T001"]),
        ("def f():\n    yield 1\nf()", ["2:5 T002"]),
        ("def f():\n    yield from x\nf()", ["2:5 T002"]),
        ("é = 1; del é\n1", ["1:8 T002"]),
        ("class A(B):\n    pass\n1", ["1:9 T002"]),
        ("class A(metaclass=B):\n    pass\n1", ["1:9 T002"]),
        ("class A:\n    @property\n    def x(self): ...\n1", ["2:6 T002"]),
        ("async def f():\n    async with x: pass\nf", ["2:5 T002"]),
        ("try:\n    1\nexcept* ValueError:\n    2\n1", ["1:1 T002"]),
        ("from os import *\n1", ["1:1 T002"]),
        ("import string, jsn\n1", ["1:8 T003", "1:16 T003"]),
        ("from urllib.request import urlopen\n1", ["1:1 T003"]),
        ("from . import x\n1", ["1:1 T003"]),
        ("import grail\n1", ["1:8 T003"]),
        ("from grail import Input, Output\n1", ["1:26 T003"]),
        ('é = 1; a = Input("a")\n1', ["1:8 T004"]),
        ('a: str = Input("b")\na', ["1:16 T004"]),
        ("a: str = Input(b)\na", ["1:16 T004"]),
        ('a: str = Input("a", default=f())\na', ["1:29 T004"]),
        ('a: str = Input("a", default=(1, 2))\na', ["1:29 T004"]),
        ('a: str = Input("a", default=1e999)\na', ["1:29 T004"]),
        ('a: int = Input("a", default="x")\na', ["1:10 T004"]),
        ('a: str = Input("a", requird=True)\na', ["1:21 T004"]),
        ('a: str = Input("a", "b", "c")\na', ["1:10 T004"]),
        ('a: str = Input("a", description=1)\na', ["1:33 T004"]),
        ('a: str = Input("a")\na: str = Input("a")\na', ["2:1 T004"]),
        ('_a: str = Input("_a")\n1', ["1:1 T004"]),
        ('x.a: str = Input("a")\n1', ["1:1 T004"]),
        ('def f():\n    a: str = Input("a")\nf', ["2:14 T004"]),
        ("@external\nasync def f(a: int) -> int:\n    return a\n1", ["3:5 T005"]),
        ("@external\nasync def f(a) -> int: ...\n1", ["2:13 T005"]),
        ("@external\nasync def f(a: int): ...\n1", ["2:11 T005"]),
        ("@external\nasync def f(*a: int, **k: int) -> int: ...\n1", ["2:11 T005"]),
        ("@external\nasync def f(a: Foo) -> int: ...\n1", ["2:16 T011"]),
        ("@external\nasync def len(a: int) -> int: ...\n1", ["2:11 T005"]),
        ("@cache\n@external\nasync def f(a: int) -> int: ...\n1", ["1:2 T005"]),
        ("def g():\n    @external\n    async def f(a: int) -> int: ...\ng", ["2:6 T005"]),
        ("x = 1", ["1:1 T009"]),
        ("", ["1:1 T009"]),
        ('"""Only a docstring."""', ["1:1 T009"]),
        ("if x:\n    1", ["1:1 T009"]),
        ("raise ValueError(1)\n1", ["1:7 T010"]),
        ("raise ValueError('a', 'b')\n1", ["1:7 T010"]),
        ("next(x for x in y)", ["1:1 T010"]),
        ("callable(x)", ["1:1 T010"]),
        ("f.__name__", ["1:1 T010"]),
        ("class A:\n    def __bool__(self): ...\n1", ["2:9 T010"]),
        ("asyncio.gather(a, return_exceptions=True)", ["1:19 T010"]),
        ("@external\nasync def e(a: int) -> int: ...\ne(1)", ["3:1 T010"]),
        ("@external\nasync def e(a: int) -> int: ...\ne(1) + 2", ["3:1 T010"]),
        ("@external\nasync def e(a: int) -> int: ...\nlist(map(e, [1]))", ["3:10 T010"]),
        ("@external\nasync def e(a: int) -> int: ...\nsorted([1], key=lambda x: e(x))", ["3:27 T010"]),
    ],
)
def test_findings(text: str, expected: list[str]) -> None:
    assert places(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "with x as y:\n    1\ny",
        "def f():\n    global x\n    x = lambda y: y\n    return x\nf()",
        "match 1:\n    case 1:\n        x = 2\nx",
        "class A:\n    def __init__(self) -> None: ...\nA()",
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\nA(1)",
        "import os.path, json, re\nfrom collections import Counter\n1",
        "@external\nasync def e(a: int) -> int: ...\nx = e(1)\nawait x",
        "@external\nasync def e(a: int) -> int: ...\nsorted([await e(1)])",
        'type: str = Input("type")\ntype',
    ],
)
def test_what_the_sandbox_runs_has_no_findings(text: str) -> None:
    assert places(text) == []


def test_all_findings_come_at_once_and_in_order() -> None:
    text = 'import jsn\na = Input("a")\n@external\ndef f(x): ...\ndef g():\n    yield\ndel g\n'
    assert places(text) == ["1:8 T003", "2:1 T004", "4:5 T005", "4:7 T005", "6:5 T002", "7:1 T009", "7:1 T002"]


@pytest.mark.parametrize(
    ("declaration", "code"),
    [
        ("async def read_file(path: str) -> str", None),
        ("def search(pattern: str) -> list[dict[str, Any]]", None),
        ("async def search(pattern: str, glob: str = '*') -> Any", None),
        ("async def read_fil(path: str) -> str", "T007"),
        ("async def ask_user(question: str) -> str", "T007"),
        ("async def memory_get(key: str) -> Any", "T007"),
        ("async def read_file(name: str) -> str", "T005"),
        ("async def write_file(content: str, path: str) -> bool", "T005"),
        ("async def write_file(path: str) -> bool", "T005"),
    ],
)
def test_externals_are_compared_with_those_that_exist(declaration: str, code: str | None) -> None:
    found = check_externals(parsed(f"{HEAD}@external\n{declaration}: ...\n1\n"))
    assert [item.code for item in found] == ([code] if code else [])
    if declaration.startswith("async def read_fil("):
        assert "did you mean 'read_file'?" in found[0].message
        assert (found[0].span.line, found[0].span.column) == (3, 11)
    if code == "T007" and "ask_user" in declaration:
        assert "not available in this version" in found[0].message


def test_the_table_of_externals_is_valid_to_declare() -> None:
    for item in EXTERNALS.values():
        script = parsed(f"{HEAD}@external\n{item.signature}\n1\n")
        assert [found.code for found in check_externals(script)] == ([] if item.available else ["T007"])


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_blanking_keeps_every_other_character_in_its_place(path: Path) -> None:
    text = path.read_text()
    code = parsed(text).code
    assert [len(line) for line in code.split("\n")] == [len(line) for line in text.split("\n")]
    kept = [(a, b) for a, b in zip(code, text, strict=True) if a != b]
    assert {a for a, _ in kept} <= {" ", "0"}
    ast.parse(code)


def test_line_ends_and_a_byte_order_mark_do_not_matter() -> None:
    text = HEAD + 'a: str = Input("a")\na\n'
    assert parsed(text.replace("\n", "\r\n")).code == parsed("\ufeff" + text).code == parsed(text).code


def test_declarations_share_lines_with_other_statements() -> None:
    script = parsed(HEAD + 'x = 1; a: str = Input("a"); y = 2; x + y\n')
    assert [type(node) for node in ast.parse(script.code).body] == [ast.Assign, ast.Expr, ast.Assign, ast.Expr]
    assert script.code.index("y = 2") == (HEAD + 'x = 1; a: str = Input("a"); y = 2').index("y = 2")


def test_aliases_of_the_declarations_work() -> None:
    script = parsed(
        'from grail import Input as In, external as ext\na: str = In("a")\n'
        "@ext\ndef read_file(path: str) -> str: ...\na\n"
    )
    assert ([item.name for item in script.inputs], [item.name for item in script.externals]) == (["a"], ["read_file"])


# -- hypothesis


@given(st.text())
def test_any_text_is_parsed_or_reported(text: str) -> None:
    result = parse_script(text, "x.pym")
    assert (result.script is None) == any(item.severity == "error" for item in result.diagnostics)


@given(st.text(alphabet="\n\t ()[]{}:=@,.;\"'#\\aInputexternaldefasyncgrailfromim0é", max_size=120))
def test_any_text_of_likely_characters_is_parsed_or_reported(text: str) -> None:
    for item in parse_script(text, "x.pym").diagnostics:
        assert 1 <= item.span.line <= text.count("\n") + text.count("\r") + 1
        assert item.span.column >= 1
        assert "\n" not in item.message


@given(st.data())
def test_mutated_scripts_are_parsed_or_reported(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([path.read_text() for path in SAMPLES]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 30)))
        piece = data.draw(
            st.one_of(st.text(max_size=6), st.sampled_from(["Input(", "@external\n", "yield ", "\x00", "; "]))
        )
        text = text[:start] + piece + text[end:]
    result = parse_script(text, "x.pym")
    if result.script is not None:
        ast.parse(result.script.code)


ANNOTATIONS: st.SearchStrategy[tuple[str, st.SearchStrategy[Any]]] = st.recursive(
    st.sampled_from(
        [
            ("str", st.text()),
            ("int", st.integers()),
            ("float", st.floats(allow_nan=False, allow_infinity=False)),
            ("bool", st.booleans()),
            ("None", st.none()),
            ("Any", st.one_of(st.none(), st.integers(), st.text())),
            ("Literal['a', 'b', 3]", st.sampled_from(["a", "b", 3])),
        ]
    ),
    lambda inner: st.one_of(
        inner.map(lambda item: (f"list[{item[0]}]", st.lists(item[1], max_size=3))),
        inner.map(lambda item: (f"dict[str, {item[0]}]", st.dictionaries(st.text(), item[1], max_size=3))),
        inner.map(lambda item: (f"Optional[{item[0]}]", st.one_of(st.none(), item[1]))),
        st.tuples(inner, inner).map(
            lambda pair: (f"Union[{pair[0][0]}, {pair[1][0]}]", st.one_of(pair[0][1], pair[1][1]))
        ),
        st.tuples(inner, inner).map(lambda pair: (f"{pair[0][0]} | {pair[1][0]}", st.one_of(pair[0][1], pair[1][1]))),
    ),
    max_leaves=6,
)


@given(ANNOTATIONS, st.data())
def test_values_of_an_annotation_fit_its_schema(case: tuple[str, st.SearchStrategy[Any]], data: st.DataObject) -> None:
    annotation, values = case
    assume(len(annotation) < 200)
    schema = parsed(f'{HEAD}a: {annotation} = Input("a")\na\n').inputs[0].schema
    jsonschema.Draft202012Validator.check_schema(dict(schema))
    jsonschema.validate(data.draw(values), dict(schema), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize("path", REJECTED, ids=lambda path: path.stem)
def test_rejected_scripts_are_not_crashes(path: Path) -> None:
    assert all(item.code.startswith("T") for item in parse_script(path.read_text(), str(path)).diagnostics)


@pytest.mark.parametrize(
    "text", ["(" * 10000, "-" * 100000 + "1", "a." * 50000 + "b", "[" * 3000 + "]" * 3000, "x" * 600_000]
)
def test_deep_or_long_scripts_are_reported(text: str) -> None:
    result = parse_script(text, "x.pym")
    assert {item.code for item in result.diagnostics if item.severity == "error"} <= {"T001"}
    assert result.script is None or text.startswith("a.")
