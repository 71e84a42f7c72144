"""The promise of typed grammars: every reply of the default model is one call that its tool's schema allows."""

import asyncio

import pytest
from jsonschema import Draft202012Validator
from toolsets import toolset

from engine.backends import CompletionRequest, EmbeddedBackend
from engine.grammar import ConstraintOptions
from engine.manifest.bundle_model import Sampling
from engine.models import get_plugin

SETS = 200
FEW = 6
MAX_TOKENS = 256
SYSTEM = "You are a helpful assistant that calls tools."


async def _problem(backend, plugin, slots, seed, marked=False):
    """Return what is wrong with the reply to one tool set, or None.

    Where strings end with a marker, a grammar counts the characters of a string with `<` in it only roughly, and its
    length is checked after parsing.
    """
    tools, request = toolset(seed)
    constraint = plugin.constraint(tools, ConstraintOptions("typed", max_tokens=MAX_TOKENS))
    messages = plugin.build_messages(request, SYSTEM, tools)
    async with slots:
        done = await backend.complete(
            CompletionRequest(messages, constraint=constraint, sampling=Sampling(max_tokens=MAX_TOKENS))
        )
    reply = plugin.parse_response(done.text, tools)
    if done.finish_reason != "stop" or reply.text or reply.malformed or len(reply.tool_calls) != 1:
        return f"set {seed}: {done.finish_reason}: {done.text}"
    call = reply.tool_calls[0]
    schema = {tool.name: tool.parameters for tool in tools}[call.name]
    errors = [
        error.message
        for error in Draft202012Validator(schema).iter_errors(dict(call.arguments))
        if not (marked and error.validator in ("maxLength", "minLength") and "<" in error.instance)
    ]
    return f"set {seed}: {errors}: {done.text}" if errors else None


@pytest.mark.embedded
@pytest.mark.timeout(1800)
async def test_every_reply_is_a_valid_call(weights):
    backend = EmbeddedBackend(weights, parallel=4)
    plugin = get_plugin("smollm")
    slots = asyncio.Semaphore(backend.concurrency)
    try:
        found = await asyncio.gather(*(_problem(backend, plugin, slots, seed) for seed in range(SETS)))
    finally:
        await backend.aclose()
    problems = [problem for problem in found if problem is not None]
    assert not problems, f"{len(problems)} of {SETS}:\n" + "\n".join(problems)


@pytest.mark.embedded
@pytest.mark.timeout(600)
@pytest.mark.parametrize("family", ["function_gemma", "llama3", "qwen_coder"])
async def test_every_reply_in_another_format_is_a_valid_call(weights, family):
    """The model knows none of these formats: the grammar alone makes it write them."""
    backend, plugin = EmbeddedBackend(weights, parallel=4), get_plugin(family)
    slots = asyncio.Semaphore(backend.concurrency)
    try:
        found = await asyncio.gather(*(_problem(backend, plugin, slots, seed, marked=True) for seed in range(FEW)))
    finally:
        await backend.aclose()
    problems = [problem for problem in found if problem is not None]
    assert not problems, f"{len(problems)} of {FEW}:\n" + "\n".join(problems)


def test_the_tool_sets_are_varied():
    text = repr([toolset(seed) for seed in range(SETS)])
    assert len({repr(toolset(seed)[0]) for seed in range(SETS)}) == SETS
    for keyword in (
        "pattern",
        "enum",
        "minimum",
        "maxLength",
        "minLength",
        "array",
        "anyOf",
        "'null'",
        "boolean",
        "number",
    ):
        assert keyword in text
    assert {len(toolset(seed)[0]) for seed in range(SETS)} == {1, 2, 3, 4, 5}
