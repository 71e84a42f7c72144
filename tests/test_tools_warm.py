"""The type checker that stays warm finds what the other finds, and outlives its workers."""

import os
import signal
from pathlib import Path

import pytest
from processes import descendants, wait_until_gone
from test_tools_checker import PYM, parsed, scripts_of

from engine.bundle.cache import FindingsCache, RecentFindings
from engine.diagnostics import Diagnostic, Span
from engine.tools import ScriptChecker, WarmChecker


def workers(before: set) -> set:
    return descendants(os.getpid()) - before


def test_it_finds_what_a_cold_one_finds(tmp_path) -> None:
    scripts = [*scripts_of(6), *(parsed(path.read_text(), str(path)) for path in sorted(PYM.glob("*.pym")))]
    scripts += [
        parsed("return 1\n1\n", "r.pym"),
        parsed("async def f(é):\n    return [i async for i in é]\nf\n", "a.pym"),
    ]
    expected = ScriptChecker().check(scripts)
    with WarmChecker(tmp_path) as checker:
        assert {file: items for script in scripts for file, items in checker.check([script]).items()} == expected
        assert checker.check(scripts) == expected
    assert ScriptChecker(tmp_path).check(scripts) == expected


def test_its_workers_stay_and_go_with_it() -> None:
    before = descendants(os.getpid())
    with WarmChecker() as checker:
        checker.check(scripts_of(1))
        first = workers(before)
        assert len(first) == 1
        for script in scripts_of(30)[1:]:
            checker.check([script])
        assert workers(before) == first
    assert wait_until_gone(first) == set()


@pytest.mark.parametrize("good", [True, False])
def test_a_worker_that_dies_is_replaced(good) -> None:
    before = descendants(os.getpid())
    with WarmChecker() as checker:
        for number in range(4):
            script = parsed(f"x = {number}\nx\n" if good else f"nope{number}\n")
            found = [item.message for item in checker.check([script])[script.file]]
            assert found == ([] if good else [f"Name `nope{number}` used when not defined (unresolved-reference)"])
            for pid, _ in workers(before):
                os.kill(pid, signal.SIGKILL)
            if number % 2:
                checker.flush()


def test_what_is_new_is_written_with_flush(tmp_path) -> None:
    scripts = scripts_of(2)
    with WarmChecker(tmp_path) as checker:
        checker.check(scripts)
        assert list(tmp_path.iterdir()) in ([], [tmp_path / "script-checks.sqlite3"])
        assert ScriptChecker(tmp_path)._load(list(checker._known)) == {}
        checker.flush()
        assert ScriptChecker(tmp_path)._load(list(checker._known)) == dict(checker._known)


@pytest.mark.parametrize("on_disk", [True, False])
def test_recent_findings_are_those_that_were_stored(tmp_path, on_disk) -> None:
    found = {"a": (Diagnostic("G003", "wrong", Span("bundle.yaml")),), "b": ()}
    recent = RecentFindings(tmp_path, on_disk=on_disk)
    recent.store(found)
    for path in Path(tmp_path).iterdir():
        assert on_disk
        path.write_bytes(b"")  # memory is enough
    assert recent.load(["a", "b", "c"]) == found
    recent.store(found)
    assert FindingsCache(tmp_path).load(["a", "b"]) == (found if on_disk else {})
    assert RecentFindings(tmp_path, on_disk=on_disk).load(["a", "b"]) == (found if on_disk else {})
