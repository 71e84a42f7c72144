"""Hot reload with bad input: a finding, and it recovers by itself when mended."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from projects import make_bundle
from reload_parts import PROMPT, TOOL, named, text_of, watching

from engine.bundle import Catalog, validate
from engine.bundle.source import MAX_TEXT
from engine.reload import Watcher

TESTS = Path(__file__).parent


def has_user_namespaces() -> bool:
    made = shutil.which("unshare") and subprocess.run(["unshare", "-U", "true"], check=False, capture_output=True)
    return bool(made) and made.returncode == 0


namespaces = pytest.mark.skipif(not has_user_namespaces(), reason="needs Linux' user namespaces (unshare -U)")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "above" / "bundles"


@pytest.mark.parametrize("gone", [".", ".."], ids=["the folder", "the folder above"])
async def test_a_watched_folder_vanishes_and_comes_back(root, gone) -> None:
    async with watching(root) as watched:
        good = watched.catalog
        moved = (root / gone).resolve()
        moved.rename(moved.with_name("away"))
        reload = await watched.next()
        assert [(item.code, item.message) for item in reload.diagnostics] == [("L001", f"{root} does not exist")]
        assert (reload.catalog, reload.accepted) == (good, False)
        moved.with_name("away").rename(moved)
        reload = await watched.next()
        assert (reload.catalog, reload.diagnostics) == (good, ())
        (root / "note" / PROMPT).write_text("and it is watched")
        assert (await watched.next()).changed == {"note"}


async def test_a_watched_folder_is_removed_and_made_anew(root) -> None:
    async with watching(root) as watched:
        shutil.rmtree(root.parent)
        assert {item.code for item in (await watched.next()).diagnostics} == {"L001"}
        make_bundle(root / "note", named("note").replace("1.0.0", "2.0.0"))
        await watched.until(lambda reload: list(reload.catalog.bundles) == ["note"])
        assert watched.catalog.get("note").manifest.version == "2.0.0"
        (root / "note" / PROMPT).write_text("and it is watched")
        await watched.until(lambda _: text_of(watched) == "and it is watched")
        assert watched.watcher.diagnostics == ()


async def test_a_watched_folder_may_come_later(tmp_path) -> None:
    root = tmp_path / "a" / "b"
    async with Watcher([root]) as watcher:
        assert {item.code for item in watcher.diagnostics} == {"L001"}
        assert watcher.catalog.generation == 1
        make_bundle(root / "note")
        async for reload in watcher:
            if "note" in reload.catalog.bundles:
                break
        (root / "note" / PROMPT).write_text("and it is watched")
        assert (await anext(watcher)).changed == {"note"}


async def test_a_folder_is_replaced_by_a_file(root) -> None:
    async with watching(root) as watched:
        shutil.rmtree(root / "note/prompts")
        (root / "note/prompts").write_text("a file")
        assert {item.code for item in (await watched.next()).diagnostics} == {"L003"}
        (root / "note/prompts").unlink()
        (root / "note/prompts").mkdir()
        (root / "note" / PROMPT).write_text("back")
        await watched.until(lambda _: text_of(watched) == "back")
        assert watched.watcher.diagnostics == ()


async def test_the_watched_folder_is_replaced_by_a_file(root) -> None:
    async with watching(root) as watched:
        good = watched.catalog
        root.rename(root.with_name("away"))
        root.write_text("a file")
        reload = (await watched.until(lambda reload: bool(reload.diagnostics)))[-1]
        assert list(reload.diagnostics) == validate([root])
        assert reload.catalog is good
        root.unlink()
        root.with_name("away").rename(root)
        await watched.until(lambda reload: reload.diagnostics == ())
        assert await watched.before_mark() == []


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("bundle.yaml", b"format: 1\nname: \xff\xfe\n", "Y006"),
        (PROMPT, b"\xff\xfe\xfa", "L006"),
        (PROMPT, b"x" * (MAX_TEXT + 1), "L007"),
        (TOOL, b"\0\0\0", "T001"),
        ("bundle.yaml", b"a: &a [*a, *a]\n" + b"[" * 5000, "Y001"),
    ],
    ids=["no UTF-8 manifest", "no UTF-8 prompt", "huge", "zeros", "bomb"],
)
async def test_a_file_that_cannot_be_used_is_told_and_recovers(root, name, content, code) -> None:
    async with watching(root) as watched:
        good, text = watched.catalog, (root / "note" / name).read_bytes()
        (root / "note" / name).write_bytes(content)
        reload = await watched.next()
        assert list(reload.diagnostics) == validate([root]) != []
        assert any(item.severity == "error" for item in reload.diagnostics)
        assert reload.catalog is good
        (root / "note" / name).write_bytes(text)
        assert (await watched.next()).diagnostics == ()
        assert watched.catalog is good


async def test_names_that_are_no_text_do_not_end_the_watching(root) -> None:
    async with watching(root) as watched:
        for number in range(3):
            (root / "note/prompts" / os.fsdecode(b"\xff\xfe%d" % number)).write_bytes(b"x")
        (root / "note" / PROMPT).write_text("after it")
        await watched.until(lambda _: text_of(watched) == "after it")
        (root / "note" / PROMPT).write_text("and later")
        await watched.until(lambda _: text_of(watched) == "and later")


async def test_links_in_circles_and_out_of_the_bundle(root) -> None:
    async with watching(root) as watched:
        (root / "note/circle").symlink_to(".")
        (root / "note/up").symlink_to("../..")
        reload = (await watched.until(lambda reload: bool(reload.diagnostics)))[-1]
        assert list(reload.diagnostics) == validate([root])
        assert {item.code for item in reload.diagnostics} == {"L004"}
        (root / "note/up").unlink()
        await watched.until(lambda reload: reload.diagnostics == ())
        (root / "note" / PROMPT).write_text("past the circle")
        assert "note" in (await watched.next()).changed


async def test_ten_thousand_files_are_too_many_and_recover(root) -> None:
    async with watching(root) as watched:
        good = watched.catalog
        heap = root / "note" / "heap"
        heap.mkdir()
        for number in range(10_000):
            (heap / f"{number}.txt").touch()
        await watched.until(lambda reload: "L007" in {item.code for item in reload.diagnostics})
        assert watched.catalog.get("note") is good.get("note")
        shutil.rmtree(heap)
        await watched.until(lambda reload: reload.diagnostics == ())
        (root / "note" / PROMPT).write_text("after it")
        await watched.until(lambda _: text_of(watched) == "after it")


async def test_ten_thousand_files_in_two_hundred_folders(root) -> None:
    """Beside the bundles, as in a project: they are watched, and nothing comes of them."""
    for folder in range(200):
        (root / f"src/{folder}").mkdir(parents=True)
        for number in range(50):
            (root / f"src/{folder}/{number}.py").touch()
    async with watching(root) as watched:
        for folder in range(200):
            (root / f"src/{folder}/0.py").write_text("x = 1\n")
        assert await watched.before_mark() == []
        make_bundle(root / "src/7/deep", named("deep"))
        await watched.until(lambda reload: "deep" in reload.catalog.bundles)


def in_namespace(script: str, *arguments: object, root_inside: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a script without the right to read everything, with limits of its own."""
    command = ["unshare", "-U", *(["-r"] if root_inside else []), "sh", "-c", script, "sh", sys.executable]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "NO_COLOR": "1"}
    environment["ENGINE_CACHE_DIR"] = str(arguments[0]) + ".cache"
    return subprocess.run(
        [*command, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


@namespaces
def test_permissions_are_taken_and_given_back(root) -> None:
    make_bundle(root / "note")
    made = in_namespace('"$1" -m test_reload_hostile permissions "$2"', root)
    assert made.stdout.splitlines() == [
        "L006 False",
        "mended True",
        "L006 False",
        "mended True",
        "L006 False",
        "mended True",
    ], made.stderr


async def permissions(root: Path) -> None:
    """Take and give back the permissions of a file, a folder of a bundle and the watched folder; in a process alone."""
    async with Watcher([root]) as watcher:
        assert watcher.diagnostics == ()
        for number, path in enumerate([root / "note" / PROMPT, root / "note/prompts", root]):
            before = watcher.catalog
            mode = path.stat().st_mode
            path.chmod(0)
            reload = await asyncio.wait_for(anext(watcher), 30)
            code = "L006" if "L006" in {item.code for item in reload.diagnostics} else "?"
            print(code, reload.catalog is not before)
            path.chmod(mode)
            while watcher.diagnostics:
                await asyncio.wait_for(anext(watcher), 30)
            (root / "note" / PROMPT).write_text(f"and it is watched {number}")
            while (await asyncio.wait_for(anext(watcher), 30)).changed != {"note"}:
                pass
            print("mended", watcher.diagnostics == ())


@namespaces
@pytest.mark.parametrize(("limit", "value"), [("max_inotify_watches", 5), ("max_inotify_instances", 0)])
def test_limits_of_the_system_are_told_with_the_way_out(root, limit, value) -> None:
    for number in range(5):
        make_bundle(root / f"note-{number}")
    script = f'echo {value} > /proc/sys/user/{limit} && exec "$1" -m engine validate --watch "$2"'
    made = in_namespace(script, root, root_inside=True)
    assert made.returncode == 2, made.stderr
    assert made.stdout == ""
    assert made.stderr.startswith("error: the system allows no more")
    assert made.stderr.count("\n") == 1
    assert f"sysctl fs.inotify.{limit.replace('inotify_', 'user_')}=" in made.stderr


@namespaces
def test_a_limit_that_is_reached_later_ends_the_watching_with_it(root) -> None:
    make_bundle(root / "note")
    script = 'echo 40 > /proc/sys/user/max_inotify_watches && exec "$1" -m test_reload_hostile limit "$2"'
    made = in_namespace(script, root, root_inside=True)
    assert "ConfigError: the system allows no more watched folders" in made.stdout, made.stderr


async def limit(root: Path) -> None:
    """Make more folders than may be watched; in a process alone."""
    from engine.errors import ConfigError

    async with Watcher([root]) as watcher:
        for number in range(100):
            (root / f"{number}").mkdir()
        try:
            async for _ in watcher:
                pass
        except ConfigError as error:
            print(f"ConfigError: {error}")
        assert list(watcher.catalog.bundles) == list(Catalog.load([root]).bundles)


if __name__ == "__main__":
    asyncio.run({"permissions": permissions, "limit": limit}[sys.argv[1]](Path(sys.argv[2])))
