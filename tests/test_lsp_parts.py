"""The parts of the editor server that need no client: positions, documents, the outline, contexts."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from lsprotocol import types

from engine.bundle.check import check_bundles
from engine.diagnostics import Diagnostic, Edit, Span
from engine.lsp.actions import actions
from engine.lsp.checks import Checker, check_settings, findings_of, read_bundle
from engine.lsp.documents import Buffers, path_of
from engine.lsp.families import Families
from engine.lsp.homes import homes, kind_of
from engine.lsp.inline import inline_at
from engine.lsp.newest import Newest, Worker
from engine.lsp.outline import read_outline
from engine.lsp.positions import Encoding, Lines
from engine.lsp.schemas import docs_of, keys_at, schemas_at, type_of
from engine.lsp.script_context import declared_externals, declared_inputs, script_cursor
from engine.lsp.template_context import local_names, template_cursor
from engine.lsp.yaml_context import Cursor, cursor_at
from engine.manifest import read_yaml

ROOT = Path(__file__).parent.parent
CURSOR = "‸"
TEXTS = st.text(alphabet=st.sampled_from("ab :-{}[],'\"#|>\n\r\t😀é\x0c\u2028%") | st.characters(), max_size=60)
ENCODINGS: list[Encoding] = ["utf-8", "utf-16", "utf-32"]


def split(text: str) -> tuple[str, int]:
    """Return a text without its cursor mark, and where that was."""
    return text.replace(CURSOR, ""), text.index(CURSOR)


# -- positions


@given(TEXTS, st.sampled_from(ENCODINGS))
@example("a😀b\r\nc\rd\n", "utf-16")
def test_every_place_comes_back(text: str, encoding: Encoding) -> None:
    lines = Lines(text)
    for offset in range(len(text) + 1):
        line, column = lines.place(offset, encoding)
        back = lines.offset((line, column), encoding)
        start, end = lines.bounds(line)
        assert back == min(offset, end)
        before = text[start:back]
        units = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}[encoding]
        size = {"utf-8": 1, "utf-16": 2, "utf-32": 4}[encoding]
        assert column == len(before.encode(units, "surrogatepass")) // size


@given(TEXTS, st.integers(0, 80), st.integers(0, 80), st.sampled_from(ENCODINGS))
def test_places_outside_of_the_text_are_moved_into_it(text: str, line: int, column: int, encoding: Encoding) -> None:
    lines = Lines(text)
    assert 0 <= lines.offset((line, column), encoding) <= len(text)
    start, end = lines.span(Span("f", line, column, line + 1, 3), encoding)
    assert (0, 0) <= start <= end < (len(lines), 10**6)


def test_only_the_line_ends_of_the_protocol_end_lines() -> None:
    lines = Lines("a\x0cb\u2028c\x85d\r\ne\rf\ng")
    assert [lines.line(number) for number in range(len(lines))] == ["a\x0cb\u2028c\x85d", "e", "f", "g"]


def test_an_empty_span_is_widened_to_a_word_or_a_character() -> None:
    lines = Lines("key: value_1 x\n\n  ]")
    assert lines.span(Span("f", 1, 6), "utf-16") == ((0, 5), (0, 12))
    assert lines.span(Span("f", 3, 3), "utf-16") == ((2, 2), (2, 3))
    assert lines.span(Span("f", 2, 1), "utf-16") == ((1, 0), (1, 0))
    assert lines.span(Span("f", 1, 6), "utf-16", widen=False) == ((0, 5), (0, 5))


# -- documents


def change(new: str, *where: int) -> Any:
    if not where:
        return types.TextDocumentContentChangeWholeDocument(new)
    start, end = types.Position(*where[:2]), types.Position(*where[2:])
    return types.TextDocumentContentChangePartial(types.Range(start, end), new)


def test_changes_count_utf16_units(tmp_path: Path) -> None:
    buffers, uri = Buffers(), (tmp_path / "f").as_uri()
    path = buffers.put(uri, "a😀b\nc\n", 1)
    assert path == tmp_path / "f"
    buffers.change(uri, [change("X", 0, 3, 0, 4), change("\u2028", 1, 0, 1, 1), change("!", 1, 1, 1, 1)], 2)
    buffer = buffers.get(tmp_path / "f")
    assert buffer is not None
    assert (buffer.text, buffer.version) == ("a😀X\n\u2028!\n", 2)
    buffers.change(uri, [change("all new")], 3)
    assert buffers.below(tmp_path) == {"f": "all new"}
    assert buffers.close(uri) == tmp_path / "f"
    assert list(buffers) == []


@given(TEXTS, st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), TEXTS), max_size=6))
def test_changes_do_what_a_slice_does(text: str, edits: list[tuple[int, int, str]]) -> None:
    buffers, uri, encoding = Buffers(), "file:///f", "utf-16"
    buffers.put(uri, text, 1)
    for first, last, new in edits:
        lines, ends = Lines(text), sorted((min(first, len(text)), min(last, len(text))))
        start, end = lines.place(ends[0], encoding), lines.place(ends[1], encoding)
        begin, stop = lines.offset(start, encoding), lines.offset(end, encoding)
        text = text[:begin] + new + text[stop:]
        buffers.change(uri, [change(new, *start, *end)], 2)
    (buffer,) = buffers
    assert buffer.text == text


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a/b%20c/%C3%A9.j2", "/a/b c/é.j2"),
        ("file:///a/../b;c", "/b;c"),
        ("file://localhost/a", "/a"),
        ("untitled:Untitled-1", None),
        ("file:relative", None),
        ("file:///a%00b", None),
        ("http://example.org/a", None),
        ("file://[", None),
        ("", None),
    ],
)
def test_addresses_become_paths(uri: str, path: str | None) -> None:
    assert path_of(uri) == (Path(path) if path else None)


# -- the outline


def cursor(marked: str) -> Cursor:
    text, offset = split(marked)
    return cursor_at(read_outline(text), offset)


@pytest.mark.parametrize(
    ("marked", "role", "path", "before"),
    [
        ("‸", "key", (), ""),
        ("mod‸", "key", (), "mod"),
        ("a: 1\n‸", "key", (), ""),
        ("a: 1\n‸\nb: 2\n", "key", (), ""),
        ("model:\n  ‸\n", "key", ("model",), ""),
        ("model:\n  plu‸\nname: x", "key", ("model",), "plu"),
        ("model:\n  plugin: ‸\n", "value", ("model", "plugin"), ""),
        ("model:\n  plugin:‸\n", "value", ("model", "plugin"), ""),
        ("model:\n  plugin: qw‸en\n", "value", ("model", "plugin"), "qw"),
        ("model: {plugin: qw‸", "value", ("model", "plugin"), "qw"),
        ("model: {‸", "key", ("model",), ""),
        ("model: {plugin: qwen, ‸}\nname: a", "key", ("model",), ""),
        ("model: {plugin: qwen, ‸\nname: a", "key", ("model",), ""),
        ("model: {plugin: qwen,\n  ‸", "key", ("model",), ""),
        ("a: {b: {c: ‸}, d: 1}", "value", ("a", "b", "c"), ""),
        ("a: {b: 1}‸", "value", (), ""),
        ("{a: {b: ‸}}", "value", ("a", "b"), ""),
        ("tools:\n  - ‸", "value", ("tools", 0), ""),
        ("tools:\n- pat‸\n", "value", ("tools", 0), "pat"),
        ("tools:\n- a\n- b‸\nname: x", "value", ("tools", 1), "b"),
        ("tools:\n  - path: x\n    ‸\nloop: 1", "key", ("tools", 0), ""),
        ("tools:\n  - path: x\n    inputs:\n      ‸", "key", ("tools", 0, "inputs"), ""),
        ("tools:\n  - path: x\n  ‸", "key", ("tools",), ""),
        ("nodes: {types: [function, ‸]}", "value", ("nodes", "types", 1), ""),
        ("nodes: {types: [‸]}", "value", ("nodes", "types", 0), ""),
        ("a:\n  - - x\n    - ‸", "value", ("a", 0, 1), ""),
        ("routing:\n  - {when: 'turn == 1', adapter: ‸", "value", ("routing", 0, "adapter"), ""),
        ("a: |\n  b: c\n\nd: ‸", "value", ("d",), ""),
        ("a: 'it''s: x'\nb: ‸", "value", ("b",), ""),
        ('"a b": ‸', "value", ("a b",), ""),
        ("a: b # c: d\ne: ‸", "value", ("e",), ""),
        ("a:\n  long\n  text‸\nb: 1", "key", ("a",), "text"),
        ("a: long\n  text‸\nb: 1", "value", ("a",), "long\n  text"),
        ("---\na: 1\n‸", "key", (), ""),
        ("a: 1\r\nb:\r\n  ‸", "key", ("b",), ""),
    ],
)
def test_the_cursor_is_found_in_half_written_yaml(marked: str, role: str, path: tuple[Any, ...], before: str) -> None:
    found = cursor(marked)
    assert (found.role, found.path, found.before) == (role, path, before)


def test_a_text_block_is_no_place_for_keys() -> None:
    found = cursor("prompts:\n  user:\n    text: |\n      hi ‸there\n      a: b\nname: x")
    assert (found.role, found.path, found.block) == ("value", ("prompts", "user", "text"), True)


@pytest.mark.parametrize("file", sorted(ROOT.glob("bundles/*/bundle.yaml")), ids=lambda path: path.parent.name)
def test_the_outline_agrees_with_the_parser(file: Path) -> None:
    text = file.read_text()
    outline, document = read_outline(text), read_yaml(text, "f")

    def walk(value: Any, path: tuple[Any, ...]) -> None:
        if isinstance(value, dict):
            assert outline.keys(path) == list(value)
            for key, item in value.items():
                walk(item, (*path, key))
        elif isinstance(value, list):
            assert outline.count(path) == len(value)
            for index, item in enumerate(value):
                walk(item, (*path, index))
        elif isinstance(value, str) and "\n" not in value:
            slot = outline.value(path)
            assert slot is not None
            if not slot.block:
                assert slot.text.replace("''", "'") == value

    walk(document.data, ())


DATA = st.recursive(
    st.sampled_from(["x", "a b", "", "it's", "a: b", "#c", "- d", "é😀", "{", "true", "x #y"])
    | st.integers()
    | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b c", "x-y", "é", "model"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), DATA, min_size=1), st.sampled_from([None, True, False]))
def test_the_outline_knows_every_key_of_valid_yaml(data: dict[str, Any], flow: bool | None) -> None:
    text = yaml.safe_dump(data, default_flow_style=flow, allow_unicode=True, width=10**6)
    outline = read_outline(text)

    def walk(value: Any, path: tuple[Any, ...]) -> None:
        if isinstance(value, dict):
            assert outline.keys(path) == list(value)
            for key, item in value.items():
                walk(item, (*path, key))
        elif isinstance(value, list):
            assert outline.count(path) == len(value), (text, path)
            for index, item in enumerate(value):
                walk(item, (*path, index))

    walk(yaml.safe_load(text), ())


@given(TEXTS, st.integers(0, 60))
@example("{" * 500, 500)
@example("- " * 200, 400)
@example("a: [" * 100, 400)
@example("a:\n" + " " * 50 + "b: {'", 60)
def test_any_text_has_a_cursor(text: str, offset: int) -> None:
    outline = read_outline(text)
    offset = min(offset, len(text))
    found = cursor_at(outline, offset)
    assert 0 <= found.first <= offset <= found.last <= len(text)
    assert len(outline.open_at) == len(outline.lines)
    inline_at(text, offset)


def test_a_huge_text_counts_as_empty() -> None:
    assert read_outline("a: 1\n" * 200_000).slots == ()


# -- schemas


def test_required_keys_come_first_and_present_ones_not_again() -> None:
    names = [key.name for key in keys_at("bundle", (), ["name"])]
    assert names[:5] == ["format", "description", "model", "prompts", "tools"]
    assert "name" not in names
    assert [key.name for key in keys_at("bundle", ("tools", 0), ["mcp"])] == []
    assert "inputs" in [key.name for key in keys_at("bundle", ("tools", 0), ["path"])]
    assert "minimum" in [key.name for key in keys_at("bundle", ("params", "style"), [])]
    assert [key.name for key in keys_at("bundle", ("nothing", "here"), [])] == []


def test_docs_have_type_default_and_bounds() -> None:
    (schema,) = schemas_at("bundle", ("loop", "max_turns"))
    text = docs_of("max_turns", schema)
    assert "`max_turns`: whole number" in text
    assert "Default: `8`" in text
    assert "at least 1, at most 1000" in text
    assert docs_of("x", {"type": "string", "examples": ["a", "b"]}).endswith('Examples:\n- `"a"`\n- `"b"`')
    assert type_of({"anyOf": [{"type": "string"}, {"type": "null"}]}) == "text"
    assert type_of({"enum": ["a", 1]}) == "a | 1"
    assert type_of({}) == "any value"


# -- templates


@pytest.mark.parametrize(
    ("marked", "want", "owner", "word"),
    [
        ("{{ no‸", "name", (), "no"),
        ("{{ node.‸ }}", "attribute", ("node",), ""),
        ("{{ node.na‸me }} x", "attribute", ("node",), "name"),
        ("{% ‸", "statement", (), ""),
        ("{%- inc‸", "statement", (), "inc"),
        ('{% include "pro‸mpts/x" %}', "path", (), "prompts/x"),
        ("{%- extends '‸", "path", (), ""),
        ("{% if x is de‸", "test", (), "de"),
        ("{% if x is not ‸", "test", (), ""),
        ("{{ x | up‸ }}", "filter", (), "up"),
        ("{% for ‸", "nothing", (), ""),
        ("{% for a in ‸", "name", (), ""),
        ("{{ 'a‸' }}", "nothing", (), "a"),
        ("{{ 'a' ~ ‸ }}", "name", (), ""),
        ("{% block ‸ %}", "block", (), ""),
        ("{{ params.a.b.‸}}", "attribute", ("params", "a", "b"), ""),
        ("{{ f(x).‸ }}", "nothing", (), ""),
        ("{% set a = no‸ %}", "name", (), "no"),
        ("{% raw %}x{% endraw %}{{ ‸", "name", (), ""),
        ("{{ a }}\n{{ ‸ }}\n{{ b }}", "name", (), ""),
    ],
)
def test_the_cursor_of_a_template(marked: str, want: str, owner: tuple[str, ...], word: str) -> None:
    found = template_cursor(*split(marked))
    assert found is not None
    assert (found.want, found.owner, found.word) == (want, owner, word)


@pytest.mark.parametrize("marked", ["a ‸", "{{ a }} ‸", "{# ‸ #}", "{# {{ ‸", "{% raw %}{{ ‸ {% endraw %}", "‸{{ a }}"])
def test_outside_of_tags_nothing_is_offered(marked: str) -> None:
    assert template_cursor(*split(marked)) is None


@given(st.text(alphabet="{}%#-'\"|. \nabisrwendo", max_size=60), st.integers(0, 60))
@example("{#" * 30, 60)
@example("{{ " + "\\'" * 20, 43)
def test_any_template_has_a_cursor_or_none(text: str, offset: int) -> None:
    offset = min(offset, len(text))
    found = template_cursor(text, offset)
    assert found is None or 0 <= found.first <= offset <= found.last <= len(text)
    local_names(text)


def test_hostile_templates_take_no_time() -> None:
    for text in ("{#" * 200_000, "{{ '" * 100_000, "{{ " + "\\'" * 200_000, "{% raw %}" * 50_000):
        template_cursor(text, len(text))


def test_names_that_a_template_binds() -> None:
    text = "{% set a = 1 %}{% for k, v in x %}{% macro m(p, q=1) %}{% import 'a' as b %}{% from 'x' import c, d as e %}"
    assert local_names(text) == ["a", "k", "v", "m", "b", "c", "e", "p", "q"]


@pytest.mark.parametrize(
    ("marked", "names"),
    [
        ("nodes:\n  when: not node.‸\n", ("node", "params")),
        ("nodes: {when: 'not node.‸'}\n", ("node", "params")),
        ("nodes:\n  when: >-\n    not x\n    and node.‸\n", ("node", "params")),
        ("tools:\n  - path: a\n    bind: {x: node.‸}\n", ("node", "params", "context", "model")),
        ("prompts: {user: {text: '{{ node.‸ }}'}}\n", None),
        ("prompts:\n  user:\n    text: |\n      {{ node.‸\n", None),
    ],
)
def test_expressions_and_templates_inside_of_a_manifest(marked: str, names: tuple[str, ...] | None) -> None:
    text, offset = split(marked)
    found = inline_at(text, offset)
    assert found is not None
    assert found.cursor is not None
    assert (found.cursor.want, found.cursor.owner, found.names) == ("attribute", ("node",), names)
    assert text[found.cursor.first : found.cursor.last] == found.cursor.word


# -- scripts


@pytest.mark.parametrize(
    ("marked", "want"),
    [
        ("rea‸", "statement"),
        ("@‸", "statement"),
        ("@external\nasync def ‸", "external"),
        ("@external\n‸", "external"),
        ('x: str = Input("x", ‸)', "input"),
        ("from grail import ‸", "import"),
        ("y = await ‸", "code"),
        ("# read‸", "nothing"),
        ('x = "rea‸', "nothing"),
        ("def ‸", "nothing"),
        ("x.‸", "nothing"),
    ],
)
def test_the_cursor_of_a_script(marked: str, want: str) -> None:
    assert script_cursor(*split(marked)).want == want


def test_declarations_are_found_in_a_broken_script() -> None:
    text = 'x: str = Input("x")\n@external\nasync def read_file(path: str) -> str:\n    ...\ndef mine():\n    (\n'
    assert list(declared_inputs(text)) == ["x"]
    assert list(declared_externals(text)) == ["read_file"]


@given(TEXTS, st.integers(0, 60))
def test_any_script_has_a_cursor(text: str, offset: int) -> None:
    offset = min(offset, len(text))
    found = script_cursor(text, offset)
    assert 0 <= found.first <= offset <= found.last <= len(text)


# -- files and checks


def test_a_file_belongs_to_the_bundles_around_it(bundle: Path) -> None:
    inner = bundle / "inner"
    assert homes(bundle / "prompts/user.md.j2", ()) == [bundle]
    assert homes(bundle / "bundle.yaml", ()) == [bundle]
    assert homes(inner / "tools/x.pym", {inner / "bundle.yaml"}) == [inner, bundle]
    assert homes(bundle / "node_modules/a/x.j2", ()) == []
    assert homes(bundle.parent / "x.j2", ()) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bundle.yml", "manifest"),
        ("prompts/a.md.j2", "template"),
        ("prompts/plain.txt", "other"),
        ("tools/a.pym", "script"),
        ("tests/a.yaml", "cases"),
        ("tests/deep/a.yaml", "other"),
        ("a/engine.yaml", "settings"),
        ("lora/x.gguf", "other"),
    ],
)
def test_kinds_of_files(name: str, kind: str) -> None:
    assert kind_of(name, None) == kind


def test_the_texts_of_the_editor_are_checked(bundle: Path) -> None:
    texts = {"prompts/user.md.j2": "{{ nod }} 😀", "node_modules/x.j2": "{{ bad"}
    checker = Checker()
    checked = checker.check(read_bundle(bundle, lambda folder: texts if folder == bundle else {}))
    checker.close()
    found = findings_of(checked)
    assert list(found.by_file) == [bundle / "prompts/user.md.j2"]
    assert found.lines[bundle / "prompts/user.md.j2"].text == texts["prompts/user.md.j2"]


def test_a_bundle_that_is_not_saved_is_checked(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    checked = check_bundles([read_bundle(folder, lambda _: {"bundle.yaml": "format: 1\n"})])[0]
    found = findings_of(checked)
    assert list(found.by_file) == [folder / "bundle.yaml"]
    assert {item.code for item in found.by_file[folder / "bundle.yaml"]} == {"S003"}


def test_settings_are_checked() -> None:
    path = Path("/x/engine.yaml")
    assert [item.code for item in check_settings(path, "backend: {kind: nothing}\n").by_file[path]] == ["S004"]
    assert check_settings(path, "bundles: b\n").by_file == {}
    assert [item.code for item in check_settings(path, "\ud800").by_file[path]] == ["L006"]


def test_families(tmp_path: Path) -> None:
    for name, extends in {"a": "", "b": "extends: ../a\n", "c": "extends: ../b\n", "d": "extends: ../d\n"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle.yaml").write_text(f"name: {name}\n{extends}")
    families = Families()
    families.scan([tmp_path])
    assert families.heirs(tmp_path / "a") == {tmp_path / "b", tmp_path / "c"}
    assert families.heirs(tmp_path / "d") == set()
    families.note(tmp_path / "b", "name: b\n")
    assert families.heirs(tmp_path / "a") == set()
    (tmp_path / "c/bundle.yaml").unlink()
    families.scan([tmp_path / "c/bundle.yaml"])
    assert families.heirs(tmp_path / "b") == set()
    families.scan([tmp_path])
    assert families.heirs(tmp_path / "a") == {tmp_path / "b"}
    shutil.rmtree(tmp_path / "b")
    families.scan([tmp_path / "b"])
    assert families.heirs(tmp_path / "a") == set()


# -- the newest version


async def test_what_is_outdated_is_dropped_and_the_newest_is_done() -> None:
    begun, release, added = (threading.Semaphore(0) for _ in range(3))
    versions, done = [0], list[tuple[str, int]]()

    def work(key: str) -> int:
        seen = versions[0]
        begun.release()
        release.acquire()
        return seen if key == "a" else -seen

    def finish(key: str, result: int) -> None:
        done.append((key, result))
        if result > 100:
            added.release()

    newest = Newest[str, int](Worker(), Worker(), work, lambda result: result + 100, finish)
    for number in range(1, 6):
        versions[0] = number
        newest.touch("a", thorough=number == 1)
        if number == 1:
            await asyncio.to_thread(begun.acquire)  # the first is under way while the others come
    for _ in range(2):
        release.release()
    await newest.settle("a")
    assert done == [("a", 5)]
    assert await asyncio.to_thread(added.acquire, timeout=10)
    await asyncio.sleep(0)
    assert done == [("a", 5), ("a", 105)]
    newest.touch("a")
    newest.forget("a")
    await newest.settle("a")
    release.release()
    newest.touch("b")
    release.release()
    await newest.settle("b")
    assert done[2:] == [("b", -5)]


async def test_a_fault_of_the_engine_is_logged_and_the_next_edit_checked(caplog: pytest.LogCaptureFixture) -> None:
    done = list[tuple[str, int]]()
    newest = Newest[str, int](Worker(), Worker(), int, lambda result: result, lambda *item: done.append(item))
    newest.touch("x")
    await newest.settle("x")
    assert "checking x failed" in caplog.text
    newest.touch("7")
    await newest.settle("7")
    assert done == [("7", 7)]


async def test_what_is_late_goes_last() -> None:
    worker, order, gate = Worker(), list[str](), threading.Event()
    first = asyncio.create_task(worker.do(gate.wait))
    await asyncio.sleep(0)
    others = [
        asyncio.create_task(worker.do(order.append, name, late=late))
        for name, late in (("late", True), ("soon", False), ("later", True), ("sooner", False))
    ]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *others)
    assert order == ["soon", "sooner", "late", "later"]


# -- actions


def test_fixes_are_offered_at_their_place_and_all_at_once() -> None:
    text = "a: yes\nb: no\n"
    first = Diagnostic("Y004", "one", Span("f", 1, 4, 1, 7), None, Edit(Span("f", 1, 4, 1, 7), "true"))
    second = Diagnostic("Y004", "two", Span("f", 2, 4, 2, 6), None, Edit(Span("f", 2, 4, 2, 6), "false"))
    third = Diagnostic("S001", "three", Span("f", 2, 1, 2, 2))
    offered = actions(text, [first, second, third], [first, third], None)
    assert [(item.kind, item.title) for item in offered] == [
        ("quickfix", "Write true"),
        ("source.fixAll.engine", "Fix everything that is certain in this file"),
        ("quickfix", "Explain Y004 (yaml-surprise)"),
        ("quickfix", "Explain S001 (unknown-key)"),
    ]
    assert [edit.text for edit in offered[1].edits] == ["true", "false"]
    assert [item.kind for item in actions(text, [first], [first], ["source.fixAll"])] == ["source.fixAll.engine"]
    assert actions(text, [third], [], ["source"]) == []


def test_examples_of_the_schema_are_json() -> None:
    for kind in ("bundle", "tests", "engine"):
        for key in keys_at(kind, (), []):  # type: ignore[arg-type]  # the three kinds
            json.dumps(key.schema)
            assert docs_of(key.name, key.schema, required=key.required)


def test_a_missing_library_names_the_extra() -> None:
    code = "import sys; sys.modules['pygls'] = None; from engine.cli import main; main(['lsp'])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert "engine lsp needs the extra 'editor': pip install 'bundle-engine[editor]'" in result.stderr
