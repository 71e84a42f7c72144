"""What is found in one file: each node once, with its name, span, documentation and a stable id."""

from __future__ import annotations

import ast
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.discovery import CodeNode, Discovery, custom_query, error_count, has_syntax_error, language_of, parse_file
from engine.discovery.source import _machine_made
from engine.errors import BundleError
from engine.manifest.languages import LANGUAGES

SAMPLES = Path(__file__).parent / "samples" / "discovery"


def nodes_of(name: str) -> list[CodeNode]:
    language = language_of(name)
    assert language is not None
    return parse_file((SAMPLES / name).read_bytes(), name, language)


def rows(name: str) -> list[tuple[str, str, str | None, int, int]]:
    return [(n.type, n.qualified_name, n.docstring, n.start_line, n.end_line) for n in nodes_of(name)[1:]]


EXPECTED = {
    "shapes.py": [
        ("function", "cached", "Return it.", 6, 9),
        ("class", "Outer", 'Outer "doc".', 12, 31),
        ("class", "Outer.Inner", None, 16, 18),
        ("method", "Outer.Inner.method", "A raw \N{BULLET} string.", 17, 18),
        ("method", "Outer.size", "one two", 20, 23),
        ("method", "Outer.size", None, 25, 28),
        ("function", "Outer.size.check", None, 27, 28),
        ("method", "Outer.wait", None, 30, 31),
        ("function", "cached", None, 36, 37),
    ],
    "shapes.ts": [
        ("function", "add", "Adds.\nTwice.", 3, 3),
        ("function", "arrow", None, 6, 6),
        ("function", "two", None, 7, 7),
        ("class", "Shape", None, 9, 14),
        ("method", "Shape.run", "Runs.", 11, 12),
        ("method", "Shape.field", None, 13, 13),
        ("function", "Space.inner", None, 17, 17),
        ("class", "Face", None, 19, 19),
    ],
    "shapes.js": [
        ("class", "A", None, 1, 1),
        ("method", "A.s", None, 1, 1),
        ("method", "A.g", None, 1, 1),
        ("method", "A.#p", None, 1, 1),
        ("function", "made", None, 2, 2),
        ("function", "later", None, 3, 3),
    ],
    "shapes.rs": [
        ("class", "Point", "A point.\nIn space.", 3, 4),
        ("method", "Point.new", "Makes one.", 8, 9),
        ("method", "Point.clone", None, 13, 13),
        ("function", "inner.free", None, 17, 17),
        ("function", "inner.free.nested", None, 17, 17),
        ("class", "Draw", None, 20, 22),
        ("method", "Draw.draw", None, 21, 21),
    ],
    "shapes.go": [
        ("class", "Point", "Point is a point.\nIt is small.", 5, 5),
        ("method", "Point.Move", None, 8, 8),
        ("class", "A", None, 11, 11),
        ("class", "B", None, 12, 12),
        ("function", "Free", None, 16, 16),
    ],
    "Shapes.java": [
        ("class", "Shapes", "A class.\nWith text.", 7, 14),
        ("method", "Shapes.Shapes", "Makes one.", 10, 10),
        ("method", "Shapes.area", None, 11, 11),
        ("method", "Shapes.area", None, 12, 12),
        ("class", "Shapes.Kind", None, 13, 13),
        ("method", "Shapes.Kind.show", None, 13, 13),
        ("class", "Pair", None, 16, 16),
        ("method", "Pair.Pair", None, 16, 16),
    ],
    "shapes.md": [
        ("section", "One", None, 4, 18),
        ("section", "One/Sub", None, 8, 14),
        ("code_block", "One/Sub/python", None, 11, 13),
        ("section", "One/Deeper", None, 15, 18),
        ("section", "Two", None, 19, 21),
    ],
    "shapes.toml": [
        ("table", 'tool."x.y".z', None, 2, 4),
        ("table_array", "item", None, 5, 6),
        ("table_array", "item", None, 7, 8),
    ],
    "shapes.yaml": [
        ("key", "first", None, 1, 1),
        ("key", "quoted key", None, 2, 4),
        ("key", "last", None, 5, 5),
        ("key", "flow", None, 7, 7),
        ("key", "q", None, 7, 7),
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_each_language(name: str) -> None:
    assert rows(name) == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_spans_types_and_ids(name: str) -> None:
    source = (SAMPLES / name).read_bytes()
    nodes = nodes_of(name)
    language = language_of(name)
    assert language is not None
    assert nodes[0].type == "file"
    assert nodes[0].text.encode() == source
    assert len({node.node_id for node in nodes}) == len(nodes)
    for node in nodes:
        assert node.type in LANGUAGES[language].node_types
        assert source[node.start_byte : node.end_byte].decode() == node.text
        assert source.decode().split("\n")[node.start_line - 1].strip() in (
            "",
            *[line.strip() for line in node.text.split("\n")[:1]],
        ) or (node.text.split("\n")[0] in source.decode().split("\n")[node.start_line - 1])
        assert node.id == node.node_id
        assert len(node.node_id) == 16
        assert len(node.content_hash) == 64


def test_module_docstring_and_file_name() -> None:
    node = parse_file(b"#!/bin/x\n'''doc'''\n", "a/b.py", "python")[0]
    assert (node.name, node.qualified_name, node.docstring) == ("b.py", "a/b.py", "doc")
    assert parse_file(b"", "e.py", "python")[0].end_line == 1


def test_ids_survive_edits_elsewhere() -> None:
    source = (SAMPLES / "shapes.py").read_bytes()
    before = {node.node_id: node.qualified_name for node in parse_file(source, "f.py", "python")}
    edited = (
        b"# new first line\n"
        + source.replace(b"return value", b"x = 1\n    return x")
        + b"\n\ndef added():\n    pass\n"
    )
    after = {node.node_id: node.qualified_name for node in parse_file(edited, "f.py", "python")}
    assert before.items() <= after.items()
    assert sorted(set(after.values()) - set(before.values())) == ["added"]
    other = parse_file(source, "g.py", "python")
    assert not before.keys() & {node.node_id for node in other}


def test_content_hash_follows_the_text() -> None:
    one = parse_file(b"def a():\n    1\ndef b():\n    2\n", "f.py", "python")
    two = parse_file(b"def a():\n    1\n\ndef b():\n    3\n", "f.py", "python")
    assert one[1].content_hash == two[1].content_hash
    assert one[2].content_hash != two[2].content_hash
    assert one[1].content_hash == sha256(b"def a():\n    1").hexdigest()
    assert list(one[1].to_json())[-1] == "content_hash"
    assert one[1].to_json()["content_hash"] == one[1].content_hash


def test_a_representation_does_not_hold_the_text() -> None:
    nodes = parse_file(b"SECRET = 1\n", "f.py", "python")
    assert "f.py" in repr(nodes[0])
    assert "SECRET" not in repr(nodes[0])
    assert "f.py" not in repr(Discovery(tuple(nodes), 1))


def test_lines_of_any_length_but_the_longest_are_read() -> None:
    for length, seen in ((5000, True), (5001, False)):
        for source in (b"#" * length, b"\n" + b"#" * length + b"\n", b"\n" * 7000 + b"#" * length + b"\nx\n"):
            assert (_machine_made(source, "python") is None) == seen


def test_broken_definitions_are_left_out_and_the_rest_is_found() -> None:
    source = b"def good():\n    pass\n\ndef broken(:\n    pass\n\nclass C:\n    def m(self):\n        pass\n"
    assert [node.qualified_name for node in parse_file(source, "f.py", "python")] == ["f.py", "good", "C", "C.m"]


def test_docstrings_are_pythons_own(tmp_path: Path) -> None:
    source = (SAMPLES / "shapes.py").read_bytes()
    found = {node.start_line: node.docstring for node in parse_file(source, "f.py", "python") if node.type != "file"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            line = min([node.lineno, *[decorator.lineno for decorator in node.decorator_list]])
            assert found[line] == ast.get_docstring(node, clean=False)


PIECES = {
    "python": [
        "def f():\n",
        "class A:\n",
        "    ",
        "'''",
        '"',
        "@d\n",
        "(",
        ")",
        ":",
        "\n",
        "pass\n",
        "é",
        "\\",
        "#",
        "async ",
    ],
    "markdown": [
        "# ",
        "## ",
        "```",
        "\n",
        "---\n",
        "===\n",
        "- ",
        "> ",
        "text",
        "    ",
        "|",
        "[",
        "](",
        "<!--",
        "\t",
        "1. ",
        "é",
    ],
    "yaml": ["a: ", "- ", "\n", "  ", "{", "}", "'", '"', "---\n", "|", "&a ", "*a", "!", "#", "?", ": ", "é"],
    "toml": ["[", "]", "[[", "]]", "a", ".", '"', "'", " = ", "\n", "1", "#", '"""', "é"],
    "typescript": [
        "function f",
        "class A",
        "{",
        "}",
        "(",
        ")",
        "=>",
        "export ",
        "/** d */\n",
        "@d ",
        "const a = ",
        ";",
        "`",
        "<",
        "\n",
    ],
    "rust": ["fn f", "impl A", "struct S", "{", "}", "(", ")", "/// d\n", "#[x]\n", ";", "'a", "mod m", '"', "\n"],
    "go": ["func f", "type T struct", "{", "}", "(", ")", "// d\n", ";", "`", "\n", '"', "var x"],
    "java": ["class A", "void m", "{", "}", "(", ")", "/** d */\n", "@A ", ";", "record R", "\n", '"'],
}
PIECES["javascript"] = PIECES["tsx"] = PIECES["typescript"]


@pytest.mark.parametrize("language", sorted(LANGUAGES))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_bytes_give_consistent_nodes(language: str, data: st.DataObject) -> None:
    text = st.lists(st.sampled_from(PIECES[language]), max_size=40).map(lambda parts: "".join(parts).encode())
    source = data.draw(
        st.one_of(text, st.binary(max_size=60), st.text(max_size=40).map(lambda t: t.encode("utf-8", "surrogatepass")))
    )
    nodes = parse_file(source, "f", language)
    assert len({node.node_id for node in nodes}) == len(nodes)
    for node in nodes:
        assert source[node.start_byte : node.end_byte].decode() == node.text
        assert 1 <= node.start_line <= node.end_line <= source.count(b"\n") + 1
        assert source.count(b"\n", 0, node.start_byte) == node.start_line - 1
    assert error_count(source, language) >= 0


def test_errors_are_counted() -> None:
    assert error_count(b"def f():\n    pass\n", "python") == 0
    assert has_syntax_error(b"def f(:\n", "python")
    assert has_syntax_error(b"def f():\n'''d'''\n", "python"), "Python refuses what tree-sitter forgives"
    assert has_syntax_error(b"return = 1\n", "python")
    assert not has_syntax_error(b"x = '\\d'\n", "python"), "a warning is no error"
    assert not has_syntax_error(b"\xef\xbb\xbfx = 1\r\n", "python")
    assert has_syntax_error(b"fn f( {", "rust")
    assert error_count(b"a b = 1\n[x\n", "toml") >= 1
    worse = b"def f(:\n    pass\ndef g(:\n    pass\n"
    assert error_count(worse, "python") > error_count(worse[:17], "python") - 1


def test_custom_queries() -> None:
    source = b"@d\ndef f():\n    x = 1\n\nclass C:\n    def m(self): pass\n"
    own = {node.qualified_name: node for node in parse_file(source, "f.py", "python")}
    marked = parse_file(source, "f.py", "python", "(function_definition) @node")
    assert marked == [own["f"], own["C.m"]]
    named = parse_file(source, "f.py", "python", "(function_definition name: (identifier) @method.name) @method.def")
    assert [(node.type, node.qualified_name) for node in named] == [("method", "f"), ("method", "C.m")]
    assert named[1] == own["C.m"]
    other = parse_file(source, "f.py", "python", "(assignment left: (identifier) @constant.name) @constant.def")
    assert [(node.type, node.name, node.qualified_name, node.text) for node in other] == [
        ("constant", "x", "f.x", "x = 1")
    ]
    anonymous = parse_file(source, "f.py", "python", "(pass_statement) @node")
    assert [(node.type, node.name) for node in anonymous] == [("pass_statement", "pass")]
    heads = parse_file(b"# a\n\n# b\n", "f.md", "markdown", "(atx_heading) @node")
    assert [node.start_line for node in heads] == [1, 3]


@pytest.mark.parametrize(
    ("query", "problem"), [("(nope) @node", "not valid"), ("(", "not valid"), ("(identifier) @x", "captures nothing")]
)
def test_bad_queries_are_errors(query: str, problem: str) -> None:
    with pytest.raises(BundleError, match=problem):
        custom_query("python", query)
    with pytest.raises(BundleError, match=problem):
        parse_file(b"", "f.py", "python", query)
