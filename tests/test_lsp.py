"""`engine lsp` as a process, driven by a real client."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from lsp_client import Editor, capabilities, editor
from lsprotocol import types
from processes import descendants, wait_until_gone
from projects import MANIFEST, TOOL, make_bundle
from pygls.exceptions import JsonRpcException

from engine.bundle import validate
from engine.tools import EXTERNALS

FULL = """\
format: 1
name: note
version: 1.0.0
description: Puts a comment above the first line of a function's body.
model: {plugin: qwen, adapter: docs, sampling: {max_tokens: 80}}
adapters:
  docs: {name: docs-v1}
  fixer: {name: fixer-v2}
routing:
  - {after_tool: add_comment, adapter: fixer}
prompts:
  system: {text: "You write {{ params.tone }} comments."}
  user: prompts/user.md.j2
params:
  tone: {type: string, default: dry, description: How it sounds.}
nodes: {languages: [python], types: [function, method], when: "node.name != 'x'"}
context:
  - {name: guide, path: context/guide.pym}
tools:
  - path: tools/add_comment.pym
    inputs:
      comment: {max_length: 60}
    context: [guide]
loop:
  max_turns: 3
  termination_tool: add_comment
permissions: {read: ["**/*"], write: ["**/*.py"]}
checks: [parses]
tests: tests/*.yaml
"""
GUIDE = '"""What comments look like."""\n"Be brief."\n'
CASES = """\
format: 1
cases:
  - name: short
    source: |
      def f():
          return 1
    params: {tone: dry}
    expect:
      calls:
        - tool: add_comment
          arguments: {comment: one}
"""


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A bundle with something of everything."""
    folder = make_bundle(tmp_path / "full", FULL)
    for name, text in {"context/guide.pym": GUIDE, "tests/cases.yaml": CASES, "prompts/base.md.j2": BASE}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


pytestmark = pytest.mark.asyncio(loop_scope="module")
BASE = "{% block head %}Hello{% endblock %}\n{% block body %}{% endblock %}\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Editor]:
    """A server for all tests that leave it alive; it must have nothing to complain about."""
    async with editor(tmp_path_factory.getbasetemp()) as client:
        yield client
    assert client.stderr == ""
    assert client.errors == []
    assert client.process.returncode == 0


@pytest_asyncio.fixture(loop_scope="module")
async def client(shared: Editor) -> AsyncIterator[Editor]:
    """The shared server; what a test opens is closed at its end."""
    yield shared
    for path in tuple(shared.texts):
        shared.close(path)
    shared.shown.clear()


def at(line: int, column: int, end: int | None = None) -> types.Range:
    """Return a range in one line."""
    return types.Range(types.Position(line, column), types.Position(line, column if end is None else end))


def new_text(item: types.CompletionItem) -> str:
    """Return what a choice writes."""
    assert item.text_edit is not None
    return item.text_edit.new_text


# -- findings


async def test_findings_come_while_typing(client: Editor, full: Path) -> None:
    prompt = full / "prompts/user.md.j2"
    client.open(prompt)
    assert await client.codes_of(prompt) == []
    client.change(prompt, "{# 😀 #} {{ node.nme }}")
    assert await client.codes_of(prompt) == ["P003"]
    (item,) = client.found(prompt)
    assert item.range == at(0, 17, 20)  # in UTF-16 units: the emoji takes two
    assert (item.source, item.severity) == ("engine", types.DiagnosticSeverity.Error)
    client.edit(prompt, at(0, 17, 20), "name", "{# 😀 #} {{ node.name }}")
    assert await client.codes_of(prompt) == []


async def test_findings_in_other_files_come_and_go(client: Editor, full: Path) -> None:
    manifest, script, prompt = full / "bundle.yaml", full / "tools/add_comment.pym", full / "prompts/user.md.j2"
    client.open(manifest)
    client.open(script)
    client.change(script, TOOL.replace("comment: str", "remark: str").replace('Input("comment"', 'Input("remark"'))
    await client.until(lambda: client.codes(manifest) == ["T008"])
    client.change(script, TOOL)
    await client.until(lambda: client.codes(manifest) == [])
    client.change(manifest, FULL.replace("  tone:", "  mood:"))
    await client.until(lambda: "P003" in client.codes(manifest))
    prompt.write_text("{{ params.mood.x.y }}{{ nothing }}")
    client.on_disk(prompt)
    await client.until(lambda: client.codes(prompt) == ["P002"])  # a file that is not open
    assert client.published[prompt.as_uri()].version is None
    for path in (manifest, script):
        client.close(path)
    await client.until(lambda: client.codes(prompt) == client.codes(manifest) == [])


async def test_scripts_are_type_checked_and_cases_and_settings_read(client: Editor, full: Path) -> None:
    script, cases, settings = full / "tools/add_comment.pym", full / "tests/cases.yaml", full.parent / "engine.yaml"
    client.open(script, TOOL.replace("changed = ", "wrong: int = comment\nchanged = "))
    assert await client.codes_of(script) == ["T006"]
    client.open(cases, CASES.replace("expect:", "expct:"))
    assert "S001" in await client.codes_of(cases)
    client.open(settings, "backend: {kind: nothing}\n")
    assert await client.codes_of(settings) == ["S004"]
    client.change(settings, "backend: {kind: embedded}\n")
    assert await client.codes_of(settings) == []


async def test_a_line_that_a_finding_names_is_related(client: Editor, full: Path) -> None:
    manifest = full / "bundle.yaml"
    client.open(manifest, FULL + "name: again\n")
    assert await client.codes_of(manifest) == ["Y002"]
    (item,) = client.found(manifest)
    assert item.related_information is not None
    assert item.related_information[0].location.range.start.line == 1


async def test_a_save_compiles_the_constraints_too(client: Editor, full: Path) -> None:
    manifest = full / "bundle.yaml"
    client.open(manifest, FULL.replace("tests: tests/*.yaml", "grammar: {mode: nothing}"))
    assert await client.codes_of(manifest) == ["S004"]
    client.change(manifest, FULL.replace("tests: tests/*.yaml", "grammar: {mode: ebnf}"))
    await client.codes_of(manifest)
    client.save(manifest)
    before = len(client.history)
    await client.until(lambda: len(client.history) >= before + 2)
    assert client.codes(manifest) == []


async def test_what_is_in_no_bundle_has_no_findings(client: Editor, full: Path) -> None:
    alone, inside = full.parent / "alone.j2", full / "prompts/user.md.j2"
    client.open(alone, "{{ nothing ")
    client.open(inside, "{{ nothing }}")
    assert await client.codes_of(inside) == ["P002"]
    assert alone.as_uri() not in client.published
    assert await client.choices(alone, "{{ no", by=3) == {}


async def test_a_bundle_that_is_not_saved_yet(client: Editor, full: Path) -> None:
    manifest = full.parent / "fresh/bundle.yaml"
    client.open(manifest, "format: 1\n")
    assert set(await client.codes_of(manifest)) == {"S003"}
    assert "description" in await client.choices(manifest, "format: 1\n")
    client.change(manifest, MANIFEST)
    assert set(await client.codes_of(manifest)) == {"L003"}
    make_bundle(manifest.parent)
    client.on_disk(manifest.parent / "tools/add_comment.pym", kind=types.FileChangeType.Created)
    await client.until(lambda: client.codes(manifest) == [])


async def test_renamed_and_removed_files(client: Editor, full: Path) -> None:
    manifest, prompt = full / "bundle.yaml", full / "prompts/user.md.j2"
    client.open(manifest)
    assert await client.codes_of(manifest) == []
    moved = prompt.rename(full / "prompts/other.md.j2")
    client.on_disk(prompt, kind=types.FileChangeType.Deleted)
    client.on_disk(moved, kind=types.FileChangeType.Created)
    await client.until(lambda: client.codes(manifest) == ["L003"])
    moved.rename(prompt)
    client.on_disk(prompt.parent, kind=types.FileChangeType.Changed)
    await client.until(lambda: client.codes(manifest) == [])
    client.open(prompt, "{{ nothing }}")
    assert await client.codes_of(prompt) == ["P002"]
    client.close(manifest)
    manifest.unlink()
    client.on_disk(manifest, kind=types.FileChangeType.Deleted)
    await client.until(lambda: client.codes(prompt) == [])  # the folder is no bundle any more
    manifest.write_text(FULL)
    client.on_disk(manifest, kind=types.FileChangeType.Created)
    await client.until(lambda: client.codes(prompt) == ["P002"])


async def test_an_edit_of_a_parent_checks_those_that_build_on_it(client: Editor, full: Path) -> None:
    child, base = full.parent / "child", full / "prompts/base.md.j2"
    child.mkdir()
    (child / "bundle.yaml").write_text("format: 1\nextends: ../full\nname: child\ndescription: Another.\n")
    (child / "prompts").mkdir()
    prompt = child / "prompts/user.md.j2"
    prompt.write_text('{% extends "prompts/base.md.j2" %}\n{% block body %}{{ head }}{% endblock %}\n')
    client.on_disk(child / "bundle.yaml", kind=types.FileChangeType.Created)
    client.open(base)
    await client.until(lambda: client.codes(prompt) == ["P002"])
    client.change(base, "{% block body %}{{ nope }}{% endblock %}\n")
    await client.codes_of(base)
    client.change(base, '{% set head = "x" %}{% block body %}{% endblock %}\n{{ nope }}\n')
    await client.until(lambda: client.codes(base) == ["P002"])
    client.open(child / "bundle.yaml")
    manifest = child / "bundle.yaml"
    assert await client.codes_of(manifest) == []
    assert await client.target(manifest, "../full") == ((full / "bundle.yaml").as_uri(), 0, 0)
    assert await client.target(manifest, "description") == ((full / "bundle.yaml").as_uri(), 3, 0)
    client.change(manifest, client.texts[manifest][0] + "loop: {termination_tool: add_comment}\n")
    target = await client.target(manifest, "tool: add_c", by=8)
    assert target == ((full / "tools/add_comment.pym").as_uri(), 0, 0)
    client.change(manifest, client.texts[manifest][0].replace("../full", ""))
    assert set(await client.choices(manifest, "extends: ")) == {"../full"}
    client.change(manifest, client.texts[manifest][0].replace("extends: ", "extends: ../full"))
    client.open(prompt, '{% extends "@parent/prompts/user.md.j2" %}')
    assert await client.codes_of(prompt) == []
    assert "@parent/prompts/user.md.j2" in await client.choices(prompt, '{% extends "')
    target = await client.target(prompt, "@parent/prompts", by=10)
    assert target == ((full / "prompts/user.md.j2").as_uri(), 0, 0)
    client.open(full / "bundle.yaml", "format: 1\n\t- broken")
    await client.until(lambda: client.codes(manifest) == ["X004"])


async def test_a_folder_that_joins_the_workspace(full: Path) -> None:
    other = full.parent / "other"
    (other / "prompts").mkdir(parents=True)
    (other / "bundle.yaml").write_text("format: 1\nextends: ../full\nname: other\ndescription: x\n")
    prompt = other / "prompts/user.md.j2"
    prompt.write_text("{{ nothing }}")
    async with editor(full) as client:
        client.open(full / "bundle.yaml")
        assert await client.codes_of(full / "bundle.yaml") == []
        assert client.codes(prompt) == []
        event = types.WorkspaceFoldersChangeEvent([types.WorkspaceFolder(other.as_uri(), "other")], [])
        client.workspace_did_change_workspace_folders(types.DidChangeWorkspaceFoldersParams(event))
        await client.until(lambda: client.codes(prompt) == ["P002"])
    assert client.stderr == ""


async def test_broken_yaml_keeps_what_was_known(client: Editor, full: Path) -> None:
    manifest, prompt = full / "bundle.yaml", full / "prompts/user.md.j2"
    client.open(manifest)
    client.open(prompt)
    await client.codes_of(manifest)
    client.change(manifest, FULL.replace("loop:", "loop: [\n"))
    assert await client.codes_of(manifest) == ["Y001"]
    client.change(prompt, "{{ params. }}")
    assert list(await client.choices(prompt, "params.")) == ["tone"]
    assert "add_comment" in await client.docs(manifest, "after_tool: add", by=14)


# -- completion


MANIFEST_CHOICES: list[tuple[str, str, str, dict[str, str]]] = [
    ("tests: tests/*.yaml\n", "", "checks: [parses]\n", {"limits": "limits:\n  $0", "tests": "tests: $0"}),
    ("  max_turns: 3\n", "  \n", "loop:\n  ", {"on_no_call": "on_no_call: ${1|fail,finish|}"}),
    ("ol: add_comment\n", "ol: \n", "termination_tool: ", {"add_comment": "add_comment"}),
    ("ol: add_comment\n", "ol:\n", "termination_tool:", {"add_comment": " add_comment"}),
    ("{after_tool: add_comment", "{after_tool: ", "after_tool: ", {"add_comment": "add_comment"}),
    ("adapter: fixer}", "adapter: ", "comment, adapter: ", {"docs": "docs", "fixer": "fixer"}),
    ("context: [guide]", "context: [", "context: [", {"guide": "guide"}),
    ("plugin: qwen", "plugin: ", "plugin: ", {"qwen": "qwen", "smollm": "smollm"}),
    ("[function, method]", "[function, ]", "types: [function, ", {"method": "method"}),
    ("[python]", "[]", "languages: [", {"python": "python", "rust": "rust"}),
    ("user: prompts/user.md.j2", "user: ", "  user: ", {"prompts/user.md.j2": "prompts/user.md.j2"}),
    ("path: tools/add_comment.pym", "path: ", "- path: ", {"tools/add_comment.pym": "tools/add_comment.pym"}),
    ("checks: [parses]", "checks: []", "checks: [", {"parses": "parses"}),
    ("comment: {max_length: 60}", "c", "inputs:\n      c", {"comment": "comment: "}),
    ("{max_length: 60}", "{m}", "comment: {m", {"max_length": "max_length: $0", "pattern": "pattern: $0"}),
    ("tone: {type: string,", "tone: {type: ", "tone: {type: ", {"string": "string", "boolean": "boolean"}),
    ("node.name != 'x'", "node.na", "when: \"node.na", {"name": "name", "node_id": "node_id"}),
    ("params.tone }}", "params. }}", "{{ params.", {"tone": "tone"}),
    ("checks: [parses]", "grammar: {strategy: }", "strategy: ", {"typed": "typed", "none": "none"}),
    ("checks: [parses]", "permissions: {ask: }", "ask: ", {"true": "true", "false": "false"}),
]  # fmt: skip


async def test_completion_of_a_manifest(client: Editor, full: Path) -> None:
    manifest = full / "bundle.yaml"
    client.open(manifest)
    for old, new, mark, expected in MANIFEST_CHOICES:
        assert old in FULL
        client.change(manifest, FULL.replace(old, new))
        found = await client.choices(manifest, mark)
        assert {label: new_text(found[label]) for label in expected if label in found} == expected, mark


async def test_keys_have_docs_and_the_required_ones_come_first(client: Editor, full: Path) -> None:
    manifest = full / "bundle.yaml"
    client.open(manifest, "name: x\n\n")
    found = await client.choices(manifest, "name: x\n")
    ordered = sorted(found.values(), key=lambda item: item.sort_text or "")
    assert [item.label for item in ordered[:5]] == ["format", "description", "model", "prompts", "tools"]
    assert isinstance(found["loop"].documentation, types.MarkupContent)
    assert "When a task is over." in found["loop"].documentation.value
    assert found["loop"].insert_text_format == types.InsertTextFormat.Snippet
    client.change(manifest, "name: x\nlo\n")
    found = await client.choices(manifest, "\nlo")
    assert isinstance(found["loop"].text_edit, types.TextEdit)
    assert found["loop"].text_edit.range == at(1, 0, 2)


async def test_a_client_without_snippets_gets_plain_text(full: Path) -> None:
    manifest, script = full / "bundle.yaml", full / "tools/add_comment.pym"
    async with editor(full.parent, snippets=False) as client:
        client.open(manifest, FULL.replace("  max_turns: 3\n", "  \n"))
        found = await client.choices(manifest, "loop:\n  ")
        assert {name: new_text(found[name]) for name in ("max_turns", "on_no_call")} == {
            "max_turns": "max_turns: ",
            "on_no_call": "on_no_call: fail",
        }
        client.open(script, "from grail import external\n\n")
        found = await client.choices(script, "external\n\n")
        assert new_text(found["read_file"]).endswith("-> str:\n    ...")
    assert client.stderr == ""


async def test_completion_of_templates(client: Editor, full: Path) -> None:
    prompt = full / "prompts/user.md.j2"
    client.open(prompt)

    async def labels(text: str) -> set[str]:
        client.change(prompt, text)
        return set(await client.choices(prompt, text))

    assert {"node", "params", "context", "tools", "turn", "node_text"} <= await labels("{{ ")
    assert {"name", "text", "docstring"} <= await labels("{{ node.")
    assert await labels("{{ params.") == {"tone"}
    assert await labels("{{ context.") == {"guide"}
    assert await labels("{{ model.") == {"plugin", "id", "adapter"}
    assert {"upper", "dedent", "tojson"} <= await labels("{{ node.text | ")
    assert {"defined", "none"} <= await labels("{% if node is ")
    assert {"include", "block", "for"} <= await labels("{% ")
    assert await labels('{% include "') == {"prompts/base.md.j2"}
    assert await labels('{% extends "prompts/base.md.j2" %}{% block ') == {"head", "body"}
    assert {"mine", "loop", "item"} <= await labels("{% set mine = 1 %}{% for item in tools %}{{ ")
    assert await labels("plain text ") == set()


async def test_completion_of_scripts_writes_declarations_without_findings(client: Editor, full: Path) -> None:
    script = full / "tools/add_comment.pym"
    head = '"""A tool."""\n\nfrom grail import Input\n\ncomment: str = Input("comment")\n\n'
    client.open(script, head)
    found = await client.choices(script, head)
    offered = {name for name in EXTERNALS if name in found}
    assert offered == {name for name, item in EXTERNALS.items() if item.available}
    for name in ("read_file", "search", "get_node_metadata"):
        item = found[name]
        assert item.additional_text_edits is not None
        assert [(edit.new_text, edit.range) for edit in item.additional_text_edits] == [(", external", at(2, 23))]
        declared = head.replace("import Input", "import Input, external") + new_text(item).replace("$0", "comment\n")
        client.change(script, declared)
        assert await client.codes_of(script) == []
    client.change(script, head + 'x: str = Input("x", ')
    assert set(await client.choices(script, '"x", ')) == {"default", "description"}
    client.change(script, head + "from grail import external\n@external\nasync def wri")
    found = await client.choices(script, "async def wri")
    assert found["write_file"].filter_text == "async def write_file"
    assert "permission `write`" in str(found["write_file"].documentation)


async def test_completion_of_cases(client: Editor, full: Path) -> None:
    cases = full / "tests/cases.yaml"
    client.open(cases)

    async def labels(old: str, new: str, mark: str) -> set[str]:
        assert old in CASES
        client.change(cases, CASES.replace(old, new))
        return set(await client.choices(cases, mark))

    assert await labels("tool: add_comment", "tool: ", "tool: ") == {"add_comment"}
    assert await labels("{comment: one}", "{c}", "{c") == {"comment"}
    assert await labels("{tone: dry}", "{t}", "{t") == {"tone"}
    assert {"repeats", "node"} <= await labels("    params: {tone: dry}\n", "    \n", "return 1\n    ")
    assert "python" in await labels("    params", "    language: \n    params", "language: ")


# -- hover and definitions


async def test_hover(client: Editor, full: Path) -> None:
    manifest, prompt, script = full / "bundle.yaml", full / "prompts/user.md.j2", full / "tools/add_comment.pym"
    cases = full / "tests/cases.yaml"
    for path in (manifest, script, cases):
        client.open(path)
    client.open(prompt, "{{ params.tone }}{{ context.guide }}{{ node.text }}{{ turn }}")
    assert "Default: `8`" in await client.docs(manifest, "max_turns")
    assert '"maxLength": 60' in await client.docs(manifest, "termination_tool: add", by=20)
    assert '"maxLength": 60' in await client.docs(manifest, "tools/add_comment.pym")
    assert "A few words." in await client.docs(manifest, "comment: {max")
    assert "docs-v1" in await client.docs(manifest, "adapter: docs", by=10)
    assert "What comments look like." in await client.docs(manifest, "[guide]", by=2)
    assert "node types file, class" in await client.docs(manifest, "[python]", by=3)
    assert "How it sounds." in await client.docs(manifest, "params.tone", by=8)
    assert "How it sounds." in await client.docs(prompt, "params.tone", by=8)
    assert "What comments look like." in await client.docs(prompt, "context.guide", by=10)
    assert "The node's source." in await client.docs(prompt, "node.text", by=6)
    assert "number of the turn" in await client.docs(prompt, "turn")
    assert "permission `write`" in await client.docs(script, "replace_node")
    assert "A few words." in await client.docs(script, "comment: str")
    assert '"maxLength": 60' in await client.docs(cases, "add_comment")
    assert "A few words." in await client.docs(cases, "comment: one")
    assert "How it sounds." in await client.docs(cases, "tone: dry")
    assert await client.docs(prompt, "{{ params", by=1) == ""


async def test_hover_at_a_finding_shows_its_page(client: Editor, full: Path) -> None:
    prompt = full / "prompts/user.md.j2"
    client.open(prompt, "{{ node.nme }}")
    assert "# P003 unknown-attribute (error)" in await client.docs(prompt, "nme")


async def test_a_workspace_behind_a_link_is_named_as_the_client_does(client: Editor, full: Path) -> None:
    link = full.parent / "link"
    link.symlink_to(full, target_is_directory=True)
    manifest, prompt = link / "bundle.yaml", link / "prompts/user.md.j2"
    client.open(manifest)
    client.open(prompt, "{{ params.mood }}")
    assert await client.codes_of(prompt) == ["P003"]
    assert await client.target(manifest, "user: prompts/user", by=8) == (prompt.as_uri(), 0, 0)


async def test_definitions(client: Editor, full: Path) -> None:
    manifest, prompt, script = full / "bundle.yaml", full / "prompts/user.md.j2", full / "tools/add_comment.pym"
    cases, guide, base = full / "tests/cases.yaml", full / "context/guide.pym", full / "prompts/base.md.j2"
    for path in (manifest, script, cases):
        client.open(path)
    client.open(
        prompt,
        '{% extends "prompts/base.md.j2" %}{% block body %}{{ params.tone }}{{ context.guide }}{% set a = 1 %}{{ a }}',
    )
    tool, line = (script.as_uri(), 0, 0), MANIFEST_LINES

    async def goes(path: Path, mark: str, by: int, target: tuple[str, int, int]) -> None:
        assert await client.target(path, mark, by=by) == target, mark

    await goes(manifest, "user: prompts/user", 8, (prompt.as_uri(), 0, 0))
    await goes(manifest, "path: tools/add", 8, tool)
    await goes(manifest, "after_tool: add_c", 14, tool)
    await goes(manifest, "termination_tool: add_c", 20, tool)
    await goes(manifest, "[guide]", 2, (guide.as_uri(), 0, 0))
    await goes(manifest, "adapter: fixer", 10, (manifest.as_uri(), line["  fixer:"], 2))
    await goes(manifest, "comment: {max", 2, (script.as_uri(), 3, 0))
    await goes(manifest, "params.tone", 8, (manifest.as_uri(), line["  tone:"], 2))
    await goes(prompt, "params.tone", 8, (manifest.as_uri(), line["  tone:"], 2))
    await goes(prompt, "context.guide", 9, (guide.as_uri(), 0, 0))
    await goes(prompt, "prompts/base", 3, (base.as_uri(), 0, 0))
    await goes(prompt, "block body", 7, (base.as_uri(), 1, 9))
    await goes(prompt, "{{ a }}", 3, (prompt.as_uri(), 0, prompt_column(client.texts[prompt][0], "a = 1")))
    await goes(script, "replace_node(head", 3, (script.as_uri(), 13, 10))
    await goes(cases, "tool: add_c", 8, tool)
    await goes(cases, "tone: dry", 2, (manifest.as_uri(), line["  tone:"], 2))
    assert await client.target(manifest, "description: Puts", by=15) is None


MANIFEST_LINES = {line.split("{")[0].rstrip(): number for number, line in enumerate(FULL.splitlines())}


def prompt_column(text: str, mark: str) -> int:
    """Return the column of a text in a template of one line."""
    return text.index(mark)


async def test_references_and_renaming(client: Editor, full: Path) -> None:
    manifest, prompt, cases = full / "bundle.yaml", full / "prompts/user.md.j2", full / "tests/cases.yaml"
    client.open(manifest, FULL.replace("- path: tools", "- name: 'note'\n    path: tools"))
    client.open(prompt, "params.tone {{ params . tone }} {{ params.tones }}{{ 'params.tone' }}{# params.tone #}")
    client.open(cases)
    at_name = client.place(prompt, "params . tone", by=10)
    context = types.ReferenceContext(include_declaration=True)
    asked = types.ReferenceParams(context, at_name.text_document, at_name.position)
    found = await client.text_document_references_async(asked)
    places = [(Path(item.uri).name, item.range.start.line, item.range.start.character) for item in found or []]
    assert places == [
        ("bundle.yaml", MANIFEST_LINES["  system:"], 38),
        ("bundle.yaml", MANIFEST_LINES["  tone:"], 2),
        ("user.md.j2", 0, 24),
        ("cases.yaml", 6, 13),
    ]

    async def rename(path: Path, mark: str, by: int, new: str) -> dict[str, int]:
        place = client.place(path, mark, by=by)
        params = types.RenameParams(place.text_document, place.position, new)
        edit = await client.text_document_rename_async(params)
        changes = edit.changes if edit is not None else None
        assert all(item.new_text == new for edits in (changes or {}).values() for item in edits)
        return {Path(uri).name: len(edits) for uri, edits in (changes or {}).items()}

    assert await rename(prompt, "params . tone", 10, "mood") == {"bundle.yaml": 2, "user.md.j2": 1, "cases.yaml": 1}
    assert await rename(manifest, "adapter: fixer", 10, "mender") == {"bundle.yaml": 2}
    assert await rename(manifest, "[guide]", 2, "manual") == {"bundle.yaml": 2}
    assert await rename(manifest, "'note'", 3, "remark") == {"bundle.yaml": 1}
    assert await rename(cases, "tool: add_c", 8, "other") == {}  # no name of the manifest's
    assert await rename(prompt, "params . tone", 10, "not a name") == {}
    prepared = types.PrepareRenameParams(at_name.text_document, at_name.position)
    assert await client.text_document_prepare_rename_async(prepared) == at(0, 24, 28)


async def test_symbols(client: Editor, full: Path) -> None:
    manifest, script = full / "bundle.yaml", full / "tools/add_comment.pym"
    client.open(manifest)
    client.open(script)

    async def symbols(path: Path) -> list[types.DocumentSymbol]:
        params = types.DocumentSymbolParams(types.TextDocumentIdentifier(path.as_uri()))
        found = await client.text_document_document_symbol_async(params)
        return [item for item in found or [] if isinstance(item, types.DocumentSymbol)]

    found = {item.name: item for item in await symbols(manifest)}
    assert list(found)[:4] == ["format", "name", "version", "description"]
    assert [item.name for item in found["tools"].children or []] == ["tools/add_comment.pym"]
    assert [item.name for item in found["loop"].children or []] == ["max_turns", "termination_tool"]
    assert [item.name for item in await symbols(script)] == ["comment", "get_node_source", "replace_node"]


# -- actions


async def test_fixes_and_pages(client: Editor, full: Path) -> None:
    manifest = full / "bundle.yaml"
    client.open(manifest, "# 😀\n" + FULL.replace("version: 1.0.0", "verson: 1.0.0").replace("loop:", "lop:"))
    assert await client.codes_of(manifest) == ["S001", "S001"]
    where = client.found(manifest)[0].range
    offered = await client.offered(manifest, where)
    assert [item.kind for item in offered] == ["quickfix", "source.fixAll.engine", "quickfix"]
    edit, everything, page = offered
    assert edit.edit is not None
    assert edit.edit.changes == {manifest.as_uri(): (types.TextEdit(where, "version"),)}
    assert everything.edit is not None
    assert everything.edit.changes is not None
    assert [item.new_text for item in everything.edit.changes[manifest.as_uri()]] == ["version", "loop"]
    assert page.command is not None
    assert page.title == "Explain S001 (unknown-key)"
    command = types.ExecuteCommandParams(page.command.command, page.command.arguments)
    await client.workspace_execute_command_async(command)
    (shown,) = client.shown
    assert read(shown).startswith("# S001 unknown-key")
    assert [item.kind for item in await client.offered(manifest, where, ["source.fixAll"])] == ["source.fixAll.engine"]
    assert await client.offered(manifest, at(0, 0)) == [everything]


def read(uri: str) -> str:
    """Return the text of a file by its address."""
    return Path(uri.removeprefix("file://")).read_text()


# -- the protocol


@pytest.mark.parametrize(("encodings", "column"), [(None, 5), (["utf-8"], 7), (["utf-32", "utf-16"], 4)])
async def test_positions_are_counted_as_agreed(full: Path, encodings: list[str] | None, column: int) -> None:
    prompt = full / "prompts/user.md.j2"
    async with editor(full.parent, encodings=encodings) as client:
        client.open(prompt, "😀{{ x }}")
        await client.codes_of(prompt)
        assert client.found(prompt)[0].range == at(0, column, column + 1)


async def test_odd_messages_are_survived(full: Path) -> None:
    prompt = full / "prompts/user.md.j2"
    async with editor(full.parent) as client:
        client.open(prompt, "{{ node. }}")
        send = client.protocol.send_request_async
        with pytest.raises(JsonRpcException):
            await send("textDocument/nothing", {})
        for params in ({}, {"textDocument": 1}, [], None):
            raw = json.dumps({"jsonrpc": "2.0", "id": "odd", "method": "textDocument/hover", "params": params})
            client.process.stdin.write(f"Content-Length: {len(raw)}\r\n\r\n{raw}".encode())  # type: ignore[union-attr]  # a pipe
        for raw in ("[]", "{}", "null", "nonsense", '{"jsonrpc": "2.0"}'):
            client.process.stdin.write(f"Content-Length: {len(raw)}\r\n\r\n{raw}".encode())  # type: ignore[union-attr]  # a pipe
        far = types.Position(10**6, 10**6)
        document = types.TextDocumentIdentifier(prompt.as_uri())
        assert await client.text_document_hover_async(types.HoverParams(document, far)) is None
        for uri in ("untitled:1", "file:///nowhere/bundle.yaml", "nonsense", ""):
            other = types.TextDocumentIdentifier(uri)
            assert await client.text_document_hover_async(types.HoverParams(other, far)) is None
            item = types.TextDocumentItem(uri, "yaml", 1, "format: ")
            client.text_document_did_open(types.DidOpenTextDocumentParams(item))
            client.text_document_did_close(types.DidCloseTextDocumentParams(other))
            changes = [types.TextDocumentContentChangeWholeDocument("x")]
            known = types.VersionedTextDocumentIdentifier(2, uri)
            client.text_document_did_change(types.DidChangeTextDocumentParams(known, changes))
        assert "name" in await client.choices(prompt, "node.")
    assert client.process.returncode == 0
    assert "internal error" not in client.stderr


async def test_huge_files_and_broken_characters(client: Editor, full: Path) -> None:
    manifest, prompt = full / "bundle.yaml", full / "prompts/user.md.j2"
    client.open(manifest, FULL + "# " + "x" * 1_100_000)
    assert await client.codes_of(manifest) == ["L007"]
    assert await client.choices(manifest, "loop:") == {}
    client.change(manifest, FULL + "\ud800")
    assert await client.codes_of(manifest) == ["L006"]
    client.change(manifest, FULL.replace("name: note", "name: note\u2028\x0c\x85"))
    assert await client.codes_of(manifest) != []
    client.change(manifest, FULL)
    client.open(prompt, "{{ x }}" * 200_000)
    assert await client.codes_of(prompt) == ["L007"]
    client.change(prompt, "{{ node.text }}")
    assert await client.codes_of(prompt) == []
    tools = "".join(f"  - {{path: tools/add_comment.pym, name: t{number}}}\n" for number in range(1000))
    client.change(manifest, FULL.replace("tools:\n", f"tools:\n{tools}").replace("ol: add_comment", "ol: "))
    assert len(await client.choices(manifest, "termination_tool: ")) == 500  # the list is cut, and says so
    client.change(manifest, client.texts[manifest][0].replace("ol: ", "ol: t999"))
    assert '"maxLength": 60' not in await client.docs(manifest, "ol: t999", by=5)
    assert await client.codes_of(manifest) == []


async def test_nothing_but_messages_is_on_standard_output(client: Editor, full: Path) -> None:
    script = full / "tools/add_comment.pym"
    client.open(script, "import socket\nprint('x')\n" + TOOL)
    assert "T003" in await client.codes_of(script)
    client.change(script, "'\\d'\n" + TOOL)  # Python warns of such a text when it is compiled
    await client.codes_of(script)
    assert client.errors == []


# -- how it begins and ends


async def test_a_check_that_takes_long_keeps_nobody_waiting(full: Path) -> None:
    script = full / "tools/add_comment.pym"
    slow = "".join(f"v{number} = [x for x in range({number})]\n" for number in range(15_000))
    async with editor(full.parent) as client:
        client.open(script, TOOL + slow + "{}\n")
        client.open(full.parent / "alone.j2", "{{ ")
        assert await client.choices(full.parent / "alone.j2", "{{ ") == {}  # the check has begun
        below = descendants(client.process.pid)
        client.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(client.process.wait(), 10) == 143
        assert wait_until_gone(below) == set()


async def test_exit_without_shutdown_is_an_error(full: Path) -> None:
    async with editor(full.parent) as client:
        client.exit(None)
        assert await asyncio.wait_for(client.process.wait(), 20) == 1


@pytest.mark.parametrize("how", ["end of input", "SIGTERM", "SIGINT"])
async def test_a_client_that_goes_away_leaves_no_process(full: Path, how: str) -> None:
    script = full / "tools/add_comment.pym"
    async with editor(full.parent) as client:
        client.open(script, TOOL + "\n# new\n{}\n")
        await client.codes_of(script)
        below = descendants(client.process.pid)
        if how == "end of input":
            client.process.stdin.close()  # type: ignore[union-attr]  # a pipe
        else:
            client.process.send_signal(signal.Signals[how])
        code = await asyncio.wait_for(client.process.wait(), 20)
        assert code == {"end of input": 1, "SIGTERM": 143, "SIGINT": 130}[how]
        assert wait_until_gone(below) == set()


async def test_the_server_ends_with_the_process_that_started_it(full: Path) -> None:
    sleeper = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)")
    client = Editor()
    await client.start_io(sys.executable, "-m", "engine", "lsp")
    await client.initialize_async(types.InitializeParams(capabilities(), process_id=sleeper.pid))
    sleeper.kill()
    await sleeper.wait()
    assert await asyncio.wait_for(client.process.wait(), 20) == 1
    await client.stop()


async def test_the_findings_are_those_of_validate(client: Editor, full: Path) -> None:
    manifest = full / "bundle.yaml"
    client.open(manifest, FULL.replace("qwen", "qwn").replace("guide]", "gude]").replace("max_turns", "max_trns"))
    shown = await client.codes_of(manifest)
    client.save(manifest)
    assert shown == [item.code for item in validate([full])]
