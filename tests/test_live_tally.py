"""The fold of a run's events: whatever their order, its sums hold; its pace and time left make sense."""

import io
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from engine.cli.live import frame
from engine.cli.words import clock, duration, left, short, spending
from engine.events import (
    EventLog,
    LogReader,
    ModelRequested,
    ModelResponded,
    PaceChanged,
    ReplyLost,
    RunFinished,
    RunPlanned,
    RunResumed,
    RunStarted,
    TaskFinished,
    TaskRow,
    TaskStarted,
    ToolCalled,
    ToolReturned,
)
from engine.messages import Usage
from engine.run.flights import as_mapping
from engine.run.rates import FEWEST, SECONDS, Window
from engine.run.resume import BROKEN_OFF
from engine.run.standing import as_dict, attach
from engine.run.tally import Tally

OUTCOMES = ("finished", "failed", "stopped", "skipped", "parked")


def who(name: str) -> dict[str, Any]:
    bundle = "ab"[len(name) % 2]
    return {"task_id": name, "bundle": bundle, "node_id": name, "node": name, "file": "x.py", "line": 1}


def started(name: str) -> TaskStarted:
    return TaskStarted(run_id="r", **who(name))


def finished(name: str, outcome: str = "finished", **more: Any) -> TaskFinished:
    return TaskFinished(run_id="r", **who(name), outcome=outcome, **({"reason": "x"} | more))


def planned(tasks: int, **more: Any) -> RunPlanned:
    return RunPlanned(run_id="r", files=1, nodes=tasks, tasks=tasks, **more)


def begun(**settings: Any) -> RunStarted:
    return RunStarted(run_id="r", bundles=("a",), targets=(".",), settings=settings)


def responded(
    name: str, turn: int = 1, tokens: int = 10, prompt: int = 100, cost: float | None = 0.5
) -> ModelResponded:
    usage = Usage(prompt, tokens)
    return ModelResponded(
        run_id="r",
        task_id=name,
        turn=turn,
        model="m",
        adapter=None,
        text="",
        tool_calls_count=0,
        finish_reason="stop",
        usage=usage,
        duration_ms=1,
        cost=cost,
    )


def lost(name: str, cost: float | None = 0.25) -> ReplyLost:
    usage = Usage(30, 50)
    return ReplyLost(run_id="r", task_id=name, turn=1, model="m", adapter=None, usage=usage, reason="x", cost=cost)


def requested(name: str, turn: int = 1) -> ModelRequested:
    return ModelRequested(run_id="r", task_id=name, turn=turn, model="m", adapter=None, constraint="none", messages=())


def called(name: str, tool: str = "look") -> ToolCalled:
    return ToolCalled(run_id="r", task_id=name, turn=1, call_id="1", tool=tool, arguments={})


def returned(name: str) -> ToolReturned:
    return ToolReturned(
        run_id="r",
        task_id=name,
        turn=1,
        call_id="1",
        tool="look",
        content="",
        is_error=False,
        summary="",
        outcome="success",
        duration_ms=1,
    )


def tally_of(*events: tuple[float, Any]) -> Tally:
    tally = Tally()
    for at, event in events:
        tally.add(as_mapping(event, at))
    return tally


# -- sums

NAMES = st.sampled_from(["t1", "t22", "t333", "t4444", "t5"])
USAGES = st.builds(Usage, st.integers(0, 1000), st.integers(0, 1000))
ENDINGS = st.builds(
    lambda name, outcome, cached, usage, files, reason, cost: finished(
        name, outcome, cached=cached, usage=usage, changed_files=files, reason=reason, cost=cost
    ),
    NAMES,
    st.sampled_from(OUTCOMES),
    st.booleans(),
    USAGES,
    st.sampled_from([(), ("a.py",)]),
    st.sampled_from(["checks", "error", "cancelled", "not_stored"]),
    st.sampled_from([None, 0.5]),
)
EVENTS = st.one_of(
    st.builds(begun),
    st.builds(planned, st.integers(0, 6), cached=st.integers(0, 3)),
    st.builds(lambda done, rest: RunResumed(run_id="r", done=done, left=rest), st.integers(0, 4), st.integers(0, 4)),
    st.builds(started, NAMES),
    ENDINGS,
    st.builds(requested, NAMES, st.integers(1, 4)),
    st.builds(responded, NAMES, st.integers(1, 4), st.integers(0, 50)),
    st.builds(called, NAMES),
    st.builds(returned, NAMES),
    st.builds(lambda limit: PaceChanged(run_id="r", limit=limit, reason="429"), st.integers(0, 9)),
)
TIMES = st.floats(0, 1e9, allow_nan=False)


@given(st.lists(st.tuples(TIMES, EVENTS), max_size=60))
def test_sums_hold_in_any_order_of_events_and_any_jump_of_the_clock(events: list[tuple[float, Any]]) -> None:
    tally = Tally()
    state: dict[str, TaskFinished] = {}
    running: set[str] = set()
    for at, event in events:
        tally.add(as_mapping(event, at))
        if isinstance(event, TaskStarted):
            state.pop(event.task_id, None)
            running.add(event.task_id)
        elif isinstance(event, TaskFinished):
            state[event.task_id] = event
            running.discard(event.task_id)
        elif isinstance(event, RunStarted | RunResumed):
            running.clear()
            if isinstance(event, RunResumed):
                state = {name: one for name, one in state.items() if one.reason not in BROKEN_OFF}
        assert +tally.counts == Counter(one.outcome for one in state.values())
        assert sum(map(Counter.total, tally.bundles.values())) == tally.done == len(state)
        assert tally.cached == sum(one.cached for one in state.values())
        assert set(tally.flights) == running
        assert 0 <= tally.done <= tally.total
        assert tally.total >= len(running) + len(state)
        assert tally.unfinished == sum(one.outcome != "finished" for one in state.values())
        assert len(tally.endings) <= 20
        assert tally.causes.total() == tally.unfinished
        assert min(tally.causes.values(), default=0) >= 0
        assert {one.task_id for one in tally.endings} <= set(state)
        for now in (0.0, at, tally.now + 5):
            assert (tally.seconds_left(now) or 0.0) >= 0
            assert (tally.tasks_per_second(now) or 0.0) >= 0
            assert (tally.tokens_per_second(now) or 0.0) >= 0
            json.dumps(as_dict(tally, now), allow_nan=False)
    ended = [event for _, event in events if isinstance(event, TaskFinished)]
    replies = [event for _, event in events if isinstance(event, ModelResponded)]
    assert tally.used.usage == sum((one.usage for one in replies), Usage())
    assert tally.cost == (
        sum(one.cost or 0 for one in replies) if any(one.usage.total_tokens for one in replies) else None
    )
    assert tally.used.tool_calls == sum(isinstance(event, ToolCalled) for _, event in events)
    assert tally.saved_tokens == sum(one.usage.total_tokens for one in ended if one.cached)


def test_an_event_of_another_kind_tells_nothing() -> None:
    tally = tally_of((1.0, begun()))
    tally.add({"type": "weather:changed", "time": 9.0, "task_id": "t"})
    assert (tally.now, tally.total) == (9.0, 0)


def test_what_a_task_does_is_followed() -> None:
    tally = tally_of((1.0, begun()), (2.0, started("t")))
    for event, doing in (
        (requested("t", 2), "waits for the model"),
        (called("t", "grep"), "runs grep"),
        (returned("t"), "reads on"),
    ):
        tally.add(as_mapping(event, 3.0))
        assert tally.flights["t"].doing == doing
    tally.add(as_mapping(responded("t", 2, 7), 4.0))
    assert (tally.flights["t"].turn, tally.used.usage) == (2, Usage(100, 7))
    tally.add(as_mapping(finished("t", usage=Usage(100, 7)), 5.0))
    assert (tally.flights, tally.used.usage, tally.used.tool_calls) == ({}, Usage(100, 7), 1)


def test_causes_are_counted_and_a_flood_of_them_is_held_together() -> None:
    tally = tally_of(*((1.0, finished(f"t{number}", "failed", reason=f"why {number}")) for number in range(90)))
    assert tally.causes.total() == 90
    assert len(tally.causes) == 51
    assert tally.causes["failed", "other"] == 40


# -- pace and time left


def test_before_the_first_task_is_done_nobody_knows() -> None:
    tally = tally_of((0.0, begun()), (0.0, planned(100)), (1.0, started("t")))
    assert (tally.seconds_left(9.0), left(tally, 9.0)) == (None, "time left unknown until the first tasks are done")


def test_time_left_follows_from_the_pace() -> None:
    events = [(float(at), finished(f"t{at}")) for at in range(1, 51)]
    tally = tally_of((0.0, begun()), (0.0, planned(100)), *events)
    assert tally.seconds_left(50.0) == pytest.approx(50, rel=0.05)
    assert tally.seconds_left(100.0) == pytest.approx(100, rel=0.05)  # it stalls, so it will take longer


def test_what_comes_from_the_cache_is_no_pace() -> None:
    cached = [(0.1, finished(f"c{number}", cached=True)) for number in range(5000)]
    done = [(float(at), finished(f"t{at}")) for at in range(10, 101, 10)]
    tally = tally_of((0.0, begun()), (0.0, planned(10_000, cached=6000)), *cached, *done)
    assert tally.tasks_per_second(100.0) == pytest.approx(0.1, rel=0.05)
    assert tally.seconds_left(100.0) == pytest.approx((10_000 - 5010 - 1000) * 10, rel=0.05)


def test_the_pace_of_now_counts_not_that_of_the_beginning() -> None:
    fast = [(number / 100, finished(f"f{number}")) for number in range(1000)]
    slow = [(10.0 + 10 * number, finished(f"s{number}")) for number in range(1, 61)]
    tally = tally_of((0.0, begun()), (0.0, planned(2000)), *fast, *slow)
    assert tally.tasks_per_second(610.0) == pytest.approx(0.1, rel=0.1)


def test_a_run_that_is_over_has_nothing_left_and_its_clock_stands() -> None:
    end = RunFinished(run_id="r", status="stopped", finished=1, failed=0, stopped=0, changes=0, seconds=2.0)
    tally = tally_of((0.0, begun()), (0.0, planned(5)), (1.0, finished("t")), (2.0, end))
    assert (tally.seconds_left(99.0), tally.clock(99.0), tally.status) == (0.0, 2.0, "stopped")


@given(st.lists(st.tuples(st.floats(0, 2000), st.floats(0, 100)), min_size=1, max_size=500), st.floats(0, 1000))
def test_a_window_stays_small_and_its_rate_sane(steps: list[tuple[float, float]], later: float) -> None:
    window, now = Window(0.0), 0.0
    everything = []
    for step, amount in steps:
        now += step / 100
        window.add(now, amount)
        everything.append((now, amount))
    rate = window.rate(now + later)
    assert len(window._items) <= 241
    assert rate is None or rate >= 0
    if now + later <= SECONDS and len(everything) < 200 and now + later > 0:
        assert rate == pytest.approx(sum(amount for _, amount in everything) / (now + later))


def test_few_long_tasks_count_however_old_they_are() -> None:
    window = Window(0.0)
    for number in range(1, FEWEST + 1):
        window.add(1000.0 * number)
    assert window.rate(8000.0) == pytest.approx(0.001)


# -- in the midst of a run


def run_of(log: EventLog, tasks: int, rng: random.Random) -> None:
    """Write a run with tasks in every state."""
    log.append(begun(budget={"tokens": 1000}))
    log.plan(
        TaskRow("r", f"t{n}", n, "ab"[len(f"t{n}") % 2], "", f"t{n}", f"t{n}", "function", "x.py", 1)
        for n in range(tasks)
    )
    log.append(planned(tasks, cached=2))
    for number in range(tasks):
        name, kind = f"t{number}", rng.choice([*OUTCOMES, "running", "planned"])
        if kind == "planned":
            continue
        log.append(started(name))
        log.append(requested(name))
        log.append(called(name))
        if rng.random() < 0.3:
            log.append(lost(name))
        if kind == "running":
            continue
        log.append(responded(name))
        cached = kind == "finished" and rng.random() < 0.3
        files = ("x.py",) if kind == "finished" else ()
        log.append(finished(name, kind, usage=Usage(100, 10), cached=cached, changed_files=files))
    log.append(PaceChanged(run_id="r", limit=3, reason="429"))


@pytest.mark.parametrize("seed", range(8))
def test_who_attaches_late_sees_what_who_saw_everything_sees(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    with EventLog(tmp_path / "events.db") as log:
        run_of(log, 40, rng)
        log.flush()
        with LogReader(tmp_path / "events.db") as reader:
            tally, seq = attach(reader, "r")
            whole = Tally()
            for event in reader.events("r"):
                whole.add(event)
            assert seq == reader.events("r")[-1]["seq"]
            for name in sorted(whole.flights)[:2]:
                log.append(lost(name))
                log.append(responded(name))
                log.append(finished(name, "failed", usage=Usage(5, 5)))
            log.append(started(next(iter(whole.endings)).task_id))  # tried again
            log.flush()
            for event in reader.events("r", after=seq):
                tally.add(event)
                whole.add(event)
    unlike = {"tasks_per_second", "tokens_per_second", "seconds_left", "endings", "started", "seconds"}
    late, full = (as_dict(one, whole.now) for one in (tally, whole))
    assert {key: late[key] for key in set(late) - unlike} == {key: full[key] for key in set(full) - unlike}
    assert {one["task"] for one in late["endings"]} <= set(tally._ended)
    assert late["in_flight"] == full["in_flight"]


def test_who_attaches_to_a_run_that_was_gone_on_with_sees_its_present_part(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.db") as log:
        log.append(begun())
        log.plan(
            TaskRow("r", f"t{n}", n, "ab"[len(f"t{n}") % 2], "", f"t{n}", f"t{n}", "function", "x.py", 1)
            for n in range(40)
        )
        log.append(planned(40))
        for number in range(30):
            log.append(started(f"t{number}"))
            log.append(responded(f"t{number}"))
            log.append(finished(f"t{number}", changed_files=("x.py",)))
        log.append(finished("t30", "stopped", reason="cancelled", error="the run ended before the task did"))
        log.append(finished("t31", "stopped", reason="limit_tokens"))
        log.append(PaceChanged(run_id="r", limit=0, reason="the server is away"))
        log.append(
            RunFinished(run_id="r", status="interrupted", finished=30, failed=0, stopped=2, changes=30, seconds=1)
        )
        log.append(RunResumed(run_id="r", done=31, left=9))
        log.append(started("t30"))
        log.append(requested("t30"))
        log.flush()
        with LogReader(log.path) as reader:
            tally, _ = attach(reader, "r")
            whole = Tally()
            for event in reader.events("r"):
                whole.add(event)
    late, full = (as_dict(one, whole.now) for one in (tally, whole))
    assert {key: late[key] for key in set(late)} == {key: full[key] for key in set(full)}
    assert (late["done"], late["pace"], late["tasks_per_second"]) == (31, None, None)
    assert late["outcomes"] == {"finished": 30, "stopped": 1}


def test_what_an_interrupted_run_left_to_do_is_not_done() -> None:
    tally = Tally()
    for event in (begun(), planned(4), finished("t1"), finished("t2", "stopped", reason="cancelled")):
        tally.add(as_mapping(event, 1.0))
    tally.add(as_mapping(PaceChanged(run_id="r", limit=0, reason="the server is away"), 1.0))
    tally.end("interrupted")
    assert left(tally, 2.0) == "3 left to do"
    shown = Console(width=100, file=io.StringIO())
    shown.print(frame(tally, 2.0, shown))
    assert "1/4 tasks, 25%" in shown.file.getvalue()
    assert "the server is away" not in shown.file.getvalue()


def test_a_run_that_has_no_rows_is_read_from_its_events(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.db") as log:
        log.append(begun())
        log.append(planned(3))
        log.flush()
        with LogReader(log.path) as reader:
            tally, seq = attach(reader, "r")
    assert (tally.total, tally.status, seq) == (3, "running", 2)


# -- words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0.0 s"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (99.4, "99 s"),
        (99.6, "2 min"),
        (3540, "59 min"),
        (3599, "1 h"),
        (7800, "2 h 10 min"),
        (86399, "1 d"),
        (273600, "3 d 4 h"),
    ],
)
def test_times_are_said_as_exactly_as_one_wants_to_know(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999.4, "999"), (999.6, "1.0k"), (12_345, "12.3k"), (999_600, "1.0M"), (4.2e12, "4200G")],
)
def test_numbers_are_short(number: float, text: str) -> None:
    assert short(number) == text


@given(st.floats(0, 1e9), st.floats(0, 1e15))
def test_words_stay_short(seconds: float, number: float) -> None:
    assert len(duration(seconds)) <= 14
    assert len(short(number)) <= 8
    assert clock(seconds).count(":") in (1, 2)


def test_of_a_budget_it_is_said_how_much_is_used() -> None:
    tally = tally_of(
        (0.0, begun(budget={"tokens": 1000, "cost": 2.0, "tool_calls": 4, "seconds": 9})),
        (1.0, called("t")),
        (2.0, responded("t", prompt=200, tokens=50)),
        (3.0, finished("t", usage=Usage(200, 50), cost=0.5)),
    )
    assert spending(tally) == "250 tokens, cost 0.5 (budget: 25% of 1.0k tokens, 25% of 2 cost, 25% of 4 tool calls)"
    # Gone on with, it is measured by the budget that is in force then; an engine that did not say so changed none.
    tally.add(as_mapping(RunResumed(run_id="r", done=1, left=1), 4.0))
    assert "25% of 1.0k tokens" in spending(tally)
    tally.add(as_mapping(RunResumed(run_id="r", done=1, left=1, budget={"tokens": 5000}), 5.0))
    assert spending(tally) == "250 tokens, cost 0.5 (budget: 5% of 5.0k tokens)"
    tally.add(as_mapping(lost("t"), 6.0))  # it may have been charged
    assert spending(tally) == "250 tokens, cost 0.5 (budget: 7% of 5.0k tokens)"
    tally.add(as_mapping(responded("t", cost=None), 7.0))
    assert spending(tally) == "360 tokens (budget: 9% of 5.0k tokens)"
