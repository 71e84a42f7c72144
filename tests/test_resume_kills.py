"""Runs that are ended at random points by signals, and gone on with until they are done."""

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from resume_parts import (
    Launcher,
    State,
    Trigger,
    check_databases,
    ends,
    events_of,
    kill_now_and_then,
    known,
    launcher,
    many_functions,
    state_of,
    two_turn_bundle,
    two_turns,
)
from scripted_server import scripted_server


class Bench:
    """What the tests of this module share: a server, a bundle, and what whole runs come to."""

    def __init__(self, folder: Path, start: Launcher, url: str, trigger: Trigger) -> None:
        self.folder, self.start, self.url, self.trigger = folder, start, url, trigger
        self.bundle = two_turn_bundle(folder / "note")
        self._whole: dict[bool, State] = {}

    def argv(self, project: Path, *, apply: bool) -> list[object]:
        common = ["run", self.bundle, "-t", project, "--project", project, "--base-url", self.url]
        return [*common, "--concurrency", "4", *(["--apply"] if apply else [])]

    def whole(self, *, apply: bool) -> State:
        if apply not in self._whole:
            project = many_functions(self.folder / f"whole-{apply}")
            code, printed = self.start.engine(*self.argv(project, apply=apply))
            assert code == 0, printed
            self._whole[apply] = state_of(project)
        return self._whole[apply]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder, trigger = tmp_path_factory.mktemp("kills"), Trigger()
    with scripted_server() as server, launcher(folder) as start:
        two_turns(server, trigger, pause=0.003)
        yield Bench(folder, start, server.api, trigger)


def compare(project: Path, expected: State) -> None:
    check_databases(project)
    found = state_of(project)
    assert found.tasks == expected.tasks
    assert found.changes == expected.changes
    assert found.files == expected.files
    assert found.summary == expected.summary
    assert set(ends(project).values()) == {1}
    offered = [(event["task_id"], event["file"]) for event in events_of(project) if event["type"] == "change:offered"]
    assert len(offered) == len(set(offered))


_kills: list[int] = []


@pytest.mark.parametrize("seed", range(5))
def test_what_is_killed_again_and_again_comes_to_the_same(seed: int, bench: Bench) -> None:
    apply = bool(seed % 2)
    project = many_functions(bench.folder / f"broken-{seed}")
    argv = bench.argv(project, apply=apply)
    codes = list(kill_now_and_then(bench.start, argv, project, bench.trigger, random.Random(seed), at_least=5))
    assert codes[-1] == 0, bench.start.printed
    _kills.append(sum(code < 0 or code == 130 for code in codes))
    compare(project, bench.whole(apply=apply))


def test_there_were_many_kills() -> None:
    if len(_kills) == 5:  # not where only some of the tests were chosen
        assert sum(_kills) >= 25


def test_a_run_that_is_killed_while_it_accepts_is_applied_once(bench: Bench) -> None:
    """Each file is written once, and what was written before the kill is not written again."""
    expected = bench.whole(apply=True)
    for seed in range(2):
        project = many_functions(bench.folder / f"accepting-{seed}")
        first = project / "src" / "m0.py"
        before = first.read_text()
        pid = bench.start.start(*bench.argv(project, apply=True))
        bench.start.kill_when(pid, lambda first=first, before=before: first.read_text() != before)
        assert bench.start.wait() == -9
        code, printed = bench.start.engine("resume", "--project", project)
        assert code == 0, printed
        compare(project, expected)


@pytest.mark.parametrize("apply", [False, True])
def test_a_log_whose_end_never_reached_the_disk(apply: bool, bench: Bench) -> None:
    """After a power cut SQLite's write-ahead log ends anywhere, also within a page; changes are synced at once."""
    killed = many_functions(bench.folder / f"dark-{apply}" / "killed")
    pid = bench.start.start(*bench.argv(killed, apply=apply))
    bench.trigger.set(90, lambda: os.kill(pid, signal.SIGKILL))
    assert bench.start.wait() == -9
    lengths = set()
    for seed in range(6):
        project = shutil.copytree(killed, killed.parent / str(seed))
        lengths.add(cut_log(project, random.Random(seed).uniform(0.1, 1)))
        command = ["resume", "--project", project] if known(project) else bench.argv(project, apply=apply)
        code, printed = bench.start.engine(*command)
        assert code == 0, printed
        compare(project, bench.whole(apply=apply))
    assert len(lengths) > 3


def cut_log(project: Path, share: float) -> int:
    """Keep a share of the log's write-ahead log; return how many events that leaves."""
    wal = project / ".engine" / "events.db-wal"
    (project / ".engine" / "events.db-shm").unlink()
    os.truncate(wal, int(wal.stat().st_size * share))
    return len(events_of(project)) if known(project) else 0
