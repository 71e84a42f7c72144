"""Hot reload: which edits give which generation, what is read again, and what running tasks see."""

import asyncio
import os
import shutil
import threading
import zipfile
from pathlib import Path

import pytest
from kernel_parts import ScriptedBackend
from projects import MANIFEST, TOOL, call, make_bundle, make_project
from reload_parts import PROMPT, Watched, named, text_of, watching
from reload_parts import TOOL as SCRIPT

import engine
from engine.bundle import Catalog, validate
from engine.reload import Watcher


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "bundles"


def many(root: Path, count: int) -> None:
    for number in range(count):
        make_bundle(root / f"many-{number}", named(f"many-{number}"))


async def test_the_first_generation_is_there_when_the_context_is_entered(root) -> None:
    async with watching(root) as watched:
        assert watched.catalog.generation == 1
        assert list(watched.catalog.bundles) == ["marker", "note"]
        assert watched.watcher.count == 2
        assert await watched.before_mark() == []


async def test_an_edit_of_a_prompt_gives_the_next_generation(root) -> None:
    async with watching(root) as watched:
        before = watched.catalog
        (root / "note" / PROMPT).write_text("Look at {{ node.name }}")
        reload = await watched.next()
        assert (reload.accepted, reload.changed, reload.diagnostics) == (True, {"note"}, ())
        assert reload.previous is before
        assert reload.catalog is watched.catalog
        assert reload.catalog.generation == 2
        assert reload.files == ((root / "note" / PROMPT).as_posix(),)
        assert text_of(watched) == "Look at {{ node.name }}"


async def test_only_the_bundle_that_was_edited_is_made_anew(root) -> None:
    many(root, 30)
    async with watching(root) as watched:
        before = dict(watched.catalog.bundles)
        (root / "many-7" / PROMPT).write_text("new")
        reload = await watched.next()
        assert reload.changed == {"many-7"}
        kept = [name for name, bundle in reload.catalog.bundles.items() if bundle is before[name]]
        assert len(kept) == len(before) - 1


async def test_a_broken_edit_keeps_the_last_good_bundle_until_it_is_mended(root) -> None:
    async with watching(root) as watched:
        good = watched.catalog
        (root / "note" / PROMPT).write_text("{{ node.nam }} {% if %}")
        broken = await watched.next()
        assert not broken.accepted
        assert broken.catalog is good is broken.previous
        assert broken.changed == frozenset()
        assert list(broken.diagnostics) == validate([root])
        assert {item.code for item in broken.diagnostics} == {"P001"}
        assert watched.watcher.diagnostics == broken.diagnostics
        (root / "note" / PROMPT).write_text("{{ node.name }}")
        mended = await watched.next()
        assert (mended.accepted, mended.diagnostics, mended.catalog.generation) == (True, (), 2)


async def test_mending_to_what_was_there_keeps_the_generation(root) -> None:
    async with watching(root) as watched:
        good = watched.catalog
        text = (root / "note" / PROMPT).read_text()
        (root / "note" / PROMPT).write_text("{% if %}")
        assert not (await watched.next()).accepted
        (root / "note" / PROMPT).write_text(text)
        mended = await watched.next()
        assert (mended.accepted, mended.diagnostics) == (False, ())
        assert watched.catalog is good


async def test_findings_are_those_of_validate(root) -> None:
    make_bundle(root / "warned", named("warned").replace("description:", "descriptoin:"))
    async with watching(root) as watched:
        assert list(watched.watcher.diagnostics) == validate([root]) != []
        (root / "note" / SCRIPT).write_text(TOOL.replace("comment: str", "comment: int"))
        reload = await watched.next()
        assert "T006" in {item.code for item in reload.diagnostics}
        assert list(reload.diagnostics) == validate([root])
        (root / "warned" / "bundle.yaml").write_text(named("warned"))
        reload = await watched.next()
        assert list(reload.diagnostics) == validate([root])
        assert (reload.changed, reload.accepted) == ({"warned"}, True)


@pytest.mark.xgrammar
async def test_constraints_are_compiled_after_the_swap(root, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))
    async with watching(root) as watched:
        manifest = MANIFEST.replace("max_length: 60", "max_length: 61") + "grammar: {text: allowed}\n"
        (root / "note" / "bundle.yaml").write_text(manifest)
        reload = await watched.next()
        assert reload.accepted
        assert list(reload.diagnostics) == validate([root])
        # What compiling found is known from now on, also to other processes.
        assert await watched.before_mark() == []


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(path.read_bytes()),
        os.utime,
        lambda path: path.with_name(path.name + "~").write_text("backup"),
        lambda path: path.with_name(f".{path.name}.swp").write_bytes(b"b0VIM\0\0"),
        lambda path: path.with_name(f".#{path.name}").symlink_to("me@host.123:1"),
        lambda path: path.with_name(f"#{path.name}#").write_text("autosave"),
        lambda path: (path.with_name("4913").touch(), path.with_name("4913").unlink()),
        lambda path: (path.with_name("x.tmp").write_text("half"), path.with_name("x.tmp").unlink()),
        lambda path: path.chmod(0o600),
        lambda path: (path.parent / "empty").mkdir(),
        lambda path: (path.parent / "__pycache__").mkdir(),
    ],
    ids=["same", "touch", "backup", "swap", "lock", "autosave", "probe", "temporary", "mode", "folder", "cache"],
)
async def test_what_changes_nothing_gives_no_generation(root, write) -> None:
    async with watching(root) as watched:
        write(root / "note" / PROMPT)
        assert await watched.before_mark() == []
        assert watched.catalog.generation == 2
        # A bundle that is loaded afresh is the same, whatever editors left beside it.
        assert Catalog.load([root]).get("note").digest == watched.catalog.get("note").digest


async def test_a_save_in_several_files_is_one_generation(root) -> None:
    """A machine under load may stop between the writes, so one of several tries has to be whole."""
    async with watching(root) as watched:
        for number in range(6):
            names = [PROMPT, SCRIPT, "bundle.yaml"]
            texts = [f"new {number}", f"{TOOL}# {number}\n", MANIFEST.replace("1.0.0", f"1.0.{number + 1}")]
            for name, text in zip(names, texts, strict=True):
                (root / "note" / name).write_text(text)
            reloads = await watched.until(
                lambda _, n=number: text_of(watched) == f"new {n}" and version(watched) == n + 1
            )
            assert reloads[-1].accepted
            if len(reloads) == 1:
                assert len(reloads[0].files) == 3
                return
        pytest.fail("no save in three files was one generation")


def version(watched: Watched) -> int:
    return int(watched.catalog.get("note").manifest.version.rpartition(".")[2])


@pytest.mark.parametrize("count", [1, 4])
async def test_bundles_are_added(root, tmp_path, count) -> None:
    for number in range(count):
        make_bundle(tmp_path / "new" / f"new-{number}", named(f"new-{number}"))
    async with watching(root) as watched:
        before = watched.catalog.bundles
        (tmp_path / "new").rename(root / "new")
        reload = await watched.next()
        assert reload.changed == {f"new-{number}" for number in range(count)}
        assert reload.catalog.generation == 2
        assert all(reload.catalog.bundles[name] is bundle for name, bundle in before.items())
        assert watched.watcher.count == count + 2
        (root / "new/new-0" / PROMPT).write_text("and it is watched")
        assert (await watched.next()).changed == {"new-0"}


async def test_a_bundle_that_is_written_file_by_file_is_one_generation(root) -> None:
    async with watching(root) as watched:
        make_bundle(root / "new", named("new"))
        assert (await watched.next()).changed == {"new"}
        assert await watched.before_mark() == []


async def test_a_new_bundle_with_errors_is_told_and_taken_when_mended(root) -> None:
    async with watching(root) as watched:
        make_bundle(root / "new", named("new").replace("plugin: qwen", "plugin: nothing"))
        reload = await watched.next()
        assert ({item.code for item in reload.diagnostics}, reload.accepted) == ({"R004"}, False)
        (root / "new/bundle.yaml").write_text(named("new"))
        assert (await watched.next()).changed == {"new"}


async def test_a_bundle_whose_folder_is_renamed_stays(root) -> None:
    async with watching(root) as watched:
        (root / "note").rename(root / "renamed")
        (reload,) = await watched.until(lambda reload: reload.accepted)
        assert reload.changed == {"note"}
        assert reload.catalog.get("note").root == root / "renamed"
        (root / "renamed" / PROMPT).write_text("and it is watched")
        assert (await watched.next()).changed == {"note"}


async def test_a_bundle_that_is_removed_leaves_the_catalog(root) -> None:
    async with watching(root) as watched:
        shutil.rmtree(root / "note")
        reloads = await watched.until(lambda reload: reload.accepted)
        assert (len(reloads), reloads[0].changed, reloads[0].diagnostics) == (1, {"note"}, ())
        assert list(watched.catalog.bundles) == ["marker"]
        make_bundle(root / "note")
        assert (await watched.next()).changed == {"note"}


async def test_a_name_in_a_manifest_changes(root) -> None:
    async with watching(root) as watched:
        (root / "note/bundle.yaml").write_text(named("other"))
        assert (await watched.next()).changed == {"note", "other"}
        assert list(watched.catalog.bundles) == ["marker", "other"]


async def test_of_two_bundles_with_one_name_the_first_is_taken_until_it_goes(root) -> None:
    async with watching(root) as watched:
        first = watched.catalog.get("note")
        make_bundle(root / "note-again", MANIFEST.replace("1.0.0", "2.0.0"))
        reload = await watched.next()
        assert ({item.code for item in reload.diagnostics}, reload.accepted) == ({"R013"}, False)
        assert watched.catalog.get("note") is first
        shutil.rmtree(root / "note")
        reload = (await watched.until(lambda reload: reload.accepted))[-1]
        assert (reload.changed, reload.diagnostics) == ({"note"}, ())
        assert watched.catalog.get("note").manifest.version == "2.0.0"


async def test_an_edit_while_another_is_looked_at_is_not_lost(root) -> None:
    """Hundreds of edits in many bundles, without a pause: in the end the catalog is what a fresh one would be."""
    many(root, 10)
    async with watching(root) as watched:

        def edit() -> None:
            for number in range(400):
                path = root / f"many-{number * 7 % 10}" / (PROMPT if number % 3 else SCRIPT)
                path.write_text(f"{number}" if number % 3 else f"{TOOL}# {number}\n")

        await asyncio.to_thread(edit)
        fresh = digests(Catalog.load([root]))
        await watched.until(lambda _: digests(watched.catalog) == fresh)


def digests(catalog: Catalog) -> dict[str, str]:
    return {name: bundle.digest for name, bundle in catalog.bundles.items() if name != "marker"}


async def test_further_files_are_told_without_a_generation(root, tmp_path) -> None:
    target = tmp_path / "src" / "a.py"
    target.parent.mkdir()
    target.write_text("a = 1\n")
    async with watching(root, also=[target]) as watched:
        target.write_text("a = 2\n")
        reload = await watched.next()
        assert (reload.files, reload.accepted, reload.changed) == ((target.as_posix(),), False, frozenset())
        assert reload.catalog is reload.previous
        target.write_text("a = 2\n")
        (tmp_path / "src/b.py").write_text("not asked for")
        assert await watched.before_mark() == []
        target.unlink()
        assert (await watched.next()).files == (target.as_posix(),)
        target.write_text("a = 3\n")
        assert (await watched.next()).files == (target.as_posix(),)


async def test_a_zip_is_watched(root, tmp_path) -> None:
    def pack(version: str) -> None:
        make_bundle(tmp_path / "packed", named("packed").replace("1.0.0", version))
        with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
            for file in (tmp_path / "packed").rglob("*.*"):
                archive.write(file, file.relative_to(tmp_path / "packed"))
        (tmp_path / "new.zip").replace(tmp_path / "packed.zip")

    pack("1.0.0")
    async with watching(root, tmp_path / "packed.zip") as watched:
        assert watched.catalog.get("packed").manifest.version == "1.0.0"
        pack("1.0.1")
        reload = (await watched.until(lambda reload: reload.accepted))[-1]
        assert (reload.changed, reload.diagnostics) == ({"packed"}, ())
        assert watched.catalog.get("packed").manifest.version == "1.0.1"


@pytest.mark.parametrize("path", ["note", "note/bundle.yaml", "linked"])
async def test_one_bundle_is_watched(root, path) -> None:
    make_bundle(root / "note")
    (root / "linked").symlink_to("note")
    async with Watcher([root / path]) as watcher:
        assert list(watcher.catalog.bundles) == ["note"]
        (root / "note" / PROMPT).write_text("new")
        assert (await anext(watcher)).changed == {"note"}


async def test_a_parent_is_watched_wherever_it_is(root, tmp_path) -> None:
    make_bundle(tmp_path / "elsewhere" / "base", named("base"))
    child = "extends: ../../elsewhere/base\nformat: 1\nname: child\n"
    (root / "child").mkdir(parents=True)
    (root / "child/bundle.yaml").write_text(child)
    async with watching(root) as watched:
        assert set(watched.catalog.bundles) == {"child", "marker", "note"}
        (tmp_path / "elsewhere/base" / PROMPT).write_text("from the parent")
        assert (await watched.next()).changed == {"child"}
        assert text_of(watched, "child") == "from the parent"
        good = watched.catalog
        (tmp_path / "elsewhere/base/bundle.yaml").write_text("format: [")
        reload = await watched.next()
        assert (reload.accepted, reload.catalog) == (False, good)
        assert "X004" in {item.code for item in reload.diagnostics}
        (tmp_path / "elsewhere/base/bundle.yaml").write_text(named("base").replace("1.0.0", "1.0.3"))
        assert (await watched.next()).changed == {"child"}


async def test_a_parent_may_come_later(root, tmp_path) -> None:
    async with watching(root) as watched:
        (root / "child").mkdir()
        (root / "child/bundle.yaml").write_text("extends: ../../base\nformat: 1\nname: child\n")
        reload = await watched.next()
        assert ({item.code for item in reload.diagnostics}, reload.accepted) == ({"X001"}, False)
        make_bundle(tmp_path / "made", named("base"))
        (tmp_path / "made").rename(tmp_path / "base")
        assert (await watched.until(lambda reload: reload.accepted))[-1].changed == {"child"}
        (tmp_path / "base" / PROMPT).write_text("from the parent")
        assert (await watched.next()).changed == {"child"}


async def test_a_running_task_keeps_the_generation_it_began_with(root, tmp_path) -> None:
    project = make_project(tmp_path / "project", {"a.py": "def first(a):\n    return a\n"})
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def answer(request):
        from engine.backends import Completion

        asked.set()
        await go_on.wait()
        return Completion(call("as it was"))

    async with watching(root) as watched:
        backend = ScriptedBackend([answer])
        task = asyncio.create_task(engine.run(watched.catalog.get("note"), [project], project=project, backend=backend))
        await asyncio.wait_for(asked.wait(), 30)
        (root / "note" / PROMPT).write_text("a later prompt")
        (root / "note" / SCRIPT).write_text(TOOL.replace('"    # "', '"    # LATER "'))
        await watched.until(lambda _: "LATER" in watched.catalog.get("note").tools[0].script.code)
        shutil.rmtree(root / "note")
        await watched.until(lambda reload: "note" not in reload.catalog.bundles)
        go_on.set()
        result = await asyncio.wait_for(task, 30)
        (change,) = result.changes
        assert "    # as it was\n" in change.after.decode()
        assert backend.requests[0].messages[-1]["content"].startswith("Comment first")


async def test_nothing_is_left_behind(root) -> None:
    make_bundle(root / "note")
    before = set(threading.enumerate())
    files = open_files()
    for number in range(3):
        async with Watcher([root]) as watcher:
            (root / "note" / PROMPT).write_text(f"{number}")
            await anext(watcher)
        with pytest.raises(StopAsyncIteration):
            await anext(watcher)
    assert set(threading.enumerate()) <= before
    assert open_files() <= files + 1


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_cancelled_task_ends_the_watching(root) -> None:
    make_bundle(root / "note")
    before = set(threading.enumerate())
    entered = asyncio.Event()

    async def watch() -> None:
        async with Watcher([root]) as watcher:
            entered.set()
            async for _ in watcher:
                pass

    for wait in (True, False):  # also while generation 1 is being loaded
        entered.clear()
        task = asyncio.create_task(watch())
        await (asyncio.wait_for(entered.wait(), 30) if wait else asyncio.sleep(0))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert set(threading.enumerate()) <= before


async def test_the_iteration_ends_with_the_context(root) -> None:
    make_bundle(root / "note")
    seen = asyncio.Queue()

    async def read(watcher: Watcher) -> None:
        async for reload in watcher:
            seen.put_nowait(reload.catalog.generation)

    async with Watcher([root]) as watcher:
        task = asyncio.create_task(read(watcher))
        (root / "note" / PROMPT).write_text("new")
        assert await asyncio.wait_for(seen.get(), 30) == 2
    await asyncio.wait_for(task, 30)
    assert seen.empty()


async def test_a_slow_reader_gets_no_less(root) -> None:
    async with watching(root) as watched:
        for number in range(150):
            (root / "note" / PROMPT).write_text(f"{number}")
            generation = watched.catalog.generation
            while watched.catalog.generation == generation:  # noqa: ASYNC110 - nobody may read the reloads here
                await asyncio.sleep(0.002)
        reloads = await watched.until(lambda reload: reload.catalog is watched.catalog)
        assert len(reloads) < 150
        assert [one.previous.generation for one in reloads[1:]] == [one.catalog.generation for one in reloads[:-1]]
        assert text_of(watched) == "149"
