"""Which nodes a run takes: what changed since a commit, in real repositories; shards; and how these go together."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from projects import MANIFEST, make_bundle
from test_cli import engine

from engine.app import App, RunRequest
from engine.backends import Completion
from engine.errors import ConfigError
from engine.run.select import check_shard, in_shard, parse_shard
from engine.run.since import Since

TWO = "def first(a):\n    return a\n\n\ndef second(b):\n    return b\n"
ANYONE = {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


def git(folder: Path, *arguments: object) -> str:
    argv = ["git", "-C", str(folder), "-c", "protocol.file.allow=always", *map(str, arguments)]
    return subprocess.run(argv, check=True, capture_output=True, text=True, env={**os.environ, **ANYONE}).stdout.strip()


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def repository(folder: Path, files: dict[str, str]) -> Path:
    """Make a repository with one commit."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    commit(folder, files)
    return folder


def commit(folder: Path, files: dict[str, str]) -> None:
    write(folder, files)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "x", "--allow-empty")


async def changed(root: Path, ref: str, *targets: str, **more: object) -> list[str]:
    """Return the nodes that a run of functions would take, as `file name`."""
    from engine.discovery import discover_async

    places = [root / target for target in targets or (".",)]
    since = Since(ref, root, places)
    found = await discover_async(places, root=root, types=["function", "method"], only=since.touches)
    nodes = await since.changed(found.nodes, types=["function", "method"])
    return [f"{node.file_path} {node.qualified_name}" for node in nodes]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A repository with two files of two functions."""
    return repository(tmp_path / "shop", {"src/a.py": TWO, "src/b.py": TWO})


# -- what changed


async def test_nothing_changed_is_nothing_taken(shop: Path) -> None:
    assert await changed(shop, "HEAD") == []
    (shop / "src/a.py").touch()
    assert await changed(shop, "HEAD") == []


async def test_only_the_nodes_whose_text_changed_are_taken_not_their_file(shop: Path) -> None:
    write(shop, {"src/a.py": "import os\n\n\n" + TWO.replace("return b", "return b + 1")})
    assert await changed(shop, "HEAD") == ["src/a.py second"]


@pytest.mark.parametrize("staged", [True, False])
async def test_staged_and_unstaged_changes_count_alike(shop: Path, staged: bool) -> None:
    write(shop, {"src/b.py": TWO.replace("return a", "return -a")})
    if staged:
        git(shop, "add", "-A")
    assert await changed(shop, "HEAD") == ["src/b.py first"]


async def test_what_was_staged_and_taken_back_in_the_file_did_not_change(shop: Path) -> None:
    write(shop, {"src/b.py": TWO.replace("return a", "return -a")})
    git(shop, "add", "-A")
    write(shop, {"src/b.py": TWO})
    assert await changed(shop, "HEAD") == []


async def test_a_file_that_only_left_the_index_did_not_change(shop: Path) -> None:
    git(shop, "rm", "-q", "--cached", "src/b.py")
    assert await changed(shop, "HEAD") == []


async def test_untracked_files_are_new_and_deleted_ones_are_nothing(shop: Path) -> None:
    write(shop, {"src/new.py": "def third():\n    pass\n"})
    (shop / "src/a.py").unlink()
    assert await changed(shop, "HEAD") == ["src/new.py third"]


async def test_a_file_that_git_ignores_and_a_person_names_is_new(shop: Path) -> None:
    commit(shop, {".gitignore": "*.gen.py\n"})
    write(shop, {"src/x.gen.py": "def third():\n    pass\n"})
    assert await changed(shop, "HEAD") == []
    assert await changed(shop, "HEAD", "src/x.gen.py") == ["src/x.gen.py third"]


async def test_of_a_renamed_file_what_is_not_the_same_is_taken(shop: Path) -> None:
    text = TWO + "\n\ndef third(c):\n    return c\n"
    commit(shop, {"src/long.py": text})
    git(shop, "mv", "src/long.py", "src/moved.py")
    assert await changed(shop, "HEAD") == []
    write(shop, {"src/moved.py": text.replace("return c", "return c + 1")})
    git(shop, "add", "-A")
    assert await changed(shop, "HEAD") == ["src/moved.py third"]


async def test_a_renamed_function_and_a_new_one_are_new(shop: Path) -> None:
    write(shop, {"src/a.py": TWO.replace("first", "one") + "\n\ndef third():\n    pass\n"})
    assert await changed(shop, "HEAD") == ["src/a.py one", "src/a.py third"]


async def test_other_line_ends_are_no_change(shop: Path) -> None:
    (shop / "src/a.py").write_bytes(TWO.replace("return b", "return 2 * b").replace("\n", "\r\n").encode())
    assert await changed(shop, "HEAD") == ["src/a.py second"]


async def test_a_file_that_did_not_parse_or_was_no_text_is_taken_as_far_as_it_is_other(shop: Path) -> None:
    (shop / "src/c.py").write_bytes(b"\xff\xfe\x00")
    commit(shop, {"src/d.py": "def first(:\n"})
    write(shop, {"src/c.py": TWO, "src/d.py": TWO})
    assert await changed(shop, "HEAD") == [f"src/{name}.py {node}" for name in "cd" for node in ("first", "second")]


async def test_names_may_hold_anything(shop: Path) -> None:
    names = ["src/a b.py", "src/tab\there.py", "src/line\nend.py", "src/\N{SNOWMAN}.py", "src/-x.py", 'src/"q".py']
    commit(shop, dict.fromkeys(names, TWO))
    write(shop, dict.fromkeys(names, TWO.replace("return a", "return 0")))
    assert sorted(await changed(shop, "HEAD")) == sorted(f"{name} first" for name in names)


async def test_files_that_did_not_change_are_not_read(shop: Path) -> None:
    from engine.discovery import discover_async

    write(shop, {"src/a.py": TWO.replace("return a", "return 0")})
    since = Since("HEAD", shop, [shop])
    found = await discover_async([shop], root=shop, only=since.touches)
    assert (found.files, {node.file_path for node in found.nodes}) == (1, {"src/a.py"})


async def test_many_files_are_read_by_workers(shop: Path) -> None:
    files = {f"src/many/m{number}.py": TWO for number in range(60)}
    commit(shop, files)
    write(shop, {name: text.replace("return b", "return 0") for name, text in files.items()})
    assert len(await changed(shop, "HEAD")) == 60


# -- which commit


@pytest.mark.parametrize("ref", ["HEAD~1", "before", "main~1", "main^", ":/first of all"])
async def test_names_of_commits_are_those_of_git(shop: Path, ref: str) -> None:
    git(shop, "commit", "-q", "--amend", "-m", "first of all")
    git(shop, "tag", "-a", "-m", "x", "before")
    commit(shop, {"src/a.py": TWO.replace("return a", "return 0")})
    assert await changed(shop, ref) == ["src/a.py first"]


async def test_a_merge_is_compared_as_it_lies_there(shop: Path) -> None:
    git(shop, "checkout", "-qb", "side")
    commit(shop, {"src/a.py": TWO.replace("return a", "return 0")})
    git(shop, "checkout", "-q", "main")
    commit(shop, {"src/b.py": TWO.replace("return b", "return 0")})
    git(shop, "merge", "-q", "side", "-m", "m")
    assert await changed(shop, "HEAD") == []
    assert await changed(shop, "HEAD^1") == ["src/a.py first"]
    assert await changed(shop, "side") == ["src/b.py second"]


async def test_a_merge_with_conflicts_is_read_as_far_as_it_parses(shop: Path) -> None:
    git(shop, "checkout", "-qb", "side")
    commit(shop, {"src/a.py": TWO.replace("return a", "return 1")})
    git(shop, "checkout", "-q", "main")
    commit(shop, {"src/a.py": TWO.replace("return a", "return 2")})
    with pytest.raises(subprocess.CalledProcessError):
        git(shop, "merge", "-q", "side")
    assert "src/b.py second" not in await changed(shop, "main")


REFUSED = ["no-such", "", "HEAD~99", "--upload-pack=touch hacked", "-h", "--all", "HEAD:src", "a..b", "x\ny", "a\0b"]


@pytest.mark.parametrize("ref", REFUSED)
async def test_what_names_no_commit_is_refused_and_nothing_is_run(shop: Path, ref: str) -> None:
    with pytest.raises(ConfigError, match="git knows no commit"):
        await changed(shop, ref)
    assert {str(path.name) for path in list(Path.iterdir(shop))} == {".git", "src"}


async def test_a_shallow_clone_says_that_it_is_shallow(shop: Path, tmp_path: Path) -> None:
    first = git(shop, "rev-parse", "HEAD")
    commit(shop, {"src/a.py": TWO.replace("return a", "return 0")})
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{shop}", "clone")
    assert await changed(tmp_path / "clone", "HEAD") == []
    with pytest.raises(ConfigError, match="this clone is shallow: fetch more of it"):
        await changed(tmp_path / "clone", first)


async def test_a_repository_without_commits_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, {"a.py": TWO})
    with pytest.raises(ConfigError, match="git knows no commit 'HEAD'"):
        await changed(tmp_path, "HEAD")


# -- which repository


async def test_a_folder_in_no_repository_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    write(tmp_path, {"a.py": TWO})
    with pytest.raises(ConfigError, match="is in no git repository"):
        await changed(tmp_path, "HEAD")


async def test_a_project_below_the_top_of_its_repository(shop: Path) -> None:
    write(shop, {"src/a.py": TWO.replace("return a", "return 0"), "other.py": TWO})
    assert await changed(shop / "src", "HEAD") == ["a.py first"]


async def test_repositories_inside_a_project_that_is_in_none(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(shop.parent.parent))
    repository(shop.parent / "shop2", {"x.py": TWO})
    repository(shop.parent / "plain/x", {"x.py": TWO})
    write(shop, {"src/a.py": TWO.replace("return a", "return 0")})
    write(shop.parent, {"shop2/x.py": TWO.replace("return b", "return 0"), "plain/y.py": TWO})
    assert await changed(shop.parent, "main", "shop", "shop2") == ["shop/src/a.py first", "shop2/x.py second"]
    with pytest.raises(ConfigError, match="plain is in no git repository"):
        await changed(shop.parent, "main", "shop", "plain")


async def test_another_work_tree_is_compared_with_its_own_files(shop: Path, tmp_path: Path) -> None:
    git(shop, "worktree", "add", "-q", tmp_path / "tree", "-b", "side")
    write(tmp_path / "tree", {"src/a.py": TWO.replace("return a", "return 0")})
    assert await changed(tmp_path / "tree", "main") == ["src/a.py first"]
    assert await changed(shop, "side") == []


async def test_the_repository_of_a_hook_is_not_taken_for_the_projects(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = repository(tmp_path / "other", {"z.py": TWO})
    write(shop, {"src/a.py": TWO.replace("return a", "return 0")})
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    assert await changed(shop, "HEAD") == ["src/a.py first"]


async def test_submodules_are_compared_with_the_commit_that_was_theirs(shop: Path, tmp_path: Path) -> None:
    library = repository(tmp_path / "library", {"x.py": TWO, "y.py": TWO})
    git(shop, "submodule", "add", "-q", library, "lib")
    commit(shop, {})
    commit(shop / "lib", {"x.py": TWO.replace("return a", "return 0")})
    write(shop, {"lib/y.py": TWO.replace("return b", "return 0"), "lib/z.py": "def third():\n    pass\n"})
    expected = ["lib/x.py first", "lib/y.py second", "lib/z.py third"]
    assert await changed(shop, "HEAD") == expected
    git(shop, "commit", "-qam", "take the new one")
    assert await changed(shop, "HEAD") == expected[1:]
    assert await changed(shop, "HEAD~1") == expected
    assert len(await changed(shop, "HEAD~2")) == 5  # it was not there


async def test_a_submodule_without_its_commit_says_so(shop: Path, tmp_path: Path) -> None:
    library = repository(tmp_path / "library", {"x.py": TWO})
    git(shop, "submodule", "add", "-q", library, "lib")
    git(shop, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},lib")
    git(shop, "commit", "-qm", "x")
    assert await changed(shop, "HEAD", "src") == []
    with pytest.raises(ConfigError, match=r"lib lacks its commit 1{40}"):
        await changed(shop, "HEAD")


async def test_a_repository_that_git_does_not_know_is_new(shop: Path) -> None:
    repository(shop / "vendored", {"x.py": TWO})
    assert await changed(shop, "HEAD") == ["vendored/x.py first", "vendored/x.py second"]


async def test_git_writes_nothing(shop: Path) -> None:
    (shop / "src/a.py").touch()
    before = {path: path.read_bytes() for path in (shop / ".git").rglob("*") if path.is_file()}
    await changed(shop, "HEAD")
    assert {path: path.read_bytes() for path in (shop / ".git").rglob("*") if path.is_file()} == before


async def test_a_program_that_the_repository_names_is_not_run(shop: Path) -> None:
    git(shop, "config", "core.fsmonitor", f"touch {shop}/hacked;")
    git(shop, "config", "diff.external", f"touch {shop}/hacked;")
    write(shop, {"src/a.py": TWO.replace("return a", "return 0")})
    assert await changed(shop, "HEAD") == ["src/a.py first"]
    assert not (shop / "hacked").exists()


async def test_without_git_one_line_says_so(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"git cannot be run .*install it"):
        await changed(shop, "HEAD")


EDITS = st.lists(st.sampled_from(["keep", "edit", "drop", "add above"]), min_size=4, max_size=4)


@given(edits=EDITS, moved=st.booleans())
def test_exactly_the_edited_and_new_functions_are_taken(
    tmp_path_factory: pytest.TempPathFactory, edits: list[str], moved: bool
) -> None:
    functions = {f"f{number}": f"def f{number}():\n    return {number}\n" for number in range(4)}
    shop = repository(tmp_path_factory.mktemp("shop") / "s", {"a.py": "\n\n".join(functions.values())})
    parts, expected = [], []
    for (name, text), edit in zip(functions.items(), edits, strict=True):
        if edit == "add above":
            parts.append(f"def new_{name}():\n    pass\n")
            expected.append(f"new_{name}")
        if edit == "edit":
            expected.append(name)
        if edit != "drop":
            parts.append(text.replace("return", "yield") if edit == "edit" else text)
    write(shop, {"a.py": ("\n" * 5 if moved else "") + "\n\n".join(parts)})
    assert asyncio.run(changed(shop, "HEAD")) == [f"a.py {name}" for name in expected]


# -- shards

IDS = st.lists(st.text("0123456789abcdef", min_size=16, max_size=16), unique=True, max_size=60)


@given(ids=IDS, parts=st.integers(1, 9), extra=IDS)
def test_shards_share_nothing_and_leave_nothing_out(ids: list[str], parts: int, extra: list[str]) -> None:
    shards = [{one for one in ids if in_shard(one, (part, parts))} for part in range(1, parts + 1)]
    assert sum(map(len, shards)) == len(ids)
    assert set().union(*shards) == set(ids)
    more = [{one for one in ids + extra if in_shard(one, (part, parts))} for part in range(1, parts + 1)]
    assert all(few <= many for few, many in zip(shards, more, strict=True))


def test_a_node_stays_in_its_shard_whatever_the_machine() -> None:
    assert [in_shard("00ff00ff00ff00ff", (part, 7)) for part in range(1, 8)].index(True) == 0x00FF00FF00FF00FF % 7


WRONG = ["", "1", "1/", "/2", "0/2", "3/2", "-1/2", "1/0", "1.0/2", "a/b", "1/2/3", " 1/2", "\u0661/2", "1/9999999999"]


@pytest.mark.parametrize("text", WRONG)
def test_a_shard_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"wrong form|there is no part"):
        parse_shard(text)


@given(part=st.integers(-3, 12), parts=st.integers(-3, 12))
def test_only_parts_that_are_there_are_taken(part: int, parts: int) -> None:
    if 1 <= part <= parts:
        assert parse_shard(f"{part}/{parts}") == (part, parts)
    else:
        with pytest.raises(ConfigError):
            check_shard((part, parts))


# -- all together


class Nobody:
    """A backend that is not asked."""

    name, url, concurrency = "nobody", "nobody", 1

    async def aclose(self) -> None:
        pass

    async def complete(self, request: object) -> Completion:
        raise AssertionError


async def planned(root: Path, bundle: Path, **settings: object) -> list[str]:
    app = App.open(root)
    request = RunRequest([bundle], [root], **settings)
    plan = await app.plan(request, [app.bundle(bundle)], Nobody())
    return [task.node.qualified_name for task in plan.tasks]


@pytest.mark.parametrize("query", [False, True])
async def test_name_change_shard_and_limit_in_this_order(shop: Path, tmp_path: Path, query: bool) -> None:
    note = make_bundle(tmp_path / "note", MANIFEST)
    if query:
        manifest = MANIFEST.replace("types: [function, method]", "query: functions.scm")
        note = make_bundle(tmp_path / "query", manifest)
        (note / "functions.scm").write_text("(function_definition name: (identifier) @function.name) @function.def\n")
    text = "".join(f"def f{number}():\n    return {number}\n\n\n" for number in range(40))
    commit(shop, {"src/many.py": text})
    write(shop, {"src/many.py": text.replace("return 1", "yield 1")})
    everyone = [f"f{number}" for number in range(40)]
    touched = [name for name in everyone if name == "f1" or (name.startswith("f1") and len(name) == 3)]
    assert await planned(shop, note, changed_since="HEAD") == touched
    assert await planned(shop, note, changed_since="HEAD", nodes=["f1?"]) == touched[1:]
    halves = [await planned(shop, note, changed_since="HEAD", shard=(part, 2)) for part in (1, 2)]
    assert sorted(halves[0] + halves[1]) == sorted(touched)
    assert all(halves)
    assert await planned(shop, note, changed_since="HEAD", shard=(2, 2), limit=2) == halves[1][:2]
    assert (
        await planned(shop, note, nodes=["f[0-9]*"], shard=(1, 3), limit=3)
        == [name for name in await planned(shop, note, shard=(1, 3)) if name in everyone][:3]
    )
    with pytest.raises(ConfigError, match="there is no part 3 of 2"):
        await planned(shop, note, shard=(3, 2))


def test_the_command_line_says_in_one_line_what_is_wrong(shop: Path, bundle: Path) -> None:
    plan = ("run", bundle, "--target", ".", "--dry-run", "--base-url", "http://127.0.0.1:9/v1")
    write(shop, {"src/a.py": TWO.replace("return a", "return 0")})
    found = engine(*plan, "--changed-since", "HEAD", "--json", cwd=shop)
    assert [row["node"] for row in json.loads(found.stdout)["tasks"]] == ["first"]
    for options, words in {
        ("--changed-since", "--output=x"): "git knows no commit '--output=x'",
        ("--changed-since", "nothing"): "git log shows what there is",
        ("--shard", "5/4"): "there is no part 5 of 4: shards count from 1/4",
        ("--shard", "half"): "write 2/8 for the second of eight parts",
    }.items():
        refused = engine(*plan, *options, cwd=shop)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1), refused.stderr
        assert words in refused.stderr
