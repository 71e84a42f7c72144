"""What runs on a cluster, without one: what travels, the worker, the budget asked from afar, the pool."""

import asyncio
import pickle
import re
import shutil
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_parts import ScriptedBackend
from projects import TOOL, call, make_bundle

from engine.bundle import load_bundle
from engine.discovery import discover
from engine.errors import ConfigError, LimitError
from engine.events import Event
from engine.kernel import Pool
from engine.kernel.pool import Ask, Ceiling, Grant
from engine.messages import Usage
from engine.run.executors.budget import Answer, BudgetDesk, RemoteBudget
from engine.run.executors.wire import (
    OtherFile,
    Setup,
    Stopped,
    engine_version,
    order_of,
    pack,
    read_sources,
    unpacked,
)
from engine.run.executors.worker import Worker, file_digest
from engine.run.plan import Assignment, Task
from engine.run.task import TaskResult


def scripted(script, bundles):
    """A worker's backend, as `RayOptions.backend` makes it."""
    return ScriptedBackend(list(script))


def assignment_of(folder) -> Assignment:
    """A loaded bundle's assignment."""
    bundle = load_bundle(folder)
    return Assignment(bundle, bundle.get_plugin())


def setup_of(project, assignments, **changes) -> Setup:
    """What a worker is greeted with."""
    packed = tuple(pack(one) for one in assignments)
    made = Setup(
        engine_version(),
        project,
        str(project),
        partial(scripted, [call("it")]),
        packed,
        prices=None,
        shares=False,
        attempts=1,
        concurrency=4,
        outage=5,
    )
    return replace(made, **changes)


def tasks_of(project, assignment) -> list[Task]:
    """A task for each function."""
    nodes = discover([project / "src"], root=project).nodes
    taken = [node for node in nodes if assignment.bundle.takes(node, {})]
    return [Task(f"t{number}", assignment, node) for number, node in enumerate(taken)]


@pytest.fixture
def assignment(bundle) -> Assignment:
    """The bundle that comments functions."""
    return assignment_of(bundle)


def travelled(value):
    """A value as it comes out at the other end."""
    return pickle.loads(pickle.dumps(value))


def test_a_bundle_travels_by_its_content(assignment, bundle) -> None:
    sources = travelled(read_sources([assignment.bundle]))
    packed = travelled(pack(replace(assignment, params={"a": 1}, seed=3)))
    shutil.rmtree(bundle)  # a worker needs no folder of bundles
    (there,) = unpacked([packed], sources)
    assert there.bundle.digest == assignment.bundle.digest
    assert (there.params, there.seed, there.plugin.name) == ({"a": 1}, 3, assignment.plugin.name)
    assert [tool.schema for tool in there.bundle.tools] == [tool.schema for tool in assignment.bundle.tools]


def test_a_bundle_that_changed_since_it_was_loaded_is_refused(assignment, bundle) -> None:
    (bundle / "prompts/user.md.j2").write_text("Other words about {{ node.name }}")
    with pytest.raises(ConfigError, match="changed since the run was planned"):
        read_sources([assignment.bundle])


def test_a_bundle_that_is_another_there_is_refused(assignment, tmp_path) -> None:
    other = load_bundle(make_bundle(tmp_path / "other", tool=f"{TOOL}\n"))
    with pytest.raises(ConfigError, match="adapters' files of a bundle differ there"):
        unpacked([pack(assignment)], read_sources([other]))


async def all_of(worker, order) -> list:
    """Everything that a worker says of a task; events and words one by one."""
    heard: list = []
    async for sent in worker.run(travelled(order)):
        said = travelled(sent)
        heard += said if isinstance(said, tuple) else [said]
    return heard


async def test_a_worker_says_the_events_in_order_and_then_the_result(project, assignment) -> None:
    worker = Worker()
    hello = await worker.hello(
        travelled(setup_of(project, [assignment])), *travelled(read_sources([assignment.bundle]))
    )
    assert hello.problem == ""
    task = tasks_of(project, assignment)[0]
    order = order_of(task, "run", 0, file_digest(project / "src/a.py"))
    *events, result = await all_of(worker, order)
    assert all(isinstance(event, Event) for event in events)
    assert [event.type for event in events][:4] == [
        "kernel:started",
        "model:requested",
        "model:responded",
        "tool:called",
    ]
    assert {event.run_id for event in events} == {"run"}
    assert isinstance(result, TaskResult)
    assert result.task is None
    assert result.outcome == "finished"
    assert b"# it" in result.changes[0].after
    await worker.stop()


@pytest.mark.parametrize("there", ["another", "none"])
async def test_a_worker_that_sees_another_file_does_not_begin(there, project, assignment) -> None:
    worker = Worker()
    await worker.hello(setup_of(project, [assignment]), *read_sources([assignment.bundle]))
    task = tasks_of(project, assignment)[0]
    order = order_of(task, "run", 0, file_digest(project / "src/a.py"))
    if there == "another":
        (project / "src/a.py").write_text("def first(a):\n    return 2\n")
    else:
        (project / "src/a.py").unlink()
    (other,) = await all_of(worker, order)
    assert isinstance(other, OtherFile)
    assert f"the worker on {worker.host} sees {'another' if there == 'another' else 'no'} {project}/src/a.py" in str(
        other
    )
    await worker.stop()


async def test_a_worker_that_was_not_greeted_runs_nothing(project, assignment) -> None:
    order = order_of(tasks_of(project, assignment)[0], "run", 0, None)
    with pytest.raises(RuntimeError, match="not greeted"):
        await all_of(Worker(), order)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"version": "0.0.1"}, "the engine is .* there and 0.0.1 here"),
        ({"root": "nowhere"}, "there is no .*nowhere: every machine needs the project's files"),
        ({"backend": None}, "the model cannot be made here"),
    ],
)
async def test_a_worker_says_why_it_cannot_run_tasks(changes, says, project, assignment, tmp_path) -> None:
    made = {"root": tmp_path / "nowhere", "backend": refuses}
    changes = {name: made.get(name, value) for name, value in changes.items()}
    hello = await Worker().hello(setup_of(project, [assignment], **changes), *read_sources([assignment.bundle]))
    assert hello.host
    assert re.search(says, hello.problem)


def refuses(bundles):
    """A backend that this machine lacks something for."""
    raise ConfigError("the model cannot be made here")


async def test_a_task_that_is_cancelled_says_its_last_words(project, assignment) -> None:
    begun = asyncio.Event()

    async def hangs(request):
        begun.set()
        await asyncio.sleep(60)

    worker = Worker()
    given = setup_of(project, [assignment], backend=lambda bundles: ScriptedBackend([hangs]))
    await worker.hello(given, *read_sources([assignment.bundle]))
    task = tasks_of(project, assignment)[0]
    heard = asyncio.ensure_future(all_of(worker, order_of(task, "run", 0, file_digest(project / "src/a.py"))))
    await begun.wait()
    await worker.cancel(task.task_id)
    *events, last = await heard
    assert events[0].type == "kernel:started"
    assert isinstance(last, Stopped)
    await worker.stop()


async def test_what_breaks_a_task_is_its_result(project, assignment) -> None:
    async def breaks(request):
        raise ZeroDivisionError("what nobody foresaw")

    worker = Worker()
    given = setup_of(project, [assignment], backend=lambda bundles: ScriptedBackend([breaks]))
    await worker.hello(given, *read_sources([assignment.bundle]))
    order = order_of(tasks_of(project, assignment)[0], "run", 0, file_digest(project / "src/a.py"))
    result = (await all_of(worker, order))[-1]
    assert (result.outcome, result.error) == ("failed", "ZeroDivisionError: what nobody foresaw")
    await worker.stop()


class Wire:
    """A task's view of a budget, and the desk that answers it, joined as by a stream and calls."""

    def __init__(self, pool: Pool) -> None:
        self.remote = RemoteBudget(self._to_driver)
        self.desk = BudgetDesk(pool, self._to_worker)

    def _to_driver(self, word) -> None:
        asyncio.get_running_loop().call_soon(self.desk.hear, travelled(word))

    async def _to_worker(self, answer: Answer) -> None:
        await asyncio.sleep(0)
        self.remote.hear(travelled(answer))


async def settled() -> None:
    """Let everything that is on its way arrive."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_budget_is_asked_and_settled_from_afar() -> None:
    pool = Pool(Ceiling(tokens=100))
    wire = Wire(pool)
    grant = await wire.remote.reserve(Ask(10, 40, owner="t"))
    assert grant == Grant(1, 40)
    assert pool.reserved.tokens == 50
    assert await wire.remote.reserve(Ask(60, 40), wait=False) is None
    wire.remote.settle(grant, Usage(10, 5))
    await settled()
    assert (pool.used.tokens, pool.reserved.tokens) == (15, 0)
    second = await wire.remote.reserve(Ask(10, 40, owner="t"))
    wire.remote.forfeit(second)
    await settled()
    assert (pool.used.tokens, pool.reserved.tokens) == (65, 0)
    with pytest.raises(LimitError) as caught:
        await wire.remote.reserve(Ask(60, 40))
    assert caught.value.kind == "budget_tokens"


async def test_tool_calls_and_missing_prices_from_afar() -> None:
    wire = Wire(Pool(Ceiling(tool_calls=3)))
    assert [await wire.remote.take_calls(2), await wire.remote.take_calls(2)] == [2, 1]
    with pytest.raises(ConfigError, match="declares no price"):
        await Wire(Pool(Ceiling(cost=5))).remote.reserve(Ask(1, 1))


@pytest.mark.parametrize("after", range(12))
async def test_a_question_that_is_withdrawn_leaves_nothing_reserved(after) -> None:
    pool = Pool(Ceiling(tokens=100))
    wire = Wire(pool)
    asking = asyncio.ensure_future(wire.remote.reserve(Ask(10, 40)))
    for _ in range(after):
        await asyncio.sleep(0)
    asking.cancel()
    with suppress(asyncio.CancelledError):
        wire.remote.settle(await asking, Usage())
    await settled()
    assert pool.reserved.tokens == 0
    assert await wire.remote.reserve(Ask(50, 50), wait=False) is not None


async def test_one_who_waits_is_served_when_another_settles() -> None:
    pool = Pool(Ceiling(tokens=100))
    first, second = Wire(pool), Wire(pool)
    grant = await first.remote.reserve(Ask(50, 40))
    waiting = asyncio.ensure_future(second.remote.reserve(Ask(20, 30)))
    await settled()
    assert not waiting.done()
    first.remote.settle(grant, Usage(20, 10))
    assert (await waiting).reply == 30


@settings(max_examples=60, deadline=None)
@given(
    st.integers(20, 200),
    st.lists(
        st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(0, 3)), min_size=1, max_size=4),
        min_size=1,
        max_size=5,
    ),
)
def test_a_budget_is_never_overshot_from_afar(limit, tasks) -> None:
    async def run() -> Pool:
        pool = Pool(Ceiling(tokens=limit))

        async def task(requests) -> None:
            wire = Wire(pool)
            for prompt, reply, what in requests:
                try:
                    grant = await wire.remote.reserve(Ask(prompt, reply))
                except LimitError:
                    return
                assert pool.used.tokens + pool.reserved.tokens <= limit
                await asyncio.sleep(0)
                if what == 0:
                    wire.remote.forfeit(grant)
                else:
                    wire.remote.settle(grant, Usage(prompt, grant.reply // what))

        await asyncio.wait_for(asyncio.gather(*map(task, tasks)), 20)
        await settled()
        return pool

    pool = asyncio.run(run())
    assert pool.reserved.tokens == 0
    assert pool.used.tokens <= limit


def test_bundles_that_build_on_others_travel(tmp_path) -> None:
    parent = make_bundle(tmp_path / "parent")
    child = tmp_path / "child"
    child.mkdir()
    (child / "bundle.yaml").write_text(
        "format: 1\nextends: ../parent\nname: child\nversion: 1.0.0\ndescription: Builds on another.\n"
    )
    assignment = assignment_of(child)
    sources = travelled(read_sources([assignment.bundle]))
    shutil.rmtree(parent)
    (there,) = unpacked([travelled(pack(assignment))], sources)
    assert there.bundle.digest == assignment.bundle.digest
    assert there.bundle.name == "child"
