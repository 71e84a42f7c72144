"""What a run makes of a server that fails in every way: real HTTP, real runs, one clear line for each."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from kernel_parts import Memory
from processes import descendants
from projects import MANIFEST, TOOL, call, make_bundle, make_project
from scripted_server import Reply, ScriptedServer, breaks_off, drips, fails, ok, raw, scripted_server, send, slow
from test_cli import engine as command

from engine.app import App, RunRequest
from engine.backends import OpenAIBackend
from engine.events import LogReader, PaceChanged, RunFinished, TaskFinished, TaskStarted

HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


def node_of(body: Any) -> str:
    """The node that a chat request is about."""
    text: str = next(message["content"] for message in body["messages"] if message["role"] == "user")
    return text.split(":", 1)[0].removeprefix("Comment ")


def only(name: str, reply: Reply) -> Callable[[Any], Reply | None]:
    """Do this to requests about one node."""
    return lambda body: reply if node_of(body) == name else None


def settings(project: Path, **run: Any) -> None:
    body = ", ".join(f"{key}: {value}" for key, value in run.items())
    (project / "engine.yaml").write_text(f"run: {{{body}}}\n")


async def go(
    project: Path, bundle: Path, server: ScriptedServer, *, patience: float | None = None, **asked: Any
) -> tuple[Any, Memory, dict[str, Any]]:
    """Run, and see that nothing is left behind: no asyncio task, no connection."""
    seen, before = Memory(), asyncio.all_tasks()
    request = RunRequest([bundle], [project], base_url=server.api, cache=False, **asked)
    async with contextlib.AsyncExitStack() as stack:
        backend = None
        if patience is not None:
            backend = OpenAIBackend(server.api, timeout=patience, retries=0)
            stack.push_async_callback(backend.aclose)
        async with App.open(project).session(request, backend=backend) as session, asyncio.timeout(60):
            result = await session.run([seen])
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    gc.collect()  # a connection that was not closed would warn, and warnings are errors
    ended = {one.node: one for one in seen.of(TaskFinished)}
    assert ended.keys() == {one.node for one in seen.of(TaskStarted)}
    return result, seen, ended


def many(folder: Path, count: int) -> Path:
    return make_project(folder, {"m.py": "".join(f"def f{n}():\n    return {n}\n\n\n" for n in range(count))})


# How the server fails a request for `second`, and what the task's error says.
FAULTS: dict[str, tuple[Reply, str]] = {
    "500": (fails(500, "out of memory"), "answered 500: out of memory"),
    "502 with a page": (raw(HTML, 502), "answered 502: "),
    "503": (fails(503, "warming up"), "answered 503: warming up"),
    "429": (fails(429, "slow down"), "answered 429: slow down"),
    "garbage": (raw(b"{nope"), "something that is not JSON: '{nope'"),
    "a page with 200": (raw(HTML), "something that is not JSON: '<html>"),
    "other JSON": (raw(b'{"a": 1}'), "answered without a choice"),
    "a list": (raw(b"[]"), "answered without a choice"),
    "JSON that is deep": (raw(b"[" * 100_000), "something that is not JSON"),
    "no text but a number": (raw(b'{"choices": [{"message": {"content": 3}}]}'), "answered without a choice"),
    "nothing in it": (raw(b""), "something that is not JSON: ''"),
    "half an answer": (breaks_off(20), "broke off in the middle of an answer"),
    "no answer": (breaks_off(0), "broke off in the middle of an answer"),
    "401": (fails(401, "who are you"), "refused the key (401)"),
    "400": (fails(400, "bad request"), "refused the request"),
}


async def test_a_fault_of_one_request_ends_one_task_with_one_line(
    tmp_path: Path, bundle: Path, server: ScriptedServer
) -> None:
    """Every second task meets a fault; those between them go on."""
    names = [f"{kind}{number}" for number in range(len(FAULTS)) for kind in ("good", "bad")]
    project = make_project(tmp_path / "p", {"m.py": "".join(f"def {name}():\n    pass\n\n\n" for name in names)})
    faults = dict(zip((name for name in names if name.startswith("bad")), FAULTS.items(), strict=True))

    def reply(body: Any) -> Reply | None:
        name = node_of(body)
        return faults[name][1][0] if name in faults else None

    server.reply = reply
    settings(project, retries=0, attempts=1)
    result, seen, ended = await go(project, bundle, server, concurrency=1)
    assert result.status == "failed"
    assert not [one for one in seen.of(PaceChanged) if one.limit == 0]
    assert {one.outcome for name, one in ended.items() if name not in faults} == {"finished"}
    for name, (fault, (_, words)) in faults.items():
        one = ended[name]
        assert (one.outcome, fault, one.reason) == ("failed", fault, "error" if fault in {"400", "401"} else "server")
        assert words in str(one.error), fault
        assert not {"\n", "Traceback"} & set(str(one.error))


def test_the_command_line_says_one_line(project: Path, bundle: Path, server: ScriptedServer) -> None:
    reply, words = FAULTS["garbage"]
    server.reply = only("second", reply)
    settings(project, retries=0, attempts=1)
    done = command("run", bundle, "-t", "src", "--base-url", server.api, cwd=project)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "2 finished" in done.stdout
    assert "1 failed" in done.stdout


async def test_a_failure_in_passing_is_tried_again_and_not_told_as_a_failure(
    project: Path, bundle: Path, server: ScriptedServer
) -> None:
    server.chat = [fails(500), raw(b"{nope")]
    settings(project, retries=3)
    result, _, ended = await go(project, bundle, server, concurrency=1)
    assert (result.status, len(ended)) == ("finished", 3)
    assert {one.attempts for one in ended.values()} == {1}


async def test_a_task_is_tried_again_from_its_beginning(project: Path, bundle: Path, server: ScriptedServer) -> None:
    server.chat = [fails(500), ok(call("does it"))]
    settings(project, retries=0, attempts=2)
    result, seen, ended = await go(project, bundle, server, nodes=["first"])
    assert (result.status, ended["first"].attempts, len(server.bodies)) == ("finished", 2, 2)
    assert len(seen.of(TaskStarted)) == 1
    with LogReader(project / ".engine/events.db") as log:
        (row,) = log.tasks(result.run_id)
    assert (row.state, row.attempts) == ("finished", 2)


async def test_what_fails_for_good_is_in_the_table(project: Path, bundle: Path, server: ScriptedServer) -> None:
    server.reply = only("second", fails(500, "cursed"))
    settings(project, retries=0, attempts=2)
    result, _, ended = await go(project, bundle, server)
    assert (result.status, ended["second"].attempts) == ("failed", 2)
    with LogReader(project / ".engine/events.db") as log:
        (row,) = log.tasks(result.run_id, ["failed"])
    assert (row.node, row.reason, row.attempts) == ("second", "server", 2)
    assert row.error is not None
    assert "answered 500: cursed" in row.error


async def test_a_task_that_fails_otherwise_is_not_tried_again(
    project: Path, bundle: Path, server: ScriptedServer
) -> None:
    server.text = "I would rather not."
    settings(project, attempts=5)
    _, _, ended = await go(project, bundle, server)
    assert {one.attempts for one in ended.values()} == {1}
    assert len(server.bodies) == 3


# Answers without an end


@pytest.mark.parametrize(
    "reply",
    [drips(b" ", 0.05), drips(b"x" * 10, 0.05, b'{"choices": ['), slow(30)],
    ids=["a byte now and then", "an answer without an end", "nothing for long"],
)
async def test_an_answer_that_does_not_come_is_given_up(
    project: Path, bundle: Path, server: ScriptedServer, reply: Reply
) -> None:
    server.reply = only("second", reply)
    settings(project, attempts=1)
    result, _, ended = await go(project, bundle, server, patience=0.7)
    assert {name: one.outcome for name, one in ended.items()} == {
        "first": "finished",
        "second": "failed",
        "Thing.third": "finished",
    }
    assert "did not answer in time" in ended["second"].error
    assert result.status == "failed"


async def test_a_task_s_own_limit_ends_an_answer_without_an_end_and_closes_the_connection(
    tmp_path: Path, project: Path, server: ScriptedServer
) -> None:
    bundle = make_bundle(tmp_path / "b", MANIFEST + "limits: {seconds: 0.6}\n")
    gone = threading.Event()
    server.reply = only("second", drips(b" ", 0.02, gone=gone))
    result, _, ended = await go(project, bundle, server)
    assert (ended["second"].outcome, ended["second"].reason) == ("stopped", "limit_seconds")
    assert {ended["first"].outcome, ended["Thing.third"].outcome} == {"finished"}
    assert await asyncio.to_thread(gone.wait, 10)
    assert result.status == "failed"


async def test_an_answer_that_is_too_large_does_not_fill_the_memory(
    project: Path, bundle: Path, server: ScriptedServer
) -> None:
    server.reply = only("second", drips(b" " * (4 << 20), 0))
    settings(project, attempts=1, retries=0)
    _, _, ended = await go(project, bundle, server)
    assert "sent more than 64 MB in one answer" in ended["second"].error
    assert ended["first"].outcome == "finished"


async def test_a_slow_tool_stops_its_own_task_only(tmp_path: Path, project: Path, server: ScriptedServer) -> None:
    manifest = MANIFEST + "limits: {seconds: 1.5}\n"
    manifest = manifest.replace('write: ["**/*.py"]', 'write: ["**/*.py"], run: [[sleep]]')
    tool = TOOL.replace(
        "head, newline",
        "@external\nasync def run_command(cmd: str, args: list[str]) -> dict[str, object]:\n"
        '    """Run."""\n    ...\n\n\n'
        'if comment == "slow":\n    await run_command("sleep", ["600"])\nhead, newline',
    )
    bundle = make_bundle(tmp_path / "b", manifest, tool)
    server.text = lambda body: call("slow" if node_of(body) == "second" else "quick")
    before = descendants(os.getpid())
    _, _, ended = await go(project, bundle, server)
    assert {name: one.outcome for name, one in ended.items()} == {
        "first": "finished",
        "second": "stopped",
        "Thing.third": "finished",
    }
    assert ended["second"].reason == "limit_seconds"
    assert descendants(os.getpid()) <= before


# 429 and Retry-After


def in_seconds(seconds: float) -> str:
    return formatdate(time.time() + seconds, usegmt=True)


async def test_retry_after_is_honoured_or_ignored_but_never_ends_a_task(
    tmp_path: Path, bundle: Path, server: ScriptedServer
) -> None:
    headers = ["0", "-5", "soon", "0.2", in_seconds(1), in_seconds(-1e6), "nan"]
    project = many(tmp_path / "many", len(headers))
    for header in headers:
        server.chat += [fails(429, "slow down", {"Retry-After": header}), ok(call("does it"))]
    result, seen, _ = await go(project, bundle, server, concurrency=1)
    assert (result.status, result.count("finished")) == ("finished", len(headers))
    assert not [one for one in seen.of(PaceChanged) if one.limit == 0]


async def test_what_one_request_is_asked_to_wait_all_of_them_wait(
    project: Path, bundle: Path, server: ScriptedServer
) -> None:
    times: list[float] = []

    def reply(body: Any) -> Reply | None:
        times.append(time.monotonic())
        return fails(429, "slow down", {"Retry-After": "1"}) if len(times) == 1 else None

    server.reply = reply
    (project / "src/many.py").write_text("".join(f"def f{n}():\n    return {n}\n\n\n" for n in range(6)))
    result, _, _ = await go(project, bundle, server, concurrency=1)
    assert (result.status, len(times)) == ("finished", 10)
    assert times[1] - times[0] >= 0.9


async def test_the_limit_goes_down_with_429_and_says_so(tmp_path: Path, bundle: Path, server: ScriptedServer) -> None:
    project = make_project(
        tmp_path / "many", {"m.py": "".join(f"def f{n}():\n    return {n}\n\n\n" for n in range(60))}
    )
    lock, state = threading.Lock(), {"now": 0, "refused": 0, "most": 0}

    def strict(handler: BaseHTTPRequestHandler) -> None:
        """A server that takes four requests at once and refuses the others."""
        with lock:
            state["now"] += 1
            busy = state["now"] > 4
            state["most"] = max(state["most"], state["now"])
        try:
            if busy:
                state["refused"] += 1
                fails(429, "only four at once")(handler)
            else:
                time.sleep(0.02)
                ok(call("does it"))(handler)
        finally:
            with lock:
                state["now"] -= 1

    server.reply = lambda body: strict
    settings(project, retries=10)
    result, seen, _ = await go(project, bundle, server, concurrency=16)
    assert (result.status, result.count("finished")) == ("finished", 60)
    assert state["refused"]
    changes = seen.of(PaceChanged)
    assert min(one.limit for one in changes) <= 8
    assert any("only four at once" in one.reason for one in changes)


# A server that is away


async def test_a_server_that_dies_stops_the_run_and_resume_goes_on(tmp_path: Path, bundle: Path) -> None:
    project = many(tmp_path / "many", 40)
    settings(project, outage=1.5, concurrency=4)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(scripted_server())
        server.text = lambda body: call("does it")
        gone = threading.Event()

        def reply(body: Any) -> Reply | None:
            if len(server.bodies) < 12:
                return None
            gone.set()
            return breaks_off(0)

        server.reply = reply
        result, seen, ended = await go(project, bundle, server)
    assert result.status == "stopped"
    assert "was away for 1.5 s" in result.problem
    outcomes = [one.outcome for one in ended.values()]
    assert outcomes.count("finished") == 11
    assert outcomes.count("failed") == 0
    assert {one.reason for one in ended.values() if one.outcome == "stopped"} == {"server"}
    assert len(ended) < 20, "the tasks that had not started are still planned"
    assert [one.limit for one in seen.of(PaceChanged)][:1] == [0]
    assert seen.of(RunFinished)[0].status == "stopped"
    with LogReader(project / ".engine/events.db") as log:
        states = [row.state for row in log.tasks(result.run_id)]
    assert states.count("planned") >= 20
    with scripted_server() as server:
        server.text = lambda body: call("does it")
        (project / "engine.yaml").write_text(
            f"run: {{concurrency: 4}}\nbackend: {{kind: openai, base_url: '{server.api}'}}\n"
        )
        done = await asyncio.to_thread(command, "resume", result.run_id, "--base-url", server.api, cwd=project)
        assert done.returncode == 0, done.stderr
        assert len(server.bodies) == 29
    with LogReader(project / ".engine/events.db") as log:
        assert {row.state for row in log.tasks(result.run_id)} == {"finished"}


async def test_a_server_that_comes_back_in_time_costs_no_task(tmp_path: Path, bundle: Path) -> None:
    project = many(tmp_path / "many", 40)
    settings(project, outage=30, retries=1, attempts=1, concurrency=8)
    away = {"until": 0.0}
    with scripted_server() as server:
        server.text = lambda body: call("does it")

        def reply(body: Any) -> Reply | None:
            if len(server.bodies) == 15:
                away["until"] = time.monotonic() + 1.5
            return breaks_off(0) if time.monotonic() < away["until"] else None

        server.reply = reply
        result, seen, ended = await go(project, bundle, server)
    assert (result.status, {one.outcome for one in ended.values()}) == ("finished", {"finished"})
    limits = [one.limit for one in seen.of(PaceChanged)]
    assert limits[0] == 0
    assert limits[1] > 0
    assert "is back" in seen.of(PaceChanged)[1].reason
    # While it was away it was asked now and then, not forty times.
    assert len(server.bodies) < 70


@pytest.mark.parametrize("header", [str(10 * 365 * 86_400), in_seconds(10 * 365 * 86_400)])
async def test_a_server_that_asks_to_come_back_in_ten_years_is_not_waited_for(
    project: Path, bundle: Path, server: ScriptedServer, header: str
) -> None:
    server.reply = lambda body: fails(429, "come back later", {"Retry-After": header})
    settings(project, outage=1)
    result, _, ended = await go(project, bundle, server)
    assert result.status == "stopped"
    assert "come back later; it asks to come back in " in result.problem
    assert "days" in result.problem
    assert {one.outcome for one in ended.values()} == {"stopped"}


def test_the_command_line_says_once_that_the_server_is_gone(tmp_path: Path, bundle: Path) -> None:
    project = many(tmp_path / "many", 30)
    settings(project, outage=1, concurrency=4)
    with scripted_server() as server:
        server.text = lambda body: call("does it")
        server.reply = lambda body: breaks_off(0) if len(server.bodies) > 8 else None
        done = command("run", bundle, "-t", "m.py", "--base-url", server.api, cwd=project)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("was away for 1 s") == 1


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_key_that_is_revoked_ends_the_run_and_no_task_fails_for_it(
    tmp_path: Path, bundle: Path, status: int, concurrency: int
) -> None:
    project = many(tmp_path / "many", 30)
    settings(project, concurrency=concurrency)
    with scripted_server() as server:
        server.text = lambda body: call("does it")
        asked = itertools.count(1)
        server.reply = lambda body: fails(status, "key revoked") if next(asked) > 12 else None
        done = command("run", bundle, "-t", "m.py", "--base-url", server.api, cwd=project)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("stopped: ")]
        assert re.search(
            rf"the server refuses the key since \d\d:\d\d:\d\d: .* refused the key \({status}\): key revoked", line
        )
        assert "set backend.api_key_env" in line
        assert line.endswith("goes on")
        assert len(server.bodies) <= 12 + concurrency + 1, "one question tells it of all"
        with App.open(project).reader() as log:
            run_id = log.resolve(None)
            states = log.task_counts(run_id)
        assert states.keys() <= {"finished", "stopped", "planned"}
        assert states["finished"] == 12
        assert states.get("stopped", 0) <= concurrency
        server.reply = lambda body: None
        assert command("resume", "--base-url", server.api, cwd=project).returncode == 0
    with App.open(project).reader() as log:
        assert log.task_counts(run_id) == {"finished": 30}


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_filter_that_refuses_single_prompts_ends_no_run(
    tmp_path: Path, bundle: Path, server: ScriptedServer, concurrency: int
) -> None:
    project = many(tmp_path / "many", 12)
    server.text = lambda body: call("does it")
    filtered = {f"f{number}" for number in (0, 1, 2, 3, 7)}
    server.reply = lambda body: fails(403, "not allowed") if node_of(body) in filtered else None
    result, seen, ended = await go(project, bundle, server, concurrency=concurrency)
    assert (result.status, result.count("finished")) == ("failed", 7)
    assert {name for name, one in ended.items() if one.outcome == "failed"} == filtered
    assert {one.reason for one in ended.values() if one.outcome == "failed"} == {"error"}
    assert not [one for one in seen.of(PaceChanged) if one.limit == 0]


async def test_a_server_that_accepts_and_says_nothing_is_noticed_with_the_first_request(
    tmp_path: Path, bundle: Path
) -> None:
    project = many(tmp_path / "many", 12)
    settings(project, outage=1.5, attempts=2, concurrency=1)
    with scripted_server() as server:
        server.text = lambda body: call("does it")
        asked = itertools.count(1)

        def reply(body: Any) -> Reply | None:
            if next(asked) <= 3:
                return None
            server.answers["/v1/models"] = slow(30)
            return slow(30)

        server.reply = reply
        result, seen, ended = await go(project, bundle, server, patience=0.5)
    assert result.status == "stopped"
    assert "did not answer in time" in result.problem
    assert "nor does it say what models it has (it was away for 1.5 s)" in result.problem
    assert [one.outcome for one in ended.values()] == ["finished"] * 3 + ["stopped"]
    assert len(server.bodies) == 4, "no other request was spent on it"
    assert [one.limit for one in seen.of(PaceChanged)] == [0, 0]


async def test_a_silent_server_that_comes_back_costs_no_task(tmp_path: Path, bundle: Path) -> None:
    project = many(tmp_path / "many", 6)
    settings(project, outage=30, attempts=1, concurrency=1)
    with scripted_server() as server:
        server.text = lambda body: call("does it")
        asked = itertools.count(1)
        looks = itertools.count(1)

        def models(handler: BaseHTTPRequestHandler) -> None:
            if next(looks) > 2:
                del server.answers["/v1/models"]
            time.sleep(1.5)

        def reply(body: Any) -> Reply | None:
            if next(asked) != 3:
                return None
            server.answers["/v1/models"] = models
            return slow(30)

        server.reply = reply
        result, seen, ended = await go(project, bundle, server, patience=0.5)
    assert (result.status, {one.outcome for one in ended.values()}) == ("finished", {"finished"})
    assert seen.of(PaceChanged)[0].limit == 0
    assert "is back" in seen.of(PaceChanged)[-1].reason


async def test_a_slow_server_that_says_what_models_it_has_is_not_away(
    tmp_path: Path, bundle: Path, server: ScriptedServer
) -> None:
    project = many(tmp_path / "many", 4)
    settings(project, attempts=1, outage=1)
    server.reply = lambda body: slow(30)
    result, seen, ended = await go(project, bundle, server, patience=0.5, concurrency=1)
    assert (result.status, {one.outcome for one in ended.values()}) == ("failed", {"failed"})
    assert not [one for one in seen.of(PaceChanged) if one.limit == 0]


async def test_one_cursed_request_does_not_pause_the_others(tmp_path: Path, bundle: Path) -> None:
    """Even where it is the only one under way, and fails more often than a server that is away would."""
    project = many(tmp_path / "many", 12)
    settings(project, retries=1, attempts=3, outage=1, concurrency=1)
    with scripted_server() as server:
        server.text = lambda body: call("does it")
        server.reply = only("f3", fails(500, "cursed"))
        result, seen, ended = await go(project, bundle, server)
    assert (result.status, result.count("finished"), ended["f3"].attempts) == ("failed", 11, 3)
    assert [one for one in seen.of(PaceChanged) if one.limit == 0] == []


async def test_the_clock_of_a_task_starts_with_the_task_and_not_in_a_queue(tmp_path: Path) -> None:
    """Thirty tasks, one after the other, take longer together than one of them may."""
    project = many(tmp_path / "many", 12)
    bundle = make_bundle(tmp_path / "b", MANIFEST + "limits: {seconds: 1}\n")
    with scripted_server() as server:

        def late(handler: BaseHTTPRequestHandler) -> None:
            time.sleep(0.15)
            ok(call("does it"))(handler)

        server.reply = lambda body: late
        result, _, _ = await go(project, bundle, server, concurrency=1)
        assert (result.status, result.count("finished")) == ("finished", 12)


async def test_a_rest_that_the_server_asks_for_is_not_the_task_s_time(
    tmp_path: Path, project: Path, server: ScriptedServer
) -> None:
    bundle = make_bundle(tmp_path / "b", MANIFEST + "limits: {seconds: 1}\n")
    server.chat = [fails(429, "slow down", {"Retry-After": "2"})]
    result, _, ended = await go(project, bundle, server, concurrency=1)
    assert result.status == "finished", [one.error for one in ended.values()]


async def test_a_healthy_server_is_used_up_to_the_limit(tmp_path: Path, bundle: Path, server: ScriptedServer) -> None:
    project = many(tmp_path / "many", 160)
    most, lock, now = [0], threading.Lock(), [0]

    def steady(handler: BaseHTTPRequestHandler) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.5)
        with lock:
            now[0] -= 1
        ok(call("does it"))(handler)

    server.reply = lambda body: steady
    result, seen, _ = await go(project, bundle, server, concurrency=64)
    assert (result.status, result.count("finished")) == ("finished", 160)
    assert [one.limit for one in seen.of(PaceChanged)] == [32, 64]
    assert 32 < most[0] <= 64


async def test_the_queue_of_the_server_holds_a_run_back(tmp_path: Path, bundle: Path, server: ScriptedServer) -> None:
    from engine.backends import CompletionRequest
    from engine.backends.pacing import PacedBackend

    told: list[tuple[int, str]] = []

    async def tell(limit: int, reason: str) -> None:
        told.append((limit, reason))

    metrics = b"vllm:num_requests_running 2\nvllm:num_requests_waiting 14\n"
    server.answers["/metrics"] = lambda handler: send(handler, 200, metrics, {"Content-Type": "text/plain"})
    server.reply = lambda body: slow(0.6)
    backend = OpenAIBackend(server.api)
    await backend.kinds()
    async with PacedBackend(backend, 16, tell=tell, look=0.1) as paced:
        asked = CompletionRequest([{"role": "user", "content": "hi"}])
        await asyncio.gather(*(paced.complete(asked) for _ in range(16)))
    await backend.aclose()
    assert told[0][0] < 8
    assert "has 14 requests waiting" in told[0][1]


async def test_a_server_without_metrics_is_soon_left_alone(server: ScriptedServer) -> None:
    from engine.backends import CompletionRequest
    from engine.backends.pacing import PacedBackend

    server.reply = lambda body: slow(1)
    backend = OpenAIBackend(server.api)
    await backend.kinds()
    async with PacedBackend(backend, 16, look=0.05) as paced:
        await paced.complete(CompletionRequest([{"role": "user", "content": "hi"}]))
        assert paced.limit == 16
    await backend.aclose()
    assert sum(request.path == "/metrics" for request in server.requests) == 3


JUMPING = """
import asyncio, itertools, pathlib, sys, time

real, jumps = time.time, itertools.cycle([0.0, -1e7, 1e7, 0.0, 3600.0])
time.time = lambda: real() + next(jumps)

from engine.app import App, RunRequest

async def main(bundle, project, url):
    request = RunRequest([bundle], [pathlib.Path(project)], base_url=url, concurrency=2, cache=False)
    async with App.open(pathlib.Path(project)).session(request) as session, asyncio.timeout(60):
        result = await session.run()
    print(result.status, result.count("finished"), result.seconds < 60)

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_wall_clock_that_jumps_disturbs_neither_waits_nor_limits(
    tmp_path: Path, project: Path, server: ScriptedServer
) -> None:
    bundle = make_bundle(tmp_path / "b", MANIFEST + "limits: {seconds: 20}\n")
    server.chat = [
        fails(500),
        fails(429, "slow down", {"Retry-After": "1"}),
        fails(
            429, "slow down", {"Retry-After": "Thu, 01 Jan 2026 00:00:01 GMT", "Date": "Thu, 01 Jan 2026 00:00:00 GMT"}
        ),
    ]
    done = subprocess.run(
        [sys.executable, "-c", JUMPING, str(bundle), str(project), server.api],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.split() == ["finished", "3", "True"], done.stderr
