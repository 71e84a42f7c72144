"""Canaries: whether a constraint is in force is seen from the reply alone."""

import json
from pathlib import Path

import pytest
from kernel_parts import ScriptedBackend
from scripted_server import fails, ok, scripted_server

from engine.backends import DIALECTS, Completion, EmbeddedBackend, OpenAIBackend, in_force
from engine.errors import BackendUnavailable

KINDS = ("ebnf", "structural_tag", "json_schema", "strict_tools")


@pytest.fixture
def server():
    with scripted_server() as script:
        yield script


async def ask(server, kind, **settings):
    backend = OpenAIBackend(server.api, **{"retries": 0, **settings})
    try:
        return await in_force(backend, kind)
    finally:
        await backend.aclose()


@pytest.mark.parametrize("dialect", ["vllm", "llama_cpp", "sglang", "openai"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_enforces(server, dialect, kind) -> None:
    server.routes["/lora-adapters"] = []
    found = await ask(server, kind, dialect=dialect)
    if kind in DIALECTS[dialect].kinds:
        assert found.in_force, found.detail
        assert "zebra-" in found.said
    else:
        assert not found.in_force
        assert found.refused
        assert "cannot take a constraint of kind" in found.detail
        assert not server.canaries


@pytest.mark.parametrize("honours", [(), ("guided_grammar", "guided_json"), ("response_format",), ("grammar",)])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_ignores_what_it_is_sent(server, honours, kind) -> None:
    server.honours = honours
    found = await ask(server, kind)
    assert not found.in_force
    assert not found.refused
    assert "Hello! How can I help" in found.said
    assert found.said in found.detail
    assert "zebra-" in found.detail


async def test_no_two_canaries_are_alike(server) -> None:
    for _ in range(3):
        await ask(server, "ebnf")
    assert len({json.dumps(one.body) for one in server.canaries}) == 3


async def test_a_server_that_refuses_says_why(server) -> None:
    server.canary = fails(400, "structural tags are not supported")
    found = await ask(server, "structural_tag")
    assert (found.in_force, found.refused) == (False, True)
    assert "structural tags are not supported" in found.detail


async def test_a_server_that_is_gone_is_no_answer() -> None:
    with scripted_server() as gone:
        pass
    with pytest.raises(BackendUnavailable):
        await ask(gone, "ebnf")


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("ebnf", Completion("zebra")),
        ("ebnf", Completion("zebra-000000 and more")),
        ("json_schema", Completion('{"text": "hello"}')),
        ("json_schema", Completion("[" * 5000)),
        ("strict_tools", Completion('{"text": "hello"}', ({"function": {"arguments": '{"text": "hello"}'}},))),
        ("strict_tools", Completion("", ({"function": None},))),
        ("strict_tools", Completion("hello", finish_reason="length")),
    ],
)
async def test_what_is_not_the_forced_answer(kind, answer) -> None:
    found = await in_force(ScriptedBackend([answer], enforces=False), kind)
    assert not found.in_force
    assert found.detail.isprintable()
    assert len(found.detail) < 250


async def test_an_object_for_arguments_is_read_too() -> None:
    async def obey(request):
        word = request.constraint.value["tools"][0]["function"]["parameters"]["properties"]["text"]["enum"][0]
        return Completion("", ({"function": {"name": "say", "arguments": {"text": word}}},))

    assert (await in_force(ScriptedBackend([obey]), "strict_tools")).in_force


async def test_a_model_that_thinks_first_gets_room_for_it() -> None:
    async def think(request):
        if request.sampling.max_tokens < 1000:
            return Completion("", finish_reason="length")
        return Completion(request.constraint.value.split('"')[1])

    backend = ScriptedBackend([think], enforces=False)
    assert (await in_force(backend, "ebnf")).in_force
    assert len(backend.requests) == 2
    lost = ScriptedBackend([Completion("", finish_reason="length")], enforces=False)
    found = await in_force(lost, "ebnf")
    assert (found.in_force, len(lost.requests)) == (False, 2)
    assert "(cut off)" in found.detail


async def test_nothing_is_sent_where_nothing_is_constrained() -> None:
    backend = ScriptedBackend(["x"])
    assert (await in_force(backend, "none")).in_force
    assert backend.requests == []


@pytest.mark.embedded
async def test_the_embedded_model_is_held_to_what_it_takes(weights: Path) -> None:
    backend = EmbeddedBackend(weights)
    try:
        found = {kind: await in_force(backend, kind) for kind in KINDS}
    finally:
        await backend.aclose()
    assert {kind for kind, one in found.items() if one.in_force} == set(await backend.kinds())
    assert all(one.refused for one in found.values() if not one.in_force)


async def test_a_broken_answer_is_an_error_not_an_enforcement(server) -> None:
    server.canary = ok("x", choices=[])
    with pytest.raises(BackendUnavailable, match="without a choice"):
        await ask(server, "ebnf")
