"""The kernel and the client over HTTP, with the backend that they open themselves."""

from __future__ import annotations

import logging

import pytest
from kernel_parts import PLUGIN, PROMPT, calls, tool
from scripted_server import fails, ok, scripted_server

from engine.events import EventLog
from engine.kernel import Kernel, KernelConfig, RuntimeClient, RuntimeConfig
from engine.messages import Usage

pytest.importorskip("openai")


@pytest.fixture
def server():
    with scripted_server() as script:
        yield script


async def test_a_run_over_http_ends_up_in_the_log(server, tmp_path, caplog):
    server.chat = [ok(calls(("echo", {"text": "a"}))), ok(calls(("submit", {"text": "done"})))]
    caplog.set_level(logging.DEBUG, "engine.events")
    with EventLog(tmp_path / "events.db") as log:
        config = KernelConfig(base_url=server.api, model="m", api_key="secret-key", run_id="r")
        async with Kernel(config, PLUGIN, [tool(), tool("submit")], log) as kernel:
            result = await kernel.run(PROMPT, termination="submit")
        log.flush()
        events = log.events("r")
    assert (result.termination_reason, result.usage) == ("termination_tool", Usage(14, 6, 10))
    sent = [event["messages"] for event in events if event["type"] == "model:requested"]
    assert sent == [body["messages"] for body in server.bodies]
    assert all("root ::=" in body["structured_outputs"]["grammar"] for body in server.bodies)
    assert "secret-key" not in str(events)
    assert "secret-key" not in caplog.text
    assert "model:responded" in caplog.text


async def test_a_server_that_refuses_is_the_error_of_the_run(server):
    server.chat = [fails(400, "bad grammar")]
    async with Kernel(KernelConfig(base_url=server.api), PLUGIN, [tool()]) as kernel:
        result = await kernel.run(PROMPT)
    assert result.termination_reason == "error"
    assert "bad grammar" in result.error


async def test_a_server_that_is_not_there_is_the_error_of_the_run():
    with scripted_server() as server:
        url = server.api
    async with RuntimeClient(RuntimeConfig(base_url=url, timeout=0.2), PLUGIN):
        pass
    async with Kernel(KernelConfig(base_url=url, timeout=0.2), PLUGIN, [tool()]) as kernel:
        result = await kernel.run(PROMPT)
    assert result.termination_reason == "server"
    assert url in result.error


async def test_the_client_over_http(server):
    server.text = "hello"
    async with RuntimeClient(RuntimeConfig(base_url=server.api, model="m"), PLUGIN) as client:
        reply = await client.run("Hi")
        assert (reply.text, reply.usage) == ("hello", Usage(7, 3, 5))
