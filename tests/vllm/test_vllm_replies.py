"""Every family in every mode on a real vLLM: what comes is one call that its tool's schema allows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from toolsets import toolset

from engine import RuntimeClient, RuntimeConfig
from engine.backends import OpenAIBackend
from engine.grammar import ConstraintOptions
from engine.manifest.bundle_model import Sampling
from engine.messages import Reply, ToolSchema
from engine.models import PLUGINS, get_plugin

MAX_TOKENS = 256
SETS = 6
CASES = [(name, mode) for name in sorted(PLUGINS) for mode in get_plugin(name).modes()]


def client(backend: OpenAIBackend, plugin: str, **options: Any) -> RuntimeClient:
    chosen = ConstraintOptions(max_tokens=MAX_TOKENS, **options)
    sampling = Sampling(max_tokens=MAX_TOKENS)
    return RuntimeClient(RuntimeConfig(options=chosen, sampling=sampling), get_plugin(plugin), backend)


def problem(reply: Reply, tools: list[ToolSchema], most: int = 1, *, held: bool = True) -> str | None:
    """Say what is wrong with a reply that is to be calls and nothing else.

    Where a family's constraint does not hold all of a schema (`ModelPlugin.unheld`), a call may be reported instead.
    """
    found = len(reply.tool_calls) + (0 if held else len(reply.malformed))
    if reply.text or not 1 <= found <= most or (held and reply.malformed):
        return repr(reply)
    schemas = {tool.name: tool.parameters for tool in tools}
    for call in reply.tool_calls:
        errors = list(Draft202012Validator(schemas[call.name]).iter_errors(dict(call.arguments)))
        if errors:
            return f"{call}: {errors[0].message}"
    return None


def tool_sets(plugin: str, mode: Any, *, held: bool) -> list[int]:
    """Return the numbers of tool sets that a family's constraint holds wholly, or does not."""
    family = get_plugin(plugin)
    return [seed for seed in range(60) if held == (not any(family.unheld(tool, mode) for tool in toolset(seed)[0]))]


async def problems(
    backend: OpenAIBackend, plugin: str, sets: list[int], most: int = 1, *, held: bool = True, **options: Any
) -> list[str]:
    """Ask once for each tool set, all at once, and return what was wrong."""
    asked = client(backend, plugin, **options)

    async def one(seed: int) -> str | None:
        tools, request = toolset(seed)
        reply = await asked.run(request or "Call a tool.", tools, system="You call tools.")
        found = problem(reply, tools, most, held=held)
        return f"set {seed}: {found}" if found else None

    return [found for found in await asyncio.gather(*map(one, sets)) if found is not None]


def test_every_family_is_here() -> None:
    assert {name for name, _ in CASES} == {"function_gemma", "llama3", "openai", "qwen", "qwen_coder", "smollm"}


@pytest.mark.parametrize(("plugin", "mode"), CASES)
async def test_every_reply_is_a_call_that_its_schema_allows(backend: OpenAIBackend, plugin: str, mode: str) -> None:
    held, rest = (tool_sets(plugin, mode, held=held) for held in (True, False))
    assert len(held[:SETS]) == SETS
    whole, checked = await asyncio.gather(
        problems(backend, plugin, held[:SETS], mode=mode),
        problems(backend, plugin, rest[:2], held=False, mode=mode),
    )
    # Strict tools know no bound of a text's length, so a small model may write on until its limit, and that is said.
    endless = [one for one in whole if plugin == "openai" and "the reply was cut off" in one]
    assert [one for one in whole if one not in endless] == checked == []
    assert len(endless) < SETS / 2


@pytest.mark.parametrize("plugin", sorted(set(PLUGINS) - {"openai"}))
async def test_strict_json_still_gives_calls_of_a_tool(backend: OpenAIBackend, plugin: str) -> None:
    """The arguments may be any JSON, so a call may be one that its schema refuses; then it is reported."""
    tools = [ToolSchema("note", "Note a word.", {"type": "object", "properties": {"word": {"type": "string"}}})]
    reply = await client(backend, plugin, strategy="strict_json").run("Note the word tree.", tools)
    assert {call.name for call in reply.tool_calls} <= {"note"}, reply
    assert reply.tool_calls or reply.malformed, reply
    assert reply.text in (None, ""), reply


@pytest.mark.parametrize("plugin", sorted(PLUGINS))
async def test_several_calls_in_one_reply(backend: OpenAIBackend, plugin: str) -> None:
    """The tokens may end before the calls do, which is said; what is complete is calls and nothing else."""
    found = await problems(backend, plugin, tool_sets(plugin, "auto", held=True)[7:9], most=99, parallel_calls=True)
    assert [one for one in found if "was cut off after 256 tokens" not in one] == []


@pytest.mark.parametrize("plugin", sorted(set(PLUGINS) - {"openai"}))
async def test_text_may_be_allowed(backend: OpenAIBackend, plugin: str) -> None:
    """With text allowed, a reply is text or a call, never a call that its schema forbids."""
    asked = client(backend, plugin, text="allowed")
    tools, _ = toolset(tool_sets(plugin, "auto", held=True)[0])
    reply = await asked.run("Say hello in one short sentence.", tools)
    assert reply.text or problem(reply, tools) is None, reply
