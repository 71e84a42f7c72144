"""The candidates of the tasks benchmark that run.py does not have: whole tasks of the engine, LangGraph, streams."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.benchmarks import toolcall
from tests.benchmarks.run_clients import (
    _MAX_TOKENS,
    _TOOLS,
    PROMPT,
    SYSTEM,
    OpenAIRun,
    PydanticAIRun,
    RawOpenAIRun,
    _plain,
    _Runs,
    write_docstring,
)

_MANIFEST = f"""\
format: 1
name: docstring
description: Writes docstrings.
model: {{plugin: qwen, sampling: {{temperature: 0, max_tokens: {_MAX_TOKENS}}}}}
prompts: {{system: {{text: "{SYSTEM}"}}, user: prompts/user.md.j2}}
nodes: {{languages: [python], types: [function]}}
tools:
  - path: tools/write_docstring.pym
    bind: {{node_text: node.text}}
    inputs: {{summary: {{max_length: 100}}}}
grammar: {{text: allowed}}
loop: {{max_turns: 8, on_no_call: finish}}
permissions: {{read: ["**/*"], write: ["**/*.py"]}}
"""
_USER = "Document this function:\n\n{{ node.text }}"
_FUNCTIONS_PER_FILE = 16


class EngineTasks:
    """Tasks of the engine as `engine run` has them: plan, overlay, typed grammar, checks, log and change store."""

    def __init__(self, url: str, streaming: bool = False) -> None:
        self._url, self._streaming = url, streaming
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        from engine.backends import OpenAIBackend, StreamTap
        from engine.bundle import load_bundle

        root = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._project, bundle = root / "project", root / "docstring"
        _write(
            bundle,
            {"bundle.yaml": _MANIFEST, "prompts/user.md.j2": _USER, "tools/write_docstring.pym": toolcall.SCRIPT},
        )
        self._bundle = load_bundle(bundle)
        backend: Any = OpenAIBackend(self._url, model="m", dialect="vllm")
        self._backend = StreamTap(backend, lambda text: None) if self._streaming else backend
        self._stack.push_async_callback(self._backend.aclose)
        _write(self._project, {"m.py": toolcall.NODE})
        await self.work(1, 1)

    async def work(self, count: int, at_once: int) -> tuple[float, dict[str, float]]:
        from engine.app import App, RunRequest
        from engine.manifest import EngineConfig
        from engine.manifest.engine_model import RunSpec

        self._grow(count)
        began = time.process_time()
        config = EngineConfig(run=RunSpec(cache=False))
        request = RunRequest([self._bundle], [self._project], concurrency=at_once, limit=count)
        async with App(self._project, config).session(request, backend=self._backend) as session:
            await session.check()
            planned = time.process_time() - began
            result = await session.run()
        if result.count("finished") != count or result.change_count != count:
            raise RuntimeError(f"not all tasks finished: {result.status}: {[one.error for one in result.tasks][:3]}")
        own = time.process_time() - began
        return count, {"own": own, "planned": planned}

    def _grow(self, count: int) -> None:
        """Have at least so many functions in the project."""
        for number in range((count + _FUNCTIONS_PER_FILE - 1) // _FUNCTIONS_PER_FILE):
            text = "\n\n".join(
                toolcall.NODE.replace("area", f"area_{number}_{place}") for place in range(_FUNCTIONS_PER_FILE)
            )
            _write(self._project, {f"src/m{number}.py": text})

    async def close(self) -> None:
        await self._stack.aclose()


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


class OpenAIStream(OpenAIRun):
    """The openai SDK as its documentation streams with it."""

    async def one(self, number: int) -> str:
        messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}]
        while True:
            text, calls = "", dict[int, list[str]]()
            stream = await self._client.chat.completions.create(
                model="m", messages=messages, tools=_TOOLS, temperature=0.0, max_tokens=_MAX_TOKENS, stream=True,
                stream_options={"include_usage": True},
            )  # fmt: skip
            async for chunk in stream:
                for choice in chunk.choices:
                    text += choice.delta.content or ""
                    for part in choice.delta.tool_calls or ():
                        _add(calls, part.index, part.id, part.function.name, part.function.arguments)
            if not calls:
                return text
            messages += _answered(calls)


class RawOpenAIStream(RawOpenAIRun):
    """The openai SDK at its fastest: on aiohttp, the events of the stream read as plain JSON."""

    async def one(self, number: int) -> str:
        messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}]
        while True:
            text, calls = "", dict[int, list[str]]()
            async with self._client.chat.completions.with_streaming_response.create(
                model="m", messages=messages, tools=_TOOLS, temperature=0.0, max_tokens=_MAX_TOKENS, stream=True,
                stream_options={"include_usage": True},
            ) as response:  # fmt: skip
                async for line in response.iter_lines():
                    if not line.startswith("data: ") or line == "data: [DONE]":
                        continue
                    for choice in json.loads(line[6:])["choices"]:
                        text += choice["delta"].get("content") or ""
                        for part in choice["delta"].get("tool_calls") or ():
                            said = part["function"]
                            _add(calls, part["index"], part.get("id"), said.get("name"), said.get("arguments"))
            if not calls:
                return text
            messages += _answered(calls)


def _add(calls: dict[int, list[str]], index: int, call_id: str | None, name: str | None, arguments: str | None) -> None:
    call = calls.setdefault(index, ["", "", ""])
    for place, part in enumerate((call_id, name, arguments)):
        call[place] += part or ""


def _answered(calls: dict[int, list[str]]) -> list[Any]:
    said = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in calls.values()
    ]
    done = [
        {"role": "tool", "tool_call_id": call_id, "content": json.dumps(write_docstring(**json.loads(arguments)))}
        for call_id, _, arguments in calls.values()
    ]
    return [{"role": "assistant", "content": None, "tool_calls": said}, *done]


class PydanticAIStream(PydanticAIRun):
    """A Pydantic AI agent, its text taken while it comes."""

    async def one(self, number: int) -> str:
        async with self._agent.run_stream(PROMPT) as reply:
            text = ""
            async for piece in reply.stream_text(delta=True, debounce_by=None):
                text += piece
            return text


class LangGraphRun(_Runs):
    """LangGraph's ready-made loop over langchain's chat model, with the same tool."""

    def __init__(self, url: str, streaming: bool = False) -> None:
        import warnings

        from langchain_core.tools import StructuredTool
        from langchain_openai import ChatOpenAI

        warnings.simplefilter("ignore")
        from langgraph.prebuilt import create_react_agent

        model = ChatOpenAI(
            model="m", base_url=url, api_key="none", temperature=0.0, max_tokens=_MAX_TOKENS, streaming=streaming
        )
        tool = StructuredTool.from_function(coroutine=_plain, name="write_docstring")
        self._graph, self._streaming = create_react_agent(model, [tool], prompt=SYSTEM), streaming

    async def open(self) -> None:
        await self.one(0)

    async def one(self, number: int) -> str:
        given = {"messages": [("user", PROMPT)]}
        if not self._streaming:
            return (await self._graph.ainvoke(given))["messages"][-1].content
        text = ""
        async for message, about in self._graph.astream(given, stream_mode="messages"):
            if about["langgraph_node"] == "agent":
                text += message.content
        return text

    async def close(self) -> None:
        """The graph holds nothing open."""
