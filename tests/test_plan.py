"""What a run is going to take: samples, past runs, prices, the cache; how --dry-run and each run's start say it."""

import contextlib
import json
import re
import shutil
import sqlite3
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from projects import MANIFEST, call, make_bundle, make_project
from scripted_server import ScriptedServer, fails
from test_cli import engine, run_bundle

from engine.app import App, RunRequest
from engine.app.planning import estimated
from engine.cli.plan_view import plan_lines
from engine.errors import PromptError
from engine.events import EventLog, LogReader, RunFinished, RunStarted, TaskFinished, TaskRow
from engine.kernel.prices import Prices
from engine.manifest.engine_model import Price
from engine.messages import Usage
from engine.run.cache import Hit
from engine.run.estimate import AT_ONCE, SAMPLE, Count, count, count_some, estimate, kind_of, sample
from engine.run.measured import Measured, measured

SETTINGS = {"backend": "openai", "model": None, "adapter": None}


def tasks_of(*kinds: tuple[str, str, int]) -> list[Any]:
    """Return stand-ins for tasks: only what an estimate looks at."""
    return [
        SimpleNamespace(
            task_id=f"{bundle}-{type_}-{number}",
            bundle=SimpleNamespace(name=bundle),
            assignment=SimpleNamespace(operation=""),
            node=SimpleNamespace(type=type_),
        )
        for bundle, type_, size in kinds
        for number in range(size)
    ]


def plan_of(tasks: list[Any], cached: dict[str, Hit] | None = None) -> Any:
    return SimpleNamespace(tasks=tuple(tasks), cached=cached or {})


# -- samples

KINDS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["function", "method", "class"]), st.integers(1, 90)),
    min_size=1,
    max_size=9,
    unique_by=lambda kind: kind[:2],
)


@given(KINDS, st.integers(1, 60))
def test_a_sample_is_bounded_and_has_some_of_each_kind(kinds: list[tuple[str, str, int]], most: int) -> None:
    tasks = tasks_of(*kinds)
    chosen = sample(tasks, most)
    assert len(chosen) <= most
    assert len({task.task_id for task in chosen}) == len(chosen)
    assert [task.task_id for task in sample(tasks, most)] == [task.task_id for task in chosen]
    if most >= len(kinds):
        assert {kind_of(task) for task in chosen} == {kind_of(task) for task in tasks}
    if len(tasks) <= most // len(kinds):
        assert {task.task_id for task in chosen} == {task.task_id for task in tasks}


class Renders:
    """Renders tasks, and sees how many at once."""

    def __init__(self, *, exact: bool = True, breaks: str = "", hangs: str = "") -> None:
        self.exact, self.breaks, self.hangs = exact, breaks, hangs
        self.now = self.most = 0
        self.asked: list[bool] = []

    async def render(self, task: Any, *, ask: bool = True) -> Any:
        import asyncio

        self.asked.append(ask)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(60 if task.task_id == self.hangs else 0)
        self.now -= 1
        if task.task_id == self.breaks:
            raise PromptError("the prompt breaks")
        return SimpleNamespace(tokens=10, exact=self.exact and ask, adapter=None, model="m")


async def test_all_prompts_are_counted_some_at_once() -> None:
    tasks, renders = tasks_of(("a", "function", 500)), Renders()
    counts = await count(tasks, renders)  # type: ignore[arg-type]
    assert set(counts) == {task.task_id for task in tasks}
    assert 1 < renders.most <= AT_ONCE
    assert await count([], renders) == {}  # type: ignore[arg-type]


async def test_a_server_that_cannot_count_is_asked_once() -> None:
    renders = Renders(exact=False)
    await count(tasks_of(("a", "function", 20)), renders)  # type: ignore[arg-type]
    assert renders.asked == [True] + [False] * 19


async def test_a_prompt_that_breaks_is_told_of_in_a_plan_and_left_out_of_a_sample() -> None:
    tasks = tasks_of(("a", "function", 20))
    for breaks in ("a-function-0", "a-function-7"):
        renders: Any = Renders(breaks=breaks)
        with pytest.raises(PromptError, match="the prompt breaks"):
            await count(tasks, renders)
        assert len(await count_some(tasks, renders)) == 19


async def test_a_sample_is_counted_as_far_as_there_is_time() -> None:
    tasks = tasks_of(("a", "function", 40))
    slow: Any = Renders(hangs="a-function-7")
    assert len(await count_some(tasks, slow, seconds=0.5)) == 39
    stuck: Any = Renders(hangs="a-function-0")
    assert await count_some(tasks, stuck, seconds=0.1) == {}


# -- sums


def known(mean: float = 2.0, **more: Any) -> Measured:
    values = {"median": mean, "prompt_tokens": 1000, "completion_tokens": 100, "concurrency": 4, "at_once": 4.0} | more
    return Measured("r", 10, mean=mean, **values)


@given(KINDS, st.data())
def test_kinds_add_up_and_what_is_cached_takes_nothing(kinds: list[tuple[str, str, int]], data: st.DataObject) -> None:
    tasks = tasks_of(*kinds)
    cached = data.draw(st.sets(st.sampled_from([task.task_id for task in tasks])))
    hits = {one: Hit("k", 1, Usage(5, 2), 1.0, 0.0) for one in cached}
    fresh = [task for task in tasks if task.task_id not in cached]
    counts = {task.task_id: Count(7, True, None, "m") for task in fresh}
    everything = {name: known() for name, *_ in kinds}
    found = estimate(plan_of(tasks, hits), counts, everything, concurrency=4, prices=Prices({}))
    assert sum(group.tasks for group in found.groups) == found.tasks == len(tasks)
    assert sum(group.cached for group in found.groups) == found.cached == len(cached)
    assert found.saved.total_tokens == 7 * len(cached)
    assert found.prompt_tokens == 7 * len(fresh)
    assert found.complete
    assert found.seconds == pytest.approx(len(fresh) * 2.0 / 4)
    assert (found.cost is None) == bool(fresh)
    assert plan_lines(found, 4)[0].startswith("plan: ")


def test_a_sample_stands_for_the_others_of_its_kind() -> None:
    tasks = tasks_of(("a", "function", 1000), ("a", "class", 10))
    counts = {"a-function-0": Count(10, True, None, "m"), "a-function-1": Count(20, True, None, "m")}
    found = estimate(plan_of(tasks), counts, {}, concurrency=4, prices=Prices({}))
    assert (found.prompt_tokens, found.complete) == (None, False)
    counts["a-class-0"] = Count(100, True, None, "m")
    found = estimate(plan_of(tasks), counts, {}, concurrency=4, prices=Prices({}))
    assert found.prompt_tokens == 16_000
    plan, time = plan_lines(found, 4)
    assert plan.startswith("plan: 10 of a on class, 1000 of a on function; about 16.0k prompt tokens in the ")
    assert plan.endswith(" first turns (3 of 1010 counted)")
    assert time == "time: unknown until the first tasks are done"


def test_the_cost_follows_from_what_tasks_used_and_the_price_of_who_answers() -> None:
    tasks = tasks_of(("a", "function", 10))
    prices = Prices({"m": Price(prompt=1.0, completion=10.0), "docs": Price(prompt=2.0, completion=10.0)})
    for adapter, model, cost in ((None, "m", 0.02), ("docs", "m", 0.03), (None, "other", None)):
        counts = {"a-function-0": Count(7, True, adapter, model)}
        found = estimate(plan_of(tasks), counts, {"a": known()}, concurrency=4, prices=prices)
        assert found.cost == (pytest.approx(cost) if cost else None)
    assert estimate(plan_of(tasks), counts, {}, concurrency=4, prices=prices).cost is None


@pytest.mark.parametrize(
    ("then", "ran", "now", "expected"),
    [(4, 4.0, 4, 4.0), (4, 4.0, 8, 8.0), (8, 2.0, 4, 1.0), (8, 2.0, 16, 4.0), (None, 3.0, 2, 2.0), (4, 1.0, 1, 1.0)],
)
def test_as_many_tasks_run_at_once_as_did_of_those_allowed(
    then: int | None, ran: float, now: int, expected: float
) -> None:
    assert known(concurrency=then, at_once=ran).expected_at_once(now) == expected


# -- past runs


def write_run(log: EventLog, run_id: str, seconds: list[float], *, elapsed: float, **settings: Any) -> None:
    used = SETTINGS | {"concurrency": 4} | settings
    log.append(RunStarted(run_id=run_id, bundles=("note",), targets=(), settings=used))
    for number, took in enumerate(seconds):
        who = {"task_id": f"t{number}", "bundle": "note", "node_id": "n", "node": "n", "file": "f", "line": 1}
        log.append(
            TaskFinished(run_id=run_id, **who, outcome="finished", reason="x", seconds=took, usage=Usage(100, 20))
        )
    log.append(
        RunFinished(
            run_id=run_id, status="finished", finished=len(seconds), failed=0, stopped=0, changes=0, seconds=elapsed
        )
    )


def test_the_newest_run_that_is_alike_is_measured(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.db") as log:
        write_run(log, "old", [9.0], elapsed=9)
        write_run(log, "alike", [1.0, 2.0, 6.0, 3.0], elapsed=6)
        write_run(log, "other", [5.0], elapsed=5, model="big")
        log.append(RunStarted(run_id="empty", bundles=("note",), targets=(), settings=SETTINGS))
        log.plan([TaskRow("empty", "t", 0, "note", "", "n", "n", "function", "f", 1)])
        log.flush()
        with LogReader(log.path) as reader:
            found = measured(reader, {"note", "never"}, SETTINGS)
            assert measured(reader, {"note"}, SETTINGS | {"model": "big"})["note"].run_id == "other"
            assert measured(reader, {"note"}, SETTINGS | {"model": "none"}) == {}
    assert found == {"note": Measured("alike", 4, 2.5, 3.0, 100, 20, 4, 2.0)}
    assert found["note"].tokens_per_second == pytest.approx(80 / 6)


@pytest.mark.parametrize("odd", [None, "x", 5, ["x"], {"concurrency": "many", **SETTINGS}])
def test_a_log_that_somebody_else_wrote_breaks_no_plan(tmp_path: Path, odd: Any) -> None:
    with EventLog(tmp_path / "events.db") as log:
        write_run(log, "r", [1.0, 3.0], elapsed=2)
        log.flush()
        with contextlib.closing(sqlite3.connect(log.path)) as database, database:
            summary = {"bundles": ["note", odd], "settings": odd, "seconds": odd, "finished": odd, "cached": odd}
            database.execute("UPDATE runs SET summary = ?", [json.dumps(summary)])
        with LogReader(log.path) as reader:
            found = measured(reader, {"note"}, SETTINGS)
    assert {name: (one.concurrency, one.at_once) for name, one in found.items()} in ({}, {"note": (None, 1.0)})


def test_without_a_log_nothing_is_known(tmp_path: Path) -> None:
    with LogReader(tmp_path / "events.db") as reader:
        assert measured(reader, {"note"}, SETTINGS) == {}


# -- what is said


def test_the_second_run_knows_how_long_the_first_took(bundle: Path, project: Path, server: ScriptedServer) -> None:
    first = run_bundle(bundle, project, server, "--concurrency", "2")
    assert "plan: 2 of note on function, 1 of note on method; 628 prompt tokens (estimated: no" in first.stderr
    assert "time: unknown until the first tasks are done\n3 tasks on 3 nodes" in first.stderr
    run_id = re.findall(r"run (\S+):", first.stdout)[0]
    again = run_bundle(bundle, project, server, "--dry-run", "--no-cache")
    assert re.search(rf"time: about \d.*, \d+ at once \(median .* tokens/s 2 at once in run {run_id}\)", again.stdout)
    found = json.loads(run_bundle(bundle, project, server, "--dry-run", "--no-cache", "--json").stdout)
    assert found["measured"]["note"]["run_id"] == run_id
    assert found["seconds"] > 0
    assert found["groups"] == [
        {"operation": "", "bundle": "note", "type": type_, "tasks": tasks, "cached": 0, "prompt_tokens": tokens}
        for type_, tasks, tokens in (("function", 2, 417), ("method", 1, 211))
    ]
    assert [row["prompt_tokens"] for row in found["tasks"]] == [208, 209, 211]


def test_what_the_cache_has_is_said_before_and_after(bundle: Path, project: Path, server: ScriptedServer) -> None:
    run_bundle(bundle, project, server)
    engine("reject", cwd=project)
    (project / "src/b.py").write_text("def fourth():\n    pass\n")
    plan = run_bundle(bundle, project, server, "--dry-run")
    assert plan.stdout.count("  cached\n") == 3
    assert "cache: 3 of 4 tasks, 30 tokens saved" in plan.stdout
    again = run_bundle(bundle, project, server)
    assert "cache: 3 of 4 tasks, 30 tokens saved" in again.stderr
    assert again.stderr.count("(from the cache)") == 3
    assert "4 finished (3 from the cache); 4 changes offered; 10 tokens (30 saved by the cache); " in again.stdout


def test_a_run_that_is_gone_on_with_says_what_all_its_parts_saved(
    bundle: Path, project: Path, server: ScriptedServer
) -> None:
    run_bundle(bundle, project, server)
    (project / "src/b.py").write_text("def fourth():\n    pass\n")
    ended = run_bundle(bundle, project, server, "--budget", "tokens=1")
    assert "3 finished (3 from the cache), 1 stopped" in ended.stdout
    again = engine("resume", "--budget", "tokens=9000", cwd=project)
    assert "4 finished (3 from the cache); 4 changes offered; 10 tokens (30 saved by the cache); " in again.stdout


def test_of_many_tasks_only_the_first_are_listed(bundle: Path, tmp_path: Path, server: ScriptedServer) -> None:
    text = "".join(f"def f{number}():\n    return {number}\n\n\n" for number in range(60))
    project = make_project(tmp_path / "many", {"src/a.py": text})
    short, whole = (run_bundle(bundle, project, server, "--dry-run", *more).stdout for more in ((), ("--all",)))
    assert len(re.findall(r"^note  src/a\.py:", short, re.MULTILINE)) == 50
    assert "and 10 more: --all lists them\n60 tasks: 60 of note on function; " in short
    assert len(re.findall(r"^note  src/a\.py:", whole, re.MULTILINE)) == 60
    found = json.loads(run_bundle(bundle, project, server, "--dry-run", "--json").stdout)
    assert len(found["tasks"]) == 60


def test_quiet_runs_count_nothing(bundle: Path, project: Path, server: ScriptedServer) -> None:
    server.routes["/tokenize"] = {"count": 12, "max_model_len": 4096, "tokens": [1] * 12}
    options = ("run", bundle, "--target", "src", "--base-url", server.api)
    ran = engine("-q", *options, cwd=project)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "3 finished; 3 changes offered; " in ran.stdout
    counted = [request.path for request in server.requests]
    assert "/tokenize" not in counted
    said = engine(*options, "--no-cache", cwd=project)
    assert "; 36 prompt tokens in the first turns" in said.stderr
    assert Counter(request.path for request in server.requests)["/tokenize"] >= 3


def test_a_run_that_takes_no_node_says_so_and_counts_nothing(
    bundle: Path, project: Path, server: ScriptedServer
) -> None:
    ran = run_bundle(bundle, project, server, "--node", "nothing")
    assert (ran.returncode, "plan:" in ran.stderr) == (0, False)
    assert "0 tasks on " in ran.stderr
    assert "0 tasks; 0 prompt tokens" in run_bundle(bundle, project, server, "--node", "nothing", "--dry-run").stdout


def test_the_end_says_what_to_do_next(tmp_path: Path, project: Path, server: ScriptedServer) -> None:
    bundle = make_bundle(tmp_path / "note", MANIFEST + "limits: {tokens: 100000}\n")
    server.text = lambda body: "no" if "def second" in json.dumps(body) else call("does it")
    ran = run_bundle(bundle, project, server)
    assert (ran.returncode, ran.stdout.count("\n")) == (1, 3)
    assert "2 finished, 1 failed; 2 changes offered; 30 tokens; " in ran.stdout
    assert "look: engine diff    decide: engine review    take: engine accept    drop: engine reject" in ran.stdout
    assert "what failed: engine show --state failed" in ran.stdout
    shutil.rmtree(project / ".engine")
    server.chat = [fails(500)] * 200
    failed = run_bundle(bundle, project, server, "--limit", "1")
    assert failed.returncode == 1
    assert "look:" not in failed.stdout


async def test_a_plan_of_ten_thousand_tasks_is_sampled(bundle: Path, tmp_path: Path, server: ScriptedServer) -> None:
    text = "".join(f"def f{number}():\n    return {number}\n" for number in range(500))
    project = make_project(tmp_path / "many", {f"m{number}.py": text for number in range(4)})
    app = App.open(project)
    async with app.session(RunRequest([bundle], [project], base_url=server.api)) as session:
        counts = await count_some(session.plan.tasks, session, seconds=60)
        found = await estimated(app, session, counts)
    assert (len(session.plan.tasks), len(counts), found.complete) == (2000, SAMPLE, False)
    assert found.prompt_tokens == pytest.approx(2000 * 205, rel=0.05)
