"""The candidates of the run benchmark; each takes the same two turns and checks that the work was done."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from typing import Any

from tests.benchmarks import toolcall
from tests.benchmarks.instant_server import DONE

SYSTEM = "You write docstrings. Call the tool once, then say that you are done."
PROMPT = f"Document this function:\n\n{toolcall.NODE}"
_MAX_TOKENS = 512
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "write_docstring",
            "description": "Write or replace the docstring of the function.",
            "parameters": {
                "type": "object",
                "properties": {"summary": {"type": "string"}},
                "required": ["summary"],
                "additionalProperties": False,
            },
        },
    }
]


def write_docstring(summary: str) -> dict[str, Any]:
    """Write or replace the docstring of the function."""
    lines = toolcall.NODE.splitlines()
    text = "\n".join([lines[0], f'    """{summary}."""', *lines[1:]])
    return {"result": True, "summary": f"wrote {len(text)} characters", "outcome": "success"}


async def _plain(summary: str) -> dict[str, Any]:
    """Write or replace the docstring of the function."""
    return write_docstring(summary)


class _Runs:
    """Takes so many runs, so many at once."""

    async def one(self, number: int) -> str:
        """Take one run and return its last text."""
        raise NotImplementedError

    async def work(self, count: int, at_once: int) -> tuple[float, dict[str, float]]:
        numbers = iter(range(count))
        began = time.process_time()

        async def lane() -> None:
            for number in numbers:
                if await self.one(number) != DONE:
                    raise RuntimeError(f"{type(self).__name__} did not finish its run")

        await asyncio.gather(*(lane() for _ in range(min(at_once, count))))
        return count, {"own": time.process_time() - began}


class EngineRun(_Runs):
    """The engine's kernel, as a task has it: a new kernel per run, typed grammar, limits, every event in the log."""

    def __init__(self, url: str, log: str, sandbox: bool) -> None:
        from engine.backends import OpenAIBackend
        from engine.events import Bus, EventLog
        from engine.models import get_plugin
        from engine.tools import PythonTool, ScriptRunner

        self._stack = AsyncExitStack()
        self._backend = OpenAIBackend(url, model="m", dialect="llama_cpp")
        self._log = EventLog(log)
        self._bus = Bus(self._log)
        self._runner = ScriptRunner()
        self._plugin = get_plugin("qwen")
        self._tool: Any = toolcall.tool(self._runner) if sandbox else PythonTool(_plain, name="write_docstring")

    async def open(self) -> None:
        await self._stack.enter_async_context(self._runner)
        self._stack.push_async_callback(self._backend.aclose)
        self._stack.callback(self._log.close)

    async def one(self, number: int) -> str:
        from engine.grammar.constraint import ConstraintOptions
        from engine.kernel import Kernel, KernelConfig
        from engine.manifest.bundle_model import TaskLimits
        from engine.messages import Message
        from engine.tools import ToolEnvironment

        config = KernelConfig(
            model="m", options=ConstraintOptions(text="allowed", max_tokens=_MAX_TOKENS), on_no_call="finish",
            limits=TaskLimits(), run_id="run", task_id=f"task-{number}",
        )  # fmt: skip
        environment = ToolEnvironment({"node_text": toolcall.NODE}, {"replace_node": toolcall.replace_node})
        kernel = Kernel(config, self._plugin, [self._tool], self._bus, self._backend, environment)
        result = await kernel.run([Message("system", SYSTEM), Message("user", PROMPT)], max_turns=8)
        if len(result.tool_results) != 1 or result.tool_results[0].is_error:
            raise RuntimeError(f"the tool was not called as it should be: {result}")
        return result.text

    async def close(self) -> None:
        await self._stack.aclose()


class OpenAIRun(_Runs):
    """The openai SDK as its documentation uses it."""

    def __init__(self, url: str) -> None:
        from openai import AsyncOpenAI

        self._client = AsyncOpenAI(base_url=url, api_key="none")

    async def open(self) -> None:
        await self.one(0)

    async def one(self, number: int) -> str:
        messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}]
        while True:
            reply = await self._client.chat.completions.create(
                model="m", messages=messages, tools=_TOOLS, temperature=0.0, max_tokens=_MAX_TOKENS
            )
            message = reply.choices[0].message
            if not message.tool_calls:
                return message.content or ""
            messages.append(message.model_dump(exclude_none=True))
            for call in message.tool_calls:
                result = write_docstring(**json.loads(call.function.arguments))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)})

    async def close(self) -> None:
        await self._client.close()


class RawOpenAIRun(_Runs):
    """The openai SDK at its fastest: on aiohttp, its responses read as plain JSON."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def open(self) -> None:
        from openai import AsyncOpenAI, DefaultAioHttpClient

        self._client = AsyncOpenAI(base_url=self._url, api_key="none", http_client=DefaultAioHttpClient())
        await self.one(0)

    async def one(self, number: int) -> str:
        messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}]
        while True:
            reply = await self._client.chat.completions.with_raw_response.create(
                model="m", messages=messages, tools=_TOOLS, temperature=0.0, max_tokens=_MAX_TOKENS
            )
            message = json.loads(reply.content)["choices"][0]["message"]
            if not message.get("tool_calls"):
                return message["content"]
            messages.append(message)
            for call in message["tool_calls"]:
                result = write_docstring(**json.loads(call["function"]["arguments"]))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)})

    async def close(self) -> None:
        await self._client.close()


class PydanticAIRun(_Runs):
    """A Pydantic AI agent with the same tool."""

    def __init__(self, url: str) -> None:
        from pydantic_ai import Agent, Tool
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        model = OpenAIChatModel("m", provider=OpenAIProvider(base_url=url, api_key="none"))
        settings: Any = {"temperature": 0.0, "max_tokens": _MAX_TOKENS}
        tool = Tool(_plain, name="write_docstring")  # async: a plain function would be sent to a thread
        self._agent = Agent(model, system_prompt=SYSTEM, tools=[tool], model_settings=settings)

    async def open(self) -> None:
        await self.one(0)

    async def one(self, number: int) -> str:
        return (await self._agent.run(PROMPT)).output

    async def close(self) -> None:
        """The agent holds nothing open."""
