"""The doctor on a real vLLM; calls in its streams, and how these end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.request
from pathlib import Path

from projects import make_bundle, make_project
from test_cli import engine as command

from engine.backends import CompletionRequest, OpenAIBackend, VllmServer
from engine.grammar.constraint import Constraint
from engine.manifest.bundle_model import Sampling

ASK = [{"role": "user", "content": "Say hello."}]


async def test_streamed_calls_of_the_api_come_together(backend: OpenAIBackend) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    function = {"name": "weather", "strict": True, "parameters": schema}
    tools = {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    request = CompletionRequest(ASK, constraint=Constraint("strict_tools", tools))
    *_, done = [piece async for piece in backend.stream(request)]
    (call,) = done.tool_calls
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"}
    assert call["id"]


async def test_a_closed_stream_stops_the_model(backend: OpenAIBackend, vllm_server: VllmServer) -> None:
    endless = Constraint("ebnf", 'root ::= "a" root')
    request = CompletionRequest(ASK, constraint=endless, sampling=Sampling(max_tokens=3500))
    before = await metric(vllm_server, "vllm:generation_tokens_total")
    async with contextlib.aclosing(backend.stream(request)) as pieces:
        await anext(pieces)
    while await metric(vllm_server, "vllm:num_requests_running"):
        pass
    assert await metric(vllm_server, "vllm:generation_tokens_total") - before < 2000


async def metric(server: VllmServer, name: str) -> float:
    return await asyncio.to_thread(_metric, server, name)


def _metric(server: VllmServer, name: str) -> float:
    url = server.base_url.removesuffix("/v1") + "/metrics"
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_the_doctor_finds_it_well(vllm_server: VllmServer, tmp_path: Path) -> None:
    project, bundle = make_project(tmp_path / "project"), make_bundle(tmp_path / "note")
    for bundles in ([bundle], []):
        ran = command("doctor", *bundles, "--base-url", vllm_server.base_url, cwd=project)
        assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
        assert "answers: vLLM 0." in ran.stdout
    assert ran.stdout.count("a canary was held to it") == 4
    ill = command("doctor", "--base-url", vllm_server.base_url, "--model", "absent", cwd=project)
    assert ill.returncode == 1
    assert "has no model 'absent'" in ill.stdout
