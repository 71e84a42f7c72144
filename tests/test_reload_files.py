"""Hot reload, file by file: everything that a bundle is made of, and the ways in which editors save."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from projects import MANIFEST, TOOL, make_bundle
from reload_parts import PROMPT, named, text_of, watching
from reload_parts import TOOL as SCRIPT

from engine.bundle import Catalog
from engine.bundle.source import MAX_TEXT

RICH = (
    MANIFEST
    + """\
context:
  - {name: facts, path: context/facts.pym}
adapters:
  small: {path: lora}
  large: {gguf: large.gguf}
grammar: {strategy: custom, file: grammars/call.ebnf}
tests: tests/*.yaml
"""
).replace("types: [function, method]", "query: queries/some.scm")
CASES = """\
format: 1
cases:
  - name: a comment
    source: |
      def first(a):
          return a
    expect:
      calls: [{tool: add_comment}]
"""
FILES = {
    "bundle.yaml": RICH,
    "tests/cases.yaml": CASES,
    PROMPT: "{% include 'prompts/part.md.j2' %}",
    "prompts/part.md.j2": "part",
    "context/facts.pym": '"""Facts."""\nresult = 1\nresult\n',
    "lora/adapter_config.json": json.dumps({"peft_type": "LORA"}),
    "grammars/call.ebnf": 'root ::= "a"\n',
    "queries/some.scm": "(function_definition) @node\n",
}
EDITS = {
    "bundle.yaml": RICH.replace("1.0.0", "1.1.0"),
    PROMPT: "new {% include 'prompts/part.md.j2' %}",
    "prompts/part.md.j2": "another part",
    "context/facts.pym": '"""Facts."""\nresult = 2\nresult\n',
    "lora/adapter_config.json": json.dumps({"peft_type": "LORA", "r": 4}),
    "grammars/call.ebnf": 'root ::= "b"\n',
    "queries/some.scm": "(class_definition) @node\n",
    SCRIPT: TOOL.replace("# ", "## "),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = make_bundle(tmp_path / "bundles" / "rich", RICH.replace("name: note", "name: rich"))
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.replace("name: note", "name: rich"))
    (folder / "large.gguf").write_bytes(b"GGUF" + bytes(MAX_TEXT))
    return tmp_path / "bundles"


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def in_pieces(path: Path, text: str) -> None:
    with path.open("w") as file:
        for start in range(0, len(text), 7):
            file.write(text[start : start + 7])
            file.flush()


def by_rename(path: Path, text: str) -> None:
    """As most editors that write atomically, with a name of their own."""
    other = path.with_name("tmp3kd9x")
    other.write_text(text)
    other.replace(path)


def like_vim(path: Path, text: str) -> None:
    """With `backup` and `writebackup`: probe, move the old file away, write anew, remove the backup."""
    swap, backup, probe = (path.with_name(name) for name in (f".{path.name}.swp", f"{path.name}~", "4913"))
    swap.write_bytes(b"b0VIM")
    probe.touch()
    probe.unlink()
    path.rename(backup)
    path.write_text(text)
    backup.unlink()
    swap.unlink()


def like_emacs(path: Path, text: str) -> None:
    """With a lock, an autosave file and a backup that stays."""
    lock, autosave = path.with_name(f".#{path.name}"), path.with_name(f"#{path.name}#")
    lock.symlink_to("me@host.1234:5678")
    autosave.write_text(text)
    shutil.copy(path, path.with_name(f"{path.name}~"))
    path.write_text(text)
    autosave.unlink()
    lock.unlink()


def deleted_and_made(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def with_fsync(path: Path, text: str) -> None:
    from engine.files import atomic_write

    atomic_write(path, text)


@pytest.mark.parametrize("name", EDITS)
async def test_every_file_of_a_bundle_counts(root, name) -> None:
    async with watching(root) as watched:
        assert watched.watcher.diagnostics == ()
        (root / "rich" / name).write_text(EDITS[name].replace("name: note", "name: rich"))
        reload = await watched.next()
        assert (reload.changed, reload.accepted, reload.diagnostics) == ({"rich"}, True, ())
        assert reload.files == ((root / "rich" / name).as_posix(),)
        assert reload.catalog.get("rich").digest == Catalog.load([root]).get("rich").digest


async def test_a_large_file_counts_by_its_content(root) -> None:
    large = root / "rich" / "large.gguf"
    async with watching(root) as watched:
        before = watched.catalog.get("rich").adapters["large"].digest
        with large.open("r+b") as file:  # a copy that goes on for a while is one change
            for _ in range(20):
                file.write(b"ADAPTER" * 1000)
                file.flush()
        reload = await watched.next()
        assert (reload.changed, reload.catalog.generation) == ({"rich"}, 2)
        assert reload.catalog.get("rich").adapters["large"].digest != before
        os.utime(large)
        (root / "rich" / PROMPT).write_text("and a text")
        reload = await watched.next()
        assert reload.files == ((root / "rich" / PROMPT).as_posix(),) or len(reload.files) == 2


async def test_cases_are_no_part_of_what_a_bundle_does(root) -> None:
    cases = root / "rich/tests/cases.yaml"
    async with watching(root) as watched:
        before = watched.catalog
        cases.write_text(CASES.replace("a comment", "another comment"))
        reload = await watched.next()
        assert (reload.accepted, reload.catalog, reload.diagnostics) == (False, before, ())
        assert reload.files == (cases.as_posix(),)
        cases.write_text(CASES.replace("add_comment", "nothing"))
        reload = await watched.next()
        assert (reload.accepted, reload.catalog, len(reload.diagnostics)) == (False, before, 1)


@pytest.mark.parametrize("save", [in_place, in_pieces, by_rename, like_vim, like_emacs, deleted_and_made, with_fsync])
@pytest.mark.parametrize("name", [PROMPT, SCRIPT, "bundle.yaml"])
async def test_editors_save_in_many_ways(root, save: Callable[[Path, str], None], name) -> None:
    text = {PROMPT: "new", SCRIPT: TOOL + "# new\n", "bundle.yaml": named("note").replace("1.0.0", "1.0.1")}[name]
    async with watching(root) as watched:
        save(root / "note" / name, text)
        reloads = await watched.until(lambda reload: reload.accepted)
        assert [(one.changed, one.accepted) for one in reloads] == [({"note"}, True)]
        assert reloads[0].files == ((root / "note" / name).as_posix(),)
        assert await watched.before_mark() == []
        assert watched.catalog.get("note").digest == Catalog.load([root]).get("note").digest


async def test_a_manifest_that_is_being_written_is_waited_for(root) -> None:
    """The file is empty and then cut for longer than the quiet time; the bundle stays, and nothing is told before."""
    import asyncio

    async with watching(root) as watched:
        with (root / "note/bundle.yaml").open("w") as file:
            file.flush()
            await asyncio.sleep(0.05)
            file.write(named("note").replace("1.0.0", "1.0.1"))
        reloads = await watched.until(lambda reload: reload.accepted)
        assert (len(reloads), reloads[0].changed) == (1, {"note"})


async def test_a_manifest_that_stays_cut_is_told_and_recovers(root) -> None:
    async with watching(root) as watched:
        good = watched.catalog
        (root / "note/bundle.yaml").write_text("")
        reload = await watched.next()
        assert ({item.code for item in reload.diagnostics} != set(), reload.catalog) == (True, good)
        (root / "note/bundle.yaml").write_text(named("note").replace("1.0.0", "1.0.1"))
        assert (await watched.next()).changed == {"note"}


async def test_a_file_that_is_gone_is_told_and_recovers(root) -> None:
    async with watching(root) as watched:
        good = watched.catalog
        (root / "note" / PROMPT).unlink()
        reload = await watched.next()
        assert ({item.code for item in reload.diagnostics}, reload.catalog) == ({"L003"}, good)
        assert text_of(watched).startswith("Comment")
        (root / "note" / PROMPT).write_text("back")
        assert (await watched.next()).changed == {"note"}
        assert text_of(watched) == "back"


async def test_a_folder_of_a_bundle_is_moved_away_and_back(root) -> None:
    async with watching(root) as watched:
        (root / "note/prompts").rename(root / "note/elsewhere")
        assert {item.code for item in (await watched.next()).diagnostics} == {"L003"}
        (root / "note/elsewhere").rename(root / "note/prompts")
        assert (await watched.next()).diagnostics == ()
        shutil.rmtree(root / "note/prompts")
        (root / "note/prompts").mkdir()
        (root / "note" / PROMPT).write_text("in a new folder of the same name")
        await watched.until(lambda _: text_of(watched) == "in a new folder of the same name")
        (root / "note" / PROMPT).write_text("and it is watched")
        await watched.until(lambda _: text_of(watched) == "and it is watched")
