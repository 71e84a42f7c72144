"""The schedule of a run: each task once, priorities, turns, groups, dependencies, what a failure means."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from projects import MANIFEST, make_bundle

import engine
from engine.discovery import CodeNode
from engine.events import TaskRow
from engine.run import Assignment, Task
from engine.run.schedule import Timetable
from engine.run.schedule.dependencies import dependencies, predecessors
from engine.run.schedule.order import Order, Place
from engine.run.task import TaskResult

ADAPTERS = "adapters: {red: {name: red}, blue: {name: blue}}\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A bundle with two adapters."""
    manifest = MANIFEST.replace("tools:\n", ADAPTERS + "tools:\n", 1)
    return engine.load_bundle(make_bundle(tmp_path_factory.mktemp("bundles") / "b", manifest))


def node(name: str, start: int = 0, end: int = 10, file: str = "a.py", text: str = "def f(): ...") -> CodeNode:
    return CodeNode(
        f"{file}:{name}", "function", name, name, "python", file, text, None, start + 1, end + 1, start, end
    )


def task(assignment: Assignment, one: CodeNode) -> Task:
    return Task(f"{assignment.name}-{one.node_id}", assignment, one)


def operation(bundle: Any, name: str, **settings: Any) -> Assignment:
    return Assignment(bundle, bundle.get_plugin(), operation=name, **settings)


async def drain(
    table: Timetable, outcome: Callable[[Task], str] = lambda _: "finished", seed: int = 0
) -> tuple[list[str], dict[str, str], int]:
    """Run a timetable: tasks end in a random order. Returns the ids as started, all outcomes, the most at once."""
    chance, running, most = random.Random(seed), list[Task](), 0
    started: list[str] = []
    outcomes = {one.task.task_id: one.outcome for one in table.begin()}

    def end() -> None:
        one = running.pop(chance.randrange(len(running)))
        assert one.task_id not in outcomes
        outcomes[one.task_id] = outcome(one)
        for other in table.ended(TaskResult(one, outcomes[one.task_id], "x")):
            assert other.task.task_id not in outcomes
            outcomes[other.task.task_id] = other.outcome

    async with asyncio.timeout(20):
        while True:
            coming = asyncio.ensure_future(table.next())
            await asyncio.sleep(0)
            while not coming.done():
                end()
                await asyncio.sleep(0)
            got = coming.result()
            if got is None:
                break
            running.append(got)
            started.append(got.task_id)
            most = max(most, len(running))
            if chance.random() < 0.3:
                end()
        while running:
            end()
    return started, outcomes, most


PLANS = st.lists(
    st.tuples(
        st.sampled_from(["high", "normal", "low"]),
        st.sampled_from([None, "red", "blue"]),
        st.sets(st.integers(0, 4)),
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(1, 8)), max_size=12),
    ),
    min_size=1,
    max_size=5,
)


def planned(bundle: Any, plan: list[Any]) -> list[Task]:
    """Make operations, of which each may come after earlier ones, with tasks on nested nodes of three files."""
    tasks: dict[str, Task] = {}
    for number, (priority, adapter, after, spans) in enumerate(plan):
        names = tuple(f"op{other}" for other in sorted(after) if other < number)
        one = operation(bundle, f"op{number}", priority=priority, adapter=adapter, after=names)
        for file, start, length in spans:
            # Spans that are inside each other or apart, as those of a syntax tree.
            width = 16 if length == 8 else 4 if length > 4 else 1
            begin = start // width * width
            made = task(one, node(f"n{begin}-{width}", begin, begin + width, f"f{file}.py"))
            tasks[made.task_id] = made
    return list(tasks.values())


def waits(tasks: Sequence[Task]) -> set[tuple[str, str]]:
    """The pairs (first, then) that hold, found the plain way."""
    after = {one.assignment.operation: set(one.assignment.after) for one in tasks}

    def before(name: str) -> set[str]:
        return after.get(name, set()) | {far for near in after.get(name, ()) for far in before(near)}

    def meet(one: CodeNode, other: CodeNode) -> bool:
        same_file = one.file_path == other.file_path
        return same_file and one.start_byte < other.end_byte and other.start_byte < one.end_byte

    return {
        (first.task_id, then.task_id)
        for then in tasks
        for first in tasks
        if first.assignment.operation in before(then.assignment.operation) and meet(first.node, then.node)
    }


def test_every_task_comes_once_and_after_those_it_waits_for(bundle: Any) -> None:
    @given(plan=PLANS, limit=st.integers(1, 6), seed=st.integers(0, 9))
    @settings(max_examples=150, deadline=None)
    def check(plan: list[Any], limit: int, seed: int) -> None:
        tasks = planned(bundle, plan)
        ended: list[str] = []
        pairs = waits(tasks)

        def outcome(one: Task) -> str:
            ended.append(one.task_id)
            return "finished"

        started, outcomes, most = asyncio.run(drain(Timetable(tasks, limit), outcome, seed))
        assert Counter(started) == Counter(one.task_id for one in tasks)
        assert set(outcomes.values()) <= {"finished"}
        assert most <= limit
        place = {name: at for at, name in enumerate(ended)}
        assert [pair for pair in pairs if place[pair[0]] > place[pair[1]]] == []

    check()


def test_the_dependencies_are_those_found_the_plain_way(bundle: Any) -> None:
    @given(plan=PLANS)
    @settings(max_examples=200, deadline=None)
    def check(plan: list[Any]) -> None:
        tasks = planned(bundle, plan)
        # An operation without tasks has no part in the plan, so it hands nothing on.
        kept = {one.assignment.operation for one in tasks}
        tasks = [replace(one, assignment=_without(one.assignment, kept)) for one in tasks]
        found = dependencies(tasks, predecessors([one.assignment for one in tasks]))
        named = [(tasks[first].task_id, tasks[then].task_id) for first, then in found]
        assert len(named) == len(set(named))
        assert set(named) == waits(tasks)

    check()


def _without(assignment: Assignment, kept: set[str]) -> Assignment:
    return replace(assignment, after=tuple(name for name in assignment.after if name in kept))


def test_a_failure_skips_what_comes_after_and_nothing_else(bundle: Any) -> None:
    @given(plan=PLANS, limit=st.integers(1, 6), seed=st.integers(0, 9), bad=st.sets(st.integers(0, 40)))
    @settings(max_examples=150, deadline=None)
    def check(plan: list[Any], limit: int, seed: int, bad: set[int]) -> None:
        tasks = planned(bundle, plan)
        pairs = waits(tasks)
        failing = {tasks[at].task_id for at in bad if at < len(tasks)}
        _, outcomes, _ = asyncio.run(
            drain(Timetable(tasks, limit), lambda one: "failed" if one.task_id in failing else "finished", seed)
        )
        assert outcomes.keys() == {one.task_id for one in tasks}
        lost: set[str] = set()
        for one in sorted(tasks, key=lambda each: each.assignment.operation):
            mine = {first for first, then in pairs if then == one.task_id}
            skipped = bool(mine & lost)
            assert (outcomes[one.task_id] == "skipped") == skipped
            if skipped or one.task_id in failing:
                lost.add(one.task_id)

    check()


def test_continue_runs_what_comes_after_a_failure(bundle: Any) -> None:
    first, then = operation(bundle, "a"), operation(bundle, "b", after=("a",))
    tasks = [task(then, node("f")), task(first, node("f"))]
    _, outcomes, _ = asyncio.run(drain(Timetable(tasks, 4, on_failure="continue"), lambda one: "failed"))
    assert outcomes == {"a-a.py:f": "failed", "b-a.py:f": "failed"}


def test_stop_hands_out_nothing_more_and_says_why(bundle: Any) -> None:
    one = operation(bundle, "a")
    tasks = [task(one, node(f"f{n}", n * 10, n * 10 + 5)) for n in range(20)]
    table = Timetable(tasks, 1, on_failure="stop")
    started, outcomes, _ = asyncio.run(drain(table, lambda each: "failed" if each.node.name == "f3" else "finished"))
    assert started == [f"a-a.py:f{n}" for n in range(4)]
    assert list(outcomes.values()) == ["finished"] * 3 + ["failed"]
    assert table.stopped == "task a-a.py:f3 (f3) failed"


def test_the_reason_of_a_skipped_task_names_the_one_that_failed(bundle: Any) -> None:
    chain = [operation(bundle, "a"), operation(bundle, "b", after=("a",)), operation(bundle, "c", after=("b",))]
    table = Timetable([task(one, node("f")) for one in chain], 2)

    async def run() -> Sequence[TaskResult]:
        table.begin()
        got = await table.next()
        assert got is not None
        return table.ended(TaskResult(got, "failed", "error"))

    skipped = asyncio.run(run())
    assert [(one.task.assignment.name, one.outcome, one.reason) for one in skipped] == [
        ("b", "skipped", "after"),
        ("c", "skipped", "after"),
    ]
    assert {one.error for one in skipped} == {"it comes after a-a.py:f, which failed"}


@pytest.mark.parametrize("policy", ["skip_dependents", "continue", "stop"])
async def test_what_comes_after_a_task_that_is_left_to_do_stays_planned(bundle: Any, policy: Any) -> None:
    """A task that ended with the run and not by itself is gone on with later, and so is what comes after it."""
    chain = [operation(bundle, "a"), operation(bundle, "b", after=("a",)), operation(bundle, "c", after=("b",))]
    table = Timetable([task(one, node("f")) for one in chain], 2, on_failure=policy)
    table.begin()
    first = await table.next()
    assert first is not None
    assert table.ended(TaskResult(first, "stopped", "server")) == ()
    async with asyncio.timeout(5):
        assert await table.next() is None
    assert table.stopped == ""


def row(one: Task, state: str) -> TaskRow:
    """The row of a task in the log."""
    node = one.node
    name = one.assignment.operation
    return TaskRow(
        "r", one.task_id, 0, "note", name, node.node_id, node.qualified_name, node.type, node.file_path, 1, state
    )


def test_tasks_of_an_earlier_part_count(bundle: Any) -> None:
    first, then = operation(bundle, "a"), operation(bundle, "b", after=("a",))
    nodes = [node(name, at * 10, at * 10 + 5) for at, name in enumerate(["f", "K", "K.m", "Ko"])]
    tasks = {one.task_id: one for each in nodes for one in (task(first, each), task(then, each))}
    states = {"a-a.py:f": "finished", "a-a.py:K": "failed", "a-a.py:K.m": "finished"}
    rows = [row(tasks[task_id], state) for task_id, state in states.items()]
    left = [one for task_id, one in tasks.items() if task_id not in states]
    started, outcomes, _ = asyncio.run(drain(Timetable(left, 3, earlier=lambda: rows)))
    assert sorted(started) == ["a-a.py:Ko", "b-a.py:Ko", "b-a.py:f"]
    assert {name for name, outcome in outcomes.items() if outcome == "skipped"} == {"b-a.py:K", "b-a.py:K.m"}
    started, _, _ = asyncio.run(drain(Timetable(left, 3, earlier=lambda: rows, on_failure="continue")))
    assert sorted(started) == ["a-a.py:Ko", "b-a.py:K", "b-a.py:K.m", "b-a.py:Ko", "b-a.py:f"]
    assert asyncio.run(drain(Timetable([], 3, earlier=lambda: rows))) == ([], {}, 0)


def test_a_failed_file_of_an_earlier_part_skips_what_is_inside(bundle: Any) -> None:
    first, then = operation(bundle, "a"), operation(bundle, "b", after=("a",))
    whole = replace(node("a.py", 0, 100), type="file")
    rows = [row(task(first, whole), "failed")]
    left = [task(then, node("f")), task(then, node("g", file="b.py")), task(first, node("h", file="b.py"))]
    started, outcomes, _ = asyncio.run(drain(Timetable(left, 1, earlier=lambda: rows)))
    assert (sorted(started), outcomes["b-a.py:f"]) == (["a-b.py:h", "b-b.py:g"], "skipped")


def test_operations_without_after_do_not_wait(bundle: Any) -> None:
    tasks = [task(operation(bundle, name), node("f")) for name in ("a", "b")]
    assert list(dependencies(tasks, predecessors([one.assignment for one in tasks]))) == []


def test_an_operation_comes_after_those_that_its_own_come_after(bundle: Any) -> None:
    """Also on a node that the operation between them does not take."""
    chain = [operation(bundle, "a"), operation(bundle, "b", after=("a",)), operation(bundle, "c", after=("b",))]
    tasks = [task(chain[0], node("f")), task(chain[2], node("f")), task(chain[1], node("g", 20, 30))]
    assert list(dependencies(tasks, predecessors(chain))) == [(0, 1)]


# Priorities, turns and groups


ORDERS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 2), st.floats(0, 40)), max_size=120)


@given(rows=ORDERS, quantum=st.floats(1, 30))
@settings(max_examples=200, deadline=None)
def test_a_higher_priority_goes_first_and_lanes_keep_together(rows: list[Any], quantum: float) -> None:
    places, cost = [Place(level, share, lane) for level, share, lane, _ in rows], [row[3] for row in rows]
    order = Order(places, quantum)
    for at in range(len(rows)):
        order.add(at, at)
    taken = [order.take(cost) for _ in rows]
    assert (order.take(cost), len(order)) == (None, 0)
    assert sorted(at for at in taken if at is not None) == list(range(len(rows)))
    came = [places[at] for at in taken if at is not None]
    assert [place.level for place in came] == sorted(place.level for place in came)
    for level in range(3):
        for share in range(4):
            mine = [at for at in taken if at is not None and (places[at].level, places[at].share) == (level, share)]
            lanes = [lane for lane, _ in groupby(places[at].lane for at in mine)]
            assert len(lanes) == len(set(lanes)), "a lane was left and taken up again"
            for one, other in pairwise(mine):
                assert places[one].lane != places[other].lane or one < other


@given(
    sizes=st.lists(st.integers(1, 60), min_size=2, max_size=5),
    quantum=st.integers(1, 20),
    seed=st.integers(0, 100),
)
@settings(max_examples=150, deadline=None)
def test_no_bundle_starves(sizes: list[int], quantum: int, seed: int) -> None:
    """Between two tasks of one bundle the others together do no more than a turn each, and a task."""
    chance = random.Random(seed)
    places = [Place(0, share, 0) for share in range(len(sizes))]
    owner = [share for share, size in enumerate(sizes) for _ in range(size)]
    cost = [chance.uniform(0.1, quantum) for _ in owner]
    order = Order(places, quantum)
    for at, share in enumerate(owner):
        order.add(at, share)
    left, waited = Counter(owner), [0.0] * len(sizes)
    while len(order):
        taken = order.take(cost)
        assert taken is not None
        left[owner[taken]] -= 1
        waited[owner[taken]] = 0.0
        for share in range(len(sizes)):
            if share != owner[taken] and left[share]:
                waited[share] += cost[taken]
                assert waited[share] <= 2 * (len(sizes) - 1) * quantum


def test_two_bundles_take_turns_and_each_keeps_its_adapters_together(bundle: Any) -> None:
    one, two = operation(bundle, "one", adapter="red"), operation(bundle, "two", adapter="blue")
    nodes = [node(f"f{n:02}", n * 10, n * 10 + 5) for n in range(40)]
    tasks = [task(each, place) for place in nodes for each in (one, two)]
    started, _, _ = asyncio.run(drain(Timetable(tasks, 1)))
    turns = [(name, len(list(group))) for name, group in groupby(task_id.split("-")[0] for task_id in started)]
    assert [name for name, _ in turns] == ["one", "two"] * 3
    assert all(8 <= count <= 20 for _, count in turns)
    for name in ("one", "two"):
        mine = [task_id for task_id in started if task_id.startswith(name)]
        assert mine == sorted(mine), "the nodes of a file follow each other"


def test_a_turn_is_at_least_as_long_as_there_are_tasks_at_once(bundle: Any) -> None:
    one, two = operation(bundle, "one"), operation(bundle, "two")
    nodes = [node(f"f{n:03}", n * 10, n * 10 + 5) for n in range(128)]
    tasks = [task(each, place) for place in nodes for each in (one, two)]

    async def first() -> list[str]:
        table = Timetable(tasks, 64)
        table.begin()
        got = [await table.next() for _ in range(64)]
        return [each.assignment.name for each in got if each is not None]

    assert Counter(asyncio.run(first()))["one"] >= 60


def test_large_nodes_count_as_more_work(bundle: Any) -> None:
    small, large = operation(bundle, "small"), operation(bundle, "large")
    tasks = [task(small, node(f"s{n}", n, n + 1)) for n in range(200)]
    tasks += [task(large, node(f"l{n}", n, n + 1, "b.py", "x" * 36_000)) for n in range(200)]
    started, _, _ = asyncio.run(drain(Timetable(tasks, 1)))
    share = Counter(name.split("-")[0] for name in started[:110])
    assert share["small"] > 5 * share["large"] > 0


def test_what_a_high_priority_waits_for_does_not_wait_itself(bundle: Any) -> None:
    low = operation(bundle, "low", priority="low")
    urgent = operation(bundle, "urgent", priority="high", after=("low",))
    normal = operation(bundle, "normal")
    nodes = [node(f"f{n}", n * 10, n * 10 + 5) for n in range(5)]
    tasks = [task(each, place) for place in nodes for each in (normal, urgent, low)]
    started, _, _ = asyncio.run(drain(Timetable(tasks, 1)))
    assert {task_id.split("-")[0] for task_id in started[-5:]} == {"normal"}


async def test_the_first_task_waits_until_the_server_is_ready(bundle: Any) -> None:
    gate = asyncio.Event()

    async def ready() -> None:
        await gate.wait()

    table = Timetable([task(operation(bundle, "a"), node("f"))], 1, ready=ready)
    table.begin()
    coming = asyncio.ensure_future(table.next())
    await asyncio.sleep(0)
    assert not coming.done()
    gate.set()
    assert (await coming) is not None
    assert await table.next() is None


async def test_a_hundred_thousand_tasks_need_little_memory_and_no_object_each(bundle: Any) -> None:
    import tracemalloc

    first, then = operation(bundle, "a"), operation(bundle, "b", after=("a",))
    nodes = [node(f"f{n}", n % 1000 * 10, n % 1000 * 10 + 5, f"f{n // 1000}.py", "") for n in range(50_000)]
    tasks = [task(each, place) for place in nodes for each in (first, then)]
    tracemalloc.start()
    try:
        table = Timetable(tasks, 16)
        table.begin()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 40e6
    assert len(asyncio.all_tasks()) == 1
    seen = 0
    while (got := await table.next()) is not None:
        table.ended(TaskResult(got, "finished", "x"))
        seen += 1
    assert seen == 100_000
