"""Budgets of a run: shared by its tasks, kept across parts of it, said in plain words."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest
from projects import MANIFEST, call, make_bundle, make_project
from scripted_server import fails, ok, raw, slow

import engine
from engine.app import App, ResumeRequest, RunRequest
from engine.cli import main
from engine.cli.words import spending
from engine.errors import ConfigError
from engine.events import ModelRequested, ReplyLost, RunFinished, RunResumed, TaskFinished, TaskStarted
from engine.manifest import EngineConfig
from engine.report.reading import collect
from engine.run.budget import check_budget, parse_budget
from engine.run.standing import as_dict, attach

PRICES = {"m": {"prompt": 1.0, "completion": 2.0, "cached": 0.5}}
MANY = {"src/a.py": "".join(f"def f{number}(a):\n    return a\n\n\n" for number in range(16))}


class Always(list):
    """The script of a server that gives the same answer again and again."""

    def __init__(self, answer):
        super().__init__([answer])

    def pop(self, place=-1):
        return self[place]


class Seen:
    """Remembers the events."""

    def __init__(self):
        self.events = []

    async def on_event(self, event):
        self.events.append(event)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


def usage(prompt, reply, cached=0):
    """Return the server's word on the tokens of an answer."""
    details = {"prompt_tokens_details": {"cached_tokens": cached}}
    return {"prompt_tokens": prompt, "completion_tokens": reply, **details}


def config(server, **settings):
    """Return settings of a project with this server."""
    return EngineConfig.model_validate({"backend": {"kind": "openai", "base_url": server.api}, **settings})


async def run(project, bundle, server, budget=None, **settings):
    """Run a bundle over a project."""
    app, seen = App(project, config(server, **settings)), Seen()
    request = RunRequest([bundle], [project], budget=budget or {}, concurrency=4, cache=False)
    async with app.session(request) as session:
        return await session.run([seen]), seen


async def resume(project, server, budget=None, **settings):
    """Go on with the newest run of a project."""
    app, seen = App(project, config(server, **settings)), Seen()
    async with app.resume(how=ResumeRequest(budget=budget or {})) as session:
        return await session.run([seen]), seen


async def asked(server, count):
    """Wait until the server has got so many requests."""
    async with asyncio.timeout(30):
        while len(server.bodies) < count:  # noqa: ASYNC110 - the server runs in threads
            await asyncio.sleep(0.01)


@pytest.fixture
def many(tmp_path):
    """A project of sixteen functions."""
    return make_project(tmp_path / "many", MANY)


async def test_tasks_share_the_tokens_of_a_run_and_the_rest_waits_for_more(many, bundle, server):
    server.routes["/tokenize"] = {"count": 100}
    server.text = lambda body: call("x")
    server.chat = Always(ok(call("x"), usage=usage(100, 20)))
    result, seen = await run(many, bundle, server, {"tokens": 1000})
    assert result.status == "stopped"
    used = sum(one.usage.total_tokens for one in result.tasks)
    assert 1000 - 180 < used <= 1000  # less than another request is left
    stopped = [one for one in result.tasks if one.outcome == "stopped"]
    assert {one.reason for one in stopped} == {"budget_tokens"}
    assert result.count("finished") == used // 120
    assert "of the run's 1000 tokens are used" in result.problem
    assert len(seen.of(TaskStarted)) <= result.count("finished") + 4 < 16
    assert len(result.changes) == result.count("finished")

    again, seen = await resume(many, server)
    assert (again.status, again.count("finished")) == ("stopped", result.count("finished"))
    assert again.problem == result.problem
    assert not seen.of(ModelRequested)

    more, seen = await resume(many, server, {"tokens": 16 * 120})
    assert (more.status, more.count("finished")) == ("finished", 16)
    assert more.usage.total_tokens == 16 * 120
    assert len(more.changes) == 16


async def test_the_last_budget_that_was_given_holds_when_the_run_goes_on_again(many, bundle, server, capsys):
    server.routes["/tokenize"] = {"count": 100}
    server.chat = Always(ok(call("x"), usage=usage(100, 20)))
    first, _ = await run(many, bundle, server, {"tokens": 500, "tool_calls": 100})
    second, seen = await resume(many, server, {"tokens": 1000}, run={"budget": {"cost": 3}}, prices=PRICES)
    assert (second.status, second.usage.total_tokens) == ("stopped", 960)
    (event,) = seen.of(RunResumed)
    assert event.budget == {"tokens": 1000, "tool_calls": 100, "cost": 3}
    assert event.given == {"tokens": 1000, "tool_calls": 100}
    third, seen = await resume(many, server)
    assert "of the run's 1000 tokens are used" in third.problem
    assert not seen.of(ModelRequested)
    (event,) = seen.of(RunResumed)
    assert event.budget == event.given == {"tokens": 1000, "tool_calls": 100}

    tally, _ = attached(many, first.run_id)
    assert "(budget: 96% of 1.0k tokens, 8% of 100 tool calls)" in spending(tally)
    with App(many).reader() as log:
        assert log.run(first.run_id).as_dict()["settings"]["budget"] == {"tokens": 1000, "tool_calls": 100}
        facts = collect(log, None, first.run_id)
    assert facts.settings["budget"] == facts.request["budget"] == {"tokens": 1000, "tool_calls": 100}
    with pytest.raises(SystemExit, match="0"):
        main(["show", "--json", "--project", str(many)])
    assert json.loads(capsys.readouterr().out)["settings"]["budget"]["tokens"] == 1000


async def test_seconds_that_were_given_hold_when_the_run_goes_on_again(project, bundle, server):
    server.chat = Always(slow(30))
    await run(project, bundle, server, {"seconds": 0.3})
    result, _ = await resume(project, server, {"seconds": 0.7})
    assert result.status == "stopped"
    with pytest.raises(ConfigError, match=r"the run's 0\.7 seconds are used up"):
        await resume(project, server)


async def test_who_looks_on_sees_the_cost_as_it_goes(project, bundle, server):
    """Two of three tasks are done, the third waits for its reply; nobody has said how the run ended."""
    answer = ok(call("x"), usage=usage(1000, 20, cached=400))
    server.chat += [answer, answer, slow(30)]
    doing = asyncio.create_task(run(project, bundle, server, prices=PRICES))
    await asked(server, 3)
    async with asyncio.timeout(30):
        while attached(project)[0].done < 2:  # noqa: ASYNC110 - the log has a thread
            await asyncio.sleep(0.01)
    tally, _ = attached(project)
    assert tally.status == "running"
    assert tally.cost == pytest.approx(2 * (600 * 1.0 + 400 * 0.5 + 20 * 2.0) / 1e6)
    assert as_dict(tally, 0.0)["cost"] == tally.cost
    assert (tally.used.tool_calls, len(tally.flights)) == (2, 1)
    assert "cost 0.00168" in spending(tally)
    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing


def attached(project, run_id=None):
    """Return a run as another process sees it."""
    with App(project).reader() as log:
        return attach(log, log.resolve(run_id))


async def test_the_reply_is_shortened_to_what_is_left(project, bundle, server):
    server.routes["/tokenize"] = {"count": 100}
    server.chat = Always(ok(call("x"), usage=usage(100, 20)))
    result, _ = await run(project, bundle, server, {"tokens": 130})
    assert (result.count("finished"), result.status) == (1, "stopped")
    assert [body["max_tokens"] for body in server.bodies] == [30]


async def test_the_cost_of_a_run_is_limited_and_told(project, bundle, server):
    server.chat = Always(ok(call("x"), usage=usage(1000, 20, cached=400)))
    each = (600 * 1.0 + 400 * 0.5 + 20 * 2.0) / 1e6
    result, seen = await run(project, bundle, server, {"cost": 1}, prices=PRICES)
    assert result.status == "finished"
    assert {one.cost for one in result.tasks} == {each}
    assert result.cost == pytest.approx(3 * each)
    assert [event.cost for event in seen.of(TaskFinished)] == [each] * 3
    assert seen.of(RunFinished)[0].cost == result.cost

    server.routes["/tokenize"] = {"count": 1000}
    result, _ = await run(project, bundle, server, {"cost": 0.0021}, prices=PRICES)
    assert (result.status, result.count("finished")) == ("stopped", 2)
    assert "of the run's 0.0021 of cost are used" in result.problem


async def test_tool_calls_are_limited_across_tasks(many, bundle, server):
    result, seen = await run(many, bundle, server, {"tool_calls": 5})
    assert (result.status, result.count("finished")) == ("stopped", 5)
    assert {one.reason for one in result.tasks if one.outcome == "stopped"} == {"budget_tool_calls"}
    assert len([event for event in seen.events if event.type == "tool:called"]) == 5


async def test_a_cost_limit_without_a_price_stops_before_anything_starts(project, bundle, server):
    with pytest.raises(ConfigError, match=r"no price for the model 'm'.*prices: \{m:"):
        await run(project, bundle, server, {"cost": 1}, prices={"other": PRICES["m"]})
    assert not server.bodies
    assert not (project / ".engine").exists()


async def test_a_bundles_own_cost_limit(project, tmp_path, server):
    manifest = MANIFEST.replace("checks:", "limits: {cost: 0.0001}\nchecks:")
    costly = make_bundle(tmp_path / "costly", manifest)
    with pytest.raises(ConfigError, match="the cost of the bundle 'note' is limited"):
        await run(project, costly, server)
    server.routes["/tokenize"] = {"count": 99}
    server.chat = Always(ok("no call", usage=usage(99, 1)))
    result, _ = await run(project, costly, server, prices={"m": {"prompt": 1000, "completion": 1000}})
    assert {one.reason for one in result.tasks} == {"limit_cost"}
    assert result.status == "failed"
    assert not server.bodies


async def test_a_retried_request_pays_for_each_attempt_that_may_be_charged(project, bundle, server):
    server.routes["/tokenize"] = {"count": 100}
    answer = ok(call("x"), usage=usage(100, 20))
    server.chat += [fails(500), fails(429), raw(b"no json"), answer, answer, answer]
    result, seen = await run(project, bundle, server, {"tokens": 100_000})
    assert result.status == "finished"
    lost = seen.of(ReplyLost)
    assert len(lost) == 2  # a server that answers 429 has not begun
    assert all(event.usage.completion_tokens == 80 and event.usage.prompt_tokens > 100 for event in lost)


async def test_a_server_that_is_gone_costs_nothing(project, bundle, server):
    server.chat += [fails(400, "no")] * 3
    result, seen = await run(project, bundle, server, {"tokens": 3000})
    assert {one.outcome for one in result.tasks} == {"failed"}
    assert not seen.of(ReplyLost)


async def test_a_cancelled_run_counts_what_was_under_way(project, bundle, server):
    server.chat = Always(slow(20))
    doing = asyncio.create_task(run(project, bundle, server, {"tokens": 100_000}))
    await asked(server, 3)
    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing
    with App(project).reader() as log:
        run_id = log.resolve(None)
        lost = [event for event in log.events(run_id) if event["type"] == "model:lost"]
        assert len(lost) == 3
        used = log.used(run_id)
    assert used.usage.total_tokens == 0  # nobody knows what it was, so it is no sum; a budget counts it all the same
    tokens = ("prompt_tokens", "completion_tokens")
    assert used.charged_tokens == sum(event["usage"][name] for event in lost for name in tokens)


async def test_what_a_killed_process_had_under_way_counts_when_it_goes_on(project, bundle, server):
    (project / "engine.yaml").write_text(
        f"backend: {{kind: openai, base_url: {server.api}}}\nprices: {json.dumps(PRICES)}\n"
    )
    answer = ok(call("x"), usage=usage(100, 20))
    server.chat += [answer, slow(60), slow(60)]
    command = [sys.executable, "-m", "engine", "run", str(bundle), "-t", str(project), "--budget", "tokens=100000"]
    with subprocess.Popen(  # noqa: ASYNC220 - it starts at once, and is killed
        command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        await asked(server, 3)
        await asyncio.sleep(0.3)  # what was sent is in the log by then
        os.kill(process.pid, signal.SIGKILL)
    server.chat = Always(answer)
    result, seen = await resume(project, server, prices=PRICES)
    lost = seen.of(ReplyLost)
    assert (result.status, len(lost)) == ("finished", 2)
    assert {event.reason for event in lost} == {"the engine ended before the reply came"}
    assert result.cost == pytest.approx(3 * (100 * 1.0 + 20 * 2.0) / 1e6)
    with App(project).reader() as log:
        charged = log.used(result.run_id).charged_cost
        assert charged == pytest.approx(sum(event.cost for event in lost) + result.cost)
        assert not log.unanswered(result.run_id)


async def test_seconds_are_those_of_the_whole_run(project, bundle, server):
    server.chat = Always(slow(30))
    result, _ = await run(project, bundle, server, {"seconds": 0.4})
    assert (result.status, result.problem) == ("stopped", "the run's 0.4 seconds are used up")
    server.chat = []
    with pytest.raises(ConfigError, match=r"the run's 0\.4 seconds are used up: .*--budget seconds="):
        await resume(project, server)
    result, _ = await resume(project, server, {"seconds": 60})
    assert result.status == "finished"


async def test_programs_share_a_budget_between_kernels():
    from kernel_parts import PROMPT, ScriptedBackend

    from engine.kernel import Ceiling, Kernel, KernelConfig, Pool
    from engine.models import QwenPlugin

    pool = Pool(Ceiling(tokens=40))
    config = KernelConfig(budget=pool, on_no_call="finish")
    kernels = [Kernel(config, QwenPlugin(), backend=ScriptedBackend(["hi"], counted=10)) for _ in range(4)]
    results = await asyncio.gather(*(kernel.run(PROMPT) for kernel in kernels))
    assert [one.termination_reason for one in results] == ["no_call"] * 2 + ["budget_tokens"] * 2
    assert pool.used.tokens == 30


def test_the_command_line_says_what_a_budget_is(project, bundle, server, capsys):
    arguments = ["run", str(bundle), "-t", str(project), "--base-url", server.api]
    for bad, words in {
        "tokens": "tokens=200000",
        "token=5": "did you mean 'tokens'",
        "tokens=many": "no number",
        "tokens=1.5": "a whole number from 1",
        "cost=0": "a number above 0",
        "cost=nan": "a number above 0",
        "seconds=inf": "a number above 0",
    }.items():
        with pytest.raises(SystemExit, match="2"):
            main([*arguments, "--budget", bad])
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit, match="1"):
        main([*arguments, "--budget", "tool_calls=2", "--budget", "tokens=100000"])
    said = capsys.readouterr()
    assert "2 finished" in said.out
    assert "tokens" in said.out
    assert "run's budget of tool calls is used up" in said.err
    assert "engine resume" in said.err


def test_a_budget_is_parsed_and_checked():
    assert parse_budget(["tokens=200_000", "tool-calls=5", "cost=1.5"]) == {
        "tokens": 200000,
        "tool_calls": 5,
        "cost": 1.5,
    }
    with pytest.raises(ConfigError, match="no budget of turns"):
        check_budget({"turns": 5})


async def test_a_budget_of_a_program_is_checked_too(project, bundle, server):
    with pytest.raises(ConfigError, match="whole number"):
        await engine.run(bundle, [project], project=project, base_url=server.api, budget={"tokens": 0})
