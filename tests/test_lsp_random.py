"""Random edits of a bundle with questions at random places: every one is answered, and the findings end up right."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from lsp_client import Editor, editor
from lsprotocol import types
from projects import MANIFEST, TOOL, make_bundle

from engine.bundle import validate
from engine.lsp.positions import Lines
from engine.lsp.replies import diagnostic

PIECES = [
    *("\n", "  ", "- ", ": ", "{", "}", "[", "]", "'", '"', "|", "#", "😀", "\t", "\u2028", "é", "\r\n", ",", "%", "."),
    *("{{ node.", "}}", "{% if x %}", "{% block a %}", "{% endblock %}", "tools:", "name", "inputs: ", "path: tools/"),
    *("extends: ../note", "params: {a: {type: string}}", "context:\n  - {name: a, path: tools/add_comment.pym}"),
    *("@external\nasync def read_file(path: str) -> str:\n    ...\n", 'x: int = Input("x")\n', "await ", "import re\n"),
]
START = {"bundle.yaml": MANIFEST, "prompts/user.md.j2": "{{ node.text }}\n", "tools/add_comment.pym": TOOL}


def edited(text: str, choose: random.Random) -> tuple[int, int, str]:
    """Return an edit that adds, replaces or removes a little: begin, end, new text."""
    first = choose.randrange(len(text) + 1)
    size = choose.choice([0, 0, 0, 1, 2, 5, 30])
    new = choose.choice(["", *PIECES]) if size else choose.choice(PIECES)
    return first, min(first + size, len(text)), new


async def ask(client: Editor, path: Path, choose: random.Random) -> None:
    """Ask everything there is at a random place; an answer that is an error raises."""
    lines = Lines(client.texts[path][0])
    line, column = lines.place(choose.randrange(len(lines.text) + 1), "utf-16")
    at, document = types.Position(line, column), types.TextDocumentIdentifier(path.as_uri())
    await client.text_document_completion_async(types.CompletionParams(document, at))
    await client.text_document_hover_async(types.HoverParams(document, at))
    await client.text_document_definition_async(types.DefinitionParams(document, at))
    context = types.ReferenceContext(include_declaration=True)
    await client.text_document_references_async(types.ReferenceParams(context, document, at))
    await client.text_document_rename_async(types.RenameParams(document, at, "other"))
    await client.text_document_document_symbol_async(types.DocumentSymbolParams(document))
    await client.offered(path, types.Range(at, at))


def expected(folder: Path) -> set[tuple[str, str, int, int]]:
    """Return what `engine validate` finds: file, code, line and column as the editor counts them."""
    found = set()
    for item in validate([folder], use_cache=False):
        path = Path(item.span.file)
        lines = Lines(path.read_bytes().decode() if path.is_file() else "")
        shown = diagnostic(item, lines, "utf-16", path.as_uri())
        found.add((path.name, item.code, shown.range.start.line, shown.range.start.character))
    return found


def shown(client: Editor) -> set[tuple[str, str, int, int]]:
    """Return what the editor shows."""
    return {
        (uri.rpartition("/")[2], str(item.code), item.range.start.line, item.range.start.character)
        for uri, params in client.published.items()
        for item in params.diagnostics
    }


@pytest.mark.parametrize("seed", range(3))
async def test_random_edits(tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    folder = make_bundle(tmp_path / "note")
    texts = {folder / name: text for name, text in START.items()}
    async with editor(tmp_path) as client:
        for path, text in texts.items():
            client.open(path, text)
        for step in range(100):
            if step % 10 == 0:
                texts = {folder / name: text for name, text in START.items()}
                for path, text in texts.items():
                    client.change(path, text)
            path = choose.choice(list(texts))
            lines, (first, last, new) = Lines(texts[path]), edited(texts[path], choose)
            start, end = lines.place(first, "utf-16"), lines.place(last, "utf-16")
            first, last = lines.offset(start, "utf-16"), lines.offset(end, "utf-16")
            texts[path] = texts[path][:first] + new + texts[path][last:]
            where = types.Range(types.Position(*start), types.Position(*end))
            client.edit(path, where, new, texts[path])
            await ask(client, path, choose)
            if step % 10 in (0, 2, 9):
                for name, text in texts.items():
                    name.write_bytes(text.encode())
                    await client.codes_of(name)
                assert shown(client) == expected(folder), f"step {step}"
    assert client.stderr == ""
    assert client.errors == []
