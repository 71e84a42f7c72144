"""`engine cache` and `engine run --no-cache`, as a person uses them."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from projects import SOURCE
from scripted_server import ScriptedServer

from engine.cli import main
from engine.cli.cache import parse_size, shown_size
from engine.errors import ConfigError

Engine = Callable[..., SimpleNamespace]


@pytest.fixture
def engine(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Engine:
    """The command, in this process: its exit code and what it printed."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*argv: object) -> SimpleNamespace:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(one) for one in argv])
        shown = capsys.readouterr()
        return SimpleNamespace(returncode=ended.value.code, stdout=shown.out, stderr=shown.err)

    return run


@pytest.fixture
def run_bundle(engine: Engine, bundle: Path, server: ScriptedServer) -> Engine:
    """`engine run` of the bundle on the project's file."""
    return lambda *more: engine("run", bundle, "-t", "src/a.py", "--base-url", server.api, *more)


def rows(project: Path) -> list[tuple[str, str]]:
    """Return the task and the key of each entry."""
    database = sqlite3.connect(project / ".engine/cache.db")
    found = database.execute("SELECT task_id, key FROM entries ORDER BY id").fetchall()
    database.close()
    return found


def test_a_second_run_says_what_it_saved(run_bundle, server) -> None:
    run_bundle()
    asked = len(server.bodies)
    shown = run_bundle()
    assert len(server.bodies) == asked
    assert "3 finished (3 from the cache)" in shown.stdout
    assert "30 saved by the cache" in shown.stdout
    again = run_bundle("--no-cache")
    assert "cache" not in again.stdout
    assert len(server.bodies) == asked + 3
    events = [json.loads(line) for line in run_bundle("--json").stdout.splitlines()]
    assert (events[-1]["cached"], events[-1]["usage"]["prompt_tokens"]) == (3, 0)
    ended = [event for event in events if event["type"] == "task:finished"]
    assert {(event["cached"], event["usage"]["prompt_tokens"]) for event in ended} == {(True, 7)}


def test_a_dry_run_says_what_the_cache_has_also_while_the_server_is_down(engine, run_bundle, bundle, server) -> None:
    run_bundle()
    argv = ("run", bundle, "-t", "src/a.py", "--dry-run", "--base-url")
    assert "cache: 3 of 3 tasks" in engine(*argv, server.api).stdout
    down = engine(*argv, "http://127.0.0.1:9/v1")
    assert (down.returncode, "cache:" in down.stdout) == (0, False)


def test_the_size_and_the_hits_are_shown(engine, run_bundle) -> None:
    assert engine("cache").stdout.startswith("0 results in ")
    run_bundle()
    run_bundle()
    shown = engine("cache")
    assert shown.stdout.startswith("3 results in ")
    assert "note  3 results, taken 3 times, 30 tokens saved\n" in shown.stdout
    found = json.loads(engine("cache", "--json").stdout)
    assert found["bundles"] == {"note": {"entries": 3, "hits": 3, "saved_tokens": 30}}
    assert found["entries"] == 3
    assert found["size"] > 10_000


def test_results_can_be_removed(engine, run_bundle, project) -> None:
    assert engine("cache", "prune").stdout == "0 results removed; 0 left, 0 bytes\n"
    run_bundle()
    assert engine("cache", "prune", "--older-than", "1").stdout.startswith("0 results removed; 3 left, ")
    assert engine("cache", "prune", "--max-size", "0").stdout.startswith("3 results removed; 0 left, ")
    wrong = engine("cache", "prune", "--max-size", "lots")
    assert (wrong.returncode, "write one such as 200MiB" in wrong.stderr) == (2, True)
    assert engine("cache", "clear").stdout.startswith("the cache is empty; ")
    assert not (project / ".engine/cache.db").exists()


def test_why_names_what_differs(engine, run_bundle, bundle, project) -> None:
    run_bundle()
    why = ("cache", "why", "src/a.py::second")
    same = engine(*why)
    assert (same.returncode, same.stdout.splitlines()[0]) == (
        0,
        "src/a.py::second with note: the cache has a result that holds",
    )
    (project / "src/a.py").write_text(SOURCE.replace("return b", "return b * 2"))
    (bundle / "prompts/user.md.j2").write_text("Comment {{ node.name }} briefly:\n\n{{ node.text }}\n")
    (bundle / "prompts/more.md.j2").write_text("unused")
    manifest = (bundle / "bundle.yaml").read_text()
    (bundle / "bundle.yaml").write_text(manifest.replace("max_tokens: 80", "max_tokens: 90"))
    found = engine(*why, "--seed", "3")
    assert found.returncode == 1
    lines = found.stdout.splitlines()
    assert lines[1:5] == [
        "  bundle file prompts/more.md.j2: nothing → there",
        "  bundle file prompts/user.md.j2 changed",
        "  bundle.yaml model.sampling.max_tokens: 80 → 90",
        "  seed: null → 3",
    ]
    assert lines[5:10] == [
        "  node text changed",
        "    @@ -1,2 +1,2 @@",
        "     def second(b):",
        "    -    return b",
        "    +    return b * 2",
    ]
    (answer,) = json.loads(engine(*why, "--json").stdout)
    assert (answer["verdict"], len(answer["differences"])) == ("miss", 4)


def test_why_knows_tasks_and_keys(engine, run_bundle, project, server) -> None:
    run_bundle()
    task, key = rows(project)[0]
    assert "the cache has a result that holds" in engine("cache", "why", task).stdout
    alone = engine("cache", "why", key[:12])
    assert alone.returncode == 1
    assert "this result is kept; compared with the nearest other one, this differs:\n" in alone.stdout
    server.models = [{"id": "n", "owned_by": "vllm"}]
    assert "  model: m → n\n" in engine("cache", "why", task).stdout
    run_bundle()
    second = next(found for name, found in rows(project)[3:] if name == task)
    assert "  model: m → n\n" in engine("cache", "why", second[:12]).stdout


def test_why_of_what_never_ran(engine, run_bundle, bundle, server) -> None:
    why = ("cache", "why", "src/a.py::second")
    nothing = engine(*why)
    assert (nothing.returncode, "name the bundle with --bundle" in nothing.stderr) == (2, True)
    given = ("--bundle", bundle, "--base-url", server.api)
    assert "the cache has no result of this bundle" in engine(*why, *given).stdout
    run_bundle("--node", "first")
    other = engine(*why, *given)
    assert "  node: src/a.py::first → src/a.py::second with note\n" in other.stdout
    assert "no such node" in engine("cache", "why", "src/a.py::nowhere", *given).stderr
    unknown = engine("cache", "why", "0123456789")
    assert (unknown.returncode, "knows no task and no key" in unknown.stderr) == (2, True)


@pytest.mark.parametrize("verb", [(), ("prune",), ("why", "0123456789")])
def test_a_damaged_file_is_one_line_with_the_way_out(engine, project, verb) -> None:
    (project / ".engine").mkdir()
    (project / ".engine/cache.db").write_bytes(b"garbage" * 500)
    found = engine("cache", *verb)
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert "engine cache clear" in found.stderr
    assert engine("cache", "clear").returncode == 0
    assert engine("cache").returncode == 0


def test_sizes() -> None:
    assert [parse_size(text) for text in ("12", "2KiB", "1.5 MB", "1GiB")] == [12, 2048, 1_500_000, 1 << 30]
    assert [shown_size(size) for size in (5, 2048, 3 << 20, 5 << 30)] == ["5 bytes", "2.0 KiB", "3.0 MiB", "5.0 GiB"]
    for text in ("", "x", "-1", "1 parsec"):
        with pytest.raises(ConfigError, match="is no size"):
            parse_size(text)
