"""The budget that tasks share: whatever comes and goes, used and reserved never exceed it."""

from __future__ import annotations

import asyncio
import pickle
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_parts import PROMPT, ScriptedBackend, calls, tool

from engine.backends import Completion
from engine.errors import BackendRejected, BackendUnavailable, ConfigError, LimitError
from engine.kernel import Kernel, KernelConfig
from engine.kernel.pool import Ask, Ceiling, Grant, Pool, Spent
from engine.kernel.prices import Prices, Rate, to_amount, to_parts
from engine.manifest.bundle_model import Sampling, TaskLimits
from engine.manifest.engine_model import Price
from engine.messages import Usage
from engine.models import QwenPlugin

NOTHING = Spent()
ECHO = calls(("echo", {"text": "hi"}))


class WatchedPool(Pool):
    """A Pool that checks its promise after each change."""

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name in ("used", "reserved") and hasattr(self, "reserved"):
            self.check()

    def check(self):
        both = self.used + self.reserved
        assert min(self.reserved.tokens, self.reserved.cost) >= 0
        for kind in ("tokens", "cost", "tool_calls"):
            limit = getattr(self.ceiling, kind)
            assert limit is None or getattr(both, kind) <= limit, kind


def prices(**declared):
    return Prices({name.replace("_", "-"): Price(**price) for name, price in declared.items()})


RATE = Rate(prompt=3, completion=7, cached=1)
REQUEST = st.tuples(
    st.integers(1, 60),  # prompt bound
    st.integers(1, 40),  # wanted reply
    st.floats(0, 1),  # how much of it is used
    st.sampled_from(["answer", "answer", "answer", "refused", "lost"]),
    st.integers(0, 3),  # how long it takes
)


async def request(pool, prompt, reply, share, end, pauses):
    """Take a request from its reservation to its end."""
    grant = await pool.reserve(Ask(prompt, reply, rate=RATE))
    assert 1 <= grant.reply <= reply
    try:
        for _ in range(pauses):
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        pool.forfeit(grant)
        raise
    if end == "answer":
        pool.settle(grant, Usage(prompt, round(grant.reply * share), round(prompt * share)))
    elif end == "refused":
        pool.settle(grant, Usage())
    else:
        pool.forfeit(grant)


async def lane(pool, requests, refused):
    """Take one request after the other, until the budget refuses one."""
    for one in requests:
        try:
            await request(pool, *one)
        except LimitError as error:
            refused.append(error)
            return


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(REQUEST, max_size=5), max_size=12),
    st.one_of(st.none(), st.integers(1, 600)),
    st.one_of(st.none(), st.integers(1, 3000)),
    st.integers(0, 9),
)
def test_any_interleaving_keeps_the_promise(lanes, tokens, cost, seed):
    async def main():
        pool, refused = WatchedPool(Ceiling(tokens, cost)), []
        doing = [asyncio.ensure_future(lane(pool, requests, refused)) for requests in lanes]
        chance = random.Random(seed)
        for task in chance.sample(doing, min(len(doing), seed // 3)):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*doing, return_exceptions=True), 10)
        for task in doing:
            assert task.cancelled() or task.exception() is None
        assert pool.reserved == NOTHING
        assert bool(refused) == (pool.exhausted is not None)
        pool.check()

    asyncio.run(main())


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_kernels_that_share_a_budget_never_overshoot_it(data):
    usages = st.builds(lambda p, c: (p, c), st.integers(1, 30), st.integers(0, 20))
    ends = st.sampled_from(["answer", "answer", "answer", "broken", "refused", "silent"])
    limit = data.draw(st.integers(1, 3000))
    count = data.draw(st.integers(1, 8))
    script = data.draw(st.lists(st.tuples(usages, ends, st.integers(0, 3)), min_size=1, max_size=30))

    async def main():
        pool = WatchedPool(Ceiling(limit, to_parts(limit / 100), 9))
        rows = iter(script * 20)

        async def answer(request):
            (prompt, reply), end, pauses = next(rows)
            for _ in range(pauses):
                await asyncio.sleep(0)
            if end == "broken":
                raise BackendUnavailable("broken")
            if end == "refused":
                raise BackendRejected("refused")
            if end == "silent":
                return Completion(ECHO, model="m")
            return Completion(ECHO, usage=Usage(prompt, min(reply, request.sampling.max_tokens)), model="m")

        config = KernelConfig(
            model="m",
            sampling=Sampling(max_tokens=40),
            limits=TaskLimits(tokens=1500),
            budget=pool,
            prices=prices(m={"prompt": 3000, "completion": 9000}),
        )
        kernels = [Kernel(config, QwenPlugin(), [tool()], backend=ScriptedBackend([answer])) for _ in range(count)]
        results = await asyncio.gather(*(one.run(PROMPT, max_turns=4) for one in kernels))
        assert pool.reserved == NOTHING
        reported = sum((one.usage for one in results), Usage())
        assert reported.total_tokens <= pool.used.tokens <= limit
        for one in results:
            if one.termination_reason.startswith("budget"):
                assert pool.exhausted is not None

    asyncio.run(main())


async def test_a_request_waits_for_what_others_hold():
    pool = Pool(Ceiling(tokens=100))
    first = await pool.reserve(Ask(40, 40))
    waiting = asyncio.ensure_future(pool.reserve(Ask(40, 40)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    assert await pool.reserve(Ask(1, 1), wait=False) is None  # nobody goes before who waits
    pool.settle(first, Usage(10, 5))
    assert (await waiting).reply == 40


async def test_the_last_request_is_given_what_is_left():
    pool = Pool(Ceiling(tokens=100))
    first = await pool.reserve(Ask(40, 40))
    waiting = asyncio.ensure_future(pool.reserve(Ask(40, 40)))
    await asyncio.sleep(0)
    pool.settle(first, Usage(40, 5))
    assert (await waiting).reply == 15
    assert pool.reserved == Spent(55)


async def test_what_cannot_fit_is_refused_though_others_hold_something():
    pool = Pool(Ceiling(tokens=100))
    await pool.reserve(Ask(10, 10))
    with pytest.raises(LimitError, match="0 of the run's 100 tokens are used") as caught:
        await pool.reserve(Ask(100, 10))
    assert caught.value.kind == "budget_tokens"
    assert pool.exhausted is caught.value


async def test_a_waiting_request_that_is_cancelled_holds_nobody_up():
    pool = Pool(Ceiling(tokens=100))
    first = await pool.reserve(Ask(40, 40))
    gone, next_one = (asyncio.ensure_future(pool.reserve(Ask(40, 40))) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    pool.settle(first, Usage())
    assert (await next_one).reply == 40
    assert pool.reserved == Spent(80)


async def test_the_time_of_a_task_stands_still_while_it_waits_for_others():
    pool = Pool(Ceiling(tokens=200_000))
    first = await pool.reserve(Ask(190_000, 10))
    config = KernelConfig(budget=pool, on_no_call="finish", limits=TaskLimits(seconds=0.2, tokens=10**6))
    config = replace(config, sampling=Sampling(max_tokens=20_000))
    waiting = asyncio.ensure_future(Kernel(config, QwenPlugin(), backend=ScriptedBackend(["hi"])).run(PROMPT))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    pool.settle(first, Usage())
    assert (await waiting).termination_reason == "no_call"


async def test_all_that_an_owner_held_is_charged_when_it_is_gone():
    pool = Pool(Ceiling(tokens=1000))
    for owner in ("a", "b", "a"):
        await pool.reserve(Ask(10, 10, owner=owner))
    pool.forfeit_all("a")
    assert (pool.used, pool.reserved) == (Spent(40), Spent(20))


async def test_tool_calls_are_counted_before_they_begin():
    pool = Pool(Ceiling(tool_calls=5))
    assert [await pool.take_calls(2) for _ in range(4)] == [2, 2, 1, 0]
    assert pool.used.tool_calls == 5
    assert pool.exhausted.kind == "budget_tool_calls"
    assert "5 of the run's 5 tool calls" in str(pool.exhausted)


async def test_a_limit_on_the_cost_needs_a_price():
    pool = Pool(Ceiling(cost=to_parts(1.5)))
    with pytest.raises(ConfigError, match="no price"):
        await pool.reserve(Ask(10, 10))


async def test_the_cost_lowers_the_reply():
    rate = prices(m={"prompt": 1.0, "completion": 4.0}).rate("m")
    pool = Pool(Ceiling(cost=to_parts(0.0001)))  # 100 millionths: 20 prompt tokens and 20 of the reply
    grant = await pool.reserve(Ask(20, 500, rate=rate))
    assert grant.reply == 20
    pool.settle(grant, Usage(20, 20))
    with pytest.raises(LimitError, match=r"0\.0001 of the run's 0\.0001 of cost are used") as caught:
        await pool.reserve(Ask(1, 1, rate=rate))
    assert caught.value.kind == "budget_cost"


def test_errors_of_limits_travel_between_processes():
    error = pickle.loads(pickle.dumps(LimitError("used up", "budget_tokens")))
    assert (str(error), error.kind) == ("used up", "budget_tokens")
    for value in (Grant(1, 2), Ask(1, 2, rate=Rate(1, 2, 3)), Spent(1, 2, 3), Ceiling(1)):
        assert pickle.loads(pickle.dumps(value)) == value


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 10**4))
def test_costs_add_up_exactly(prompt, completion, cached, price):
    rate = Rate.of(Price(prompt=price, completion=price * 2, cached=price / 3))
    whole, part = Usage(prompt, completion, min(prompt, cached)), Usage(prompt // 3, completion // 3, 0)
    assert rate.cost(whole) + rate.cost(part) == rate.cost(part) + rate.cost(whole)
    assert rate.cost(whole) <= prompt * rate.dearest_prompt + completion * rate.completion
    assert rate.prompt >= price * 10**6 * (1 - 1e-12)  # a price is never rounded down
    assert to_amount(to_parts(price)) == pytest.approx(price, abs=1e-12)


def test_the_adapters_price_goes_before_the_models():
    declared = prices(m={"prompt": 1, "completion": 1}, a={"prompt": 2, "completion": 2})
    assert declared.rate("m", "a").prompt == 2 * declared.rate("m").prompt
    assert declared.rate("m", "b") == declared.rate("m")
    assert declared.rate("other") is None
