"""The turn loop: every way it ends, what it tells, what it sends."""

from __future__ import annotations

import asyncio
import logging

import pytest
from kernel_parts import PLUGIN, PROMPT, Memory, ScriptedBackend, calls, tool

from engine.backends import Completion
from engine.errors import BackendRejected, BackendUnavailable, ConfigError
from engine.grammar.constraint import ConstraintOptions
from engine.kernel import Kernel, KernelConfig, RuntimeClient, RuntimeConfig
from engine.manifest.bundle_model import Sampling, TaskLimits
from engine.messages import Message, Usage
from engine.models import Adapter
from engine.tools import ToolEnvironment

ECHO = calls(("echo", {"text": "a"}))
SUBMIT = calls(("submit", {"text": "done"}))
BROKEN = '<tool_call>\n{"name": "echo", "arguments": {"text": \n</tool_call>'


def kernel(script, observer=None, tools=None, environment=None, **config):
    backend = script if isinstance(script, ScriptedBackend) else ScriptedBackend(list(script))
    tools = [tool(), tool("submit")] if tools is None else tools
    return Kernel(KernelConfig(**config), PLUGIN, tools, observer, backend, environment), backend


async def ended(script, *, max_turns=4, termination="submit", **config):
    loop, _ = kernel(script, **config)
    return await loop.run(PROMPT, max_turns=max_turns, termination=termination)


async def test_the_termination_tool_ends_the_run():
    result = await ended([ECHO, SUBMIT])
    assert (result.termination_reason, result.turn_count, result.finished, result.error) == (
        "termination_tool",
        2,
        True,
        None,
    )
    assert result.final_tool_result.content == "done"
    assert [one.content for one in result.tool_results] == ["a", "done"]
    assert result.usage == Usage(20, 10)
    assert [message.role for message in result.history] == ["system", "user", "assistant", "tool", "assistant", "tool"]
    assert result.history[3] == Message("tool", "a", tool_call_id=result.history[2].tool_calls[0].id, name="echo")


async def test_a_termination_tool_that_failed_lets_the_model_try_again():
    result = await ended([calls(("submit", {"text": "error: no"})), SUBMIT])
    assert (result.termination_reason, result.turn_count) == ("termination_tool", 2)
    assert result.final_tool_result.content == "done"


async def test_termination_may_be_a_test_of_each_result():
    result = await ended([ECHO, calls(("echo", {"text": "stop"}))], termination=lambda result: result.content == "stop")
    assert (result.termination_reason, result.turn_count) == ("termination_tool", 2)


async def test_text_is_a_failure_or_an_end():
    failed = await ended(["just text"])
    assert (failed.termination_reason, failed.finished, failed.text) == ("no_tool_call", False, "just text")
    assert "tool call is required" in failed.error
    finished = await ended(["just text"], on_no_call="finish")
    assert (finished.termination_reason, finished.finished, finished.error) == ("no_call", True, None)


async def test_without_tools_text_is_the_only_end():
    loop, backend = kernel(["hello"], tools=[])
    result = await loop.run(PROMPT)
    assert (result.termination_reason, result.text) == ("no_call", "hello")
    assert backend.requests[0].constraint.kind == "none"


async def test_max_turns_ends_the_run():
    result = await ended([ECHO], max_turns=3)
    assert (result.termination_reason, result.turn_count) == ("max_turns", 3)
    assert result.error == "all 3 turns are used without a successful submit"
    assert (await ended([ECHO], max_turns=0)).termination_reason == "max_turns"


async def test_a_reply_that_was_cut_off_is_never_a_call():
    cut = Completion(SUBMIT, finish_reason="length", usage=Usage(10, 512), model="m")
    result = await ended([cut], max_turns=2)
    assert (result.termination_reason, result.turn_count, result.tool_results) == ("truncated", 2, ())
    assert "cut off after 512 tokens" in result.error
    assert result.history[2] == Message("assistant", SUBMIT)
    assert result.history[3].role == "user"
    assert "cut off after 512 tokens" in result.history[3].content
    assert (await ended([cut, SUBMIT])).finished


async def test_a_malformed_call_goes_back_to_the_model():
    backend = ScriptedBackend([BROKEN, SUBMIT])
    result = await ended(backend)
    assert (result.termination_reason, result.turn_count) == ("termination_tool", 2)
    first, second = (request.messages for request in backend.requests)
    assert len(second) == len(first) + 2
    assert '{"name": "echo", "arguments"' in second[-2]["content"]
    assert "could not be read" in second[-1]["content"]
    assert (await ended([BROKEN], max_turns=2)).termination_reason == "malformed_call"


async def test_beside_a_malformed_call_the_good_ones_run():
    result = await ended([ECHO + "\n" + BROKEN, SUBMIT], options=ConstraintOptions(parallel_calls=True))
    assert [one.content for one in result.tool_results] == ["a", "done"]
    assert [message.role for message in result.history[2:]] == ["assistant", "tool", "user", "assistant", "tool"]


async def test_an_unknown_tool_is_an_error_result():
    result = await ended([calls(("ehco", {"text": "a"})), SUBMIT])
    assert result.tool_results[0].is_error
    assert "there is no tool 'ehco'" in result.tool_results[0].content


async def test_a_tool_that_is_not_on_offer_cannot_be_called():
    loop, backend = kernel([SUBMIT])
    echo_only = [{"type": "function", "function": {"name": "echo", "parameters": loop.tools[0].schema.parameters}}]
    result = await loop.run(PROMPT, echo_only, max_turns=1, termination="submit")
    assert (result.termination_reason, result.tool_results[0].is_error) == ("max_turns", True)
    assert "submit" not in backend.requests[0].messages[0]["content"]


@pytest.mark.parametrize(
    ("failure", "reason", "message"),
    [
        (BackendUnavailable("http://x is down"), "server", "http://x is down"),
        (BackendRejected("http://x refused"), "error", "http://x refused"),
        (KeyError("bug"), "error", "KeyError: 'bug'"),
        (TimeoutError("socket"), "error", "TimeoutError: socket"),
    ],
)
async def test_a_failure_is_the_result(failure, reason, message, caplog):
    memory = Memory()
    loop, _ = kernel([ECHO, failure], memory)
    with caplog.at_level(logging.DEBUG, "engine.kernel"):
        result = await loop.run(PROMPT)
    assert (result.termination_reason, result.error, result.turn_count) == (reason, message, 1)
    assert reason == "server" or caplog.records[-1].exc_info[1] is failure
    assert memory.only("error:occurred")[-1].message == message
    assert memory.events[-1].termination_reason == reason


async def test_a_constraint_that_cannot_be_made_is_an_error_and_step_raises_it():
    loop, _ = kernel([ECHO], options=ConstraintOptions(strategy="typo"))
    assert (await loop.run(PROMPT)).termination_reason == "error"
    with pytest.raises(ConfigError):
        await loop.step(PROMPT)


async def test_the_events_tell_the_whole_story():
    memory = Memory()
    loop, backend = kernel([ECHO, SUBMIT], memory, run_id="r", task_id="t")
    await loop.run(PROMPT, termination="submit", max_turns=5)
    turn = ["model:requested", "model:responded", "tool:called", "tool:returned", "turn:completed"]
    assert memory.types == ["kernel:started", *turn, *turn, "kernel:ended"]
    assert {(event.run_id, event.task_id) for event in memory.events} == {("r", "t")}
    assert [event.messages for event in memory.only("model:requested")] == [
        tuple(request.messages) for request in backend.requests
    ]
    assert memory.only("model:requested")[0].constraint == "typed@1 ebnf"
    assert [(event.turn, event.errors_count) for event in memory.only("turn:completed")] == [(1, 0), (2, 0)]
    assert (memory.events[0].max_turns, memory.events[0].tools_count) == (5, 2)
    assert (memory.events[-1].turn_count, memory.events[-1].termination_reason) == (2, "termination_tool")


async def test_an_observer_that_raises_changes_nothing():
    class Broken:
        async def on_tool_call(self, event):
            raise RuntimeError("no")

    loop, _ = kernel([ECHO, SUBMIT], Broken())
    assert (await loop.run(PROMPT, termination="submit")).finished


async def test_calls_of_a_turn_run_side_by_side_and_answer_in_order():
    running, most = 0, 0

    async def slow(text):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05 / (int(text) + 1))
        running -= 1
        return text

    reply = calls(*(("slow", {"text": str(number)}) for number in range(6)))
    for slots, expected in ((10, 6), (2, 2)):
        most = 0
        loop, _ = kernel([reply], tools=[tool("slow", slow)], max_concurrent_tools=slots)
        step = await loop.step(PROMPT)
        assert [one.content for one in step.results] == list("012345")
        assert [one.call_id for one in step.results] == [call.id for call in step.reply.tool_calls]
        assert most == expected


async def test_a_tool_that_raises_is_an_error_result_and_its_siblings_go_on():
    async def breaks(text):
        raise ValueError("broken")

    loop, _ = kernel(
        [calls(("breaks", {"text": "a"}), ("echo", {"text": "b"}))], tools=[tool("breaks", breaks), tool()]
    )
    step = await loop.step(PROMPT)
    assert [(one.is_error, one.content) for one in step.results] == [(True, "breaks: ValueError: broken"), (False, "b")]


async def test_too_many_tool_calls_are_not_run_and_end_the_run():
    seen = []

    async def count(text):
        seen.append(text)
        return text

    reply = calls(*(("count", {"text": str(number)}) for number in range(3)))
    memory = Memory()
    loop, _ = kernel([reply], memory, tools=[tool("count", count)], limits=TaskLimits(tool_calls=4))
    result = await loop.run(PROMPT)
    assert (result.termination_reason, result.turn_count, len(seen)) == ("limit_tool_calls", 2, 4)
    assert [one.is_error for one in result.tool_results] == [False] * 4 + [True] * 2
    assert "limit of 4 tool calls" in result.tool_results[-1].content
    assert len(memory.only("tool:called")) == 4


async def test_a_success_at_the_limit_is_a_success():
    result = await ended([calls(("submit", {"text": "ok"}), ("echo", {"text": "b"}))], limits=TaskLimits(tool_calls=1))
    assert result.termination_reason == "termination_tool"


async def test_tokens_are_limited_before_they_are_spent():
    backend = ScriptedBackend([ECHO], counted=60)
    loop, _ = kernel(backend, sampling=Sampling(max_tokens=50), limits=TaskLimits(tokens=100))
    result = await loop.run(PROMPT)
    assert [request.sampling.max_tokens for request in backend.requests] == [40, 25, 10]
    assert result.termination_reason == "limit_tokens"
    assert "45 of 100 tokens are used" in result.error


async def test_a_backend_that_cannot_count_is_limited_by_what_it_reported():
    backend = ScriptedBackend([Completion(ECHO, usage=Usage(500, 50), model="m")])
    loop, _ = kernel(backend, sampling=Sampling(max_tokens=100), limits=TaskLimits(tokens=1300))
    result = await loop.run(PROMPT)
    assert [request.sampling.max_tokens for request in backend.requests] == [100, 100]
    assert (result.termination_reason, result.usage.total_tokens) == ("limit_tokens", 1100)


async def test_time_is_limited_and_tools_are_stopped():
    stopped = []

    async def hangs(text):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append(text)
            raise

    memory = Memory()
    reply = calls(("hangs", {"text": "a"}), ("hangs", {"text": "b"}))
    loop, _ = kernel([reply], memory, tools=[tool("hangs", hangs)], limits=TaskLimits(seconds=0.05))
    result = await loop.run(PROMPT)
    assert (result.termination_reason, result.error) == ("limit_seconds", "the limit of 0.05 seconds is used up")
    assert sorted(stopped) == ["a", "b"]
    assert memory.types[-2:] == ["error:occurred", "kernel:ended"]


async def test_cancellation_passes_through_and_is_told():
    asked = asyncio.Event()

    async def forever(request):
        asked.set()
        await asyncio.sleep(60)

    memory = Memory()
    loop, _ = kernel([forever], memory)
    task = asyncio.create_task(loop.run(PROMPT))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert memory.events[-1].termination_reason == "cancelled"
    assert "error:occurred" not in memory.types


async def test_the_context_provider_chooses_model_adapter_and_prompt_of_each_turn():
    docs, fix = Adapter("docs"), Adapter("fix")
    turns = []

    async def provider(turn, last_tools):
        turns.append((turn, last_tools))
        return [
            {"adapter": fix, "node_text": "one"},
            {"adapter": None, "node_text": "two"},
            {"prompt": [Message("user", "Anew.")]},
        ][turn - 1]

    one = tool()
    loop, backend = kernel(
        [ECHO, ECHO, SUBMIT],
        tools=[one, tool("submit")],
        model="small",
        adapter=docs,
        environment=ToolEnvironment({"node_text": "old", "node_name": "f"}),
    )
    result = await loop.run(PROMPT, termination="submit", context_provider=provider)
    assert result.finished
    assert [(request.model, request.adapter) for request in backend.requests] == [
        ("small", fix),
        ("small", None),
        ("small", docs),
    ]
    assert turns == [(1, ()), (2, ("echo",)), (3, ("echo",))]
    assert [environment.inputs for environment in one.environments] == [
        {"node_text": "one", "node_name": "f"},
        {"node_text": "two", "node_name": "f"},
    ]
    assert len(result.history) == 7
    assert result.history[0] == Message("user", "Anew.")
    assert "Do it." in str(backend.requests[1].messages)
    assert "Do it." not in str(backend.requests[2].messages)


async def test_a_context_provider_may_take_nothing_and_return_nothing():
    asked = 0

    async def provider():
        nonlocal asked
        asked += 1

    loop, _ = kernel([ECHO, SUBMIT])
    assert (await loop.run(PROMPT, termination="submit", context_provider=provider)).finished
    assert asked == 2


async def test_a_context_provider_that_fails_ends_the_run():
    async def provider(turn):
        raise ConfigError(f"no context in turn {turn}")

    loop, backend = kernel([ECHO])
    result = await loop.run(PROMPT, context_provider=provider)
    assert (result.termination_reason, result.error, backend.requests) == ("error", "no context in turn 1", [])


async def test_a_step_takes_model_and_context():
    loop, backend = kernel([ECHO], model="small")
    step = await loop.step(PROMPT, context={"model_override": "mid"}, turn=3)
    await loop.step([*PROMPT, *step.messages], model="big", context={"model_override": "mid"})
    assert [request.model for request in backend.requests] == ["mid", "big"]
    assert (step.finish_reason, step.usage, step.model, step.problem) == ("stop", Usage(10, 5), "mid", None)
    assert [message.role for message in step.messages] == ["assistant", "tool"]


async def test_equal_inputs_give_equal_requests_and_long_histories_are_trimmed():
    one, first = kernel([ECHO], history=6)
    two, second = kernel([ECHO], history=6)
    await one.run(PROMPT, max_turns=6)
    await two.run(PROMPT, max_turns=6)
    assert first.requests == second.requests
    assert [len(request.messages) for request in first.requests] == [2, 4, 6, 6, 6, 6]
    assert all(request.messages[1]["content"] == "Do it." for request in first.requests)


async def test_a_given_backend_stays_open():
    loop, backend = kernel([SUBMIT])
    async with loop:
        await loop.run(PROMPT, termination="submit")
    assert not backend.closed


async def test_one_kernel_serves_many_runs_at_once():
    loop, _ = kernel([ECHO])
    results = await asyncio.gather(*(loop.run(PROMPT, max_turns=turns) for turns in range(1, 6)))
    assert [result.turn_count for result in results] == [1, 2, 3, 4, 5]


async def test_the_client_asks_once_and_runs_nothing():
    backend = ScriptedBackend([ECHO])
    one = tool()
    client = RuntimeClient(RuntimeConfig(model="m"), PLUGIN, backend)
    reply = await client.run("Do it.", [one.schema], system="Be brief.", model="big")
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("echo", {"text": "a"})]
    assert (reply.usage, one.environments) == (Usage(10, 5), [])
    (request,) = backend.requests
    assert (request.model, request.constraint.kind) == ("big", "ebnf")
    assert [message["role"] for message in request.messages] == ["system", "user"]


async def test_the_client_reports_a_cut_reply():
    client = RuntimeClient(RuntimeConfig(), PLUGIN, ScriptedBackend([Completion(ECHO, finish_reason="length")]))
    reply = await client.run("Do it.", [tool().schema])
    assert (reply.text, reply.tool_calls, len(reply.malformed)) == (ECHO, (), 1)
    plain = await RuntimeClient(RuntimeConfig(), PLUGIN, ScriptedBackend(["hello"])).run("Hi")
    assert (plain.text, plain.tool_calls) == ("hello", ())
