"""One tool call through PymTool, beside the same script and external on bare Monty."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median, quantiles
from typing import Any

from engine.messages import ToolCall, ToolSchema
from engine.tools import PymTool, Script, ScriptRunner, ToolEnvironment, parse_script
from tests.benchmarks.harness import Aim, Row, Scale

SCRIPT = '''"""Write or replace the docstring of the function."""
from grail import Input, external

summary: str = Input("summary", description="One sentence.")
style: str = Input("style", default="google")
node_text: str = Input("node_text")


@external
async def replace_node(text: str) -> bool:
    """Replace the node's source."""
    ...


lines = node_text.splitlines()
indent = "    "
quoted = summary.strip().replace('"""', '"')
if not quoted.endswith("."):
    quoted = quoted + "."
body = [line for line in lines[1:] if line.strip()]
text = "\\n".join([lines[0], indent + '"""' + quoted + '"""', *body])
done = await replace_node(text)
{"result": done, "summary": f"wrote {len(text)} characters in {style} style", "outcome": "success"}
'''
NODE = "def area(width: float, height: float) -> float:\n    product = width * height\n    return product\n"
_ARGUMENTS = {"summary": "Return the area of a rectangle"}
_LIMITS: Any = {
    "max_feed_duration_secs": 2.0,
    "max_turn_duration_secs": 2.0,
    "max_memory": 32 * 1024 * 1024,
    "max_recursion_depth": 200,
    "max_suspensions": 1000,
    "max_total_sleep_secs": 1.0,
}
_POLICY: Any = {"sleep": "zero"}


def script() -> Script:
    """Return the script, parsed."""
    parsed = parse_script(SCRIPT, "write_docstring.pym")
    if parsed.script is None:
        raise RuntimeError(f"the script is not valid: {parsed.diagnostics}")
    return parsed.script


def tool(runner: ScriptRunner) -> PymTool:
    """Return the script as a tool that gets its node from the engine."""
    parsed = script()
    schema = ToolSchema(
        "write_docstring",
        "Write or replace the docstring of the function.",
        {
            "type": "object",
            "properties": {
                "summary": {"type": "string", "maxLength": 400},
                "style": {"type": "string", "default": "google"},
            },
            "required": ["summary"],
            "additionalProperties": False,
        },
    )
    return PymTool(parsed, schema=schema, bound=["node_text"], runner=runner)


async def replace_node(text: str) -> bool:
    """The external."""
    return bool(text)


def run(scale: Scale) -> list[Row]:
    times = asyncio.run(_measure(scale.pick(1500, 20)))
    ours, others = times.pop("ours"), times
    spread = quantiles(ours, n=20)[18]
    return [
        Row(
            "Tool call", f"one call, beside {name}", "ms", name, median(ours), median(other), Aim("over", "<=", 1),
            f"{median(ours) - median(other):.2f} ms over; 95 % of ours within {spread:.2f} ms, "
            f"of {name} within {quantiles(other, n=20)[18]:.2f} ms",
        )
        for name, other in others.items()
    ]  # fmt: skip


async def _measure(count: int) -> dict[str, list[float]]:
    from pydantic_monty import AsyncMonty, Monty

    async with ScriptRunner() as runner, AsyncMonty() as asynchronous:
        with Monty() as synchronous:
            candidates = {
                "ours": _ours(runner),
                "bare AsyncMonty": _async(asynchronous),
                "bare Monty (sync)": _sync(synchronous),
            }
            times: dict[str, list[float]] = {name: [] for name in candidates}
            for number in range(count + 10):
                for name, candidate in candidates.items():
                    began = time.perf_counter()
                    await candidate()
                    if number >= 10:
                        times[name].append((time.perf_counter() - began) * 1000)
    await asyncio.sleep(0.05)  # Monty's threads must rest before the interpreter ends
    return times


def _ours(runner: ScriptRunner) -> Callable[[], Awaitable[None]]:
    made = tool(runner)
    environment = ToolEnvironment({"node_text": NODE}, {"replace_node": replace_node})

    async def call() -> None:
        result = await made.call(ToolCall("1", "write_docstring", _ARGUMENTS), environment)
        if result.is_error:
            raise RuntimeError(result.content)

    return call


def _async(pool: Any) -> Callable[[], Awaitable[None]]:
    code = script().code
    inputs = {**_ARGUMENTS, "style": "google", "node_text": NODE}

    async def call() -> None:
        async with pool.checkout(limits=_LIMITS, os_policy=_POLICY) as session:
            output = await session.feed_run(code, inputs=inputs, external_lookup={"replace_node": replace_node})
        _check(output)

    return call


def _sync(pool: Any) -> Callable[[], Awaitable[None]]:
    code = script().code.replace("await replace_node", "replace_node")
    inputs = {**_ARGUMENTS, "style": "google", "node_text": NODE}

    async def call() -> None:
        with pool.checkout(limits=_LIMITS, os_policy=_POLICY) as session:
            output = session.feed_run(code, inputs=inputs, external_lookup={"replace_node": bool})
        _check(output)

    return call


def _check(output: Any) -> None:
    if output["outcome"] != "success":
        raise RuntimeError(f"the script answered {output!r}")
