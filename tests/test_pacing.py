"""The pace of requests: the limit, the breaker, the gate and what servers say of waiting; no server is needed."""

from __future__ import annotations

import asyncio
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_parts import ScriptedBackend

from engine.backends import Completion, CompletionRequest
from engine.backends.pacing import Breaker, Gate, Pace, PacedBackend, clock_stopped, name_clock
from engine.backends.retry import backoff, retry_after
from engine.backends.server_load import ServerLoad, parse_load
from engine.errors import BackendRejected, BackendUnavailable, KeyRefused
from engine.messages import Usage

ASKED = CompletionRequest([{"role": "user", "content": "hi"}])


class Clock:
    """Seconds that go forward when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# The limit


def answers(pace: Pace, clock: Clock, count: int, seconds: float = 0.01, tokens: int = 10) -> None:
    for _ in range(count):
        began = clock.now
        clock.now += seconds
        pace.answered(began, tokens, pace.limit)


def test_a_healthy_server_is_soon_used_up_to_the_limit() -> None:
    clock = Clock()
    pace = Pace(64, 16, clock)
    answers(pace, clock, 48)
    assert pace.limit == 64
    answers(pace, clock, 500)
    assert pace.limit == 64


def test_it_begins_with_what_the_backend_is_good_for_and_passes_no_limit() -> None:
    assert Pace(4, 16).limit == 4
    assert Pace(64, 16).limit == 16
    assert Pace(0, 0).limit == 1


def test_the_limit_does_not_grow_that_nobody_uses() -> None:
    clock = Clock()
    pace = Pace(64, 16, clock)
    for _ in range(100):
        pace.answered(clock.now, 10, 3)
    assert pace.limit == 16


def test_push_back_halves_once_for_what_was_under_way_and_then_it_grows_slowly() -> None:
    clock = Clock()
    pace = Pace(64, 64, clock)
    began = clock.now
    clock.now += 1
    assert [pace.pushed_back(began, 64 - n) for n in range(40)] == [True] + [False] * 39
    assert pace.limit == 32
    clock.now += 1
    assert pace.pushed_back(clock.now, 32)
    assert pace.limit == 16
    answers(pace, clock, 16)
    assert pace.limit in {16, 17}
    answers(pace, clock, 2000)
    assert pace.limit == 64


def test_slower_answers_at_the_same_limit_lower_it_and_short_ones_never_do() -> None:
    clock = Clock()
    pace = Pace(32, 32, clock)
    answers(pace, clock, 100, seconds=5.0)
    assert pace.limit == 32
    answers(pace, clock, 10, seconds=25.0)
    assert 16 <= pace.limit < 32
    clock = Clock()
    pace = Pace(32, 32, clock)
    answers(pace, clock, 100, seconds=0.01)
    answers(pace, clock, 100, seconds=0.5)
    assert pace.limit == 32


def test_long_answers_are_not_slow_ones() -> None:
    clock = Clock()
    pace = Pace(32, 32, clock)
    answers(pace, clock, 100, seconds=5.0, tokens=50)
    answers(pace, clock, 100, seconds=50.0, tokens=500)
    assert pace.limit == 32


def test_answers_that_slow_down_while_the_limit_grows_do_not_lower_it() -> None:
    clock = Clock()
    pace = Pace(64, 16, clock)
    while pace.limit < 64:
        answers(pace, clock, 8, seconds=3.0 * pace.limit / 16)
    answers(pace, clock, 200, seconds=12.0)
    assert pace.limit == 64


def test_the_queue_in_the_server_takes_back_what_is_our_own() -> None:
    pace = Pace(64, 64)
    assert pace.queued(running=16, waiting=48, in_flight=64)
    assert pace.limit == 20
    pace = Pace(64, 64)
    assert not pace.queued(running=64, waiting=2, in_flight=64)
    assert pace.limit == 64
    pace = Pace(64, 16)
    assert not pace.queued(running=0, waiting=500, in_flight=0)
    # Of a queue that others made, only our part is taken back.
    assert pace.queued(running=100, waiting=200, in_flight=10)
    assert pace.limit >= 1


def test_while_requests_wait_in_the_server_the_limit_does_not_grow() -> None:
    clock = Clock()
    pace = Pace(64, 16, clock)
    pace.queued(running=16, waiting=1, in_flight=16)
    answers(pace, clock, 100)
    assert pace.limit == 16
    pace.queued(running=16, waiting=0, in_flight=16)
    answers(pace, clock, 100)
    assert pace.limit == 64


@given(
    most=st.integers(1, 100),
    start=st.integers(0, 200),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("answered"), st.floats(0, 100), st.integers(0, 1000)),
            st.tuples(st.just("pushed"), st.floats(0, 5), st.integers(0, 200)),
            st.tuples(st.just("queued"), st.integers(0, 10**9), st.integers(0, 10**9)),
            st.tuples(st.just("restart"), st.none(), st.none()),
        ),
        max_size=200,
    ),
)
def test_whatever_happens_the_limit_stays_between_one_and_the_most(most: int, start: int, steps: list[Any]) -> None:
    clock = Clock()
    pace = Pace(most, start, clock)
    for what, one, other in steps:
        began = clock.now
        if what == "answered":
            clock.now += one
            pace.answered(began, other, pace.limit)
        elif what == "pushed":
            clock.now += one
            pace.pushed_back(began, other)
        elif what == "queued":
            pace.queued(one, other, pace.limit)
        else:
            pace.restart()
        assert 1 <= pace.limit <= max(1, most)


# The breaker


def test_three_refused_connections_open_it_and_one_request_that_fails_does_not() -> None:
    breaker, clock = Breaker(60, Clock()), Clock()
    assert [breaker.failed(object(), "unreachable", "no") for _ in range(3)] == [False, False, True]
    assert breaker.state == "open"
    breaker = Breaker(60, clock)
    poison = object()
    assert not any(breaker.failed(poison, "broken", "500") for _ in range(50))
    assert not breaker.failed(object(), "broken", "500")
    assert breaker.failed(object(), "broken", "500")


def test_an_answer_in_between_starts_the_count_anew() -> None:
    breaker = Breaker(60, Clock())
    for _ in range(20):
        assert not breaker.failed(object(), "broken", "x")
        assert not breaker.failed(object(), "unreachable", "x")
        assert not breaker.answered()


def test_a_server_that_is_back_closes_it_and_one_that_stays_away_is_lost() -> None:
    clock = Clock()
    breaker = Breaker(60, clock)
    for _ in range(3):
        breaker.failed(object(), "unreachable", "no")
    probes = []
    while breaker.state == "open":
        probes.append(breaker.until_probe())
        clock.now += probes[-1]
        breaker.failed("probe", "unreachable", "still no")
    assert breaker.state == "lost"
    assert 60 <= sum(probes) < 70
    assert probes[0] < 1 < max(probes) < 11
    assert (breaker.answered(), breaker.state) == (False, "lost")
    breaker = Breaker(60, clock)
    for _ in range(3):
        breaker.failed(object(), "unreachable", "no")
    assert (breaker.answered(), breaker.state, breaker.away) == (True, "closed", 0.0)


def test_a_server_that_asks_to_come_back_next_year_is_away_at_once() -> None:
    breaker = Breaker(60, Clock())
    assert breaker.failed(object(), "gone", "next year")
    assert breaker.state == "open"


@given(st.lists(st.sampled_from(["ok", "unreachable", "broken", "timeout", "wait"]), max_size=80), st.floats(1, 100))
def test_the_breaker_always_lets_a_probe_through_in_time(steps: list[str], outage: float) -> None:
    clock = Clock()
    breaker = Breaker(outage, clock)
    for step in steps:
        if step == "ok":
            breaker.answered()
        elif step == "wait":
            clock.now += 3
        else:
            breaker.failed(object(), step, step)
        if breaker.state == "open":
            assert 0 <= breaker.until_probe() <= 10.01


# The gate


async def test_the_gate_lets_pass_as_many_as_the_limit_and_begun_conversations_first() -> None:
    pace = Pace(2, 2)
    gate, order = Gate(pace, Breaker()), list[str]()

    async def one(name: str, *, begun: bool) -> None:
        await gate.enter(begun=begun)
        order.append(name)
        await asyncio.sleep(0)
        assert gate.in_flight <= 2
        gate.leave()

    names = [("new1", False), ("new2", False), ("new3", False), ("old1", True), ("old2", True)]
    await asyncio.gather(*(one(name, begun=begun) for name, begun in names))
    assert order == ["new1", "new2", "old1", "old2", "new3"]
    assert (gate.in_flight, gate.waiting) == (0, 0)


async def test_cancelled_waiters_leave_no_seat_taken() -> None:
    chance = random.Random(7)
    gate = Gate(Pace(3, 3), Breaker())

    async def one() -> None:
        await gate.enter(begun=chance.random() < 0.5)
        try:
            await asyncio.sleep(chance.choice([0, 0.001]))
        finally:
            gate.leave()

    tasks = [asyncio.create_task(one()) for _ in range(200)]
    while not all(task.done() for task in tasks):
        chance.choice(tasks).cancel()
        await asyncio.sleep(0)
    assert (gate.in_flight, gate.waiting) == (0, 0)
    await one()


async def test_a_rest_is_for_all_requests() -> None:
    clock = Clock()
    gate = Gate(Pace(8, 8), Breaker(), clock)
    gate.rest(0.03)
    coming = [asyncio.create_task(gate.enter(begun=False)) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in coming)
    clock.now += 1
    gate.admit()
    await asyncio.gather(*coming)


# What servers say


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, -3.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "nan"}, None),
        ({"retry-after-ms": "inf"}, math.inf),
        ({"retry-after": "9" * 400}, math.inf),
        ({"retry-after": "²"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 31 Dec 2025 23:59:00 GMT", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}, -60.0),
        ({"retry-after": "Thu, 99 Foo 2026 00:00:30 GMT"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date"]), st.text(max_size=40)))
def test_any_header_gives_a_number_or_nothing(headers: dict[str, str]) -> None:
    found = retry_after(headers)
    assert found is None or not math.isnan(found)


def test_the_backoff_grows_to_a_bound_and_is_never_the_same() -> None:
    waits = [[backoff(number) for _ in range(50)] for number in (1, 3, 10, 10_000)]
    assert all(0.375 <= wait <= 0.625 for wait in waits[0])
    assert all(1.5 <= wait <= 2.5 for wait in waits[1])
    assert all(15 <= wait <= 25 for wait in (*waits[2], *waits[3]))
    assert all(len(set(each)) > 10 for each in waits)


VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 12.0
vllm:num_requests_running{engine="1",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 5.0
vllm:num_requests_waiting{engine="1",model_name="m"} 0.0
vllm:num_requests_waiting_by_reason{engine="1",model_name="m",reason="capacity"} 9.0
"""


@pytest.mark.parametrize(
    ("text", "load"),
    [
        (VLLM, ServerLoad(15, 5)),
        ("llamacpp:requests_processing 4\nllamacpp:requests_deferred 2\n", ServerLoad(4, 2)),
        ('sglang:num_running_reqs{m="x"} 1\nsglang:num_queue_reqs{m="x"} 7 1700000000\n', ServerLoad(1, 7)),
        ("vllm:num_requests_running 4\n", None),
        ("vllm:num_requests_running x\nvllm:num_requests_waiting NaN\n", ServerLoad(0, 0)),
        ("vllm:num_requests_running 1e300\nvllm:num_requests_waiting -5\n", ServerLoad(10**6, 0)),
        ("<html>", None),
        ("", None),
    ],
)
def test_the_load_is_read_from_metrics(text: str, load: ServerLoad | None) -> None:
    assert parse_load(text) == load


@given(st.text(alphabet='vllm:num_requests_running waiting{}"=0123456789.\n#', max_size=300))
def test_any_metrics_give_a_load_or_none(text: str) -> None:
    load = parse_load(text)
    assert load is None or (load.running >= 0 and load.waiting >= 0)


# The clock of a task


async def test_the_clock_of_a_task_stands_still_in_the_queue() -> None:
    async def work(queue: float, then: float) -> None:
        async with asyncio.timeout(0.25) as clock:
            name_clock(clock)
            with clock_stopped():
                await asyncio.sleep(queue)
            await asyncio.sleep(then)

    await work(0.5, 0)
    with pytest.raises(TimeoutError):
        await work(0.1, 10)


# The backend


async def test_an_inner_backend_that_tries_again_itself_is_asked_once() -> None:
    backend = ScriptedBackend([BackendUnavailable("down")])
    async with PacedBackend(backend, 4) as paced:
        with pytest.raises(BackendUnavailable, match=r"^down$"):
            await paced.complete(ASKED)
    assert len(backend.requests) == 1


async def test_a_refusal_is_a_sign_of_life_and_passes() -> None:
    backend = ScriptedBackend([BackendRejected("bad grammar")])
    async with PacedBackend(backend, 4) as paced:
        for _ in range(20):
            with pytest.raises(BackendRejected):
                await paced.complete(ASKED)
        assert (paced.limit, paced.gate.in_flight) == (1, 0)


async def test_never_more_requests_at_once_than_the_limit_and_all_of_it() -> None:
    running, most = 0, 0

    async def answer(request: CompletionRequest) -> Completion:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return Completion("x", usage=Usage(1, 1))

    told: list[tuple[int, str]] = []

    async def tell(limit: int, reason: str) -> None:
        told.append((limit, reason))

    backend = ScriptedBackend([answer], concurrency=4)
    async with PacedBackend(backend, 16, tell=tell) as paced:
        await asyncio.gather(*(paced.complete(ASKED) for _ in range(300)))
        assert paced.limit == 16
    assert most == 16
    assert [limit for limit, _ in told] == [8, 16]


async def test_a_stream_has_its_place_until_its_end() -> None:
    async with PacedBackend(ScriptedBackend(["abcdefgh"]), 1) as paced:
        stream = paced.stream(ASKED)
        first = await anext(stream)
        other = asyncio.create_task(paced.complete(ASKED))
        await asyncio.sleep(0)
        assert (first, paced.gate.in_flight, paced.gate.waiting) == ("abc", 1, 1)
        await stream.aclose()
        assert (await other).text == "abcdefgh"
        assert paced.gate.in_flight == 0


# A key that is refused


def refusing(*models: str | None) -> ScriptedBackend:
    """A backend that refuses the key for some models, and for the others only a request that says `no`."""

    async def answer(request: CompletionRequest) -> Completion:
        if request.model in models or request.messages[0]["content"] == "no":
            raise KeyRefused("refused the key")
        return Completion("ok", usage=Usage(1, 1))

    return ScriptedBackend([answer])


def asks(words: str, model: str | None = None) -> CompletionRequest:
    return CompletionRequest([{"role": "user", "content": words}], model)


async def test_a_key_that_is_refused_for_everything_is_given_up_with_all_that_wait() -> None:
    backend, told = refusing(None), list[str]()
    async with PacedBackend(backend, 2) as paced:
        paced.on_given_up = told.append
        done = await asyncio.gather(*(paced.complete(asks("hi")) for _ in range(9)), return_exceptions=True)
        assert {type(one) for one in done} == {BackendUnavailable}
        assert not any(one.charged for one in done if isinstance(one, BackendUnavailable))
        assert paced.given_up.startswith("the server refuses the key since ")
        assert told == [paced.given_up]
        assert paced.limit == 0
    assert sum(one.messages[0]["content"] == "Say ok." for one in backend.requests) == 1


async def test_one_request_that_is_refused_is_only_that_request() -> None:
    backend = refusing()
    async with PacedBackend(backend, 2) as paced:
        for _ in range(5):
            with pytest.raises(KeyRefused):
                await paced.complete(asks("no"))
        assert (await paced.complete(asks("hi"))).text == "ok"
        assert (paced.given_up, paced.gate.in_flight) == ("", 0)


async def test_a_model_that_the_key_was_never_good_for_is_not_the_key() -> None:
    async with PacedBackend(refusing("b"), 2) as paced:
        assert (await paced.complete(asks("hi", "a"))).text == "ok"
        with pytest.raises(KeyRefused):
            await paced.complete(asks("hi", "b"))
        assert paced.given_up == ""


async def test_a_server_that_falls_silent_at_the_question_has_not_refused_the_key() -> None:
    async def answer(request: CompletionRequest) -> Completion:
        raise BackendUnavailable("down") if request.sampling.max_tokens == 1 else KeyRefused("refused the key")

    async with PacedBackend(ScriptedBackend([answer]), 2) as paced:
        with pytest.raises(KeyRefused):
            await paced.complete(asks("hi"))
        assert paced.given_up == ""
