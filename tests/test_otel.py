"""Traces of runs, received by a real collector over HTTP: who is whose parent, names, attributes, times."""

from __future__ import annotations

import json

import pytest
from event_parts import IDENTITY
from hypothesis import given, settings
from hypothesis import strategies as st
from otel_collector import attributes, collector
from projects import call
from test_cli import engine

from engine.errors import ConfigError
from engine.events import (
    Bus,
    ErrorOccurred,
    EventLog,
    LogReader,
    ModelRequested,
    ModelResponded,
    RunFinished,
    RunPlanned,
    RunResumed,
    RunStarted,
    TaskFinished,
    TaskStarted,
    ToolCalled,
    ToolReturned,
    event_to_json,
)
from engine.events.telemetry import OtlpTarget, choose_target, tracing
from engine.messages import Usage

SECRET = "def secret(): pass"
MS = 1_000_000


def happenings(run_id="r"):
    """A run with a task of one turn, a task whose model call fails, and one from the cache."""
    ids = {"run_id": run_id, "task_id": "t1"}
    names = IDENTITY | {"node": "f"}
    talk = ({"role": "system", "content": SECRET}, {"role": "user", "content": "go"})
    usage = Usage(100, 20, 60)
    yield RunStarted(run_id=run_id, bundles=("note",), targets=("src",), settings={"backend": "openai"})
    yield RunPlanned(run_id=run_id, files=1, nodes=2, tasks=3)
    yield TaskStarted(**ids, **names)
    yield ModelRequested(**ids, turn=1, model="m", adapter="docs", constraint="ebnf", messages=talk)
    yield ModelResponded(
        **ids,
        turn=1,
        model="m-1",
        adapter="docs",
        text=SECRET,
        tool_calls_count=1,
        finish_reason="stop",
        usage=usage,
        duration_ms=250.0,
    )
    yield ToolCalled(**ids, turn=1, call_id="c1", tool="write", arguments={"text": SECRET})
    yield ToolReturned(
        **ids,
        turn=1,
        call_id="c1",
        tool="write",
        content=SECRET,
        is_error=True,
        summary="",
        outcome="error",
        duration_ms=40.0,
    )
    yield TaskFinished(**ids, **names, outcome="finished", reason="done", usage=usage, seconds=0.3)
    ids["task_id"] = "t2"
    yield TaskStarted(**ids, **names)
    yield ModelRequested(**ids, turn=1, model=None, adapter=None, constraint="none", messages=talk)
    yield ErrorOccurred(**ids, error_type="BackendUnavailable", message=SECRET, turn=1)
    yield TaskFinished(**ids, **names, outcome="failed", reason="error", error=SECRET)
    ids["task_id"] = "t3"
    yield TaskFinished(**ids, **names, outcome="finished", reason="done", cached=True)
    yield RunFinished(run_id=run_id, status="failed", finished=2, failed=1, stopped=0, changes=0, seconds=1.0, cached=1)


async def traced(url, *, content=False):
    async with tracing(OtlpTarget(url, content)) as observer:
        bus = Bus(observer)
        for event in happenings():
            await bus.emit(event)
    return observer


def parents(spans):
    names = {span.span_id: span.name for span in spans}
    return {(span.name, names.get(span.parent_span_id)) for span in spans}


def check_tree(spans):
    assert parents(spans) == {
        ("invoke_workflow note", None),
        ("invoke_agent b", "invoke_workflow note"),
        ("chat m", "invoke_agent b"),
        ("chat", "invoke_agent b"),
        ("execute_tool write", "invoke_agent b"),
    }
    assert len({span.trace_id for span in spans}) == 1
    assert len({span.span_id for span in spans}) == len(spans) == 7
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        above = by_id.get(span.parent_span_id)
        if above is not None:
            assert above.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= above.end_time_unix_nano


def lasted(span):
    return (span.end_time_unix_nano - span.start_time_unix_nano) / MS


async def test_a_run_is_a_tree_of_spans_with_the_conventions_names():
    with collector() as received:
        observer = await traced(received.url)
    assert observer.problem is None
    check_tree(received.spans)
    run, ok, chat, tool, failed, lost, cached = received.spans
    assert (chat.kind, tool.kind, ok.kind) == (3, 1, 1)  # client, internal
    assert attributes(chat) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "engine.turn": 1,
        "engine.adapter": "docs",
        "engine.constraint": "ebnf",
    }
    assert attributes(tool) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "write",
        "gen_ai.tool.call.id": "c1",
        "gen_ai.tool.type": "function",
        "engine.turn": 1,
        "engine.tool.outcome": "error",
        "error.type": "tool_error",
    }
    found = attributes(ok)
    assert (found["gen_ai.operation.name"], found["gen_ai.agent.name"]) == ("invoke_agent", "b")
    assert (found["gen_ai.conversation.id"], found["code.file.path"], found["code.line.number"]) == ("r/t1", "a.py", 1)
    assert (lasted(chat), lasted(tool)) == (250, 40)
    assert (ok.status.code, tool.status.code, lost.status.code, failed.status.code, run.status.code) == (0, 2, 2, 2, 2)
    assert attributes(lost)["error.type"] == "BackendUnavailable"
    assert attributes(failed)["error.type"] == failed.status.message == "error"
    assert attributes(cached)["engine.task.cached"] is True
    found = attributes(run)
    assert (found["engine.run.id"], found["engine.run.status"], found["engine.run.tasks"]) == ("r", "failed", 3)
    resource = received.traces[0].resource_spans[0].resource
    assert attributes(resource)["service.name"] == "engine"


async def test_prompts_replies_and_code_are_sent_only_when_asked():
    with collector() as received:
        await traced(received.url)
    assert all(SECRET.encode() not in request.SerializeToString() for request in (*received.traces, *received.metrics))
    with collector() as received:
        await traced(received.url, content=True)
    (chat,), (tool,) = received.named("chat m"), received.named("execute_tool")
    sent = json.loads(attributes(chat)["gen_ai.input.messages"])
    assert sent[0] == {"role": "system", "parts": [{"type": "text", "content": SECRET}]}
    assert json.loads(attributes(chat)["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": SECRET}], "finish_reason": "stop"}
    ]
    assert json.loads(attributes(tool)["gen_ai.tool.call.arguments"]) == {"text": SECRET}
    assert attributes(tool)["gen_ai.tool.call.result"] == SECRET
    assert received.named("invoke_agent")[1].status.message == SECRET


async def test_the_two_metrics_of_model_calls_are_sent():
    with collector() as received:
        await traced(received.url)
    right, wrong = sorted(
        received.points("gen_ai.client.operation.duration"), key=lambda p: "error.type" in attributes(p)
    )
    assert (right.count, right.sum) == (1, 0.25)
    assert list(right.explicit_bounds)[:3] == [0.01, 0.02, 0.04]
    assert attributes(right) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m-1",
    }
    assert attributes(wrong)["error.type"] == "BackendUnavailable"
    tokens = {attributes(p)["gen_ai.token.type"]: p for p in received.points("gen_ai.client.token.usage")}
    assert (tokens["input"].sum, tokens["output"].sum) == (100, 20)
    assert list(tokens["input"].explicit_bounds)[-1] == 67108864


# -- later, from the log


def store(path, *, run_id="r", start=1_700_000_000.0):
    """Store a run whose events are a second apart."""
    times = iter(range(1000))
    with EventLog(path, clock=lambda: start + next(times)) as log:
        for event in happenings(run_id):
            log.append(event)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "engine.yaml").write_text("")
    return tmp_path / ".engine" / "events.db"


def test_a_past_run_is_sent_with_its_own_times_and_always_as_the_same_trace(path, tmp_path):
    store(path)
    seen = []
    for _ in range(2):
        with collector() as received:
            ran = engine("events", "--otel", received.url, cwd=tmp_path)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout == f"7 spans of run r sent to {received.url}\n"
        check_tree(received.spans)
        assert received.metrics == []
        seen.append({(span.trace_id, span.span_id, span.name) for span in received.spans})
    assert seen[0] == seen[1]
    run, ok, chat, *_ = received.spans
    assert run.start_time_unix_nano == 1_700_000_000 * 1000 * MS
    assert (ok.start_time_unix_nano - run.start_time_unix_nano) / MS == 2000
    assert (lasted(chat), lasted(ok)) == (250, 5000)


def test_a_clock_that_was_set_back_turns_no_span_around(path):
    times = iter([1000.0, 900.0, 2000.0, 100.0, 50.0, 3000.0] + [5.0] * 20)
    with EventLog(path, clock=lambda: next(times)) as log:
        for event in happenings():
            log.append(event)
    from engine.events.otel import export_run

    with collector() as received, LogReader(path) as reader:
        assert export_run(reader.events("r"), OtlpTarget(received.url)) == 7
    check_tree(received.spans)
    assert lasted(received.named("chat m")[0]) == 250


def test_a_run_that_was_broken_off_and_went_on_is_two_spans_of_one_trace(path):
    from engine.events.otel import export_run

    names = IDENTITY | {"node": "f"}
    with EventLog(path) as log:
        log.append(RunStarted(run_id="r", bundles=("note",), targets=("src",), settings={"backend": "embedded"}))
        log.append(TaskStarted(run_id="r", task_id="t", **names))
        log.append(RunResumed(run_id="r", done=0, left=1))
        log.append(TaskStarted(run_id="r", task_id="t", **names))
        request = {"turn": 1, "adapter": None, "constraint": "none", "messages": ()}
        log.append(ModelRequested(run_id="r", task_id="t", model="m", **request))
        log.flush()
        with collector() as received:
            assert export_run(log.events("r"), OtlpTarget(received.url)) == 5
    first, second = received.named("invoke_workflow note")
    assert first.trace_id == second.trace_id
    assert [attributes(span)["engine.run.status"] for span in (first, second)] == ["interrupted", "interrupted"]
    tasks = received.named("invoke_agent")
    assert [span.parent_span_id for span in tasks] == [first.span_id, second.span_id]
    assert all(attributes(span)["error.type"] == "interrupted" for span in tasks)
    (chat,) = received.named("chat")
    assert (chat.kind, attributes(chat)["error.type"]) == (1, "cancelled")


def test_a_long_run_is_sent_whole(path):
    from engine.events.otel import export_run

    with EventLog(path) as log:
        log.append(RunStarted(run_id="r", bundles=("note",), targets=("src",)))
        for number in range(3000):
            log.append(
                TaskFinished(run_id="r", task_id=f"t{number}", node="f", **IDENTITY, outcome="skipped", reason="")
            )
        log.flush()
        with collector() as received:
            assert export_run(log.events("r"), OtlpTarget(received.url)) == 3001
    assert len({span.span_id for span in received.spans}) == 3001


@settings(max_examples=30, deadline=None)
@given(order=st.lists(st.integers(0, 12), max_size=30), text=st.text())
def test_events_in_any_order_and_of_any_text_are_sent(order, text):
    from engine.events.otel import export_run

    made = list(happenings())
    made[0] = RunStarted(run_id="r", bundles=(text,), targets=(text,), settings={"backend": text})
    events = [event_to_json(made[place], number, float(number)) for number, place in enumerate(order, 1)]
    with collector() as received:
        sent = export_run(events, OtlpTarget(received.url, content=True))
    assert sent == len(received.spans)


def test_what_cannot_be_sent_is_one_clear_line(path, tmp_path):
    store(path)
    with collector() as received:
        received.status = 400
        ran = engine("events", "--otel", received.url, cwd=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert "did not take the spans: is it there, and does it speak OTLP over HTTP?" in ran.stderr
    assert "no URL of a collector" in engine("events", "--otel", "localhost:4318", cwd=tmp_path).stderr
    assert "leave --follow" in engine("events", "--follow", "--otel", "http://x", cwd=tmp_path).stderr


def test_where_traces_go():
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://env:4318"}
    assert choose_target(None, None, {}) is None
    assert choose_target("http://a", "http://b", env) == OtlpTarget("http://a")
    assert choose_target(None, "http://b", env) == OtlpTarget("http://b")
    assert choose_target(None, None, env) == OtlpTarget(None)
    assert choose_target("http://a", None, env | {"OTEL_SDK_DISABLED": "true"}) is None
    capture = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    for word, wanted in (("true", True), ("SPAN_ONLY", True), ("NO_CONTENT", False), ("EVENT_ONLY", False)):
        assert choose_target("http://a", None, {capture: word}).content is wanted
    with pytest.raises(ConfigError, match="'a:4318' is no URL"):
        choose_target("a:4318", None, {})
    assert OtlpTarget("http://a/").signal("traces") == "http://a/v1/traces"
    assert OtlpTarget().signal("traces") is None


def test_tool_calls_of_a_history_keep_their_form():
    from engine.events.span_content import input_messages

    asked = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [
        {"role": "assistant", "content": None, "tool_calls": [asked]},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
        {"role": "user", "content": call("x")},
    ]
    first, second, third = input_messages(history)
    assert first["parts"] == [{"type": "tool_call", "id": "c", "name": "f", "arguments": "{}"}]
    assert second["parts"] == [{"type": "tool_call_response", "id": "c", "response": "done"}]
    assert third["parts"] == [{"type": "text", "content": call("x")}]
